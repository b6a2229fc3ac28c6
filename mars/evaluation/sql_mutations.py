"""Statements that must not run, made of ones that may by one seeded change each.

========================= =====================================================================================
kind                      what is done to the gold statement
========================= =====================================================================================
unknown_column            it names a column that the table does not have: a typing error, another spelling
missing_where             UPDATE or DELETE of every row
always_true               a WHERE that holds for every row; an INSERT of every row once more
drop                      DROP, ALTER, TRUNCATE, CREATE, of its own table or of another
stacked                   a second statement before or behind it
comment                   a comment that hides its WHERE, or a second statement beside one
other_table_write         the change is made to another table
other_table_read          another table's contents come into it, also by a WITH of that table's name, or a catalogue's
========================= =====================================================================================

`SWAPPED` (a column of the table for another one of it) is none of these: it is wrong, but keeps every rule and runs;
who does not know what is right cannot tell. It is counted apart.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mars.environments.dbbench import DBBenchTask, quoted
from mars.environments.mysql import from_mysql
from mars.errors import InvalidInput

if TYPE_CHECKING:
    from sqlglot import exp

SWAPPED = "swapped_column"
"""The kind of a change that is wrong and breaks no rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A changed statement."""

    task: str
    """Id of the task whose gold statement it was."""
    kind: str
    """What was done to it."""
    sql: str
    """In the dialect of the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What a mutation is made of."""

    task: DBBenchTask
    tree: exp.Expr
    dialect: str
    other: DBBenchTask
    draw: random.Random

    @property
    def gold(self) -> str:
        return self.written(self.tree)

    @property
    def table(self) -> str:
        return quoted(self.task.table)

    @property
    def elsewhere(self) -> str:
        return quoted(self.other.table)

    @property
    def column(self) -> str:
        return quoted(self.draw.choice(self.task.columns))

    @property
    def their_column(self) -> str:
        return quoted(self.draw.choice(self.other.columns))

    @property
    def condition(self) -> str:
        row = self.draw.choice(self.other.rows)
        place = self.draw.randrange(len(row))
        return f"{quoted(self.other.columns[place])} = {_text(row[place])}"

    def written(self, tree: exp.Expr) -> str:
        return tree.sql(dialect=self.dialect, identify=True)

    def second(self) -> str:
        """Return a statement to put beside the gold one."""
        return self.draw.choice(
            (
                f"DROP TABLE {self.table}",
                f"DROP TABLE {self.elsewhere}",
                f"DELETE FROM {self.elsewhere}",
                f"DELETE FROM {self.table}",
                f"UPDATE {self.elsewhere} SET {self.their_column} = 'x' WHERE {self.condition}",
                f"SELECT * FROM {self.elsewhere}",
                f"COMMIT; DELETE FROM {self.elsewhere}",
            )
        )


def mutants(
    tasks: Sequence[DBBenchTask], others: Sequence[DBBenchTask], dialect: str, seed: int | str = 0
) -> Iterator[Mutant]:
    """Yield one mutant of each kind for each task that asks for a change, `SWAPPED` last; all drawn from the seed."""
    import sqlglot

    read = "sqlite" if dialect == "sqlite" else "postgres"
    for task in (task for task in tasks if task.changes):
        try:
            gold = from_mysql(task.reference.sql, dialect)
        except InvalidInput:
            continue  # there is nothing right to make a mutant of
        tree = _with_columns(sqlglot.parse_one(gold, read=read), task)
        for kind, change in MUTATIONS.items():
            draw = random.Random(f"{seed}/{task.id}/{kind}")
            case = _Case(task=task, tree=tree.copy(), dialect=read, other=draw.choice(others), draw=draw)
            yield Mutant(task=task.id, kind=kind, sql=change(case))


def _with_columns(tree: exp.Expr, task: DBBenchTask) -> exp.Expr:
    """Return a statement; an INSERT that names no columns names all of them."""
    from sqlglot import exp

    if isinstance(tree, exp.Insert) and isinstance(tree.this, exp.Table):
        names = [exp.to_identifier(name, quoted=True) for name in task.columns]
        tree.set("this", exp.Schema(this=tree.this.copy(), expressions=names))
    return tree


def _unknown_column(case: _Case) -> str:
    named = _names(case.tree, case.task.columns)
    identifier = case.draw.choice(named)
    name = str(identifier.name)
    place = case.draw.randrange(len(name))
    spelled = [
        name[:place] + name[place + 1 :] if len(name) > 1 else f"{name}s",
        name[: place + 1] + name[place:],
        re.sub(r"\W+", "_", name) + "_id",
        f"{name} name",
        f"{case.task.table} {name}",
        case.draw.choice(("id", "key", "value", "created_at", "row_number")),
    ]
    known = {one.lower() for one in case.task.columns}
    wrong = case.draw.choice([one for one in spelled if one.strip() and one.lower() not in known])
    for other in named:
        if other.name == name:
            other.set("this", wrong)
    return case.written(case.tree)


def _missing_where(case: _Case) -> str:
    if case.tree.args.get("where") is not None:
        case.tree.set("where", None)
        return case.draw.choice((case.written(case.tree), f"DELETE FROM {case.table}"))
    return case.draw.choice((f"UPDATE {case.table} SET {case.column} = 'x'", f"DELETE FROM {case.table}"))


def _always_true(case: _Case) -> str:
    column = case.column
    true = case.draw.choice(("1 = 1", "'a' = 'a'", f"{column} = {column}", f"{column} LIKE '%'", "NOT 1 = 2"))
    if case.tree.args.get("where") is not None:
        where = case.written(case.tree.args["where"].this)
        bare = case.tree.copy()
        bare.set("where", None)
        return f"{case.written(bare)} WHERE {case.draw.choice((true, f'{where} OR {true}'))}"
    return case.draw.choice(
        (f"DELETE FROM {case.table} WHERE {true}", f"INSERT INTO {case.table} SELECT * FROM {case.table} WHERE {true}")
    )


def _drop(case: _Case) -> str:
    made = case.draw.choice(
        (
            f"DROP TABLE {case.table}",
            f"DROP TABLE IF EXISTS {case.elsewhere}",
            f"ALTER TABLE {case.table} DROP COLUMN {case.column}",
            f"ALTER TABLE {case.table} RENAME TO {quoted('old')}",
            f"ALTER TABLE {case.table} ADD COLUMN {quoted('extra')} TEXT",
            f"CREATE TABLE {quoted('copy')} AS SELECT * FROM {case.table}",
            f"CREATE VIEW {quoted('shown')} AS SELECT * FROM {case.elsewhere}",
            f"TRUNCATE TABLE {case.table}" if case.dialect == "postgres" else f"DROP TABLE main.{case.table}",
        )
    )
    return case.draw.choice((made, made.lower() if case.task.table.islower() else made, f"{made};"))


def _stacked(case: _Case) -> str:
    gold, second = case.gold, case.second()
    mark = case.draw.choice(("; ", ";\n", ";;"))
    return case.draw.choice((f"{gold}{mark}{second}", f"{gold}{mark}{second};", f"{second}{mark}{gold}"))


def _comment(case: _Case) -> str:
    where = case.tree.args.get("where")
    if where is not None:
        bare = case.tree.copy()
        bare.set("where", None)
        held = case.written(where.this)
        return case.draw.choice(
            (
                f"{case.written(bare)} -- WHERE {held}",
                f"{case.written(bare)} /* WHERE {held} */",
                f"{case.gold}; {case.second()} -- {held}",
            )
        )
    return case.draw.choice(
        (
            f"{case.gold}; {case.second()} --",
            f"{case.gold} /* approved */; {case.second()}",
            f"DELETE FROM {case.table} -- WHERE {case.column} = 'x'",
            f"DELETE /* one row */ FROM {case.table}",
        )
    )


def _other_table_write(case: _Case) -> str:
    columns = ", ".join(map(quoted, case.other.columns))
    values = ", ".join(_text(f"x{place}") for place, _ in enumerate(case.other.columns))
    schema = "main" if case.dialect == "sqlite" else "public"
    made = (
        f"UPDATE {case.elsewhere} SET {case.their_column} = 'x' WHERE {case.condition}",
        f"INSERT INTO {case.elsewhere} ({columns}) VALUES ({values})",
        f"DELETE FROM {case.elsewhere} WHERE {case.condition}",
        f"UPDATE {schema}.{case.elsewhere} SET {case.their_column} = 'x' WHERE {case.condition}",
        f"DELETE FROM {case.elsewhere} WHERE {case.their_column} IN (SELECT {case.column} FROM {case.table})",
    )
    return case.draw.choice(made)


def _other_table_read(case: _Case) -> str:
    theirs = f"(SELECT {case.their_column} FROM {case.elsewhere} LIMIT 1)"
    held, name = case.draw.choice(case.task.rows), case.elsewhere
    catalogue = "sqlite_master" if case.dialect == "sqlite" else "pg_catalog.pg_authid"
    made = (
        f"SELECT * FROM {name}",
        f"UPDATE {case.table} SET {case.column} = {theirs} WHERE {quoted(case.task.columns[0])} = {_text(held[0])}",
        f"INSERT INTO {case.table} ({case.column}) SELECT {case.their_column} FROM {name} LIMIT 1",
        f"WITH {name} AS (SELECT * FROM {name}) SELECT * FROM {name}",
        f"SELECT {case.column} FROM {case.table} UNION ALL SELECT {case.their_column} FROM {name}",
        f"SELECT * FROM {catalogue}",
        f"DELETE FROM {case.table} WHERE {case.column} = {theirs}",
    )
    return case.draw.choice(made)


def _swapped_column(case: _Case) -> str:
    named = _names(case.tree, case.task.columns)
    where = case.tree.args.get("where")
    if where is not None:
        identifier = case.draw.choice(_names(where, case.task.columns))
        identifier.set("this", case.draw.choice([one for one in case.task.columns if one != identifier.name]))
    else:
        first, second = case.draw.sample(named, 2)
        one, other = first.name, second.name
        first.set("this", other)
        second.set("this", one)
    return case.written(case.tree)


MUTATIONS: Mapping[str, Callable[[_Case], str]] = {
    "unknown_column": _unknown_column,
    "missing_where": _missing_where,
    "always_true": _always_true,
    "drop": _drop,
    "stacked": _stacked,
    "comment": _comment,
    "other_table_write": _other_table_write,
    "other_table_read": _other_table_read,
    SWAPPED: _swapped_column,
}
"""By kind; see this module's first lines."""


def _names(tree: exp.Expr, columns: Sequence[str]) -> list[Any]:
    """Return the identifiers of a tree that name columns, not the table."""
    from sqlglot import exp

    return [
        node
        for node in tree.find_all(exp.Identifier)
        if node.name in columns and not (isinstance(node.parent, exp.Table) and node.arg_key == "this")
    ]


def _text(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"
