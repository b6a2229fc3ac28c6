"""Ingest survives SIGKILL at any instant; the same harness shows what it would look like if it did not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HARNESS = Path(__file__).parent / "ingest_under_fire.py"
pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="the harness forks its children; run it on Linux or macOS"
)


def under_fire(folder: Path, trials: int, how: str) -> dict[str, Any]:
    """Run the harness; return what it found."""
    command = [sys.executable, str(HARNESS), str(folder), str(trials), "7", how]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_exactly_the_right_rows_after_any_kill(tmp_path: Path) -> None:
    """Killed at random and run again: nothing acknowledged is lost, no batch is half there, no turn is there twice."""
    found = under_fire(tmp_path, 8, "sound")
    assert found.pop("killed_midway") >= 8
    assert found == {"trials": 8, "lost": 0, "half_batches": 0, "missing": 0, "duplicated": 0}


def test_the_harness_sees_missing_idempotency_keys(tmp_path: Path) -> None:
    """Sabotaged by dropping the keys, the same trials end with duplicates."""
    assert under_fire(tmp_path, 1, "keyless")["duplicated"] > 0


def test_the_harness_sees_half_written_batches(tmp_path: Path) -> None:
    """Sabotaged by a transaction per turn, the same trials find half-written batches."""
    assert under_fire(tmp_path, 1, "piecemeal")["half_batches"] > 0
