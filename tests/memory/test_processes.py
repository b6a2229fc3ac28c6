"""Several processes on one store at once: exact counts, one order of commits, and every write is seen at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("benchmarks.memory_processes", reason="needs the repository")

from benchmarks.memory_processes import EACH, measure


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_processes(tmp_path: Path, request: pytest.FixtureRequest, kind: str, count: int) -> None:
    """Concurrent adds, uses and recalls come out even; each process finds the others' writes at its next call."""
    if kind == "postgres":
        make: Callable[[], str] = request.getfixturevalue("fresh_database")
        url = make()
    else:
        url = f"sqlite:///{tmp_path / 'a.db'}"
    outcome = measure(url, count)
    assert outcome.exact, outcome
    assert outcome.believed == 0
    assert outcome.records == count * (2 * EACH + 3) + 1


def test_sabotaged(tmp_path: Path) -> None:
    """With a backend that does not ask what others have committed, the same processes do not come out even."""
    outcome = measure(f"sqlite:///{tmp_path / 'a.db'}", 2, "stale")
    assert outcome.believed > 0
    assert outcome.errors > 0
    assert not outcome.exact
