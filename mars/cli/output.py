"""What the commands share: options, printing, errors, namespaces, and the memory that ``--db`` names."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

from mars.errors import InvalidFile, InvalidNamespace

if TYPE_CHECKING:
    from mars.memory.engine import Memory
    from mars.memory.records import Record
    from mars.observability import Observer


COMMANDS = dict.fromkeys(
    [*set(range(0x20)) - set(map(ord, "\t\n")), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    "\N{REPLACEMENT CHARACTER}",
)
"""Characters that a terminal obeys, or that turn the order of others round (Unicode's bidirectional controls)."""


class Terminal(Console):
    """A console that shows what others wrote, and never lets a terminal obey it; styles are rich's own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield what is to be written, without the characters of `COMMANDS`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(segment.text.translate(COMMANDS), segment.style)


class Output:
    """Results on stdout, notes and errors on stderr, so that results can be piped."""

    def __init__(self) -> None:
        """Look at the terminal as it is when something is printed."""
        self.results = Terminal(highlight=False)
        self.notes = Terminal(stderr=True, highlight=False)

    def print(self, *things: Any) -> None:
        """Print text or rich's renderables on stdout; strings are taken literally."""
        self.results.print(*things, markup=False)

    def json(self, value: Any) -> None:
        """Print one line of JSON on stdout, escaped where stdout cannot hold every character."""
        escaped = not (sys.stdout.encoding or "").lower().startswith("utf")
        typer.echo(json.dumps(value, ensure_ascii=escaped, default=str))

    def note(self, text: str) -> None:
        """Print a dim line on stderr."""
        self.notes.print(f"[dim]{escape(text)}[/]", soft_wrap=True)

    def error(self, message: str) -> None:
        """Print an error in red on stderr."""
        self.notes.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)


output = Output()
"""Where every command prints."""


def run_async(work: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run an asynchronous function to its end."""
    import anyio

    return anyio.run(work, *arguments)


def parse_namespace(text: str) -> tuple[str, ...]:
    """Return the namespace that a user named: labels with ``/`` between them, or a JSON list of labels.

    Raises `InvalidNamespace` for an empty name or label.
    """
    from mars.memory.records import check_namespace

    labels: Any = text.split("/")
    if text.startswith("["):
        try:
            labels = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidNamespace(f"{text!r} starts like a JSON list but is none: {error}") from None
    return check_namespace(tuple(labels) if isinstance(labels, list) else labels)


def show_namespace(namespace: tuple[str, ...]) -> str:
    """Return a namespace as `parse_namespace` reads it."""
    if any("/" in label for label in namespace) or namespace[0].startswith("["):
        return json.dumps(list(namespace), ensure_ascii=False)
    return "/".join(namespace)


def database(given: str | None) -> str:
    """Return the URL that ``--db`` or ``MARS_DB`` names; a path becomes that of a SQLite file."""
    from mars.settings import load_settings

    named = given or load_settings().db
    if "://" in named or named == "memory:":
        return named
    return f"sqlite:///{named.replace('%', '%25').replace('?', '%3F')}"


def check_exists(url: str) -> None:
    """Raise `InvalidFile` if `url` names a SQLite file that is not there."""
    path = unquote(url.removeprefix("sqlite:///").partition("?")[0])
    if path != url and ":memory:" not in path and not path.startswith("file:") and not Path(path).exists():
        raise InvalidFile(f"there is no memory at {path}: fill one with `mars ingest`, or name another with --db")


@asynccontextmanager
async def open_memory(db: str, *, create: bool = False, **options: Any) -> AsyncIterator[Memory]:
    """Open the memory at a URL, with the settings of the environment.

    Raises `InvalidFile` where there is none, unless `create`.
    """
    from mars.memory.engine import Memory
    from mars.settings import load_settings

    if not create:
        check_exists(db)
    settings = load_settings()
    chosen: dict[str, Any] = {"preset": settings.preset, "synchronous": settings.synchronous}
    if settings.embedder is not None:
        chosen["embedder"] = settings.embedder
    async with Memory.open(db, **(chosen | options)) as memory:
        yield memory


def run_log() -> list[Observer]:
    """Return what logs runs where ``MARS_RUN_LOG`` says; nothing where it is not set."""
    from mars.observability import RunLog
    from mars.settings import load_settings

    path = load_settings().run_log
    return [RunLog(path)] if path else []


async def known_namespace(memory: Memory, namespace: tuple[str, ...]) -> tuple[str, ...]:
    """Return the namespace if it holds records; else raise `InvalidNamespace` naming those that do."""
    known = await memory.namespaces()
    if namespace in known:
        return namespace
    names = sorted(show_namespace(name) for name in known)
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    raise InvalidNamespace(
        f"nothing is stored for {show_namespace(namespace)}; "
        + (f"known are: {listed}" if names else "the memory is empty: fill it with `mars ingest`")
    )


def tend(db: str | None, json: bool, done: str, ids: Sequence[str], act: Any) -> None:
    """Change records by their ids, and say which were changed: those that were so already are not."""

    async def work() -> list[Record]:
        async with open_memory(db or "") as memory:
            before = {record.seq for one in ids if (record := await memory.get(one)) is not None}
            return [record for record in await act(memory) if record.seq not in before]

    records = run_async(work)
    if json:
        output.json({done: [record.id for record in records]})
    else:
        same = len(set(ids)) - len({record.id for record in records} & set(ids))
        output.print(f"{len(records):,} {done}" + (f", {same:,} as before" if same else ""))


def _namespace_option(text: str) -> tuple[str, ...]:
    try:
        return parse_namespace(text)
    except InvalidNamespace as error:
        raise typer.BadParameter(str(error)) from None


Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        help="URL of the memory, or path of a SQLite file.",
        callback=database,
        show_default="MARS_DB, or mars.db",
    ),
]
"""The option ``--db``; the command receives a URL."""

NamespaceOption = Annotated[
    Any,
    typer.Option(
        "--namespace",
        "-n",
        help="Whose memory: user-1, team/ann, or a JSON list of labels.",
        parser=_namespace_option,
        envvar="MARS_NAMESPACE",
        metavar="NAMESPACE",
    ),
]
"""The option ``--namespace``; the command receives a tuple of labels."""

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
"""The option ``--json``."""
