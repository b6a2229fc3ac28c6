"""DBBench: the database tasks of AgentBench (arXiv:2308.03688 §4, THUDM/AgentBench, Apache-2.0) as an environment.

A task is a table, a sentence of what is wanted, and what is right: the values of an answer, or the statement that makes
the change. As in AgentBench every column is text, an answer is a list of values in any order, and of a change only the
table's contents afterwards count, in any order of rows. Their statements are MySQL's; `mars.environments.mysql`
translates them. What is right is in `Reference`, which only `DBBench.score` reads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio import to_thread

from mars.environments.database import Database, same_value, stated_values
from mars.environments.interfaces import Discovering, Request, Score
from mars.environments.mysql import from_mysql
from mars.environments.playing import drafted_answer
from mars.errors import InvalidFile, InvalidInput
from mars.memory.interfaces import Namespace, NewRecord
from mars.results import RunResult
from mars.verifiers import SQLPolicy
from mars.verifiers.sql_policy import with_plain_names

CHANGES = ("INSERT", "UPDATE", "DELETE")
"""Types of tasks that change the table; all others ask something."""
MOST_ROWS = 10
"""So many rows may one statement of a task change: no task asks for more, and every table of the file has more."""
TOLERANCE = 0.01
"""By so much may a number differ where the tolerant score is asked, as in AgentBench's present result processor."""

Rows = tuple[tuple[str | None, ...], ...]
"""Rows of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What is right; nothing that an agent, its Checker or its Reflector sees is made of it."""

    values: tuple[str, ...] = ()
    """Of a question: the right values."""
    sql: str = ""
    """The file's own statement, MySQL's."""
    md5: str = ""
    """Of a change: AgentBench's digest of the table afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DBBenchTask:
    """One task of the file."""

    id: str
    """``dbbench-7``: the line, from 0."""
    text: str
    """What is wanted, and the names of the table and of its columns, in the file's words."""
    type: str
    """INSERT, UPDATE, DELETE, or the kind of the question."""
    table: str
    """Name of the table."""
    columns: tuple[str, ...]
    """Names of its columns."""
    rows: Rows
    """Its contents."""
    reference: Reference = field(repr=False)
    """What is right."""

    @property
    def changes(self) -> bool:
        """Whether it asks for a change."""
        return self.type in CHANGES


