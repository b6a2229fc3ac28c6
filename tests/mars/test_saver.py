"""The checkpoint saver: every operation, from every kind of caller, on every database."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, to_thread
from langgraph.checkpoint.base import Checkpoint, CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import ERROR
from sqlalchemy import create_engine

from mars import CheckpointSaver
from mars.errors import InvalidInput, InvalidSetting, StoreClosed
from mars.persistence.checkpoints import CHAIN, statements
from mars.persistence.deltas import COUNTERS
from mars.persistence.saver import PAGE

pytestmark = pytest.mark.anyio

Config = Any
Do = Callable[..., Awaitable[Any]]
SECRET = "the user's secret"


class Opaque:
    """Nothing that a serializer knows, and whose text must not get out."""

    def __repr__(self) -> str:
        """Give the secret away."""
        return SECRET


@pytest.fixture(scope="module")
def postgres_url(postgres: dict[str, Any], postgres_server: str) -> Iterator[str]:
    """One database for this file; every test has threads of its own."""
    with postgres["database"](postgres_server, "savers") as url:
        yield url


@pytest.fixture(params=["file", "sqlite:///:memory:", "postgres"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CheckpointSaver]:
    """An open saver on each kind of database."""
    url = str(request.param)
    if url == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
    if url == "file":
        url = f"sqlite:///{tmp_path / 'run.db'}"
    with CheckpointSaver.open(url) as opened:
        yield opened


@pytest.fixture(params=["asynchronous", "blocking the loop", "in a worker thread"])
def do(request: pytest.FixtureRequest, saver: CheckpointSaver) -> Do:
    """Call a method of the saver by its plain name, in each way that a graph does."""

    async def call(name: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "asynchronous":
            result = getattr(saver, f"a{name}")(*args, **kwargs)
            return [one async for one in result] if name == "list" else await result

        def blocking() -> Any:
            result = getattr(saver, name)(*args, **kwargs)
            return list(result) if name == "list" else result

        return blocking() if request.param == "blocking the loop" else await to_thread.run_sync(blocking)

    return call


@pytest.fixture
def thread(request: pytest.FixtureRequest) -> Config:
    """The config of a thread that no other test uses."""
    return {"configurable": {"thread_id": request.node.name, "checkpoint_ns": ""}}


def checkpoint(**values: Any) -> Checkpoint:
    """A checkpoint with these channels."""
    made = empty_checkpoint()
    made["channel_values"] = values
    made["channel_versions"] = dict.fromkeys(values, 1)
    return made


def id_of(config: Config) -> str:
    """The id that a config names."""
    return str(config["configurable"]["checkpoint_id"])


def ids(found: list[CheckpointTuple]) -> list[str]:
    """The ids of what was listed."""
    return [id_of(one.config) for one in found]


async def chain(do: Do, config: Config, count: int, **metadata: Any) -> list[Config]:
    """Store so many checkpoints in a line; return their configs, the oldest first."""
    made = []
    for step in range(count):
        config = await do("put", config, checkpoint(step=step), {"step": step, **metadata}, {})
        made.append(config)
    return made


async def test_a_checkpoint_comes_back(do: Do, thread: Config) -> None:
    """With its values, its metadata, its parent, and what tasks wrote, in the order of their paths."""
    first = await do("put", thread, checkpoint(), {"source": "input", "step": -1}, {})
    values = {"text": "wörter \x00 🦦", "list": [1, 2.5, None, {"a": [1, 2]}], "bytes": b"\x00\xff", "set": {1, 2}}
    stored = checkpoint(**values)
    second = await do("put", first, stored, {"source": "loop", "step": 0, "parents": {"": id_of(first)}}, {})
    await do("put_writes", second, [("late", 1), ("late", 2)], "task-a", "~pull, 02")
    await do("put_writes", second, [("early", {"x": 1})], "task-b", "~pull, 01")
    await do("put_writes", second, [("input", None)], "task-c")
    found = await do("get_tuple", thread)
    assert found.checkpoint == stored
    assert found.config == second == {"configurable": {**thread["configurable"], "checkpoint_id": stored["id"]}}
    assert found.parent_config == first
    assert found.metadata == {"source": "loop", "step": 0, "parents": {"": id_of(first)}}
    assert found.pending_writes == [
        ("task-c", "input", None),
        ("task-b", "early", {"x": 1}),
        ("task-a", "late", 1),
        ("task-a", "late", 2),
    ]
    root = await do("get_tuple", first)
    assert (root.parent_config, root.pending_writes) == (None, [])
    assert await do("get_tuple", {"configurable": {**thread["configurable"], "checkpoint_id": "none"}}) is None


async def test_writing_again(do: Do, thread: Config) -> None:
    """A put of the same id replaces; a task's writes stay as first stored, its errors are replaced."""
    config = await do("put", thread, checkpoint(a=1), {"step": 0}, {})
    again = checkpoint(a=2)
    again["id"] = id_of(config)
    await do("put", thread, again, {"step": 1}, {})
    for value in ("first", "second"):
        await do("put_writes", config, [("channel", value)], "task")
        await do("put_writes", config, [(ERROR, value)], "task")
    found = await do("get_tuple", thread)
    assert (found.checkpoint["channel_values"], found.metadata["step"]) == ({"a": 2}, 1)
    assert found.pending_writes == [("task", ERROR, "second"), ("task", "channel", "first")]
    await do("put_writes", config, [], "nothing")
    assert len(ids(await do("list", thread))) == 1


