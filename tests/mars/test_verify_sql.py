"""SQL is verified on the real database and never executed: dangerous statements all stopped, harmless ones none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from mars.agents.interfaces import Action, Review, Task
from mars.agents.verdicts import IssueKind, Outcome
from mars.errors import InvalidSetting
from mars.verifiers import SQLPolicy, SQLVerifier
from mars.verifiers.sql_policy import RefusedStatement, parse_statement
from tests import postgres

TABLES = frozenset(("orders", "people", "big_orders"))
READ = SQLPolicy(tables=TABLES)
WRITE = SQLPolicy(tables=TABLES, writes=True, max_rows=5)

HARMLESS = [
    "SELECT COUNT(*) FROM orders WHERE total > 3",
    "SELECT name, SUM(total) FROM people JOIN orders ON orders.person = people.id GROUP BY name HAVING SUM(total) > 1",
    "SELECT * FROM orders WHERE person IN (SELECT id FROM people WHERE name LIKE 'A%') ORDER BY total DESC LIMIT 3",
    "WITH x AS (SELECT * FROM orders) SELECT * FROM x",
    "WITH x AS (SELECT id FROM people), y AS (SELECT id FROM x) SELECT * FROM y;",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n",
    "SELECT id FROM orders UNION SELECT id FROM people",
    "SELECT CASE WHEN total > 1 THEN 'a' ELSE 'b' END, COALESCE(total, 0), UPPER('x; DROP TABLE orders') FROM orders",
    "SELECT o.id, ROW_NUMBER() OVER (PARTITION BY person ORDER BY total) FROM orders o",
    "SELECT * FROM people WHERE EXISTS (SELECT 1 FROM orders WHERE person = people.id) AND NOT name = 'x -- y'",
    "SELECT ROUND(AVG(total), 2), MIN(total), MAX(total) FROM big_orders",
    "SELECT CAST(total AS TEXT) || '!' FROM orders WHERE total BETWEEN 1 AND 2",
]

DANGEROUS = [
    "DROP TABLE orders",
    "SELECT 1; DROP TABLE orders",
    "SELECT 1; COMMIT; DROP TABLE orders",
    "DELETE FROM orders",
    "UPDATE orders SET total = 0",
    "UPDATE orders SET total = 0 WHERE id = 1",
    "INSERT INTO orders (id) VALUES (9)",
    "TRUNCATE TABLE orders",
    "ALTER TABLE orders ADD COLUMN x INT",
    "CREATE TABLE x AS SELECT * FROM orders",
    "CREATE VIEW v AS SELECT * FROM secrets",
    "SELECT * INTO copy FROM orders",
    "SELECT * FROM orders FOR UPDATE",
    "WITH d AS (DELETE FROM orders RETURNING *) SELECT * FROM d",
    "SELECT * FROM secrets",
    "SELECT * FROM (SELECT * FROM secrets) AS x",
    "SELECT (SELECT MAX(word) FROM secrets) FROM orders",
    "SELECT id FROM orders UNION SELECT id FROM secrets",
    "SELECT id FROM orders WHERE id IN (SELECT id FROM secrets)",
    "WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets",
    "WITH a AS (SELECT * FROM secrets), secrets AS (SELECT 1) SELECT * FROM a",
    "WITH x AS (WITH secrets AS (SELECT 1) SELECT * FROM secrets) SELECT * FROM secrets",
    "WITH RECURSIVE secrets(id) AS (SELECT id FROM secrets UNION ALL SELECT 1) SELECT * FROM secrets",
    'SELECT * FROM "secrets"',
    "SELECT * FROM other.orders",
    "SELECT * FROM orders -- everything",
    "SELECT * FROM orders /* everything */",
    "SELECT /*+ hint */ * FROM orders",
    "PRAGMA writable_schema = 1",
    "ATTACH DATABASE 'x.db' AS x",
    "DETACH DATABASE main",
    "VACUUM INTO 'x.db'",
    "COPY orders TO '/tmp/x'",
    "COPY orders FROM PROGRAM 'id'",
    "SELECT load_extension('x')",
    "SELECT writefile('x', 'y')",
    "SELECT pg_sleep(10)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_terminate_backend(1)",
    "SELECT lo_import('/etc/passwd')",
    "SELECT dblink('host=x', 'SELECT 1')",
    "SELECT query_to_xml('SELECT * FROM secrets', true, true, '')",
    "SELECT set_config('x.y', 'z', false)",
    "SELECT nextval('s')",
    "SELECT randomblob(1000000000)",
    "SELECT * FROM generate_series(1, 1000000000)",
    "SELECT * FROM pragma_table_info('orders')",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM pg_catalog.pg_shadow",
    "SELECT * FROM information_schema.tables",
    "SELECT 'secrets'::regclass",
    "EXPLAIN ANALYZE DELETE FROM orders",
    "ANALYZE orders",
    "BEGIN",
    "SET ROLE postgres",
    "GRANT ALL ON orders TO PUBLIC",
    "CALL wipe()",
    "DO $$ BEGIN DELETE FROM orders; END $$",
    "LOCK TABLE orders",
    "SELECT * FROM orders WHERE id = ?",
    "SELECT * FROM orders\0; DROP TABLE orders",
    "SELECT FROM WHERE",
    "",
]

WRITES_ALLOWED = [
    "UPDATE orders SET total = 0 WHERE id = 1",
    "DELETE FROM orders WHERE person IN (SELECT id FROM people WHERE name = 'Ann')",
    "INSERT INTO orders (id, person, total) VALUES (101, 1, 2), (102, 1, 2)",
    "INSERT INTO orders (id, person, total) SELECT id + 1000, id, 1 FROM people",
    "DELETE FROM orders WHERE id = -1",
]

WRITES_REFUSED = [
    "DELETE FROM orders",
    "UPDATE orders SET total = 0",
    "DELETE FROM orders WHERE 1 = 1",
    "UPDATE orders SET total = 0 WHERE total = total",
    "DELETE FROM orders WHERE id NOT IN (SELECT id FROM people WHERE name = 'nobody')",
    "INSERT INTO orders (id, person, total) SELECT id + 1000, person, total FROM orders",
    "INSERT INTO orders (id) VALUES (201), (202), (203), (204), (205), (206)",
    "DELETE FROM secrets WHERE id = 1",
    "UPDATE orders SET total = (SELECT MAX(id) FROM secrets) WHERE id = 1",
    "UPDATE orders SET total = 1 FROM people WHERE orders.person = people.id",
    "INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET total = 0",
    "WITH d AS (DELETE FROM orders RETURNING id) DELETE FROM people WHERE id IN (SELECT id FROM d)",
    "DROP TABLE orders",
    "DELETE FROM orders WHERE id = 1; DELETE FROM orders WHERE id = 2",
]

SCHEMA = (
    "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, person INTEGER, total INTEGER)",
    "CREATE TABLE secrets (id INTEGER PRIMARY KEY, word TEXT)",
    "CREATE VIEW big_orders AS SELECT * FROM orders WHERE total > 10",
    "INSERT INTO people VALUES (1, 'Ann'), (2, 'Bob')",
    "INSERT INTO secrets VALUES (1, 'x')",
    *(f"INSERT INTO orders VALUES ({number}, {1 if number == 1 else 2}, {number})" for number in range(1, 41)),
)


def review(draft: str, action: Action | None = None) -> Review:
    """Return a review of one statement."""
    task = Task(id="t", text="How many orders?", user="ann", asked_at=datetime(2024, 1, 1, tzinfo=UTC))
    return Review(task=task, draft=draft, action=action)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with 40 orders, of either sort."""
    if request.param == "sqlite":
        made = f"sqlite:///{tmp_path_factory.mktemp('sql') / 'shop.db'}"
        _fill(made)
        yield made
    elif missing := postgres.missing():
        pytest.skip(missing)
    else:
        with postgres.cluster() as made:
            _fill(made)
            yield made


