"""`mars memory`: look into a memory, and tend it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mars.cli.memory_editing import app as editing
from mars.cli.memory_fitting import app as fitting
from mars.cli.memory_tending import app as tending
from mars.cli.output import (
    Database,
    JsonFlag,
    NamespaceOption,
    check_exists,
    known_namespace,
    open_memory,
    output,
    run_async,
    show_namespace,
    tend,
)
from mars.errors import InvalidSetting, NotFound

app = typer.Typer(
    help="Look into a memory, and tend it.", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
app.registered_commands += editing.registered_commands + tending.registered_commands + fitting.registered_commands

Ids = Annotated[list[str], typer.Argument(help="Ids of records, as `mars memory list` shows them.", show_default=False)]
"""Records by their ids."""

IndexFolder = Annotated[
    Path | None, typer.Option(help="Where the index lies.", show_default="beside the SQLite file: FILE.chroma")
]
"""The option ``--folder``."""


@app.command("list")
def list_records(
    namespace: NamespaceOption,
    db: Database = None,
    status: Annotated[
        str, typer.Option(help="active, superseded, archived, quarantined, or all.", metavar="STATUS")
    ] = "active",
    kind: Annotated[str | None, typer.Option(help="episode, fact, reflection or procedure.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    json: JsonFlag = False,
) -> None:
    """List the newest records of a namespace with their retention now."""

    async def work() -> None:
        from mars.cli.memory_view import record_lines, record_values

        async with open_memory(db or "") as memory:
            scope = await known_namespace(memory, namespace)
            records = await memory.list(
                scope,
                statuses=_statuses(status),
                kinds=() if kind is None else (_kind(kind),),
                newest_first=True,
                limit=limit,
            )
            now = memory.clock.now()
            if json:
                output.json([record_values(record, memory.preset, now) for record in records])
            else:
                output.print(record_lines(records, memory.preset, now))

    run_async(work)


@app.command()
def show(
    record: Annotated[str, typer.Argument(help="Id of the record.")], db: Database = None, json: JsonFlag = False
) -> None:
    """Show one record in full."""

    async def work() -> None:
        from mars.cli.memory_view import details, record_values

        async with open_memory(db or "") as memory:
            found = await memory.get(record)
            if found is None:
                raise NotFound(f"no record has the id {record}; `mars memory list` shows them")
            values = record_values(found, memory.preset, memory.clock.now())
            output.json(values) if json else output.print(details(values))

    run_async(work)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    namespace: NamespaceOption,
    db: Database = None,
    k: Annotated[int, typer.Option("-k", min=1, help="At most so many.")] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Say how each rank came about.")] = False,
    diversity: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="How much each hit shall differ from those before it."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Recall records for a query, best first. Strengthens nothing."""

    async def work() -> None:
        from mars.cli.memory_view import hit_table, hit_values

        async with open_memory(db or "") as memory:
            scope = await known_namespace(memory, namespace)
            hits = await memory.recall(query, namespace=scope, k=k, explain=explain, diversity=diversity)
            now = memory.clock.now()
            if json:
                output.json([hit_values(hit, memory.preset, now) for hit in hits])
            elif hits:
                output.print(hit_table(hits))
            else:
                output.note("nothing relevant is remembered")

    run_async(work)


@app.command()
def namespaces(db: Database = None, json: JsonFlag = False) -> None:
    """List the namespaces with the number of their records."""

    async def work() -> None:
        async with open_memory(db or "") as memory:
            found = await memory.namespaces()
        if json:
            output.json([{"namespace": list(name), "records": count} for name, count in found.items()])
            return
        for name, count in found.items():
            output.print(f"{count:>9,}  {show_namespace(name)}")

    run_async(work)


