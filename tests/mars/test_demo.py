"""The demo's lives, lived through the real runtime: what is corrected, what stands, what fades, what is printed."""

from __future__ import annotations

import ast
import importlib
import json
import multiprocessing
import runpy
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

import anyio
import pytest

from mars.agents.roles import Checker
from mars.agents.verifiers import CallableVerifier
from mars.cli import main
from mars.errors import InvalidSetting
from mars.memory.interfaces import Status, Tier
from mars.simulation.life import DAYS, Act, Part, draw_life
from mars.simulation.picture import draw_picture
from mars.simulation.report import lived, report
from mars.simulation.story import Answered, Faded, Moment, Story, live
from mars.team import Team

ROOT = Path(__file__).resolve().parents[2]
JUDGES = ROOT / "benchmarks" / "demo_seeds.py"
SEEDS = range(1, 21)
SEED = 10
ENOUGH = 16
"""Of so many seeds the loop must correct the wrong answer, of 20."""

Report = dict[str, Any]
judged = pytest.mark.skipif(not JUDGES.exists(), reason="needs the repository")


def judge(name: str) -> Callable[[Report], bool]:
    """Return what the benchmark says of a report under this name; the demo itself compares nothing."""
    check: Callable[[Report], bool] = runpy.run_path(str(JUDGES))[name]
    return check


def story_of(seed: int, *without: str, team: Team | None = None, store: str = "memory:") -> Story:
    """Live the life of a seed and return the story."""
    return anyio.run(lambda: live(draw_life(seed), without=without, team=team, store=store))


@pytest.fixture(scope="module")
def lives() -> Iterable[dict[str, list[Report]]]:
    """The reports of seeds 1 to 20, with everything, without the Checker and without decay."""
    context = multiprocessing.get_context("spawn")
    variants: dict[str, tuple[str, ...]] = {"full": (), "unchecked": ("checker",), "undecayed": ("decay",)}
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield {name: list(pool.map(lived, SEEDS, repeat(off))) for name, off in variants.items()}


@pytest.fixture(scope="module")
def story() -> Story:
    """The life of one seed, with everything."""
    return story_of(SEED)


@judged
def test_every_seed_is_lived_to_its_end(lives: dict[str, list[Report]]) -> None:
    """All seeds complete 60 days without a failed turn, whatever is switched off."""
    for reports in lives.values():
        assert [one["seed"] for one in reports if not judge("complete")(one)] == []


@judged
def test_the_wrong_first_answer_is_corrected(lives: dict[str, list[Report]]) -> None:
    """In at least 16 of 20 lives the first draft is wrong, rejected, reflected on, and the answer right."""
    assert sum(map(judge("corrected"), lives["full"])) >= ENOUGH


@judged
def test_a_lesson_helps_the_next_time(lives: dict[str, list[Report]]) -> None:
    """In at least 16 of 20 lives the same question, asked again, recalls the lesson and is answered right at once."""
    assert sum(map(judge("right_at_once"), lives["full"])) >= ENOUGH


@judged
def test_without_the_checker_the_wrong_answer_stands(lives: dict[str, list[Report]]) -> None:
    """Without the Checker the wrong answer leaves in at least 16 of 20 lives, and nothing is approved."""
    assert sum(map(judge("wrong_stands"), lives["unchecked"])) >= ENOUGH
    assert not any(asked["approved"] for one in lives["unchecked"] for asked in one["asked"])


@judged
def test_what_nobody_used_is_forgotten_and_what_was_used_is_not(lives: dict[str, list[Report]]) -> None:
    """The faded fact is not answered at the end, the one told on the same day and used now and then is."""
    assert [one["seed"] for one in lives["full"] if judge("recalls_faded")(one)] == []
    assert [one["seed"] for one in lives["full"] if not judge("keeps_used")(one)] == []


