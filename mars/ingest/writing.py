"""Ingest: what a reader yields goes into memory in batches, each of them whole or not at all.

Every turn carries an idempotency key that follows from its content and place. So a second run adds nothing, and after
a run that was killed at any instant the next one adds exactly what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync

from mars.errors import InvalidSetting
from mars.ingest.formats import reader
from mars.ingest.reading import BrokenLine, Read
from mars.memory.records import Namespace, NewRecord, check_namespace

if TYPE_CHECKING:
    from mars.memory.engine import Memory

BATCH = 500
"""Turns per transaction."""

KEPT = 20_000
"""Turns that are kept from the first reading of a file; a longer file is read a second time."""

Progress = Callable[[int, int], None]
"""Called with (turns handled, turns in the file) after each batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What came of a file."""

    added: int
    """Turns that are new in memory."""
    skipped: int
    """Turns that were there already."""
    broken: tuple[BrokenLine, ...]
    """What is no turn, with its number and the reason."""
    seconds: float
    """How long it took, on the wall clock."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "added": self.added,
            "skipped": self.skipped,
            "broken": [one.as_dict() for one in self.broken],
            "seconds": round(self.seconds, 3),
        }


async def ingest(
    memory: Memory,
    path: str | Path,
    format: str,
    namespace: Namespace,
    *,
    strict: bool = False,
    now: datetime | None = None,
    batch: int = BATCH,
    keep: int = KEPT,
    progress: Progress | None = None,
) -> IngestReport:
    """Read a conversation from a file into `memory`, and return what came of it. Idempotent.

    The file is read through once before anything is written: `InvalidFile` for one that is missing, not in this
    `format` (see `mars.ingest.FORMATS`) or, if `strict`, broken anywhere. `now` is the time of storing, the memory's
    clock by default. A file of more than `keep` turns is read a second time instead of being held in memory. Raises
    the store's errors too; batches before the one that failed stay.
    """
    started = time.perf_counter()
    if batch < 1:
        raise InvalidSetting(f"a batch holds at least one turn; got {batch}")
    read, place, owner = reader(format), Path(path), check_namespace(namespace)
    total, broken, kept = await run_sync(_survey, read, place, owner, strict, keep)
    turns = iter(kept) if len(kept) == total else _turns(read, place, owner, strict=False)
    added = handled = 0
    while chunk := await run_sync(_next, turns, batch):
        stored = await memory.add_many(chunk, now=now)
        added += stored.added
        handled += len(chunk)
        if progress is not None:
            progress(handled, total)
    return IngestReport(added=added, skipped=handled - added, broken=broken, seconds=time.perf_counter() - started)


def _survey(
    read: Read, path: Path, namespace: Namespace, strict: bool, keep: int
) -> tuple[int, tuple[BrokenLine, ...], list[NewRecord]]:
    """Read everything once: how many turns there are, what is broken, and the first `keep` turns."""
    total = 0
    broken: list[BrokenLine] = []
    kept: list[NewRecord] = []
    for turn in _turns(read, path, namespace, strict=strict, broken=broken):
        total += 1
        if total <= keep:
            kept.append(turn)
    return total, tuple(broken), kept


def _turns(
    read: Read, path: Path, namespace: Namespace, *, strict: bool, broken: list[BrokenLine] | None = None
) -> Iterator[NewRecord]:
    """Yield the turns, and note what is broken; those without a key get one, so that every format is idempotent."""
    for number, found in enumerate(read(path, namespace, strict=strict)):
        if isinstance(found, NewRecord):
            yield found if found.idempotency_key else replace(found, idempotency_key=f"file:{path.stem}:{number}")
        elif broken is not None:
            broken.append(found)


def _next(turns: Iterator[NewRecord], count: int) -> list[NewRecord]:
    return list(islice(turns, count))
