"""Trajectories: what a turn was, written down and read back unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mars import Assistant, Checker, CheckpointSaver, Mars, RunResult, RunStatus, Team
from mars.agents.verdicts import Decision
from mars.agents.verifiers import NumericVerifier
from mars.cli import main
from mars.errors import InvalidFile
from mars.testing import FixedClock, ScriptedModel, Step
from mars.trajectories import (
    Draft,
    Feedback,
    Trajectory,
    read_trajectories,
    stored_trajectories,
    write_trajectories,
)

pytestmark = pytest.mark.anyio

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FEEDBACK = st.builds(Feedback, kind=st.text(), evidence=st.text(), directive=st.text())
DRAFTS = st.builds(
    Draft,
    iteration=st.integers(1, 9),
    prompt=st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=2).map(tuple),
    draft=st.text(),
    decision=st.sampled_from(Decision),
    score=st.floats(0, 1),
    feedback=st.lists(FEEDBACK, max_size=2).map(tuple),
    records=st.lists(st.text(), max_size=2).map(tuple),
)
TRAJECTORIES = st.builds(
    Trajectory,
    turn=st.text(),
    conversation=st.text(),
    team=st.text(),
    task=st.text(),
    status=st.sampled_from(RunStatus),
    approved=st.booleans(),
    rejected=st.lists(DRAFTS, max_size=2).map(tuple),
    reflections=st.lists(st.text(), max_size=2).map(tuple),
    accepted=st.none() | DRAFTS,
    usage=st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    latency=st.floats(0, 1e9),
    oracle_feedback=st.booleans(),
)


@given(st.lists(TRAJECTORIES, max_size=3))
def test_what_is_read_back_equals_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, written: list[Trajectory]
) -> None:
    """Whatever the words are: line ends of every alphabet, control characters, numbers to the last bit."""
    path = tmp_path_factory.mktemp("t") / "t.jsonl"
    assert write_trajectories(path, written) == len(written)
    assert list(read_trajectories(path)) == written
    data = path.read_bytes()
    assert data.isascii()
    assert data.count(b"\n") == len(written)


async def lived(url: str) -> list[RunResult]:
    """Run one turn that is approved at its second draft, and one that never is."""
    issue = {"kind": "stale", "evidence": "it is old", "directive": "Look for newer words.", "blame": ["m1"]}
    no = Step(structured={"approved": False, "score": 0.25, "issues": [issue]}, tokens=(7, 3))
    judge = ScriptedModel([no, Step(structured={"approved": True, "score": 0.9}), no, no])
    model = ScriptedModel(["In Rome [m1].", "In Oslo [m1].", "In Bern.", "In Lima."])
    team = Team(assistant=Assistant(model=model), checker=Checker(model=judge), iterations=2, keep_prompts=True)
    async with Mars.open(url, team=team, clock=FixedClock()) as mars:
        await mars.memory.add("My sister moved to Oslo.", ("ann",), speaker="ann")
        return [
            await mars.run(f"Where does my {who} live?", user="ann", conversation=who) for who in ("sister", "aunt")
        ]


async def test_a_result_has_its_trajectory(tmp_path: Path) -> None:
    """Prompt, rejected draft, feedback and accepted draft are there, with ids, status and usage."""
    first, second = [Trajectory.of(result) for result in await lived(f"sqlite:///{tmp_path / 'life.db'}")]
    (rejected,) = first.rejected
    assert (rejected.draft, rejected.decision, rejected.score) == ("In Rome [m1].", Decision.REJECTED, 0.25)
    assert rejected.feedback == (Feedback(kind="stale", evidence="it is old", directive="Look for newer words."),)
    assert first.accepted is not None
    assert (first.accepted.draft, first.accepted.iteration) == ("In Oslo [m1].", 2)
    assert first.accepted.records == rejected.records != ()
    assert (first.task, first.status, first.approved) == ("Where does my sister live?", RunStatus.COMPLETED, True)
    assert len(first.reflections) == 1
    assert first.usage["calls"] == 4
    assert (second.accepted, len(second.rejected), second.status) == (None, 2, RunStatus.ITERATION_LIMIT)


async def test_the_prompt_is_the_one_that_the_draft_answered(tmp_path: Path) -> None:
    """The first prompt knows no lesson, the second holds the first one's; without `keep_prompts` there are none."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    first = Trajectory.of((await lived(url))[0])
    assert first.accepted is not None
    texts = ["\n".join(m["data"]["content"] for m in draft.prompt) for draft in (*first.rejected, first.accepted)]
    assert ["My sister moved to Oslo." in text for text in texts] == [True, True]
    assert ["Look for newer words." in text for text in texts] == [False, True]
    async with Mars.open(url) as mars:
        assert [attempt.prompt for attempt in (await mars.run("Who?", user="ann")).attempts] == [()] * 1


async def test_the_store_has_them_too(tmp_path: Path) -> None:
    """What is read from the checkpoints equals what the results say."""
    path = tmp_path / "life.db"
    expected = [Trajectory.of(result) for result in await lived(f"sqlite:///{path}")]
    with CheckpointSaver.open(f"sqlite:///{path}") as saver:
        found = [one async for one in stored_trajectories(saver)]
        only = [one async for one in stored_trajectories(saver, "aunt")]
    assert sorted(found, key=lambda one: one.task) == sorted(expected, key=lambda one: one.task)
    assert only == expected[1:]


