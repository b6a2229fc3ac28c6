"""Postings of many blobs at once are those of one text after the other; blobs hold what the text says."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.language import STOP_WORDS, terms, words
from mars.memory.documents import Document, Words
from mars.memory.postings import TF_MASK, Postings
from mars.memory.terms import EMPTY, encode, hashes, head, term_hash

ALPHABET = "aAbsé'\u2019.,?1 \t\n\u3000ß日本\u03a3\u03c3\u03c2\u0308\u00a8\ud800"
texts = st.text(alphabet=ALPHABET, max_size=12)
names = st.none() | st.text(alphabet="Ann the'é ", max_size=8)


def read(blobs: list[bytes]) -> Words:
    """Read blobs as a shard does, in two parts."""
    parts = [part for part in (blobs[:2], blobs[2:]) if part]
    return Words.of([(b"".join(part), np.array([len(one) for one in part], np.int64)) for part in parts])


def posted(postings: Postings, term: int) -> dict[int, int]:
    """How often each row holds a term."""
    found = postings.find(term)
    return {} if found is None else dict(zip(*(part.tolist() for part in found), strict=True))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(texts, names), max_size=8))
def test_counts_what_each_text_holds(rows: list[tuple[str, str | None]]) -> None:
    """All that the index knows of a row is in its blob, in any script: one by one, and of many at once."""
    many = read([encode(*row) for row in rows])
    ones = [Document.of(text, speaker=speaker) for text, speaker in rows]
    spoken = [terms(f"{speaker or ''} {text}") for text, speaker in rows]
    assert many.lengths.tolist() == [len(each) for each in spoken]
    assert [dict(one.counts) for one in ones] == [Counter(map(term_hash, each)) for each in spoken]
    for term in {term for each in spoken for term in each}:
        held = {row: each.count(term) for row, each in enumerate(spoken) if term in each}
        assert posted(many.terms, term_hash(term)) == held
    called = [{word for word in words(speaker or "") if word not in STOP_WORDS} for _, speaker in rows]
    for name in {name for each in called for name in each}:
        held = {row: 1 for row, each in enumerate(called) if name in each}
        assert posted(many.speakers, term_hash(name)) == held
    assert [set(one.speaker) for one in ones] == [set(map(term_hash, each)) for each in called]
    assert many.asks.tolist() == [one.asks for one in ones]
    assert many.shares.tolist() == [one.question_share for one in ones]
    assert many.terms.find(term_hash("heron")) is None


def test_counts_are_capped() -> None:
    """A count beyond what a posting holds is the most that it holds, whenever the row came."""
    many = read([encode("dog " * (TF_MASK + 5)), EMPTY])
    dog = term_hash("dog")
    assert posted(many.terms, dog) == {0: TF_MASK}
    assert many.lengths.tolist() == [TF_MASK + 5, 0]
    many.terms.add(dog, 2, TF_MASK + 5)
    assert posted(many.terms, dog) == {0: TF_MASK, 2: TF_MASK}


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from([1 << 63, (1 << 63) + 1, (1 << 63) + 2, 5]), st.integers(0, 3)), max_size=20))
def test_hashes_that_are_nearly_the_same(pairs: list[tuple[int, int]]) -> None:
    """Hashes that differ in their lower bits alone are kept apart."""
    pairs.sort(key=lambda pair: pair[1])
    found = Postings.of(np.array([pair[0] for pair in pairs], np.uint64), np.array([p[1] for p in pairs], np.uint32))
    for term in {pair[0] for pair in pairs}:
        assert posted(found, term) == Counter(row for each, row in pairs if each == term)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from([1 << 63, (1 << 63) + 1, 5, 9]), st.integers(1, 9)), max_size=6)),
    st.integers(0, 8),
)
def test_what_came_later_is_put_in_order(rows: list[list[tuple[int, int]]], least: int) -> None:
    """Postings find the same rows and counts, in order, however often they were put together."""
    first = [(term, row) for row, pairs in enumerate(rows[:2]) for term in sorted(dict(pairs))]
    found = Postings.of(np.array([term for term, _ in first], np.uint64), np.array([r for _, r in first], np.uint32))
    for row, pairs in enumerate(rows[2:], 2):
        for term, count in dict(pairs).items():
            found.add(term, row, count)
        found.compact(least)
    for term in (1 << 63, (1 << 63) + 1, 5, 9):
        early = {row: 1 for each, row in first if each == term}
        held = early | {row: dict(pairs)[term] for row, pairs in enumerate(rows) if row > 1 and term in dict(pairs)}
        assert posted(found, term) == held
        assert list(posted(found, term)) == sorted(held)


def test_a_blob_of_this_version() -> None:
    """The bytes that are stored: another layout, tokeniser or stemmer needs another version."""
    blob = encode("Where are the running dogs? Ann\u2019s 1,000 cafés. 日本語", "Ann Lee")
    assert head(blob) == (1, 2, 2, 1, 3)
    name, said = hashes(blob)
    assert name == [term_hash("ann"), term_hash("lee")]
    assert said == list(map(term_hash, "ann lee where ar the run dog ann 1000 cafés 日本 本語".split()))
    assert blob[:24].hex() == "010202000100000003000000000000008d3adf6abf23f3a5"
    assert encode("", None) == EMPTY == bytes([1, *[0] * 15])
