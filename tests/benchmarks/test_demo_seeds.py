"""How `benchmarks/demo_seeds.py` holds the demo's answers against what was told."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("benchmarks.demo_seeds", reason="needs the repository")

from benchmarks import demo_seeds as seeds

TOLD = {
    "topic": "city",
    "part": "changed",
    "values": [{"value": "Porto", "days": [2, 9]}, {"value": "Lyon", "days": [20]}],
}
FADED = {"topic": "shoe", "part": "faded", "values": [{"value": "41", "days": [3]}]}
KEPT = {"topic": "cat", "part": "kept", "values": [{"value": "Miso", "days": [3]}]}


def asked(topic: str, answer: str, *drafts: tuple[str, str], approved: bool = True, day: int = 25) -> dict[str, Any]:
    """A question of the demo's report."""
    return {
        "topic": topic,
        "day": day,
        "answer": answer,
        "approved": approved,
        "status": "completed",
        "attempts": [{"draft": draft, "verdict": verdict} for draft, verdict in drafts],
        "reflections": ["Prefer what is newer."],
    }


def report(**change: Any) -> dict[str, Any]:
    """A report of the demo in which all goes as it should; `change` alters the question for the changed fact."""
    city = asked("city", "She lives in Lyon.", ("In Porto.", "rejected"), ("In Lyon.", "approved"))
    questions = [city | change, asked("shoe", "Not known.", approved=False, day=60), asked("cat", "Miso", day=60)]
    return {"days": 60, "told": [TOLD, FADED, KEPT], "asked": questions}


def test_a_value_is_named_as_words() -> None:
    """A value counts as named in any case, and not inside another word or number."""
    assert seeds.says("She moved to LYON.", "Lyon")
    assert not seeds.says("She is Lyonnaise.", "Lyon")
    assert not seeds.says("It is 418.", "41")


def test_the_newest_value_before_the_question_is_right() -> None:
    """What was told last before the question is right, an older value is wrong, anything else is neither."""
    found, (city, *_) = report(), report()["asked"]
    assert seeds.truth(found, "city", 25) == ("Lyon", ["Porto"])
    assert seeds.truth(found, "city", 10) == ("Porto", [])
    assert seeds.right(found, city, "Lyon")
    assert not seeds.wrong(found, city, "Lyon")
    assert seeds.wrong(found, city, "Porto")
    assert not seeds.right(found, city, "Porto")
    assert not seeds.wrong(found, city, "Not known.")
    assert not seeds.right(found, city, "Not known.")


def test_a_life_as_it_should_be() -> None:
    """Complete, corrected, the used fact kept, the unused one forgotten."""
    found = report()
    assert seeds.complete(found)
    assert seeds.corrected(found)
    assert seeds.keeps_used(found)
    assert not seeds.wrong_stands(found)
    assert not seeds.recalls_faded(found)


@pytest.mark.parametrize(
    "change",
    [
        {"answer": "Porto"},
        {"answer": "Not known."},
        {"approved": False},
        {"reflections": []},
        {"attempts": [{"draft": "Lyon", "verdict": "approved"}]},
        {"attempts": [{"draft": "Porto", "verdict": "approved"}]},
    ],
)
def test_what_is_no_correction_does_not_count(change: dict[str, Any]) -> None:
    """A right answer counts as corrected only after a wrong draft that was rejected and reflected on."""
    assert not seeds.corrected(report(**change))


def test_failures_are_noticed() -> None:
    """An error, a wrong answer that stands and a faded fact that is recalled are seen."""
    assert not seeds.complete(report(status="task_error"))
    assert seeds.wrong_stands(report(answer="Porto"))
    found = report()
    found["asked"][1] |= {"answer": "Size 41.", "approved": True}
    found["asked"][2] |= {"answer": "Not known."}
    assert seeds.recalls_faded(found)
    assert not seeds.keeps_used(found)
