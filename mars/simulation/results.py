"""Finished episodes: a row each in SQL, by the hash of all that decides what comes of them; and as JSONL.

The rows are in a SQLite file of the folder, or, where the memories are in PostgreSQL, there too, in a schema of their
own. A row is committed as soon as its episode is over. The JSONL file is a copy, written anew in one piece.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from mars import __version__
from mars.errors import StoreUnavailable
from mars.memory.backends.connecting import engine_for, shown
from mars.memory.backends.faults import translate
from mars.memory.index.folder_lock import FolderLock
from mars.simulation.databases import IN_MEMORY, on_server
from mars.simulation.episodes import EpisodeTask

DATABASE, LINES = "results.db", "results.jsonl"
"""Files of a folder of results."""
SCHEMA = "mars_simulation"
"""The schema of the results in PostgreSQL."""
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
_origins = Table(
    "origins",
    _metadata,
    Column("key", Text, primary_key=True),
    Column("commit", Text),
    Column("version", Text, nullable=False),
)
_simulations = Table(
    "simulations",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("method", Integer, nullable=False),
    Column("config", JSON, nullable=False),
    Column("sabotage", Text),
    Column("keys", JSON, key="keys_", nullable=False),
)
TIMINGS = ("ms",)
"""Keys of an outcome that differ from run to run."""


def key_of(task: EpisodeTask) -> str:
    """Return the hash of all that decides what comes of an episode."""
    values = json.dumps({**task.plain(), "method": METHOD}, sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A simulation as it lies in the results, whatever plays it."""

    config: Mapping[str, Any]
    """What was to be played: world, cells, seeds, episodes, variants, limits, model."""
    sabotage: str | None
    """What was broken on purpose."""
    method: int
    """`METHOD` when it was begun."""
    episodes: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
    """(task, outcome) of what is finished; a task names its cell."""
    missing: int
    """How many episodes are not finished."""
    commits: Sequence[str]
    """The commits that played them; see `checkout`."""


