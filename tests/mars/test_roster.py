"""Teams chosen per task: who works, how reliable they were, and whom the draw gives the next task."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mars import Assistant, Checker, Mars, Reflector, RunResult, Team
from mars.agents.reliability import choose, reliability, succeeded
from mars.agents.verifiers import CallableVerifier
from mars.errors import InvalidSetting
from mars.persistence.reliability import Reliability, Tally, Task
from mars.testing import FixedClock, InMemoryBackend, ScriptedModel, Step

pytestmark = pytest.mark.anyio


def yes_only() -> Checker:
    """Return a Checker that approves what says yes."""
    verifier = CallableVerifier(lambda review: "yes" in review.draft, decisive=True)
    return Checker(verifiers=(verifier,), evidence_rules=False)


def saying(words: str, name: str = "assistant", **options: Any) -> Team:
    """Return a team whose Assistant always says the same; only what says yes is approved."""
    checker = yes_only()
    assistant = Assistant(name=name, model=ScriptedModel(lambda _: words))
    return Team(assistant=assistant, checker=checker, **{"iterations": 1, **options})


TEAMS = {"good": saying("yes", "good"), "bad": saying("no", "bad")}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{tmp_path / 'life.db'}"


async def asked(mars: Mars, number: int = 0, **options: Any) -> RunResult:
    """Run one task."""
    return await mars.run(f"Is it so, {number}?", user="ann", **options)


async def test_each_run_names_its_team() -> None:
    """One `Mars` works with several teams, each with its own prompt and model; unnamed is the usual one."""
    async with Mars.open(InMemoryBackend(), team=saying("perhaps"), teams=TEAMS) as mars:
        answers = [(await asked(mars, team=team)).answer for team in (None, "good", "bad")]
    assert answers == ["perhaps", "yes", "no"]


async def test_an_unknown_team_is_refused_before_anything_happens() -> None:
    """The message names those that there are."""
    async with Mars.open(InMemoryBackend(), teams=TEAMS) as mars:
        for wrong in ("best", ["good", "best"]):
            with pytest.raises(InvalidSetting, match=r"'best'.*bad, good"):
                await asked(mars, team=wrong)
        with pytest.raises(InvalidSetting, match="names nobody"):
            await asked(mars, team=[])
        assert await mars.memory.list(namespace_prefix=("ann",)) == []
    with pytest.raises(InvalidSetting, match="needs a name"):
        Mars.open(InMemoryBackend(), teams={" ": Team()})


async def test_teams_come_from_a_file(tmp_path: Path) -> None:
    """A path stands for the teams in it, and a tool that nobody has is refused when `Mars` is opened."""
    path = tmp_path / "teams.toml"
    path.write_text("[teams.quick]\niterations = 1\n[teams.able.assistant]\ntools = ['look']\n")
    with pytest.raises(InvalidSetting, match="no tool look"):
        async with Mars.open(InMemoryBackend(), teams=path):
            pass

    def look() -> str:
        """Look."""
        return "nothing"

    model = ScriptedModel(lambda _: "Not known.")
    async with Mars.open(InMemoryBackend(), model=model, teams=path, tools=[look]) as mars:
        await asked(mars, team="quick")
        await asked(mars, team="able")
    assert sum(call.tools == ("look",) for call in model.calls) >= 2


async def test_an_assistant_has_its_own_tools() -> None:
    """Of the tools that `Mars` has, a team's Assistant is bound to those that it names."""

    def look() -> str:
        """Look."""
        return "nothing"

    def put() -> str:
        """Put."""
        return "done"

    models = {tools: ScriptedModel(lambda _: "Not known.") for tools in (None, (), ("put",))}
    teams = {str(tools): Team(assistant=Assistant(model=model, tools=tools)) for tools, model in models.items()}
    async with Mars.open(InMemoryBackend(), tools=[look, put], teams=teams) as mars:
        for name in teams:
            await asked(mars, team=name)
    assert [model.calls[0].tools for model in models.values()] == [("look", "put"), (), ("put",)]


async def test_a_resumed_turn_goes_on_with_its_team(url: str) -> None:
    """The name is in the state; a `Mars` that has no such team says so and leaves the turn as it is."""
    hanging = asyncio.Event()

    def hang(_: Any) -> Step:
        hanging.set()
        return Step(text="never heard", delay=0.5)

    slow = Team(assistant=Assistant(name="slow", model=ScriptedModel(hang)), without=frozenset({"checker"}))
    async with Mars.open(url, teams={"slow": slow}) as mars:
        task = asyncio.ensure_future(asked(mars, team="slow", conversation="c"))
        while not hanging.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    async with Mars.open(url, team=saying("usual")) as mars:
        with pytest.raises(InvalidSetting, match=r"conversation 'c' goes on with .* no team 'slow'.*on_unfinished"):
            await mars.resume("c")
        assert len(await mars.calls.ledger.calls("c", (await mars.unfinished())[0].turn or "")) == 1
    quick = Team(assistant=Assistant(model=ScriptedModel(lambda _: "from slow")), without=frozenset({"checker"}))
    async with Mars.open(url, team=saying("usual"), teams={"slow": quick}) as mars:
        assert (await mars.resume("c")).answer == "from slow"


