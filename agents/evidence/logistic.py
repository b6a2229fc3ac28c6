"""A logistic model over named features: what every learned part of the Checker is, with its numbers as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """``1 / (1 + exp(-(bias + Σ coefficient · (value - mean) / scale)))``."""

    bias: float
    """Log-odds where all features are average."""
    coefficients: Mapping[str, float]
    """Change of the log-odds by one standard deviation of a feature, in the features' order."""
    means: Mapping[str, float]
    """Mean of each feature where it was fitted."""
    scales: Mapping[str, float]
    """Standard deviation of each feature where it was fitted."""
    threshold: float
    """Score below which it says no."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Return the model in JSON values; other keys are left alone."""
        keys = ("bias", "coefficients", "means", "scales", "threshold")
        return cls(**{key: data[key] for key in keys})

    def chance(self, values: Sequence[float]) -> float:
        """Return the chance in (0, 1) of features given in the model's order."""
        odds = self.bias
        for name, value in zip(self.coefficients, values, strict=True):
            odds += self.coefficients[name] * (value - self.means[name]) / self.scales[name]
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, odds))))
