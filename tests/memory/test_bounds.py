"""Bounds: a search that skips what cannot win gives the same bits as one that scores every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.memory.bounds import BOUNDS, EXHAUSTIVE, Bounds, Head, largest
from mars.memory.columns import Columns
from mars.memory.conditions import microseconds
from mars.memory.curves import EXPONENTIAL, EXPONENTIAL90, POWER, crossing
from mars.memory.fading import Fading, quick_standings
from mars.memory.filters import RecallFilter
from mars.memory.fusion import bounded, cosines
from mars.memory.ids import content_hash
from mars.memory.presets import DEFAULT, Preset
from mars.memory.records import Kind, Provenance, Record, Source, Status, Tier, Vector
from mars.memory.shard import Shard, search
from mars.memory.tiers import FORGOTTEN, TierRule, TierStrength, standings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
D = 24
TIGHT = Bounds(least_rows=1, small=0, dimensions=6, captured=0.0, patience=0)
WORDS = ["dog", "cat", "walk", "rome", "sun", "rain", "tea", "ann"]
PRESETS = [
    DEFAULT,
    DEFAULT.but(curve=EXPONENTIAL, tiers=TierRule(theta1=0.7, theta2=0.3), retention_floor=0.0),
    DEFAULT.but(curve=EXPONENTIAL90, tiers=TierRule(forgets=False), retention_floor=0.0, importance_floor=0.2),
    DEFAULT.but(tiers=TierRule(strength=TierStrength.RESET, multiple=2.0), retention_floor=0.3),
    DEFAULT.but(curve=EXPONENTIAL, tiers=TierRule(theta1=0.7, theta2=0.3, strength=TierStrength.LITERAL)),
]


def record(number: int, rng: np.random.Generator) -> Record:
    """A record of random words, age, strength, importance, trust and metadata."""
    text = " ".join(rng.choice(WORDS, size=rng.integers(1, 7)))
    strengthened = NOW - timedelta(days=float(rng.choice([0.0, 0.5, 3.0, 40.0, 900.0])))
    return Record(
        **dict.fromkeys(Record.__dataclass_fields__)  # type: ignore[arg-type]
        | dict.fromkeys(("created_at", "valid_from", "known_from"), NOW)
        | {"id": f"id-{rng.integers(1 << 40):013}-{number}", "seq": number + 1, "text": text, "namespace": ("n",)}
        | {
            "kind": rng.choice(list(Kind)),
            "status": Status.ACTIVE,
            "event_time": NOW,
            "strength": float(rng.choice([0.3, 7.0, 90.0])),
        }
        | {"boost": 1.0, "difficulty": 2.1, "uses": 0, "importance": float(rng.choice([0.0, 0.3, 1.0])), "entropy": 3.0}
        | {"pinned": bool(rng.random() < 0.1), "source": Source.USER, "trust": float(rng.choice([0.5, 1.0]))}
        | {"provenance": Provenance(), "content_hash": content_hash(text), "embedder": "x"}
        | {"metadata": {"n": int(rng.integers(4))}, "last_strengthened": strengthened}
        | {
            "conversation": str(rng.choice(["a", "b"])),
            "position": number,
            "speaker": rng.choice(np.array([None, "Ann"])),
        }
    )


def directions(rng: np.random.Generator, count: int, shape: str) -> Vector:
    """Unit vectors: isotropic, in clusters, in clusters as tight as single precision, or many of them equal."""
    rows = rng.standard_normal((count, D))
    if shape != "isotropic":
        width = {"clusters": 0.2, "tight": 1e-6, "ties": 0.0}[shape]
        rows = rng.standard_normal((3, D))[rng.integers(3, size=count)] + width * rows
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[rng.random(count) < 0.05] = 0.0
    return rows.astype(np.float32)


SHAPES = ["isotropic", "clusters", "tight", "ties"]


def pair(
    seed: int, count: int, shape: str, preset: Preset, weight: float, bounds: Bounds
) -> tuple[Shard, Shard, Vector]:
    """The same rows in a shard with bounds and in one without, and their vectors."""
    rng = np.random.default_rng(seed)
    records = [record(number, rng) for number in range(count)]
    vectors = directions(rng, count, shape)
    held = dict(zip((each.id for each in records), vectors, strict=True))
    shards = []
    for how in (bounds, EXHAUSTIVE):
        shard = Shard(("n",), dimension=D, preset=preset, lexical_weight=weight, bounds=how)
        shard.apply(records[: count // 2], held)
        shard.search("dog", vectors[0], now=NOW, k=1)
        shard.apply(records[count // 2 :], held)
        moved = replace(records[0], content_hash="0" * 64, seq=count + 1)
        shard.apply([moved], {moved.id: vectors[-1]})
        shard.remove([records[1].id])
        shards.append(shard)
    return shards[0], shards[1], vectors


def asked(seed: int, vectors: Vector) -> Vector:
    """A question near one of the vectors, or anywhere."""
    rng = np.random.default_rng(seed + 1)
    near = vectors[rng.integers(len(vectors))] + rng.choice([0.0, 1e-4, 0.3, 100.0]) * rng.standard_normal(D)
    return np.asarray(near / max(np.linalg.norm(near), 1e-9), np.float32)


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 1 << 30),
    st.integers(2, 150),
    st.sampled_from([TIGHT, BOUNDS]),
    st.sampled_from(SHAPES),
    st.sampled_from(PRESETS),
    st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]),
    st.lists(st.sampled_from([*WORDS, "unknown", "Ann"]), max_size=4).map(" ".join),
    st.sampled_from([0.0, 1e-4, 7.0, 900.0]),
    st.integers(0, 40),
    st.sampled_from([{}, {"n": 1}, {"n": {"$gte": 1}}, {"n": {"$nin": [0, 1, 2, 3]}}]),
    st.sampled_from([0.0, 0.05, 0.6]),
    st.booleans(),
)
def test_same_bits_as_exhaustive(
    seed: int,
    count: int,
    bounds: Bounds,
    shape: str,
    preset: Preset,
    weight: float,
    query: str,
    later: float,
    k: int,
    metadata: dict[str, object],
    floor: float,
    voice: bool,
) -> None:
    """Ids, order and every number agree to the last bit, for any vectors, curve, clock, filter, floor, ties and k."""
    quick, full, vectors = pair(seed, count, shape, preset, weight, bounds)
    vector, filter, now = asked(seed, vectors), RecallFilter(metadata=metadata), NOW + timedelta(days=later)
    voiced = asked(seed + 1, vectors) if voice else None
    for given_vector in (vector, None):
        one, two = (
            search([shard], query, given_vector, voiced=voiced, now=now, k=k, filter=filter, floor=floor, explain=True)
            for shard in (quick, full)
        )
        assert one == two
        direct = replace(TIGHT, least_rows=1000)
        shard = Shard(("n",), dimension=D, preset=preset, lexical_weight=weight, bounds=direct)
        assert shard.search(query, given_vector, now=now, k=k) == []


def differing(bounds: Bounds) -> int:
    """How many of 30 searches with these bounds differ from the exhaustive ones."""
    wrong = 0
    for seed in range(30):
        quick, full, vectors = pair(seed, 200, SHAPES[seed % 2], DEFAULT, 0.3, bounds)
        found = [s.search("dog rome", asked(seed, vectors), now=NOW, k=9, floor=0.0) for s in (quick, full)]
        wrong += found[0] != found[1]
    return wrong


def test_sabotaged_bounds_show() -> None:
    """A bound that is too small by a hair gives other answers, and the comparison notices; the right one does not."""
    assert differing(TIGHT) == 0
    assert differing(replace(TIGHT, slack=-1e-4)) > 0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1 << 30), st.integers(1, 80), st.sampled_from(SHAPES), st.integers(1, D))
def test_head_bounds_every_product(seed: int, count: int, shape: str, dimensions: int) -> None:
    """No row's product with a question exceeds its bound, also after rows were added, changed and removed."""
    rng = np.random.default_rng(seed)
    head = Head(Bounds(least_rows=1, dimensions=dimensions, captured=0.0, patience=0))
    matrix = directions(rng, count, shape)
    for size in (max(1, count // 3), count, count):
        upper = head.upper(matrix[:size], query := asked(seed, matrix))
        assert upper is None or (upper >= cosines(matrix[:size], query)).all()
        changed = int(rng.integers(count))
        matrix[changed] = directions(rng, 1, shape)[0]
        head.touch(changed)


def test_head_is_kept_where_it_tells() -> None:
    """Vectors without a direction, or with too many alike, get no head; clusters do."""
    rng = np.random.default_rng(0)
    bounds = replace(BOUNDS, least_rows=1, dimensions=2, captured=0.5, patience=0)
    for shape, kept in (("isotropic", False), ("clusters", True)):
        head = Head(bounds)
        assert (head.upper(directions(rng, 300, shape), np.ones(D, np.float32)) is not None) is kept
        assert (head.nbytes > 0) is kept
    assert Head(bounds).upper(np.zeros((9, D), np.float32), np.ones(D, np.float32)) is None


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([POWER, EXPONENTIAL, EXPONENTIAL90]),
    st.sampled_from([(0.9, 0.5), (0.7, 0.3), (1 - 1e-12, 1e-9), (0.999, 1e-300)]),
    st.sampled_from(TierStrength),
    st.booleans(),
    st.integers(0, 1 << 30),
)
def test_quick_standings(
    curve: object, thetas: tuple[float, float], how: TierStrength, forgets: bool, seed: int
) -> None:
    """Quick tiers equal the full ones, also within an ulp of a threshold; quick retentions are never too small."""
    rng = np.random.default_rng(seed)
    assert isinstance(curve, type(POWER))
    rule = TierRule(theta1=thetas[0], theta2=thetas[1], strength=how, forgets=forgets)
    boosted = np.exp(rng.uniform(-20, 20, 400))
    edges = np.array([crossing(curve, theta) for theta in thetas])
    tau = np.minimum(
        boosted * np.where(rng.random(400) < 0.7, rng.choice(edges, 400), np.exp(rng.uniform(-30, 30, 400))), 1e200
    )
    tau = np.nextafter(tau, rng.choice([0.0, 1e300], 400))
    capable, pinned = rng.random(400) < 0.5, rng.random(400) < 0.1
    left, codes = standings(curve, rule, boosted, boosted, tau, capable, pinned)
    upper, quick = quick_standings(curve, rule, boosted, boosted, tau, capable, pinned)
    assert (quick == codes).all()
    assert (upper >= np.minimum(left, 1.0 - 1e-7)).all()


def fading_errs(seed: int, preset: Preset, touched: bool) -> bool:
    """Whether what is kept of rows differs from what is computed in full, over a walk of the clock with writes."""
    rng = np.random.default_rng(seed)
    columns, fading, size = Columns(), Fading(preset), 60
    columns.reserve(size)
    edge = crossing(preset.curve, preset.tiers.theta2)
    now = microseconds(NOW)
    for row in range(size):
        days = float(rng.choice([edge * 7.0, edge * 7.0 * (1 + 1e-9), 0.0, rng.random() * 900]))
        aged = replace(record(row, rng), strength=7.0, last_strengthened=NOW - timedelta(days=days))
        columns.write(row, aged)
    for step in (0, 1, 59_000_000, 3_000_000_000, -5_000_000_000, 7_000_000_000, 86_400_000_000):
        now += step
        upper, there = fading.at(columns, size, now, frozenset(Tier))
        rows = (columns.strength[:size], columns.boosted[:size], columns.ages(now, slice(size)))
        left, codes = standings(preset.curve, preset.tiers, *rows, columns.capable[:size], columns.pinned[:size])
        exact = bounded(left, preset.retention_floor) * bounded(columns.importance[:size], preset.importance_floor)
        exact *= columns.trust[:size]
        if (there != (codes != FORGOTTEN)).any() or (upper < exact * (1.0 - 1e-6))[there].any():
            return True
        for row in rng.integers(size, size=5).tolist():
            columns.write(row, replace(record(row, rng), last_strengthened=NOW + timedelta(days=float(rng.random()))))
            if touched:
                fading.touch(row)
    return False


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1 << 30), st.sampled_from(PRESETS))
def test_what_is_kept_of_fading_is_right(seed: int, preset: Preset) -> None:
    """Who is forgotten is exact and no bound is too small, at a threshold, after writes, and when the clock jumps."""
    assert not fading_errs(seed, preset, touched=True)


def test_sabotaged_fading_shows() -> None:
    """Rows that were written and not noted are found out."""
    assert any(fading_errs(seed, DEFAULT, touched=False) for seed in range(5))


@pytest.mark.parametrize("values", [[0.0] * 90, [1.0] * 90, list(np.linspace(0, 1, 90)), [0.5]])
@pytest.mark.parametrize("count", [1, 5, 89, 90, 200])
def test_largest(values: Sequence[float], count: int) -> None:
    """Some rows are always chosen, and none beyond the number asked for."""
    found = largest(np.array(values, np.float32), count)
    assert 1 <= len(found) <= max(count, 1)
    assert len(set(found.tolist())) == len(found)


def test_microseconds() -> None:
    """Times are counted exactly, also before 1970."""
    assert microseconds(datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)) == -1
