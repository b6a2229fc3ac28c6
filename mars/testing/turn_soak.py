"""Killing processes within a turn, again and again, and comparing what becomes of it with an undisturbed turn.

The turn is that of `mars.testing.killed_turns`, on SQLite and PostgreSQL in turn. Of the children, two in three die at
a named point that an undisturbed turn reaches, each point in turn, the rest at any instant; another child resumes. Each
commit of a run is slowed down, so that a step which does not wait for it is found out.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mars.errors import InvalidSetting
from mars.testing.killed_turns import Scene, Witness, child, warm
from mars.testing.kills import Fork

__all__ = ["Plan", "Report", "soak"]

SLOW = 0.01
"""Seconds that each commit of a run takes longer: a disk on which what is not waited for comes too late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    runs: int
    """How many turns are killed."""
    folder: Path
    """Where witnesses and SQLite files are made."""
    seed: int = 0
    """Decides the points and the instants."""
    postgres: Callable[[str], str] | None = None
    """Makes an empty PostgreSQL database of a name and returns its URL; None for SQLite alone."""
    ledger: bool = True
    """See `Scene`."""
    durability: Literal["sync", "async"] = "sync"
    """See `Scene`."""

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise InvalidSetting(f"runs counts from 1; got {self.runs!r}")


@dataclass(slots=True)
class Report:
    """What the runs have shown."""

    runs: int = 0
    """Turns that were to be killed."""
    wrong_result: int = 0
    """Turns with another result, transcript or memory than the undisturbed one, or without one of its calls."""
    repeated_committed: int = 0
    """Calls made again although their outcome was committed, and steps done again although the next one had begun."""
    repeated_in_flight: int = 0
    """Calls made again that were under way at the kill: at most one for each of those."""
    effects_twice: int = 0
    """Side effects beyond the one that was asked for; the tool honours its key."""
    unresumable: int = 0
    """Turns that the second child did not finish."""
    miscounted: int = 0
    """Turns whose usage is not what the models saw, or with more ``maybe_paid`` than calls that were begun
    and not settled."""
    in_flight: int = 0
    """Calls that were under way at a kill."""
    survived: int = 0
    """Children that had finished before the instant came."""
    unbegun: int = 0
    """Turns killed before their beginning was saved; they are asked for again."""

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong, repeated without need, or left."""
        return not (
            self.wrong_result + self.repeated_committed + self.effects_twice + self.unresumable + self.miscounted
        )


def soak(plan: Plan, progress: Callable[[int], object] | None = None) -> Report:
    """Kill and finish turns, on SQLite and PostgreSQL in turn; `progress` is told how many are done.

    Raises `ScriptError` where this process has other threads, or a child does not end.
    """
    warm()
    report, urls = Report(), [f"sqlite:///{plan.folder / 'turns.db'}"]
    if plan.postgres is not None:
        make = plan.postgres
        urls += Fork.start(lambda tell: tell(make("soak-turns"))).heard()[0]
    calm = [_Calm.run(_scene(plan, url, f"calm{number}")) for number, url in enumerate(urls)]
    for run in range(plan.runs):
        # The databases alternate; of the runs of each, two in three die at a point, the rest at any instant.
        one, turn = calm[run % len(urls)], run // len(urls)
        chance = random.Random(f"{plan.seed}/{run}")
        reached = sorted(one.reached)
        point = reached[(turn - turn // 3 + plan.seed) % len(reached)] if turn % 3 else ""
        hit = chance.randint(1, one.reached[point]) if point else 0
        after = None if point else chance.uniform(0.0, one.seconds)
        _kill(report, one, _scene(plan, urls[run % len(urls)], f"talk{run}"), point, hit, after)
        report.runs += 1
        if progress is not None:
            progress(report.runs)
    return report


def _scene(plan: Plan, url: str, talk: str) -> Scene:
    witness = Witness(plan.folder / talk)
    how: dict[str, Any] = {"ledger": plan.ledger, "durability": plan.durability}
    return Scene(url=url, talk=talk, witness=witness, verified=True, slow=SLOW, **how)


@dataclass(frozen=True, slots=True)
class _Calm:
    """The undisturbed turn."""

    result: dict[str, Any]
    history: list[str]
    seconds: float

    @classmethod
    def run(cls, scene: Scene) -> _Calm:
        child(scene)  # makes the tables
        again = replace(scene, talk=f"{scene.talk}-again")
        before, started = len(scene.witness.history()), time.monotonic()
        result = child(again)
        assert result is not None
        return cls(result, scene.witness.history()[before:], time.monotonic() - started)

    @property
    def reached(self) -> Counter[str]:
        """How often each point was reached."""
        return Counter(line.removeprefix("at ") for line in self.history if line.startswith("at "))

    @property
    def roles(self) -> list[str]:
        """Who was called, sorted."""
        return sorted(_role(line) for line in self.history if _role(line) != "at")

    def wanted_in_step(self, number: int) -> int | None:
        """Return by how many wanted calls after a verification the next step has begun; None after the last one."""
        where = [place for place, line in enumerate(self.history) if _role(line) == "verify"][number]
        wanted = 0
        for line in self.history[where + 1 :]:
            wanted += line == "at call_wanted"
            if _role(line) not in ("at", "judge"):
                return wanted
        return None


def _role(line: str) -> str:
    return line.partition(" ")[0]


def _kill(report: Report, calm: _Calm, scene: Scene, point: str, hit: int, after: float | None) -> None:
    found = child(scene, point=point, hit=hit, after=after)
    killed = scene.witness.history()
    if found is not None:
        report.survived += 1
    else:
        found = child(scene, resume=True)
    if found is None:
        report.unresumable += 1
        return
    made = scene.witness.lines()
    flying, open_calls = _in_flight(killed)
    again = Counter(made) - Counter(dict.fromkeys(made, 1))
    allowed = min(sum(count for line, count in again.items() if line in flying), open_calls)
    steps = sum(count for line, count in again.items() if line in _resumed_steps(calm, killed))
    report.in_flight += open_calls
    report.unbegun += int("unbegun" in found)
    report.repeated_in_flight += allowed
    report.repeated_committed += sum(again.values()) - allowed - steps
    report.effects_twice += max(0, sum(_role(line) == "effect" for line in made) - calm.roles.count("effect"))
    same = all(found[key] == calm.result[key] for key in ("said", "kept"))
    if "finished" not in found:
        same = same and all(found[key] == calm.result[key] for key in ("answer", "status", "approved", "iterations"))
        usage, due = found["usage"], calm.result["usage"]
        counted = all(usage[key] == due[key] for key in due if key not in ("maybe_paid", "cost"))
        report.miscounted += int(not counted or usage["maybe_paid"] > _unsettled(killed))
    report.wrong_result += int(not same or sorted(map(_role, dict.fromkeys(made))) != calm.roles)


def _unsettled(history: Sequence[str]) -> int:
    """Return how many calls may have an intent and have no outcome at the end of a history."""
    return history.count("at call_wanted") - history.count("at call_settled")


def _in_flight(history: Sequence[str]) -> tuple[set[str], int]:
    """Return which calls may have been under way at the end of a history, and how many were."""
    calls: set[str] = set()
    under_way = 0
    for line in history:
        if line == "at call_intended":
            under_way += 1
        elif line == "at call_settled":
            under_way -= 1
        elif _role(line) not in ("at", "verify"):
            calls.add(line)
        if not under_way:
            calls.clear()
    return calls, under_way


def _resumed_steps(calm: _Calm, killed: Sequence[str]) -> set[str]:
    """Return the verifications that may be done again: their step was under way at the kill."""
    places = [place for place, line in enumerate(killed) if _role(line) == "verify"]
    if not places:
        return set()
    due = calm.wanted_in_step(len(places) - 1)
    unfinished = due is None or sum(line == "at call_wanted" for line in killed[places[-1] :]) < due
    return {killed[places[-1]]} if unfinished else set()
