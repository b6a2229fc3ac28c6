"""Whether `mars memory fit` finds known curves, and finds nothing where there is nothing.

    python -m benchmarks.curve_fitting

`recovered` are fits to uses drawn from known curves, with `error` the largest relative error of exponent and scale, and
`gain` the held-out gain in log loss with its interval. `default` are fits to uses drawn from the preset itself: how
many intervals cover zero, and how many fits were called better. `shuffled` are fits to known curves whose outcomes were
dealt anew.
"""

from __future__ import annotations

import json
import time
from typing import Any

from mars.memory.curves import Curve, Shape
from mars.memory.fitting import Fit, fit
from mars.memory.presets import DEFAULT
from mars.testing.lived import lived, shuffled

KNOWN = ((0.5, 0.4, 300), (0.3, 2.0, 1_000))
"""Exponent, scale and records of the known curves."""
SEEDS = 8
"""Draws from the preset itself, and of shuffled outcomes."""


def recovered(decay: float, scale: float, records: int) -> dict[str, Any]:
    """What a fit makes of uses drawn from a known curve."""
    found = fit(lived(1, Curve(Shape.POWER, decay), scale, records=records), DEFAULT)
    got = found.preset.curve.decay
    return {
        "decay": [decay, round(got, 4)],
        "scale": [scale, round(found.scale, 4)],
        "uses": found.uses,
        "gain": [round(found.log_loss.gain, 4), *(round(one, 4) for one in found.log_loss.interval)],
        "error": round(max(abs(got / decay - 1.0), abs(found.scale / scale - 1.0)), 4),
        "better": found.better,
    }


def nothing(fits: list[Fit]) -> dict[str, int]:
    """How many of these were called better, and how many intervals of the gain cover zero."""
    covering = sum(one.log_loss.interval[0] <= 0.0 <= one.log_loss.interval[1] for one in fits)
    return {"fits": len(fits), "better": sum(one.better for one in fits), "covering": covering}


def main() -> None:
    """Print the report as one line of JSON."""
    started = time.process_time()
    known = [recovered(*one) for one in KNOWN]
    same = [fit(lived(seed, DEFAULT.curve, 1.0, records=150), DEFAULT, seed=seed) for seed in range(SEEDS)]
    far = Curve(Shape.POWER, 0.5)
    dealt = [fit(shuffled(lived(seed, far, 0.4, records=150), seed), DEFAULT, seed=seed) for seed in range(SEEDS)]
    report = {
        "recovered": known,
        "error": max(one["error"] for one in known),
        "default": nothing(same),
        "shuffled": nothing(dealt),
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
