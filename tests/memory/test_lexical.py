"""The lexical index: equal to a plain computation of its formula, and what the formula is for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.language import query_terms, words
from mars.memory import lexical
from mars.memory.lexical import Document, LexicalIndex
from mars.memory.terms import term_hash

MONDAY = datetime(2023, 5, 8, tzinfo=UTC)


@dataclass
class Reference:
    """The formula, row by row, without arrays, postings or links."""

    rows: dict[int, Document] = field(default_factory=dict)

    def near(self, row: int, term: str, dated: bool) -> float:
        """Weighted count of a term in and around a row."""
        total = float(self.rows[row].counts.get(term_hash(term), 0))
        for other, weight in self.neighbours(row):
            total += weight * self.rows[other].counts.get(term_hash(term), 0)
        return total + (term in self.rows[row].dates if dated else 0)

    def neighbours(self, row: int) -> list[tuple[int, float]]:
        """Rows within three places in the same conversation, with the weight at which they lend."""
        talk = self.rows[row].conversation
        if talk is None:
            return []
        order = sorted(
            (each for each, document in self.rows.items() if document.conversation == talk),
            key=lambda each: (self.rows[each].place, each),
        )
        at = order.index(row)
        found = []
        for distance, weight in enumerate(lexical.NEIGHBOURS, start=1):
            if at >= distance:
                lender = order[at - distance]
                reply = distance == 1 and self.rows[lender].asks
                found.append((lender, lexical.REPLY if reply else weight))
            if at + distance < len(order):
                found.append((order[at + distance], weight))
        return found

    def length(self, row: int) -> float:
        """Weighted number of terms in and around a row, dates included."""
        own = self.rows[row].counts.values()
        around = sum(weight * sum(self.rows[each].counts.values()) for each, weight in self.neighbours(row))
        return sum(own) + len(self.rows[row].dates) + around

    def scores(self, query: str) -> tuple[dict[int, float], dict[int, float]]:
        """Scores and idf shares of every row."""
        asked = query_terms(query)
        months = {"mai"} & set(asked)
        lengths = {row: self.length(row) for row in self.rows}
        own = {row: float(sum(document.counts.values())) for row, document in self.rows.items()}
        mean, mean_own = (sum(each.values()) / max(1, len(self.rows)) for each in (lengths, own))
        scores, shares = dict.fromkeys(self.rows, 0.0), dict.fromkeys(self.rows, 0.0)
        idf, told = dict[str, float](), dict[str, float]()
        for term in asked:
            dated = term in ("mai", "mondai") or (term.isdecimal() and (bool(months) or len(term) == 4))
            near = {row: self.near(row, term, dated) for row in self.rows}
            found = sum(value > 0 for value in near.values())
            idf[term] = math.log1p((len(self.rows) - found + 0.5) / (found + 0.5))
            told[term] = math.log1p((len(self.rows) + lexical.BACKGROUND - found + 0.5) / (found + 0.5))
            for row, value in near.items():
                norm = lexical.K1 * (1 - lexical.B + lexical.B * lengths[row] / max(mean, 1e-9))
                scores[row] += idf[term] * (lexical.K1 + 1) * value / (value + norm) if value else 0.0
                shares[row] += told[term] * (value > 0)
        named = {term_hash(word.removesuffix("'s")) for word in words(query)}
        for row, document in self.rows.items():
            scores[row] *= 1 - lexical.QUESTION_PENALTY * document.question_share
            scores[row] *= own[row] / max(own[row] + lexical.BREVITY * mean_own, 1e-9)
            scores[row] *= 1 + lexical.SPEAKER_BOOST * (not named.isdisjoint(document.speaker))
        return scores, {row: share / sum(told.values()) for row, share in shares.items()} if told else shares


texts = st.lists(st.sampled_from(["dog", "dogs", "walk", "rome", "the", "2023", "8", "why?", "ann"]), max_size=6)
documents = st.builds(
    lambda text, speaker, dated, talk, position: Document.of(
        " ".join(text),
        speaker=speaker,
        said_at=MONDAY if dated else None,
        conversation=talk,
        place=(float(position), position, ""),
    ),
    texts,
    st.sampled_from([None, "Ann", "Bob Lee"]),
    st.booleans(),
    st.sampled_from([None, "a", "b"]),
    st.integers(0, 4),
)
queries = st.lists(
    st.sampled_from(["dog", "walking", "Rome", "Ann's", "Lee", "may", "8", "2023", "Monday", "cat", "who"]), max_size=5
).map(" ".join)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(documents, st.booleans()), max_size=25),
    queries,
    st.data(),
)
def test_equals_the_formula(added: list[tuple[Document, bool]], query: str, data: st.DataObject) -> None:
    """After any adds, removals and questions in between, every score and share is what the formula says."""
    index, reference = LexicalIndex(), Reference()
    for row, (document, ask) in enumerate(added):
        index.add(row, document)
        reference.rows[row] = document
        if ask:
            index.scores(query)
        if reference.rows and data.draw(st.integers(0, 3)) == 0:
            gone = data.draw(st.sampled_from(sorted(reference.rows)))
            index.remove(gone)
            del reference.rows[gone]
    found = index.scores(query)
    scores, shares = reference.scores(query)
    assert len(index) == len(reference.rows)
    for row in range(len(added)):
        assert found.scores[row] == pytest.approx(scores.get(row, 0.0), rel=2e-5, abs=1e-6)
        assert found.shares[row] == pytest.approx(shares.get(row, 0.0), rel=1e-5, abs=1e-6)


def _index(*turns: tuple[str, str], talk: str | None = "talk") -> LexicalIndex:
    index = LexicalIndex()
    for row, (speaker, text) in enumerate(turns):
        place = (float(row), row, "")
        index.add(row, Document.of(text, speaker=speaker, said_at=MONDAY, conversation=talk, place=place))
    return index


def test_many_rows_in_order() -> None:
    """A frequent term takes another path than a rare one; both give the formula's scores."""
    turns = [("Ann", f"dog number{row}" + (" rare" if row == 30 else "")) for row in range(60)]
    index, reference = _index(*turns), Reference()
    for row, (speaker, text) in enumerate(turns):
        place = (float(row), row, "")
        reference.rows[row] = Document.of(text, speaker=speaker, said_at=MONDAY, conversation="talk", place=place)
    for query in ("dog", "rare", "rare dog of Ann"):
        expected = reference.scores(query)[0]
        assert index.scores(query).scores == pytest.approx([expected[row] for row in range(60)], rel=1e-5)


