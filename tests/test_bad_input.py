"""Bad input and bad surroundings: a clear, typed error each time, and a store that holds what it held."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, create_engine, event

from mars import Budget, Mars, Team
from mars.cli import main
from mars.errors import (
    EmbedderMismatch,
    InvalidFile,
    InvalidInput,
    InvalidNamespace,
    InvalidSetting,
    InvalidText,
    InvalidTime,
    InvalidVector,
    MarsError,
    SchemaMismatch,
    StoreClosed,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from mars.ingest import ingest
from mars.memory.engine import Memory
from mars.memory.records import MAX_TEXT, Grade, NewRecord, Record
from mars.testing import ConstantEmbedder

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAIVE = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - what is under test
ANN = ("ann",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of a store that holds two records."""
    file = tmp_path / "store.db"
    with Memory.open_sync(f"sqlite:///{file}") as memory:
        memory.add("Ann moved to Bern.", ANN, now=NOW)
        memory.add("Ben keeps bees.", ("ben",), now=NOW)
    return file


def rows(path: Path) -> list[Any]:
    """Return every row of a store's tables, read behind its back; its file must be sound."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = ("records", "vectors", "history", "tombstones", "clock")
        return [connection.execute(f"SELECT * FROM mars_{table} ORDER BY 1").fetchall() for table in tables]
    finally:
        connection.close()


def record(text: Any = "Ann has a cat.", **fields: Any) -> NewRecord:
    """Return a new record of Ann's."""
    return NewRecord(text=text, namespace=ANN, **fields)


BAD_RECORDS: list[tuple[str, type[MarsError], dict[str, Any]]] = [
    ("empty text", InvalidText, {"text": ""}),
    ("blank text", InvalidText, {"text": " \n\t"}),
    ("no text", InvalidText, {"text": None}),
    ("NUL in text", InvalidText, {"text": "a\x00b"}),
    ("lone surrogate", InvalidText, {"text": "a\ud800b"}),
    ("too long text", InvalidText, {"text": "x" * (MAX_TEXT + 1)}),
    ("naive event time", InvalidTime, {"event_time": NAIVE}),
    ("naive expiry", InvalidTime, {"expires_at": NAIVE}),
    ("a time that is none", InvalidTime, {"event_time": "2026-03-01"}),
    ("NaN vector", InvalidVector, {"embedding": np.asarray([float("nan")] * 256, np.float32)}),
    ("infinite vector", InvalidVector, {"embedding": np.asarray([float("inf")] * 256, np.float32)}),
    ("wrong dimension", InvalidVector, {"embedding": np.ones(3, np.float32)}),
    ("vector of words", InvalidVector, {"embedding": ["a", "b"]}),
    ("importance beyond 1", InvalidSetting, {"importance": 1.5}),
    ("metadata with NaN", InvalidInput, {"metadata": {"x": float("nan")}}),
    ("metadata with an object", InvalidInput, {"metadata": {"x": object()}}),
    ("negative position", InvalidInput, {"position": -1}),
    ("huge position", InvalidInput, {"position": 2**70}),
    ("endless key", InvalidText, {"key": "k" * 5000}),
    ("fact without a subject", InvalidInput, {"kind": "fact"}),
]


@pytest.mark.parametrize(("fields", "kind"), [pytest.param(f, k, id=name) for name, k, f in BAD_RECORDS])
async def test_a_bad_record_is_refused_with_its_batch(
    path: Path, kind: type[MarsError], fields: dict[str, Any]
) -> None:
    """One bad record refuses the whole batch with a typed error, and the store holds what it held."""
    before = rows(path)
    async with Memory.open(f"sqlite:///{path}") as memory:
        with pytest.raises(kind) as caught:
            await memory.add_many([record("good"), record(**fields)], now=NOW)
    assert str(caught.value)
    assert len(str(caught.value)) < 400
    assert rows(path) == before


@pytest.mark.parametrize("namespace", [(), ("",), ["ann"], "ann", ("ann", 3), None, ("a\x00b",)])
async def test_a_bad_namespace_is_refused(path: Path, namespace: Any) -> None:
    """A namespace that is no tuple of labels is `InvalidNamespace` for writes and reads alike."""
    before = rows(path)
    async with Memory.open(f"sqlite:///{path}") as memory:
        for call in (memory.add("text", namespace), memory.recall("text", namespace=namespace)):
            with pytest.raises(InvalidNamespace):
                await call
    assert rows(path) == before


