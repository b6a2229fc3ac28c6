"""How MARS reads text: words, stems, sentences, moods, entropy, dates. The bottom layer: it knows no memory."""

from mars.language.dates import Granularity, ResolvedDate, dates_said, lexical_date_terms, resolve_dates
from mars.language.mood import QUESTION_WORDS, asks, tells
from mars.language.tokens import (
    STOP_WORDS,
    query_terms,
    sentence_spans,
    sentences,
    stem,
    terms,
    token_entropy,
    words,
)
from mars.language.voice import first_person

__all__ = [
    "QUESTION_WORDS",
    "STOP_WORDS",
    "Granularity",
    "ResolvedDate",
    "asks",
    "dates_said",
    "first_person",
    "lexical_date_terms",
    "query_terms",
    "resolve_dates",
    "sentence_spans",
    "sentences",
    "stem",
    "tells",
    "terms",
    "token_entropy",
    "words",
]
