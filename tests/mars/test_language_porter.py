"""The stemmer gives what the Snowball project's generated one gives, for every word."""

import random
import re
from pathlib import Path

import pytest
import snowballstemmer

from mars.language.porter import porter

REFERENCE = snowballstemmer.stemmer("porter").stemWord
SUFFIXES = """
    sses ies ss s eed ed ing y at bl iz ational tional enci anci abli entli eli ization izer ation ator alism aliti alli
    fulness ousness ousli iveness iviti biliti alize icate iciti ical ative ness ful al ance ence er ic able ible ant
    ement ment ent ou ism ate iti ous ive ize ion e l ll tt ly
""".split()


def test_words_of_this_repository() -> None:
    """Comments and documents hold some thousand words of real English."""
    root = Path(__file__).parents[2]
    texts = [file.read_text() for pattern in ("docs/**/*.md", "memory/*.py") for file in root.glob(pattern)]
    words = sorted(set(re.findall(r"[a-z0-9]+(?:'[a-z0-9]+)*", " ".join(texts).lower())))
    assert len(words) > 2000
    assert [porter(word) for word in words] == [REFERENCE(word) for word in words]


@pytest.mark.parametrize("letters", ["aeiouybcdlstwx'", "aeylsdtin", "yaybcs", "e1l0s"])
def test_made_up_words(letters: str) -> None:
    """Every rule meets short stems, doubled letters, consonantal y's and other suffixes."""
    rng = random.Random(letters)
    words = {
        "".join(rng.choice(letters) for _ in range(rng.randrange(1, 7)))
        + "".join(rng.choice(SUFFIXES) for _ in range(rng.randrange(3)))
        for _ in range(5000)
    }
    assert [(word, porter(word)) for word in sorted(words)] == [(word, REFERENCE(word)) for word in sorted(words)]


def test_nothing_is_nothing() -> None:
    """There is always an answer."""
    assert porter("") == ""
