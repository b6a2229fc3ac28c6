"""The report of a simulation: what it shows, what is true of it, whose words it escapes, and how a browser sees it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from mars.agents.interfaces import Evidence
from mars.cli import main
from mars.environments import Score
from mars.evaluation.reports import Origin, report_markdown, report_page
from mars.evaluation.reports.markdown import plain
from mars.evaluation.reports.measures import measured
from mars.evaluation.reports.words import VARIANTS as WORDS
from mars.evaluation.reports.words import unsure
from mars.evaluation.simulations import simulation_report
from mars.memory.presets import preset
from mars.pages.charts import Axis, Mark, Panel
from mars.simulation import arms
from mars.simulation.arms import Limits, PromptArm, Reply, spoken
from mars.simulation.census import Lapse, Notebook
from mars.simulation.config import read_config
from mars.simulation.episodes import ORACLE, WORLDS, EpisodeTask, play_episode
from mars.simulation.results import METHOD, Results, checkout
from mars.simulation.worlds import START, Cell, Question, Statement

page_module = pytest.importorskip("benchmarks.simulation_page", reason="needs the repository")
timeline_module = pytest.importorskip("benchmarks.timeline_page", reason="needs the repository")
ATTACK: str = timeline_module.ATTACK
Played = tuple[Mapping[str, Any], Mapping[str, Any]]
CONFIG = """
world = "assistant"
seeds = [1, 2]
variants = ["none", "window", "vector", "memorybank", "mars"]
concurrency = 1

