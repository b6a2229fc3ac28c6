"""How MARS reads text: words, stems, sentences, entropy and dates. The bottom layer; it knows nothing of memory."""

from mars.language.dates import Granularity, ResolvedDate, lexical_date_terms, resolve_dates
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
    "STOP_WORDS",
    "Granularity",
    "ResolvedDate",
    "first_person",
    "lexical_date_terms",
    "query_terms",
    "resolve_dates",
    "sentence_spans",
    "sentences",
    "stem",
    "terms",
    "token_entropy",
    "words",
]
