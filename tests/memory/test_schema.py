"""The schema: created once, checked at every open, equal to the models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Engine, create_engine, text

from mars.errors import SchemaMismatch, StoreCorrupt, StoreUnavailable
from mars.memory import schema
from mars.memory.backends import open_backend
from mars.memory.backends.sql import migrate
from mars.memory.tables import metadata as of_memory
from mars.persistence.tables import metadata as of_runs

TABLES = {**of_memory.tables, **of_runs.tables}

OPEN_AND_WRITE = """
import sys
from mars.memory.backends import open_backend
sys.stdin.readline()
backend = open_backend(sys.argv[1])
print(backend.transact(lambda t: t.next_seq()))
backend.close()
"""


@pytest.fixture(params=["sqlite", "postgres"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fresh.db'}"
    make: Callable[[], str] = request.getfixturevalue("fresh_database")
    return make()


def run(url: str, statement: str) -> None:
    """Run one statement on a database, behind the store's back."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


def test_models_equal_migrations(fresh: str) -> None:
    """What the migrations create is what the tables module describes: Alembic finds no difference."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    open_backend(fresh).close()
    engine = create_engine(fresh)
    ours = {"include_name": lambda name, kind, _: kind != "table" or name in TABLES}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=ours)
        differences = compare_metadata(
            context, cast(Any, [of_memory, of_runs])
        )  # it takes several; its types do not say so
        indexes = _indexes(engine)
    engine.dispose()
    assert differences == []
    assert indexes == {(name, index.name) for name, table in TABLES.items() for index in table.indexes}


def _indexes(engine: Engine) -> set[tuple[str, str | None]]:
    from sqlalchemy import inspect

    inspector = inspect(engine)
    return {(table, index["name"]) for table in TABLES for index in inspector.get_indexes(table)}


def test_the_newest_revision_is_the_one_the_code_names() -> None:
    """`schema.REVISIONS` lists the migrations in their order, so that a check needs no Alembic."""
    from alembic.script import ScriptDirectory

    found = [one.revision for one in ScriptDirectory.from_config(schema.config()).walk_revisions()]
    assert tuple(reversed(found)) == schema.REVISIONS


def test_a_second_open_does_not_import_alembic(tmp_path: Path) -> None:
    """Opening a store that has the newest schema reads its revision and imports no Alembic."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    open_backend(url).close()
    code = (
        "import sys; from mars.memory.backends import open_backend; open_backend(sys.argv[1]).close(); "
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, url], check=False).returncode == 0


def test_many_processes_open_a_fresh_database_at_once(fresh: str) -> None:
    """Of processes that open a fresh database in the same moment, all succeed, on one schema and one clock."""
    command = [sys.executable, "-c", OPEN_AND_WRITE, fresh]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    outcomes = [child.communicate(timeout=60) for child in children]
    assert sorted(out.strip() for out, _ in outcomes) == ["1", "2", "3", "4", "5"], outcomes
    backend = open_backend(fresh)
    assert backend.read(lambda reader: len(reader.meta()["store_id"])) == 32
    backend.close()


@pytest.mark.parametrize("found", ["0099", "feedbeef"])
def test_a_newer_schema_is_refused(fresh: str, found: str) -> None:
    """A schema that this code does not know is `SchemaMismatch`, names the upgrade, and stays untouched."""
    open_backend(fresh).close()
    run(fresh, f"UPDATE mars_version SET version_num = '{found}'")
    for attempt in (open_backend, migrate):
        with pytest.raises(SchemaMismatch, match=rf"{found}.*pip install --upgrade mars-runtime"):
            attempt(fresh)
    engine = create_engine(fresh)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM mars_version")).scalar() == found
    engine.dispose()


def test_an_older_schema_names_the_command(fresh: str) -> None:
    """A schema that is known and older is `SchemaMismatch` with the migrate command; `migrate` is idempotent."""
    open_backend(fresh).close()
    engine = create_engine(fresh, isolation_level="AUTOCOMMIT")
    newest = schema.REVISIONS[-1]
    wanted = rf"older schema {newest}.*memory migrate --db"
    with engine.connect() as connection, pytest.raises(SchemaMismatch, match=wanted):
        schema.check(connection, fresh, known=(*schema.REVISIONS, "0099"))
    engine.dispose()
    assert migrate(fresh) == (newest, newest)


