"""No progress: when another draft is of no use."""

from __future__ import annotations

import pytest

from mars.agents.progress import no_progress
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