@pytest.mark.parametrize("oracle", [True, False])
async def test_a_run_that_knew_a_reference_says_so(tmp_path: Path, oracle: bool) -> None:
    """Result, its JSON, its trajectory and the stored one are labelled; a turn that ends without a draft is, too."""
    path = tmp_path / "life.db"
    team = Team(
        assistant=Assistant(model=ScriptedModel(["It is 3.", Step(error=ValueError("down"))])),
        checker=Checker(verifiers=(NumericVerifier("3", oracle=oracle),)),
        iterations=1,
    )
    async with Mars.open(f"sqlite:///{path}", team=team, clock=FixedClock()) as mars:
        results = [await mars.run("How many?", user="ann", conversation=name) for name in ("one", "two")]
    assert [bool(result.attempts) for result in results] == [True, False]
    for result in results:
        assert (result.oracle_feedback, result.plain()["oracle_feedback"]) == (oracle, oracle)
        assert Trajectory.from_line(Trajectory.of(result).line()).oracle_feedback is oracle
    with CheckpointSaver.open(f"sqlite:///{path}") as saver:
        assert {one.oracle_feedback async for one in stored_trajectories(saver)} == {oracle}


def test_the_command_line_exports_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is there is spared; a broken line is named; agents are listed with their weights."""
    import anyio

    path, out = tmp_path / "life.db", tmp_path / "t.jsonl"
    anyio.run(lived, f"sqlite:///{path}")
    assert main(["trajectories", "export", str(out), "--db", str(path), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["trajectories"], counts["rejected"], counts["accepted"]) == (2, 3, 1)
    assert main(["trajectories", "export", str(out), "--db", str(path)]) == 2
    assert main(["trajectories", "check", str(out)]) == 0
    assert "2 trajectories" in capsys.readouterr().out
    out.write_text(out.read_text() + "{}\n")
    assert main(["trajectories", "check", str(out)]) == 2
    assert "line 3" in " ".join(capsys.readouterr().err.split())
    assert main(["agents", "--db", str(path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["role"], row["tasks"], row["successes"], row["weight"]) for row in rows] == [
        ("assistant", 2, 1, 0.5),
        ("reflector", 2, 1, 0.5),
    ]
    assert main(["agents", "--db", str(path)]) == 0
    assert "0.500" in capsys.readouterr().out
    assert main(["agents", "--db", str(tmp_path / "nowhere.db")]) == 2


def test_the_command_line_imports_into_a_collection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The round trip is byte for byte, a turn is in there once, and a wrong line or a second story adds nothing."""
    import anyio

    path, out, into = tmp_path / "life.db", tmp_path / "t.jsonl", tmp_path / "all.jsonl"
    anyio.run(lived, f"sqlite:///{path}")
    assert main(["trajectories", "export", str(out), "--db", str(path), "--json"]) == 0
    for added, known in ((2, 0), (0, 2)):
        capsys.readouterr()
        assert main(["trajectories", "import", str(out), "--into", str(into), "--json"]) == 0
        counts = json.loads(capsys.readouterr().out)
        assert (counts["added"], counts["known"]) == (added, known)
        assert into.read_bytes() == out.read_bytes()
    one, *_ = read_trajectories(out)
    other = tmp_path / "other.jsonl"
    new = one.model_copy(update={"turn": "new"}).line()
    for wrong, named in (("{}", "line 2"), (one.model_copy(update={"task": "another"}).line(), "another trajectory")):
        other.write_text(f"{new}\n{wrong}\n")
        assert main(["trajectories", "import", str(other), "--into", str(into)]) == 2
        assert named in " ".join(capsys.readouterr().err.split())
        assert into.read_bytes() == out.read_bytes()
    other.write_text(f"{new}\n")
    assert main(["trajectories", "import", str(other), str(out), "--into", str(into)]) == 0
    assert into.read_text() == out.read_text() + other.read_text()


@pytest.mark.parametrize("line", ["[]", "{", '{"version": 2}', "[" * 5_000, '{"turn": "t"}'])
def test_a_line_that_is_no_trajectory_is_named(tmp_path: Path, line: str) -> None:
    """Also one of a version that this code does not know."""
    path = tmp_path / "t.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(InvalidFile, match="line 2"):
        list(read_trajectories(path))


async def test_no_file_is_left_half_written(tmp_path: Path) -> None:
    """What fails on the way leaves the old file as it was, and nothing beside it."""
    path = tmp_path / "t.jsonl"
    path.write_text("old\n")

    def failing() -> list[Trajectory]:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_trajectories(path, (one for _ in range(1) for one in failing()), overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["t.jsonl"]
    assert path.read_text() == "old\n"


def test_a_reflector_is_not_needed(tmp_path: Path) -> None:
    """A turn without drafts is a trajectory, too."""
    none = RunResult(
        answer="",
        status=RunStatus.TASK_ERROR,
        approved=False,
        sources=(),
        iterations=0,
        attempts=(),
        reflections=(),
        recalled=0,
        conversation="c",
        turn="t",
    )
    write_trajectories(tmp_path / "t.jsonl", [none])
    assert next(read_trajectories(tmp_path / "t.jsonl")).rejected == ()