class Results:
    """The results in a folder, which is made if need be. Blocking; for one thread at a time."""

    def __init__(self, folder: str | Path, database: str = IN_MEMORY) -> None:
        """Open them; those in the `database`, if it is a PostgreSQL URL. Raises a `StoreError` where that cannot be."""
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{folder} cannot hold results: {error.strerror}; name another --out") from error
        self._engine = _on_server(database) if on_server(database) else _beside(self.folder)
        self._commit = checkout()

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Open a transaction; what the database raises in it is a `StoreError`."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise translate(error, shown(self._engine)) from None

    @contextmanager
    def alone(self, tasks: Sequence[EpisodeTask]) -> Iterator[None]:
        """Keep others from playing the tasks meanwhile; raises `StoreUnavailable` where somebody else does.

        In a folder nobody else plays anything; on a server, where others may play other tasks, nobody else plays these.
        The lock is the operating system's, or that of the server's session: it ends with its process.
        """
        with ExitStack() as stack:
            if self._engine.dialect.name == "postgresql":
                free = stack.enter_context(self._locked(tasks))
            else:
                lock = FolderLock(self.folder)
                stack.callback(lock.release)
                free = lock.attempt()
            if not free:
                raise StoreUnavailable(
                    f"another process plays it, with its results in {self._place}: wait until that one is over, and "
                    "the same command plays what is missing; or name another --out, for all of it a second time"
                )
            yield

    @property
    def _place(self) -> str:
        return str(self.folder) if self._engine.dialect.name == "sqlite" else shown(self._engine)

    @contextmanager
    def _locked(self, tasks: Sequence[EpisodeTask]) -> Iterator[bool]:
        """Take the server's lock for these tasks, in a session of its own; yield whether it is ours now."""
        keys = hashlib.sha256("".join(sorted(map(key_of, tasks))).encode()).hexdigest()
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.detach()  # closed in earnest when it is left, and the lock with it
                statement = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
                yield bool(connection.exec_driver_sql(statement, (f"{SCHEMA} {keys}",)).scalar())
        except SQLAlchemyError as error:
            raise translate(error, shown(self._engine)) from None

    def missing(self, tasks: Iterable[EpisodeTask]) -> list[EpisodeTask]:
        """Return those of the tasks that are not done."""
        with self._connected() as connection:
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
        insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        origin = {"key": row["key"], "commit": self._commit, "version": __version__}
        with self._connected() as connection:
            if connection.execute(insert(_episodes).values(row).on_conflict_do_nothing()).rowcount:
                connection.execute(insert(_origins).values(origin).on_conflict_do_nothing())

    def note(self, config: Mapping[str, Any], sabotage: str | None, tasks: Sequence[EpisodeTask]) -> None:
        """Keep what is to be played, so that a report can be made from the results alone."""
        row = {
            "method": METHOD,
            "config": dict(config),
            "sabotage": sabotage,
            "keys_": [key_of(task) for task in tasks],
        }
        with self._connected() as connection:
            connection.execute(_simulations.insert().values(row))

    def noted(self, tasks: Sequence[EpisodeTask] | None = None) -> Noted | None:
        """Return the simulation that was noted last, or last with these tasks; None if there is none."""
        wanted = None if tasks is None else [key_of(task) for task in tasks]
        columns = (_episodes.c.key, _episodes.c.task, _episodes.c.cell, _episodes.c.outcome)
        with self._connected() as connection:
            rows = connection.execute(select(_simulations).order_by(_simulations.c.id.desc())).all()
            found = {
                key: ({**task, "cell": cell}, done) for key, task, cell, done in connection.execute(select(*columns))
            }
            origins = {key: commit for key, commit in connection.execute(select(_origins.c.key, _origins.c.commit))}
        last = next((row for row in rows if wanted is None or row.keys_ == wanted), None)
        if last is None:
            return None
        keys = [key for key in last.keys_ if key in found]
        return Noted(
            config=last.config,
            sabotage=last.sabotage,
            method=last.method,
            episodes=[found[key] for key in keys],
            missing=len(last.keys_) - len(keys),
            commits=list(dict.fromkeys(commit for key in keys if (commit := origins.get(key)))),
        )

    def of(self, tasks: Sequence[EpisodeTask]) -> list[tuple[EpisodeTask, dict[str, Any]]]:
        """Return the finished ones of the tasks with their outcomes, in the order of the tasks."""
        with self._connected() as connection:
            found = {key: outcome for key, outcome in connection.execute(select(_episodes.c.key, _episodes.c.outcome))}
        return [(task, found[key]) for task in tasks if (key := key_of(task)) in found]

    def export(self, tasks: Sequence[EpisodeTask]) -> Path:
        """Write the finished ones of the tasks as JSONL, in their order, and return the file."""
        path = self.folder / LINES
        rows = ({"key": key_of(task), **task.plain(), **outcome} for task, outcome in self.of(tasks))
        new = path.with_name(f"{path.name}.{os.getpid()}.new")  # another process may write its own
        new.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows), encoding="utf-8")
        os.replace(new, path)
        return path


def canonical(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return an outcome without its timings: the same on every machine, in every database, by every engine."""
    return {name: value for name, value in outcome.items() if name not in TIMINGS}


def canonical_hash(episodes: Iterable[tuple[EpisodeTask, Mapping[str, Any]]]) -> str:
    """Return the SHA-256 of what was played and what came of it, timings aside; the order counts."""
    lines = (json.dumps([task.plain(), canonical(outcome)], sort_keys=True) for task, outcome in episodes)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def checkout() -> str | None:
    """Return the commit of the code that runs, with ``+`` if it was changed since; None where it is no checkout."""
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    told = [
        subprocess.run([git, "-C", str(root), *command], capture_output=True, text=True, check=False)
        for command in (
            ("rev-parse", "--short=12", "HEAD"),
            ("status", "--porcelain", "-uno", "mars", "agents", "memory"),
        )
    ]
    if any(one.returncode for one in told):
        return None
    return told[0].stdout.strip() + ("+" if told[1].stdout.strip() else "")


def _beside(folder: Path) -> Engine:
    """Open the SQLite file of a folder."""
    engine = create_engine(f"sqlite:///{folder / DATABASE}", connect_args={"timeout": 30})
    event.listen(engine, "connect", _tune)
    try:
        _metadata.create_all(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise translate(error, shown(engine)) from None
    return engine


def _on_server(url: str) -> Engine:
    """Open the schema of results in PostgreSQL, which is made if need be."""
    engine = engine_for(url).execution_options(schema_translate_map={None: SCHEMA})
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (SCHEMA,))
            connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
            _metadata.create_all(connection)
    except SQLAlchemyError as error:
        engine.dispose()
        raise translate(error, shown(engine)) from None
    return engine


def _tune(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
