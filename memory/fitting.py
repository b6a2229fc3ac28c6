"""A curve's parameters, fitted by maximum likelihood to what a store has logged of its uses.

Fitted are the scale of all strengths, in days, and the exponent of a power curve; the policy and the relations between
the kinds stay. The likelihood is Bernoulli's: a use goes well with chance R (`mars.memory.reviews`). Minimised by the
simplex method of Nelder and Mead (1965), within bounds, without derivatives. Where that does not pay for its
parameters by Akaike's criterion (1974), a unit of log likelihood for each, the preset stays as it is.

*Held out.* Records are dealt to folds by `seed`; each is predicted by parameters fitted on the other folds. Log loss
and calibration are those of these predictions, against the preset as it is and against a constant, the share of good
uses in the other folds. Intervals are percentile bootstraps that draw records, with all of their uses, not uses: those
of one record depend on each other (Efron 1979). A fit is `Fit.better` only where it gains on both, surely: to predict
the mean is not to know a curve.

*Calibration* is the expected calibration error: over `BINS` bins of equally many uses, by the prediction, the mean
distance of predicted and observed shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mars.errors import InvalidInput
from mars.memory.curves import Curve, Floats, Shape
from mars.memory.presets import Preset
from mars.memory.reviews import Predicted, Reviewed, replayed

LEAST_USES, LEAST_RECORDS, LEAST_OF_EACH = 200, 40, 20
"""Fewer scored uses, used records, or uses of one outcome are refused."""
MOST_USES = 20_000
"""Of more uses, records are drawn until there are so many."""
FOLDS = 5
"""Parts of the records of which each is held out once."""
RESAMPLES = 2_000
"""Draws of each interval."""
BINS = 10
"""Bins of the calibration."""
SCALES, DECAYS = (0.01, 100.0), (0.02, 5.0)
"""Between these a scale of strengths and a power curve's exponent are looked for."""
CERTAIN = 1e-6
"""No prediction counts as surer than this."""

Progress = Callable[[int, int], None]
"""Called with (fits done, fits in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A figure for the preset as it is and for the fitted one, held out, and the interval of their difference."""

    before: float
    """Of the preset as it is."""
    fitted: float
    """Of the fitted one."""
    gain: float
    """before - fitted: positive where the fit is better."""
    interval: tuple[float, float]
    """95 % of the gain, over records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What came of a fit."""

    preset: Preset
    """The fitted preset, on all records."""
    before: Preset
    """What it is compared with."""
    scale: float
    """By what all strengths were multiplied."""
    records: int
    """Records with scored uses."""
    uses: int
    """Scored uses."""
    served: int
    """Of these, those that went well."""
    log_loss: Measured
    """Mean of -log of the chance given to what came, in nats."""
    over_constant: Measured
    """The same with the share of good uses in the place of the preset as it is."""
    calibration: Measured
    """Expected calibration error, in [0, 1]."""
    bins: tuple[tuple[float, float, int], ...]
    """Of the fitted predictions, held out: predicted share, observed share, uses, in each bin."""
    seed: int
    """What the folds and resamples were drawn from."""

    @property
    def better(self) -> bool:
        """Whether it surely predicts better than the preset as it is, and than a constant."""
        return self.log_loss.interval[0] > 0.0 and self.over_constant.interval[0] > 0.0


