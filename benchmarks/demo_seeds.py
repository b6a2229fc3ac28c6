"""The demo over seeds 1 to 20, whole and with parts switched off, held against what was told.

    python -m benchmarks.demo_seeds [--seeds 20] [--details]

The demo knows what it told and compares nothing. Here the two are compared: an answer is right when it names the value
told last before the question, wrong when it names an older one instead. Every run is a process of its own.

`corrected`: a question whose first draft was wrong, was not approved, and whose answer was right and approved.
`wrong_stands_without_checker`: without the Checker, such a question ends with the wrong answer.
`faded_recalled_without_decay`: the fact that nobody used is answered at the end when nothing fades;
`faded_forgotten`: and is not known when it does. `kept_known`: the fact that was used is.
"""

from __future__ import annotations

import argparse
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.commands import run

RUNS = ((), ("checker",), ("decay",))
"""What is switched off in each run of a seed."""
CHANGING = ("changed", "corrected")
"""Parts of facts whose value changes."""


def names(answer: str, value: str) -> bool:
    """Whether an answer names a value, as words and whatever their case."""
    return re.search(rf"(?<!\w){re.escape(value.casefold())}(?!\w)", answer.casefold()) is not None


def values_before(told: dict[str, Any], day: int) -> list[str]:
    """The values told before a day, the newest last."""
    turns = sorted((on, entry["value"]) for entry in told["values"] for on in entry["days"] if on <= day)
    return list(dict.fromkeys(reversed([value for _, value in turns])))[::-1]


def judged(answer: str, told: dict[str, Any], day: int) -> str:
    """Whether an answer is right, wrong, or neither."""
    *older, newest = values_before(told, day)
    if names(answer, newest):
        return "right"
    return "wrong" if any(names(answer, value) for value in older) else "neither"


def questions(report: dict[str, Any], *parts: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The questions about facts of some parts, each with what was told about the fact."""
    told = {entry["topic"]: entry for entry in report["told"] if entry["part"] in parts}
    return [(asked, told[asked["topic"]]) for asked in report["asked"] if asked["topic"] in told]


def corrected(asked: dict[str, Any], told: dict[str, Any]) -> bool:
    """Whether a wrong first draft was turned down and a right answer approved in its place."""
    first = asked["attempts"][0] if asked["attempts"] else {"draft": "", "verdict": "approved"}
    return (
        judged(first["draft"], told, asked["day"]) == "wrong"
        and first["verdict"] != "approved"
        and asked["approved"]
        and judged(asked["answer"], told, asked["day"]) == "right"
    )


def complete(report: dict[str, Any]) -> bool:
    """Whether every day was lived and every question was answered without an error."""
    statuses = [asked["status"] for asked in report["asked"]]
    return report["days"] == 60 and bool(statuses) and "task_error" not in statuses


def last(report: dict[str, Any], part: str) -> list[str]:
    """How the last answers about the facts of a part are judged."""
    ends = {asked["topic"]: (asked, told) for asked, told in questions(report, part)}
    return [judged(asked["answer"], told, asked["day"]) for asked, told in ends.values()]


def findings(reports: list[dict[str, Any]]) -> dict[str, bool]:
    """What a seed's runs show: whole, without the Checker, without decay."""
    whole, unchecked, undecayed = reports
    return {
        "complete": all(map(complete, reports)),
        "corrected": any(corrected(*pair) for pair in questions(whole, *CHANGING)),
        "wrong_stands_without_checker": any(
            judged(asked["answer"], told, asked["day"]) == "wrong" for asked, told in questions(unchecked, *CHANGING)
        ),
        "wrong_stands": any(
            asked["approved"] and judged(asked["answer"], told, asked["day"]) == "wrong"
            for asked, told in questions(whole, *CHANGING)
        ),
        "faded_forgotten": last(whole, "faded") == ["neither"],
        "faded_recalled_without_decay": last(undecayed, "faded") == ["right"],
        "kept_known": last(whole, "kept") == ["right"],
    }


def main() -> None:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="seeds 1 to this one")
    parser.add_argument("--details", action="store_true", help="the findings of every seed too")
    chosen = parser.parse_args()
    wanted = [(seed, off) for seed in range(1, chosen.seeds + 1) for off in RUNS]
    with ThreadPoolExecutor(max_workers=2) as pool:
        reports = list(pool.map(lambda one: live(*one), wanted))
    each = [findings(reports[at : at + len(RUNS)]) for at in range(0, len(reports), len(RUNS))]
    report: dict[str, Any] = {"seeds": chosen.seeds} | {key: sum(found[key] for found in each) for key in each[0]}
    report["slowest_seconds"] = max(one["seconds"] for one in reports)
    if chosen.details:
        report["each"] = {str(seed): found for seed, found in enumerate(each, 1)}
    print(json.dumps(report))


def live(seed: int, off: tuple[str, ...]) -> dict[str, Any]:
    """Run the demo once."""
    return run("demo", "--seed", str(seed), "--no-picture", *(word for name in off for word in ("--without", name)))


if __name__ == "__main__":
    main()
