"""How long a cold store takes to its first answer, what it imports for that, and how much memory it then holds.

    python -m benchmarks.memory_open [--rows 10000 100000] [--rounds 3]

Each round is a process of its own: once MARS's modules are imported, it opens the store, asks one question with a
metadata filter, and then some more. `first_ms` is from opening to the first answer, `first_cpu_ms` the processor time
in it; `floor_ms` is what bare sqlite3 takes in the same process, before, to read the same columns and vectors;
`second_ms` is the next question, which finds the directions of the vectors where there are many. `heavy` lists what
must not be imported on that path. `held_mb` is by how much the process has grown since its imports once it has
answered, `vectors_mb` the vectors' own bytes, `above_mb` what was held beyond 1.3 times those, `peak_mb` the most that
the process ever had. The file lies in the operating system's cache; nothing else is warm. 384 dimensions; texts
of 12 words by Zipf's law and of 200 topics, whose vectors share 32 directions, so that vectors have their say;
conversations of 200 turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.random  # the embedder's, not the store's

import mars.memory.backends.sql  # noqa: F401 - imports are not measured
from benchmarks.memory_recall import DIMENSION, FILTER, NOW, SPACE, directions, texts, unit
from benchmarks.memory_writes import Given
from mars.memory import Memory
from mars.memory.loading import COLUMNS
from mars.memory.records import NewRecord, Vector

HEAVY = ("alembic", "chromadb", "langchain", "torch")
MIB = float(1 << 20)
CHUNK = 5000
TOPICS, WORDS, MEANINGS = 200, 60, 32


class Asked(Given):
    """The embedder of the store, for its questions."""

    def embed(self, questions: Any) -> Vector:
        """Return vectors of unit length."""
        rows = np.random.default_rng(len(questions[0])).standard_normal((len(questions), DIMENSION))
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def told(rng: np.random.Generator, count: int) -> tuple[list[str], Vector]:
    """Return texts, half of their words those of a topic, and vectors that are near where the topics are."""
    topics = rng.integers(TOPICS, size=count)
    own = topics[:, None] * WORDS + np.minimum(rng.geometric(0.1, (count, 6)), WORDS)
    said = [
        f"{common} {' '.join(f't{word}x' for word in row)}"
        for common, row in zip(texts(rng, count, 6), own, strict=True)
    ]
    meanings = rng.standard_normal((TOPICS, MEANINGS))[topics] + 0.3 * rng.standard_normal((count, MEANINGS))
    mixed = unit((meanings @ rng.standard_normal((MEANINGS, DIMENSION))).astype(np.float32))
    return said, unit(mixed + np.float32(0.5) * directions(rng, count, clustered=False))


async def fill(url: str, rows: int) -> None:
    """Write a store of so many episodes."""
    said, vectors = told(np.random.default_rng(rows), rows)
    async with Memory.open(url, embedder=Asked()) as memory:
        for start in range(0, rows, CHUNK):
            some = [
                NewRecord(
                    text=said[row],
                    namespace=SPACE,
                    embedding=vectors[row],
                    conversation=f"c{row // 200}",
                    position=row % 200,
                    metadata={"topic": row % 10, "n": row},
                )
                for row in range(start, min(rows, start + CHUNK))
            ]
            await memory.add_many(some, now=NOW)


def resident() -> float:
    """Return how many MiB of this process are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def floor(file: str) -> float:
    """Return the milliseconds that bare sqlite3 takes for the same columns and vectors."""
    columns = ", ".join(f"r.{name}" for name in COLUMNS if name != "text")
    started = time.perf_counter()
    with sqlite3.connect(file) as database:
        found = database.execute(
            f"SELECT {columns}, v.vector FROM mars_records r LEFT JOIN mars_vectors v USING (number) ORDER BY r.number"
        )
        while found.fetchmany(500):
            pass
    database.close()
    return (time.perf_counter() - started) * 1e3


async def opened(file: str) -> dict[str, Any]:
    """Open a store, ask, and tell what it took."""
    bare = floor(file)
    before, started, cpu = resident(), time.perf_counter(), time.process_time()
    times = []
    async with Memory.open(f"sqlite:///{file}", embedder=Asked()) as memory:
        for question in ("w5x w70x w800x", "w3x w90x w700x", "w9x w60x w500x", "w2x w80x w600x"):
            hits = await memory.recall(question, namespace=SPACE, now=NOW, filter=dict(FILTER.metadata))
            times.append((time.perf_counter() - started) * 1e3)
            spent = time.process_time() - cpu
            if len(times) == 1:
                first_cpu = spent * 1e3
            if len(hits) != 10:
                raise SystemExit(f"{len(hits)} hits instead of 10")
        held = resident() - before
    return {
        "floor_ms": bare,
        "first_ms": times[0],
        "first_cpu_ms": first_cpu,
        "second_ms": times[1] - times[0],
        "held_mb": held,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        "heavy": sorted(set(HEAVY) & sys.modules.keys()),
    }


def measure(file: Path, rows: int, rounds: int) -> dict[str, Any]:
    """Return the medians of some processes that open the store."""
    command = [sys.executable, "-m", "benchmarks.memory_open", "--opened", str(file)]
    each = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(rounds)]
    found: dict[str, Any] = {name: round(median(one[name] for one in each), 1) for name in each[0] if name != "heavy"}
    vectors = rows * DIMENSION * 4 / MIB
    return found | {
        "vectors_mb": round(vectors, 1),
        "above_mb": round(found["held_mb"] - 1.3 * vectors, 1),
        "to_floor": round(median(one["first_ms"] / one["floor_ms"] for one in each), 2),
        "heavy": sorted({name for one in each for name in one["heavy"]}),
    }


def main() -> None:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--opened")
    options = parser.parse_args()
    if options.opened:
        print(json.dumps(asyncio.run(opened(options.opened))))
        return
    report = {}
    with tempfile.TemporaryDirectory() as scratch:
        for rows in options.rows:
            file = Path(scratch) / f"{rows}.db"
            asyncio.run(fill(f"sqlite:///{file}", rows))
            report[str(rows)] = measure(file, rows, options.rounds)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
