"""Generative Agents' weights: recency never rises with age, scaling is safe, presets and calls choose them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mars.errors import InvalidSetting
from mars.memory.engine import Memory
from mars.memory.fusion import Floats
from mars.memory.presets import DEFAULT, preset
from mars.memory.records import Record
from mars.memory.weights import Weights, scaled
from mars.testing import FixedClock

HOME, AWAY = ("home",), ("home", "away")


@given(hnp.arrays(np.float64, st.integers(0, 20), elements=st.floats(-1e6, 1e6)))
def test_scaled(values: Floats) -> None:
    """Scaling keeps the order, ends at 0 and 1, and gives .5 to a single value and to equal ones."""
    found = scaled(values)
    assert len(found) == len(values)
    assert ((found >= 0.0) & (found <= 1.0)).all()
    if len(values) and values.min() == values.max():
        assert (found == 0.5).all()
    elif len(values):
        assert (found.min(), found.max()) == (0.0, 1.0)
        assert (np.diff(found[np.argsort(values)]) >= 0.0).all()


@given(hnp.arrays(np.float64, 9, elements=st.floats(0, 1e5)), st.floats(0, 1))
def test_recency_never_rises_with_age(ages: Floats, hourly: float) -> None:
    """The older is never the more recent, as in the released code of the paper; an hour costs the factor."""
    recency = Weights(hourly=hourly).recency_of(np.sort(ages))
    assert (np.diff(recency) <= 0.0).all()
    assert Weights().recency_of(np.array([0.0, 1 / 24])) == pytest.approx([1.0, 0.995])


@pytest.mark.parametrize(
    "values",
    [
        {"recency": -1.0},
        {"importance": float("nan")},
        {"relevance": float("inf")},
        {"relevance": True},
        {"recency": "much"},
        {"hourly": 1.5},
        {"recency": 0.0, "importance": 0.0, "relevance": 0.0},
    ],
)
def test_refusals(values: dict[str, Any]) -> None:
    """Weights without meaning are refused, in a preset and in a call too."""
    with pytest.raises(InvalidSetting):
        Weights(**values)
    with pytest.raises(InvalidSetting, match="Weights"):
        DEFAULT.but(weights=values)


async def filled(memory: Memory, clock: FixedClock) -> list[Record]:
    """Three notes: an old important one, a newer one, and the newest in a namespace below."""
    notes = [await memory.add("the heron nests", HOME, importance=1.0)]
    clock.advance(days=2)
    notes.append(await memory.add("the heron left", HOME))
    clock.advance(days=2)
    notes.append(await memory.add("rain", AWAY))
    return notes


async def test_by_call_and_by_preset(memory: Memory, clock: FixedClock) -> None:
    """Each weight alone orders by its part, over all namespaces that are asked; ties go to the older id."""
    old, newer, newest = await filled(memory, clock)

    async def order(**weights: float) -> list[str]:
        chosen = Weights(**{"recency": 0.0, "importance": 0.0, "relevance": 0.0, **weights})
        hits = await memory.recall("heron nests", namespace_prefix=HOME, floor=0.0, weights=chosen)
        return [hit.record.id for hit in hits]

    assert await order(recency=1.0) == [newest.id, newer.id, old.id]
    assert await order(importance=1.0) == [old.id, newer.id, newest.id]
    assert await order(relevance=1.0) == [old.id, newer.id, newest.id]
    with pytest.raises(InvalidSetting, match="Weights"):
        await memory.recall("heron", namespace=HOME, weights={"recency": 1.0})  # type: ignore[arg-type]


async def test_explained(clock: FixedClock) -> None:
    """With the preset the three scaled parts are explained, and add up to the rank; one hit alone has .5 of each."""
    async with Memory.open("memory:", preset="generative-agents", clock=clock) as memory:
        await filled(memory, clock)
        clock.advance(days=4000)
        hits = await memory.recall("heron nests", namespace=HOME, explain=True)
        assert len(hits) == 2
        for hit in hits:
            assert hit.explanation is not None
            assert hit.rank == pytest.approx(sum(hit.explanation.weighed.values()))
        (alone,) = await memory.recall("rain", namespace=AWAY, explain=True)
        assert alone.explanation is not None
        assert alone.explanation.weighed == {"recency": 0.5, "importance": 0.5, "relevance": 0.5}
    assert preset("generative-agents").weights == Weights()


async def test_filter_comes_first(memory: Memory, clock: FixedClock) -> None:
    """What does not pass the filter neither surfaces nor moves the scale of what does."""
    for n in range(4):
        await memory.add(f"heron {n}", HOME, importance=n / 3, metadata={"n": n})
        clock.advance(hours=5)
    since = clock.now() - timedelta(days=30)
    asked: dict[str, Any] = {"namespace": HOME, "filter": {"n": {"$lt": 3}}, "since": since, "weights": Weights()}
    hits = await memory.recall("heron", explain=True, **asked)
    assert {hit.record.metadata["n"] for hit in hits} == {0, 1, 2}
    scales = [hit.explanation.weighed["importance"] for hit in hits if hit.explanation]
    assert (min(scales), max(scales)) == (0.0, 1.0)