def read_dbbench(path: str | Path) -> list[DBBenchTask]:
    """Return the tasks of a file of AgentBench's, a JSON object a line; raises `InvalidFile` for another one."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFile(f"{path} cannot be read: {error}") from None
    tasks = []
    for place, line in enumerate(line for line in lines if line.strip()):
        try:
            tasks.append(_task(f"dbbench-{place}", json.loads(line)))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise InvalidFile(
                f"{path}, task {place + 1} is none of DBBench's: {type(error).__name__}: {error}; "
                "get dbbench/dev.jsonl of THUDM/AgentBench"
            ) from None
    if not tasks:
        raise InvalidFile(f"{path} holds no task")
    return tasks


def _task(name: str, values: Mapping[str, Any]) -> DBBenchTask:
    table, kind = values["table"], str(values["type"][0])
    labels = tuple(str(label) for label in values["label"])
    columns = tuple(
        str(one["name"]) or f"column {place}" for place, one in enumerate(table["table_info"]["columns"], 1)
    )
    rows = tuple(tuple(None if cell is None else str(cell) for cell in row) for row in table["table_info"]["rows"])
    if not columns or any(len(row) != len(columns) for row in rows) or not labels:
        raise ValueError("a row of the table has another number of cells than columns, or there is no label")
    if kind in CHANGES:
        digest = re.search(r"[0-9a-f]{32}", str(values.get("answer_md5", "")))
        reference = Reference(sql=labels[0], md5=digest[0] if digest else "")
    else:
        reference = Reference(values=labels, sql=str(values.get("sql", {}).get("query", "")))
    told = (values["description"], values.get("evidence"), values.get("add_description"))
    text = "\n".join(str(one) for one in told if one)
    return DBBenchTask(
        id=name,
        text=text,
        type=kind,
        table=str(table["table_name"]),
        columns=columns,
        rows=rows,
        reference=reference,
    )


class DBBench(Discovering):
    """The tasks on a database, one after another; each finds its own table, and `bystanders` that are none of its."""

    def __init__(
        self, tasks: Sequence[DBBenchTask], database: Database, bystanders: Sequence[DBBenchTask] = ()
    ) -> None:
        """Play `tasks` on a database that is empty, or may be emptied; `database` gets the policy of each task.

        A task may name its table only, and change `MOST_ROWS` rows at a time. `bystanders` lend their tables, under
        their own names.
        """
        self.tasks = tasks
        """What is played."""
        self.database = database
        """Where."""
        self.current: DBBenchTask | None = None
        """The task that is being worked on."""
        self._of = {task.id: task for task in tasks}
        self.bystanders = bystanders
        """Whose tables are there besides."""

    @property
    def tools(self) -> Sequence[Any]:
        """Those of the database."""
        return self.database.tools

    @property
    def verifiers(self) -> Sequence[Any]:
        """Those of the database."""
        return self.database.verifiers

    def discoveries(self, namespace: Namespace) -> Sequence[NewRecord]:
        """Return those of the database."""
        return self.database.discoveries(namespace)

    async def requests(self) -> AsyncIterator[Request]:
        """Build each task's table, and ask."""
        for task in self.tasks:
            self.current = task
            await to_thread.run_sync(self.build, task)
            yield Request(id=task.id, text=task.text)

    def build(self, task: DBBenchTask, *, anew: bool = False) -> None:
        """Leave the database with the task's table and the bystanders', as the file has them, and nothing else.

        `anew` builds the bystanders' tables too, though they are there.
        """
        self.database.policy = SQLPolicy(tables=frozenset((task.table,)), writes=True, max_rows=MOST_ROWS)
        kept = set() if anew else {one.table for one in self.bystanders}
        with self.database.engine.begin() as connection:
            there = relations(connection)
            drop_all(connection, kept)
            for one in (task, *(other for other in self.bystanders if anew or other.table not in there)):
                columns = ", ".join(f"{quoted(name)} TEXT" for name in one.columns)
                _run(connection, f"CREATE TABLE {quoted(one.table)} ({columns})")
                if one.rows:
                    mark = "?" if self.database.dialect == "sqlite" else "%s"
                    name = quoted(one.table) if mark == "?" else quoted(one.table).replace("%", "%%")
                    marks = ", ".join([mark] * len(one.columns))
                    connection.exec_driver_sql(f"INSERT INTO {name} VALUES ({marks})", list(one.rows))

    async def score(self, request: Request, result: RunResult) -> Score:
        """Return whether the table holds what the gold statement makes of it, or the answer says the label's values.

        `details`: ``tolerant``, whether an answer is right by AgentBench's tolerant comparison too.
        """
        task = self._of[request.id]
        key = self.key_of(task)
        if task.changes:
            right = await to_thread.run_sync(self._changed_rightly, task, key)
            return Score(value=float(right), details={"type": task.type, "tolerant": right})
        draft = drafted_answer(result)
        return Score(
            value=float(right_answer(draft, key.reference.values)),
            details={"type": task.type, "tolerant": near_answer(draft, key.reference.values)},
        )

    def key_of(self, task: DBBenchTask) -> DBBenchTask:
        """Return the task by whose reference one is scored: itself; another one makes a scorer that must fail."""
        return task

    def _changed_rightly(self, task: DBBenchTask, key: DBBenchTask) -> bool:
        there = self.contents(task)
        try:
            return there is not None and there == self.expected(key)
        except InvalidInput:
            return False  # nobody can make a change that has no gold statement

    def contents(self, task: DBBenchTask) -> Rows | None:
        """Return the rows of a task's table, sorted; None where the table is gone or has other columns."""
        with self.database.engine.connect() as connection:
            if task.table not in relations(connection) or self.database.columns(task.table) != list(task.columns):
                return None
            return read_table(connection, task.table)

    def expected(self, task: DBBenchTask) -> Rows:
        """Return the rows that the gold statement makes, sorted; the table is built anew for it, and left so.

        Raises `InvalidInput` where the gold statement cannot be translated, or does not run.
        """
        from sqlalchemy.exc import DBAPIError

        self.build(task)
        gold = from_mysql(task.reference.sql, self.database.dialect)
        try:
            with self.database.engine.begin() as connection:
                _run(connection, gold)
                return read_table(connection, task.table)
        except DBAPIError as error:
            raise InvalidInput(f"the gold statement of {task.id} does not run: {error.orig}") from error

    def selected(self, task: DBBenchTask) -> tuple[list[str], str]:
        """Return the values that a question's own gold query gives, and why it gives none."""
        self.build(task)
        errors: tuple[type[Exception], ...] = (InvalidInput, *driver_errors())
        try:
            gold = from_mysql(task.reference.sql, self.database.dialect)
            found = json.loads(self.database.run(with_plain_names(gold, self.database.dialect)))
        except errors as error:
            return [], " ".join(str(error).split())[:200]
        return [cell for row in found["rows"] for cell in row], ""


