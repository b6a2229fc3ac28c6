"""The passages of a long request: who asks for one thing in the midst of others shall find it (docs/design/0017).

The share of all its words that a short record holds falls with the length of a request, whatever the record says. So a
long request is also judged by its sentences, a long sentence by pieces that overlap. What is held of a passage counts
as it would if that had been asked alone, among words that nobody knows; so one word never decides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from mars.language import query_terms, sentences

__all__ = ["ENOUGH", "LONG", "SPAN", "passages"]

LONG = 20
"""A request of more distinct terms is long: of some 40 words."""

SPAN = 8
"""A passage has at most so many terms, and weighs as much as so many words that nobody ever said."""

ENOUGH = 0.15
"""A smaller share of a passage counts for nothing: it is 1.2 unknown words, more than any one known word weighs."""


def passages(
    query: str, told: Mapping[str, float], found: Collection[str], unknown: float
) -> Sequence[Mapping[str, np.float32]]:
    """Return what each term found is of each passage, as a share of the passage's weight; none of a short request.

    `told` weighs every term of the request, `unknown` is the weight of a word that nobody said. A passage of which not
    even `ENOUGH` was found is left out.
    """
    parts = list[Mapping[str, np.float32]]()
    for terms in _cut(query) if len(told) > LONG else ():
        part = {term: np.float32(told[term] / (SPAN * unknown)) for term in terms if term in found}
        if sum(part.values()) >= ENOUGH:
            parts.append(part)
    return parts


def _cut(query: str) -> Sequence[Sequence[str]]:
    """Return the terms of each passage; pieces of a long sentence overlap by half."""
    step, cut = SPAN // 2, list[Sequence[str]]()
    for sentence in sentences(query):
        said = query_terms(sentence)
        cut += [said[start : start + SPAN] for start in range(0, max(1, len(said) - step), step)]
    return cut
