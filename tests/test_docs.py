"""What the pages show is true: their blocks run, their outputs come, their commands and pictures are there."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

pytest.importorskip("benchmarks")

from benchmarks import graph_drawing, quickstart
from benchmarks.pages import Block, Shell, blocks_of, formed
from mars import Team
from mars.cli import app, main
from mars.simulation import read_config, read_facts

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
QUICKSTART = ROOT / quickstart.PAGE
LANGUAGES = {"python", "console", "sh", "toml", "json", "text"}
MOST_NOT_RUN = 8
"""So many blocks, at most, may say that they cannot be run here."""


def relative(page: Path) -> str:
    """A page as seen from the root."""
    return page.relative_to(ROOT).as_posix()


@functools.cache
def blocks(page: Path) -> list[Block]:
    """The blocks of a page."""
    return blocks_of(page)


WITH_BLOCKS = [page for page in PAGES if blocks(page) and page != QUICKSTART]
ALL_BLOCKS = [(page, block) for page in PAGES for block in blocks(page)]


def run_python(block: Block, folder: Path) -> str:
    """Run a block as a script of its own in a folder; what it printed."""
    script, printed = folder / (block.file or "block.py"), io.StringIO()
    script.write_text(block.body, encoding="utf-8")
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        runpy.run_path(str(script), run_name="__main__")
    return printed.getvalue()


def run_mars(words: list[str], folder: Path) -> tuple[str, int]:
    """Call the command line within this process, which has imported already what a child would need seconds for."""
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = main(words[1:])
    return printed.getvalue(), status


def run_commands(block: Block, folder: Path, shell: Shell, environment: pytest.MonkeyPatch) -> None:
    """Type the commands of a block, and compare what they print with what is shown."""
    steps = block.steps() if block.language == "console" else [(line, "") for line in block.body.splitlines()]
    for command, shown in steps:
        words = shlex.split(command, comments=True)
        if words[:1] == ["export"]:
            environment.setenv(*words[1].split("=", 1))
        if words[:1] == ["mars"] and words[1] != "chat" and not set(command) & set("|<>;&"):
            printed, status = run_mars(words, folder)
        else:
            printed, status = shell.run(command)
        assert status == 0, f"{command}\n{printed}"
        assert not shown.strip() or formed(printed) == formed(shown)


def read_data(block: Block, folder: Path) -> None:
    """Read a block as the file that it is an example of."""
    path = folder / f"block.{block.language}"
    path.write_text(block.body, encoding="utf-8")
    if block.language == "json":
        read_facts(path)
    elif "teams" in tomllib.loads(block.body):
        assert [Team.from_file(path, name) for name in tomllib.loads(block.body)["teams"]]
    else:
        read_config(path)


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=relative)
def test_the_blocks_of_a_page_run_in_their_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block runs, without a warning, in the folder of those before it, and prints what the page shows."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    printed: str | None = None
    with Shell(tmp_path, os.environ) as shell:
        for block in blocks(page):
            place = f"{relative(page)}:{block.line}"
            if block.why_not is not None:
                if block.language == "python":
                    compile(block.body, place, "exec")
            elif block.language == "python":
                printed = run_python(block, tmp_path)
                continue
            elif block.language in ("console", "sh"):
                run_commands(block, tmp_path, shell, monkeypatch)
            elif block.language in ("json", "toml"):
                read_data(block, tmp_path)
            elif printed is not None and len(block.before.strip().splitlines()) <= 1:
                assert formed(printed) == formed(block.body), place
            printed = None


def test_every_block_says_what_it_is() -> None:
    """Each fence names a language that is run, read or compared here."""
    assert [(relative(page), block.line) for page, block in ALL_BLOCKS if block.language not in LANGUAGES] == []


def test_few_blocks_are_not_run() -> None:
    """A block that cannot run here says why, and there are few of them."""
    not_run = [(relative(page), block.line, block.why_not) for page, block in ALL_BLOCKS if block.why_not]
    assert len(not_run) <= MOST_NOT_RUN, not_run


def test_a_wrong_output_is_noticed(tmp_path: Path) -> None:
    """A changed word is another output; another date, id or duration is not."""
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo 2026-01-01 took 0.1 s\n2025-12-31 took 3.0 s\n$ echo a\nb\n```\n")
    (block,) = blocks_of(page)
    with Shell(tmp_path, dict(os.environ)) as shell:
        (first, shown), (second, other) = block.steps()
        assert formed(shell.run(first)[0]) == formed(shown)
        assert formed(shell.run(second)[0]) != formed(other)
        assert shell.run("exit_with() { return 3; }; exit_with")[1] == 3


def test_the_quickstart_works_where_mars_is_installed() -> None:
    """The quickstart's commands, files and outputs, in this environment; the bar installs into a new one."""
    report = quickstart.measure(here=True, sabotage=None)
    assert report["passed"], report
    assert report["outputs_compared"] >= 5


