"""Another way to order hits: the weighted sum of recency, importance and relevance of Generative Agents.

Park et al. 2023 (arXiv 2304.03442, section 4.1) scale each of the three to [0, 1] over all memories and add them up,
with every weight 1. Recency falls by a factor for each hour since the last use. Their released code ranks the oldest
memory as the most recent one; here recency never rises with age.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mars.errors import InvalidSetting
from mars.memory.fusion import Floats
from mars.memory.records import check_share

PARTS = ("recency", "importance", "relevance")
"""What is added up, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each part counts. Raises `InvalidSetting` for a weight that is negative or no number, or all of 0."""

    recency: float = 1.0
    """Weight of ``hourly ** hours since the last strengthening``, scaled."""
    importance: float = 1.0
    """Weight of the importance, scaled."""
    relevance: float = 1.0
    """Weight of the fusion of words and vectors, scaled."""
    hourly: float = 0.995
    """What is left of the recency after an hour, in [0, 1]; the paper's value."""

    def __post_init__(self) -> None:
        for name in PARTS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
                raise InvalidSetting(f"the weight of {name} must be finite and not negative; got {value!r}")
        if not any(getattr(self, name) for name in PARTS):
            raise InvalidSetting("at least one weight must be above 0, or nothing orders the hits")
        object.__setattr__(self, "hourly", check_share(self.hourly, "hourly"))

    def recency_of(self, ages: Floats) -> Floats:
        """Return the recency of rows by their age in days: 1 at 0, never rising with age."""
        return np.power(self.hourly, ages * 24.0)

    def rank(self, parts: Sequence[Floats]) -> Floats:
        """Return the weighted sum of the scaled `PARTS`."""
        weighted = [getattr(self, name) * part for name, part in zip(PARTS, parts, strict=True)]
        return np.asarray(weighted[0] + weighted[1] + weighted[2])


def check_weights(weights: Weights) -> Weights:
    """Return the weights if they are some, else raise `InvalidSetting`."""
    if not isinstance(weights, Weights):
        raise InvalidSetting(f"weights must be a mars.memory.weights.Weights; got {weights!r}")
    return weights


def scaled(values: Floats) -> Floats:
    """Return the values from 0 for the smallest to 1 for the largest; .5 where all are equal, or there is only one."""
    if not len(values):
        return values
    least, most = float(values.min()), float(values.max())
    if most == least:
        return np.full(len(values), 0.5)
    return np.clip((values - least) / (most - least), 0.0, 1.0)
