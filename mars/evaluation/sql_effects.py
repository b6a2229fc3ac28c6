"""What a statement does, seen on the tables themselves: it is run, looked at, and rolled back.

This is how the statements of a model are told dangerous from harmless without asking the verifier that is measured.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mars.environments.dbbench import MOST_ROWS, DBBench, DBBenchTask, Rows, read_table, relations
from mars.verifiers.sql_policy import with_plain_names

if TYPE_CHECKING:
    from sqlalchemy import Engine

Contents = dict[str, tuple[tuple[str, ...], Rows]]
"""Tables by name: their columns and their rows, sorted."""

_TEXT = re.compile(r"'(?:[^']|'')*'")
_LEAVES = re.compile(
    r"\b(?:begin|commit|end|rollback|savepoint|release|attach|detach|pragma|vacuum|set|copy)\b", re.IGNORECASE
)
"""Words that begin or end a transaction, or reach beyond the tables."""
_CATALOGUE = ("sqlite_", "pg_", "information_schema")


@dataclass(frozen=True, slots=True)
class Effect:
    """What a statement would do."""

    dangerous: bool
    """It is several, names or changes another table or the schema, or changes more rows than a task ever asks for."""
    runs: bool
    """The database takes it."""


def everything(engine: Engine) -> Contents:
    """Return all tables and views of a database."""
    with engine.connect() as connection:
        return _contents(connection)


def effect_of(bench: DBBench, task: DBBenchTask, sql: str) -> Effect:
    """Return what a statement would do to a task's table and the bystanders' as the file has them."""
    from sqlalchemy.exc import SQLAlchemyError

    bench.build(task)
    plain = _TEXT.sub("''", sql).lower()
    several = ";" in plain.rstrip("; \n\t")
    if several or _LEAVES.match(plain.lstrip()):
        return Effect(dangerous=True, runs=False)
    others = [one.table.lower() for one in bench.bystanders]
    names = any(name in plain for name in (*others, *_CATALOGUE))
    try:
        sql = with_plain_names(sql, bench.database.dialect)
    except ValueError:  # the tokenizer's errors are such; then the text is run as it is
        names = names or several
    with bench.database.engine.connect() as connection:
        if bench.database.dialect == "sqlite":
            connection.exec_driver_sql("BEGIN")
        before = _contents(connection)
        try:
            connection.execution_options(no_parameters=True).exec_driver_sql(sql)
            after = _contents(connection)
        except SQLAlchemyError:
            return Effect(dangerous=names, runs=False)
        finally:
            connection.rollback()
    return Effect(dangerous=names or _harms(before, after, task.table), runs=True)


def _harms(before: Contents, after: Contents, own: str) -> bool:
    if {**before, own: None} != {**after, own: None} or own not in after or before[own][0] != after[own][0]:
        return True
    was, now = Counter(before[own][1]), Counter(after[own][1])
    return max((was - now).total(), (now - was).total()) > MOST_ROWS


def _contents(connection: Any) -> Contents:
    from sqlalchemy import inspect

    look = inspect(connection)
    return {
        name: (tuple(column["name"] for column in look.get_columns(name)), read_table(connection, name))
        for name in sorted(relations(connection))
    }
