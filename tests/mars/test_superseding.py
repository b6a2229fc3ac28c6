"""What a turn commits, and when: each superstep by itself, and what the next write says anyway together with that."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mars import Assistant, Mars, Team
from mars.memory import points
from mars.persistence.leases import Fence
from mars.persistence.superseding import Superseding, follows
from mars.testing import FixedClock, ScriptedModel

pytestmark = pytest.mark.anyio

HERE = Fence("thread", 1)


@pytest.fixture
def committed() -> Iterator[Callable[[Path], list[int]]]:
    """Return what gives the checkpoints of a database that were there after each commit of a run."""
    seen: list[int] = []

    def watched(path: Path) -> list[int]:
        def look(point: str) -> None:
            if point == "run_after_commit":
                with closing(sqlite3.connect(path)) as database:
                    seen.extend(database.execute("SELECT COUNT(*) FROM mars_checkpoints").fetchone())

        points.watch(look)
        return seen

    yield watched
    points.watch(None)


async def run(folder: Path, committed: Callable[[Path], list[int]]) -> list[int]:
    """Run a turn of one draft; return the checkpoints after each commit."""
    team = Team(assistant=Assistant(model=ScriptedModel(["Not known."])))
    url = f"sqlite:///{folder / 'life.db'}"
    async with Mars.open(url, team=team, clock=FixedClock()) as mars:
        seen = committed(folder / "life.db")
        result = await mars.run("Where is Ann?", user="ann", conversation="c")
        assert result.answer == "Not known."
        return list(seen)


async def test_each_superstep_is_committed_before_the_next(
    tmp_path: Path, committed: Callable[[Path], list[int]]
) -> None:
    """The claim; begin, recall; intent and outcome of the call; its superstep, the check; the end, which trims.

    The input, and the step that hands it to the channels, are in the checkpoint of `begin`; the last checkpoint comes
    with the end of the turn.
    """
    assert await run(tmp_path, committed) == [0, 1, 2, 2, 2, 3, 4, 1]


def test_the_input_and_the_step_after_it_pass() -> None:
    """Only these two are superseded, and only in their order, for one run at a time."""
    rules = Superseding()
    assert rules.passes(HERE, "1", None, {"source": "input"})
    assert rules.passes(HERE, "2", "1", {"source": "loop"})
    assert not rules.passes(HERE, "3", "2", {"source": "loop"})
    assert rules.passes(HERE, "4", "3", {"source": "input"})
    assert not rules.passes(Fence("other", 1), "5", "4", {"source": "loop"})
    rules.forget(HERE)
    assert not rules.passes(HERE, "5", "4", {"source": "loop"})


def test_what_delta_channels_are_rebuilt_from_is_kept() -> None:
    """An input whose delta channels are not in the checkpoint is saved like any other."""
    counters = {"source": "input", "counters_since_delta_snapshot": {"said": (1, 1)}}
    assert not Superseding().passes(HERE, "1", None, counters)


def test_the_last_checkpoint_is_told() -> None:
    """A checkpoint that starts a node has a task after it; one that does not say is taken for such a one."""
    assert follows({"updated_channels": ["draft", "branch:to:checker"]})
    assert follows({"updated_channels": None})
    assert follows({})
    assert not follows({"updated_channels": ["answer"]})
