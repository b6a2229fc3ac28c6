"""Ablation switches, in all of their crossings: what is off makes no call and writes no row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from mars import Assistant, Checker, Mars, Reflector, RunResult, Team
from mars.agents.roles import Strategy
from mars.events import EVERYTHING, EventKind
from mars.memory.interfaces import Kind, Status
from mars.team import SWITCHES
from mars.testing import FixedClock, InMemoryBackend, ScriptedModel, Step

pytestmark = pytest.mark.anyio

CROSSINGS = [frozenset(off) for size in range(5) for off in combinations(SWITCHES, size)]
HOME = ("ann",)
QUESTION = "Where does Ann's sister live?"


def judged(approved: bool) -> Step:
    """Return a judge's word; a rejection blames the first memory."""
    issue = {"kind": "unsupported", "evidence": "no source", "directive": "Find a source.", "blame": ["m1"]}
    return Step(
        structured={"approved": approved, "score": 0.9 if approved else 0.1, "issues": [] if approved else [issue]}
    )


def rows(path: Path) -> dict[str, int]:
    """Return how many rows each table holds."""
    with closing(sqlite3.connect(path)) as database:
        names = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'mars!_%' ESCAPE '!'"
        )
        return {name: database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for (name,) in names.fetchall()}


def used(path: Path) -> int:
    """Return how many uses the history holds: each is a change of a strength."""
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT COUNT(*) FROM mars_history WHERE event = 'used'").fetchone()[0])


async def lived(path: Path, off: frozenset[str], clock: FixedClock) -> tuple[RunResult, dict[str, ScriptedModel], Any]:
    """Tell something, wait for longer than it is remembered, ask; return the result, the models and the events."""
    models = {
        "assistant": ScriptedModel(["Noted.", "In Rome [m1].", "In Oslo [m1]."]),
        "checker": ScriptedModel([judged(False), judged(True)]),
        "reflector": ScriptedModel(lambda _: "Look again."),
    }
    team = Team(
        assistant=Assistant(model=models["assistant"]),
        checker=Checker(model=models["checker"]),
        reflector=Reflector(model=models["reflector"], strategy="both"),
        iterations=2,
        without=off,
    )
    events = []
    async with Mars.open(f"sqlite:///{path}", team=team, clock=clock, preset="paper") as mars:
        await mars.run("My sister lives in Oslo.", user="ann")
        clock.advance(days=30)
        async for event in mars.stream(QUESTION, user="ann", heard=EVERYTHING):
            events.append(event)
        await mars.memory.sweep() if "decay" not in off else None
    assert events[-1].result is not None
    return events[-1].result, models, events


@pytest.mark.parametrize("off", CROSSINGS, ids=lambda off: "+".join(sorted(off)) or "none")
async def test_off_means_no_calls_and_no_rows(tmp_path: Path, off: frozenset[str], clock: FixedClock) -> None:
    """Each of the sixteen crossings makes exactly the calls, and writes exactly the rows, of what is on."""
    path = tmp_path / "life.db"
    result, models, events = await lived(path, off, clock)
    checks, reflects, remembers, decays = (name not in off for name in SWITCHES)
    calls = {role: len(model.calls) for role, model in models.items()}
    drafts = 2 if checks else 1
    # What was told is an acknowledgement, which no judge is asked about.
    assert calls == {"assistant": 1 + drafts, "checker": 2 * checks, "reflector": int(checks and reflects)}
    assert (result.iterations, result.approved) == (drafts, checks)
    assert len(result.reflections) == int(checks and reflects)
    found = rows(path)
    spoken = [event.kind for event in events]
    recalled = not decays and remembers  # after 30 days of the papers' preset nothing is left
    assert result.recalled == int(recalled)
    assert (EventKind.MEMORY_READ in spoken, EventKind.MEMORY_WRITE in spoken) == (remembers, remembers)
    lessons = int(checks and reflects and remembers)
    # One episode; where nothing keeps a transcript, turns would be records, too.
    assert found["mars_records"] == (1 + lessons) * remembers
    assert used(path) == 0  # nothing was cited that was recalled with decay on; without decay nothing is graded
    assert found["mars_tasks"] == (0 if off else 2)
    assert found["mars_transcript"] == (4 if remembers else 0)


@pytest.mark.parametrize("decays", [True, False])
async def test_without_decay_nothing_is_graded(tmp_path: Path, clock: FixedClock, decays: bool) -> None:
    """A cited record is strengthened where strength means something, and nowhere else."""
    path = tmp_path / "life.db"
    team = Team(
        assistant=Assistant(model=ScriptedModel(["Noted.", "In Oslo [m1]."])),
        checker=Checker(model=ScriptedModel([judged(True)])),
        without=frozenset() if decays else frozenset({"decay"}),
    )
    async with Mars.open(f"sqlite:///{path}", team=team, clock=clock) as mars:
        await mars.run("My sister lives in Oslo.", user="ann")
        result = await mars.run(QUESTION, user="ann")
        (record,) = await mars.memory.list(HOME)
    assert result.approved
    assert (record.uses, used(path)) == (int(decays), int(decays))