@app.command()
def stats(
    db: Database = None,
    index: Annotated[
        bool,
        typer.Option("--index", help="Let the Chroma index catch up, and measure what an approximate recall misses."),
    ] = False,
    folder: IndexFolder = None,
    sample: Annotated[int, typer.Option(min=1, help="With --index: about so many records are asked for.")] = 100,
    k: Annotated[int, typer.Option("-k", min=1, help="With --index: so many hits each.")] = 10,
    seed: Annotated[int, typer.Option(help="With --index: draws the records.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Show what the memory holds, in figures."""

    async def work() -> None:
        from dataclasses import asdict

        from mars.cli.memory_view import details
        from mars.cli.progress import progress_bar

        async with open_memory(db or "", index=(folder or True) if index else None) as memory:
            measured: dict[str, Any] = {}
            if index:
                with progress_bar("changes") as report:
                    got = await memory.approximate_recall(sample=sample, k=k, seed=seed, progress=report)
                measured["approximate_recall"] = asdict(got)
            found = asdict(await memory.stats()) | measured
        found["loaded"] = [{"namespace": list(name), "bytes": size} for name, size in found["loaded"].items()]
        values = {
            name: {str(key): count for key, count in value.items()} if isinstance(value, dict) else value
            for name, value in found.items()
        }
        output.json(values) if json else output.print(details(values))

    run_async(work)


@app.command()
def history(
    record: Annotated[str, typer.Argument(help="Id of the record.")], db: Database = None, json: JsonFlag = False
) -> None:
    """Show what happened to a record, oldest first."""

    async def work() -> None:
        from mars.cli.memory_view import change_values

        async with open_memory(db or "") as memory:
            changes = await memory.history(record)
        if not changes:
            raise NotFound(f"nothing ever happened to {record!r}; `mars memory list` shows the ids")
        if json:
            output.json([change_values(change) for change in changes])
            return
        for change in changes:
            detail = ", ".join(f"{name}={value}" for name, value in change.detail.items())
            output.print(f"{change.at.isoformat(timespec='seconds')}  {change.event}  {detail}")

    run_async(work)


@app.command()
def archive(
    ids: Ids,
    db: Database = None,
    because: Annotated[str, typer.Option(help="Why; kept in the history.")] = "put away",
    json: JsonFlag = False,
) -> None:
    """Put records away: hidden from recall, restorable."""
    tend(db, json, "archived", ids, lambda memory: memory.archive(ids, because))


@app.command()
def pin(
    ids: Ids,
    db: Database = None,
    unpin: Annotated[bool, typer.Option("--unpin", help="Let them fade again.")] = False,
    json: JsonFlag = False,
) -> None:
    """Keep records from fading."""
    done = "unpinned" if unpin else "pinned"
    tend(db, json, done, ids, lambda memory: memory.unpin(ids) if unpin else memory.pin(ids))


@app.command()
def review(
    ids: Ids,
    db: Database = None,
    reject: Annotated[bool, typer.Option("--reject", help="Archive them instead.")] = False,
    json: JsonFlag = False,
) -> None:
    """Let quarantined records (what a tool or the web said) take part in recall."""
    tend(db, json, "rejected" if reject else "accepted", ids, lambda memory: memory.review(ids, not reject))


@app.command()
def sweep(
    db: Database = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Only this namespace.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be archived.")] = False,
    json: JsonFlag = False,
) -> None:
    """Archive what is forgotten. No read depends on it."""

    async def work() -> None:
        from mars.cli.output import parse_namespace

        async with open_memory(db or "") as memory:
            scope = None if namespace is None else await known_namespace(memory, parse_namespace(namespace))
            swept = await memory.sweep(namespace=scope, dry_run=dry_run)
        counts = {"archived": len(swept.archived), "expired": len(swept.expired), "kept": swept.kept}
        if json:
            output.json({**counts, "dry_run": swept.dry_run, "ids": [*swept.archived, *swept.expired]})
            return
        would = "would be " if dry_run else ""
        output.print(f"{counts['archived']:,} {would}archived, {counts['expired']:,} expired, {counts['kept']:,} kept")

    run_async(work)


@app.command()
def reindex(
    db: Database = None,
    folder: IndexFolder = None,
    json: JsonFlag = False,
) -> None:
    """Build the Chroma index anew from the records. Nothing but a copy is lost with it."""

    async def work() -> int:
        from mars.cli.progress import progress_bar

        async with open_memory(db or "", index=folder) as memory:
            with progress_bar("vectors") as report:
                return await memory.reindex(report, gently=False)

    count = run_async(work)
    output.json({"indexed": count}) if json else output.print(f"{count:,} vectors indexed")


@app.command()
def migrate(db: Database = None, json: JsonFlag = False) -> None:
    """Bring an older memory to the schema of this version. Copy its files first, while nobody has it open."""
    from mars.memory.backends.sql import migrate as migrate_store

    check_exists(db or "")
    before, after = migrate_store(db or "")
    if json:
        output.json({"before": before, "after": after})
    else:
        output.print(f"schema {after}: nothing to do" if before == after else f"schema {before} → {after}")


def _statuses(name: str) -> tuple[Any, ...]:
    from mars.memory.records import Status

    known = {status.value: (status,) for status in Status} | {"all": tuple(Status)}
    if name not in known:
        raise InvalidSetting(f"unknown status {name!r}; known are {', '.join(known)}")
    return known[name]


def _kind(name: str) -> Any:
    from mars.memory.records import Kind

    try:
        return Kind(name)
    except ValueError:
        raise InvalidSetting(f"unknown kind {name!r}; known are {', '.join(Kind)}") from None