def fit(records: Sequence[Reviewed], preset: Preset, *, seed: int = 0, progress: Progress | None = None) -> Fit:
    """Return the preset whose curve fits these records best. Writes nothing.

    Raises `InvalidInput`, which names how much is needed, for fewer uses, records or outcomes than `LEAST_USES`,
    `LEAST_RECORDS` and `LEAST_OF_EACH`.
    """
    draw = np.random.default_rng(seed)
    chosen = _chosen(records, preset, draw)
    fold = draw.permutation(len(chosen)) % FOLDS
    before = replayed(chosen, preset, preset.curve, 1.0)
    fitted, constant = np.zeros(len(before.served)), np.zeros(len(before.served))
    of = before.record.astype(np.int64)
    for part in range(FOLDS):
        curve, scale = _best([one for place, one in enumerate(chosen) if fold[place] != part], preset)
        out = fold[of] == part
        fitted[out] = replayed(chosen, preset, curve, scale).retention[out]
        constant[out] = before.served[~out].mean()
        if progress is not None:
            progress(part + 1, FOLDS + 1)
    curve, scale = _best(chosen, preset)
    if progress is not None:
        progress(FOLDS + 1, FOLDS + 1)
    held, flat = replace(before, retention=fitted), replace(before, retention=constant)
    weights = draw.multinomial(len(chosen), np.full(len(chosen), 1.0 / len(chosen)), size=RESAMPLES).astype(np.float64)
    bases = {kind: float(f"{days * scale:.6g}") for kind, days in preset.base_strength.items()}
    return Fit(
        preset=preset.but(name=f"{preset.name}, fitted", curve=curve, base_strength=bases),
        before=preset,
        scale=scale,
        records=len(chosen),
        uses=len(before.served),
        served=int(before.served.sum()),
        log_loss=_measured(_losses, before, held, weights),
        over_constant=_measured(_losses, flat, held, weights),
        calibration=_measured(_distances, before, held, weights),
        bins=_bins(held),
        seed=seed,
    )


def _chosen(records: Sequence[Reviewed], preset: Preset, draw: np.random.Generator) -> list[Reviewed]:
    """Return the records with scored uses, at most so many that their uses are `MOST_USES`; refuse too few."""
    seen = replayed(records, preset, preset.curve, 1.0)
    counts = np.bincount(seen.record.astype(np.int64), minlength=len(records))
    served, uses = int(seen.served.sum()), len(seen.served)
    found = (uses, int((counts > 0).sum()), served, uses - served)
    if any(have < need for have, need in zip(found, (LEAST_USES, LEAST_RECORDS, *[LEAST_OF_EACH] * 2), strict=True)):
        raise InvalidInput(
            f"a fit needs {LEAST_USES} graded uses a day or more after the last one, of {LEAST_RECORDS} records, at "
            f"least {LEAST_OF_EACH} of them good and {LEAST_OF_EACH} again; the log holds {uses} of {found[1]} "
            f"records, {served} good and {uses - served} again: keep the preset, and try again later"
        )
    order = draw.permutation(np.flatnonzero(counts))
    within = order[np.cumsum(counts[order]) <= MOST_USES]
    return [records[place] for place in sorted(within.tolist())]


def _best(records: Sequence[Reviewed], preset: Preset) -> tuple[Curve, float]:
    """Return the curve and the scale under which these records are likeliest; the preset's own where little is won."""
    power = preset.curve.shape is Shape.POWER

    def read(point: Floats) -> tuple[Curve, float]:
        scale = float(np.exp(np.clip(point[0], *np.log(SCALES))))
        if not power:
            return preset.curve, scale
        return Curve(Shape.POWER, float(np.exp(np.clip(point[1], *np.log(DECAYS))))), scale

    def loss(point: Floats) -> float:
        curve, scale = read(point)
        seen = replayed(records, preset, curve, scale)
        return float(_each_loss(seen).mean())

    start = np.array([0.0, math.log(preset.curve.decay)] if power else [0.0])
    best, uses = minimised(loss, start), len(replayed(records, preset, preset.curve, 1.0).served)
    return read(best) if uses * (loss(start) - loss(best)) > len(start) else (preset.curve, 1.0)


def minimised(
    function: Callable[[Floats], float], start: Floats, *, step: float = 0.7, rounds: int = 60, near: float = 1e-5
) -> Floats:
    """Return about the point where a function is least: Nelder and Mead's simplex from `start`, of edge `step`.

    Ends after so many rounds, or when the values at the corners differ by less than `near`.
    """
    corners = [start, *(start + step * row for row in np.eye(len(start)))]
    points = sorted(((function(one), place, one) for place, one in enumerate(corners)), key=lambda one: one[:2])
    for number in range(len(points), len(points) + rounds):
        if points[-1][0] - points[0][0] < near:
            break
        middle = np.mean([one[2] for one in points[:-1]], axis=0)
        worst = points[-1]

        def tried(factor: float, middle: Floats = middle, worst: Floats = worst[2], number: int = number) -> _Point:
            point = middle + factor * (worst - middle)
            return function(point), number, point

        new = tried(-1.0)
        if new[0] < points[0][0]:
            new = min(new, tried(-2.0), key=lambda one: one[0])
        elif new[0] >= points[-2][0]:
            new = min(new, tried(-0.5 if new[0] < worst[0] else 0.5), key=lambda one: one[0])
        if new[0] < worst[0]:
            points[-1] = new
        else:
            best = points[0][2]
            closer = [(best + one[2]) / 2.0 for one in points[1:]]
            points = [points[0], *((function(one), number, one) for one in closer)]
        points.sort(key=lambda one: one[:1])
    return points[0][2]


