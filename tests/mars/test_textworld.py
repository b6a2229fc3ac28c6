"""`mars eval textworld`: games by TextWorld through the whole loop; they run where the extra ``textworld`` is."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage, ToolMessage

from mars.cli import main
from mars.environments.textworld import CommandVerifier, Game, TextWorld, make_games, textworld_team
from mars.errors import InvalidSetting, MissingExtra
from mars.models.game_rules import GameRulesModel

played = pytest.mark.skipif(find_spec("textworld") is None, reason="TextWorld is not here: install the extra textworld")
pytestmark = pytest.mark.filterwarnings("ignore:Game .* is not fully supported")  # says its interpreter, of all games
GAME = Game(name="Ashford 10", path=Path("no such file.z8"), walkthrough=("open door",))
TASK = 'Play the game "Ashford 10", try 1. The milk is missing.\nA room.\nPoints: 0.\nYou can: {listed}.'


def prompt(listed: str, *memories: str) -> list[HumanMessage | ToolMessage]:
    """Return the prompt of a try's first command."""
    known = "\n".join(json.dumps({"id": f"m{place}", "text": text}) for place, text in enumerate(memories, start=1))
    task = json.dumps({"text": TASK.format(listed=listed), "user": "player"})
    return [HumanMessage(f"<memories>\n{known}\n</memories>\n<task>\n{task}\n</task>")]


def command(*prompts: HumanMessage | ToolMessage) -> str:
    """Return the command that the rules give."""
    reply = GameRulesModel().invoke(list(prompts))
    return str(reply.tool_calls[0]["args"]["command"]) if reply.tool_calls else reply.text


def test_the_rules_do_what_scored_in_this_game_and_not_what_lost_it() -> None:
    """What a memory has of this very game decides; what it has of another does not."""
    listed = "eat milk; look; open door; open chest"
    assert command(*prompt(listed)) == "eat milk"  # it shares a word with the task
    lost = 'In the game "Ashford 10" These lose it: eat milk.'
    assert command(*prompt(listed, lost)) in {"open door", "open chest"}
    assert command(*prompt(listed, lost.replace("10", "11"))) == "eat milk"
    line = 'In the game "Ashford 10" these commands, in this order, score 2 points: open chest; take key.'
    assert command(*prompt(listed, lost, line)) == "open chest"
    assert command(*prompt(listed, line.replace("10", "11"))) == "eat milk"
    assert command(*prompt(listed, f"{line} These lose it: open chest.")) == "open chest"  # what scored goes first


def test_the_rules_end_with_the_game_and_give_up_without_commands() -> None:
    """A game that says it is over is done; without commands left they say so."""
    over = ToolMessage("You put the milk on the stove. *** The End ***\nPoints: 3.", tool_call_id="c1")
    assert command(*prompt("look"), over) == "Done."
    refused = ToolMessage("Not run: at most 50 actions", tool_call_id="c2", status="error")
    assert command(*prompt("look"), refused) == "Not known."


def test_bad_settings_are_told_before_anything_is_played() -> None:
    """No game, two of a name and no try are refused, and no solution is shown."""
    with pytest.raises(InvalidSetting, match="one game or more"):
        TextWorld([])
    with pytest.raises(InvalidSetting, match="name of its own"):
        TextWorld([GAME, GAME])
    with pytest.raises(InvalidSetting, match="tries must be 1"):
        TextWorld([GAME], tries=0)
    assert "walkthrough" not in repr(GAME)
    assert textworld_team().iterations == 1


@pytest.mark.skipif(find_spec("textworld") is not None, reason="TextWorld is here")
def test_without_the_extra_the_remedy_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the extra, in Python and on the command line."""
    with pytest.raises(MissingExtra, match=r"mars-runtime\[textworld\]"):
        make_games(tmp_path, [1])
    assert main(["eval", "textworld", "--json"]) != 0
    assert "mars-runtime[textworld]" in capsys.readouterr().err


@played
def test_only_commands_that_the_game_takes_run_and_what_scored_is_found_out(tmp_path: Path) -> None:
    """A real game takes its walkthrough, and each new point is a discovery, told once."""
    (game,) = make_games(tmp_path, [3])
    world = TextWorld([game], tries=1)
    assert isinstance(world.verifiers[0], CommandVerifier)
    world._begin()
    assert game.walkthrough[0] in world.admissible
    assert "Points: 1." in world.step(game.walkthrough[0])
    (found,) = world.discoveries(("games",))
    assert found.text.endswith(f"score 1 points: {game.walkthrough[0]}.")
    assert world.discoveries(("games",)) == []
    for one in game.walkthrough[1:]:
        told = world.step(one)
    assert "*** The End ***" in told
    assert world.admissible == ()


@played
@pytest.mark.parametrize(("sabotage", "oracle"), [(None, 1.0), ("scorer", 0.0)])
def test_the_oracle_wins_unless_the_scorer_is_broken(
    sabotage: str | None, oracle: float, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The walkthroughs win every game; a scorer that looks at another game turns that red."""
    asked = ["eval", "textworld", "--games", "2", "--tries", "2", "--folder", str(tmp_path), "--json"]
    assert main([*asked, *(["--sabotage", sabotage] if sabotage else [])]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["oracle"] == oracle
    assert bool(values["problems"]) == (oracle < 1)
    if oracle:
        assert values["variants"]["mars"]["by_try"][0] == values["variants"]["none"]["by_try"][0]
        assert values["pairs"]["mars vs none"]["episodes"] == 2


@played
def test_without_what_was_discovered_memory_is_worth_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With its discoveries thrown away, the whole loop scores as one without memory."""
    main(
        [
            "eval",
            "textworld",
            "--games",
            "2",
            "--tries",
            "2",
            "--folder",
            str(tmp_path),
            "--sabotage",
            "memory",
            "--json",
        ]
    )
    values = json.loads(capsys.readouterr().out)
    assert values["pairs"]["mars vs none"]["delta"] == 0.0
