"""The checkpoint saver and other processes: side by side, killed, forked; and databases that cannot serve."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from sqlalchemy import create_engine, text

from mars import CheckpointSaver
from mars.errors import InvalidSetting, SchemaMismatch, StoreCorrupt, StoreReadOnly, StoreUnavailable
from mars.persistence.points import POINTS

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks; run it on Linux or macOS")

WRITES = """
import sys
from langgraph.checkpoint.base import empty_checkpoint
from mars import CheckpointSaver

url, name = sys.argv[1:]
with CheckpointSaver.open(url) as saver:
    config = {"configurable": {"thread_id": "shared", "checkpoint_ns": ""}}
    sys.stdin.readline()
    for step in range(40):
        config = saver.put(config, empty_checkpoint(), {"step": step, "writer": name}, {})
        saver.put_writes(config, [("channel", name)], f"task {name}")
"""

DIES = """
import sys, threading, time
from langgraph.checkpoint.base import empty_checkpoint
from mars import CheckpointSaver
from mars.testing import KillPoint

url, point, how = sys.argv[1:]
with CheckpointSaver.open(url) as saver:
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    first = saver.put(config, empty_checkpoint(), {"step": 0}, {})
    print("acknowledged", flush=True)
    KillPoint(point).__enter__()
    second = first, empty_checkpoint(), {"step": 1}, {}
    if how == "hasty":
        threading.Timer(0.5, saver.put, second).start()
    else:
        saver.put(*second)
    print("acknowledged", flush=True)
    time.sleep(10)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'run.db'}"
    make: Callable[[], str] = request.getfixturevalue("fresh_database")
    return make()


def thread(name: str) -> Any:
    """The config of a thread."""
    return {"configurable": {"thread_id": name, "checkpoint_ns": ""}}


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run code in another process."""
    command = [sys.executable, "-c", code, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_two_processes_on_one_thread(url: str) -> None:
    """Both write to one thread_id at once: nothing is lost, and each reads the other's."""
    children = [start(WRITES, url, name) for name in "ab"]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, words = child.communicate(timeout=120)
        assert child.returncode == 0, words
    with CheckpointSaver.open(url) as saver:
        for name in "ab":
            found = list(saver.list(thread("shared"), filter={"writer": name}))
            assert [one.metadata["step"] for one in found] == list(range(39, -1, -1))
            assert all(one.pending_writes == [(f"task {name}", "channel", name)] for one in found)


def killed(url: str, point: str, how: str) -> int:
    """Put two checkpoints in a process that dies at a point of the second; return how many were acknowledged."""
    child = start(DIES, url, point, how)
    said, words = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, words
    return said.count("acknowledged")


@needs_fork
@pytest.mark.parametrize("point", [*POINTS, "before_acknowledgement"])
def test_killed_at_every_point(url: str, point: str) -> None:
    """What was acknowledged is there; what was not is there as a whole or not at all; the next process goes on."""
    assert killed(url, point, "sound") == 1
    committed = point in ("run_after_commit", "before_acknowledgement")
    with CheckpointSaver.open(url) as saver:
        found = list(saver.list(thread("t")))
        assert [one.metadata["step"] for one in found] == ([1, 0] if committed else [0])
        saver.put(found[0].config, empty_checkpoint(), {"step": 2}, {})
        newest = saver.get_tuple(thread("t"))
        assert newest is not None
        assert newest.metadata["step"] == 2


