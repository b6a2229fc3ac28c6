"""`mars memory`: correct what a memory holds, and take that back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mars.cli.output import Database, JsonFlag, NamespaceOption, known_namespace, open_memory, output, run_async
from mars.errors import InvalidSetting, InvalidTime

if TYPE_CHECKING:
    from datetime import datetime

    from mars.memory.duplicates import DuplicateGroup
    from mars.memory.records import Record

app = typer.Typer()

Id = Annotated[str, typer.Argument(help="Id of the record, as `mars memory list` shows it.", show_default=False)]
"""One record by its id."""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
"""The option ``--yes``."""


@app.command()
def edit(
    record: Id,
    db: Database = None,
    text: Annotated[str | None, typer.Option(help="What it says from now on.")] = None,
    short_text: Annotated[str | None, typer.Option("--short", help="A shorter rendering for prompts.")] = None,
    importance: Annotated[float | None, typer.Option(help="How much it matters, in [0, 1].")] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ceases to exist, ISO 8601, or never.", metavar="TIME")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Change a record in place. Its history says what was changed, never the words."""
    given = {"text": text, "short_text": short_text, "importance": importance, "expires_at": _expiry(expires)}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not values:
        raise InvalidSetting("nothing to change: give --text, --short, --importance or --expires")

    async def work() -> None:
        async with open_memory(db or "") as memory:
            ends = values.get("expires_at")
            if ends not in (None, "never") and ends <= memory.clock.now():
                raise InvalidTime(f"{expires} is past: the record would be gone; `mars memory delete` deletes it")
            changed = await memory.edit(record, **values)
            _show([changed], memory, json)

    run_async(work)


@app.command()
def delete(
    ids: Annotated[list[str], typer.Argument(help="Ids of records.", show_default=False)],
    db: Database = None,
    force: Annotated[bool, typer.Option("--force", help="Also what other records were derived from.")] = False,
    yes: Yes = False,
    json: JsonFlag = False,
) -> None:
    """Delete records for good; `archive` puts them away instead. Only their history stays, without any text."""
    if not yes:
        _ask_to_delete(len(set(ids)))

    async def work() -> list[str]:
        async with open_memory(db or "") as memory:
            return await memory.purge(ids, force=force)

    gone = run_async(work)
    output.json({"deleted": gone}) if json else output.print(f"{len(gone):,} deleted for good")


@app.command()
def purge(
    db: Database = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Only this namespace.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Yes = False,
    json: JsonFlag = False,
) -> None:
    """Delete for good what has expired, and what was archived longer ago than the audit window and nobody cites."""

    async def work(look: bool) -> list[str]:
        from mars.cli.output import parse_namespace

        async with open_memory(db or "") as memory:
            scope = None if namespace is None else await known_namespace(memory, parse_namespace(namespace))
            return await memory.purge(namespace=scope, dry_run=look)

    look = dry_run or not yes
    gone: list[str] = run_async(work, look)
    if look and gone and not dry_run:
        _ask_to_delete(len(gone))
        gone = run_async(work, False)
    if json:
        output.json({"dry_run": dry_run, "deleted": gone})
    else:
        output.print(f"{len(gone):,} {'would be deleted' if dry_run else 'deleted'} for good")


def _ask_to_delete(count: int) -> None:
    """Ask before what cannot be taken back. Raises `InvalidSetting` where nobody is there."""
    if not sys.stdin.isatty():
        raise InvalidSetting("nobody is there to ask whether to delete for good; nothing was: give --yes")
    typer.confirm(f"Delete {count:,} record(s) for good?", abort=True, err=True)


@app.command()
def undo(record: Id, db: Database = None, json: JsonFlag = False) -> None:
    """Take back that one fact took another's place, given either of them."""

    async def work() -> None:
        async with open_memory(db or "") as memory:
            _show(await memory.undo(record), memory, json)

    run_async(work)


@app.command("as-of")
def as_of(
    time: Annotated[str, typer.Argument(help="A day or a time, ISO 8601.")],
    namespace: NamespaceOption,
    db: Database = None,
    known: Annotated[
        str | None, typer.Option(help="As far as the memory knew then.", metavar="TIME", show_default="now")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only facts about them.")] = None,
    json: JsonFlag = False,
) -> None:
    """Show the facts that held at a time, as far as was known at another."""
    valid_at, known_at = _time(time), _time(known)

    async def work() -> None:
        async with open_memory(db or "") as memory:
            scope = await known_namespace(memory, namespace)
            moment = valid_at or memory.clock.now()
            facts = await memory.as_of(scope, moment, known_at=known_at, subject=subject)
            _show(facts, memory, json, "no fact held then")

    run_async(work)


@app.command()
def duplicates(
    namespace: NamespaceOption,
    db: Database = None,
    merge: Annotated[bool, typer.Option("--merge", help="Archive them; `restore` brings them back.")] = False,
    json: JsonFlag = False,
) -> None:
    """Find records that say what another one says, and merge them if asked."""

    async def work() -> list[DuplicateGroup]:
        async with open_memory(db or "") as memory:
            scope = await known_namespace(memory, namespace)
            groups = await memory.near_duplicates(scope)
            for group in groups if merge else ():
                await memory.merge(group.keep.id, [one.id for one in group.others])
            return groups

    groups = run_async(work)
    if json:
        output.json([_group_values(group) | {"merged": merge} for group in groups])
        return
    for group in groups:
        output.print(f"{group.keep.id}  {_line(group.keep)}")
        for one in group.others:
            output.print(f"  {one.id}  {_line(one)}")
    count = sum(len(group.others) for group in groups)
    if not groups:
        output.note("no record says what another one says")
    else:
        done = "merged" if merge else "may be merged: --merge"
        output.note(f"{count:,} of {len(groups):,} group{'s' * (len(groups) > 1)} {done}")


def _group_values(group: DuplicateGroup) -> dict[str, Any]:
    others = [{"id": one.id, "text": one.text} for one in group.others]
    return {"keep": {"id": group.keep.id, "text": group.keep.text}, "others": others}


def _line(record: Record) -> str:
    from mars.cli.memory_view import shortened

    return shortened(record.text)


def _show(records: list[Record], memory: Any, json: bool, nothing: str = "nothing has changed") -> None:
    from mars.cli.memory_view import record_lines, record_values

    now = memory.clock.now()
    if json:
        output.json([record_values(record, memory.preset, now) for record in records])
    elif records:
        output.print(record_lines(records, memory.preset, now))
    else:
        output.note(nothing)


def _expiry(text: str | None) -> datetime | str | None:
    return text if text == "never" else _time(text)


def _time(text: str | None) -> datetime | None:
    """Return the time that a user wrote; without an offset it is UTC. Raises `InvalidTime`."""
    from datetime import UTC, datetime

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidTime(f"{text!r} is no time: write 2026-03-01 or 2026-03-01T12:00+01:00 ({error})") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
