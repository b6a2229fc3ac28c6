"""A small logistic regression, and the area under a ROC curve: all that fitting the Checker's models takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mars.agents.evidence.answerability import FEATURES, AnswerabilityModel, Features
from mars.agents.evidence.logistic import Logistic
from mars.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Model = TypeVar("Model", bound=Logistic)
PENALTY = 3.0
"""L2 penalty on the coefficients of standardised features; the bias is free."""
LOST = 0.12
"""Share of answerable questions that the threshold may give up."""


def fit_answerability(
    features: Sequence[Features], answerable: Sequence[bool], *, penalty: float = PENALTY, lost: float = LOST
) -> AnswerabilityModel:
    """Return the logistic model of answerable against not, with its threshold.

    The threshold is the score below which the share `lost` of the answerable questions falls. Raises `InvalidInput` if
    one of the two classes is missing.
    """
    model = fit_logistic(AnswerabilityModel, FEATURES, [each.values() for each in features], answerable, penalty)
    kept = sorted(model.score(each) for each, known in zip(features, answerable, strict=True) if known)
    return replace(model, threshold=kept[int(lost * len(kept))])


def fit_logistic(
    kind: type[Model],
    names: Sequence[str],
    rows: Sequence[Sequence[float]],
    positive: Sequence[bool],
    penalty: float = PENALTY,
) -> Model:
    """Return the logistic model of one class against the other, by Newton's method; its threshold is 0.

    `rows` has one row for each example, its values in the order of `names`; they are standardised. Raises
    `InvalidInput` if a class is missing.
    """
    wanted = np.asarray(positive, dtype=np.float64)
    if not 0 < wanted.sum() < len(wanted):
        raise InvalidInput("a fit needs examples of both classes; give it more conversations")
    raw = np.asarray(rows, dtype=np.float64)
    means, scales = raw.mean(axis=0), raw.std(axis=0)
    scales = np.where(scales > 1e-9, scales, 1.0)
    weights = _newton(np.column_stack([np.ones(len(raw)), (raw - means) / scales]), wanted, penalty)
    return kind(
        bias=float(weights[0]),
        coefficients=dict(zip(names, weights[1:].tolist(), strict=True)),
        means=dict(zip(names, means.tolist(), strict=True)),
        scales=dict(zip(names, scales.tolist(), strict=True)),
        threshold=0.0,
    )


def _newton(columns: Floats, wanted: Floats, penalty: float, steps: int = 50) -> Floats:
    weights = np.zeros(columns.shape[1])
    ridge = np.full(columns.shape[1], penalty)
    ridge[0] = 0.0
    for _ in range(steps):
        chances = 1.0 / (1.0 + np.exp(-np.clip(columns @ weights, -30.0, 30.0)))
        gradient = columns.T @ (chances - wanted) + ridge * weights
        spread = np.maximum(chances * (1.0 - chances), 1e-9)
        step = np.linalg.solve(columns.T @ (columns * spread[:, None]) + np.diag(ridge), gradient)
        weights = weights - step
        if float(np.abs(step).max()) < 1e-10:
            break
    return weights


def auc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Return the chance that a positive scores above a negative, ties counted by half; NaN if a class is missing."""
    values, wanted = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    many, few = int(wanted.sum()), int((~wanted).sum())
    if not many or not few:
        return float("nan")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
    return float((ranks[wanted].sum() - many * (many + 1) / 2.0) / (many * few))
