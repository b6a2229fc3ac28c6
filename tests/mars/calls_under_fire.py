"""Turns in children that are killed with SIGKILL around each of their calls; print what was found as one line of JSON.

    python tests/mars/calls_under_fire.py FOLDER URL POINT=HIT,HIT… … [--sabotaged]

Each kill is a turn of its own: a child runs it and dies when a point was reached so many times, another one resumes it.
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


def main(folder: Path, url: str, cases: Sequence[tuple[str, int]], ledger: bool) -> dict[str, int]:
    """Kill and resume one turn per case; return the sums."""
    warm()
    calm = Scene(url=url, talk="calm", witness=Witness(folder / "calm"), ledger=ledger)
    undisturbed = child(calm)
    assert undisturbed is not None
    expected = {**undisturbed, "made": calm.witness.lines()}
    # Whose conversation it is changes the prompts and the keys, but not how many calls there are of which role.
    roles = [line.partition(" ")[0] for line in expected["made"]]
    sums: Counter[str] = Counter({"runs": 0})
    for number, (point, hit) in enumerate(cases):
        scene = Scene(url=url, talk=f"talk{number}", witness=Witness(folder / f"talk{number}"), ledger=ledger)
        if child(scene, point=point, hit=hit) is not None:
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


if __name__ == "__main__":
    where, target, *rest = sys.argv[1:]
    points = [one.split("=") for one in rest if "=" in one]
    plan = [(name, int(hit)) for name, hits in points for hit in hits.split(",")]
    print(json.dumps(main(Path(where), target, plan, "--sabotaged" not in rest)))
