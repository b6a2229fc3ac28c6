"""Postings of many texts at once are those of one text after the other."""

from __future__ import annotations

from array import array
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from mars.language import terms
from mars.memory.postings import TF_BITS, TF_MASK, Corpus

texts = st.text(alphabet="aAbsé'\u2019.,1 \t\n\u3000ß日本\u03a3\u03c3\u03c2\u0308\u00a8", max_size=12)


@settings(deadline=None, max_examples=300)
@given(st.lists(texts, max_size=8))
def test_counts_what_each_text_holds(rows: list[str]) -> None:
    """Reading pieces between white space gives the terms of the whole text, in any script."""
    corpus = Corpus()
    corpus.add(rows[:3])
    corpus.add(rows[3:])
    postings, lengths = corpus.postings()
    assert lengths.tolist() == [len(terms(text)) for text in rows]
    expected: dict[str, array[int]] = {}
    for row, text in enumerate(rows):
        for term, count in Counter(terms(text)).items():
            expected.setdefault(term, array("q")).append(row << TF_BITS | count)
    assert postings == expected


def test_counts_are_capped() -> None:
    """A count beyond what a posting holds is the most that it holds."""
    corpus = Corpus()
    corpus.add(["dog " * (TF_MASK + 5)])
    postings, lengths = corpus.postings()
    assert list(postings["dog"]) == [TF_MASK]
    assert lengths.tolist() == [TF_MASK + 5]
