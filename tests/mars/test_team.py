"""Teams as data: read from files, refused with the place and the remedy, and given back unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mars import Assistant, Checker, Reflector, Team
from mars.agents.prompts import Prompt
from mars.agents.roles import STRATEGIES, Summariser
from mars.agents.verifiers import RegexVerifier
from mars.errors import InvalidFile, InvalidSetting
from mars.persistence.budgets import Budget, Budgets
from mars.team import SWITCHES, read_teams
from mars.testing import ScriptedModel

TWO = """
[teams.quick]
iterations = 1
floor = 0

[teams.careful]
k = 12
without = ["decay"]
assistant = { name = "analyst", model = "openai:gpt-4o", tools = ["search"], prompt = "You answer.", max_actions = 5 }
checker = { model = "ollama:small", evidence_rules = true, action_prompt = { name = "guard", version = 7, text = "…" } }
reflector = { strategy = "both", keep = 2 }
"""


def written(folder: Path, text: str, name: str = "teams.toml") -> Path:
    """Write a file and return it."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_holds_several_teams(tmp_path: Path) -> None:
    """Each role has its own prompt, model and tools; what is left out is as usual."""
    teams = read_teams(written(tmp_path, TWO))
    careful = teams["careful"]
    assert teams["quick"] == Team(iterations=1, floor=0.0)
    assert (careful.k, careful.without, careful.iterations) == (12, frozenset({"decay"}), 3)
    assert careful.assistant == Assistant(
        name="analyst",
        model="openai:gpt-4o",
        tools=("search",),
        max_actions=5,
        prompt=Prompt(name="assistant_prompt", version=1, text="You answer."),
    )
    assert careful.checker.model == "ollama:small"
    assert careful.checker.action_prompt == Prompt(name="guard", version=7, text="…")
    assert careful.reflector == Reflector(strategy="both", keep=2)


def test_a_file_may_hold_one_team_as_json(tmp_path: Path) -> None:
    """The file's name is the team's; of several a name must be given."""
    path = written(tmp_path, json.dumps({"iterations": 2}), "quick.json")
    assert read_teams(path) == {"quick": Team(iterations=2)}
    assert Team.from_file(path) == Team(iterations=2)
    several = written(tmp_path, TWO)
    assert Team.from_file(several, "quick") == Team(iterations=1, floor=0.0)
    for name in (None, "slow"):
        with pytest.raises(InvalidSetting, match="quick, careful"):
            Team.from_file(several, name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("iteration = 3", "there is no 'iteration'; known are assistant, checker"),
        ("assistant = { modle = 'x' }", "there is no 'modle'; known are name, prompt, model, max_actions, tools"),
        ("checker = { verifiers = ['x'] }", "verifiers are code: give them to Mars.open()"),
        ("checker = { prompt = { name = 'x', version = 1, text = 't', extra = 1 } }", "there is no 'extra'"),
        ("iterations = 'three'", "iterations: Input should be a valid integer"),
        ("iterations = true", "iterations: Input should be a valid integer"),
        ("iterations = 0", "iterations must be 1 or more"),
        ("floor = 2.0", "floor must lie in [0, 1]"),
        ("window = -1", "window must be 0 or more"),
        ("reflector = { strategy = 'hope' }", "strategy must be one of none, last_attempt, reflexion, both"),
        ("assistant = { tools = 'search' }", "assistant.tools: Input should be a valid list"),
        ("without = ['sleep']", "without knows checker, reflection, memory, decay; got sleep"),
        ("budget = { call = 3 }", "budget: there is no 'call'; known are calls, tokens"),
        ("budget = { turn = { calls = -1 } }", "a budget's calls must be 0 or more"),
        ("budget = { turn = { calls = 1 }, calls = 2 }", "budget: there is no 'calls'; known are turn"),
        ("budget = { roles = { checker = { cost = 'x' } } }", "budget.roles.checker: cost: Input should be"),
        ("teams = {}", "`teams` maps names to teams"),
        ("k = 3\n[teams.a]\nk = 2", "nothing stands beside it"),
        ("teams = { a = 3 }", "teams.a: a team: Input should be"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    """The message holds the file, the key and what is allowed."""
    path = written(tmp_path, text)
    with pytest.raises(InvalidSetting) as caught:
        read_teams(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"), [("t.toml", "= 3"), ("t.json", "{"), ("t.json", "[]"), ("t.toml", '{"k": 1}')]
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """What is no TOML or JSON object is a bad file, and so is one that is not there."""
    with pytest.raises(InvalidFile, match=name):
        read_teams(written(tmp_path, text, name))
    with pytest.raises(InvalidFile, match="nowhere"):
        read_teams(tmp_path / "nowhere.toml")


ROLE: dict[str, st.SearchStrategy[Any]] = {
    "name": st.text(min_size=1),
    "prompt": st.builds(Prompt, name=st.text(min_size=1), version=st.integers(), text=st.text()),
    "model": st.none() | st.text(min_size=1),
}
BUDGET = st.builds(
    Budget, calls=st.none() | st.integers(0, 9), cost=st.none() | st.floats(0, 9), last_call=st.booleans()
)
BUDGETS = st.builds(
    Budgets, turn=st.none() | BUDGET, user=st.none() | BUDGET, roles=st.dictionaries(st.text(), BUDGET, max_size=2)
)
TEAMS = st.builds(
    Team,
    budget=st.none() | BUDGET | BUDGETS,
    assistant=st.builds(
        Assistant,
        **ROLE,
        max_actions=st.integers(0, 20),
        tools=st.none() | st.lists(st.text()).map(tuple),
    ),
    checker=st.builds(Checker, **ROLE, evidence_rules=st.none() | st.booleans()),
    reflector=st.builds(Reflector, **ROLE, strategy=st.sampled_from(STRATEGIES), keep=st.integers(1, 9)),
    summariser=st.builds(Summariser, **ROLE),
    iterations=st.integers(1, 9),
    k=st.integers(1, 99),
    floor=st.floats(0, 1),
    window=st.integers(0, 9),
    remember=st.booleans(),
    keep_prompts=st.booleans(),
    without=st.frozensets(st.sampled_from(SWITCHES)),
)


@given(TEAMS)
def test_a_team_comes_back_from_its_plain_values(team: Team) -> None:
    """Through JSON nothing is lost, whatever the words."""
    assert Team.from_plain(json.loads(json.dumps(team.plain()))) == team


def test_code_is_no_data() -> None:
    """A model that is an object, or a verifier, cannot be written down, and the message says what can."""
    for role in (
        {"assistant": Assistant(model=ScriptedModel([]))},
        {"checker": Checker(verifiers=(RegexVerifier("x"),))},
    ):
        with pytest.raises(InvalidSetting, match="is code"):
            replace(Team(), **role).plain()
