"""Tiers: pure, path-independent, and safe from MARS's loss at the moment of transfer."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mars.errors import InvalidSetting, InvalidTime
from mars.memory.curves import EXPONENTIAL, POWER, Curve, crossing
from mars.memory.records import Kind, Tier
from mars.memory.tiers import TIERS, TierRule, TierStrength, check_boost, short_capable, standing, standings, tier

ORDER = [Tier.SHORT_TERM, Tier.LONG_TERM, Tier.FORGOTTEN]
PAPER = TierRule(theta1=0.7, theta2=0.3)

curves = st.sampled_from([EXPONENTIAL, POWER])
kinds = st.sampled_from(list(Kind))
rules = st.builds(
    TierRule,
    theta1=st.floats(0.6, 0.95),
    theta2=st.floats(0.1, 0.5),
    forgets=st.booleans(),
    strength=st.sampled_from(list(TierStrength)),
    multiple=st.floats(1.0, 4.0),
)


def at(ratio: float, *, boost: float = 1.0, **rule: Any) -> Tier:
    """The tier at τ = ratio · S with θ .7/.3, S = 10 days."""
    thresholds = TierRule(theta1=0.7, theta2=0.3, **rule)
    return tier(Kind.EPISODE, False, EXPONENTIAL, 10.0, 10.0 * boost, ratio * 10.0, thresholds)


@pytest.mark.wheel
def test_thresholds() -> None:
    """A record is short-term up to .3567·S, long-term up to 1.204·S, then forgotten (θ .7/.3, exponential)."""
    assert at(0.0) is at(0.3566) is Tier.SHORT_TERM
    assert at(0.3567) is at(1.2039) is Tier.LONG_TERM
    assert at(1.2040) is at(1e6) is Tier.FORGOTTEN


def test_boundaries_are_inclusive() -> None:
    """At exactly θ1 a record is short-term, at exactly θ2 long-term."""
    left = standing(Kind.FACT, False, POWER, 1.0, 1.0, 1.0, TierRule()).retention
    assert tier(Kind.FACT, False, POWER, 1.0, 1.0, 1.0, TierRule(theta1=left)) is Tier.SHORT_TERM
    assert tier(Kind.FACT, False, POWER, 1.0, 1.0, 1.0, TierRule(theta1=0.95, theta2=left)) is Tier.LONG_TERM


def test_default_thresholds() -> None:
    """By default a record is forgotten after 90 times its strength."""
    assert tier(Kind.EPISODE, False, POWER, 7.0, 7.0, 7.0 * 90.3, TierRule()) is Tier.LONG_TERM
    assert tier(Kind.EPISODE, False, POWER, 7.0, 7.0, 7.0 * 90.4, TierRule()) is Tier.FORGOTTEN


@pytest.mark.parametrize("kind", [Kind.REFLECTION, Kind.PROCEDURE])
@pytest.mark.parametrize("pinned", [False, True])
def test_lessons_are_never_short_term(kind: Kind, pinned: bool) -> None:
    """Reflections and procedures are long-term from the start (MARS eq. 9)."""
    assert not short_capable(kind)
    assert tier(kind, pinned, EXPONENTIAL, 1.0, 1.0, 0.0, PAPER) is Tier.LONG_TERM


def test_pinned() -> None:
    """A pinned record has retention 1 at any age."""
    stand = standing(Kind.EPISODE, True, EXPONENTIAL, 1.0, 1.0, 1e9, PAPER)
    assert (stand.retention, stand.tier) == (1.0, Tier.SHORT_TERM)


def test_nothing_hidden() -> None:
    """Where the rule forgets nothing, what fell below θ2 is long-term."""
    assert at(1e6, forgets=False) is Tier.LONG_TERM


def test_loss_at_transfer() -> None:
    """As printed, MARS eq. 11 allows a boost of 3.3755 at .7/.3 and no more: beyond it items die at the transfer."""
    literal = TierRule(theta1=0.7, theta2=0.3, strength=TierStrength.LITERAL)
    most = literal.largest_boost(EXPONENTIAL)
    assert most == pytest.approx(3.3755, abs=1e-4)
    assert check_boost(most, literal, EXPONENTIAL) == most
    with pytest.raises(InvalidSetting, match=r"3\.3755"):
        tier(Kind.EPISODE, False, EXPONENTIAL, 1.0, 3.4, 0.0, literal)
    assert check_boost(50.0, PAPER, EXPONENTIAL) == 50.0


def test_literal() -> None:
    """As printed, S* decides how long a record is short-term and S how long it is long-term."""
    literal = TierStrength.LITERAL
    assert at(0.3567 * 2 - 1e-3, boost=2.0, strength=literal) is Tier.SHORT_TERM
    assert at(0.3567 * 2 + 1e-3, boost=2.0, strength=literal) is Tier.LONG_TERM
    assert at(1.2039, boost=2.0, strength=literal) is Tier.LONG_TERM
    assert at(1.2041, boost=2.0, strength=literal) is Tier.FORGOTTEN


def test_reset() -> None:
    """With `reset`, long-term life begins anew at the transfer, with m times the strength."""
    transfer, life = crossing(EXPONENTIAL, 0.7), crossing(EXPONENTIAL, 0.3)
    rule = TierRule(theta1=0.7, theta2=0.3, strength=TierStrength.RESET, multiple=2.0)
    assert at(transfer + 2 * life - 1e-3, strength=TierStrength.RESET, multiple=2.0) is Tier.LONG_TERM
    assert at(transfer + 2 * life + 1e-3, strength=TierStrength.RESET, multiple=2.0) is Tier.FORGOTTEN
    after = standing(Kind.EPISODE, False, EXPONENTIAL, 1.0, 1.0, transfer + 1e-9, rule)
    assert after.tier is Tier.LONG_TERM
    assert after.retention == pytest.approx(1.0, abs=1e-6)


@given(
    curve=curves, kind=kinds, rule=rules, strength=st.floats(0.01, 1e4), ages=st.lists(st.floats(0, 1e7), min_size=2)
)
def test_tiers_only_sink(curve: Curve, kind: Kind, rule: TierRule, strength: float, ages: list[float]) -> None:
    """Without a use, the tier at a later time is never a better one, under any rule."""
    seen = [ORDER.index(tier(kind, False, curve, strength, strength, age, rule)) for age in sorted(ages)]
    assert seen == sorted(seen)


@given(curve=curves, kind=kinds, rule=rules, pinned=st.booleans(), ages=st.lists(st.floats(-5, 1e6), min_size=1))
def test_path_independence(curve: Curve, kind: Kind, rule: TierRule, pinned: bool, ages: list[float]) -> None:
    """A tier depends on the moment of asking alone: asking before, or for many records at once, changes nothing."""
    alone = [standing(kind, pinned, curve, 5.0, 5.0, age, rule) for age in ages]
    again = [standing(kind, pinned, curve, 5.0, 5.0, age, rule) for age in reversed(ages)]
    assert alone == again[::-1]
    n = len(ages)
    left, codes = standings(
        curve,
        rule,
        np.full(n, 5.0),
        np.full(n, 5.0),
        np.array(ages),
        np.full(n, short_capable(kind)),
        np.full(n, pinned),
    )
    assert left.tolist() == [stand.retention for stand in alone]
    assert [TIERS[code] for code in codes] == [stand.tier for stand in alone]


@pytest.mark.parametrize("pair", [(0.3, 0.7), (0.5, 0.5), (1.0, 0.3), (0.7, 0.0), (math.nan, 0.3), (0.7, -0.1)])
def test_impossible_thresholds(pair: tuple[float, float]) -> None:
    """Thresholds other than 0 < θ2 < θ1 < 1 are refused."""
    with pytest.raises(InvalidSetting, match="θ"):
        TierRule(theta1=pair[0], theta2=pair[1])


def test_impossible_rules() -> None:
    """A multiple below 1, an unknown tier strength, a boost below 1 and an infinite age are refused."""
    for multiple in (0.5, math.nan, math.inf):
        with pytest.raises(InvalidSetting, match="multiple"):
            TierRule(multiple=multiple)
    with pytest.raises(InvalidSetting, match="continuous, literal, reset"):
        TierRule(strength="other")  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="boost"):
        tier(Kind.FACT, False, POWER, 2.0, 1.0, 0.0, TierRule())
    with pytest.raises(InvalidTime):
        tier(Kind.FACT, False, POWER, 1.0, 1.0, math.inf, TierRule())