[grid]
noise = [1, 3]
change = [1.0]
repeat = [0]
gap = [20]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a small simulation, played in this process."""
    made = tmp_path_factory.mktemp("small")
    (made / "small.toml").write_text(CONFIG)
    config = read_config(made / "small.toml")
    results = Results(made)
    results.note(config.plain(), None, config.tasks())
    for task in config.tasks():
        results.add(task, play_episode(task))
    results.close()
    assert main(["simulate", str(made), "--json"]) == 0
    return made


@pytest.fixture(scope="module")
def episodes(folder: Path) -> Sequence[Played]:
    """Its episodes."""
    results = Results(folder)
    noted = results.noted()
    results.close()
    assert noted is not None
    return noted.episodes


@pytest.fixture(scope="module")
def values(episodes: Sequence[Played]) -> dict[str, Any]:
    """The numbers of its report."""
    return simulation_report("assistant", episodes, exact_floor=True)


def origin(**fields: Any) -> Origin:
    """Where a report comes from."""
    return Origin(**{"name": "small", "config": {}, "method": 1, "commits": ["abc"], "version": "0", **fields})


def test_the_report_is_made_from_the_results_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a copy of the database, without its file and without playing, the very same page and text are made."""
    copy = tmp_path / folder.name
    copy.mkdir()
    (copy / "results.db").write_bytes((folder / "results.db").read_bytes())
    assert main(["simulate", str(copy), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["world"], told["cells"], told["episodes"]) == ("assistant", 2, 24)
    for name in ("report.html", "report.md"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes()


def test_the_page_is_complete_and_what_is_broken_on_purpose_is_found(folder: Path) -> None:
    """Every section, words for every chart, a table behind each, intervals around their numbers; four broken pages."""
    page = (folder / "report.html").read_text()
    assert page_module.problems(page) == []
    for name in ("intervals", "section", "script"):
        assert page_module.problems(page_module.BROKEN[name](page)), name


def test_the_numbers_on_the_page_are_the_reports(folder: Path, values: dict[str, Any]) -> None:
    """The verdict, every variant with its interval, every pair, the ends, and where it comes from."""
    page, told = ((folder / name).read_text() for name in ("report.html", "report.md"))
    claim = values["claim"]
    assert ("The claim holds" if claim["holds"] else "The claim does not hold") in page
    for name, one in values["variants"].items():
        assert f"<b>{one['success']:.3f}</b>" in page
        assert "| {} | {:.3f} ({:.3f} to {:.3f}) |".format(plain(name), one["success"], *one["ci95"]) in told
    for name in values["pairs"]:
        assert name.replace(" vs ", " against ") in page
        assert plain(name) in told
    assert f"The oracle reaches {values['oracle']:.3f}; without memory {values['memoryless']:.3f}" in page
    commit = checkout()
    assert commit is None or commit in page
    assert f"<dt>method</dt><dd>{METHOD}</dd>" in page
    assert "noise=3 change=1 repeat=0 gap=20" in page


def test_lost_cells_are_marked(values: dict[str, Any], episodes: Sequence[Played]) -> None:
    """Where MARS complete has answered nothing rightly, every cell is marked as lost, in the words and in the table."""
    lost = [(task, {**outcome, "right": 0} if task["variant"] == "mars" else outcome) for task, outcome in episodes]
    numbers = simulation_report("assistant", lost, exact_floor=True)
    page = report_page(numbers, lost, origin())
    assert page.count('<span class="mark-of lost">') == 2
    assert "2 of 2 cells are lost" in page
    assert "The claim does not hold" in page
    assert report_markdown(numbers, lost, origin()).count("**▼ ") == 2


def test_what_another_test_doubts_is_said(values: dict[str, Any], episodes: Sequence[Played]) -> None:
    """Four episodes cannot be sure by flipped signs: page and Markdown say so; one episode is called one."""
    assert [pair["episodes"] for pair in values["pairs"].values()] == [4] * len(values["pairs"])
    said = "flipping signs, which is exact then, is not sure of"
    sure = {name: {**pair, "p_holm": 0.01, "p_signs_holm": 0.01} for name, pair in values["pairs"].items()}
    doubted = {name: {**pair, "p_signs_holm": 0.125} for name, pair in sure.items()}
    two = {**values, "pairs": {**sure, **{name: doubted[name] for name in ("mars vs none", "mars vs window")}}}
    for report in (report_page(two, episodes, origin()), report_markdown(two, episodes, origin())):
        assert f"{said} mars vs none, mars vs window (p after Holm 0.125 or more)." in report
    told = unsure({**values, "pairs": doubted})
    assert f"{said} {len(doubted)} of these {len(doubted)} differences" in told
    assert unsure({**values, "pairs": sure}) == ""
    single = [(task, outcome) for task, outcome in episodes if task["seed"] == 1000][:6]
    alone = simulation_report("assistant", single, exact_floor=True)
    assert unsure(alone).startswith("Of fewer than four episodes no interval")
    assert "rests on 1 episode of each" in report_markdown(alone, single, origin())
    assert "Of 1 cell " in report_markdown(alone, single, origin())
    assert ">adds<" not in report_page(alone, single, origin())


def test_what_must_not_be_believed_says_so(values: dict[str, Any], episodes: Sequence[Played]) -> None:
    """A sabotage, a reference in the loop, a broken measurement and missing episodes are alerts at the top."""
    wrong = {**values, "problems": ["the oracle reaches 0.5"]}
    page = report_page(wrong, episodes, origin(sabotage="decay", oracle_feedback=True, missing=3))
    alerts = re.findall(r'<p class="warning" role="alert">([^<]+)</p>', page)
    assert len(alerts) == 4
    for word, alert in zip(
        ("oracle_feedback", "Sabotaged", "Unfinished: 3", "oracle reaches 0.5"), alerts, strict=True
    ):
        assert word in alert
    assert '<p class="warning"' not in report_page(values, episodes, origin())


def poisoned(value: Any) -> Any:
    """The same value with an attack in every text that somebody else wrote."""
    if isinstance(value, dict):
        kept = ("role", "kind", "event", "shape", "lapse", "cell", "variant")
        return {name: one if name in kept and isinstance(one, str) else poisoned(one) for name, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one) for one in value]
    return f"{value} {ATTACK}" if isinstance(value, str) else value


def test_no_text_becomes_markup(values: dict[str, Any], episodes: Sequence[Played]) -> None:
    """Whatever a model, a world or a configuration says is shown as it is, on the page and in Markdown."""
    attacked = [
        (
            {**task, "cell": f"{task['cell']} {ATTACK}"},
            {**outcome, **poisoned({name: outcome[name] for name in ("failures", "curves")})},
        )
        for task, outcome in episodes
    ]
    source = origin(name=ATTACK, config=poisoned({"model": "m", "cells": ["c"]}), commits=[ATTACK], sabotage=ATTACK)
    numbers = {**simulation_report("assistant", attacked, exact_floor=True), "world": ATTACK, "problems": [ATTACK]}
    page = report_page(numbers, attacked, source)
    assert page.count("&lt;/script&gt;") > 20
    assert page_module.problems(page) == ["the page loads or runs something"], "onerror= stands there as a word"
    assert not re.search(r"<(script|img|link|iframe)\b", page)
    assert not re.search(r"<[^>]*\son\w+=", page)
    told = report_markdown(numbers, attacked, source)
    assert not re.search(r"(?<!\\)<", told)


@pytest.mark.skipif(timeline_module.browser() is None, reason="no Chromium on this machine: apt-get install chromium")
def test_a_real_browser_shows_it(folder: Path, tmp_path: Path) -> None:
    """On a phone it is no wider than the phone, shows every section and is silent; what is broken is found."""
    page = (folder / "report.html").read_text()
    assert page_module.looked(folder / "report.html", tmp_path / "report.png") == []
    broken = tmp_path / "broken.html"
    both = page_module.BROKEN["wide"](page_module.BROKEN["script"](page_module.BROKEN["section"](page)))
    broken.write_text(both)
    found = page_module.looked(broken)
    for word in ("console", "pixels wide", "section grid"):
        assert any(word in one for one in found), word


# What is noted while an episode is played


def test_a_census_is_right_at_both_ends(episodes: Sequence[Played]) -> None:
    """What keeps all holds all that is needed and all that is stale; a window loses; every wrong answer is counted."""
    numbers = measured(episodes, "vector")
    assert numbers.standing["vector"]["needed"] is not None
    assert numbers.standing["vector"]["needed"].value == 1.0
    assert numbers.standing["vector"]["stale"] is not None
    assert numbers.standing["vector"]["stale"].value == 1.0
    assert numbers.standing["window"]["needed"] is not None
    assert numbers.standing["window"]["needed"].value < 0.8
    assert "none" not in numbers.standing
    assert set(numbers.calibration) == {"memorybank", "mars"}
    roles = {one["role"] for one in numbers.curves["memorybank"]["curves"]}
    assert {"true, used most", "no longer true"} <= roles
    for _, outcome in episodes:
        assert sum(outcome["lapses"].values()) == outcome["asked"] - outcome["right"]
        assert len(outcome["failures"]) == min(5, outcome["asked"] - outcome["right"])


def test_an_emptied_memory_turns_the_census_red() -> None:
    """With the memory emptied all that was needed is wrongly forgotten, and that is why answers are wrong."""
    cell = Cell(noise=1, change=1.0, repeat=0, gap=20)
    task = EpisodeTask(world="assistant", variant="fsrs", cell=cell, seed=3, sabotage="memory")
    whole, emptied = play_episode(EpisodeTask(world="assistant", variant="fsrs", cell=cell, seed=3)), play_episode(task)
    assert sum(look["needed_held"] for look in whole["census"]) == sum(look["needed"] for look in whole["census"]) > 0
    assert (
        sum(look["needed"] for look in emptied["census"]) > 0 == sum(look["needed_held"] for look in emptied["census"])
    )
    assert set(emptied["lapses"]) == {"forgotten"}


@pytest.mark.parametrize("world", WORLDS)
def test_claims_are_the_users_own(world: str) -> None:
    """Every true record is a claim of the user's, and another speaker's same words are none."""
    episode = WORLDS[world](5, Cell(noise=2, change=0.5, repeat=1, gap=20))
    for step in episode.steps():
        if isinstance(step, Question):
            for record in episode.truth(step):
                assert episode.claim(record.speaker, record.text) is not None
                assert episode.claim("Zoe", record.text) is None
            episode.mark(step, "Procedure Kilo.")


class _Held(PromptArm):
    """An arm that holds what it is given."""

    def __init__(self, held: Sequence[Evidence]) -> None:
        self._held = held

    async def held(self, at: Any) -> Sequence[Evidence]:
        """Return it."""
        return self._held


def said(text: str, days: int) -> Statement:
    """Something that the user says."""
    return Statement(at=START + timedelta(days=days), speaker="Mara", text=text)


@pytest.mark.parametrize(
    ("shown", "held", "lapse"),
    [
        (["true"], ["true"], Lapse.NOT_USED),
        (["other"], ["true", "other"], Lapse.NOT_RECALLED),
        (["other"], ["other"], Lapse.FORGOTTEN),
        ([], None, Lapse.NEVER_TOLD),
    ],
)
def test_a_wrong_answer_has_its_reason(shown: list[str], held: list[str] | None, lapse: Lapse) -> None:
    """What stood in the prompt, what was held, what had been said: each difference has its name."""
    episode = WORLDS["assistant"](7, Cell(noise=0, change=0.0, repeat=0, gap=9))
    question = next(step for step in episode.steps() if isinstance(step, Question) and episode.truth(step))
    texts = {"true": episode.truth(question)[0], "other": said("My zebra is striped.", 1)}
    notes = Notebook(episode, preset("default"))
    if held is not None:
        notes.tell(episode.truth(question))
    arm = _Held(spoken([texts[name] for name in held or ()]))
    reply = Reply(text="No idea. [m1]", tokens=1, cost=0.0, shown=tuple(spoken([texts[name] for name in shown])))
    anyio.run(notes.answered, arm, question, reply, Score(value=0.0))
    assert notes.lapses == {lapse.value: 1}
    (failure,) = notes.failures
    assert failure["lapse"] == lapse.value
    assert [one["true"] for one in failure["recalled"]] == [name == "true" for name in shown]
    assert all(one["cited"] for one in failure["recalled"])
    assert "canary" not in json.dumps(failure)


def test_a_new_variant_has_its_words() -> None:
    """Every variant is told in a few words on the page."""
    assert set(WORDS) == {*arms.VARIANTS, ORACLE}
    assert Limits().budget > 0


# What is drawn


def test_a_panel_draws_values_where_they_belong() -> None:
    """Higher is higher, further is further right, a logarithm is one, and labels lie on nothing."""
    axis = Axis(low=1, high=100, log=True)
    assert [round(axis.share(one), 3) for one in (1, 10, 100, 1000)] == [0.0, 0.5, 1.0, 1.0]
    marks = [Mark(x=10, y=0.5, title="one", label="one"), Mark(x=10, y=0.5, title="two", label="two")]
    panel = Panel(title="a & b", description="<c>", x=axis, y=Axis(low=0, high=1), marks=marks)
    (x, high), (_, low) = panel.at(10, 0.9), panel.at(10, 0.1)
    assert high < low
    assert panel.at(50, 0)[0] > x
    drawn = panel.svg()
    assert drawn == panel.svg()
    assert "a &amp; b" in drawn
    assert "&lt;c&gt;" in drawn
    placed = re.findall(r'class="label" x="([\d.]+)" y="([\d.]+)"', drawn)
    assert len(set(placed)) == 2


def test_no_label_lies_on_another_in_a_crowd() -> None:
    """Eleven variants as they lay in a world of months: near the edge, where few places are left, too."""
    lay = {
        "mars": (1530, 0.975),
        "mars-no-decay": (1500, 0.975),
        "fsrs": (320, 0.831),
        "mars-no-reflection": (1270, 0.828),
        "decay": (270, 0.822),
        "mars-no-checker": (1030, 0.820),
        "memorybank": (305, 0.764),
        "vector": (370, 0.680),
        "fifo": (250, 0.628),
        "window": (105, 0.441),
        "none": (30, 0.25),
    }
    marks = [Mark(x=x, y=y, title=name, label=name, radius=5) for name, (x, y) in lay.items()]
    x, y = Axis(low=20, high=2900, log=True), Axis(low=0.17, high=1.0)
    drawn = Panel(title="t", description="d", x=x, y=y, marks=marks, height=300, width=440).svg()
    placed = re.findall(r'class="label" x="([\d.]+)" y="([\d.]+)">([^<]+)<', drawn)
    boxes = {name: (float(x), float(x) + 6.6 * len(name), float(y)) for x, y, name in placed}
    assert set(boxes) == set(lay)
    for one, other in itertools.combinations(boxes, 2):
        (left, right, y1), (start, end, y2) = boxes[one], boxes[other]
        assert right <= start or end <= left or abs(y1 - y2) >= 11.9, (one, other)
