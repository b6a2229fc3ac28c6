"""Turns in children that are killed with SIGKILL around each of their calls; print what was found, a line of JSON for
each group of kills.

    python tests/mars/calls_under_fire.py FOLDER URL POINT=HIT,HIT…+POINT=HIT… … [--sabotaged]

Each kill is a turn of its own: a child runs it and dies when a point was reached so many times, another one resumes it;
of a group, all are killed before the first is resumed, when its lease has run out.
The models and tools note each call in a file before they answer; that file, not the ledger, is the witness. The parent
imports everything, opens nothing and stays single-threaded. ``--sabotaged`` switches the ledger off.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mars.testing.killed_turns import Scene, Witness, child, warm


def judge(expected: dict[str, Any], found: dict[str, Any] | None, made: Sequence[str], point: str) -> dict[str, int]:
    """Return what was wrong with a turn that was killed and resumed, and how often a call was repeated."""
    if found is None:
        return {"unresumable": 1}
    counts, extra = Counter(made), Counter(made) - Counter(expected["made"])
    again = sum(extra.values())
    effects = sum(count - 1 for line, count in counts.items() if line.startswith("effect"))
    in_flight = min(again, int(point == "call_returned"))
    usage, due = found["usage"], expected["usage"]
    same = all(found[key] == expected[key] for key in ("answer", "status", "approved", "iterations"))
    counted = all(usage[key] == due[key] for key in due if key not in ("maybe_paid", "cost"))
    lost = usage["maybe_paid"] <= int(point in ("call_intended", "call_returned"))
    missing = Counter(expected["made"]) - counts
    return {
        "wrong_result": int(not same or bool(missing)),
        "repeated_committed": again - in_flight,
        "repeated_in_flight": in_flight,
        "effects_twice": effects,
        "miscounted": int(not (counted and lost)),
        "maybe_paid": usage["maybe_paid"],
    }


def run(folder: Path, url: str, groups: Sequence[Sequence[tuple[str, int]]], ledger: bool) -> list[dict[str, int]]:
    """Kill and resume one turn per case; return the sums of each group."""
    warm()
    calm = Scene(url=url, talk="calm", witness=Witness(folder / "calm"), ledger=ledger)
    undisturbed = child(calm)
    assert undisturbed is not None
    expected = {**undisturbed, "made": calm.witness.lines()}
    return [fire(folder, url, expected, f"{number}-", cases, ledger) for number, cases in enumerate(groups)]


def fire(
    folder: Path, url: str, expected: dict[str, Any], mark: str, cases: Sequence[tuple[str, int]], ledger: bool
) -> dict[str, int]:
    """Kill and resume one turn per case; return the sums."""
    # The key of an effect is its turn's own; all else that is called is the same in every turn.
    roles = [line.partition(" ")[0] for line in expected["made"]]
    talks = [f"{mark}{number}" for number, _ in enumerate(cases)]
    scenes = [Scene(url=url, talk=talk, witness=Witness(folder / talk), ledger=ledger) for talk in talks]
    dead = [child(scene, point=point, hit=hit) is None for scene, (point, hit) in zip(scenes, cases, strict=True)]
    sums: Counter[str] = Counter({"runs": 0})
    for scene, (point, _), killed in zip(scenes, cases, dead, strict=True):
        if not killed:
            sums["not_killed"] += 1
            continue
        found = child(scene, resume=True)
        made = scene.witness.lines()
        firsts = list(dict.fromkeys(made))
        due = {
            **expected,
            "made": firsts if sorted(one.partition(" ")[0] for one in firsts) == sorted(roles) else roles,
        }
        sums.update({"runs": 1, **judge(due, found, made, point)})
    return {"calls": len(roles), **sums}


def cases_of(group: str) -> list[tuple[str, int]]:
    """Return the kills that an argument names."""
    points = [one.split("=") for one in group.split("+")]
    return [(name, int(hit)) for name, hits in points for hit in hits.split(",")]


if __name__ == "__main__":
    where, target, *rest = sys.argv[1:]
    wanted = [cases_of(one) for one in rest if "=" in one]
    for figures in run(Path(where), target, wanted, "--sabotaged" not in rest):
        print(json.dumps(figures))