@pytest.mark.parametrize("most", [1, 3, 4, 900, 1000])
def test_terms_are_spread_alike(most: int) -> None:
    """Counts of any size are what the formula says, and spread from their rows or over all rows to the same bits."""
    said = [" ".join(["dog"] * (1 + row * (most - 1) // 39)) for row in range(40)]
    turns = [("Ann", f"{text} n{row}" + ("?" if row % 7 == 3 else "")) for row, text in enumerate(said)]
    index, reference = _index(*turns), Reference()
    for row, (speaker, text) in enumerate(turns):
        place = (float(row), row, "")
        reference.rows[row] = Document.of(text, speaker=speaker, said_at=MONDAY, conversation="talk", place=place)
    expected = reference.scores("dog")[0]
    found = index.scores("dog")
    assert found.scores == pytest.approx([expected[row] for row in range(40)], rel=1e-5)
    rows, counts = np.arange(40), np.array([text.split().count("dog") for text in said], found.near["dog"].dtype)
    near = np.zeros(index._rows.capacity, counts.dtype)
    index._rows.spread(near, rows, counts)
    assert near[:40].tolist() == found.near["dog"].tolist()


def test_reply_is_found_by_the_question() -> None:
    """An answer that repeats no word of the question is found through the turn before it, ahead of the asker."""
    index = _index(("Ann", "Where did you spend your holidays?"), ("Bob", "In Rome, with my sister."), ("Ann", "Nice."))
    scores = index.scores("Where did Bob spend his holidays?").scores
    assert int(np.argmax(scores)) == 1


def test_named_speaker_goes_first() -> None:
    """Of two equal rows, the one said by whom the question names scores higher."""
    index = _index(("Ann", "I like tea and cake"), ("Bob", "I like tea and cake"), talk=None)
    scores = index.scores("What does Bob's friend like, tea?").scores
    assert scores[1] > scores[0] > 0.0


def test_dates_are_words() -> None:
    """A row is found by the month and year in which it was said; a bare number is no day."""
    index = _index(("Ann", "I bought a kite"))
    assert index.scores("What happened in May 2023?").scores[0] > 0.0
    assert index.scores("on Monday").scores[0] > 0.0
    assert index.scores("Who has 8 kites and 5 cats").terms_of(0).keys() == {"kite"}
    assert index.scores("on 8 May").terms_of(0).keys() == {"8", "mai"}


def test_unknown_words_lower_the_share() -> None:
    """A query term that nobody ever said counts fully against the share, so that relevance stays absolute."""
    index = _index(("Ann", "I bought a kite"), ("Ann", "It rains"), talk=None)
    assert index.scores("kite").shares[0] == pytest.approx(1.0)
    assert index.scores("kite zeppelin").shares[0] < 0.5
    nothing = index.scores("zeppelin")
    assert not nothing.scores.any()
    assert not nothing.shares.any()
    assert nothing.idf.keys() == {"zeppelin"}


def test_empty() -> None:
    """An empty index, an empty question and a row without words give zeros, not errors."""
    index = LexicalIndex()
    assert index.scores("anything").scores.shape == (0,)
    index.add(0, Document.of("!!!"))
    assert index.scores("").scores.tolist() == [0.0]
    assert index.scores("what").scores.tolist() == [0.0]


def test_a_common_word_counts_in_a_small_store_too() -> None:
    """With one row, a known word among unknown ones still makes the row relevant."""
    index = LexicalIndex()
    index.add(0, Document.of("My dog is called Rex."))
    assert index.scores("Do you know the name of my dog?").shares[0] > 0.1