async def test_naive_times_are_refused_everywhere(path: Path) -> None:
    """Every call that takes `now` refuses a naive one with what to write instead."""
    before = rows(path)
    async with Memory.open(f"sqlite:///{path}") as memory:
        (one,) = await memory.list(ANN)
        calls = [
            memory.add("text", ANN, now=NAIVE),
            memory.recall("Bern", namespace=ANN, now=NAIVE),
            memory.used([one.id], Grade.GOOD, "turn", now=NAIVE),
            memory.sweep(now=NAIVE),
            memory.archive([one.id], now=NAIVE),
        ]
        for call in calls:
            with pytest.raises(InvalidTime, match="tzinfo"):
                await call
    assert rows(path) == before


async def test_a_megabyte_of_text_is_a_record_like_another(path: Path) -> None:
    """1 MB of text is stored verbatim and recalled; nothing else is lost."""
    long = "The heron stands in the river. " * 34_000
    async with Memory.open(f"sqlite:///{path}") as memory:
        stored = await memory.add(long, ANN, now=NOW)
        hits = await memory.recall("Where does the heron stand?", namespace=ANN, now=NOW)
        assert hits[0].record.id == stored.id
        assert hits[0].record.text == long
        assert len(await memory.list(ANN)) == 2
    rows(path)


async def test_an_unknown_namespace_is_empty(path: Path) -> None:
    """For a program a namespace that nobody wrote to holds nothing."""
    async with Memory.open(f"sqlite:///{path}") as memory:
        assert await memory.recall("Bern", namespace=("nobody",), now=NOW) == []
        assert await memory.list(("nobody",)) == []


