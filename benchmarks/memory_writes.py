"""How fast records are written, next to the same rows written by bare sqlite3 in the same run.

    python -m benchmarks.memory_writes [--rows 1000 10000 100000] [--rounds 300]

Records carry their vectors (384 dimensions): embedding is excluded. For each size of store and each durability: `add`
is one awaited `Memory.add`, `in_a_row` the same with nothing in between, `tasks` are 100 tasks that each await one
after the other, `bulk` is `add_many` of 1,000 records, `distilled` one awaited reflection, for which duplicates are
looked for. The floor writes the same three rows per record (record, vector, history) with the same indexes through
Python's sqlite3: one transaction for each (`floor_add`), or 1,000 in one (`floor_bulk`). No file may be written on an
event loop: `floor_awaited` is the first on a thread of its own, awaited, and `floor_hop` such a thread that does
nothing. Rounds of all alternate, so that what else the machine does falls on all. Times in milliseconds; `per_second`
is the median of the rounds, `per_cpu_second` the same by processor time of all threads, which what else the machine
does matters less to; `add_to_floor`, `add_to_awaited` and `bulk_to_floor` are ratios of medians, `largest_to_smallest`
that of `add` over the sizes of store.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

from mars.memory import Memory
from mars.memory.backends.rows import change_row, stored_row
from mars.memory.backends.statements import statements
from mars.memory.interfaces import Reader, Selection
from mars.memory.records import Change, Kind, NewRecord, Vector

HOME = ("bench",)
TASKS, EACH, BULK = 100, 5, 1000
WORDS = "heron weir barge lock river canal towpath reed otter mill bridge boat heather rain stone ferry".split()
SQL = statements("sqlite")
Row = tuple[Any, ...]


class Given:
    """The embedder of a store whose records all bring their vectors."""

    id = "given-384"
    dimension = 384
    lexical_weight = 0.5

    def embed(self, texts: Sequence[str]) -> Vector:
        """Refuse: nothing is to be embedded here."""
        raise AssertionError(f"{len(texts)} texts were embedded")


class Source:
    """An endless supply of new records with vectors."""

    def __init__(self) -> None:
        rows = np.random.default_rng(1).standard_normal((4096, Given.dimension)).astype(np.float32)
        self._vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        self._numbers = count()

    def take(self, size: int) -> list[NewRecord]:
        """Return so many records."""
        return [self._record(next(self._numbers)) for _ in range(size)]

    def _record(self, number: int) -> NewRecord:
        words = " ".join(WORDS[(number * step + step) % len(WORDS)] for step in range(1, 9))
        return NewRecord(text=f"{number}: {words}", namespace=HOME, embedding=self._vectors[number % 4096])


class Floor:
    """The store's tables, written to by bare sqlite3."""

    def __init__(self, file: Path, synchronous: str, template: tuple[Row, Row, Row], seq: int) -> None:
        self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        for setting in ("wal_autocheckpoint = 4000", f"synchronous = {synchronous}", "cache_size = -16000"):
            self._database.execute(f"PRAGMA {setting}")
        self._template = template
        self._seq = seq

    def rows(self, size: int) -> list[tuple[Row, Row, Row]]:
        """Return the three rows of so many new records, made beforehand."""
        record, vector, change = self._template
        made = []
        for _ in range(size):
            self._seq += 1
            seq = self._seq
            one = f"{seq:08d}{record[1][8:]}"
            digest = f"{seq * 0x9E3779B97F4A7C15 % (1 << 128):032x}"
            hashed = tuple(digest if value == record[-4] else value for value in record[3:])
            made.append(((seq, one, seq, *hashed), (seq, *vector[1:]), (seq, one, *change[2:])))
        return made

    def write(self, rows: list[tuple[Row, Row, Row]]) -> None:
        """Write rows in one transaction."""
        run = self._database.execute if len(rows) == 1 else self._database.executemany
        self._database.execute("BEGIN IMMEDIATE")
        for statement, column in ((SQL.insert, 0), (SQL.put_vector, 1), (SQL.log, 2)):
            given: Any = rows[0][column] if len(rows) == 1 else [row[column] for row in rows]
            run(statement, given)
        self._database.execute(SQL.set_head, (self._seq,))
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the database."""
        self._database.close()


class Hop:
    """A thread that does work which is awaited: a queue on the way there, a call into the loop on the way back."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Callable[[], object], asyncio.Future[None]] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._run)
        self._thread.start()

    async def do(self, work: Callable[[], object]) -> None:
        """Have work done on the thread."""
        done = self._loop.create_future()
        self._queue.put((work, done))
        await done

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            work, done = item
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - whoever waits gets it
                self._loop.call_soon_threadsafe(done.set_exception, error)
            else:
                self._loop.call_soon_threadsafe(done.set_result, None)

    def close(self) -> None:
        """End the thread."""
        self._queue.put(None)
        self._thread.join()


def distilled(record: NewRecord) -> NewRecord:
    """Return a record as a reflection, of which near-duplicates are looked for."""
    return replace(record, kind=Kind.REFLECTION)