@needs_fork
def test_an_acknowledgement_before_the_commit_is_noticed(url: str) -> None:
    """Sabotaged by acknowledging at once, as ``durability="async"`` does, the same kill loses a checkpoint."""
    acknowledged = killed(url, "run_before_commit", "hasty")
    with CheckpointSaver.open(url) as saver:
        assert len(list(saver.list(thread("t")))) < acknowledged


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_of_an_open_saver(url: str) -> None:
    """A child of a process whose saver has written, blocking, has connections and threads of its own; so its parent."""
    with CheckpointSaver.open(url) as saver:
        first = saver.put(thread("t"), empty_checkpoint(), {"step": 0}, {})
        child = os.fork()
        if child == 0:
            status = 1
            try:
                saver.put(first, empty_checkpoint(), {"step": 1}, {})
                status = 0 if len(list(saver.list(thread("t")))) == 2 else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        saver.put(first, empty_checkpoint(), {"step": 2}, {})
        assert sorted(one.metadata["step"] for one in saver.list(thread("t"))) == [0, 1, 2]


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_outlives_its_parents_saver(url: str) -> None:
    """What a forked child acknowledges while its parent closes the saver is there afterwards."""
    reading, writing = os.pipe()
    with CheckpointSaver.open(url) as saver:
        saver.put(thread("t"), empty_checkpoint(), {"step": 0}, {})
        child = os.fork()
        if child == 0:
            status = 1
            try:
                saver.put(thread("t"), empty_checkpoint(), {"step": 1}, {})
                os.read(reading, 1)
                saver.put(thread("t"), empty_checkpoint(), {"step": 2}, {})
                status = 0
            finally:
                os._exit(status)
    os.write(writing, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(reading)
    os.close(writing)
    with CheckpointSaver.open(url) as saver:
        assert [one.metadata["step"] for one in saver.list(thread("t"))] == [2, 1, 0]


def test_another_schema_is_refused(url: str) -> None:
    """A newer one names the upgrade, an older one the command that migrates."""
    with CheckpointSaver.open(url) as saver:
        saver.put(thread("t"), empty_checkpoint(), {}, {})
    for revision, words in (("0001", "older schema 0001.*memory migrate --db"), ("0099", "pip install --upgrade")):
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE mars_version SET version_num = '{revision}'"))
        engine.dispose()
        with pytest.raises(SchemaMismatch, match=words), CheckpointSaver.open(url):
            raise AssertionError("it was opened")


def test_a_read_only_database(tmp_path: Path) -> None:
    """Reads serve; a write is `StoreReadOnly`, and the saver goes on."""
    path = tmp_path / "run.db"
    with CheckpointSaver.open(f"sqlite:///{path}") as saver:
        saver.put(thread("t"), empty_checkpoint(), {"step": 0}, {})
    with CheckpointSaver.open(f"sqlite:///file:{path}?mode=ro&uri=true") as saver:
        found = saver.get_tuple(thread("t"))
        assert found is not None
        with pytest.raises(StoreReadOnly, match="read-only"):
            saver.put(found.config, empty_checkpoint(), {"step": 1}, {})
        assert [one.metadata["step"] for one in saver.list(thread("t"))] == [0]


def test_a_database_that_stays_locked(tmp_path: Path) -> None:
    """After the timeout the write is `StoreUnavailable`; once the lock is gone it succeeds."""
    path = tmp_path / "run.db"
    with CheckpointSaver.open(f"sqlite:///{path}", busy_timeout=0.05) as saver:
        other = create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")
        with other.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked by another process"):
                saver.put(thread("t"), empty_checkpoint(), {}, {})
            connection.exec_driver_sql("ROLLBACK")
        other.dispose()
        saver.put(thread("t"), empty_checkpoint(), {}, {})
        assert len(list(saver.list(thread("t")))) == 1


def test_a_server_that_ends_its_connections(fresh_database: Callable[[], str]) -> None:
    """After a restart of PostgreSQL, say, the next read and the next write go over new connections."""
    url = fresh_database()
    with CheckpointSaver.open(url) as saver:
        config = thread("t")
        for step in range(3):
            config = saver.put(config, empty_checkpoint(), {"step": step}, {})
            other = create_engine(url)
            with other.connect() as connection:
                ended = connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                ).scalars()
                assert any(ended)
            other.dispose()
        assert [one.metadata["step"] for one in saver.list(thread("t"))] == [2, 1, 0]


def test_what_is_no_database(tmp_path: Path) -> None:
    """A file that is none, a folder that is missing, a URL that is none: each says what helps."""
    (tmp_path / "notes.txt").write_bytes(b"these are my notes\n" * 200)
    wrong: list[tuple[str, type[Exception], str]] = [
        (f"sqlite:///{tmp_path / 'notes.txt'}", StoreCorrupt, "no SQLite database"),
        (f"sqlite:///{tmp_path / 'no' / 'run.db'}", StoreUnavailable, "mkdir -p"),
        ("run.db", InvalidSetting, "not a database URL"),
        ("mysql://host/run", InvalidSetting, "sqlite or postgresql"),
    ]
    for target, kind, words in wrong:
        with pytest.raises(kind, match=words), CheckpointSaver.open(target):
            raise AssertionError("it was opened")
