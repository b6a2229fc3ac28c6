"""How long an exact search takes in one namespace: words, vectors, retention, and a metadata filter that half pass.

    python -m benchmarks.memory_recall [rows ...]

For isotropic and for clustered vectors of 384 dimensions: the median and 95th percentile in milliseconds, without and
with the filter, by words alone, and of one numpy product of all vectors with the question (the floor of any scan),
taken in turns with the searches. Times are of the shard; the k records are then read from the database by key. The
vectors cluster around 200 random centres, .3 away from them; words follow Zipf's law. `namespaces` are 100 of 1,000
rows each, isotropic, of which each question asks one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from mars.memory.filters import RecallFilter
from mars.memory.presets import DEFAULT
from mars.memory.records import Kind, Provenance, Record, Source, Status, Vector
from mars.memory.shard import Shard

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SPACE = ("bench",)
DIMENSION = 384
ROWS = (1_000, 10_000, 100_000)
QUESTIONS = 40
VOCABULARY = 20_000
CENTRES = 200
SPACES, EACH = 100, 1_000
K = 10
FILTER = RecallFilter(metadata={"topic": {"$in": [0, 1, 2, 3, 4]}, "n": {"$gte": 0}})


@dataclass(frozen=True)
class Asked:
    """One question."""

    text: str
    vector: Vector


def texts(rng: np.random.Generator, count: int, length: int) -> list[str]:
    """Texts of words by Zipf's law."""
    shares = 1.0 / np.arange(1, VOCABULARY + 1)
    drawn = rng.choice(VOCABULARY, size=(count, length), p=shares / shares.sum())
    return [" ".join(f"w{word}x" for word in row) for row in drawn]


def unit(rows: Vector) -> Vector:
    """Rows of unit length."""
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def directions(rng: np.random.Generator, count: int, clustered: bool) -> Vector:
    """Unit vectors, alike in all directions or around centres."""
    noise = unit(rng.standard_normal((count, DIMENSION), np.float32))
    if not clustered:
        return noise
    centres = unit(rng.standard_normal((CENTRES, DIMENSION), np.float32))
    return unit(centres[rng.integers(CENTRES, size=count)] + np.float32(0.3) * noise)


def records(rng: np.random.Generator, count: int) -> list[Record]:
    """Episodes of conversations, up to a year old."""
    ages = rng.random(count) * 365.0
    return [
        Record(
            **dict.fromkeys(Record.__dataclass_fields__)  # type: ignore[arg-type]
            | dict.fromkeys(("created_at", "event_time", "valid_from", "known_from"), NOW)
            | {"id": f"id-{row:07}", "seq": row + 1, "text": text, "namespace": SPACE, "content_hash": f"{row:064}"}
            | {"kind": Kind.EPISODE, "status": Status.ACTIVE, "strength": (1.0, 7.0, 30.0)[row % 3], "boost": 1.0}
            | {"difficulty": 2.1, "uses": 0, "importance": 0.0, "entropy": 3.0, "pinned": False, "trust": 1.0}
            | {"source": Source.USER, "provenance": Provenance(), "embedder": "bench", "position": row % 200}
            | {"conversation": f"c{row // 200}", "last_strengthened": NOW - timedelta(days=float(ages[row]))}
            | {"metadata": {"topic": row % 10, "n": row}}
        )
        for row, text in enumerate(texts(rng, count, 12))
    ]


def measure(shard: Shard, vectors: Vector, asked: list[Asked]) -> dict[str, float]:
    """Medians and 95th percentiles, in milliseconds."""
    runs: dict[str, Callable[[Asked], object]] = {
        "floor": lambda each: vectors @ each.vector,
        "plain": lambda each: shard.search(each.text, each.vector, now=NOW, k=K),
        "filtered": lambda each: shard.search(each.text, each.vector, now=NOW, k=K, filter=FILTER),
        "words": lambda each: shard.search(each.text, None, now=NOW, k=K, filter=FILTER),
    }
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for number, each in enumerate([asked[0], *asked]):
        for name, run in runs.items():
            started = time.perf_counter()
            run(each)
            if number:
                spent[name].append((time.perf_counter() - started) * 1000.0)
    report = {f"{name}_median_ms": round(float(np.median(times)), 3) for name, times in spent.items()}
    report |= {f"{name}_p95_ms": round(float(np.quantile(times, 0.95)), 3) for name, times in spent.items()}
    return report | {"of_floor": round(report["filtered_median_ms"] / report["floor_median_ms"], 2)}


def shard_of(stored: list[Record], vectors: Vector) -> Shard:
    """A shard that holds these rows."""
    shard = Shard(SPACE, dimension=DIMENSION, preset=DEFAULT, lexical_weight=0.5)
    shard.apply(stored, dict(zip((each.id for each in stored), vectors, strict=True)))
    return shard


def among_namespaces(rng: np.random.Generator) -> dict[str, float]:
    """The same of one namespace among many, each asked in turn."""
    stored, vectors = records(rng, SPACES * EACH), directions(rng, SPACES * EACH, clustered=False)
    parts = [slice(start, start + EACH) for start in range(0, SPACES * EACH, EACH)]
    shards = [shard_of(stored[part], vectors[part]) for part in parts]
    spent = []
    for turn in range(3):
        for shard, part in zip(shards, parts, strict=True):
            text, aim = texts(rng, 1, 6)[0], vectors[part][int(rng.integers(EACH))]
            started = time.perf_counter()
            shard.search(text, aim, now=NOW, k=K, filter=FILTER)
            if turn:
                spent.append((time.perf_counter() - started) * 1000.0)
    middle, late = np.quantile(spent, [0.5, 0.95]).tolist()
    return {"filtered_median_ms": round(middle, 3), "filtered_p95_ms": round(late, 3)}


def main() -> None:
    """Print the report as one line of JSON."""
    report: dict[str, object] = {"threads": os.environ.get("OMP_NUM_THREADS", "all"), "cpus": os.cpu_count()}
    found: dict[bool, dict[str, object]] = {False: {}, True: {}}
    for count in map(int, sys.argv[1:] or ROWS):
        rng = np.random.default_rng(count)
        stored, questions = records(rng, count), texts(rng, QUESTIONS, 6)
        for clustered in (False, True):
            vectors = directions(rng, count, clustered)
            shard = shard_of(stored, vectors)
            near = vectors[rng.integers(count, size=QUESTIONS)]
            aims = unit(near + np.float32(0.3) * unit(rng.standard_normal(near.shape, np.float32)))
            asked = [Asked(text, aim) for text, aim in zip(questions, aims, strict=True)]
            found[clustered][str(count)] = measure(shard, vectors, asked)
    report["namespaces"] = among_namespaces(np.random.default_rng(0))
    print(json.dumps(report | {"isotropic": found[False], "clustered": found[True]}))


if __name__ == "__main__":
    main()
