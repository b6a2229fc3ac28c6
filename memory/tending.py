"""The tending half of a memory: what keeps the truth and all that is derived from it in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from anyio import to_thread

from mars.errors import InvalidSetting, StoreCorrupt
from mars.memory import copies, doctor, points, repairing
from mars.memory.copies import Copied
from mars.memory.doctor import Diagnosis
from mars.memory.findings import Finding, FindingKind
from mars.memory.interfaces import Backend, Reader, Transaction, VectorIndex
from mars.memory.preparing import check_embedder, check_settled
from mars.memory.reading import Reading
from mars.memory.repairing import Repair

Progress = Callable[[int, int], None]

REPAIR_BATCH = 200
"""So many rows are mended in one transaction."""

INDEX_BATCH = 2_000
"""So many records are read in one view for the index."""

ROUNDS = 4
"""So often a repair looks again at what it has done: one mend may bring another divergence to light."""


class Tending(Reading):
    """What `mars.memory.engine.Memory` can do for its own upkeep; methods raise `StoreClosed` unless it is open."""

    async def doctor(self, progress: Progress | None = None, *, now: datetime | None = None) -> Diagnosis:
        """Read all of the store, and of its Chroma index if there is one, and name everything that diverges.

        Writes nothing. The truth is read in one consistent view, beside writers. `progress` is called on a worker
        thread with (rows read, rows in all).
        """
        moment, backend, embedder = self._at(now), self.backend, self.embedder

        def look() -> Diagnosis:
            seen = backend.read(lambda reader: doctor.examine(reader, embedder, moment, progress))
            if any(one.kind is FindingKind.UNREADABLE for one in seen.findings):
                return seen
            with self._index_to_look_at() as index:
                if index is None:
                    return seen
                state, held, found = doctor.look_at_index(backend, index)
            return replace(
                seen,
                findings=seen.findings + found,
                index=state,
                index_mark=None if held is None else held.mark,
                index_vectors=None if held is None else held.vectors,
                index_problem=None if self._follower is None else self._follower.state(seen.head).problem,
            )

        return await to_thread.run_sync(look, limiter=self._limiter)

    async def repair(
        self, progress: Progress | None = None, *, dry_run: bool = False, now: datetime | None = None
    ) -> Repair:
        """Mend everything that `doctor` names and that can be decided; idempotent, in batches, beside other writers.

        What is derived is computed again from the texts: hashes, entropies, vectors, columns, indexes. No text is ever
        lost. What cannot be decided is left, and returned as such. Each record that was touched has ``repaired`` in its
        history. `progress` is called with (rows mended, rows to mend). Raises `EmbedderMismatch` where the vectors
        are, or are becoming, another embedder's: `Memory.open` with `reembed` comes first then.
        """
        moment = self._at(now)
        check_embedder(await self.read(lambda reader: reader.meta()), self.embedder)
        seen = await self.doctor(now=moment)
        if dry_run:
            able = tuple(one for one in seen.findings if one.kind is not FindingKind.UNREADABLE)
            left = tuple(one for one in seen.findings if one.kind is FindingKind.UNREADABLE)
            return Repair(mended=able, left=left, dry_run=True, diagnosis=seen)
        found: dict[Finding, None] = {}
        for _ in range(ROUNDS):
            fresh = [one for one in seen.findings if one not in found]
            if not fresh:
                break
            found |= dict.fromkeys(seen.findings)
            await self._mend(seen.findings, moment, progress)
            seen = await self.doctor(now=moment)
        mended = tuple(one for one in found if one not in seen.findings)
        return Repair(mended=mended, left=seen.findings, dry_run=False, diagnosis=seen)

    async def _mend(self, findings: Sequence[Finding], now: datetime, progress: Progress | None) -> None:
        kinds, rules = {one.kind for one in findings}, self._rules
        if kinds & repairing.WHOLE:
            await self._mend_some(lambda tx: repairing.mend_whole(tx, rules, now))
        if kinds & repairing.TABLES:
            try:
                await self._mend_some(lambda tx: tx.rebuild_indexes())
            except StoreCorrupt:  # more than its indexes is damaged: the doctor says so again
                kinds -= repairing.TABLES
        await self._mend_rows([one for one in findings if one.kind in repairing.ROWS], now, progress)
        rivals = [one.record for one in findings if one.kind is FindingKind.RIVAL_FACTS and one.record]
        for start in range(0, len(rivals), REPAIR_BATCH):
            await self._mend_some(partial(repairing.mend_rivals, ids=rivals[start : start + REPAIR_BATCH], now=now))
        if kinds - repairing.INDEX:
            self._recaller.forget()
        if kinds & repairing.INDEX:
            await self.reindex()

    async def _mend_rows(self, findings: Sequence[Finding], now: datetime, progress: Progress | None) -> None:
        numbers = sorted({one.number for one in findings if one.number is not None})
        embed = set(repairing.to_embed(findings))
        for start in range(0, len(numbers), REPAIR_BATCH):
            batch = numbers[start : start + REPAIR_BATCH]
            texts = await self.read(partial(_texts, numbers=[one for one in batch if one in embed]))
            made = await to_thread.run_sync(repairing.embed_again, texts, self._rules, limiter=self._limiter)
            await self._mend_some(partial(repairing.mend_rows, numbers=batch, vectors=made, rules=self._rules, now=now))
            repairing.telling(progress, start + len(batch), len(numbers))

    async def _mend_some(self, work: Callable[[Transaction], None]) -> None:
        """Commit one step of a repair."""
        await self._write(work)
        points.reach("repair_step")

    async def backup(self, path: str | Path, *, overwrite: bool = False, progress: Progress | None = None) -> Copied:
        """Copy the whole store into one file, as one moment shows it; others may write meanwhile.

        The file is portable: `restore_backup` takes it back on any backend. It appears when it is complete and has been
        read through. `progress` is called on a worker thread with (`seq` reached, `seq` aimed at). Raises `InvalidFile`
        where there is a file already, unless `overwrite`, and for a file of the store itself; `EmbedderMismatch` while
        the store is changing its embedder: no store could take back vectors of two.
        """
        backend = self.backend
        try:
            folder = self._index_folder(backend)
        except InvalidSetting:  # a store that is no file, and nobody named a folder
            folder = None
        target = await to_thread.run_sync(copies.check_target, Path(path), backend.url, folder, limiter=self._limiter)

        def copy(reader: Reader) -> Copied:
            check_settled(reader.meta())
            return copies.write(reader, target, overwrite, progress)

        return await self.read(copy)

    async def restore_backup(
        self, path: str | Path, *, force: bool = False, progress: Progress | None = None
    ) -> Copied:
        """Let the store hold what a copy holds, all or nothing; whoever has it open sees that at the next call.

        The file is read through before anything is written. With `force` a store that is not empty is emptied first, in
        the same transaction. A restore is exact: the preset's capacity applies at the next write. Raises `InvalidFile`
        for a damaged copy, `EmbedderMismatch` for one of another embedder, `InvalidInput` for a store that is not
        empty.
        """
        copied = await to_thread.run_sync(copies.check, Path(path), limiter=self._limiter)
        check_embedder(copied.meta, self.embedder)
        await self._write(lambda tx: copies.load(tx, copied, force, progress))
        return copied

    async def reindex(self, progress: Progress | None = None, *, gently: bool = True) -> int:
        """Rebuild what is derived from the truth, shards and the Chroma index; return how many vectors that holds.

        Each batch is read in a view of its own, so that the log of a busy SQLite store is copied back meanwhile. From
        then on the index follows as long as the memory is open. `gently` keeps this process answering meanwhile; a
        program that does nothing else is done sooner without. `progress` is called on a worker thread with (`seq`
        reached, `seq` aimed at).
        """
        backend, recaller, index = self.backend, self._recaller_if_open(), self._vector_index()

        def rebuild() -> int:
            recaller.forget()
            with self._following().held():
                index.clear()
                held = _follow(backend, index, progress, gently)
            self._following().wake(urgent=True)
            return held

        return await to_thread.run_sync(rebuild, limiter=self._limiter)

    @contextmanager
    def _index_to_look_at(self) -> Iterator[VectorIndex | None]:
        """Lend the derived index for a look: that of this memory if it is open, else one that is closed again."""
        if self._index is not None:
            yield self._index
            return
        try:
            index = self._make_index()
        except InvalidSetting:  # a store that is no file, and nobody named a folder
            yield None
            return
        try:
            yield index
        finally:
            index.close()


def _follow(backend: Backend, index: VectorIndex, progress: Progress | None, gently: bool) -> int:
    """Let an empty index follow the truth, no view being open while it works; return how many vectors it then holds."""
    mark, held = 0, set[str]()
    while True:
        update = backend.read(partial(index.pending, after=mark, limit=INDEX_BATCH))
        mark = index.apply(update, gently=gently)
        held.difference_update(*update.gone.values())
        held.update(*update.vectors.values())
        repairing.telling(progress, mark, update.head)
        if mark >= update.head:
            return len(held)


def _texts(reader: Reader, numbers: Sequence[int]) -> dict[int, str]:
    """Return the texts of these rows."""
    rows = (row for number in numbers for row in reader.stored(number - 1, 1) if row.number == number)
    return {row.number: row.record.text for row in rows if row.record is not None}