# Reliability


def test_the_weight_is_cmats() -> None:
    """(successes + 1) / (tasks + 2): one half for the unknown, never 0 and never 1."""
    assert [reliability(*pair) for pair in ((0, 0), (1, 1), (0, 1), (3, 4))] == [1 / 2, 2 / 3, 1 / 3, 4 / 6]
    with pytest.raises(ValueError, match="successes"):
        reliability(2, 1)


@pytest.mark.parametrize(
    ("status", "approved", "answer", "expected"),
    [
        ("completed", True, "In Oslo.", True),
        ("completed", True, "Noted.", None),
        ("completed", False, "Not known.", None),
        ("iteration_limit", False, "x", False),
        ("no_progress", False, "x", False),
        ("invalid_format", False, "x", False),
        ("invalid_action", False, "", False),
        ("task_error", False, "", False),
        ("budget_exhausted", False, "x", None),
        ("cancelled", False, "", None),
        ("waiting", False, "", None),
        ("context_limit", False, "", None),
    ],
)
def test_what_counts_as_a_success(status: str, approved: bool, answer: str, expected: bool | None) -> None:
    """Every end of a turn is a success, a failure, or says nothing about who worked on it."""
    assert succeeded(status, approved, answer) is expected


async def test_tasks_are_counted_per_agent_and_model_and_outlive_the_process(url: str) -> None:
    """Each turn counts once; a Reflector's where it reflected; both are there when the store is opened again."""
    model = ScriptedModel(["no", "yes", "no", "no, never", "yes"])
    checker = yes_only()
    team = Team(assistant=Assistant(model=model), checker=checker, reflector=Reflector(), iterations=2)
    async with Mars.open(url, team=team) as mars:
        for number in range(3):
            await asked(mars, number)
    async with Mars.open(url, team=team) as mars:
        assert await mars.roster.reliability.tallies() == [
            Tally("assistant", "assistant", "mars-scripted", 3, 2),
            Tally("reflector", "reflector", "rules", 2, 1),
        ]
        assert await mars.roster.weights() == {"": reliability(2, 3)}


@pytest.mark.parametrize("stored", [True, False])
async def test_a_turn_counts_once(url: str, stored: bool) -> None:
    """What is noted again, with whatever outcome, changes nothing; in a database as without one."""
    task = Task("turn", "assistant", "a", "m", True)
    async with Mars.open(url if stored else InMemoryBackend()) as mars:
        for again in (task, task._replace(success=False), task._replace(agent="b")):
            await mars.roster.reliability.note([again])
        assert await mars.roster.reliability.tallies() == [Tally("assistant", "a", "m", 1, 1)]


async def test_an_ablation_tells_of_nobody() -> None:
    """A team with something switched off writes no row about its agents."""
    async with Mars.open(InMemoryBackend(), team=saying("yes", without=frozenset({"reflection"}))) as mars:
        await asked(mars)
        assert await mars.roster.reliability.tallies() == []


async def test_the_draw_follows_the_weights_and_the_seed(url: str, clock: FixedClock) -> None:
    """Who succeeded is drawn more often; the same seed, history and task give the same team, another seed others."""
    async with Mars.open(url, teams=TEAMS, clock=clock) as mars:
        for number in range(8):
            for name in TEAMS:
                await asked(mars, number, team=name)
        assert await mars.roster.weights() == {"": 0.5, "good": 9 / 10, "bad": 1 / 10}
        marks = [str(number) for number in range(400)]
        drawn = [await mars.roster.choose(["good", "bad"], mark) for mark in marks]
        assert drawn == [await mars.roster.choose(["good", "bad"], mark) for mark in marks]
        answer = (await asked(mars, team=["good", "bad"])).answer
    assert 330 <= Counter(drawn)["good"] <= 390
    async with Mars.open(url, teams=TEAMS, clock=clock, route_seed="other") as mars:
        assert drawn != [await mars.roster.choose(["good", "bad"], mark) for mark in marks]
    assert answer in ("yes", "no")


@given(st.dictionaries(st.text(), st.floats(0.01, 0.99), min_size=1), st.integers() | st.text(), st.text())
def test_the_draw_is_a_function(weights: dict[str, float], seed: int | str, turn: str) -> None:
    """Some candidate is drawn, whatever the numbers, and always the same one."""
    names = sorted(weights)
    drawn = choose(names, weights, seed, turn)
    assert drawn in weights
    assert choose(names, weights, seed, turn) == drawn


async def test_reliability_without_a_database_lives_in_the_object() -> None:
    """Nothing is shared between two objects."""
    one, other = Reliability(), Reliability()
    await one.note([Task("t", "assistant", "a", "m", False)])
    assert (len(await one.tallies()), await other.tallies()) == (1, [])
