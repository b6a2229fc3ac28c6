"""Words, stems, stop words, sentences and entropy."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mars.language import (
    STOP_WORDS,
    first_person,
    query_terms,
    sentence_spans,
    sentences,
    stem,
    terms,
    token_entropy,
    words,
)

pytestmark = pytest.mark.wheel


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't touch Caroline\u2019s cat!", ["don't", "touch", "caroline's", "cat"]),
        ("3.5 kg for $1,000 in 2023-05-07", ["3.5", "kg", "for", "1,000", "in", "2023", "05", "07"]),
        ("snake_case, well-being", ["snake", "case", "well", "being"]),
        ("\uff28\uff45\uff4c\uff4c\uff4f caf\u0065\u0301", ["hello", "caf\u00e9"]),
        ("...", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    """Words are lower-cased, keep numbers and inner apostrophes whole, and fold typographic variants."""
    assert words(text) == expected


def test_stems() -> None:
    """A stem drops inflection, the possessive and thousands separators, and leaves other scripts alone."""
    assert stem("running") == stem("runs") == "run"
    assert stem("caroline's") == stem("caroline")
    assert stem("1,000") == "1000"
    assert stem("\u043a\u043e\u0448\u043a\u0438") == "\u043a\u043e\u0448\u043a\u0438"
    assert stem("a" * 1000) == "a" * 1000


def test_stems_from_threads() -> None:
    """Stemming from several threads gives what one thread gives: stemmer objects are never shared."""
    spoken = [f"walking{'s' * (n % 7)}ness{n}ing" for n in range(3000)]
    alone = [stem.__wrapped__(word) for word in spoken]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(stem.__wrapped__, spoken)) == alone


def test_query_terms() -> None:
    """A question loses its stop words and repetitions; one that consists of them keeps them."""
    assert query_terms("When did Caroline go to the support group, the group?") == ["carolin", "go", "support", "group"]
    assert query_terms("Who is it?") == ["who", "i", "it"]
    assert "not" in terms("it is not so")
    assert "may" not in STOP_WORDS


def test_unspaced_scripts() -> None:
    """Text without spaces is indexed by character pairs, so that a word inside it can be found."""
    assert set(query_terms("\u65e5\u672c\u8a9e")) <= set(terms("\u79c1\u306f\u65e5\u672c\u8a9e\u3092\u8a71\u3059"))


def test_sentences() -> None:
    """Sentences end at end marks and line breaks, not after abbreviations, initials or inside numbers."""
    text = 'Hi! Dr. Smith came at 3.5 p.m. yesterday. Really?! "Yes." J. Doe left... ok\nnew'
    expected = ["Hi!", "Dr. Smith came at 3.5 p.m. yesterday.", "Really?!", '"Yes."', "J. Doe left...", "ok", "new"]
    assert sentences(text) == expected


@given(st.text(alphabet=st.characters(), max_size=80))
def test_sentence_spans_cover(text: str) -> None:
    """The spans of sentences cover any text once, in order, without a gap."""
    spans = sentence_spans(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(start < end for start, end in spans)


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=120))
def test_any_text(text: str) -> None:
    """No text makes the readers of language raise, lone surrogates included."""
    assert len(terms(text)) >= 0
    assert len(query_terms(text)) == len(set(query_terms(text)))
    assert all(word and not word.isspace() for word in words(text))
    bits, share = token_entropy(text)
    assert bits >= 0.0
    assert 0.0 <= share <= 1.0


def test_entropy() -> None:
    """Entropy is that of the words' frequencies in bits, 0 for fewer than two distinct words."""
    assert token_entropy("") == token_entropy("so so so") == (0.0, 0.0)
    assert token_entropy("a b c d") == (2.0, 1.0)
    bits, share = token_entropy("a a a b")
    assert bits == pytest.approx(-(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)))
    assert share == pytest.approx(bits)


def test_long_texts() -> None:
    """A megabyte of anything is read in linear time: no pattern backtracks without bound."""
    for text in ("1," * 400_000 + "1a", "a" * 1_000_000, "x. " * 300_000, "'" * 1_000_000):
        assert len(words(text)) <= len(text)
        assert sentences(text)


def test_first_person() -> None:
    """A question that names a speaker is turned into what the speaker would say; others stay as they are."""
    assert first_person("Where is Ann Lee's dog, and did ann run?", {"ann", "lee"}) == "Where is my dog, and did I run?"
    assert first_person("Where is Anna?", {"ann"}) == "Where is Anna?"
    assert first_person("Where is Ann?", ()) == "Where is Ann?"
    assert first_person("Is (b) here?", {"(", "", "x|y"}) is not None


def test_light_import() -> None:
    """Importing the language layer loads neither the stemmer nor any wing of MARS."""
    code = "import sys, mars.language; print(*[m for m in sys.modules if m.startswith(('snowball', 'numpy', 'mars.'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name.split(".")[1] for name in loaded} <= {"language", "errors", "exports"}


@pytest.mark.parametrize(("form", "base"), [("went", "go"), ("gone", "go"), ("bought", "buy"), ("told", "tells")])
def test_an_irregular_form_is_found_by_its_base(form: str, base: str) -> None:
    """A question says "go" where the answer says "went"."""
    assert stem(form) == stem(base)
