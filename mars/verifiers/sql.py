"""Verify a SQL statement on the database that it is meant for, without running it.

First the policy (`mars.verifiers.sql_policy`), then the database's own word: EXPLAIN in a read-only transaction that is
rolled back, and for a write a COUNT of the rows that its WHERE selects. SQLite's authorizer is asked about every table
and function that the statement would touch; PostgreSQL gets the text by the extended protocol, which takes one
statement only.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from mars.agents.interfaces import Review
from mars.agents.rendering import without_citations
from mars.agents.verdicts import Check, Issue, IssueKind
from mars.errors import InvalidSetting
from mars.verifiers.sql_policy import (
    DIALECTS,
    FUNCTIONS,
    RefusedStatement,
    SQLPolicy,
    Statement,
    parse_statement,
    with_plain_names,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

_FENCED = re.compile(r"^\s*```(?:\w+)?\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_STEPS = 10_000
"""So many of SQLite's steps lie between two looks at the clock."""
_READS = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE))
_OPERATORS = frozenset(("like", "glob", "->", "->>"))
_WRITES = frozenset((sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE))


@dataclass(frozen=True, slots=True)
class SQLVerifier:
    """Demands that a draft, or a tool's argument, is one SQL statement that is allowed and that its database can run.

    Needs the extra ``sql``. A pass is decisive for an action: nothing that the policy forbids is in it.
    """

    database: str | Engine
    """SQLAlchemy URL or engine of the database that the statement is meant for: SQLite, or PostgreSQL by psycopg 3."""
    policy: SQLPolicy
    """What the statement may do."""
    argument: str = "sql"
    """The argument of a reviewed action that holds the statement; actions without it are none of this verifier's."""
    seconds: float = 5.0
    """The longest that the database may take to explain or to count, in seconds."""
    name: str = "sql"
    """Name in the verdict."""
    _engine: Engine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from sqlalchemy import NullPool, create_engine

        made = self.database
        engine = create_engine(made, poolclass=NullPool, hide_parameters=True) if isinstance(made, str) else made
        object.__setattr__(self, "_engine", engine)
        if engine.dialect.name not in DIALECTS or engine.dialect.driver not in ("pysqlite", "psycopg"):
            raise InvalidSetting(
                f"no SQL of {engine.dialect.name} with {engine.dialect.driver} can be verified; "
                "use sqlite:/// or postgresql+psycopg://"
            )
        if self.seconds <= 0:
            raise InvalidSetting(f"seconds must be above 0; got {self.seconds}")

    async def verify(self, review: Review) -> Check:
        """Return whether the statement is allowed and runs; undecided for an action without one."""
        text = _statement_of(review, self.argument)
        if text is None:
            return Check.undecided(self.name)
        try:
            statement = parse_statement(text, DIALECTS[self._engine.dialect.name], self.policy)
        except RefusedStatement as fault:
            return self._failed(IssueKind.UNSAFE_ACTION, str(fault), "Write one statement that the policy allows.")
        return await to_thread.run_sync(self._ask, statement)

    def _failed(self, kind: IssueKind, evidence: str, directive: str) -> Check:
        return Check.failed(self.name, Issue(kind=kind, evidence=evidence, directive=directive))

    def _ask(self, statement: Statement) -> Check:
        """Ask the database; on a worker thread."""
        count = statement.counting(self.policy.max_rows) if statement.is_write else None
        with closing(self._engine.raw_connection()) as pooled:
            raw: Any = pooled.driver_connection
            guarded = _sqlite if isinstance(raw, sqlite3.Connection) else _postgres
            try:
                with guarded(raw, self.policy, self.seconds) as run:
                    for text in dict.fromkeys((with_plain_names(statement.text, statement.dialect), statement.text)):
                        run(f"{_EXPLAIN[statement.dialect]} {text}")
                    rows = int(run(count)[0][0]) if count else 0
            except _errors() as error:
                return self._failed(
                    IssueKind.TOOL_ERROR,
                    f"{type(error).__name__}: {error}".strip()[:500],
                    "Write a statement that this database can run.",
                )
        if rows > self.policy.max_rows:
            return self._failed(
                IssueKind.UNSAFE_ACTION,
                f"it touches more than {self.policy.max_rows:,} rows",
                "Narrow the WHERE.",
            )
        return Check.passed(self.name, decisive=True)


_EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN", "postgres": "EXPLAIN (FORMAT JSON)"}

Run = Callable[[str], list[Any]]
"""Runs one statement and returns its rows."""


def _statement_of(review: Review, argument: str) -> str | None:
    if review.action is not None:
        given = review.action.arguments.get(argument)
        return given if isinstance(given, str) else None
    draft = without_citations(review.draft) if not _FENCED.match(review.draft) else review.draft
    fenced = _FENCED.match(draft)
    return fenced.group(1) if fenced else draft


def _errors() -> tuple[type[Exception], ...]:
    """Return what the drivers raise for a statement that they do not take."""
    try:
        from psycopg import Error
    except ImportError:
        return (sqlite3.Error,)
    return (sqlite3.Error, Error)


@contextmanager
def _sqlite(raw: sqlite3.Connection, policy: SQLPolicy, seconds: float) -> Iterator[Run]:
    """Guard a SQLite connection: nothing is written, only listed tables are prepared for, and the time is limited."""
    until = time.monotonic() + seconds
    raw.rollback()
    raw.execute("PRAGMA query_only = ON")
    raw.set_authorizer(_authorizer(policy))
    raw.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        yield lambda text: raw.execute(text).fetchall()
    finally:
        raw.set_progress_handler(None, 0)
        raw.set_authorizer(None)
        raw.rollback()
        raw.execute("PRAGMA query_only = OFF")


def _authorizer(policy: SQLPolicy) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    """Return what SQLite asks while it prepares a statement; a view's tables are allowed where the view is."""
    listed = policy.listed("sqlite")

    def allowed(action: int, first: str | None, second: str | None, schema: str | None, inside: str | None) -> int:
        writing = action in _WRITES and policy.writes
        if action not in _READS and not writing:
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION:
            known = FUNCTIONS | policy.functions | _OPERATORS
            return sqlite3.SQLITE_OK if (second or "").lower() in known else sqlite3.SQLITE_DENY
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        named = {name.lower() for name in (first, inside) if name}
        if named & listed or schema is None:  # no schema: a WITH or a subquery of the statement itself
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    return allowed


@contextmanager
def _postgres(raw: Any, policy: SQLPolicy, seconds: float) -> Iterator[Run]:
    """Guard a psycopg connection: a read-only transaction with a time limit, always rolled back."""
    raw.rollback()
    try:
        with raw.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")

            def run(text: str) -> list[Any]:
                cursor.execute(text, prepare=True)  # the extended protocol takes one statement
                found: list[Any] = cursor.fetchall()
                return found

            yield run
    finally:
        raw.rollback()
