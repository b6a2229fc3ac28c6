"""Strength: FSRS-6 against its own package, MemoryBank's trace, and what a grade may never do."""

import math

import pytest
from fsrs import Rating, Scheduler
from hypothesis import given
from hypothesis import strategies as st

from mars.errors import InvalidSetting
from mars.memory.curves import EXPONENTIAL, POWER, retention
from mars.memory.records import Grade
from mars.memory.strength import (
    FIRST_DIFFICULTY,
    FLOOR_SHARE,
    Policy,
    Strength,
    initial_strength,
    next_difficulty,
    post_lapse_stability,
    recall_stability,
    short_term_stability,
    strengthen,
)

SCHEDULER = Scheduler()
RATINGS = {Grade.AGAIN: Rating.Again, Grade.GOOD: Rating.Good, Grade.EASY: Rating.Easy}

grades = st.sampled_from(list(Grade))
policies = st.sampled_from(list(Policy))
strengths = st.floats(0.01, 10_000.0)
difficulties = st.floats(1.0, 10.0)
shares = st.floats(0.0, 1.0)


def use(policy: Policy, grade: Grade, **values: float) -> Strength:
    """Grade a use, with values that matter to the test and ordinary ones for the rest."""
    ordinary = {"strength": 7.0, "difficulty": 5.0, "retention": 0.8, "tau_days": 5.0, "base": 7.0}
    return strengthen(policy, grade, **{**ordinary, **values})


@given(strength=strengths, difficulty=difficulties, left=shares, grade=grades)
def test_agrees_with_fsrs(strength: float, difficulty: float, left: float, grade: Grade) -> None:
    """Stability and difficulty after a use are those of the fsrs package, to 1e-9."""
    rating = RATINGS[grade]
    theirs = SCHEDULER._next_stability(difficulty=difficulty, stability=strength, retrievability=left, rating=rating)
    if grade is Grade.AGAIN:
        ours = post_lapse_stability(strength, difficulty, left)
    else:
        ours = recall_stability(strength, difficulty, left, grade)
    assert max(ours, 0.001) == pytest.approx(theirs, rel=1e-9)
    same_day = SCHEDULER._short_term_stability(stability=strength, rating=rating)
    assert max(short_term_stability(strength, grade), 0.001) == pytest.approx(same_day, rel=1e-9)
    harder = SCHEDULER._next_difficulty(difficulty=difficulty, rating=rating)
    assert next_difficulty(difficulty, grade) == pytest.approx(harder, rel=1e-9)


@pytest.mark.wheel
def test_first_difficulty() -> None:
    """A new record starts at D0(Good) of FSRS-6."""
    assert pytest.approx(2.118104, abs=1e-6) == FIRST_DIFFICULTY
    assert SCHEDULER._initial_difficulty(rating=Rating.Good, clamp=True) == pytest.approx(FIRST_DIFFICULTY, rel=1e-12)


def test_memorybank_trace() -> None:
    """With base 1 day and recalls on days 1, 3 and 7, MemoryBank's retention is what its formula gives."""
    strength, last, seen = 1.0, 0.0, []
    for day in (1.0, 3.0, 7.0):
        left = retention(EXPONENTIAL, day - last, strength)
        seen.append((round(left, 6), strength))
        outcome = use(Policy.MEMORYBANK, Grade.GOOD, strength=strength, retention=left, tau_days=day - last, base=1.0)
        assert outcome.restarts
        strength, last = outcome.days, day
    assert seen == [(0.367879, 1.0), (0.367879, 2.0), (0.263597, 3.0)]
    assert strength == 4.0
    assert retention(EXPONENTIAL, 14.0 - last, strength) == pytest.approx(0.173774, abs=1e-6)


def test_memorybank_again() -> None:
    """MemoryBank halves the strength of a failed memory and lets τ run on."""
    assert use(Policy.MEMORYBANK, Grade.AGAIN, strength=8.0) == Strength(4.0, 5.0, False)


@given(grade=grades, strength=strengths, left=shares)
def test_strict_changes_nothing(grade: Grade, strength: float, left: float) -> None:
    """MARS as printed has no strengthening: every grade leaves everything as it was."""
    assert use(Policy.STRICT, grade, strength=strength, retention=left) == Strength(strength, 5.0, False)


