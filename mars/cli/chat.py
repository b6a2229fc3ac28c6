"""`mars chat`: a conversation at the terminal, remembered from one run to the next."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from mars.cli.ask import ModelOption, patient, unanswered
from mars.cli.output import Database, JsonFlag, open_memory, output, run_async, run_log
from mars.errors import InvalidText
from mars.events import CHECKED, EventKind

if TYPE_CHECKING:
    from mars.events import Event
    from mars.results import RunResult
    from mars.runtime import Mars

HELP = "/memories lists what is remembered · /quit or Ctrl-D ends"
"""What can be typed beside words."""


def chat(
    user: Annotated[
        str, typer.Option("--user", "-u", help="Who you are; your memories are kept under this name.")
    ] = "me",
    db: Database = None,
    model: ModelOption = "reader",
    conversation: Annotated[
        str | None, typer.Option(help="Go on with this conversation; its newest turns are in the prompt.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Talk with an agent that remembers. Lines are read from a pipe, too."""
    run_async(_chat, user, db, model, conversation, json)


async def _chat(user: str, db: str, model: str, conversation: str | None, json: bool) -> None:
    from mars.models import resolve_model
    from mars.runtime import Mars

    answering = resolve_model(model)
    kept = None if db == "memory:" else db
    async with (
        open_memory(db, create=True) as memory,
        Mars.open(memory, model=answering, checkpointer=kept, observers=run_log()) as mars,
    ):
        if not json:
            output.note(f"memory {db} · user {user} · model {model} · {HELP}")
        for line in _lines(quiet=json):
            if line == "/memories":
                await _show_memories(mars, user)
                continue
            if line.startswith("/") and " " not in line:
                output.note(f"  {line} is no command: {HELP}")
                continue
            try:
                result = await _turn(mars, line, user, conversation, json)
            except InvalidText as error:
                if json:
                    raise
                output.error(str(error))
                continue
            conversation = result.conversation


async def _turn(mars: Mars, line: str, user: str, conversation: str | None, json: bool) -> RunResult:
    result: RunResult | None = None
    heard = {*CHECKED, EventKind.MEMORY_READ}
    asking = {"user": user, "conversation": conversation, "on_unfinished": "finish", "heard": heard}
    async for event in patient(mars, line, **asking):
        if event.kind is EventKind.MEMORY_READ and not json:
            _show_recalled(event)
        result = event.result or result
    assert result is not None
    if json:
        output.json(result.plain())
    else:
        _show(result)
    words = unanswered(result) or result.error
    if words:
        output.error(words)
    return result


def _show(result: RunResult) -> None:
    """Print the answer and what it rests on."""
    output.print(Text(result.answer or "(no answer)", style="bold"))
    if result.sources:
        mark = "approved" if result.approved else "not approved"
        output.note(f"  {mark} · " + " · ".join(f"{s.said_at.date()} {s.speaker}: {s.text}" for s in result.sources))


def _show_recalled(event: Event) -> None:
    """Print the line that says what was recalled, with the retention of each record."""
    records = event.data.get("records", [])
    if records:
        shown = " · ".join(f"{r['text'][:60]} ({r['retention']:.0%})" for r in records[:3])
        more = f" · and {len(records) - 3} more" if len(records) > 3 else ""
        output.note(f"  recalled {shown}{more}")


async def _show_memories(mars: Mars, user: str) -> None:
    for record in await mars.memory.list(namespace=(user,)):
        output.note(f"  {record.event_time.date()} {record.kind.value}: {record.text}")


def _lines(*, quiet: bool) -> Iterator[str]:
    """Yield what is typed or piped, without empty lines, until the end or /quit."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # bytes that are no text are refused line by line
    while True:
        if sys.stdin.isatty() and not quiet:
            output.notes.print("[cyan]you>[/] ", end="")
        line = sys.stdin.readline()
        if not line or line.strip() in ("/quit", "/exit"):
            return
        if line.strip():
            yield line.strip()
