"""Presets: the published values, every value settable, every value checked."""

import math
from datetime import timedelta
from typing import Any

import pytest

from mars.errors import InvalidSetting
from mars.memory.curves import EBBINGHAUS1885, EXPONENTIAL, POWER, Curve, Shape, crossing
from mars.memory.engine import Memory
from mars.memory.presets import DEFAULT, MEMORYBANK, PAPER, PRESETS, Preset, preset
from mars.memory.records import Kind
from mars.memory.strength import Policy
from mars.memory.tiers import TierRule
from mars.memory.weights import Weights
from mars.testing import FixedClock, InMemoryBackend


@pytest.mark.wheel
def test_default() -> None:
    """The default forgets slowly: FSRS's curve, 7, 30 and 90 days, θ .9/.5, a rank floor of .7."""
    assert Preset(name="default") == DEFAULT
    assert (DEFAULT.curve, DEFAULT.policy) == (POWER, Policy.FSRS)
    assert [DEFAULT.base_strength[kind] for kind in Kind] == [7.0, 30.0, 90.0, 90.0]
    assert (DEFAULT.tiers.theta1, DEFAULT.tiers.theta2, DEFAULT.retention_floor) == (0.9, 0.5, 0.7)


def test_paper() -> None:
    """Taken literally, the papers' values lose everything unused after 29 hours."""
    assert (PAPER.curve, PAPER.policy, PAPER.retention_floor) == (EXPONENTIAL, Policy.MEMORYBANK, 0.0)
    life = timedelta(days=crossing(PAPER.curve, PAPER.tiers.theta2) * PAPER.base_strength[Kind.EPISODE])
    assert timedelta(hours=28.8) < life < timedelta(hours=29)


def test_memorybank() -> None:
    """MemoryBank's preset fades in the ranking and hides nothing."""
    assert not MEMORYBANK.tiers.forgets
    assert (MEMORYBANK.curve, MEMORYBANK.policy, MEMORYBANK.retention_floor) == (EXPONENTIAL, Policy.MEMORYBANK, 0.7)


def test_by_name() -> None:
    """A preset is found by its name or passed through, and an unknown name lists those that exist."""
    for name, value in PRESETS.items():
        assert preset(name) is value
        assert preset(value) is value
        assert value.name == name
    with pytest.raises(InvalidSetting, match="default, paper, memorybank"):
        preset("peper")


@pytest.mark.parametrize(
    "values",
    [
        {"curve": Curve(Shape.EXPONENTIAL90)},
        {"base_strength": {kind: 2.0 for kind in Kind}},
        {"policy": Policy.STRICT},
        {"policy": "strict"},
        {"tiers": TierRule(theta1=0.8, theta2=0.2)},
        {"w_importance": 1.0, "w_entropy": 0.5},
        {"retention_floor": 1.0, "importance_floor": 0.5, "relevance_floor": 0.0},
        {"untrusted_trust": 0.1, "untrusted_strength": 1.0},
        {"capacity": 100, "audit_days": 0.0},
    ],
)
def test_every_value_can_be_set(values: dict[str, Any]) -> None:
    """Each value can be changed alone; the rest stays, and the copy is called custom."""
    changed = PAPER.but(**values)
    assert changed.name == "custom"
    for name in Preset.__dataclass_fields__:
        if name != "name":
            assert getattr(changed, name) == values.get(name, getattr(PAPER, name))


def test_one_base_for_all() -> None:
    """A single number of days counts for every kind."""
    week = preset("paper").but(base_strength=7.0, name="paper, a week")
    assert {week.base_strength[kind] for kind in Kind} == {7.0}
    assert week.name == "paper, a week"


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"curve": EBBINGHAUS1885}, "no strength"),
        ({"curve": "power"}, "Curve"),
        ({"base_strength": {Kind.EPISODE: 1.0}}, "lacks fact, reflection, procedure"),
        ({"base_strength": {"dream": 1.0}}, "base_strength"),
        ({"base_strength": 0.0}, "base strength"),
        ({"base_strength": math.nan}, "base strength"),
        ({"policy": "hope"}, "fsrs, memorybank, strict"),
        ({"retention_floor": 1.1}, "retention_floor"),
        ({"relevance_floor": math.nan}, "relevance_floor"),
        ({"untrusted_strength": 0.0}, "untrusted_strength"),
        ({"w_entropy": -1.0}, "w_entropy"),
        ({"audit_days": math.inf}, "audit_days"),
        ({"capacity": 0}, "capacity"),
        ({"capacity": 2.5}, "capacity"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_impossible_values(values: dict[str, Any], match: str) -> None:
    """A value out of range or of an unknown name is refused by name."""
    with pytest.raises(InvalidSetting, match=match):
        DEFAULT.but(**values)


def test_initial_strength() -> None:
    """A record starts with its kind's base; one from an untrusted source with a share of it."""
    assert DEFAULT.initial_strength(Kind.FACT) == 30.0
    assert DEFAULT.initial_strength(Kind.FACT, trusted=False) == 15.0
    assert DEFAULT.but(w_importance=1.0).initial_strength(Kind.EPISODE, importance=0.5) == 10.5


def test_frozen() -> None:
    """A preset cannot be changed behind a store's back."""
    with pytest.raises(AttributeError):
        DEFAULT.capacity = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        DEFAULT.base_strength[Kind.FACT] = 1.0  # type: ignore[index]


@pytest.mark.anyio
async def test_without_decay_age_decides_nothing() -> None:
    """Under a preset without decay what is forgotten elsewhere is found, nothing is archived, and all is short-term."""
    clock = FixedClock()
    async with Memory.open(InMemoryBackend(), clock=clock, preset="paper") as memory:
        await memory.add("My dog is called Rex.", ("ann",), conversation="c")
        clock.advance(days=4000)
        async with memory.under(memory.preset.without_decay()) as undecayed:
            (old,) = await undecayed.recall("dog Rex", namespace=("ann",))
            (same,) = await undecayed.recall("dog Rex", namespace=("ann",), now=clock.now() - timedelta(days=4000))
            assert old.rank == same.rank
            assert (await undecayed.sweep()).archived == ()
            assert len(await undecayed.window(("ann",), "c")) == 1
        assert await memory.recall("dog Rex", namespace=("ann",)) == []
        assert len((await memory.sweep()).archived) == 1


def test_weights_without_decay_still_order() -> None:
    """Recency no longer counts; where it was all that counted, relevance does."""
    usual = preset("generative-agents").without_decay().weights
    only = preset("default").but(weights=Weights(recency=1.0, importance=0.0, relevance=0.0)).without_decay().weights
    assert usual == Weights(recency=0.0)
    assert only == Weights(recency=0.0, importance=0.0, relevance=1.0)
