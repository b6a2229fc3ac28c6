"""The same episodes by other engines and on other databases: the same results, apart from each other, nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import text

from mars.cli import main
from mars.errors import InvalidSetting, MissingExtra, StoreUnavailable
from mars.memory.backends.connecting import engine_for
from mars.simulation.config import SimulationConfig, read_config
from mars.simulation.databases import IN_MEMORY, PREFIX, check_database, masked, own_database
from mars.simulation.engines import open_engine
from mars.simulation.episodes import EpisodeTask, play_episode
from mars.simulation.results import SCHEMA, Results, canonical, canonical_hash
from mars.simulation.worlds import Cell
from tests import postgres

CONFIG = """
world = "scheduler"
seeds = [1]
variants = ["fsrs", "mars"]
concurrency = 1

[grid]
noise = [1]
change = [0.5]
repeat = [0]
gap = [5]
"""
TASK = EpisodeTask(world="scheduler", variant="fsrs", cell=Cell(noise=1, change=0.5, repeat=0, gap=5), seed=7)
CHEAP = EpisodeTask(world="scheduler", variant="none", cell=TASK.cell, seed=7)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A small simulation."""
    path = tmp_path / "small.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL cluster of our own."""
    if lacking := postgres.missing():
        pytest.skip(lacking)
    with postgres.cluster() as url:
        yield url


