"""`mars eval longmemeval` and its reader, on a small file made here in the published format."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mars.cli import main
from mars.errors import InvalidFile
from mars.evaluation.longmemeval import evaluate_longmemeval
from mars.ingest import BrokenLine, reader
from mars.ingest.longmemeval import questions, session_time
from mars.memory import Memory
from mars.memory.records import NewRecord

TALK = ("I walk the dog at six.", "Good for you.", "My sister paints boats.", "What colours?")


def item(name: str, kind: str, fact: str, question: str, *, marked: bool = True) -> dict[str, Any]:
    """Return a question with three sessions, the second of which holds the fact."""
    said = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(TALK)]
    held = [{"role": "user", "content": fact, **({"has_answer": True} if marked else {})}, said[1]]
    return {
        "question_id": name,
        "question_type": kind,
        "question": question,
        "answer": "as told",
        "question_date": "2023/06/01 (Thu) 10:00",
        "haystack_session_ids": ["s_1", "answer_1", "s_2"],
        "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 17:20", "2023/04/02 (Sun) 09:00"],
        "haystack_sessions": [said[:2], held, said[2:]],
        "answer_session_ids": ["answer_1"],
    }


ITEMS = [
    item("q1", "single-session-user", "I study Business Administration in Porto.", "What do I study in Porto?"),
    item("q2", "knowledge-update", "My new bicycle is green.", "Which colour is my new bicycle?"),
    item("q3_abs", "single-session-user", "I own a parrot.", "What is my hamster called?", marked=False),
]


def write(folder: Path, items: object) -> Path:
    """Write a file."""
    path = folder / "small.json"
    path.write_text(json.dumps(items), "utf-8")
    return path


def test_sessions_are_read_in_order_of_time_and_each_question_has_its_own_namespace(tmp_path: Path) -> None:
    """The order is that of the dates, and what holds the answer is known by its marks."""
    first, second, third = questions(write(tmp_path, ITEMS))
    assert [turn.metadata["session"] for turn in first.turns] == ["s_2", "s_2", "s_1", "s_1", "answer_1", "answer_1"]
    assert first.turns[0].event_time == datetime(2023, 4, 2, 9, tzinfo=UTC)
    assert {turn.namespace for turn in second.turns} == {("longmemeval", "q2")}
    assert (first.evidence, first.sessions) == (("answer_1:1",), ("answer_1",))
    assert (first.category, first.answer, third.category, third.answer) == (
        "single-session-user",
        "as told",
        "abstention",
        None,
    )
    assert session_time("2023/13/01 (Mon) 10:00") is session_time(7) is None


def test_evidence_is_found_and_questions_without_an_answer_are_apart(tmp_path: Path) -> None:
    """A chat that says it once is found first; a question ending in _abs is only counted."""
    values = evaluate_longmemeval(write(tmp_path, ITEMS)).as_dict()
    assert (values["questions"], values["abstentions"], values["skipped"]) == (2, 1, 0)
    assert values["turns"] == {"5": 1.0, "10": 1.0, "20": 1.0, "mrr": 1.0}
    assert values["by_category"]["knowledge-update"]["sessions"]["mrr"] == 1.0


def test_evidence_that_is_marked_elsewhere_is_not_found(tmp_path: Path) -> None:
    """The figures fall where the marks are wrong: they are no constant."""
    wrong = json.loads(json.dumps(ITEMS[:1]))
    wrong[0]["haystack_sessions"][1][0].pop("has_answer")
    wrong[0]["haystack_sessions"][2][1]["has_answer"] = True
    wrong[0]["answer_session_ids"] = ["s_2"]
    values = evaluate_longmemeval(write(tmp_path, wrong)).as_dict()
    assert values["turns"]["mrr"] < 1.0
    assert values["sessions"]["mrr"] < 1.0


@pytest.mark.parametrize("decay", [False, True])
def test_the_command_prints_json_with_and_without_decay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], decay: bool
) -> None:
    """The stable keys are there, and a table for people."""
    asked = ["eval", "longmemeval", str(write(tmp_path, ITEMS)), "--limit", "2", "--json"]
    assert main([*asked, *(["--decay"] if decay else [])]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["questions"], values["decay"]) == (2, decay)
    assert main(asked[:-1]) == 0
    assert "knowledge-update" in capsys.readouterr().out


@pytest.mark.parametrize("content", [[], {}, [{"question_id": "q"}], [3], [{**ITEMS[0], "haystack_sessions": "x"}]])
def test_another_file_is_refused(tmp_path: Path, content: object) -> None:
    """What is no such file is `InvalidFile` with the remedy."""
    with pytest.raises(InvalidFile, match="LongMemEval"):
        list(questions(write(tmp_path, content)))
    with pytest.raises(InvalidFile, match="check the path"):
        list(questions(tmp_path / "absent.json"))


def test_a_broken_turn_is_numbered_and_the_rest_is_read(tmp_path: Path) -> None:
    """Turns without a known role or a date are reported, and refused if strict."""
    broken = json.loads(json.dumps(ITEMS[:1]))
    broken[0]["haystack_sessions"][0][1] = {"role": "king", "content": "b"}
    broken[0]["haystack_dates"][1] = "yesterday"
    found = list(reader("longmemeval")(write(tmp_path, broken), ("ann",), strict=False))
    assert len([one for one in found if isinstance(one, NewRecord)]) == 3
    reasons = [one.reason for one in found if isinstance(one, BrokenLine)]
    assert any("role is user or assistant" in reason for reason in reasons)
    assert sum("haystack_dates" in reason for reason in reasons) == 2
    with pytest.raises(InvalidFile, match="--strict"):
        list(reader("longmemeval")(write(tmp_path, broken), ("ann",), strict=True))


def test_a_second_run_adds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ingesting the same file again adds nothing; each question has its own namespace."""
    path, store = write(tmp_path, ITEMS), f"sqlite:///{tmp_path}/life.db"
    asked = ["ingest", str(path), "-f", "longmemeval", "-n", "ann", "--db", store, "--json"]
    for added in (18, 0):
        assert main(asked) == 0
        assert json.loads(capsys.readouterr().out)["added"] == added
    with Memory.open_sync(store) as memory:
        assert len(memory.list(("ann", "q1"))) == 6
