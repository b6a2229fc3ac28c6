"""Porter's stemmer (1980) as the Snowball project defines it, in a tenth of the time of its generated Python.

A first question to a large store stems every distinct word that the store holds, so the stemmer decides how long that
takes. Suffixes are looked up by length, longest first, and a word whose last letter no rule knows is left at once.
`tests/language/test_porter.py` compares it with the ``snowballstemmer`` package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_VOWELS = frozenset("aeiouy")
_TOUCHED = frozenset("cdegilmnrstuyY")
"""The last letters that some rule changes."""

_REGION = re.compile("[^aeiouy]*+[aeiouy]++[^aeiouy]")
_VOICED = re.compile("[aeiouy]")
_MARKED = re.compile("(^|[aeiouy])y")
_SHORT = re.compile("[^aeiouy][aeiouy][^aeiouywxY]$")

_STEP_2: Mapping[str, str] = {
    **{"ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "abli": "able", "entli": "ent", "eli": "e"},
    **{"ization": "ize", "izer": "ize", "ation": "ate", "ator": "ate", "alism": "al", "aliti": "al", "alli": "al"},
    **{"fulness": "ful", "ousness": "ous", "ousli": "ous", "iveness": "ive", "iviti": "ive", "biliti": "ble"},
}
_STEP_3: Mapping[str, str] = {
    **{"alize": "al", "icate": "ic", "iciti": "ic", "ical": "ic", "ative": "", "ness": "", "ful": ""},
}
_STEP_4: Mapping[str, str] = dict.fromkeys(
    "al ance ence er ic able ible ant ement ment ent ou ism ate iti ous ive ize ion".split(), ""
)


def porter(word: str) -> str:
    """Return the stem of a word of lower-case ASCII letters and digits; apostrophes count as consonants."""
    if word[-1:] not in _TOUCHED:
        return word
    marked = "y" in word
    if marked:
        word = _MARKED.sub(r"\1Y", word)
    first = _REGION.match(word)
    r1 = first.end() if first else len(word)
    second = _REGION.match(word, r1) if first else None
    r2 = second.end() if second else len(word)
    if word[-1] == "s":
        word = _plural(word)
    if word[-1:] in ("d", "g"):
        word = _past(word, r1)
    if word[-1:] in ("y", "Y") and _VOICED.search(word, 0, len(word) - 1):
        word = word[:-1] + "i"
    word = _replaced(word, _STEP_2, 7, r1)
    word = _replaced(word, _STEP_3, 5, r1)
    word = _replaced(word, _STEP_4, 5, r2)
    word = _ending(word, r1, r2)
    return word.replace("Y", "y") if marked else word


def _plural(word: str) -> str:
    """Step 1a."""
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word if word.endswith("ss") else word[:-1]


def _past(word: str, r1: int) -> str:
    """Step 1b."""
    if word.endswith("eed"):
        return word[:-1] if len(word) - 3 >= r1 else word
    cut = 2 if word.endswith("ed") else 3 if word.endswith("ing") else 0
    if not cut or not _VOICED.search(word, 0, len(word) - cut):
        return word
    word = word[:-cut]
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if word.endswith(("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")):
        return word[:-1]
    return word + "e" if len(word) == r1 and _SHORT.search(word) else word


def _replaced(word: str, rules: Mapping[str, str], longest: int, region: int) -> str:
    """Replace the longest suffix that is in the rules, if it lies in the region."""
    for length in range(longest, 1, -1):
        suffix = word[-length:]
        if suffix in rules:
            start = len(word) - length
            if start < region or (suffix == "ion" and word[start - 1 : start] not in ("s", "t")):
                return word
            return word[:start] + rules[suffix]
    return word


def _ending(word: str, r1: int, r2: int) -> str:
    """Step 5."""
    last = len(word) - 1
    if word[last:] == "e" and (last >= r2 or (last >= r1 and not _SHORT.search(word, 0, last))):
        word, last = word[:-1], last - 1
    return word[:-1] if last >= r2 and word.endswith("ll") else word