def test_commands_name_the_known_namespaces(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`mars memory` on an unknown namespace exits with 2 and one line that names those that hold something."""
    for command in (["list"], ["search", "Bern"]):
        assert main(["memory", *command, "--namespace", "nobody", "--db", str(path)]) == 2
        told = capfd.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        assert "ann, ben" in told.err


@pytest.mark.parametrize("name", ["what?/x.db", "100%25.db", "%20/a b#.db", "ü.db"])
def test_a_path_is_taken_by_the_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """A path on the command line is no URL: no sign of it is decoded, and none ends it."""
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path("talk.txt").write_text("Ann: I moved to Bern.\n", encoding="utf-8")
    assert main(["ingest", "talk.txt", "--format", "text", "-n", "ann", "--db", name]) == 0
    assert Path(name).is_file()
    assert main(["memory", "list", "-n", "ann", "--db", name]) == 0
    assert "I moved to Bern." in capfd.readouterr().out


async def test_a_missing_file_is_named(path: Path, tmp_path: Path) -> None:
    """Ingesting a file that is not there, or a folder, is `InvalidFile`, whatever the format."""
    before = rows(path)
    async with Memory.open(f"sqlite:///{path}") as memory:
        for name in ("jsonl", "text", "langchain-messages", "locomo"):
            for file in (tmp_path / "no.json", tmp_path):
                with pytest.raises(InvalidFile, match=str(file.name)):
                    await ingest(memory, file, name, ANN)
        with pytest.raises(InvalidSetting, match="jsonl"):
            await ingest(memory, tmp_path / "no.json", "yaml", ANN)
    assert rows(path) == before


def test_a_command_on_a_missing_memory_says_how_to_fill_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A command that reads creates no database: it exits with 2 and names `mars ingest`."""
    assert main(["memory", "stats", "--db", str(tmp_path / "no.db")]) == 2
    assert "mars ingest" in capfd.readouterr().err
    assert not (tmp_path / "no.db").exists()


@pytest.mark.parametrize("name", ["jsonl", "langchain-messages"])
async def test_broken_json_is_numbered_and_skipped(path: Path, tmp_path: Path, name: str) -> None:
    """A broken line is reported with its number and the rest is stored; `strict` refuses before anything is written."""
    file = tmp_path / "talk.jsonl"
    line = '{"role": "user", "content": "I like tea."}\n'
    file.write_text(f'{line}{{"role": "user", "content": \n{line}[1, 2]\n', encoding="utf-8")
    before = rows(path)
    async with Memory.open(f"sqlite:///{path}") as memory:
        with pytest.raises(InvalidFile, match=r"talk.jsonl, 2: .*JSON"):
            await ingest(memory, file, name, ANN, strict=True)
        assert rows(path) == before
        report = await ingest(memory, file, name, ANN, now=NOW)
    assert (report.added, [one.line for one in report.broken]) == (2, [2, 4])


def limited(path: Path, spare: int) -> Engine:
    """Return an engine on a file that may grow by a few pages only: a disk that fills up."""
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def limit(connection: sqlite3.Connection, _: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + spare}")

    return engine


async def test_a_full_disk_loses_nothing(path: Path) -> None:
    """When no space is left the write is `StoreFull` and leaves nothing, and all that was acknowledged stays."""
    engine = limited(path, spare=40)
    acknowledged: list[Record] = []

    async def fill(memory: Memory) -> None:
        for number in range(1000):
            acknowledged.extend(await memory.add_many([record(f"{number}: " + "x" * 9000)] * 2, now=NOW))

    try:
        async with Memory.open(engine) as memory:
            with pytest.raises(StoreFull, match="free some space"):
                await fill(memory)
            assert 2 < len(acknowledged) < 200
            listed = await memory.list(ANN)
            assert {one.id for one in acknowledged} <= {one.id for one in listed}
            assert len(listed) == 1 + len(acknowledged)
            before = rows(path)
    finally:
        engine.dispose()
    assert rows(path) == before
    async with Memory.open(f"sqlite:///{path}") as memory:
        await memory.add("there is space again", ANN, now=NOW)


async def test_a_read_only_database_is_read_and_not_written(path: Path) -> None:
    """A read-only database answers every read; a write is `StoreReadOnly` and changes nothing."""
    before = rows(path)
    for how in ("mode=ro", "immutable=1"):
        async with Memory.open(f"sqlite:///file:{path}?{how}&uri=true") as memory:
            hits = await memory.recall("Where did Ann move?", namespace=ANN, now=NOW)
            assert [hit.record.text for hit in hits] == ["Ann moved to Bern."]
            writes = [memory.add("text", ANN, now=NOW), memory.used([hits[0].record.id], Grade.GOOD, "t", now=NOW)]
            for write in writes:
                with pytest.raises(StoreReadOnly, match="read-only"):
                    await write
    assert rows(path) == before


async def test_a_locked_database_is_named(path: Path) -> None:
    """While another process keeps the write lock, a write is `StoreUnavailable` after the busy timeout; reads go on."""
    before = rows(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        async with Memory.open(f"sqlite:///{path}", busy_timeout=0.05) as memory:
            with pytest.raises(StoreUnavailable, match="locked"):
                await memory.add("text", ANN, now=NOW)
            assert len(await memory.list(ANN)) == 1
            other.execute("ROLLBACK")
            assert rows(path) == before
            await memory.add("text", ANN, now=NOW)
    finally:
        other.close()


@pytest.fixture
def newer(path: Path) -> Path:
    """Return the file of a store that a later version wrote."""
    connection = sqlite3.connect(path)
    connection.execute("UPDATE mars_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    return path


async def test_a_newer_schema_is_refused(newer: Path) -> None:
    """A store of a later version is `SchemaMismatch` with the command that helps."""
    before = rows(newer)
    with pytest.raises(SchemaMismatch, match="pip install --upgrade"):
        async with Memory.open(f"sqlite:///{newer}"):
            pass
    assert rows(newer) == before


def test_the_command_line_refuses_a_newer_schema(newer: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every command on a store of a later version exits with 2 and names the upgrade."""
    for command in ("stats", "migrate"):
        assert main(["memory", command, "--db", str(newer)]) == 2
        assert "pip install --upgrade mars-runtime" in capfd.readouterr().err.replace("\n", " ")


async def test_another_embedder_is_refused(path: Path) -> None:
    """A store whose vectors come from another embedder is `EmbedderMismatch`, and both are named."""
    before = rows(path)
    with pytest.raises(EmbedderMismatch, match="hashing"):
        async with Memory.open(f"sqlite:///{path}", embedder=ConstantEmbedder()):
            pass
    assert rows(path) == before


@pytest.mark.parametrize("url", ["", "mysql://host/db", "nonsense", "sqlite//x.db", "postgresql+nodriver://h/d"])
async def test_a_bad_url_is_refused(url: str) -> None:
    """What is no URL of SQLite or PostgreSQL is `InvalidSetting` with one that would do."""
    with pytest.raises(InvalidSetting, match="sqlite:///"):
        async with Memory.open(url):
            pass


@pytest.mark.parametrize("url", ["postgresql://ann:a@s3cret@host/db", "postgresql://ann:a@host:s3cret/db"])
async def test_a_broken_url_shows_nothing_of_its_password(url: str) -> None:
    """What stands where the host or the port should may be the end of a password with signs in it."""
    with pytest.raises(InvalidSetting, match="%40 %3A %2F") as caught:
        async with Memory.open(url):
            pass
    assert "s3c" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql+asyncpg://ann@host/db", "sqlite+aiosqlite:///a.db"])
async def test_an_asynchronous_driver_is_refused_whether_it_is_installed_or_not(url: str) -> None:
    """Installing it would not help."""
    with pytest.raises(InvalidSetting, match="asynchronous"):
        async with Memory.open(url):
            pass


MISTAKEN: list[tuple[str, dict[str, Any], str]] = [
    ("a setting that there is not", {"synchronus": "full"}, "no setting synchronus; .* busy_timeout, synchronous"),
    ("a time-out in words", {"busy_timeout": "long"}, "busy_timeout is a number of seconds"),
    ("a clock that tells no time", {"clock": "noon"}, r"a clock has now\(\)"),
    ("a durability that there is not", {"durability": "Sync"}, "one of sync, async, exit; got 'Sync'"),
    ("a function as a verifier", {"verifiers": [len]}, "CallableVerifier"),
    ("an observer that observes nothing", {"observers": ["runs.jsonl"]}, "RunLog"),
    ("a checkpointer that is none", {"checkpointer": 3}, "a URL, a saver, or None; got 3"),
    ("a policy that is none", {"policy": 3}, "CallPolicy; got 3"),
    ("a lease in words", {"lease": "long"}, "lease must be a positive number of seconds; got 'long'"),
    ("a team as a mapping", {"team": {"iterations": 2}}, "Team.from_plain"),
    ("teams as mappings", {"teams": {"a": {"iterations": 2}}}, r"teams\['a'\] must be a mars.Team"),
]


@pytest.mark.parametrize(("given", "says"), [pytest.param(g, s, id=name) for name, g, s in MISTAKEN])
def test_what_mars_is_opened_with_is_looked_at(path: Path, given: dict[str, Any], says: str) -> None:
    """A mistake is told where it was made, by what helps; nothing is taken for what it is not."""
    before = rows(path)
    with pytest.raises(InvalidSetting, match=says), Mars.open_sync(f"sqlite:///{path}", **given):
        pass
    assert rows(path) == before


ASKED_WRONGLY: list[tuple[str, dict[str, Any], str]] = [
    ("no user", {"user": None}, "a user needs a name"),
    ("a number as a user", {"user": 3}, "a user needs a name"),
    ("a team itself", {"team": Team()}, r"team must be the name of one of Mars.open\(teams=…\)"),
    ("a budget as a mapping", {"budget": {"calls": 3}}, "budget must be a mars.Budget"),
    ("one constraint as a string", {"constraints": "short"}, "constraints is a list of strings"),
    ("a number as a task", {"task": 3}, "the task must be a string; got 3"),
]


@pytest.mark.parametrize(("given", "says"), [pytest.param(g, s, id=name) for name, g, s in ASKED_WRONGLY])
def test_what_is_asked_is_looked_at(given: dict[str, Any], says: str) -> None:
    """No string is taken for a list of letters, and no mapping for what it describes."""
    with Mars.open_sync("memory:") as mars, pytest.raises(InvalidInput, match=says):
        mars.run(**{"task": "Where?", **given})


async def test_what_is_wrong_is_called_as_it_was_given(path: Path) -> None:
    """The message names the parameter of the call, and what kind of thing was given."""
    wrong: list[tuple[Any, str]] = [
        (lambda memory: memory.recall("Bern", namespace=ANN, since=NAIVE), "since has no time zone"),
        (lambda memory: memory.recall("Bern", namespace=ANN, until=NAIVE), "until has no time zone"),
        (lambda memory: memory.add("text", ANN, now="2026-03-01"), "now must be a datetime"),
        (lambda memory: memory.namespaces("ann"), "non-empty tuple.*got 'ann'"),
        (lambda memory: memory.add(b"text", ANN), "text must be a string"),
    ]
    async with Memory.open(f"sqlite:///{path}") as memory:
        for call, says in wrong:
            with pytest.raises(InvalidInput, match=says):
                await call(memory)
    with pytest.raises(InvalidSetting, match="calls must be 0 or more; got '3'"):
        Budget(calls="3")  # type: ignore[arg-type]


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    """An unreachable server is `StoreUnavailable`; the password of the URL appears nowhere."""
    pytest.importorskip("psycopg", reason="install the extra: pip install 'mars-runtime[postgres]'")
    with pytest.raises(StoreUnavailable) as caught:
        async with Memory.open("postgresql://ann:s3cret@127.0.0.1:9/none?connect_timeout=2"):
            pass
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_no_error_of_the_database_shows_the_text(path: Path) -> None:
    """Errors that come from SQL carry no text, parameter or row."""
    engine = limited(path, spare=0)
    secret = "a very private sentence " * 4000
    try:
        async with Memory.open(engine) as memory:
            with pytest.raises(StoreFull) as caught:
                await memory.add(secret, ANN, now=NOW)
    finally:
        engine.dispose()
    assert "private" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_closed_memory_says_so(path: Path) -> None:
    """After it was closed, every call is `StoreClosed`."""
    memory = Memory.open(f"sqlite:///{path}")
    async with memory:
        pass
    calls: list[Callable[[], Any]] = [
        lambda: memory.add("text", ANN, now=NOW),
        lambda: memory.recall("text", namespace=ANN, now=NOW),
        lambda: memory.namespaces(),
    ]
    for call in calls:
        with pytest.raises(StoreClosed):
            await call()
