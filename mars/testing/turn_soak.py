"""Killing processes within a turn, again and again, and comparing what becomes of it with an undisturbed turn.

The turn is that of `mars.testing.killed_turns`, on SQLite and PostgreSQL in turn. The first children of each database
die where a step opens that follows a check, while commits are slow: a step that did not wait for the one before it to
be saved is found out there. The next ones die within a step that has made a call of two, and after the turn's last
commit. Of the others, two in three die at a named point that an undisturbed turn reaches, each point in turn, the rest
at any instant. Another child resumes each turn, and asks for its result again. One in ten of those dies, too, at a
commit, and a third child finishes the turn.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mars.errors import InvalidSetting, ScriptError
from mars.testing.killed_turns import Scene, Witness, child, warm
from mars.testing.kills import Fork

__all__ = ["Plan", "Report", "soak"]

SLOW = 0.5
"""Seconds that a commit takes longer where a kill is aimed at the step that must wait for it."""

AIMED = 2
"""So many kills are aimed at each such step, lest a busy machine misses the one."""

GROUP = 8
"""So many turns are killed before the first of them is resumed: by then its lease has run out."""

MARKS = ("at call_wanted", "at before_write")
"""What a step begins with that follows a check: it wants a call, or writes to the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    runs: int
    """How many turns are killed; with `every` it has no effect."""
    folder: Path
    """Where witnesses and SQLite files are made."""
    seed: int = 0
    """Decides the points and the instants."""
    every: str = ""
    """A point: turns are killed at each time that an undisturbed one reaches it, on each database."""
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
    """Turns with another result, transcript or memory than the undisturbed one, with other calls or without one of
    its calls, or with a result that is not the same when it is asked for again."""
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
    """Children that had finished before the instant came; asked for again, the turn has the result they told."""
    killed_twice: int = 0
    """Turns whose second child was killed, too."""
    unbegun: int = 0
    """Turns killed before their beginning was saved; they are asked for again."""

    @property
    def found(self) -> int:
        """How much was wrong, repeated without need, or left."""
        return self.wrong_result + self.repeated_committed + self.effects_twice + self.unresumable + self.miscounted


class _Target(NamedTuple):
    """Where a child is to die."""

    point: str = ""
    hit: int = 0
    after: float | None = None
    """Seconds, where it is no point."""
    slow: float = 0.0
    settled: int = 0
    """See `Scene`."""
    again: int = 0
    """At which commit the second child dies; 0 where it lives."""


class _Opening(NamedTuple):
    """How the step after a check opens."""

    point: str
    hit: int
    """The how manieth of its point it is."""
    marks: int
    """How many of `MARKS` there are from the check up to it."""
    settled: int
    """How many calls were settled by then."""


