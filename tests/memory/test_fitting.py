"""`mars memory fit`: known parameters are found again, and nothing is found where there is nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from mars.errors import InvalidInput
from mars.memory.curves import EXPONENTIAL, Curve, Shape
from mars.memory.engine import Memory
from mars.memory.fitting import LEAST_USES, fit, fit_values, minimised
from mars.memory.presets import DEFAULT, MEMORYBANK
from mars.memory.records import Grade, Kind, NewRecord
from mars.memory.reviews import replayed, reviewed
from mars.testing import FixedClock
from mars.testing.lived import lived, shuffled

START = datetime(2025, 1, 1, tzinfo=UTC)


def test_known_parameters_are_recovered() -> None:
    """From 1,000 uses drawn from a power curve its exponent and scale are found, and the gain is sure."""
    found = fit(lived(1, Curve(Shape.POWER, 0.5), 0.4, records=200), DEFAULT)
    assert found.preset.curve.decay == pytest.approx(0.5, rel=0.35)
    assert found.scale == pytest.approx(0.4, rel=0.45)
    assert found.preset.base_strength[Kind.FACT] == pytest.approx(30.0 * found.scale, rel=1e-5)
    assert found.better
    assert found.log_loss.interval[0] > 0.0
    assert found.calibration.fitted < min(found.calibration.before, 0.03)


def test_the_exponential_has_a_scale_only() -> None:
    """A preset with an exponential keeps its shape; the scale is found, MemoryBank's policy replayed."""
    found = fit(lived(2, EXPONENTIAL, 8.0, records=150, preset=MEMORYBANK), MEMORYBANK)
    assert found.preset.curve == EXPONENTIAL
    assert found.scale == pytest.approx(8.0, rel=0.25)
    assert found.better


def test_the_default_gains_nothing_on_its_own_data() -> None:
    """Where the log was drawn from the preset itself no seed shows a gain, and the intervals cover zero, most of them.

    An interval is of the resampled records, not of the draw: one in a few lies just below.
    """
    gains = [
        fit(lived(seed, DEFAULT.curve, 1.0, records=80), DEFAULT, seed=seed).log_loss.interval for seed in range(4)
    ]
    assert all(-0.05 < low <= 0.0 for low, _ in gains)
    assert sum(high >= 0.0 for _, high in gains) >= 3


def test_shuffled_outcomes_show_no_gain() -> None:
    """Broken on purpose: outcomes dealt anew fit no better than a constant, however far the preset is off."""
    records = lived(3, Curve(Shape.POWER, 0.5), 0.4, records=80)
    assert fit(records, DEFAULT).better
    broken = fit(shuffled(records, 7), DEFAULT)
    assert not broken.better
    assert broken.over_constant.interval[0] <= 0.0


def test_too_little_is_refused() -> None:
    """Few uses, few records or one outcome only: the error says what is needed and what there is."""
    records = lived(4, Curve(Shape.POWER, 0.5), 0.4, records=60)
    with pytest.raises(InvalidInput, match=f"needs {LEAST_USES} graded uses .* holds 50 of 10 records"):
        fit(records[:10], DEFAULT)
    good = [replace(one, steps=tuple(replace(step, grade=Grade.GOOD) for step in one.steps)) for one in records]
    with pytest.raises(InvalidInput, match="300 good and 0 again"):
        fit(good, DEFAULT)
    with pytest.raises(InvalidInput, match="holds 0 of 0 records"):
        fit([], DEFAULT)


def test_the_same_seed_gives_the_same_fit() -> None:
    """Folds and intervals follow from the seed; progress counts the fits."""
    records, seen = lived(5, Curve(Shape.POWER, 0.4), 1.0, records=60), list[tuple[int, int]]()
    once = fit(records, DEFAULT, seed=9, progress=lambda done, total: seen.append((done, total)))
    assert fit_values(once) == fit_values(fit(records, DEFAULT, seed=9))
    assert fit_values(once)["log_loss"] != fit_values(fit(records, DEFAULT, seed=10))["log_loss"]
    assert seen == [(place, 6) for place in range(1, 7)]
    assert sum(count for _, _, count in once.bins) == once.uses == 300


def test_the_simplex_finds_a_minimum() -> None:
    """Rosenbrock's valley, and a parabola of one variable."""
    valley = minimised(
        lambda at: (1 - at[0]) ** 2 + 100 * (at[1] - at[0] ** 2) ** 2, np.zeros(2), rounds=400, near=1e-12
    )
    assert valley == pytest.approx([1.0, 1.0], abs=1e-3)
    assert minimised(lambda at: float((at[0] - 3.0) ** 2), np.zeros(1), rounds=200, near=1e-12) == pytest.approx(
        [3.0], abs=1e-3
    )


@pytest.mark.anyio
async def test_the_log_of_a_store_is_replayed_exactly() -> None:
    """Read from a real store and replayed as it was, each use has the retention that the store had logged."""
    logged = list[float]()
    async with Memory.open("memory:", clock=FixedClock(START)) as memory:
        texts = ("I like tea.", "The key is under the mat.", "Ask before you delete.")
        kinds = (Kind.EPISODE, Kind.PROCEDURE, Kind.REFLECTION)
        ids = [
            (await memory.add(NewRecord(text=text, namespace=("ann",), kind=kind))).id
            for text, kind in zip(texts, kinds, strict=True)
        ]
        await memory.pin((await memory.add("pinned", ("ann",))).id)
        for day, grade in ((3, Grade.GOOD), (3.5, Grade.GOOD), (20, Grade.AGAIN), (40, Grade.EASY)):
            await memory.used(ids, grade, f"turn {day}", now=START + timedelta(days=day))
        await memory.add(NewRecord(text=texts[2], namespace=("ann",), kind=kinds[2]), now=START + timedelta(days=60))
        await memory.archive(ids[0], now=START + timedelta(days=61))
        await memory.restore(ids[0], now=START + timedelta(days=62))
        await memory.used(ids, Grade.GOOD, "last", now=START + timedelta(days=90))
        records = await memory.read(reviewed)
        for one in records:
            history = [change for change in await memory.history(one.id) if change.event == "used"]
            logged += [change.detail["retention"] for place, change in enumerate(history) if place != 1]
        assert await memory.read(lambda reader: reviewed(reader, ("bob",))) == []
    seen = replayed(records, DEFAULT, DEFAULT.curve, 1.0)
    assert [len(one.steps) for one in sorted(records, key=lambda one: ids.index(one.id))] == [6, 5, 6]
    assert sorted(seen.retention) == pytest.approx(sorted(logged), rel=1e-12)
    assert seen.served.tolist().count(0.0) == 3
