"""How the lives of seeds 1 to 20 go: with everything, without the Checker, without reflection, without decay.

The demo itself compares nothing. This does: it takes the report that `mars demo --json` prints and compares each answer
with what the world knows was told.

    python -m benchmarks.demo_seeds [--seeds 20] [--jobs 2]
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from tempfile import TemporaryDirectory
from typing import Any

Report = dict[str, Any]

VARIANTS: dict[str, tuple[str, ...]] = {
    "full": (),
    "no_checker": ("checker",),
    "no_reflection": ("reflection",),
    "no_decay": ("decay",),
}
"""What is lived, and what is switched off in it."""

_WEEKDAYS = frozenset(date(2026, 1, day).strftime("%A").casefold() for day in range(5, 12))


def says(answer: str, value: str) -> bool:
    """Return whether an answer holds all words of a value, in any order; the weekday of a date may be missing."""
    wanted = {word for word in _words(value) if word not in _WEEKDAYS} or set(_words(value))
    return wanted <= set(_words(answer))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:[:.]\d+)*", text.casefold())


def truth(report: Report, topic: str, day: int) -> tuple[str, list[str]]:
    """Return the value that was last told by a day, and the earlier ones."""
    (fact,) = [each for each in report["told"] if each["topic"] == topic]
    told = [
        (max(d for d in each["days"] if d <= day), each["value"]) for each in fact["values"] if min(each["days"]) <= day
    ]
    values = [value for _, value in sorted(told)]
    return values[-1], values[:-1]


def right(report: Report, asked: Report, answer: str) -> bool:
    """Return whether an answer says what was last told, and none of the earlier values alone."""
    return says(answer, truth(report, asked["topic"], asked["day"])[0])


def wrong(report: Report, asked: Report, answer: str) -> bool:
    """Return whether an answer says an earlier value and not the one that holds."""
    holds, earlier = truth(report, asked["topic"], asked["day"])
    return any(says(answer, value) for value in earlier) and not says(answer, holds)


def questions(report: Report, part: str) -> list[Report]:
    """Return the questions for the facts that play a part, oldest first."""
    topics = {fact["topic"] for fact in report["told"] if fact["part"] == part}
    return [asked for asked in report["asked"] if asked["topic"] in topics]


def complete(report: Report) -> bool:
    """Return whether 60 days went by and every question came to an end of its own."""
    return report["days"] == 60 and bool(report["asked"]) and all(a["status"] != "task_error" for a in report["asked"])


def corrected(report: Report) -> bool:
    """Return whether the first question for the changed fact was answered wrongly, rejected, and then right."""
    asked = questions(report, "changed")[0]
    first = asked["attempts"][0]
    return (
        wrong(report, asked, first["draft"])
        and first["verdict"] == "rejected"
        and bool(asked["reflections"])
        and right(report, asked, asked["answer"])
        and asked["approved"]
    )


def right_at_once(report: Report) -> bool:
    """Return whether the second question for the changed fact recalled the lesson and needed one draft."""
    asked = questions(report, "changed")[1]
    return len(asked["attempts"]) == 1 and right(report, asked, asked["answer"]) and asked["lessons_recalled"] > 0


def wrong_stands(report: Report) -> bool:
    """Return whether the first question for the changed fact ended with the old value."""
    asked = questions(report, "changed")[0]
    return wrong(report, asked, asked["answer"])


def recalls_faded(report: Report) -> bool:
    """Return whether the fact that was never used was answered at the end."""
    (asked,) = questions(report, "faded")
    return right(report, asked, asked["answer"])


def keeps_used(report: Report) -> bool:
    """Return whether the fact that was used now and then was answered at the end."""
    asked = questions(report, "kept")[-1]
    return right(report, asked, asked["answer"])


def life(task: tuple[int, str]) -> tuple[int, str, Report]:
    """Live one life over a SQLite file and return its report."""
    from mars.simulation.report import lived

    seed, variant = task
    with TemporaryDirectory() as folder:
        return seed, variant, lived(seed, VARIANTS[variant], f"sqlite:///{folder}/life.db")


def answers(reports: Iterable[Report]) -> dict[str, int]:
    """Return how many final answers there are, how many are right, and how many wrong ones were approved.

    The question for the faded fact is left out of the first two: nothing is known then, and that is what shall be said.
    """
    asked = [(report, one) for report in reports for one in report["asked"]]
    live = [(report, one) for report, one in asked if one not in questions(report, "faded")]
    return {
        "answers": len(live),
        "answers_right": sum(right(report, one, one["answer"]) for report, one in live),
        "approved_wrong": sum(one["approved"] and not right(report, one, one["answer"]) for report, one in asked),
    }


ROWS: dict[str, tuple[str, Callable[[Report], bool]]] = {
    "complete": ("full", complete),
    "corrected": ("full", corrected),
    "right_at_once_when_asked_again": ("full", right_at_once),
    "kept_known": ("full", keeps_used),
    "faded_forgotten": ("full", lambda report: not recalls_faded(report)),
    "faded_recalled_without_decay": ("no_decay", recalls_faded),
    "wrong_stands_without_checker": ("no_checker", wrong_stands),
    "wrong_stands_without_reflection": ("no_reflection", wrong_stands),
}
"""What is counted: in which variant, and what holds for a life that counts."""


def count(name: str, passed: Iterable[tuple[int, bool]]) -> int:
    """Return how many seeds passed, and print those that did not."""
    outcomes = list(passed)
    failed = [seed for seed, holds in outcomes if not holds]
    print(f"{name:<34} {len(outcomes) - len(failed):>3} of {len(outcomes)}" + (f"   not: {failed}" if failed else ""))
    return len(outcomes) - len(failed)


def main() -> None:
    """Live all lives and print the counts; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    began = time.perf_counter()
    seeds = range(options.first, options.first + options.seeds)
    reports: dict[str, dict[int, Report]] = {variant: {} for variant in VARIANTS}
    with ProcessPoolExecutor(options.jobs) as pool:
        for seed, variant, found in pool.map(life, [(seed, variant) for variant in VARIANTS for seed in seeds]):
            reports[variant][seed] = found
    counts = {
        name: count(name, ((seed, check(found)) for seed, found in reports[variant].items()))
        for name, (variant, check) in ROWS.items()
    }
    result = {"seeds": options.seeds, **counts, **answers(reports["full"].values())}
    result["slowest_life_seconds"] = max(one["seconds"] for found in reports.values() for one in found.values())
    print(json.dumps({**result, "seconds": round(time.perf_counter() - began, 1)}))


if __name__ == "__main__":
    main()