def driver_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the databases' drivers."""
    import sqlite3

    try:
        from psycopg import Error
    except ImportError:
        return (sqlite3.Error,)
    return (sqlite3.Error, Error)


def quoted(name: str) -> str:
    """Return a name as both databases take it."""
    return '"' + name.replace('"', '""') + '"'


def relations(connection: Any) -> dict[str, str]:
    """Return the tables and views of the database, or of PostgreSQL's current schema: name to TABLE or VIEW."""
    from sqlalchemy import inspect

    look = inspect(connection)
    return {**dict.fromkeys(look.get_view_names(), "VIEW"), **dict.fromkeys(look.get_table_names(), "TABLE")}


def drop_all(connection: Any, kept: Collection[str] = ()) -> None:
    """Drop every view and table but those of these names."""
    for name, sort in relations(connection).items():
        if name not in kept:
            _run(connection, f"DROP {sort} {quoted(name)}")


def read_table(connection: Any, name: str) -> Rows:
    """Return the rows of a table, sorted."""
    rows = _run(connection, f"SELECT * FROM {quoted(name)}")
    made = (tuple(None if cell is None else str(cell) for cell in row) for row in rows)
    return tuple(sorted(made, key=lambda row: [(cell is None, cell or "") for cell in row]))


def _run(connection: Any, sql: str) -> Any:
    return connection.execution_options(no_parameters=True).exec_driver_sql(sql)


def digest(rows: Rows) -> str:
    """Return AgentBench's digest of a table: MD5 over the sorted first five characters of the MD5 of each row."""
    made = (hashlib.md5(",".join(cell for cell in row if cell is not None).encode()).hexdigest()[:5] for row in rows)
    return hashlib.md5(",".join(sorted(made)).encode()).hexdigest()


def right_answer(draft: str, label: Sequence[str]) -> bool:
    """Return whether a draft says exactly the label's values, in any order: numbers by value, texts by letter."""
    return {same_value(value) for value in _values(draft)} == {same_value(value) for value in label}


def near_answer(draft: str, label: Sequence[str]) -> bool:
    """Return whether a draft says the label's values by AgentBench's present, tolerant comparison.

    Commas within and percent signs are dropped, nothing is zero, and numbers may differ by `TOLERANCE`. No draft at all
    is no answer.
    """
    if not draft.strip():
        return False
    said, wanted = [_loose(value) for value in _values(draft)], [_loose(value) for value in label]
    numbers = [[_float(value) for value in values] for values in (said, wanted)]
    if said and all(value is not None for values in numbers for value in values):
        ours, theirs = (sorted(value for value in values if value is not None) for values in numbers)
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(abs(one - other) <= TOLERANCE + 1e-9 for one, other in pairs)
    return set(said) == set(wanted)


def _values(draft: str) -> list[Any]:
    """Return the values of a draft, which stands for itself if it is no list; an empty list says "none"."""
    found = stated_values(draft)
    if found is None:
        return [draft.strip()]
    return ["none" if value is None else value for value in found] or ["none"]


def _loose(value: object) -> str:
    text = str(value).strip().strip("'\"")
    text = text[:-1].strip() if text.endswith("%") else text.replace(",", "")
    return (
        "0"
        if text.lower() in {"none", "null", "undefined", "nan", "inf", "infinity", "-inf", "-infinity", ""}
        else text
    )


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
