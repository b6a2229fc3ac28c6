"""`mars ingest`: a conversation from a file into memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mars.cli.output import Database, JsonFlag, NamespaceOption, open_memory, output, run_async, show_namespace

if TYPE_CHECKING:
    from mars.ingest import IngestReport
    from mars.memory.records import Namespace


def ingest(
    file: Annotated[Path, typer.Argument(help="The conversation.", show_default=False)],
    namespace: NamespaceOption,
    format: Annotated[
        str, typer.Option("--format", "-f", help="locomo, longmemeval, jsonl, text or langchain-messages.")
    ],
    db: Database = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the whole file if anything in it is broken.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Read a conversation from a file into memory. A second run adds nothing."""
    try:
        report: IngestReport = run_async(_ingest, file, format, namespace, db, strict)
    except KeyboardInterrupt:
        output.note("interrupted: what was added stays, and the same command adds the rest")
        raise
    for broken in report.broken[:20]:
        output.note(f"skipped {file}, {broken.line}: {broken.reason}")
    if len(report.broken) > 20:
        output.note(f"… and {len(report.broken) - 20} more")
    if json:
        output.json(report.as_dict())
        return
    known = f", {report.skipped:,} were there already" if report.skipped else ""
    lost = f", {len(report.broken):,} broken" if report.broken else ""
    output.print(f"{report.added:,} turns added to {show_namespace(namespace)}{known}{lost} ({report.seconds:.1f} s)")


async def _ingest(file: Path, format: str, namespace: Namespace, db: str, strict: bool) -> IngestReport:
    from mars.cli.progress import progress_bar
    from mars.ingest import ingest as ingest_file

    async with open_memory(db, create=True) as memory:
        with progress_bar(file.name) as progress:
            return await ingest_file(memory, file, format, namespace, strict=strict, progress=progress)
