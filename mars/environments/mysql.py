"""MySQL's statements for another database, where columns hold text and MySQL takes text for numbers.

sqlglot translates the syntax. The meaning differs where columns hold text: MySQL compares a text with a number as
numbers, and sums texts; both by the number that a text begins with, 0 where it begins with none. SQLite compares such a
pair as texts, PostgreSQL refuses it. LIKE asks for no case in MySQL and SQLite; in PostgreSQL it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from sqlglot import exp

_PREFIX = r"^\s*[-+]?[0-9]+\.?[0-9]*"
"""The number that a text begins with."""


def from_mysql(sql: str, dialect: str) -> str:
    """Return one statement of MySQL in the dialect of SQLAlchemy's ``sqlite`` or ``postgresql``, every name quoted.

    Raises `InvalidInput` for what is not exactly one statement of MySQL.
    """
    try:
        import sqlglot
        from sqlglot.errors import SqlglotError
    except ImportError as error:
        raise MissingExtra("translating SQL", "sql") from error
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="mysql") if tree is not None]
    except SqlglotError as error:
        raise InvalidInput(f"MySQL would not take it: {str(error).splitlines()[0]}") from error
    if len(trees) != 1:
        raise InvalidInput(f"it must be exactly one statement; these are {len(trees)}")
    written = "sqlite" if dialect == "sqlite" else "postgres"
    return trees[0].transform(_as_mysql, written).sql(dialect=written, identify=True)


def _as_mysql(node: exp.Expr, dialect: str) -> exp.Expr:
    """Return a node that means what MySQL means by it."""
    from sqlglot import exp

    if isinstance(node, (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)):
        sides = {"this": node.this, "expression": node.expression}
        if any(_is_number(side) for side in sides.values()):
            for name, side in sides.items():
                if isinstance(side, exp.Column):
                    node.set(name, _number(side, dialect))
    if isinstance(node, (exp.Sum, exp.Avg)) and isinstance(node.this, exp.Column):
        node.set("this", _number(node.this, dialect))
    if isinstance(node, exp.Like) and dialect == "postgres":
        return exp.ILike(this=node.this, expression=node.expression)
    return node


def _is_number(node: exp.Expr) -> bool:
    from sqlglot import exp

    inner = node.this if isinstance(node, exp.Neg) else node
    return isinstance(inner, exp.Literal) and not inner.is_string


def _number(column: exp.Expr, dialect: str) -> exp.Expr:
    import sqlglot

    name = column.sql(dialect=dialect, identify=True)
    found = f"CAST({name} AS REAL)"
    if dialect == "postgres":
        found = f"COALESCE(CAST(SUBSTRING({name} FROM '{_PREFIX}') AS DOUBLE PRECISION), 0)"
    return sqlglot.parse_one(found, read=dialect)