_Point = tuple[float, int, Floats]


def _each_loss(seen: Predicted) -> Floats:
    chance = np.clip(np.where(seen.served > 0.5, seen.retention, 1.0 - seen.retention), CERTAIN, 1.0)
    return np.asarray(-np.log(chance))


def _by_record(values: Floats, seen: Predicted, records: int) -> Floats:
    sums = np.bincount(seen.record.astype(np.int64), weights=values, minlength=records)
    return np.asarray(sums, dtype=np.float64)


def _losses(seen: Predicted, weights: Floats) -> Floats:
    """Return the mean loss under each row of weights of the records, shape ``[rows]``."""
    size = weights.shape[1]
    losses, uses = _by_record(_each_loss(seen), seen, size), _by_record(np.ones(len(seen.served)), seen, size)
    return np.asarray((weights @ losses) / np.maximum(weights @ uses, 1.0))


def _distances(seen: Predicted, weights: Floats) -> Floats:
    """Return the calibration error under each row of weights; the bins are those of all uses."""
    size = weights.shape[1]
    total = np.zeros(len(weights))
    for place in np.array_split(np.argsort(seen.retention, kind="stable"), BINS):
        off = np.zeros(len(seen.served))
        off[place] = seen.retention[place] - seen.served[place]
        total += np.abs(weights @ _by_record(off, seen, size))
    return np.asarray(total / np.maximum(weights @ _by_record(np.ones(len(seen.served)), seen, size), 1.0))


def _measured(
    figure: Callable[[Predicted, Floats], Floats], before: Predicted, fitted: Predicted, weights: Floats
) -> Measured:
    whole = np.ones((1, weights.shape[1]))
    first, second = float(figure(before, whole)[0]), float(figure(fitted, whole)[0])
    low, high = np.quantile(figure(before, weights) - figure(fitted, weights), (0.025, 0.975))
    return Measured(before=first, fitted=second, gain=first - second, interval=(float(low), float(high)))


def _bins(seen: Predicted) -> tuple[tuple[float, float, int], ...]:
    parts = np.array_split(np.argsort(seen.retention, kind="stable"), BINS)
    return tuple(
        (float(seen.retention[part].mean()), float(seen.served[part].mean()), len(part)) for part in parts if len(part)
    )


def fit_values(found: Fit) -> dict[str, Any]:
    """Return a fit as JSON values, with the keys that `mars memory fit --json` promises."""

    def told(one: Measured, name: str) -> dict[str, Any]:
        low, high = one.interval
        return {
            name: round(one.before, 6),
            "fitted": round(one.fitted, 6),
            "gain": round(one.gain, 6),
            "ci95": [round(low, 6), round(high, 6)],
        }

    return {
        "preset": found.before.name,
        "curve": found.preset.curve.shape.value,
        "scale": round(found.scale, 6),
        "decay": round(found.preset.curve.decay, 6),
        "base_strength": {kind.value: days for kind, days in found.preset.base_strength.items()},
        "records": found.records,
        "uses": found.uses,
        "served": found.served,
        "log_loss": told(found.log_loss, "before"),
        "log_loss_over_constant": told(found.over_constant, "constant"),
        "calibration": told(found.calibration, "before"),
        "bins": [
            {"predicted": round(said, 6), "observed": round(seen, 6), "uses": count} for said, seen, count in found.bins
        ],
        "better": found.better,
        "folds": FOLDS,
        "seed": found.seed,
    }