@dataclass(frozen=True, slots=True)
class _Calm:
    """The undisturbed turn on a database."""

    url: str
    result: dict[str, Any]
    history: list[str]
    seconds: float

    @classmethod
    def run(cls, plan: Plan, url: str, talk: str) -> _Calm:
        child(_scene(plan, url, f"{talk}-first"))  # makes the tables
        scene, started = _scene(plan, url, talk), time.monotonic()
        result = child(scene)
        seconds = time.monotonic() - started
        if result is None:
            raise ScriptError("the undisturbed turn did not come to its end: see what its process printed")
        if result["status"] != "completed":
            raise ScriptError(f"the undisturbed turn ended as {result['status']}: {result['error']}")
        return cls(url, result, scene.witness.history(), seconds)

    @property
    def calls(self) -> set[str]:
        """What was called; of an effect, whose key is its turn's own, that there was one."""
        return _calls(self.history)

    @property
    def effects(self) -> int:
        """How many side effects there were."""
        return sum(_role(line) == "effect" for line in self.history)

    def openings(self) -> dict[str, _Opening]:
        """Return how the step after each check opens, by the check's line."""
        found = {}
        for place, line in enumerate(self.history):
            if _role(line) == "verify":
                end = next(at for at in range(place, len(self.history)) if self._opens(at))
                upto, point = self.history[: end + 1], self.history[end]
                marks = sum(map(self.history[place : end + 1].count, MARKS))
                settled = upto.count("at call_settled")
                found[line] = _Opening(point.removeprefix("at "), upto.count(point), marks, settled)
        return found

    def _opens(self, place: int) -> bool:
        """Whether a line opens a step after a check, whose own calls are the judge's."""
        if self.history[place] != MARKS[0]:
            return self.history[place] in MARKS
        return next(role for line in self.history[place:] if (role := _role(line)) != "at") != "judge"

    def targets(self, seed: str) -> Iterator[_Target]:
        """Yield where children are to die; without end."""
        # A write to the memory comes so late that what was not waited for is saved by then.
        calls = [one for one in self.openings().values() if one.point == "call_wanted"]
        for opening in calls * AIMED:
            yield _Target(opening.point, opening.hit, None, SLOW, opening.settled)
        check = next(at for at, line in enumerate(self.history) if _role(line) == "verify")
        yield _Target("call_settled", self.history[:check].count("at call_settled") + 1)  # a call of an unsaved step
        reached = Counter(line.removeprefix("at ") for line in self.history if line.startswith("at "))
        yield _Target("run_after_commit", reached["run_after_commit"])  # the turn is over, and nobody was told
        points, chance = sorted(reached), random.Random(seed)
        chance.shuffle(points)
        for turn in count():
            if turn % 3 == 2:
                yield _Target(after=chance.uniform(0.0, self.seconds))
            else:
                point, again = points[(turn - turn // 3) % len(points)], 0
                if turn % 5 == 0:
                    again = chance.randint(1, reached["run_after_commit"] // 2)
                yield _Target(point, chance.randint(1, reached[point]), again=again)

    def each(self, point: str) -> Iterator[_Target]:
        """Yield each time that a point was reached; raises `InvalidSetting` where it never was."""
        hits = self.history.count(f"at {point}")
        if not hits:
            raise InvalidSetting(f"an undisturbed turn does not reach {point!r}: see mars.persistence.points")
        return (_Target(point, hit) for hit in range(1, hits + 1))


def soak(plan: Plan, progress: Callable[[int], object] | None = None) -> Report:
    """Kill and finish turns, on SQLite and PostgreSQL in turn; `progress` is told how many are done.

    Raises `ScriptError` where this process has other threads, or a child does not end.
    """
    warm()
    report, urls = Report(), [f"sqlite:///{plan.folder / 'turns.db'}"]
    if plan.postgres is not None:
        make = plan.postgres
        urls += Fork.start(lambda tell: tell(make(f"soak-turns-{os.getppid()}"))).heard()[0]
    calm = [_Calm.run(plan, url, f"calm{number}") for number, url in enumerate(urls)]
    due = enumerate(_due(plan, calm))
    while group := list(islice(due, GROUP)):
        scenes = [
            (one, target, replace(_scene(plan, one.url, f"talk{run}"), slow=target.slow, settled=target.settled))
            for run, (one, target) in group
        ]
        dead = [child(scene, point=at.point, hit=at.hit, after=at.after) for _, at, scene in scenes]
        for (one, target, scene), told in zip(scenes, dead, strict=True):
            _judge(report, one, scene.witness, told, *_finished(scene, target.again))
        if progress is not None:
            progress(report.runs)
    return report


def _finished(scene: Scene, again: int) -> tuple[dict[str, Any] | None, list[int]]:
    """Resume a turn, after one more kill where `again` says so; return what was told, and how long its history was at
    each kill."""
    kills = [len(scene.witness.history())]
    found = None
    if again:
        found = child(scene, resume=True, point="run_after_commit", hit=again)
    if again and found is None:
        kills.append(len(scene.witness.history()))
    return found or child(scene, resume=True), kills


def _due(plan: Plan, calm: Sequence[_Calm]) -> Iterator[tuple[_Calm, _Target]]:
    """Yield the databases alternately, each with where the next child on it is to die."""
    if plan.every:
        return ((one, target) for one in calm for target in one.each(plan.every))
    targets = [one.targets(f"{plan.seed}/{number}") for number, one in enumerate(calm)]
    return ((calm[run % len(calm)], next(targets[run % len(calm)])) for run in range(plan.runs))


def _scene(plan: Plan, url: str, talk: str) -> Scene:
    witness = Witness(plan.folder / talk)
    return Scene(url=url, talk=talk, witness=witness, verified=True, ledger=plan.ledger, durability=plan.durability)


def _role(line: str) -> str:
    return line.partition(" ")[0]


def _calls(lines: Sequence[str]) -> set[str]:
    return {_role(line) if _role(line) == "effect" else line for line in lines if _role(line) != "at"}


def _judge(
    report: Report,
    calm: _Calm,
    witness: Witness,
    told: dict[str, Any] | None,
    found: dict[str, Any] | None,
    kills: Sequence[int],
) -> None:
    """Take down what came of a turn: what its children told, the calls, and the history of each that was killed."""
    report.runs += 1
    report.survived += int(told is not None)
    report.killed_twice += len(kills) - 1
    if found is None:
        report.unresumable += 1
        return
    history, made = witness.history(), witness.lines()
    killed = [history[begin:end] for begin, end in zip((0, *kills), kills, strict=False)]
    flying = [_in_flight(one) for one in killed]
    open_calls = sum(count for _, count in flying)
    again = Counter(made) - Counter(dict.fromkeys(made, 1))
    allowed = min(sum(count for line, count in again.items() if any(line in one for one, _ in flying)), open_calls)
    steps = sum((again & Counter(filter(None, (_unfinished_step(calm, one) for one in killed)))).values())
    report.in_flight += open_calls
    report.unbegun += int("unbegun" in found)
    report.repeated_in_flight += allowed
    report.repeated_committed += sum(again.values()) - allowed - steps
    report.effects_twice += max(0, sum(_role(line) == "effect" for line in made) - calm.effects)
    usage, due = found["usage"], calm.result["usage"]
    counted = all(usage[key] == due[key] for key in due if key not in ("maybe_paid", "cost"))
    report.miscounted += int(not counted or usage["maybe_paid"] > sum(map(_unsettled, killed)))
    same = _shown(found) == _shown(calm.result) and _calls(made) == calm.calls
    lasting = found["again"] == {key: found[key] for key in found["again"]} and (told is None or told == found)
    report.wrong_result += int(not (same and lasting))


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    """Return what two turns must have in common: all but their ids, and what was spent."""
    own = ("conversation", "turn", "usage", "latency", "again", "unbegun")
    sources = [{**source, "record": ""} for source in found["sources"]]
    return {**{key: value for key, value in found.items() if key not in own}, "sources": sources}


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


def _unfinished_step(calm: _Calm, history: Sequence[str]) -> str:
    """Return the check that may be done again: its step was under way at the kill, the next one had not begun."""
    place = next((at for at in reversed(range(len(history))) if _role(history[at]) == "verify"), None)
    opening = calm.openings().get(history[place]) if place is not None else None
    if place is None or opening is None:
        return ""
    return "" if sum(map(history[place:].count, MARKS)) >= opening.marks else history[place]
