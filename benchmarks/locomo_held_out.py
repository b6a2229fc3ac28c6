"""Whether the constants of the words' score were tuned on the questions they are measured on: choose them elsewhere.

    python -m benchmarks.locomo_held_out [locomo5.json]

The score has four constants that were chosen by looking at LoCoMo. For each conversation they are chosen anew, as the
best of `GRID` on the other conversations, and measured on that one. `held_out` is R@10 over all questions got that way,
`as_shipped` that of the constants as they stand, `best_on_all` that of the best choice in hindsight (what tuning on the
questions would claim). `minus_baseline` pairs `held_out` with the untuned BM25, interval by conversation.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.commands import LOCOMO
from benchmarks.locomo_vs_baseline import baseline_answers
from mars.evaluation.locomo import Answered, evaluate_locomo, paired
from mars.memory import lexical

GRID = {
    "SPEAKER_BOOST": (0.0, 0.3, 0.6),
    "QUESTION_PENALTY": (0.0, 0.4, 0.8),
    "BREVITY": (0.05, 0.2, 0.5),
    "REPLY": (0.6, 1.0),
}
"""Constants of `mars.memory.lexical` and the values that are tried."""


def mean(answered: list[Answered]) -> float:
    """R@10."""
    return sum(one.recall(10) for one in answered) / len(answered)


def main() -> None:
    """Print the report as one line of JSON."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else LOCOMO
    shipped = tuple(getattr(lexical, name) for name in GRID)
    tried: dict[tuple[float, ...], list[Answered]] = {}
    for values in dict.fromkeys([shipped, *product(*GRID.values())]):
        for name, value in zip(GRID, values, strict=True):
            setattr(lexical, name, value)
        tried[values] = list(evaluate_locomo(file).answered)
        print(f"{len(tried):3}  {values}  {mean(tried[values]):.4f}", file=sys.stderr)
    folds: list[dict[str, Any]] = []
    held_out: list[Answered] = []
    for held in dict.fromkeys(one.conversation for one in tried[shipped]):
        scores = {values: mean([one for one in found if one.conversation != held]) for values, found in tried.items()}
        best = max(scores, key=lambda values: (scores[values], values))
        measured = [one for one in tried[best] if one.conversation == held]
        held_out += measured
        there = mean([one for one in tried[shipped] if one.conversation == held])
        chosen = dict(zip(GRID, best, strict=True))
        folds.append({"held_out": held, "chosen": chosen, "recall": mean(measured), "as_shipped": there})
    print(
        json.dumps(
            {
                "held_out": mean(held_out),
                "as_shipped": mean(tried[shipped]),
                "best_on_all": max(map(mean, tried.values())),
                "worst_on_all": min(map(mean, tried.values())),
                "minus_baseline": paired(held_out, baseline_answers(file)),
                "tried": len(tried),
                "folds": folds,
            }
        )
    )


if __name__ == "__main__":
    main()
