"""`mars eval change`: a store under change keeps its rules, and each suite shows what is broken on purpose."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from mars.cli import main
from mars.errors import InvalidSetting
from mars.evaluation.change import SUITES, ChangeReport, evaluate_change, presets_compared
from mars.evaluation.change_cases import START, days
from mars.evaluation.change_facts import Telling, drawn_tellings, so_at
from mars.memory.presets import PRESETS

CASES = {"update": 100, "as-of": 200, "decay": 60, "loops": 60}
"""So many cases here; the bars have two hundred of each."""
DEFAULT = {"default": PRESETS["default"]}


async def played(suite: str, sabotage: str | None = None, cases: int = 20, turns: int = 300) -> dict[str, Any]:
    """What one suite finds under the default preset."""
    report = await evaluate_change(DEFAULT, [suite], cases=cases, turns=turns, sabotage=sabotage)
    values: dict[str, Any] = report.as_dict()["presets"]["default"][suite]
    return values


@pytest.mark.anyio
@pytest.mark.parametrize("suite", ["update", "as-of", "decay", "loops"])
async def test_no_case_breaks_a_rule(suite: str) -> None:
    """Many drawn cases of a suite, and none that breaks its rule under the default preset."""
    found = await played(suite, cases=CASES[suite])
    assert (found["cases"], found["violations"], found["examples"]) == (CASES[suite], 0, [])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("suite", "sabotage"),
    [("update", "superseding"), ("as-of", "dates"), ("decay", "strength"), ("loops", "loops")],
)
async def test_what_is_broken_shows(suite: str, sabotage: str) -> None:
    """Each suite turns red where what it measures is broken, and says in words what it saw."""
    found = await played(suite, sabotage, cases=24)
    assert found["violations"] >= 8
    assert found["examples"]


@pytest.mark.anyio
async def test_junk_goes_and_what_is_needed_stays() -> None:
    """Over three years the needed things are all there and found; a part of the junk is merged or archived."""
    found = await played("junk")
    assert (found["cases"], found["violations"]) == (24, 0)
    assert found["answered"] >= 0.99
    assert found["merged"] > 0.0
    assert found["archived"] > 0.3
    assert [look["turns"] for look in found["looks"]] == [30 * place for place in range(1, 11)]
    assert found["looks"][-1]["live"] < found["looks"][-1]["records"]


@pytest.mark.anyio
async def test_junk_stays_without_forgetting_and_needed_things_go_without_uses() -> None:
    """Without decay nothing is archived; without uses what is needed is, as the junk."""
    assert (await played("junk", "forgetting", turns=100))["archived"] == 0.0
    assert (await played("junk", "uses", turns=100))["violations"] >= 10


@pytest.mark.anyio
async def test_the_same_seed_gives_the_same_report() -> None:
    """Two plays of one seed are equal, milliseconds apart; another seed draws other cases."""
    once, again = [await evaluate_change(DEFAULT, ["decay", "update"], cases=6, seed=3) for _ in range(2)]
    assert once == again
    other = await evaluate_change(DEFAULT, ["decay", "update"], cases=6, seed=4)
    assert other.outcomes != once.outcomes


@pytest.mark.anyio
async def test_presets_are_compared() -> None:
    """Every named preset is compared; under the papers' own, what is needed is gone within days."""
    assert list(presets_compared()) == [*PRESETS, "no decay"]
    report: ChangeReport = await evaluate_change({"paper": "paper"}, ["junk"], turns=100)
    assert report.as_dict()["presets"]["paper"]["junk"]["violations"] == 24


def test_the_truth_is_the_latest_beginning() -> None:
    """What holds begins last of what was known; told late, it did not hold before it was known."""
    rome = Telling(value="Rome", holds=START, told=START)
    oslo = Telling(value="Oslo", holds=START + days(5), told=START + days(9))
    bern = Telling(value="Bern", holds=START + days(7), told=START + days(7))
    told = [rome, bern, oslo]
    assert so_at(told, START + days(6), START + days(30)) == "Oslo"
    assert so_at(told, START + days(6), START + days(8)) == "Rome"
    assert so_at(told, START + days(8), START + days(8)) == "Bern"
    assert so_at(told, START - days(1), START + days(8)) is None
    assert so_at([rome, replace(bern, holds=START)], START, START + days(8)) == "Bern"


def test_tellings_are_in_the_order_of_telling() -> None:
    """Cases tell values as the store learns them: some of them late, repeated, or of an earlier beginning."""
    draw = random.Random(1)
    late = [drawn_tellings(draw, late=True) for _ in range(50)]
    assert all([one.told for one in case] == sorted(one.told for one in case) for case in late)
    assert any([one.holds for one in case] != sorted(one.holds for one in case) for case in late)
    assert all(one.holds <= one.told for case in late for one in case)
    in_order = [[one.value for one in sorted(case, key=lambda one: one.holds)] for case in late]
    assert any(len(set(values)) < len(values) for values in in_order)
    assert any(
        place and case[-1].holds < min(one.holds for one in case[:place] if one.value == case[-1].value)
        for case in late
        if (place := len(case) - 1) and case[-1].value in {one.value for one in case[:place]}
    )


@pytest.mark.anyio
async def test_what_is_known_now_is_told_whatever_was_repeated_or_corrected() -> None:
    """By what is known now each question with an answer gets it, by what was known then nearly each; none is wrong."""
    found = await played("as-of", cases=100)
    assert (found["violations"], found["told"]) == (0, 1.0)
    assert found["told_then"] >= 0.95


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wrong",
    [{"suites": ["speed"]}, {"suites": []}, {"cases": 0}, {"turns": 5}, {"sabotage": "luck"}, {"presets": {"x": "x"}}],
)
async def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """An unknown suite, preset or sabotage, and counts out of range, are refused by name before anything is played."""
    with pytest.raises(InvalidSetting):
        await evaluate_change(**{"presets": DEFAULT, **wrong})


def test_command(capfd: pytest.CaptureFixture[str]) -> None:
    """The command prints a row for each preset, and one line of JSON with the promised keys."""
    few = ["eval", "change", "--cases", "3", "--turns", "100"]
    assert main([*few, "--suite", "as-of", "--preset", "no decay", "--preset", "paper"]) == 0
    printed = capfd.readouterr().out
    assert "no decay" in printed
    assert "told then" in printed
    assert main([*few, "--preset", "default", "--json"]) == 0
    values = json.loads(capfd.readouterr().out)
    assert values.keys() == {"seed", "sabotage", "presets", "violations", "seconds"}
    assert list(values["presets"]["default"]) == list(SUITES)
    assert values["violations"] == {"default": 0}
    assert main([*few, "--suite", "speed"]) == 2
    assert "the suites are update" in capfd.readouterr().err
