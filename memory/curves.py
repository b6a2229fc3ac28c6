"""Forgetting curves: the chance that a record is still available some days after it was last strengthened.

Pure functions of ``(curve, τ, S)``: τ in fractional days since the last strengthening, S the strength in days. Scalars
and numpy arrays run through the same code, so that one record and a whole namespace never differ by a rounding.

===================  ===============================================  ==============================================
curve                R(τ, S)                                          source
===================  ===============================================  ==============================================
``exponential``      ``exp(-τ/S)``                                    MARS eq. 10 (2503.19271), MemoryBank (2305.10250)
``exponential90``    ``0.9 ** (τ/S)``                                 SuperMemo's stability: S is the time to 90 %
``power``            ``(1 + F·τ/S) ** -d``, ``F = 0.9**(-1/d) - 1``   FSRS-6, d = 0.1542
``ebbinghaus1885``   ``k / (log10(minutes)**c + k)``                  Ebbinghaus 1885, k = 1.84, c = 1.25; has no S
===================  ===============================================  ==============================================

``exp(-τ/S)`` is a convention per item; it does not fit Ebbinghaus's own savings (RMSE .254, the power law .020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import overload

import numpy as np
import numpy.typing as npt

from mars.errors import InvalidSetting, InvalidTime

FSRS_DECAY = 0.1542
"""The exponent d of FSRS-6 (its weight w20)."""

EBBINGHAUS_K = 1.84
EBBINGHAUS_C = 1.25
MINUTES_PER_DAY = 1440.0

SMALLEST = math.ulp(0.0)
"""The smallest positive float; retention never falls below it."""

Floats = npt.NDArray[np.float64]
"""An array of float64, of any one shape."""


class Shape(StrEnum):
    """The families of curves."""

    EXPONENTIAL = "exponential"
    """S is the time until 1/e is left."""
    EXPONENTIAL90 = "exponential90"
    """S is the time until 90 % are left."""
    POWER = "power"
    """S is the time until 90 % are left; a long tail."""
    EBBINGHAUS1885 = "ebbinghaus1885"
    """For reference and plots: it has no strength."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A forgetting curve. Raises `InvalidSetting` for an unknown shape or a decay that is no positive number."""

    shape: Shape
    """Its family."""
    decay: float = FSRS_DECAY
    """The exponent d of the power curve, in (0, 10]; the others have none."""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "shape", Shape(self.shape))
        except ValueError as error:
            names = ", ".join(shape.value for shape in Shape)
            raise InvalidSetting(f"there is no curve {self.shape!r}; the curves are {names}") from error
        if isinstance(self.decay, bool) or not isinstance(self.decay, int | float) or not 0.01 <= self.decay <= 10.0:
            raise InvalidSetting(f"the decay of a power curve must lie in [0.01, 10]; got {self.decay!r}")

    @property
    def factor(self) -> float:
        """F of the power curve: it makes R(S) = 0.9 for every decay."""
        return float(0.9 ** (-1.0 / self.decay)) - 1.0


EXPONENTIAL = Curve(Shape.EXPONENTIAL)
"""``exp(-τ/S)``: S is the days until 1/e, .368. MARS eq. 10 (arXiv 2503.19271), MemoryBank (arXiv 2305.10250)."""

EXPONENTIAL90 = Curve(Shape.EXPONENTIAL90)
"""``0.9 ** (τ/S)``: S is the days until .9, as in SuperMemo's stability."""

POWER = Curve(Shape.POWER)
"""``(1 + F·τ/S) ** -d``, ``F = 0.9 ** (-1/d) - 1``, d = .1542: S is the days until .9, then a long tail. FSRS-6."""

EBBINGHAUS1885 = Curve(Shape.EBBINGHAUS1885)
"""``k / (log10(minutes) ** c + k)``, k = 1.84, c = 1.25, without S: Ebbinghaus's savings of 1885, for plots."""


@overload
def retention(curve: Curve, tau_days: float, strength: float = 1.0) -> float: ...
@overload
def retention(curve: Curve, tau_days: Floats, strength: Floats | float = 1.0) -> Floats: ...
@overload
def retention(curve: Curve, tau_days: float, strength: Floats) -> Floats: ...
def retention(curve: Curve, tau_days: Floats | float, strength: Floats | float = 1.0) -> Floats | float:
    """Return R(τ, S): 1 at τ = 0, never rising in τ, rising in S, never 0.

    `tau_days` and `strength` (both in days) are floats or arrays that broadcast; two floats give a float, else a
    float64 array of their common shape. A negative τ, which a clock set backwards gives, counts as 0. Raises
    `InvalidTime` if a τ is NaN or infinite, `InvalidSetting` if a strength is NaN, infinite or not positive.
    """
    tau = np.asarray(tau_days, dtype=np.float64)
    days = np.asarray(strength, dtype=np.float64)
    if not np.isfinite(tau).all():
        raise InvalidTime("τ must be a finite number of days since the last strengthening; got NaN or infinity")
    if not (np.isfinite(days) & (days > 0.0)).all():
        raise InvalidSetting("a strength must be a finite number of days above 0")
    # One-dimensional also for scalars: numpy's loops for arrays and for zero-dimensional values may round differently.
    left = np.maximum(_evaluate(curve, np.maximum(np.atleast_1d(tau), 0.0), np.atleast_1d(days)), SMALLEST)
    if tau.ndim == 0 and days.ndim == 0:
        return float(left[0])
    return left


def _evaluate(curve: Curve, tau: Floats, strength: Floats) -> Floats:
    with np.errstate(over="ignore", under="ignore"):
        match curve.shape:
            case Shape.EXPONENTIAL:
                left = np.exp(-(tau / strength))
            case Shape.EXPONENTIAL90:
                left = np.exp(math.log(0.9) * (tau / strength))
            case Shape.POWER:
                left = np.exp(-curve.decay * np.log1p(curve.factor * (tau / strength)))
            case Shape.EBBINGHAUS1885:
                tau = np.broadcast_to(tau, np.broadcast_shapes(tau.shape, strength.shape))
                decades = np.log10(np.maximum(tau * MINUTES_PER_DAY, 1.0))
                left = EBBINGHAUS_K / (decades**EBBINGHAUS_C + EBBINGHAUS_K)
    return np.asarray(left, dtype=np.float64)


def crossing(curve: Curve, theta: float) -> float:
    """Return c(θ), the ratio τ/S at which retention has fallen to θ; for ``ebbinghaus1885`` τ itself, in days.

    Infinite where it is beyond a float. Raises `InvalidSetting` unless 0 < θ <= 1.
    """
    if isinstance(theta, bool) or not isinstance(theta, int | float) or not 0.0 < theta <= 1.0:
        raise InvalidSetting(f"a threshold of retention must lie in (0, 1]; got {theta!r}")
    if theta == 1.0:
        return 0.0
    try:
        match curve.shape:
            case Shape.EXPONENTIAL:
                return -math.log(theta)
            case Shape.EXPONENTIAL90:
                return math.log(theta) / math.log(0.9)
            case Shape.POWER:
                return math.expm1(-math.log(theta) / curve.decay) / curve.factor
            case Shape.EBBINGHAUS1885:
                decades = (EBBINGHAUS_K * (1.0 - theta) / theta) ** (1.0 / EBBINGHAUS_C)
                return float(10.0**decades) / MINUTES_PER_DAY
    except OverflowError:
        return math.inf
