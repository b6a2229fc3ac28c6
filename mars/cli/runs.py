"""`mars runs`: what a run log holds, and a run as a list or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from mars.cli.output import JsonFlag, output
from mars.errors import InvalidFile

if TYPE_CHECKING:
    from mars.observability import LoggedRun

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Runs that were logged (MARS_RUN_LOG, or RunLog as an observer).",
)


def _log(given: str | None) -> str:
    from mars.settings import load_settings

    named = given or load_settings().run_log
    if not named:
        raise typer.BadParameter("name the run log, or set MARS_RUN_LOG")
    return named


LogOption = Annotated[
    str, typer.Option("--log", help="The run log.", callback=_log, show_default="MARS_RUN_LOG", metavar="FILE")
]


@app.command("list")
def list_runs(
    log: LogOption = "",
    status: Annotated[str | None, typer.Option(help="Only runs that ended so, such as completed or broken.")] = None,
    conversation: Annotated[str | None, typer.Option(help="Only runs of this conversation.")] = None,
    json: JsonFlag = False,
) -> None:
    """List the runs of a log, oldest first: what was asked, how it ended, and what it cost."""
    from mars.observability import read_runs

    every = read_runs(log)
    runs = [run for run in every if status in (None, run.status) and conversation in (None, run.conversation)]
    if json:
        output.json([run.summary() for run in runs])
        return
    table = Table("run", "began", "ended", "time", "tokens", "cost", box=None, header_style="dim", expand=True)
    table.add_column("conversation: task", no_wrap=True, overflow="ellipsis", ratio=1)
    for run in runs:
        table.add_row(*_row(run.summary()))
    output.print(table)
    torn = every[0].torn if every else 0
    if torn:
        output.note(f"{torn} broken lines were left out: a process was killed while it wrote them")


def _row(run: dict[str, Any]) -> list[Text | str]:
    usage = run["usage"] or {}
    tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    cost = usage.get("cost")
    style = "green" if run["approved"] else "yellow" if run["status"] != "broken" else "red"
    return [
        run["run"],
        run["began"][5:19].replace("T", " "),
        Text(run["status"], style=style),
        f"{run['seconds']:.2f} s",
        f"{tokens:,}" if usage else "",
        f"${cost:.4f}" if cost else "",
        Text(": ".join(filter(None, (run["conversation"], run["task"])))),
    ]


@app.command("show")
def show(
    run: Annotated[str, typer.Argument(help="Its id or the beginning of it, its conversation, or last.")],
    log: LogOption = "",
    html: Annotated[Path | None, typer.Option("--html", metavar="OUT", help="Write its turn as a page.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show what happened in a run, line by line; or write the timeline of its turn as one page."""
    from mars.observability import read_runs
    from mars.observability.reading import find_run

    runs = read_runs(log)
    found = find_run(runs, run)
    if html is not None:
        from mars.observability.timeline import same_turn, timeline

        _write(html, timeline(same_turn(runs, found)), overwrite)
        output.note(f"wrote {html}")
    if json:
        output.json({**found.summary(), "events": found.lines})
    elif html is None:
        _print(found)


def _write(path: Path, page: str, overwrite: bool) -> None:
    try:
        with path.open("w" if overwrite else "x", encoding="utf-8", errors="replace") as file:
            file.write(page)
    except FileExistsError:
        raise InvalidFile(f"{path} is there already: name another file, or replace it with --overwrite") from None
    except OSError as error:
        raise InvalidFile(f"{path} cannot be written: {error.strerror}") from error


def _print(run: LoggedRun) -> None:
    table = Table("at", "role", "what", "", box=None, header_style="dim")
    for line in run.lines:
        if line["kind"] != "token":
            table.add_row(f"{line['offset']:.3f} s", Text(str(line["role"])), str(line["kind"]), Text(_words(line)))
    output.print(table)
    summary = run.summary()
    output.note(f"run {run.id} · {run.status} · {summary['seconds']:.2f} s · {run.header['data'].get('user') or ''}")


def _words(line: dict[str, Any]) -> str:
    """Return what a line says in short: the words, and what a verdict blames or a call took."""
    data, words = line["data"], str(line["text"])
    if line["kind"] == "call":
        took = f"{data.get('name')} {words}, {data.get('latency', 0):.3f} s"
        return (
            took if data.get("sort") != "model" else f"{took}, {data['input_tokens']} + {data['output_tokens']} tokens"
        )
    issues = data.get("verdict", {}).get("issues", []) if line["kind"] == "verdict" else []
    return "; ".join([words, *(f"{issue['kind']}: {issue['evidence']}" for issue in issues)])
