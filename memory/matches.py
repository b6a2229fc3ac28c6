"""Rows that were found, before their records are fetched from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mars.memory.ranking import Exact, Ranking
from mars.memory.records import Explanation, Tier
from mars.memory.tiers import TIERS
from mars.memory.weights import PARTS, Weights, scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One row found, before its record is fetched from the truth; fields as in `mars.memory.records.Hit`."""

    id: str
    """Id of the record."""
    rank: float
    """For ordering only."""
    relevance: float
    """Absolute, in [0, 1]."""
    retention: float
    """R at the time of the search, in [0, 1]."""
    tier: Tier
    """Short-term or long-term."""
    explanation: Explanation | None = None
    """The parts of the rank, if asked for."""


def match_of(ranking: Ranking, scored: Exact, at: int, explain: bool) -> Match:
    """Return one of the rows that were scored, by its place among them."""
    return Match(
        id=ranking.ids[int(scored.rows[at])],
        rank=float(scored.rank[at]),
        relevance=float(scored.relevance[at]),
        retention=float(scored.retention[at]),
        tier=TIERS[int(scored.tiers[at])],
        explanation=_explanation(ranking, scored, at) if explain else None,
    )


def weighed(
    rankings: Sequence[Ranking], best: float, floors: Sequence[float], weights: Weights, explain: bool
) -> list[Match]:
    """Return every row above its floor, ranked by the weighted sum of its parts, in no order.

    The parts are scaled over all rows of all rankings that pass the filter, the floor apart. `best` is the largest
    lexical score of them all, `floors` the least relevance in each ranking.
    """
    scored = [each.exact(np.arange(len(each.words)), best, 0.0) for each in rankings]
    pairs = list(zip(rankings, scored, strict=True))
    recency = [weights.recency_of(each.columns.ages(each.now, rows.rows)) for each, rows in pairs]
    importance = [each.columns.importance[rows.rows] for each, rows in pairs]
    relevance = [rows.fused for rows in scored]
    parts = [scaled(np.concatenate([np.zeros(0), *each])) for each in (recency, importance, relevance)]
    ranks, start, found = weights.rank(parts), 0, list[Match]()
    for (each, rows), floor in zip(pairs, floors, strict=True):
        trusts = each.columns.trust[rows.rows]
        for at in np.flatnonzero(rows.relevance >= floor).tolist():
            match = match_of(each, rows, at, explain)
            shown = {name: float(part[start + at]) for name, part in zip(PARTS, parts, strict=True)}
            told = match.explanation and replace(match.explanation, weighed=shown)
            found.append(replace(match, rank=float(ranks[start + at] * trusts[at]), explanation=told))
        start += len(rows.rows)
    return found


def _explanation(ranking: Ranking, scored: Exact, at: int) -> Explanation:
    return Explanation(
        lexical=float(scored.lexical[at]),
        cosine=0.0 if scored.cosine is None else float(scored.cosine[at]),
        lexical_weight=ranking.weight,
        fusion=float(scored.fused[at]),
        retention_factor=float(scored.remembered[at]),
        importance_factor=float(scored.mattering[at]),
        trust=float(ranking.columns.trust[int(scored.rows[at])]),
        terms=ranking.lexical.terms_of(int(scored.rows[at])),
    )
