"""Words, stems, stop words, sentences and entropy: how every wing reads text.

Pure functions of their arguments; none raises on any string.
"""

import math
import re
import unicodedata
from collections import Counter
from functools import lru_cache

from mars.language.irregular import BASE_FORMS
from mars.language.porter import porter

MAX_STEMMED_LENGTH = 64
"""Words longer than this many characters are kept as they are: they are identifiers or noise, never inflected."""

_ENGLISH = """
    i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
    it its itself they them their theirs themselves what which who whom whose this that these those
    am is are was were be been being have has had having do does did doing will would shall should can could ought
    i'm you're he's she's it's we're they're i've you've we've they've i'd you'd he'd she'd we'd they'd
    i'll you'll he'll she'll we'll they'll isn't aren't wasn't weren't hasn't haven't hadn't doesn't don't didn't
    won't wouldn't shan't shouldn't can't cannot couldn't mustn't let's that's who's what's here's there's when's
    where's why's how's a an the and but if or because as until while of at by for with about against between into
    through during before after above below to from up down in out on off over under again further then once here
    there when where why how all any both each few more most other some such no nor not only own same so than too very
"""
STOP_WORDS: frozenset[str] = frozenset(_ENGLISH.split())
"""The Snowball project's English stop list (plus "shall", "can", "will", "whose"): dropped from queries only."""

_WORD = re.compile(r"\d++(?:[.,]\d++)++|[^\W_]++(?:'[^\W_]++)*")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\uff07": "'"})
_SENTENCE_END = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)\]]*(?=\s|$)|[\u3002\uff01\uff1f]|\n+")
_ABBREVIATED = "mr mrs ms dr prof sr jr st vs etc e.g i.e approx no vol fig inc ltd co dept est u.s u.k a.m p.m"
_MAY_END = "etc inc ltd co u.s u.k a.m p.m no jr sr"
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_NEVER_LAST = _ABBREVIATIONS - frozenset(_MAY_END.split())


def words(text: str) -> list[str]:
    """Return the lower-cased words of a text, in order and with repetitions.

    A word is a run of Unicode letters and digits; an apostrophe inside it stays ("don't", "caroline's"), whichever
    typographic form it was written in, and so do the separators inside a number ("3.5", "1,000"). Underscores and
    hyphens separate. Compatibility forms are folded (NFKC).
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).translate(_APOSTROPHES)
    return _WORD.findall(text.lower())


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """Return the index form of one word as `words` gives it.

    A possessive `'s` goes, thousands separators go ("1,000" becomes "1000"), irregular verb forms become their base
    ("went" is found by "go"), and ASCII words are stemmed (Porter 1980).
    """
    if not word.isascii() or len(word) > MAX_STEMMED_LENGTH:
        return word.removesuffix("'s")
    if word[:1].isdigit():
        return word.replace(",", "")
    plain = word.removesuffix("'s")
    return porter(BASE_FORMS.get(plain, plain))


def _index_forms(word: str) -> list[str]:
    """One stem, or the overlapping character pairs of a word in a script that puts no spaces between words."""
    if word.isascii() or len(word) < 3 or not _UNSPACED.search(word):
        return [stem(word)]
    return [word[start : start + 2] for start in range(len(word) - 1)]


def terms(text: str) -> list[str]:
    """Return the stemmed terms of a document, stop words included, in order and with repetitions.

    Words of unspaced scripts (Chinese, Japanese, Thai, …) become overlapping character pairs. No term spans white
    space: the terms of a text are those of its parts (`str.split`), one after the other.
    """
    found: list[str] = []
    for word in words(text):
        if word.isascii():
            found.append(stem(word))
        else:
            found.extend(_index_forms(word))
    return found


def query_terms(text: str) -> list[str]:
    """Return the distinct stemmed terms of a question without stop words, in order of first appearance.

    A question that consists of stop words only keeps them all, so that it can still find something.
    """
    spoken = words(text)
    kept = [word for word in spoken if word not in STOP_WORDS and word.removesuffix("'s") not in STOP_WORDS]
    return list(dict.fromkeys(form for word in kept or spoken for form in _index_forms(word)))


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return `(start, end)` character offsets of the sentences; together they cover the text once, gaps included.

    Sentences end at `.`, `!`, `?`, an ellipsis, their full-width forms, or a line break; not after a usual English
    abbreviation ("Dr.", "e.g."), a single initial ("J. Smith") or inside a number. White space belongs to the sentence
    before it. An empty text has no sentences.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    first = _SENTENCE_END.search(text)
    if first is None or first.end() == len(text):  # whatever the mark is: most things that are said are one sentence
        return [(0, len(text))] if text else []
    for found in _SENTENCE_END.finditer(text):
        end = found.end()
        if _is_abbreviation(text, start, found) or not text[start:end].strip():
            continue
        while end < len(text) and text[end].isspace():
            end += 1
        if end > start:
            spans.append((start, end))
            start = end
    if start < len(text):
        if spans and not text[start:].strip():
            spans[-1] = (spans[-1][0], len(text))
        else:
            spans.append((start, len(text)))
    return spans


def _is_abbreviation(text: str, start: int, end_mark: re.Match[str]) -> bool:
    if end_mark.group() != ".":
        return False
    before = text[max(start, end_mark.start() - 12) : end_mark.start()].split()
    last = before[-1].lstrip("(\"'") if before else ""
    if last.lower() in _NEVER_LAST:
        return True
    follows = text[end_mark.end() : end_mark.end() + 2].strip()
    if last.lower() in _ABBREVIATIONS:
        return follows[:1].islower()
    return len(last) == 1 and last.isupper() and last != "I"


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, stripped; empty ones are left out."""
    return [part for start, end in sentence_spans(text) if (part := text[start:end].strip())]


def token_entropy(text: str) -> tuple[float, float]:
    """Return the Shannon entropy of a text's words as `(bits, normalised)`.

    `bits` is `-Σ p·log2 p` over the distinct words; `normalised` divides by log2 of their number, so it lies in
    [0, 1]. Both are 0 for fewer than two distinct words.
    """
    spoken = words(text)
    if len(set(spoken)) == len(spoken):
        return _entropy((1,) * len(spoken))
    return _entropy(tuple(sorted(Counter(spoken).values())))


@lru_cache(maxsize=1 << 12)  # most short texts repeat no word, or few
def _entropy(counts: tuple[int, ...]) -> tuple[float, float]:
    if len(counts) < 2:
        return 0.0, 0.0
    total = sum(counts)
    bits = -math.fsum(n / total * math.log2(n / total) for n in counts)
    return bits, min(1.0, bits / math.log2(len(counts)))
