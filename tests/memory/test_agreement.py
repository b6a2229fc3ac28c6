"""What the rows say of an embedder: vectors without meaning lose their say, those with meaning keep it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.errors import InvalidSetting
from mars.language import terms
from mars.memory.agreement import ENOUGH, ERRORS, FULL, SAMPLE, SPARE, Agreement, Sample, agreement, vector_share
from mars.memory.embedding import HashingEmbedder
from mars.memory.engine import Memory
from mars.memory.ids import content_hash
from mars.memory.presets import DEFAULT
from mars.memory.records import NewRecord, Source, Vector
from mars.testing import ConstantEmbedder, RandomEmbedder

TOPICS = {
    "food": "bread soup oven flour salt pan onion stew broth yeast".split(),
    "boats": "mast sail rope hull anchor harbour tide deck keel oar".split(),
    "music": "chord violin tempo song choir drum melody flute bass tune".split(),
    "sport": "goal match team coach league score pitch ball referee cup".split(),
    "garden": "rose soil seed spade bloom hedge lawn weed pot compost".split(),
}
HOME = ("home",)


class TopicEmbedder:
    """Knows what a text is about, in all of its dimensions, and adds a little noise of its own."""

    id, dimension, lexical_weight = "topics-64", 64, 0.5

    def __init__(self) -> None:
        self._centres = np.random.default_rng(7).standard_normal((len(TOPICS), self.dimension))

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return unit vectors of shape ``[len(texts), 64]``."""
        noise = RandomEmbedder(self.dimension, seed=5).embed(texts).astype(np.float64)
        rows = [
            sum(self._centres[at] * sum(word in words for word in text.split()) for at, words in enumerate(groups))
            for groups in [list(TOPICS.values())]
            for text in texts
        ]
        made = np.asarray(rows) + 4.0 * noise
        return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def texts_of(count: int, seed: int = 0) -> list[str]:
    """Short texts, each about one topic, no two equal, in the order of their hashes."""
    rng = np.random.default_rng(seed)
    topics = list(TOPICS.values())
    texts = [f"{' '.join(rng.choice(topics[n % len(topics)], 3))} no{n}" for n in range(count)]
    return sorted(texts, key=content_hash)


def told(texts: Sequence[str], vectors: Vector, order: Sequence[int] | None = None) -> Sample:
    """A sample that was told of these texts, in some order."""
    sample = Sample()
    for row in range(len(texts)) if order is None else order:
        sample.put(content_hash(texts[row]), f"id-{row:04}", row, texts[row])
    assert vectors.shape[0] == len(texts)
    return sample


@pytest.mark.parametrize(
    ("embed", "share"),
    [
        (TopicEmbedder().embed, 1.0),
        (RandomEmbedder(8).embed, 0.0),
        (RandomEmbedder(32).embed, 0.0),
        (RandomEmbedder(384).embed, 0.0),
        (HashingEmbedder().embed, 0.0),
        (ConstantEmbedder().embed, 0.0),
        (lambda texts: TopicEmbedder().embed(texts)[::-1], 0.0),
    ],
    ids=["topics", "random-8", "random-32", "random-384", "hashed", "constant", "topics of other texts"],
)
def test_share(embed: Callable[[Sequence[str]], Vector], share: float) -> None:
    """Meaning earns the whole share; random, constant, re-paired and merely hashed vectors earn nothing."""
    texts = texts_of(SAMPLE)
    assert vector_share([agreement([frozenset(terms(text)) for text in texts], embed(texts))]) == share


@pytest.mark.parametrize("seed", range(20))
def test_random_never_earns(seed: int) -> None:
    """No draw of random vectors is taken for meaning: the remedy for chance is three standard errors."""
    texts = texts_of(SAMPLE, seed)
    words = [frozenset(terms(text)) for text in texts]
    assert vector_share([agreement(words, RandomEmbedder(32, seed=seed).embed(texts))]) <= 0.02