async def test_list(do: Do, thread: Config, saver: CheckpointSaver) -> None:
    """By filter, before, limit and namespace, the newest first, over any number of pages."""
    made = await chain(do, thread, PAGE + 3, source="loop")
    newest_first = [id_of(one) for one in reversed(made)]
    assert ids(await do("list", thread)) == newest_first
    assert ids(await do("list", thread, limit=PAGE + 1)) == newest_first[: PAGE + 1]
    assert ids(await do("list", thread, limit=0)) == []
    assert ids(await do("list", thread, before=made[2])) == newest_first[-2:]
    assert ids(await do("list", thread, before=made[2], limit=1)) == newest_first[-2:-1]
    assert ids(await do("list", thread, filter={"step": 1, "source": "loop"}, limit=5)) == [id_of(made[1])]
    assert await do("list", thread, filter={"step": 1, "source": "input"}) == []
    assert await do("list", thread, filter={"no' such key": None, "step": -1}) == []
    assert ids(await do("list", made[4])) == [id_of(made[4])]
    below = {"configurable": {**thread["configurable"], "checkpoint_ns": "child:1"}}
    (inner,) = await chain(do, below, 1)
    assert ids(await do("list", below)) == [id_of(inner)]
    everywhere = {"configurable": {"thread_id": thread["configurable"]["thread_id"]}}
    assert ids(await do("list", everywhere)) == [id_of(inner), *newest_first]
    assert id_of(inner) in ids(await do("list", None, limit=2))


async def test_copy_and_delete(do: Do, thread: Config) -> None:
    """A copy has everything and lives on its own; a copy onto a thread that has something is refused."""
    made = await chain(do, thread, 3)
    await do("put_writes", made[-1], [("channel", 1)], "task")
    source = thread["configurable"]["thread_id"]
    copied: Config = {"configurable": {"thread_id": f"{source} copy", "checkpoint_ns": ""}}
    await do("copy_thread", source, f"{source} copy")
    await do("delete_thread", source)
    assert await do("get_tuple", thread) is None
    found = await do("get_tuple", copied)
    assert (id_of(found.config), found.pending_writes) == (id_of(made[-1]), [("task", "channel", 1)])
    assert len(await do("list", copied)) == 3
    await chain(do, thread, 1)
    with pytest.raises(InvalidInput, match="delete it first"):
        await do("copy_thread", f"{source} copy", source)
    assert len(await do("list", thread)) == 1


async def test_runs_are_deleted(do: Do, thread: Config) -> None:
    """Every checkpoint that a run made, in any namespace, with its writes; nothing else."""
    name = thread["configurable"]["thread_id"]
    mine, below = f"run {name}", {"configurable": {"thread_id": name, "checkpoint_ns": "child"}}
    kept = await chain(do, thread, 1, run_id=f"other {name}")
    gone = [*await chain(do, kept[0], 2, run_id=mine), *await chain(do, below, 1, run_id=mine)]
    await do("put_writes", gone[0], [("channel", 1)], "task")
    await do("delete_for_runs", [mine, "no such run"])
    assert ids(await do("list", {"configurable": {"thread_id": name}})) == [id_of(kept[0])]
    await do("put", kept[0], {**checkpoint(), "id": id_of(gone[0])}, {}, {})
    assert (await do("get_tuple", gone[0])).pending_writes == []


