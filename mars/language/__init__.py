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

__all__ = [
    "STOP_WORDS",
    "Granularity",
    "ResolvedDate",
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
