"""60 turns are killed, on both databases, and finished elsewhere; see `mars.testing.turn_soak`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("benchmarks.soak_runtime", reason="needs the repository")

from mars.errors import InvalidSetting, ScriptError
from mars.testing.killed_turns import warm
from mars.testing.turn_soak import Plan

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks; run it on Linux or macOS")

ROOT = Path(__file__).resolve().parents[2]


def test_sixty_kills(postgres_server: str) -> None:
    """Resumed after SIGKILL, each turn has the result of an undisturbed one; nothing committed was done again.

    Sabotaged by calls that are recorded nowhere, and by steps that do not wait for the one before them to be saved, the
    same harness finds something.
    """
    command = [sys.executable, "-m", "benchmarks.soak_runtime", "--runs", "60", "--postgres", postgres_server]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    wrong = ("wrong_result", "repeated_committed", "effects_twice", "unresumable", "miscounted")
    assert {key: report[key] for key in wrong} == dict.fromkeys(wrong, 0)
    assert (report["runs"], report["postgres"], done.returncode) == (60, True, 0)
    assert 0 < report["repeated_in_flight"] <= report["in_flight"]
    assert all(found > 0 for found in report["sabotaged"].values())
    assert sorted(report["sabotaged"]) == ["async", "ledger"]


def test_what_no_soak_is(tmp_path: Path) -> None:
    """A plan without runs, and a process with threads, are refused."""
    with pytest.raises(InvalidSetting, match="counts from 1"):
        Plan(runs=0, folder=tmp_path)
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        with pytest.raises(ScriptError, match="warm it before they start"):
            warm()
    finally:
        end.set()
        other.join()
