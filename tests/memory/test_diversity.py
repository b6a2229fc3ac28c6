"""Maximal marginal relevance: equal to its definition, deterministic, and of use against hits that are all alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mars.errors import InvalidSetting
from mars.memory.diversity import POOL, diverse, likeness, pool_size
from mars.memory.engine import Memory
from mars.memory.fusion import Floats
from mars.memory.presets import DEFAULT
from mars.memory.records import NewRecord, Vector
from mars.testing import FixedClock

HOME = ("home",)
sizes = st.integers(0, 9)


def by_definition(ranks: Sequence[float], alike: Floats, k: int, diversity: float) -> list[int]:
    """Carbonell and Goldstein's choice, one after another, with all sums anew."""
    chosen: list[int] = []
    best = max(ranks, default=0.0) or 1.0
    while len(chosen) < min(k, len(ranks)):
        scores = {
            row: (1.0 - diversity) * ranks[row] / best
            - diversity * max((float(alike[row, before]) for before in chosen), default=0.0)
            for row in range(len(ranks))
            if row not in chosen
        }
        top = max(scores.values())
        chosen.append(min(row for row, score in scores.items() if score == top))
    return chosen


@given(sizes, st.integers(0, 12), st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]), st.integers(0, 99))
def test_equals_the_definition(size: int, k: int, diversity: float, seed: int) -> None:
    """The choice is the definition's, ties and equal rows included; without diversity it is the order by rank."""
    rng = np.random.default_rng(seed)
    ranks = sorted(rng.choice([0.0, 0.25, 0.5, 1.0], size).tolist(), reverse=True)
    alike = rng.choice([0.0, 0.5, 1.0], (size, size))
    alike = np.maximum(alike, alike.T)
    found = diverse(ranks, alike, k, diversity)
    assert [row for row, _ in found] == by_definition(ranks, alike, k, diversity)
    if diversity == 0.0:
        assert [row for row, _ in found] == list(range(min(k, size)))
    for place, (row, before) in enumerate(found):
        assert before == max((float(alike[row, other]) for other, _ in found[:place]), default=0.0)


def test_sabotaged_choice_shows() -> None:
    """A choice that forgets what was chosen, or the rank, differs from the definition somewhere."""
    rng = np.random.default_rng(0)
    ranks = sorted(rng.random(8).tolist(), reverse=True)
    alike = rng.random((8, 8))
    alike = np.maximum(alike, alike.T)
    right = by_definition(ranks, alike, 8, 0.5)
    assert [row for row, _ in diverse(ranks, alike, 8, 0.5)] == right
    assert [row for row, _ in diverse(ranks, np.zeros((8, 8)), 8, 0.5)] != right
    assert [row for row, _ in diverse([1.0] * 8, alike, 8, 0.5)] != right


async def test_likeness(memory: Memory) -> None:
    """Likeness is the share of common words, or the cosine where both have a vector; 1 for the same text."""
    texts = ["dogs like walks", "a dog likes a walk", "rain in Rome", "the dog in Rome"]
    records = list(await memory.add_many([NewRecord(text=text, namespace=HOME) for text in texts]))
    words = likeness(records, {})
    assert words[0, 1] == 1.0
    assert words[0, 2] == 0.0
    assert words[2, 3] == pytest.approx(1 / 3)
    vectors = {records[0].id: np.array([1.0, 0.0], np.float32), records[1].id: np.array([-1.0, 0.0], np.float32)}
    mixed = likeness(records, {**vectors, records[2].id: np.zeros(2, np.float32)})
    assert mixed[0, 1] == 0.0
    assert mixed[2, 3] == words[2, 3]
    assert (mixed == mixed.T).all()
    assert (np.diag(mixed) == 1.0).all()


class DirectedEmbedder:
    """One of four directions, by the text's first letter, and no noise."""

    id, dimension, lexical_weight = "directed-4", 4, 0.0

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return unit vectors of shape ``[len(texts), 4]``: near the first axis, and towards one of the others."""
        rows = np.array([[1.0, *(0.5 * (text[0] == letter) for letter in "abc")] for text in texts])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("vectors", [False, True])
async def test_recall(vectors: bool, clock: FixedClock) -> None:
    """Three notes that say one thing take one place, not three; the best hit stays first, ranks stay what they are."""
    texts = [
        "a heron nests here",
        "a heron nests here now",
        "a heron nests here still",
        "b heron left",
        "c heron far off",
    ]
    embedder = DirectedEmbedder() if vectors else None
    async with Memory.open("memory:", clock=clock, embedder=embedder) as memory:
        await memory.add_many([NewRecord(text=text, namespace=HOME) for text in texts])
        query = "a heron nests"
        plain = await memory.recall(query, namespace=HOME, k=3)
        assert {hit.record.text[0] for hit in plain} == {"a"}
        found = await memory.recall(query, namespace=HOME, k=3, diversity=0.7, explain=True)
        assert {hit.record.text[0] for hit in found} == {"a", "b", "c"}
        assert found[0].record.id == plain[0].record.id
        assert found[0].rank == plain[0].rank
        told = [hit.explanation.likeness for hit in found if hit.explanation]
        assert told[0] == 0.0
        assert all(0.0 < each < 1.0 for each in told[1:])
        assert await memory.recall(query, namespace=HOME, k=3, diversity=0.7, explain=True) == found
        assert await memory.recall(query, namespace=HOME, k=3, diversity=0.0) == plain
        assert await memory.recall(query, namespace=HOME, k=0, diversity=0.5) == []


async def test_pool_and_preset(clock: FixedClock) -> None:
    """The choice is among the exact best 50, or 4·k; the preset may ask for it; nonsense is refused."""
    assert [pool_size(k) for k in (0, 1, 12, 13, 100)] == [0, POOL, POOL, 52, 400]
    async with Memory.open("memory:", clock=clock, preset=DEFAULT.but(diversity=1.0)) as memory:
        texts = [f"heron heron {'x' * (n % 7)}" for n in range(POOL)] + [
            "heron among many other words of no use at all"
        ]
        await memory.add_many([NewRecord(text=text, namespace=HOME) for text in texts])
        hits = await memory.recall("heron", namespace=HOME, k=5)
        assert all("among" not in hit.record.text for hit in hits)
        for wrong in (-0.1, 1.1, float("nan"), True):
            with pytest.raises(InvalidSetting, match="diversity"):
                await memory.recall("heron", namespace=HOME, diversity=wrong)
            with pytest.raises(InvalidSetting, match="diversity"):
                DEFAULT.but(diversity=wrong)
