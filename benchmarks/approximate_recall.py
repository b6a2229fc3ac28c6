"""How much of an exact recall the approximate one finds, by the Chroma index, and how long both take.

    python -m benchmarks.approximate_recall [rows ...]

For isotropic and for clustered vectors of 384 dimensions, as in `benchmarks.memory_recall`: the share of the exact ten
best that ``recall(exact=False)`` finds, the share of the vectors' ten nearest that the index alone gives, the seconds
that the index took to follow, and the median times of the answers, by words and vectors and through the open memory.
Questions come from near a row; all is drawn from a seed. Prints a table for people, then one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import anyio
import numpy as np

from benchmarks.memory_recall import CENTRES, DIMENSION, directions, texts, unit
from mars.memory.engine import Memory
from mars.memory.presets import DEFAULT
from mars.memory.records import NewRecord, Vector

SPACE = ("bench",)
ROWS = (1_000, 10_000)
QUESTIONS = 100
K = 10
SEED = 1
PRESET = replace(DEFAULT, lexical_weight=0.5)
"""Words and vectors are drawn apart, so the store's own rows would leave vectors no say."""


class KnownVectors:
    """An embedder whose vectors were drawn beforehand, by the first word of the text."""

    id = "drawn"
    dimension = DIMENSION
    lexical_weight = 0.5

    def __init__(self) -> None:
        """Know no text yet."""
        self.known: dict[str, Vector] = {}

    def embed(self, given: Sequence[str]) -> Vector:
        """Return the vectors of known texts, shape ``[len(given), dimension]``."""
        return np.stack([self.known[text] for text in given])


async def nearest_share(memory: Memory, vectors: Vector, ids: Sequence[str], aims: Vector) -> float:
    """The share of each question's ten nearest vectors that the index gives when it is asked for ten."""
    index, found = memory._following().index, 0
    for aim in aims:
        order = np.argsort(-(vectors @ aim))[:K]
        found += len({ids[row] for row in order} & {one for one, _ in index.candidates(SPACE, aim, K)})
    return found / (K * len(aims))


async def measure(rows: int, clustered: bool) -> dict[str, object]:
    """Measure one store."""
    rng = np.random.default_rng([SEED, rows, clustered])
    vectors, words = directions(rng, rows, clustered), texts(rng, rows, 12)
    near = vectors[rng.integers(rows, size=QUESTIONS)]
    aims = unit(near + np.float32(0.3) * unit(rng.standard_normal(near.shape, np.float32)))
    queries = [f"q{number} {text}" for number, text in enumerate(texts(rng, QUESTIONS, 6))]
    embedder = KnownVectors()
    embedder.known = dict(zip(queries, aims, strict=True))
    news = [NewRecord(text=f"t{row} {text}", namespace=SPACE, embedding=vectors[row]) for row, text in enumerate(words)]
    with tempfile.TemporaryDirectory() as folder:
        async with Memory.open(
            f"sqlite:///{Path(folder, 'a.db')}", embedder=embedder, preset=PRESET, seed=SEED
        ) as memory:
            stored = await memory.add_many(news)
            started = time.perf_counter()
            await memory._catch_up(None)
            follow = time.perf_counter() - started
            found = asdict(await memory.approximate_recall(queries, namespace=SPACE, k=K, seed=SEED))
            share = await nearest_share(memory, vectors, [each.id for each in stored], aims)
    found |= {"index_alone": share, "follow_seconds": follow}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}


def main() -> None:
    """Print the table and the report."""
    report: dict[str, dict[str, object]] = {}
    print(f"{'vectors':<10}{'rows':>8}{'recall':>8}{'lowest':>8}{'index alone':>13}{'exact ms':>10}{'approx. ms':>12}")
    for clustered in (False, True):
        name = "clustered" if clustered else "isotropic"
        report[name] = {}
        for rows in map(int, sys.argv[1:] or ROWS):
            one = anyio.run(measure, rows, clustered)
            report[name][str(rows)] = one
            cells = (one["recall"], one["lowest"], one["index_alone"], one["exact_ms"], one["approximate_ms"])
            print(f"{name:<10}{rows:>8}{cells[0]!s:>8}{cells[1]!s:>8}{cells[2]!s:>13}{cells[3]!s:>10}{cells[4]!s:>12}")
    print(json.dumps(report | {"k": K, "questions": QUESTIONS, "seed": SEED, "centres": CENTRES}))


if __name__ == "__main__":
    main()
