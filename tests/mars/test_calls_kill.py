"""No call with a committed outcome is repeated after SIGKILL, on both databases; see `calls_under_fire.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks; run it on Linux or macOS")

HARNESS = Path(__file__).parent / "calls_under_fire.py"
CLEAN = {"wrong_result": 0, "repeated_committed": 0, "effects_twice": 0, "miscounted": 0}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'run.db'}"
    make: Callable[[], str] = request.getfixturevalue("fresh_database")
    return make()


def killed(folder: Path, url: str, *groups: str) -> list[dict[str, Any]]:
    """Kill and resume turns; return the harness's figures for each group."""
    command = [sys.executable, str(HARNESS), str(folder), url, *groups]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    found: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    for figures in found:
        assert "not_killed" not in figures
        assert "unresumable" not in figures
    return found


def test_killed_around_a_call(url: str, tmp_path: Path) -> None:
    """Before the intent and after the outcome nothing is repeated; an intent alone may have been paid for.

    Between a provider's return and the commit, exactly one call is repeated, and counted as one that maybe was paid. Of
    those the third is a tool that reads, which is run again and costs nothing; the fourth has a side effect and honours
    its key: it is run again, and its effect happens once.
    """
    outside = "call_wanted=1,5,12+call_settled=1,3,5,12"
    within = "call_returned=1,3,4,5,8,12+call_intended=2"
    before_and_after, in_flight = killed(tmp_path, url, outside, within)
    figures = {"calls": 12, "runs": 7, **CLEAN}
    assert before_and_after == {**figures, "repeated_in_flight": 0, "maybe_paid": 0}
    assert in_flight == {**figures, "repeated_in_flight": 5, "maybe_paid": 5}


def test_without_the_ledger_calls_are_repeated(tmp_path: Path) -> None:
    """Sabotaged by a ledger that dies with its process, the same kills repeat calls whose outcome was there."""
    (figures,) = killed(tmp_path, f"sqlite:///{tmp_path / 'run.db'}", "call_settled=1,3,5,12", "--sabotaged")
    assert figures["repeated_committed"] > 0
    assert figures["miscounted"] > 0