# Commands


def told_commands() -> Iterator[tuple[str, str]]:
    """Every command that a page tells, in blocks and within the text, with its page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in blocks(page):
            if block.language == "console":
                yield from ((relative(page), command) for command, _ in block.steps())
            elif block.language == "sh":
                yield from ((relative(page), line) for line in block.body.splitlines())
        yield from ((relative(page), code) for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text))


COMMANDS = sorted(set(told_commands()))


def words_of(command: str) -> list[str]:
    """The words of a command up to a pipe or a redirection, without brackets around what may be left out."""
    lexer = shlex.shlex(command.replace("[", "").replace("]", ""), posix=True, punctuation_chars="|>;&")
    lexer.whitespace_split = True
    words = list[str]()
    for word in lexer:
        if set(word) <= set("|>;&"):
            break
        words.append(word)
    return words


def complaint_about(words: list[str]) -> str | None:
    """What the command line of MARS does not know of a command; None if it knows all of it."""
    known: Any = typer.main.get_command(app)
    for place, word in enumerate(words[1:], 1):
        if hasattr(known, "get_command") and not word.startswith("-"):
            known = known.get_command(None, word)
            if known is None:
                return f"no command {' '.join(words[: place + 1])}"
        elif word.startswith("--") and word.partition("=")[0] not in {
            option for parameter in known.params for option in (*parameter.opts, *parameter.secondary_opts, "--help")
        }:
            return f"no option {word} of {known.name}"
    return None


def test_commands_of_the_command_line_exist() -> None:
    """Every `mars …` that a page tells is a command, with options, of the command line."""
    told = [(page, words_of(command)) for page, command in COMMANDS if command.startswith("mars ")]
    assert len(told) > 40
    assert [(page, complaint) for page, words in told if (complaint := complaint_about(words))] == []
    assert complaint_about(["mars", "remember"])
    assert complaint_about(["mars", "ask", "--slowly"])


def test_what_is_told_to_measure_exists() -> None:
    """Every `python -m`, `pytest` and `make` that a page tells names a module, a test and a target that there are."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    missing = []
    for page, command in COMMANDS:
        if module := re.match(r"python -m (benchmarks\.[\w.]+)", command):
            path = ROOT / module[1].replace(".", "/")
            missing += [] if path.with_suffix(".py").exists() or (path / "__main__.py").exists() else [(page, command)]
        if target := re.match(r"make ([a-z-]+)", command):
            missing += [] if target[1] in targets else [(page, command)]
        for path, words in re.findall(
            r"((?:tests/)?(?:mars|memory|agents)/test_\w+\.py)(?: -k (\"[^\"]+\"|\w+))?", command
        ):
            file = ROOT / "tests" / path.removeprefix("tests/")
            text = file.read_text(encoding="utf-8").lower() if file.exists() else ""
            wanted = set(re.findall(r"\w+", words)) - {"or", "and", "not"}
            missing += [] if text and all(word.lower() in text for word in wanted) else [(page, command)]
    assert missing == []


# The site


