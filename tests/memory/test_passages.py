"""Long requests: what one of their sentences needs is found, short requests are as they were, and one word is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.language import query_terms, sentences
from mars.memory.engine import Memory
from mars.memory.filters import RecallFilter
from mars.memory.lexical import BACKGROUND, Document, LexicalIndex
from mars.memory.passages import ENOUGH, LONG, SPAN, passages
from mars.memory.presets import DEFAULT
from mars.memory.records import NewRecord
from mars.memory.shard import search
from tests.memory.test_bounds import NOW, TIGHT, asked, pair

HOME = ("home",)
TALK = [
    "Mum is coming over on Saturday and wants to stay until the middle of the week.",
    "The weather is supposed to turn, so we might move everything indoors.",
    "On the way back I could pick up the parcels from the post office.",
    "We ran out of coffee, bread and washing powder at the same time.",
    "My sister wrote that her train is late again and that she is furious.",
]
KNOWN = ["Wifi password: tulip99", "Ann is allergic to nuts", "Bob likes rowing on the lake", "The train was full"]
SPOKEN = [f"word{number}" for number in range(30)]


def request(need: str) -> str:
    """A long request with this sentence in its midst."""
    return " ".join([*TALK[:3], need, *TALK[3:]])


def index_of(texts: Sequence[str]) -> LexicalIndex:
    """An index of texts that are no neighbours."""
    index = LexicalIndex()
    for row, text in enumerate(texts):
        index.add(row, Document.of(text, place=(math.inf, 0, f"{row:03}")))
    return index


@pytest.mark.parametrize(
    ("need", "found"),
    [("Somebody will ask for the wifi password.", KNOWN[0]), ("Is Ann still allergic to something?", KNOWN[1])],
)
async def test_a_short_record_is_found(memory: Memory, need: str, found: str) -> None:
    """On every backend; judged as a whole the same request finds nothing, and without the sentence it does not."""
    await memory.add_many([NewRecord(text=text, namespace=HOME) for text in KNOWN], now=NOW)
    (hit,) = await memory.recall(request(need), namespace=HOME, now=NOW)
    assert hit.record.text == found
    assert ENOUGH <= hit.relevance < 0.5
    assert await memory.recall(request(need), namespace=HOME, now=NOW, whole=True) == []
    assert await memory.recall(request("And so on."), namespace=HOME, now=NOW) == []
    assert await memory.recall(request(need), namespace=HOME, now=NOW, floor=0.5) == []


async def test_a_sentence_without_end_is_cut(memory: Memory) -> None:
    """What is dictated without a full stop is looked through in pieces."""
    await memory.add_many([NewRecord(text=text, namespace=HOME) for text in KNOWN], now=NOW)
    dictated = request("tell me the wifi password").replace(".", "").replace(",", "")
    assert len(sentences(dictated)) == 1
    assert [hit.record.text for hit in await memory.recall(dictated, namespace=HOME, now=NOW)] == [KNOWN[0]]


def held(texts: Sequence[str], query: str) -> list[float]:
    """The shares by their definition, each text by itself."""
    stems = [set(query_terms(text)) for text in texts]
    weight = {
        term: math.log1p((len(texts) + BACKGROUND - found + 0.5) / (found + 0.5))
        for term in query_terms(query)
        for found in [sum(term in each for each in stems)]
    }
    unknown = math.log1p((len(texts) + BACKGROUND + 0.5) / 0.5)
    parts = list[list[str]]()
    for sentence in sentences(query) if len(weight) > LONG else []:
        said = query_terms(sentence)
        parts += [said[at : at + SPAN] for at in range(0, max(1, len(said) - SPAN // 2), SPAN // 2)]
    shares = []
    for stemmed in stems:
        whole = sum(weight[term] for term in weight if term in stemmed) / sum(weight.values())
        best = [sum(weight[term] for term in part if term in stemmed) / (SPAN * unknown) for part in parts]
        shares.append(max([whole, *(share for share in best if share >= ENOUGH)]))
    return shares


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from(SPOKEN), min_size=1, max_size=5).map(" ".join), min_size=1, max_size=12),
    st.lists(st.lists(st.sampled_from([*SPOKEN, "new"]), min_size=1, max_size=20), min_size=1, max_size=8),
)
def test_equals_the_definition(texts: list[str], said: list[list[str]]) -> None:
    """Shares are those of the whole or of the best passage; of a short request, and if asked so, of the whole."""
    query = " ".join(" ".join(part).capitalize() + "." for part in said)
    index = index_of(texts)
    scores, whole = index.scores(query), index.scores(query, whole=True)
    assert scores.shares == pytest.approx(held(texts, query), rel=1e-5)
    assert scores.scores.tolist() == whole.scores.tolist()
    assert (scores.shares >= whole.shares).all()
    assert not whole.passages
    if len(query_terms(query)) <= LONG:
        assert scores.shares.tolist() == whole.shares.tolist()


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_one_word_never_decides(rows: int, found: int) -> None:
    """However rare it is and however short its sentence: the weight of a single known word is not enough."""
    filler = [f"filler{number}" for number in range(LONG + 1)]
    total = max(rows, found) + BACKGROUND
    unknown = math.log1p((total + 0.5) / 0.5)
    told = dict.fromkeys(filler, unknown) | {"tulip": math.log1p((total - found + 0.5) / (found + 0.5))}
    assert passages(f"Tulip? {' '.join(filler)}.", told, {"tulip"}, unknown) == []


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 1 << 30),
    st.integers(2, 120),
    st.sampled_from([0.3, 0.9, 1.0]),
    st.integers(0, 12),
    st.sampled_from([0.05, 0.15, 0.2, 0.6]),
)
def test_same_bits_as_exhaustive(seed: int, count: int, weight: float, k: int, floor: float) -> None:
    """Bounds leave out nothing that is a hit by one of its passages only."""
    quick, full, vectors = pair(seed, count, "isotropic", DEFAULT, weight, TIGHT)
    query = " ".join(["Rain in Rome, they say.", *TALK, "A dog with the cat."])
    vector, filter = asked(seed, vectors), RecallFilter(metadata={"n": {"$gte": 1}})
    for given_vector in (vector, None):
        one, two = (
            search([shard], query, given_vector, now=NOW + timedelta(days=1), k=k, filter=filter, floor=floor)
            for shard in (quick, full)
        )
        assert one == two


def test_passages_are_kept_by_what_they_can_give() -> None:
    """A passage of which too little is known is not looked at, so that talk costs nothing."""
    index = index_of([*KNOWN, *(f"Note {number} about something" for number in range(100))])
    assert len(index.scores(request("Somebody will ask for the wifi password.")).passages) == 1
    assert index.scores(request("And so on.")).passages == []
    assert np.count_nonzero(index.scores(request("And so on.")).shares >= ENOUGH) == 0
