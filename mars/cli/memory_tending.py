"""`mars memory`: doctor, repair, reembed, backup and restore."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mars.cli.output import Database, JsonFlag, open_memory, output, run_async, show_namespace, tend
from mars.errors import InvalidSetting

if TYPE_CHECKING:
    from mars.memory.copies import Copied
    from mars.memory.doctor import Diagnosis
    from mars.memory.findings import Finding

UNSOUND = 1
"""Exit code of `doctor` and `repair` where something is wrong with the store."""

SHOWN = 20
"""So many findings are printed; ``--json`` gives all."""

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Where the index lies.", show_default="beside the SQLite file: FILE.chroma"),
]
"""The option ``--folder``."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def doctor(db: Database = None, folder: Folder = None, json: JsonFlag = False) -> None:
    """Look for everything that diverges, in the records and in the Chroma index. Exit code 1 if something does."""

    async def work() -> Diagnosis:
        from mars.cli.progress import progress_bar

        async with open_memory(db or "", **_index(folder)) as memory:
            with progress_bar("records") as report:
                return await memory.doctor(report)

    seen = run_async(work)
    if json:
        output.json(diagnosis_values(seen))
    else:
        _print_findings(seen.findings)
        output.print(f"{seen.records:,} records, {seen.vectors:,} vectors, index {seen.index}: {_verdict(seen)}")
    if not seen.clean:
        raise typer.Exit(UNSOUND)


@app.command()
def repair(
    db: Database = None,
    folder: Folder = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be mended.")] = False,
    json: JsonFlag = False,
) -> None:
    """Mend what the doctor finds. No text is lost; what cannot be decided is left. Exit code 1 if something is left."""

    async def work() -> Any:
        from mars.cli.progress import progress_bar

        async with open_memory(db or "", **_index(folder)) as memory:
            with progress_bar("rows") as report:
                return await memory.repair(report, dry_run=dry_run)

    done = run_async(work)
    if json:
        listed = {"mended": list(map(finding_values, done.mended)), "left": list(map(finding_values, done.left))}
        output.json({"clean": done.clean, "dry_run": done.dry_run, **listed})
    else:
        _print_findings(done.mended if dry_run else done.left)
        would = "would be mended" if dry_run else "mended"
        output.print(f"{len(done.mended):,} {would}, {len(done.left):,} left")
    if done.left:
        raise typer.Exit(UNSOUND)


@app.command()
def reembed(
    embedder: Annotated[str, typer.Option(help="A folder with MiniLM-class weights, or hashing, which is built in.")],
    db: Database = None,
    folder: Folder = None,
    json: JsonFlag = False,
) -> None:
    """Make every vector anew with another embedder. Interrupted, the same command goes on."""
    passed = [0]

    async def work() -> str:
        from mars.cli.progress import progress_bar

        with progress_bar("records") as report:

            def told(done: int, total: int) -> None:
                passed[0] = done
                report(done, total)

            async with open_memory(db or "", embedder=embedder, reembed=told, **_index(folder)) as memory:
                return memory.embedder.id

    name = run_async(work)
    if json:
        output.json({"embedder": name, "records": passed[0]})
    else:
        setting = "Unset MARS_EMBEDDER" if embedder == "hashing" else f"Set MARS_EMBEDDER to {embedder}"
        output.print(f"{passed[0]:,} records passed; the vectors are those of {name}. {setting}")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write, such as memory.jsonl.", show_default=False)],
    db: Database = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Copy the whole memory into one portable file, as one moment shows it. Others may write meanwhile."""

    async def work() -> Any:
        from mars.cli.progress import progress_bar

        async with open_memory(db or "") as memory:
            with progress_bar("changes") as report:
                return await memory.backup(file, overwrite=overwrite, progress=report)

    _print_copied(run_async(work), "copied", json)


@app.command()
def restore(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of archived or forgotten records.", show_default=False)
    ] = None,
    db: Database = None,
    file: Annotated[
        Path | None, typer.Option("--from", help="A file that `mars memory backup` wrote.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Give up what the memory holds.")] = False,
    json: JsonFlag = False,
) -> None:
    """Bring archived records back, as fresh as new; or with --from a whole memory from its backup."""
    if (file is None) == (not ids):
        raise InvalidSetting("name the ids of records to bring back, or a backup: mars memory restore --from FILE")

    async def replace() -> Any:
        from mars.cli.progress import progress_bar
        from mars.memory.copies import check

        assert file is not None
        check(file)  # before a database is made for it
        async with open_memory(db or "", create=True) as memory:
            with progress_bar("changes") as report:
                return await memory.restore_backup(file, force=force, progress=report)

    if file is not None:
        _print_copied(run_async(replace), "restored", json)
        return
    tend(db, json, "restored", ids or [], lambda memory: memory.restore(ids))


def _print_copied(copied: Copied, done: str, json: bool) -> None:
    if json:
        output.json(
            {"file": str(copied.path), "records": copied.records, "head": copied.head, "blake2b": copied.digest}
        )
    else:
        output.print(f"{copied.records:,} records {done}: {copied.path}")


def diagnosis_values(seen: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as JSON values."""
    values = {"clean": seen.clean, "records": seen.records, "vectors": seen.vectors, "head": seen.head}
    index = {"state": seen.index, "mark": seen.index_mark, "vectors": seen.index_vectors}
    return {**values, "index": index, "findings": list(map(finding_values, seen.findings))}


def finding_values(found: Finding) -> dict[str, Any]:
    """Return a finding as JSON values."""
    return asdict(found) | {"kind": found.kind.value}


def _index(folder: Path | None) -> dict[str, Any]:
    return {} if folder is None else {"index": folder}


def _verdict(seen: Diagnosis) -> str:
    return "nothing is wrong" if seen.clean else f"{len(seen.findings):,} found; {seen.findings[0].remedy}"


def _print_findings(findings: tuple[Finding, ...]) -> None:
    for one in findings[:SHOWN]:
        where = f" ({show_namespace(one.namespace)})" if one.namespace else ""
        output.print(f"{one.kind.value}: {one.message}{where}")
    if len(findings) > SHOWN:
        output.print(f"… and {len(findings) - SHOWN:,} more; --json lists them")