@pytest.mark.parametrize(
    ("name", "text", "fetched"),
    [
        ("a.html", '<a href="https://a.test/">x</a><img src="x.png"><link rel="stylesheet" href="../x.css">', []),
        ("a.html", '<link rel="stylesheet" href="https://fonts.test/x">', ["https://fonts.test/x"]),
        ("a.html", '<script src="//cdn.test/x.js"></script>', ["//cdn.test/x.js"]),
        ("a.html", '<pre class="mermaid">graph TD</pre>', ["https://unpkg.com/mermaid"]),
        ("a.css", "@font-face { src: url( 'https://fonts.test/x.woff' ) } a { background: url(x.png) }", ["x"]),
    ],
)
def test_what_a_page_fetches_from_elsewhere_is_noticed(name: str, text: str, fetched: list[str]) -> None:
    """The build of the site refuses fonts, scripts and pictures of other places; a link may lead there."""
    pytest.importorskip("mkdocs")
    found = list(runpy.run_path(str(ROOT / "docs/site/repository.py"))["fetched_from_elsewhere"](name, text))
    assert len(found) == len(fetched)
    assert name.endswith(".css") or found == fetched


# The picture and the reference


async def test_the_drawing_is_that_of_the_graph() -> None:
    """The committed picture is what is drawn of the compiled graph; a graph with another node is noticed."""
    graph = await graph_drawing.compiled()
    assert graph_drawing.PICTURE.read_text(encoding="utf-8") == graph_drawing.drawing(graph)
    graph.add_node(next(iter(graph.nodes.values())).data, "stray")
    with pytest.raises(ValueError, match="stray"):
        graph_drawing.drawing(graph)


def identifiers() -> set[str]:
    """What the API pages are made from; of a whole module, its classes."""
    pages = (page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    named = {name for text in pages for name in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)}
    whole = {"mars.errors"} & named
    classes = {f"{name}.{key}" for name in whole for key, thing in vars(import_module(name)).items() if is_class(thing)}
    return (named - whole) | classes


def is_class(thing: Any) -> bool:
    """Whether something is a class."""
    return isinstance(thing, type)


def found(name: str) -> Any:
    """The object behind a full name."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


INTERNAL = {"mars.evaluation.reports", "mars.memory.index"}
"""Packages that only the command line and the engine use."""


def exports() -> Iterator[str]:
    """Each name of every package that says what it exports, and of other modules that do and have an entry."""
    homes = {name.rpartition(".")[0] for name in identifiers()}
    for path in sorted(path for wing in ("mars", "memory", "agents") for path in (ROOT / wing).glob("**/*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts if parts[0] == "mars" else ("mars", *parts)).removesuffix(".__init__")
        if (path.stem == "__init__" or name in homes) and name not in INTERNAL:
            yield from (f"{name}.{one}" for one in getattr(import_module(name), "__all__", ()))


def test_everything_exported_is_in_the_reference() -> None:
    """Every name that a package exports, and every name that a page imports, has its entry."""
    shown = [found(name) for name in identifiers()]
    exported = list(exports())
    told = [
        f"{module}.{name.split(' as ')[0].strip()}"
        for _, block in ALL_BLOCKS
        if block.language == "python"
        for module, names in re.findall(r"^from (mars[\w.]*) import ([^(\n]+)$", block.body, re.MULTILINE)
        for name in names.split(",")
    ]
    assert len(exported) > 150
    assert [name for name in exported + told if not any(found(name) is one for one in shown)] == []


def undocumented(thing: Any, name: str) -> Iterator[str]:
    """Public names of a class, and the class itself, that have no docstring."""
    if not isinstance(thing, type) and not callable(thing):
        return
    if not getattr(thing, "__doc__", None):
        yield name
    for member, value in vars(thing).items() if isinstance(thing, type) else ():
        plain = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        plain = plain.fget if isinstance(plain, property) else plain
        if member.startswith("_") or not callable(plain):
            continue
        if not any(getattr(getattr(one, member, None), "__doc__", None) for one in thing.__mro__):
            yield f"{name}.{member}"


def test_everything_in_the_reference_has_a_docstring() -> None:
    """Each class, method and function in the reference says what it does."""
    assert [one for name in sorted(identifiers()) for one in undocumented(found(name), name)] == []