async def test_prune(do: Do, thread: Config) -> None:
    """Only the newest of each namespace stays, with its writes; by "delete" nothing; other threads are untouched."""
    name = thread["configurable"]["thread_id"]
    other: Config = {"configurable": {"thread_id": f"{name} other", "checkpoint_ns": ""}}
    below = {"configurable": {"thread_id": name, "checkpoint_ns": "child"}}
    made, inner, others = [await chain(do, one, 3) for one in (thread, below, other)]
    await do("put_writes", made[-1], [("channel", 1)], "task")
    await do("prune", [name])
    assert ids(await do("list", {"configurable": {"thread_id": name}})) == [id_of(inner[-1]), id_of(made[-1])]
    assert (await do("get_tuple", thread)).pending_writes == [("task", "channel", 1)]
    assert len(await do("list", other)) == len(others)
    await do("prune", [name, "no such thread"], strategy="delete")
    assert await do("list", {"configurable": {"thread_id": name}}) == []
    with pytest.raises(InvalidInput, match="keep_latest"):
        await do("prune", [name], strategy="oldest")
    with pytest.raises(InvalidInput, match="list of ids"):
        await do("prune", name)


async def test_pruning_keeps_what_delta_channels_need(do: Do, thread: Config) -> None:
    """Back to the nearest stored value, and no further; without delta channels nothing but what is named."""
    config, made = thread, []
    for step in range(CHAIN + 10):
        values = {"ch": "old"} if step == 1 else {"ch": "seed"} if step == 4 else {}
        metadata = {"step": step} if values else {"step": step, COUNTERS: {"ch": (1, 1)}}
        config = await do("put", config, checkpoint(**values), metadata, {})
        await do("put_writes", config, [("ch", step)], "task")
        made.append(config)
    before = await do("get_delta_channel_history", config=config, channels=["ch"])
    assert before["ch"]["seed"] == "seed"
    assert [write[2] for write in before["ch"]["writes"]] == list(range(4, CHAIN + 9))
    await do("retain", thread["configurable"]["thread_id"], [id_of(made[2]), id_of(made[-1])])
    assert ids(await do("list", thread)) == [id_of(one) for one in reversed([made[1], made[2], *made[4:]])]
    await do("prune", [thread["configurable"]["thread_id"]])
    assert ids(await do("list", thread)) == [id_of(one) for one in reversed(made[4:])]
    assert await do("get_delta_channel_history", config=config, channels=["ch"]) == before


async def test_a_line_that_bites_its_tail_ends(do: Do, thread: Config) -> None:
    """A parent that is also a child does not hang the walk."""
    first, second = await chain(do, thread, 2)
    await do("put", second, {**checkpoint(), "id": id_of(first)}, {}, {})
    assert await do("get_delta_channel_history", config=second, channels=["ch"]) == {"ch": {"writes": []}}
    assert await do("get_delta_channel_history", config=second, channels=[]) == {}


async def test_what_cannot_be_stored_is_refused(do: Do, thread: Config) -> None:
    """Before anything is written, naming the channel and the type, and nothing of the value."""
    config = await do("put", thread, checkpoint(ok=1), {"step": 0}, {})
    bad: list[tuple[Any, str]] = [
        ({"deep": [1, {"x": Opaque()}]}, "channel 'bad' holds a Opaque"),
        (threading.Lock(), "channel 'bad' holds a lock"),
        ([{1: [Opaque()]}], "channel 'bad' holds a Opaque"),
    ]
    for value, words in bad:
        attempts: tuple[tuple[Any, ...], ...] = (
            ("put", config, checkpoint(good=1, bad=value), {}, {}),
            ("put_writes", config, [("bad", value)], "t"),
        )
        for name, *args in attempts:
            with pytest.raises(InvalidInput, match=words) as caught:
                await do(name, *args)
            assert SECRET not in str(caught.value)
            assert caught.value.__cause__ is None
    with pytest.raises(InvalidInput, match="no JSON"):
        await do("put", config, checkpoint(), {"odd": Opaque()}, {})
    (only,) = await do("list", thread)
    assert (only.config, only.pending_writes) == (config, [])


@pytest.mark.parametrize("odd", ["\x00", "\ud800"])
async def test_an_id_that_no_database_stores_is_refused(do: Do, odd: str) -> None:
    """On every database alike; and a config without a thread is told what to pass."""
    with pytest.raises(InvalidInput, match="thread_id holds a character"):
        await do("get_tuple", {"configurable": {"thread_id": odd}})
    with pytest.raises(InvalidInput, match="run_ids holds a character"):
        await do("delete_for_runs", [odd])
    nameless: list[Config] = [{}, {"configurable": {}}]
    for config in nameless:
        with pytest.raises(InvalidInput, match=r'pass \{"configurable": \{"thread_id"'):
            await do("put", config, checkpoint(), {}, {})
    with pytest.raises(InvalidInput, match="needs the checkpoint_id"):
        await do("put_writes", {"configurable": {"thread_id": "t"}}, [("a", 1)], "task")


