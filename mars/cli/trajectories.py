"""`mars trajectories`: finished turns as JSONL, for training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mars.cli.output import Database, JsonFlag, check_exists, output, run_async

if TYPE_CHECKING:
    from mars.trajectories import Trajectory

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Finished turns as JSONL, for training: rejected drafts, feedback, accepted drafts.",
)


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Where to write; one JSON object a line.")],
    db: Database = None,
    conversation: Annotated[str | None, typer.Option(help="Only this conversation.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Write the trajectories of the turns whose last checkpoint is kept."""
    assert db is not None
    check_exists(db)
    from mars.trajectories import write_trajectories

    found: list[Trajectory] = run_async(_stored, db, conversation)
    write_trajectories(file, found, overwrite=overwrite)
    _show(found, file, json)


@app.command("check")
def check(file: Annotated[Path, typer.Argument(help="What `export` wrote.")], json: JsonFlag = False) -> None:
    """Read trajectories back and count what is in them; a broken line is named with its number."""
    from mars.trajectories import read_trajectories

    _show(list(read_trajectories(file)), file, json)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="What `export` wrote; one file or several.")],
    into: Annotated[Path, typer.Option("--into", help="The collection: a file of the same form.")],
    json: JsonFlag = False,
) -> None:
    """Add the trajectories of files to a collection: each turn once, and none of them if one line is wrong."""
    from mars.trajectories import import_trajectories

    added, known = import_trajectories(files, into)
    if json:
        output.json({"file": str(into), "added": added, "known": known})
        return
    output.print(f"{added} trajectories added to {into}; {known} were in it already")


def _show(found: list[Trajectory], file: Path, json: bool) -> None:
    ends = Counter(one.status.value for one in found)
    rejected, accepted = sum(len(one.rejected) for one in found), sum(one.accepted is not None for one in found)
    if json:
        counts = {"trajectories": len(found), "rejected": rejected, "accepted": accepted, "statuses": dict(ends)}
        output.json({"file": str(file), **counts})
        return
    output.print(f"{len(found)} trajectories in {file}: {rejected} drafts rejected, {accepted} accepted")
    for status, count in sorted(ends.items()):
        output.note(f"  {status}: {count}")


async def _stored(db: str, conversation: str | None) -> list[Trajectory]:
    from mars.persistence.saver import CheckpointSaver
    from mars.trajectories import stored_trajectories

    async with CheckpointSaver.open(db) as saver:
        return [one async for one in stored_trajectories(saver, conversation)]
