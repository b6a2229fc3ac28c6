"""How `benchmarks/demo_seeds.py` holds the demo's answers against what was told."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("benchmarks.demo_seeds", reason="needs the repository")

from benchmarks.demo_seeds import findings, judged, names, values_before

TOLD = {
    "topic": "city",
    "part": "changed",
    "values": [{"value": "Porto", "days": [2, 9]}, {"value": "Lyon", "days": [20]}],
}
FADED = {"topic": "shoe", "part": "faded", "values": [{"value": "41", "days": [3]}]}
KEPT = {"topic": "cat", "part": "kept", "values": [{"value": "Miso", "days": [3]}]}


def asked(topic: str, answer: str, *drafts: tuple[str, str], approved: bool = True, day: int = 25) -> dict[str, Any]:
    """A question of the demo's report."""
    attempts = [{"draft": draft, "verdict": verdict} for draft, verdict in drafts]
    return {
        "topic": topic,
        "day": day,
        "answer": answer,
        "approved": approved,
        "status": "completed",
        "attempts": attempts,
    }


def report(*questions: dict[str, Any]) -> dict[str, Any]:
    """A report of the demo."""
    return {"days": 60, "told": [TOLD, FADED, KEPT], "asked": list(questions)}


WHOLE = report(
    asked("city", "She lives in Lyon.", ("She lives in Porto.", "rejected"), ("She lives in Lyon.", "approved")),
    asked("shoe", "Not known.", approved=False, day=60),
    asked("cat", "Miso", ("Miso", "approved"), day=60),
)
UNCHECKED = report(asked("city", "Porto", ("Porto", "approved"), approved=False))
UNDECAYED = report(asked("shoe", "Size 41.", ("Size 41.", "approved"), day=60))


def test_a_value_is_named_as_words() -> None:
    """A value counts as named in any case, and not inside another word or number."""
    assert names("She moved to LYON.", "Lyon")
    assert not names("She is Lyonnaise.", "Lyon")
    assert not names("It is 418.", "41")


def test_the_newest_value_before_the_question_is_right() -> None:
    """What was told last before the question is right, older values are wrong, anything else is neither."""
    assert values_before(TOLD, 25) == ["Porto", "Lyon"]
    assert judged("Lyon", TOLD, 25) == "right"
    assert judged("Porto", TOLD, 25) == "wrong"
    assert judged("Not known.", TOLD, 25) == "neither"
    assert judged("Porto", TOLD, 10) == "right"


def test_a_value_told_again_is_the_newest() -> None:
    """A value that comes back after another one counts as the newest."""
    told = {"values": [{"value": "Porto", "days": [2, 30]}, {"value": "Lyon", "days": [20]}]}
    assert values_before(told, 40) == ["Lyon", "Porto"]


def test_a_life_as_it_should_be() -> None:
    """Corrected with the Checker, wrong without it, forgotten with decay, recalled without it."""
    found = findings([WHOLE, UNCHECKED, UNDECAYED])
    assert found.pop("wrong_stands") is False
    assert all(found.values())


@pytest.mark.parametrize(
    ("run", "question", "change", "finding"),
    [
        (0, 0, {"answer": "Porto"}, "corrected"),
        (0, 0, {"approved": False}, "corrected"),
        (0, 0, {"attempts": [{"draft": "Lyon", "verdict": "approved"}]}, "corrected"),
        (0, 0, {"attempts": [{"draft": "Porto", "verdict": "approved"}]}, "corrected"),
        (0, 0, {"status": "task_error"}, "complete"),
        (0, 1, {"answer": "Size 41."}, "faded_forgotten"),
        (0, 2, {"answer": "Not known."}, "kept_known"),
        (1, 0, {"answer": "Lyon"}, "wrong_stands_without_checker"),
        (2, 0, {"answer": "Not known."}, "faded_recalled_without_decay"),
    ],
)
def test_what_should_not_be_is_noticed(run: int, question: int, change: dict[str, Any], finding: str) -> None:
    """Each finding turns false when the answer that it rests on is another one."""
    reports = copy.deepcopy([WHOLE, UNCHECKED, UNDECAYED])
    reports[run]["asked"][question].update(change)
    assert findings(reports)[finding] is False


def test_this_file_tests_the_tree() -> None:
    """The benchmark under test is the one of this repository."""
    import benchmarks

    assert Path(benchmarks.__file__).resolve().is_relative_to(Path(__file__).resolve().parents[2])
