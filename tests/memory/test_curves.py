"""The four forgetting curves: golden values, refusals, and the properties that a published formula once broke."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mars.errors import InvalidSetting, InvalidTime
from mars.memory.curves import (
    EBBINGHAUS1885,
    EXPONENTIAL,
    EXPONENTIAL90,
    POWER,
    SMALLEST,
    Curve,
    Shape,
    crossing,
    retention,
)

ALL = [EXPONENTIAL, EXPONENTIAL90, POWER, Curve(Shape.POWER, 0.5), EBBINGHAUS1885]
WITH_STRENGTH = [curve for curve in ALL if curve.shape is not Shape.EBBINGHAUS1885]
MINUTE = 1.0 / 1440.0

curves = st.sampled_from(ALL)
ages = st.floats(0.0, 1e6)
strengths = st.floats(1e-3, 1e6)


@pytest.mark.wheel
@pytest.mark.parametrize(
    ("curve", "ratio", "expected"),
    [
        (EXPONENTIAL, 0.5, 0.606531),
        (EXPONENTIAL, 1.0, 0.367879),
        (EXPONENTIAL, 2.0, 0.135335),
        (EXPONENTIAL, 10.0, 4.540e-5),
        (EXPONENTIAL90, 1.0, 0.9),
        (EXPONENTIAL90, 2.0, 0.81),
        (EXPONENTIAL90, 10.0, 0.348678),
        (Curve(Shape.POWER, 0.5), 1.0, 0.9),
        (Curve(Shape.POWER, 0.5), 2.0, 0.825029),
        (Curve(Shape.POWER, 0.5), 10.0, 0.546711),
        (Curve(Shape.POWER, 0.5), 30.0, 0.352738),
        (POWER, 1.0, 0.9),
        (POWER, 2.0, 0.845885),
        (POWER, 10.0, 0.692827),
        (POWER, 30.0, 0.590633),
    ],
)
def test_golden_values(curve: Curve, ratio: float, expected: float) -> None:
    """Retention depends on τ/S alone and has the published values."""
    for strength in (1.0, 7.0, 30.0):
        assert retention(curve, ratio * strength, strength) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        (20, 0.569747),
        (60, 0.472602),
        (540, 0.343732),
        (1440, 0.304110),
        (2 * 1440, 0.280577),
        (6 * 1440, 0.249159),
        (31 * 1440, 0.212279),
    ],
)
def test_ebbinghaus(minutes: int, expected: float) -> None:
    """The formula of 1885 gives Ebbinghaus's own fitted savings, whatever the strength."""
    assert retention(EBBINGHAUS1885, minutes * MINUTE) == pytest.approx(expected, abs=1e-6)
    assert retention(EBBINGHAUS1885, minutes * MINUTE, 99.0) == retention(EBBINGHAUS1885, minutes * MINUTE)


def test_first_minute() -> None:
    """Within the first minute the formula of 1885 has lost nothing."""
    assert retention(EBBINGHAUS1885, 0.5 * MINUTE) == retention(EBBINGHAUS1885, MINUTE) == 1.0


def test_misfit_of_the_exponential() -> None:
    """The best single exponential misses Ebbinghaus's data by an RMSE of .254: it is a convention, not a fit."""
    days = np.array([20, 60, 540, 1440, 2 * 1440, 6 * 1440, 31 * 1440]) * MINUTE
    savings = np.array([0.582, 0.442, 0.358, 0.337, 0.278, 0.254, 0.211])
    misses = [np.sqrt(((retention(EXPONENTIAL, days, s) - savings) ** 2).mean()) for s in np.geomspace(1e-3, 1e3, 4000)]
    assert min(misses) == pytest.approx(0.254, abs=2e-3)
    modern = np.sqrt(((retention(EBBINGHAUS1885, days) - savings) ** 2).mean())
    assert modern == pytest.approx(0.0185, abs=5e-4)


@pytest.mark.parametrize(
    ("curve", "theta", "expected"),
    [
        (POWER, 0.9, 1.0),
        (POWER, 0.7, 9.29),
        (POWER, 0.5, 90.35),
        (POWER, 0.3, 2508.0),
        (EXPONENTIAL, 0.7, 0.356675),
        (EXPONENTIAL, 0.3, 1.203973),
        (EXPONENTIAL90, 0.81, 2.0),
    ],
)
def test_golden_crossings(curve: Curve, theta: float, expected: float) -> None:
    """A threshold is crossed at its published multiple of the strength."""
    assert crossing(curve, theta) == pytest.approx(expected, rel=1e-3 if expected > 9 else 1e-5)