@judged
def test_without_decay_the_faded_fact_is_recalled(lives: dict[str, list[Report]]) -> None:
    """Without decay the same question is answered, and nothing is forgotten."""
    assert [one["seed"] for one in lives["undecayed"] if not judge("recalls_faded")(one)] == []
    assert not any(one["forgotten"] for one in lives["undecayed"])


@judged
def test_a_checker_that_approves_everything_corrects_nothing() -> None:
    """Sabotage: with a Checker that approves whatever it sees, no life is corrected."""
    yes = CallableVerifier(lambda review: True, decisive=True)
    team = Team(checker=Checker(verifiers=(yes,), evidence_rules=False))
    found = [report(story_of(seed, team=team)) for seed in (2, 20)]
    assert not any(map(judge("corrected"), found))
    assert all(map(judge("wrong_stands"), found))


def test_the_same_seed_gives_the_same_report_on_every_store(tmp_path: Path, story: Story) -> None:
    """Two runs of a seed agree in everything but the seconds, one in memory and one in a SQLite file."""
    reports = [report(story), lived(SEED, (), f"sqlite:///{tmp_path}/life.db")]
    for one in reports:
        del one["seconds"]
    assert reports[0] == reports[1]


def test_without_reflection_there_are_no_lessons() -> None:
    """Without the Reflector no lesson is drawn, stored or recalled."""
    found = report(story_of(SEED, "reflection"))
    assert all(not asked["reflections"] and not asked["lessons_recalled"] for asked in found["asked"])


def test_without_memory_nothing_is_known_and_nothing_is_stored() -> None:
    """Without memory no answer has a source, and no record is written."""
    story = story_of(SEED, "memory")
    assert story.traces == ()
    assert all(not answered.result.sources and not answered.result.approved for answered in story.answered)


def test_an_unknown_switch_is_refused() -> None:
    """Only checker, reflection, memory and decay can be switched off."""
    with pytest.raises(InvalidSetting, match="gravity"):
        story_of(1, "gravity")


def test_a_store_that_knows_the_user_is_refused(tmp_path: Path) -> None:
    """A life is not lived over what is left of an earlier one: nothing is written then."""
    store = f"sqlite:///{tmp_path}/life.db"
    story_of(SEED, store=store)
    before = (tmp_path / "life.db").read_bytes()
    with pytest.raises(InvalidSetting, match="holds records of Mara already"):
        story_of(SEED, store=store)
    assert (tmp_path / "life.db").read_bytes() == before


def test_a_watcher_sees_what_the_story_holds() -> None:
    """Every turn, answer and forgotten memory is told to the watcher as it happens, in order."""
    seen: list[Moment] = []
    story = anyio.run(lambda: live(draw_life(SEED), store="memory:", watch=seen.append))
    assert [one for one in seen if isinstance(one, Answered)] == list(story.answered)
    assert [one for one in seen if isinstance(one, Faded)] == list(story.faded)
    said = [one for one in seen if not isinstance(one, Answered | Faded)]
    assert said == [turn for turn in story.life.turns if turn.act is not Act.ASKS]


def test_curves_follow_the_uses(story: Story) -> None:
    """Each use by an approved answer lifts retention to 1 and adds the base; blame halves the strength."""
    steps = [
        (before, after) for trace in story.traces for before, after in zip(trace.steps, trace.steps[1:], strict=False)
    ]
    assert {after.mark for _, after in steps} == {"used", "blamed"}
    for trace in story.traces:
        assert trace.retention_at(story.life.start, story.rules) is None
        for step in trace.steps:
            if step.mark == "used":
                assert trace.retention_at(step.at, story.rules) == pytest.approx(1.0)
    for before, after in steps:
        if after.mark == "used":
            assert after.strength == pytest.approx(before.strength + 7.0)
        else:
            assert after.strength == pytest.approx(before.strength / 2.0)