def test_a_store_of_the_first_schema_is_migrated_with_its_rows(fresh: str) -> None:
    """A store at 0001 is refused with the command that helps; `migrate` adds the tables of runs and keeps its rows."""
    backend = open_backend(fresh)
    backend.transact(lambda t: (t.next_seq(), t.set_meta({"kept": "yes"})))
    backend.close()
    _downgrade(fresh, "0001")
    assert "mars_checkpoints" not in _tables(fresh)
    with pytest.raises(SchemaMismatch, match=r"older schema 0001.*copy its files.*memory migrate --db"):
        open_backend(fresh)
    assert migrate(fresh) == ("0001", schema.REVISIONS[-1])
    assert set(TABLES) <= _tables(fresh)
    backend = open_backend(fresh)
    assert backend.read(lambda reader: (reader.head(), reader.meta()["kept"])) == (1, "yes")
    backend.close()


def _downgrade(url: str, revision: str) -> None:
    from alembic import command

    engine = create_engine(url)
    settings = schema.config()
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.downgrade(settings, revision)
    engine.dispose()


def _tables(url: str) -> set[str]:
    from sqlalchemy import inspect

    engine = create_engine(url)
    found = set(inspect(engine).get_table_names())
    engine.dispose()
    return found


def test_migrate_makes_a_fresh_store(fresh: str) -> None:
    """`migrate` on an empty database creates the schema that `open_backend` accepts."""
    assert migrate(fresh) == (None, schema.REVISIONS[-1])
    open_backend(fresh).close()


def test_half_a_schema_is_refused(fresh: str) -> None:
    """Tables of ours without a revision are `SchemaMismatch`: nothing is created over them."""
    open_backend(fresh).close()
    run(fresh, "DELETE FROM mars_version")
    with pytest.raises(SchemaMismatch, match="no single revision"):
        open_backend(fresh)
    run(fresh, "DROP TABLE mars_version")
    with pytest.raises(SchemaMismatch, match="no single revision"):
        open_backend(fresh)


def test_other_tables_in_the_database_stay(fresh: str) -> None:
    """A store shares its database with other people's tables, another Alembic's version table included."""
    run(fresh, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    run(fresh, "INSERT INTO alembic_version VALUES ('theirs')")
    open_backend(fresh).close()
    engine = create_engine(fresh)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "theirs"
    engine.dispose()


def test_a_failed_migration_leaves_nothing(tmp_path: Path) -> None:
    """If creating the schema fails half way, the database is as it was, and a later open succeeds."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    run(url, "CREATE TABLE mars_vectors (theirs TEXT)")
    with pytest.raises(Exception, match="mars_vectors"):
        open_backend(url)
    engine = create_engine(url)
    with engine.connect() as connection:
        names = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars())
    engine.dispose()
    assert names == {"mars_vectors"}
    run(url, "DROP TABLE mars_vectors")
    open_backend(url).close()


def test_several_stores_are_created_at_once_in_one_process(tmp_path: Path) -> None:
    """Each thread that opens a fresh file gets the schema in its own, though Alembic's state is the process's."""
    urls = [f"sqlite:///{tmp_path / f'{number}.db'}" for number in range(6)]
    with ThreadPoolExecutor(len(urls)) as threads:
        for backend in threads.map(open_backend, urls):
            assert backend.transact(lambda t: t.next_seq()) == 1
            backend.close()


def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """A file that is no database is `StoreCorrupt` and keeps its bytes; a missing folder is `StoreUnavailable`."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"these are my notes\n" * 200)
    with pytest.raises(StoreCorrupt, match="no SQLite database"):
        open_backend(f"sqlite:///{path}")
    assert path.read_bytes() == b"these are my notes\n" * 200
    with pytest.raises(StoreUnavailable, match="mkdir -p"):
        open_backend(f"sqlite:///{tmp_path / 'no' / 'such' / 'store.db'}")
    assert not (tmp_path / "no").exists()
