"""No progress: when another draft is of no use."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage, message_to_dict

from mars.agents.progress import no_progress, repeated_failure
from mars.agents.verdicts import Decision, Verdict

NO = Verdict(decision=Decision.REJECTED, score=0.0)


@pytest.mark.parametrize(
    ("drafts", "reason"),
    [
        (["a"], None),
        (["a", "b"], None),
        (["a", "A  [m3]"], "the same draft again"),
        (["a", "b", "a"], "drafts go back and forth"),
        (["a", "b", "c"], "3 drafts with the same score and the same issues"),
    ],
)
def test_the_reason_is_named(drafts: list[str], reason: str | None) -> None:
    """Repetition, oscillation and a flat score are told apart; citations and case make no new draft."""
    assert no_progress(drafts, [NO] * len(drafts)) == reason


def test_a_rising_score_is_progress() -> None:
    """Three different drafts that get better go on."""
    rising = [Verdict(decision=Decision.REJECTED, score=score) for score in (0.1, 0.2, 0.3)]
    assert no_progress(["a", "b", "c"], rising) is None


def called(number: int, arguments: dict[str, int], said: str, failed: bool = True) -> list[dict[str, Any]]:
    """Return a call of a tool and its reply."""
    call = AIMessage("", tool_calls=[{"id": str(number), "name": "book", "args": arguments}])
    reply = ToolMessage(said, tool_call_id=str(number), status="error" if failed else "success")
    return [message_to_dict(call), message_to_dict(reply)]


def test_the_same_action_with_the_same_error_is_no_progress() -> None:
    """Another error, other arguments or a success in between is progress; the same again is not."""
    first = called(1, {"room": 1}, "full")
    assert repeated_failure(first) is None
    assert repeated_failure([*first, *called(2, {"room": 2}, "full")]) is None
    assert repeated_failure([*first, *called(2, {"room": 1}, "closed")]) is None
    assert repeated_failure([*first, *called(2, {"room": 1}, "ok", failed=False)]) is None
    rejected = called(1, {"room": 1}, "Rejected by the Checker: no") + called(
        2, {"room": 1}, "Rejected by the Checker: no"
    )
    assert repeated_failure(rejected) is None
    assert repeated_failure([*first, *called(2, {"room": 1}, "full")])
    assert repeated_failure([*first, *called(2, {"room": 2}, "full"), *called(3, {"room": 1}, "full")])
