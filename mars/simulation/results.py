"""Finished episodes: a row each in a SQLite file, by the hash of all that decides what comes of them; and as JSONL.

A row is committed as soon as its episode is over. The JSONL file is a copy, written anew in one piece.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Column, Float, Integer, MetaData, Table, Text, create_engine, event, select
from sqlalchemy.dialects.sqlite import insert

from mars.errors import StoreUnavailable
from mars.simulation.episodes import EpisodeTask

DATABASE, LINES = "results.db", "results.jsonl"
"""Files of a folder of results."""
METHOD = 2
"""Raised whenever an arm or a policy changes so that the same task may end otherwise; older rows are not used then."""

_metadata = MetaData()
_episodes = Table(
    "episodes",
    _metadata,
    Column("key", Text, primary_key=True),
    Column("world", Text, nullable=False),
    Column("variant", Text, nullable=False),
    Column("cell", Text, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("success", Float, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("ms", Float, nullable=False),
    Column("cost", Float),
    Column("task", JSON, nullable=False),
    Column("outcome", JSON, nullable=False),
)
TIMINGS = ("ms",)
"""Keys of an outcome that differ from run to run."""


def key_of(task: EpisodeTask) -> str:
    """Return the hash of all that decides what comes of an episode."""
    values = json.dumps({**task.plain(), "method": METHOD}, sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:32]


class Results:
    """The results in a folder, which is made if need be. Blocking; for one thread at a time."""

    def __init__(self, folder: str | Path) -> None:
        """Open them. Raises `StoreUnavailable` where that cannot be."""
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{folder} cannot hold results: {error.strerror}; name another --out") from error
        self._engine = create_engine(f"sqlite:///{self.folder / DATABASE}", connect_args={"timeout": 30})
        event.listen(self._engine, "connect", _tune)
        _metadata.create_all(self._engine)

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def missing(self, tasks: Iterable[EpisodeTask]) -> list[EpisodeTask]:
        """Return those of the tasks that are not done."""
        with self._engine.connect() as connection:
            done = set(connection.scalars(select(_episodes.c.key)))
        return [task for task in tasks if key_of(task) not in done]

    def add(self, task: EpisodeTask, outcome: Mapping[str, Any]) -> None:
        """Keep what came of an episode; the first result of a task stays."""
        row = {
            "key": key_of(task),
            "world": task.world,
            "variant": task.variant,
            "cell": task.cell.name,
            "seed": task.seed,
            "success": outcome["right"] / outcome["asked"],
            "tokens": outcome["tokens"],
            "ms": outcome["ms"],
            "cost": outcome["cost"],
            "task": task.plain(),
            "outcome": dict(outcome),
        }
        with self._engine.begin() as connection:
            connection.execute(insert(_episodes).values(row).on_conflict_do_nothing())

    def of(self, tasks: Sequence[EpisodeTask]) -> list[tuple[EpisodeTask, dict[str, Any]]]:
        """Return the finished ones of the tasks with their outcomes, in the order of the tasks."""
        with self._engine.connect() as connection:
            found = {key: outcome for key, outcome in connection.execute(select(_episodes.c.key, _episodes.c.outcome))}
        return [(task, found[key]) for task in tasks if (key := key_of(task)) in found]

    def export(self, tasks: Sequence[EpisodeTask]) -> Path:
        """Write the finished ones of the tasks as JSONL, in their order, and return the file."""
        path = self.folder / LINES
        rows = ({"key": key_of(task), **task.plain(), **outcome} for task, outcome in self.of(tasks))
        new = path.with_suffix(".new")
        new.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows), encoding="utf-8")
        os.replace(new, path)
        return path


def canonical(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return an outcome without its timings: the same on every machine."""
    return {name: value for name, value in outcome.items() if name not in TIMINGS}


def _tune(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