def test_what_is_forgotten_crossed_its_threshold(story: Story) -> None:
    """A memory is forgotten exactly where its curve falls below θ2, and is archived by the next sweep."""
    for trace in story.traces:
        assert (trace.crossed is not None) == (trace.tier is Tier.FORGOTTEN)
        if trace.crossed is not None:
            assert trace.record.status is Status.ARCHIVED
            left = trace.retention_at(trace.crossed, story.rules)
            before = trace.retention_at(trace.crossed - timedelta(seconds=1), story.rules)
            assert left is not None
            assert before is not None
            assert left <= story.rules.tiers.theta2 + 1e-9 < before


def png_size(path: Path) -> tuple[int, int]:
    """Return width and height of a PNG file."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


@pytest.mark.parametrize("without", [(), ("decay",), ("memory",)])
def test_the_picture_is_a_png(tmp_path: Path, without: tuple[str, ...]) -> None:
    """The picture is a PNG of 1200 by 700 pixels and under 200 KB, whatever was switched off."""
    path = draw_picture(story_of(SEED, *without), tmp_path / "new" / "curves.png")
    assert png_size(path) == (1200, 700)
    assert path.stat().st_size < 200_000


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``mars demo --json`` prints one object on stdout, with stable keys, and draws the picture it names."""
    path = tmp_path / "curves.png"
    assert main(["demo", "--seed", "10", "--json", "--db", "memory:", "--picture", str(path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    keys = {"seed", "user", "preset", "without", "days", "start", "told", "asked", "forgotten", "kept", "memories"}
    assert set(printed) == keys | {"seconds", "picture"}
    assert (printed["seed"], printed["days"], printed["picture"]) == (10, DAYS, str(path))
    assert png_size(path) == (1200, 700)
    assert {fact["part"] for fact in printed["told"]} == {part.value for part in Part}
    attempt = printed["asked"][0]["attempts"][0]
    assert set(attempt) == {"draft", "verdict", "issues"}


def test_the_command_tells_the_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``mars demo`` says what is built in, logs what happened, and ends with a table; nothing goes to stderr."""
    store = tmp_path / "kept.db"
    assert main(["demo", "--seed", "10", "--no-picture", "--db", str(store)]) == 0
    printed = capsys.readouterr()
    for words in ("no language model", "base 7 days", "draft 1", "rejected", "the lesson", "forgotten", "S days"):
        assert words in " ".join(printed.out.split())
    assert printed.err == ""
    assert store.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-picture", "--without", "gravity"], "gravity"),
        (["--no-picture", "--facts", "nowhere.json"], "there is no file nowhere.json"),
        (["--picture", "curves.svg"], "ends in .png"),
    ],
)
def test_mistakes_of_the_user_end_with_an_error(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong switch, a missing file or a picture that is no PNG is one line on stderr and exit code 2."""
    assert main(["demo", "--db", "memory:", *arguments]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.skipif(not (ROOT / "examples").exists(), reason="needs the repository")
def test_own_facts_are_lived(capsys: pytest.CaptureFixture[str]) -> None:
    """The example of a facts file is lived with its own people and values."""
    own = ROOT / "examples" / "facts.json"
    assert (
        main(
            ["demo", "--facts", str(own), "--without", "decay,reflection", "--no-picture", "--json", "--db", "memory:"]
        )
        == 0
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed["user"] == "Mara"
    assert printed["without"] == ["decay", "reflection"]
    values = {value["value"] for fact in printed["told"] for value in fact["values"]}
    assert {"Tuesday 14 April", "21 April", "old brickworks"} <= values


def test_the_demo_compares_no_answer() -> None:
    """No comparison, membership test or match in the demo's code looks at a draft or an answer."""
    modules = ("life", "topics", "story", "report", "picture", "facts_file")
    names = [f"mars.simulation.{name}" for name in modules] + ["mars.cli.demo", "mars.cli.demo_view"]
    for name in names:
        source = Path(str(importlib.import_module(name).__file__)).read_text("utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Compare | ast.match_case):
                looked_at = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
                assert not looked_at & {"draft", "answer"}, f"{name}, line {getattr(node, 'lineno', '?')}"