@given(strength=st.floats(1.0, 1000.0), difficulty=difficulties, first=shares, second=shares)
def test_spacing_effect(strength: float, difficulty: float, first: float, second: float) -> None:
    """A use gains the more, the more had been forgotten."""
    low, high = sorted((first, second))
    gain_low = use(Policy.FSRS, Grade.GOOD, strength=strength, difficulty=difficulty, retention=low).days
    gain_high = use(Policy.FSRS, Grade.GOOD, strength=strength, difficulty=difficulty, retention=high).days
    assert gain_low >= gain_high >= strength


def test_saturation() -> None:
    """The stronger a memory is, the smaller the factor by which a use strengthens it."""
    factors = [use(Policy.FSRS, Grade.GOOD, strength=s).days / s for s in (1.0, 10.0, 100.0, 1000.0)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] > 1.0


@given(policy=policies, strength=strengths, difficulty=difficulties, left=shares, tau=st.floats(0.0, 1000.0))
def test_grades_are_ordered(policy: Policy, strength: float, difficulty: float, left: float, tau: float) -> None:
    """Easy is at least as good for a record as Good, and Good as Again."""
    days = [
        use(policy, grade, strength=strength, difficulty=difficulty, retention=left, tau_days=tau).days
        for grade in (Grade.AGAIN, Grade.GOOD, Grade.EASY)
    ]
    assert days[0] <= days[1] <= days[2]


@given(policy=policies, strength=st.floats(0.07, 10_000.0), difficulty=difficulties, tau=st.floats(0.0, 1000.0))
def test_again_never_helps(policy: Policy, strength: float, difficulty: float, tau: float) -> None:
    """To be the cause of an error never raises strength or retention, at no age and on no day."""
    left = retention(POWER, tau, strength)
    outcome = use(policy, Grade.AGAIN, strength=strength, difficulty=difficulty, retention=left, tau_days=tau)
    assert outcome.days <= strength
    assert not outcome.restarts
    assert 1.0 <= outcome.difficulty <= 10.0


@given(policy=policies, base=st.floats(0.1, 365.0))
def test_floor(policy: Policy, base: float) -> None:
    """However often a record is to blame, its strength stays at a hundredth of its base or above."""
    strength = base
    for _ in range(60):
        strength = use(policy, Grade.AGAIN, strength=strength, base=base, retention=0.9).days
    assert strength >= FLOOR_SHARE * base


def test_same_day() -> None:
    """A second use within 24 hours gains by the short-term rule, not by the spacing effect."""
    soon = use(Policy.FSRS, Grade.GOOD, tau_days=0.99, strength=2.0)
    assert soon.days == pytest.approx(short_term_stability(2.0, Grade.GOOD), rel=1e-12)
    later = use(Policy.FSRS, Grade.GOOD, tau_days=1.0, strength=2.0)
    assert later.days == pytest.approx(recall_stability(2.0, 5.0, 0.8, Grade.GOOD), rel=1e-12)


def test_initial_strength() -> None:
    """The first strength is the base, raised by importance and entropy only as far as their weights say."""
    assert initial_strength(7.0) == 7.0
    assert initial_strength(7.0, 1.0, 1.0) == 7.0
    assert initial_strength(7.0, 0.5, 0.25, w_importance=2.0, w_entropy=4.0) == pytest.approx(21.0)


@pytest.mark.parametrize(
    "values",
    [
        {"strength": 0.0},
        {"strength": math.nan},
        {"base": -1.0},
        {"retention": 1.5},
        {"retention": math.nan},
        {"difficulty": 0.0},
        {"difficulty": math.nan},
        {"tau_days": math.inf},
    ],
)
def test_impossible_states(values: dict[str, float]) -> None:
    """Values outside their range are refused by name, before any rule is applied."""
    with pytest.raises(InvalidSetting):
        use(Policy.FSRS, Grade.GOOD, **values)


def test_impossible_beginnings() -> None:
    """A base, importance or weight outside its range is refused."""
    for base in (0.0, math.inf):
        with pytest.raises(InvalidSetting, match="base strength"):
            initial_strength(base)
    with pytest.raises(InvalidSetting, match="importance"):
        initial_strength(1.0, 2.0)
    with pytest.raises(InvalidSetting, match="entropy"):
        initial_strength(1.0, 0.0, -0.1)
    for weight in (-1.0, math.nan):
        with pytest.raises(InvalidSetting, match="weights"):
            initial_strength(1.0, w_entropy=weight)
    with pytest.raises(InvalidSetting, match="initial strength"):
        initial_strength(1e308, 1.0, w_importance=1e308)