async def test_an_id_may_be_a_number(do: Do, thread: Config) -> None:
    """A thread_id of 7 is the thread "7", as with LangGraph's own savers."""
    await do("delete_thread", 7)
    await do("put", {"configurable": {"thread_id": 7}}, checkpoint(a=1), {}, {})
    assert (await do("get_tuple", {"configurable": {"thread_id": "7"}})).checkpoint["channel_values"] == {"a": 1}


async def test_many_at_once(saver: CheckpointSaver, thread: Config) -> None:
    """Tasks and threads that write at the same time lose nothing, and one that fails takes no other with it."""
    name = thread["configurable"]["thread_id"]
    failed: list[BaseException] = []

    async def task(number: int) -> None:
        mine: Config = {"configurable": {"thread_id": f"{name} {number}", "checkpoint_ns": ""}}
        for step in range(10):
            mine = await saver.aput(mine, checkpoint(step=step), {"step": step}, {})
            await saver.aput_writes(mine, [("a", step)], "task")

    async def collision() -> None:
        try:
            await saver.acopy_thread("nothing", f"{name} 0")
        except InvalidInput as error:
            failed.append(error)

    def blocking() -> None:
        mine: Config = {"configurable": {"thread_id": f"{name} sync {threading.get_ident()}", "checkpoint_ns": ""}}
        for step in range(10):
            mine = saver.put(mine, checkpoint(step=step), {"step": step}, {})
        assert len(list(saver.list(mine | {"configurable": {"thread_id": mine["configurable"]["thread_id"]}}))) == 10

    await task(0)
    async with create_task_group() as group:
        for number in range(1, 10):
            group.start_soon(task, number)
            group.start_soon(collision)
        for _ in range(4):
            group.start_soon(to_thread.run_sync, blocking)
    assert len(failed) == 9
    for number in range(10):
        config: Config = {"configurable": {"thread_id": f"{name} {number}", "checkpoint_ns": ""}}
        steps = [one.metadata["step"] async for one in saver.alist(config)]
        assert steps == list(range(9, -1, -1))


async def test_outside_of_its_block_a_saver_says_so(tmp_path: Path) -> None:
    """Before it is entered and after it was left, every method is `StoreClosed`; it is entered once."""
    saver = CheckpointSaver.open(f"sqlite:///{tmp_path / 'run.db'}")
    config: Config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for words in ("not open yet", "closed"):
        with pytest.raises(StoreClosed, match=words):
            saver.get_tuple(config)
        with pytest.raises(StoreClosed, match=words):
            await saver.aput(config, checkpoint(), {}, {})
        if words == "not open yet":
            async with saver:
                assert await saver.aget_tuple(config) is None
    with pytest.raises(StoreClosed, match="opened before"), saver:
        raise AssertionError("it was opened twice")
    saver.close()


async def test_a_live_engine_stays_open(tmp_path: Path) -> None:
    """The saver on an engine works on it, and leaves it to its owner."""
    engine = create_engine(f"sqlite:///{tmp_path / 'run.db'}")
    async with CheckpointSaver.open(engine) as saver:
        await saver.aput({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, checkpoint(), {}, {})
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM mars_checkpoints").scalar() == 1
    engine.dispose()


def test_pickle_is_refused() -> None:
    """Neither a serializer that falls back to pickle, nor a setting that means nothing."""
    with pytest.raises(InvalidSetting, match="pickle_fallback=False"):
        CheckpointSaver.open("sqlite:///:memory:", serde=JsonPlusSerializer(pickle_fallback=True))
    with pytest.raises(InvalidSetting, match="synchronous"):
        CheckpointSaver.open("sqlite:///:memory:", synchronous="off")  # type: ignore[arg-type]


def test_the_walk_and_the_writes_go_by_primary_key(saver: CheckpointSaver) -> None:
    """SQLite looks each ancestor up by its key; it scans no thread."""
    if saver.database.dialect != "sqlite":
        pytest.skip("the plan is SQLite's")
    sql = statements("sqlite")

    async def plans() -> list[str]:
        def explain(wire: Any) -> list[str]:
            rows = wire.run(f"EXPLAIN QUERY PLAN {sql.chain}", ("t", "", "i", "t", "")).fetchall()
            rows += wire.run(f"EXPLAIN QUERY PLAN {sql.many_writes}", ("t", "", "[]")).fetchall()
            return [row[3] for row in rows]

        return await saver.database.read(explain)

    steps = saver.database.caller.run(plans)
    assert any(step.startswith("SEARCH c ") and "checkpoint_id=?" in step for step in steps), steps
    assert any(step.startswith("SEARCH mars_checkpoint_writes USING PRIMARY KEY (thread_id=?") for step in steps), steps