def template(reader: Reader) -> tuple[Row, Row, Row]:
    """Return the rows of some record of a store: record, vector, change."""
    (record,) = reader.select(Selection(limit=1))
    vector = reader.vectors([record.id])[record.id]
    change: Change = reader.history(record.id)[0]
    return stored_row(record), (0, record.embedder, vector.size, vector.tobytes()), change_row(change)


def figures(times: list[float], size: int) -> dict[str, float]:
    """Return the median, the 95th percentile and the least time in milliseconds, and records per second."""
    middle = statistics.median(times)
    late = statistics.quantiles(times, n=20)[-1]
    return {
        "median_ms": round(middle * 1e3, 4),
        "p95_ms": round(late * 1e3, 4),
        "least_ms": round(min(times) * 1e3, 4),
        "per_second": round(size / middle),
    }


async def timed(work: Callable[[], Awaitable[object]], cpu: list[float]) -> float:
    """Return the seconds that a piece of work takes, and note those of the processor, of all threads."""
    started, spent = time.perf_counter(), time.process_time()
    await work()
    cpu.append(time.process_time() - spent)
    return time.perf_counter() - started


async def from_tasks(memory: Memory, news: list[NewRecord]) -> None:
    """Add records from 100 tasks, each one after the other."""

    async def some(start: int) -> None:
        for record in news[start::TASKS]:
            await memory.add(record)

    async with asyncio.TaskGroup() as group:
        for task in range(TASKS):
            group.create_task(some(task))


async def fill(memory: Memory, source: Source, rows: int) -> None:
    """Bring a store to a number of rows."""
    there = (await memory.stats()).head
    for start in range(there, rows, 5000):
        await memory.add_many(source.take(min(5000, rows - start)))


async def measure(folder: Path, rows: int, synchronous: str, rounds: int) -> dict[str, Any]:
    """Return the figures of one size and durability."""
    source, times, cpu = Source(), dict[str, list[float]](), dict[str, list[float]](add=[], tasks=[], bulk=[])
    file = folder / f"{rows}-{synchronous}.db"
    async with Memory.open(f"sqlite:///{file}", embedder=Given(), synchronous=synchronous) as memory:
        await fill(memory, source, rows)
        pattern = await memory.read(template)
        twin = folder / "floor.db"
        with sqlite3.connect(file) as database, sqlite3.connect(twin) as copy:
            database.backup(copy)
            copy.execute("PRAGMA journal_mode = WAL")
        floor, hop = Floor(twin, synchronous, pattern, 10 * rows), Hop()
        for _ in range(rounds):
            (new,), row, away = source.take(1), floor.rows(1), floor.rows(1)
            times.setdefault("add", []).append(await timed(lambda new=new: memory.add(new), cpu["add"]))  # type: ignore[misc]
            started = time.perf_counter()
            floor.write(row)
            times.setdefault("floor_add", []).append(time.perf_counter() - started)
            started = time.perf_counter()
            await hop.do(lambda away=away: floor.write(away))  # type: ignore[misc]
            times.setdefault("floor_awaited", []).append(time.perf_counter() - started)
            started = time.perf_counter()
            await hop.do(lambda: None)
            times.setdefault("floor_hop", []).append(time.perf_counter() - started)
        for (new,) in (source.take(1) for _ in range(rounds)):
            times.setdefault("in_a_row", []).append(await timed(lambda new=new: memory.add(new), []))  # type: ignore[misc]
        for _ in range(max(5, rounds // 30)):
            many, batch, table = source.take(TASKS * EACH), source.take(BULK), floor.rows(BULK)
            times.setdefault("tasks", []).append(await timed(lambda many=many: from_tasks(memory, many), cpu["tasks"]))  # type: ignore[misc]
            times.setdefault("bulk", []).append(await timed(lambda batch=batch: memory.add_many(batch), cpu["bulk"]))  # type: ignore[misc]
            started = time.perf_counter()
            floor.write(table)
            times.setdefault("floor_bulk", []).append(time.perf_counter() - started)
        for (new,) in (source.take(1) for _ in range(max(5, rounds // 30))):
            times.setdefault("distilled", []).append(await timed(lambda new=new: memory.add(distilled(new)), []))  # type: ignore[misc]
        hop.close()
        floor.close()
    for left in folder.glob("*.db*"):
        left.unlink()
    sizes = {"tasks": TASKS * EACH, "bulk": BULK, "floor_bulk": BULK}
    found: dict[str, Any] = {name: figures(seconds, sizes.get(name, 1)) for name, seconds in times.items()}
    for name, seconds in cpu.items():
        found[name]["per_cpu_second"] = round(sizes.get(name, 1) / statistics.median(seconds))
    found["add_to_awaited"] = round(found["add"]["median_ms"] / found["floor_awaited"]["median_ms"], 2)
    for name in ("add", "bulk"):
        found[f"{name}_to_floor"] = round(found[name]["median_ms"] / found[f"floor_{name}"]["median_ms"], 2)
    return found


async def main() -> None:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for synchronous in ("normal", "full"):
            report[synchronous] = {
                str(rows): await measure(Path(scratch), rows, synchronous, options.rounds) for rows in options.rows
            }
    for of in report.values():
        smallest, largest = of[str(min(options.rows))]["add"], of[str(max(options.rows))]["add"]
        of["largest_to_smallest"] = round(largest["median_ms"] / smallest["median_ms"], 2)
    print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