def naive(words: Sequence[frozenset[str]], vectors: Vector) -> float:
    """The share from the definitions, by plain loops and `numpy.corrcoef`."""
    size, wide = len(words), vectors.astype(np.float64)
    count = {word: sum(word in each for each in words) for each in words for word in each}
    rarity = {word: math.log(size / found) for word, found in count.items()}
    length = [math.sqrt(sum(rarity[word] ** 2 for word in each)) or 1.0 for each in words]

    def overlap(one: int, two: int) -> float:
        return sum(rarity[word] ** 2 for word in words[one] & words[two]) / length[one] / length[two]

    pairs = [(one, two) for one in range(size) for two in range(one + 1, size)]
    shared = [overlap(*pair) for pair in pairs]

    def correlation(shift: int) -> float:
        near = [float(wide[(one + shift) % size] @ wide[(two + shift) % size]) for one, two in pairs]
        return float(np.corrcoef(shared, near)[0, 1])

    def half(start: int) -> list[float]:
        part = wide[:, start::2] / np.linalg.norm(wide[:, start::2], axis=1, keepdims=True)
        return [float(part[one] @ part[two]) for (one, two), held in zip(pairs, shared, strict=True) if not held]

    def earned(found: float, error: float, number: int) -> float:
        known = min(1.0, number / ENOUGH)
        return 1.0 - known + known * min(1.0, max(0.0, (found - ERRORS * error) / FULL))

    shifts = sorted({1 + step * (size - 1) // 16 for step in range(16)})
    chance = math.sqrt(sum(correlation(shift) ** 2 for shift in shifts) / len(shifts))
    apart = sum(not each for each in shared)
    first = earned(correlation(0), max(chance, len(pairs) ** -0.5), len(pairs) - apart)
    return first * earned(float(np.corrcoef(half(0), half(1))[0, 1]), apart**-0.5, apart)


@pytest.mark.parametrize("count", [8, 20, 60])
@pytest.mark.parametrize("mixed", [0.0, 0.5, 1.0])
def test_equals_the_definition(count: int, mixed: float) -> None:
    """The share is what the definitions say, at every size and for every mixture of meaning and noise."""
    texts = texts_of(count, count)
    vectors = (1.0 - mixed) * TopicEmbedder().embed(texts) + mixed * RandomEmbedder(64).embed(texts)
    words = [frozenset(terms(text)) for text in texts]
    unit = np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
    assert vector_share([agreement(words, unit)]) == pytest.approx(naive(words, unit), abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 400))
def test_nothing_but_the_content_counts(count: int) -> None:
    """The order of writing, what was removed and what was written again leave no trace in what a sample says."""
    rng = np.random.default_rng(count)
    texts = texts_of(count)
    vectors = TopicEmbedder().embed(texts)
    plain, order = told(texts, vectors), rng.permutation(count).tolist()
    other = told(texts, vectors, order)
    assert other.agreement(vectors) == plain.agreement(vectors)
    away = order[: min(SPARE, count) // 2]
    for row in away:
        other.drop(content_hash(texts[row]), f"id-{row:04}")
    for row in away:
        other.put(content_hash(texts[row]), f"id-{row:04}", row, texts[row])
    other.put(content_hash(texts[0]), "id-copy", 0, texts[0])
    other.drop(content_hash(texts[0]), "id-copy")
    other.drop("unknown", "id")
    assert other.agreement(vectors) == plain.agreement(vectors)


def test_worn_sample() -> None:
    """A sample asks to be told again when texts that it passed over belong into it, and not before."""
    texts = texts_of(SAMPLE + SPARE + 50)
    sample = told(texts, np.zeros((len(texts), 1), np.float32))
    by_hash = sorted(range(len(texts)), key=lambda row: content_hash(texts[row]))
    for row in by_hash[:SPARE]:
        assert not sample.worn
        sample.drop(content_hash(texts[row]), f"id-{row:04}")
    sample.drop(content_hash(texts[by_hash[SPARE]]), f"id-{by_hash[SPARE]:04}")
    assert sample.worn


def test_small_and_odd_samples() -> None:
    """Where nothing can be told the embedder is believed; a vector that is missing is no evidence."""
    assert vector_share([]) == vector_share([Agreement()]) == 1.0
    sample = told(["a b", "c d", "e f"], np.zeros((3, 4), np.float32))
    assert sample.agreement(np.zeros((3, 4), np.float32)) == Agreement()
    assert vector_share([agreement([frozenset("a")], np.ones((1, 4), np.float32))]) == 1.0
    two = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], np.float32)
    assert vector_share([agreement([frozenset("a"), frozenset("b")], two)]) == 0.0


def test_namespaces_are_judged_together() -> None:
    """Many small namespaces, none of which tells anything alone, tell together what one large one tells."""
    for embedder, least, most in ((TopicEmbedder(), 0.8, 1.0), (RandomEmbedder(64), 0.0, 0.05)):
        parts = []
        for number in range(40):
            texts = texts_of(12, number)
            parts.append(agreement([frozenset(terms(text)) for text in texts], embedder.embed(texts)))
        assert vector_share(parts[:1]) > 0.3
        assert least <= vector_share(parts) <= most


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_backend_and_a_reload_agree(store: str, seed: int) -> None:
    """The weight that an explanation names is the same on every backend, in another order and after a reload."""
    texts = texts_of(150)
    weights = set()
    for where, order in (
        (store, texts),
        ("memory:", sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())),
    ):
        async with Memory.open(where, embedder=TopicEmbedder(), seed=seed) as memory:
            await memory.add_many([NewRecord(text=text, namespace=HOME) for text in order])
            weights.add(await weight_of(memory))
    if "memory" not in store:
        async with Memory.open(store, embedder=TopicEmbedder()) as memory:
            weights.add(await weight_of(memory))
    assert weights == {0.5}


async def weight_of(memory: Memory) -> float:
    """The lexical weight of a recall."""
    (hit,) = await memory.recall("bread soup", namespace=HOME, k=1, explain=True)
    assert hit.explanation is not None
    return hit.explanation.lexical_weight


async def test_a_weight_that_is_declared_stands() -> None:
    """A preset's weight is not measured; an embedder's is, but for 0 and 1; what is quarantined says nothing."""
    texts = texts_of(150)
    for embedder, preset, expected in (
        (RandomEmbedder(64), DEFAULT, 1.0),
        (RandomEmbedder(64), DEFAULT.but(lexical_weight=0.3), 0.3),
        (RandomEmbedder(64, lexical_weight=0.0), DEFAULT, 0.0),
        (TopicEmbedder(), DEFAULT.but(lexical_weight=1.0), 1.0),
    ):
        async with Memory.open("memory:", embedder=embedder, preset=preset) as memory:
            await memory.add_many([NewRecord(text=text, namespace=HOME) for text in texts])
            assert await weight_of(memory) == pytest.approx(expected, abs=0.02)
    async with Memory.open("memory:", embedder=RandomEmbedder(64)) as memory:
        await memory.add("bread soup", HOME)
        await memory.add_many([NewRecord(text=text, namespace=HOME, source=Source.WEB) for text in texts])
        assert await weight_of(memory) == 0.5
    for wrong in (-0.1, 1.1, float("nan"), "much"):
        with pytest.raises(InvalidSetting, match="lexical_weight"):
            DEFAULT.but(lexical_weight=wrong)