async def test_without_decay_nothing_is_archived(clock: FixedClock) -> None:
    """Years later the record is recalled as on the first day, and no record was put away."""
    team = Team(assistant=Assistant(model=ScriptedModel(["Noted.", "In Oslo [m1]."])), without=frozenset({"decay"}))
    async with Mars.open(InMemoryBackend(), team=team, clock=clock, preset="paper") as mars:
        await mars.run("My sister lives in Oslo.", user="ann")
        clock.advance(days=3 * 365)
        result = await mars.run(QUESTION, user="ann", now=clock.now() + timedelta(days=1))
        everything = await mars.memory.list(HOME, statuses=list(Status), now=clock.now() - timedelta(days=3 * 365))
    assert [source.text for source in result.sources] == ["My sister lives in Oslo."]
    assert {record.status for record in everything} == {Status.ACTIVE}


# Strategies


PARTS = ("<lessons>", "<strategy>", "<last_attempt>")


@pytest.mark.parametrize(
    ("strategy", "shown", "asked"),
    [
        ("none", (), 0),
        ("last_attempt", ("<last_attempt>",), 0),
        ("reflexion", ("<lessons>", "<strategy>"), 2),
        ("both", PARTS, 2),
    ],
)
async def test_prompts_differ_as_the_strategy_says(strategy: Strategy, shown: tuple[str, ...], asked: int) -> None:
    """The next prompt holds what the strategy names and no more, and the Reflector is asked only where it is read."""
    model, words = ScriptedModel(["In Rome.", "In Paris.", "In Bern."]), ScriptedModel(lambda _: "Look again.")
    team = Team(
        assistant=Assistant(model=model),
        checker=Checker(model=ScriptedModel(lambda _: judged(False))),
        reflector=Reflector(model=words, strategy=strategy),
        iterations=2,
    )
    async with Mars.open(InMemoryBackend(), team=team) as mars:
        result = await mars.run(QUESTION, user="ann")
        stored = await mars.memory.list(HOME, kinds={Kind.REFLECTION})
    first, second = (str(call.messages[1].content) for call in model.calls)
    assert not [part for part in PARTS if part in first]
    assert [part for part in PARTS if part in second] == [part for part in PARTS if part in shown]
    assert (len(words.calls), len(result.reflections)) == (asked, asked)
    assert bool(stored) == bool(asked)


async def test_the_newest_three_reflections_are_shown() -> None:
    """Of five rejections the last prompt tells the newest three lessons, and one note that counts them all."""
    model = ScriptedModel([f"In {place}." for place in ("Rome", "Bern", "Lima", "Cairo", "Kyiv")])
    words = ScriptedModel([f"Lesson {number}." for number in range(5)])
    scores = iter((0.1, 0.2, 0.3, 0.4, 0.5))
    judge = ScriptedModel(lambda _: Step(structured={"approved": False, "score": next(scores), "issues": []}))
    team = Team(
        assistant=Assistant(model=model), checker=Checker(model=judge), reflector=Reflector(model=words), iterations=5
    )
    async with Mars.open(InMemoryBackend(), team=team) as mars:
        await mars.run(QUESTION, user="ann")
    last = str(model.calls[-1].messages[1].content)
    assert [number for number in range(5) if f"Lesson {number}." in last] == [1, 2, 3]
    assert last.count("<strategy>") == 1
    assert "4 rejected, 1 left." in last


async def test_the_strategy_note_is_in_the_state_and_says_what_happens() -> None:
    """It names what was rejected and the directive, and is as wide as the recall that follows."""
    team = Team(
        assistant=Assistant(model=ScriptedModel(["In Rome.", "In Bern."])),
        checker=Checker(model=ScriptedModel([judged(False), judged(True)])),
    )
    async with Mars.open(InMemoryBackend(), team=team) as mars:
        events = [event async for event in mars.stream(QUESTION, user="ann", heard=EVERYTHING)]
    (widened,) = {event.data["widened"] for event in events if event.kind is EventKind.MEMORY_READ} - {1}
    prompt = _calls(team)[1]
    assert "1 rejected (unsupported), 2 left." in prompt
    assert "Find a source." in prompt
    assert f"{widened} times as many memories are recalled" in prompt


def _calls(team: Team) -> list[str]:
    model = team.assistant.model
    assert isinstance(model, ScriptedModel)
    return [call.prompt for call in model.calls]