@given(curve=curves, theta=st.floats(0.2, 1.0))
def test_crossing_inverts_retention(curve: Curve, theta: float) -> None:
    """Retention at the crossing of θ is θ."""
    assert retention(curve, crossing(curve, theta), 1.0) == pytest.approx(theta, rel=1e-9)


def test_crossing_beyond_floats() -> None:
    """A threshold that no finite age reaches is crossed at infinity."""
    assert crossing(POWER, 1e-300) == math.inf
    assert crossing(EXPONENTIAL, 1e-300) == pytest.approx(690.7755, abs=1e-3)


@given(curve=curves, strength=strengths)
def test_fresh_is_certain(curve: Curve, strength: float) -> None:
    """What was strengthened this instant, or in the future by a clock set backwards, has retention 1."""
    assert retention(curve, 0.0, strength) == 1.0
    assert retention(curve, -3.5, strength) == 1.0


@given(curve=curves, strength=strengths, first=ages, second=ages)
def test_never_rising_in_age(curve: Curve, strength: float, first: float, second: float) -> None:
    """A longer age never has a higher retention."""
    younger, older = sorted((first, second))
    assert retention(curve, younger, strength) >= retention(curve, older, strength) > 0.0


@given(curve=st.sampled_from(WITH_STRENGTH), tau=st.floats(1e-3, 1e4), weak=strengths, strong=strengths)
def test_rising_in_strength(curve: Curve, tau: float, weak: float, strong: float) -> None:
    """A stronger memory fades more slowly (MemoryBank's shipped formula had it the wrong way round)."""
    weak, strong = sorted((weak, strong))
    assert retention(curve, tau, weak) <= retention(curve, tau, strong)
    if strong > 1.01 * weak and 1e-6 < tau / weak < 500.0:
        assert retention(curve, tau, weak) < retention(curve, tau, strong)


@given(curve=curves, pairs=st.lists(st.tuples(ages, strengths), min_size=1, max_size=40))
def test_arrays_equal_scalars(curve: Curve, pairs: list[tuple[float, float]]) -> None:
    """A whole namespace at once gives bit for bit what each record gives by itself."""
    tau = np.array([pair[0] for pair in pairs])
    strength = np.array([pair[1] for pair in pairs])
    together = retention(curve, tau, strength)
    assert together.dtype == np.float64
    assert together.tolist() == [retention(curve, *pair) for pair in pairs]


def test_broadcasting() -> None:
    """One age against many strengths, or one strength against many ages, gives one value each."""
    for curve in ALL:
        assert retention(curve, 1.0, np.array([1.0, 2.0])).shape == (2,)
        assert retention(curve, np.array([1.0, 2.0, 3.0]), 2.0).shape == (3,)
        assert retention(curve, np.empty(0), np.empty(0)).shape == (0,)


def test_underflow() -> None:
    """However old and weak, a record keeps the smallest positive retention."""
    assert retention(EXPONENTIAL, 1e300, 1e-300) == SMALLEST > 0.0
    assert retention(EXPONENTIAL90, 1e308, 1e-300) == SMALLEST
    assert retention(POWER, 1e308, 1e-308) > 0.0


@pytest.mark.parametrize("tau", [math.nan, math.inf, -math.inf])
def test_impossible_ages(tau: float) -> None:
    """NaN and infinite ages are refused, alone and in an array."""
    with pytest.raises(InvalidTime, match="finite"):
        retention(POWER, tau, 1.0)
    with pytest.raises(InvalidTime, match="finite"):
        retention(POWER, np.array([1.0, tau]), 1.0)


@pytest.mark.parametrize("strength", [0.0, -1.0, math.nan, math.inf])
def test_impossible_strengths(strength: float) -> None:
    """A strength that is no positive number of days is refused."""
    with pytest.raises(InvalidSetting, match="strength"):
        retention(EXPONENTIAL, 1.0, strength)
    with pytest.raises(InvalidSetting, match="strength"):
        retention(EXPONENTIAL, 1.0, np.array([1.0, strength]))


@pytest.mark.parametrize("theta", [0.0, -0.1, 1.5, math.nan, True])
def test_impossible_thresholds(theta: float) -> None:
    """A threshold outside (0, 1] is refused."""
    with pytest.raises(InvalidSetting, match="threshold"):
        crossing(POWER, theta)


def test_impossible_curves() -> None:
    """An unknown shape and a decay out of range are refused with the names that exist."""
    with pytest.raises(InvalidSetting, match="exponential90"):
        Curve("linear")  # type: ignore[arg-type]
    for decay in (0.0, -1.0, math.nan, 11.0):
        with pytest.raises(InvalidSetting, match="decay"):
            Curve(Shape.POWER, decay)
