"""MARS's memory in the comparison."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.memory_recall import NOW
from benchmarks.memory_writes import Given
from benchmarks.peers.system import SPACE, System
from benchmarks.peers.workload import PASS, K, Lookup, Question, Row
from mars.memory import Memory, NewRecord
from mars.memory.bounds import EXHAUSTIVE
from mars.memory.filters import ANYTHING_ACTIVE, RecallFilter
from mars.memory.interfaces import Reader
from mars.memory.presets import DEFAULT
from mars.memory.records import Hit, Vector
from mars.memory.shard import Shard

HOME = (SPACE,)
FILTER = {"half": PASS}
DAYS = 300
"""So many days back the rows lie, a year's worth of retentions; none is forgotten yet."""
PRESET = replace(DEFAULT, lexical_weight=Given.lexical_weight)
"""Half words, half vectors: left alone, a store whose words are random gives its vectors no say, and reads none."""


class Looked(Given):
    """The embedder of a store whose records bring their vectors and whose questions are looked up."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return the vectors of questions."""
        return np.stack([self._lookup[text] for text in texts])


class Mars(System):
    """`mars.memory.Memory` over SQLite, awaited on one event loop as an application does."""

    as_lists: ClassVar[bool] = False

    def __init__(self, folder: Path, durability: str, lookup: Lookup) -> None:
        super().__init__(folder, durability, lookup)
        import mars.memory.backends.sql  # noqa: F401 - imports are not timed

        self._runner = asyncio.Runner()

    def open(self) -> None:
        """Open the database; the shard is loaded at the first question."""
        embedder = Looked(self.lookup)
        url = f"sqlite:///{self.folder / 'memory.db'}"
        self._memory = Memory.open(url, embedder=embedder, preset=PRESET, synchronous=self.durability)
        self._runner.run(self._memory.__aenter__())

    def close(self) -> None:
        """Close the database."""
        self._runner.run(self._memory.close())

    def _record(self, row: Row) -> NewRecord:
        return NewRecord(text=row.text, namespace=HOME, metadata=row.metadata, embedding=row.vector)

    def add(self, row: Row) -> None:
        """Add one record."""
        self._runner.run(self._add(row))

    async def _add(self, row: Row) -> None:
        await self._memory.add(self._record(row), now=NOW)

    def add_many(self, rows: Sequence[Row]) -> None:
        """Add records in one transaction, at times spread over most of a year."""
        times = [NOW - timedelta(days=row.number * 37 % DAYS) for row in rows]
        self._runner.run(self._memory.add_many([self._record(row) for row in rows], now=times))

    async def _recall(self, question: Question, filtered: bool) -> list[Hit]:
        condition = FILTER if filtered else None
        return await self._memory.recall(question.text, namespace=HOME, k=K, filter=condition, now=NOW)

    def recall(self, question: Question, filtered: bool) -> list[Hit]:
        """Recall by words, vectors and retention."""
        return self._runner.run(self._recall(question, filtered))

    def texts(self, answer: Any) -> list[str]:
        """Return the texts of the hits."""
        return [hit.record.text for hit in answer]

    def reindex(self) -> None:
        """Rebuild the shards and the Chroma index, which recall does not need."""
        self._runner.run(self._memory.reindex())

    def own_answers(self, questions: Sequence[Question], filtered: bool) -> list[list[str]]:
        """Return what comes first when every row is scored in full."""
        asked = RecallFilter(metadata=FILTER) if filtered else ANYTHING_ACTIVE
        memory = self._memory

        def answers(reader: Reader) -> list[list[str]]:
            shard = Shard(
                HOME,
                dimension=Given.dimension,
                preset=PRESET,
                lexical_weight=Given.lexical_weight,
                bounds=EXHAUSTIVE,
            )
            shard.follow(reader)
            found = []
            for question in questions:
                ids = [each.id for each in shard.search(question.text, question.vector, now=NOW, k=K, filter=asked)]
                found.append([record.text for record in reader.get(ids) if record is not None])
            return found

        return self._runner.run(memory.read(answers))

    def timed_adds(self, rows: Sequence[Row], seconds: float) -> list[float]:
        """Time adds on the running loop."""

        async def adds() -> list[float]:
            spent, end = list[float](), time.perf_counter() + seconds
            for record in [self._record(row) for row in rows]:
                started = time.perf_counter()
                await self._memory.add(record, now=NOW)
                spent.append(time.perf_counter() - started)
                if started > end:
                    break
            return spent

        return self._runner.run(adds())

    def timed_recalls(
        self, questions: Sequence[Question], filtered: bool, seconds: float
    ) -> list[tuple[float, list[str]]]:
        """Time recalls on the running loop."""

        async def recalls() -> list[tuple[float, list[str]]]:
            found, end = list[tuple[float, list[str]]](), time.perf_counter() + seconds
            for question in questions:
                started = time.perf_counter()
                hits = await self._recall(question, filtered)
                found.append((time.perf_counter() - started, self.texts(hits)))
                if started > end:
                    break
            return found

        return self._runner.run(recalls())