def schemas(url: str) -> set[str]:
    """What of ours is in a database."""
    engine = engine_for(url)
    with engine.connect() as connection:
        found = set(connection.scalars(text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'mars%'")))
    engine.dispose()
    return found


def test_every_database_gives_the_same_results(
    config: Path, tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Memories in dictionaries, in SQLite files and in PostgreSQL: the same canonical hash; no episode leaves anything.

    On PostgreSQL the results are there too, so the same command with another folder plays nothing, and is refused while
    somebody plays it.
    """
    tasks = read_config(config).tasks()
    usual = canonical_hash((task, play_episode(task)) for task in tasks)
    files = f"sqlite:///{tmp_path}/files/memory.db"
    (tmp_path / "files").mkdir()
    assert canonical_hash((task, play_episode(task, database=files)) for task in tasks) == usual
    assert list((tmp_path / "files").iterdir()) == []
    with postgres.database(server, "simulated") as url:
        held = Results(tmp_path / "held", url)
        with held.alone(tasks):
            assert main(["simulate", str(config), "--out", str(tmp_path / "two"), "--database", url]) == 2
        held.close()
        assert "another process plays it" in capsys.readouterr().err
        for out, played in (("one", len(tasks)), ("other", 0)):
            command = ["simulate", str(config), "--out", str(tmp_path / out), "--database", url, "--json"]
            assert main(command) == 0
            values = json.loads(capsys.readouterr().out)
            assert (values["played"], values["canonical"], values["engine"]) == (played, usual, "local")
        assert schemas(url) == {SCHEMA}
    lines = [(tmp_path / out / "results.jsonl").read_text() for out in ("one", "other")]
    assert lines[0] == lines[1] != ""


def test_a_killed_episode_leaves_nothing_in_the_way(server: str) -> None:
    """What a killed player left of the episode's schema is dropped by the next one; another's is let alone."""
    with postgres.database(server, "littered") as url:
        engine = engine_for(url).execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE SCHEMA mars_episode_other")
        usual = canonical(play_episode(TASK))
        lent = PREFIX + TASK.name
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {lent}")
            connection.exec_driver_sql(f"CREATE TABLE {lent}.mars_records (half integer)")
        engine.dispose()
        assert canonical(play_episode(TASK, database=url)) == usual
        assert schemas(url) == {"mars_episode_other"}


async def test_databases_of_episodes_are_apart(server: str, tmp_path: Path) -> None:
    """Two that are lent at once do not see each other, in PostgreSQL as in files; both are gone afterwards."""
    with postgres.database(server, "apart") as url:
        for where in (url, f"sqlite:///{tmp_path}/some.db"):
            async with own_database(where, "a") as one, own_database(where, "b") as other:
                for number, lent in enumerate((one, other)):
                    engine = engine_for(lent)
                    with engine.begin() as connection:
                        connection.exec_driver_sql("CREATE TABLE mine (value integer)")
                        connection.exec_driver_sql(f"INSERT INTO mine VALUES ({number})")
                        assert connection.exec_driver_sql("SELECT value FROM mine").scalars().all() == [number]
                    engine.dispose()
        assert schemas(url) == set()
    assert list(tmp_path.iterdir()) == []


async def test_a_database_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """No URL, another kind of database, an unreachable server; no message shows the password."""
    for bad in (3, "mysql://host/name", "moon"):
        with pytest.raises(InvalidSetting):
            check_database(bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting):
        SimulationConfig(world="scheduler", cells=(TASK.cell,), seeds=(1,), database="moon")
    unreachable = f"postgresql://ann:secret@/name?host={tmp_path}"
    assert "secret" not in masked(unreachable)
    assert masked(IN_MEMORY) == IN_MEMORY
    with pytest.raises(StoreUnavailable) as refused:
        async with own_database(unreachable, "a"):
            pass
    assert "secret" not in str(refused.value)


KILLING = """
import json, os, signal, sys
from pathlib import Path
import anyio
from mars.errors import EpisodeLost
from mars.simulation.engines import open_engine
from mars.simulation.episodes import EpisodeTask
from mars.simulation.results import canonical
from mars.simulation.worlds import Cell

task = EpisodeTask(world="scheduler", variant="none", cell=Cell(noise=1, change=0.5, repeat=0, gap=5), seed=7)
children = Path(f"/proc/self/task/{os.getpid()}/children")

async def play():
    try:
        async with open_engine("local", 1, retries=int(sys.argv[1])) as engine:
            print(json.dumps(canonical(await engine.play(task))))
    except EpisodeLost as error:
        print(json.dumps({"lost": str(error)}))

async def work():
    async with anyio.create_task_group() as group:
        group.start_soon(play)
        while not (there := children.read_text().split()):
            await anyio.sleep(0.001)
        os.kill(int(there[0]), signal.SIGKILL)

anyio.run(work)
"""
"""Plays an episode, and kills the first process that is begun for it."""


def played_with_a_kill(retries: int) -> dict[str, object]:
    """What came of it, in an interpreter of its own: anyio leaves pipes of killed processes to the garbage."""
    command = [sys.executable, "-W", "ignore", "-c", KILLING, str(retries)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes by /proc")
def test_an_episode_whose_process_is_killed_is_played_by_another() -> None:
    """SIGKILL to the process of an episode: another plays it, with the same outcome; with retries off it is lost."""
    assert played_with_a_kill(1) == json.loads(json.dumps(canonical(play_episode(CHEAP))))
    assert "the same command goes on" in str(played_with_a_kill(0)["lost"])


def test_the_hash_of_results_leaves_timings_out() -> None:
    """Another `ms` is the same result; another answer, task or order is not."""
    outcome = play_episode(CHEAP)
    usual = canonical_hash([(CHEAP, outcome), (TASK, outcome)])
    assert canonical_hash([(CHEAP, {**outcome, "ms": -1.0}), (TASK, outcome)]) == usual
    assert canonical_hash([(CHEAP, {**outcome, "right": 0}), (TASK, outcome)]) != usual
    assert canonical_hash([(TASK, outcome), (CHEAP, outcome)]) != usual
    assert canonical_hash([(CHEAP, outcome)]) != usual


def test_an_engine_that_cannot_be_is_refused(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the engines, before a folder is made."""
    assert main(["simulate", str(config), "--out", str(tmp_path / "out"), "--engine", "moon"]) == 2
    assert "local, ray" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
async def test_without_ray_the_extra_is_named() -> None:
    """`--engine ray` says what to install; by then Ray is told to report its use to nobody."""
    with pytest.raises(MissingExtra, match=r"mars-runtime\[ray\]"):
        async with open_engine("ray", 2):
            pass
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