def _fill(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in SCHEMA:
            connection.execute(text(statement))
    engine.dispose()


def contents(url: str) -> list[tuple[object, ...]]:
    """Everything in the database."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = [
            tuple(row)
            for name in ("people", "orders", "secrets")
            for row in connection.execute(text(f"SELECT * FROM {name} ORDER BY id"))
        ]
    engine.dispose()
    return rows


async def test_harmless_statements_pass_and_dangerous_ones_do_not(url: str) -> None:
    """The whole table, on the real database; nothing of it leaves a trace there."""
    verifier, before = SQLVerifier(url, READ), contents(url)
    passed = {one: await verifier.verify(review(one)) for one in HARMLESS}
    stopped = {one: await verifier.verify(review(one)) for one in DANGEROUS}
    assert {one: checked.issues for one, checked in passed.items() if checked.outcome is not Outcome.PASSED} == {}
    assert [one for one, checked in stopped.items() if checked.outcome is not Outcome.FAILED] == []
    assert contents(url) == before
    assert len(HARMLESS) + len(DANGEROUS) >= 40


async def test_a_write_is_counted_and_never_done(url: str) -> None:
    """A write of few rows passes, one of many or of unknown many does not, and none of them happens."""
    verifier, before = SQLVerifier(url, WRITE), contents(url)
    passed = {one: await verifier.verify(review(one)) for one in WRITES_ALLOWED}
    stopped = {one: await verifier.verify(review(one)) for one in WRITES_REFUSED}
    assert {one: checked.issues for one, checked in passed.items() if checked.outcome is not Outcome.PASSED} == {}
    assert [one for one, checked in stopped.items() if checked.outcome is not Outcome.FAILED] == []
    assert contents(url) == before


async def test_the_database_has_its_say(url: str) -> None:
    """What the parser takes and the database does not is a tool's error, in the database's words."""
    checked = await SQLVerifier(url, READ).verify(review("SELECT wages FROM people"))
    assert [issue.kind for issue in checked.issues] == [IssueKind.TOOL_ERROR]
    assert "wages" in checked.issues[0].evidence


async def test_a_quoted_name_is_a_column_or_nothing(url: str) -> None:
    """SQLite takes a quoted name that no column has for text, so that such a WHERE holds for no row, or for all."""
    verifier = SQLVerifier(url, SQLPolicy(tables=TABLES, writes=True, max_rows=100))
    for wrong in (
        """UPDATE orders SET "total" = 0 WHERE "wage" = 'x'""",
        """DELETE FROM orders WHERE "wage" = 'wage'""",
        """SELECT "na`me" FROM people""",
    ):
        checked = await verifier.verify(review(wrong))
        assert [issue.kind for issue in checked.issues] == [IssueKind.TOOL_ERROR], wrong
    right = """UPDATE "orders" SET "total" = 0 WHERE "id" = 1"""
    assert (await verifier.verify(review(right))).outcome is Outcome.PASSED


async def test_a_listed_table_may_have_capitals_and_spaces(url: str) -> None:
    """A table is known by the name that it has, on both databases."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text('CREATE TABLE "Big Orders" (id INTEGER)'))
    policy = SQLPolicy(tables=frozenset(("Big Orders",)))
    checked = await SQLVerifier(engine, policy).verify(review('SELECT id FROM "Big Orders"'))
    with engine.begin() as connection:
        connection.execute(text('DROP TABLE "Big Orders"'))
    engine.dispose()
    assert checked.outcome is Outcome.PASSED, checked.issues


async def test_a_count_without_end_is_given_up(url: str) -> None:
    """A statement whose count would take for ever is refused when its time is over."""
    endless = (
        "DELETE FROM orders WHERE id IN (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT MAX(i) FROM n)"
    )
    checked = await SQLVerifier(url, WRITE, seconds=0.3).verify(review(endless))
    assert checked.outcome is Outcome.FAILED


async def test_an_engine_is_left_as_it_was(url: str) -> None:
    """A caller's own pooled connection can write again afterwards."""
    engine = create_engine(url, pool_size=1, max_overflow=0)
    assert (await SQLVerifier(engine, READ).verify(review("SELECT 1 FROM orders"))).outcome is Outcome.PASSED
    with engine.connect() as connection:
        connection.execute(text("UPDATE orders SET total = total WHERE id = 1"))
        assert connection.execute(text("SELECT COUNT(*) FROM secrets")).scalar() == 1
        connection.rollback()
    engine.dispose()


async def test_fences_and_arguments_are_read(url: str) -> None:
    """A fenced draft counts as its content; of an action only its own argument counts."""
    verifier = SQLVerifier(url, READ)
    assert (await verifier.verify(review("```sql\nSELECT 1 FROM orders\n```"))).outcome is Outcome.PASSED
    action = Action(id="a", tool="query", arguments={"sql": "DROP TABLE orders"})
    assert (await verifier.verify(review("", action))).outcome is Outcome.FAILED
    other = Action(id="a", tool="mail", arguments={"to": "ann"})
    assert (await verifier.verify(review("", other))).outcome is Outcome.UNDECIDED


def test_sabotage_a_list_with_the_table_lets_it_through() -> None:
    """The list is what stops a table: with `secrets` on it the same statements pass the policy."""
    hidden = [one for one in DANGEROUS if "secrets" in one and one.startswith(("SELECT * FROM", "WITH secrets"))]
    assert len(hidden) >= 3
    for one in hidden:
        with pytest.raises(RefusedStatement):
            parse_statement(one, "sqlite", READ)
        assert parse_statement(one, "sqlite", SQLPolicy(tables=TABLES | {"secrets"}))


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    """A policy or a database of no use is refused when it is made."""
    with pytest.raises(InvalidSetting, match="without tables"):
        SQLPolicy(tables=frozenset())
    with pytest.raises(InvalidSetting, match="max_rows"):
        SQLPolicy(tables=TABLES, max_rows=-1)
    with pytest.raises(InvalidSetting, match="seconds"):
        SQLVerifier(f"sqlite:///{tmp_path / 'x.db'}", READ, seconds=0)
