"""What a SQL statement may do, decided from its syntax tree before any database sees it.

What is not known to be harmless is refused: the root must be one query (or, where writes are allowed, one INSERT,
UPDATE or DELETE); every table must be on the list, wherever it stands; every function must be one of `FUNCTIONS`, which
only compute. A parser may read a statement otherwise than the database does, so comments, parameters and what the
parser itself does not know are refused too, and `mars.verifiers.sql` asks the database as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mars.errors import InvalidSetting, MissingExtra

if TYPE_CHECKING:
    from sqlglot import exp

DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres"}
"""SQLAlchemy's names of the databases that are known, and the parser's."""
MAX_LENGTH = 20_000
"""Characters of the longest statement that is read."""
FUNCTIONS = frozenset(
    """
    abs age any_value array_agg arrayagg avg bit_length cardinality case cast ceil ceiling char_length character_length
    chr coalesce concat concat_ws corr count covar_pop covar_samp cume_dist current_date current_time current_timestamp
    currentdate currenttime currenttimestamp date date_part date_trunc datetime day dense_rank distinct every exists exp
    extract filter first_value floor format greatest group_concat groupconcat hour if ifnull iif initcap instr interval
    is_null json_array_length json_extract json_extract_scalar julianday lag last_value lead least left length ln log
    log10 log2 lower lpad ltrim max md5 min minute mod month nth_value ntile nullif now pad percent_rank percentile_cont
    percentile_disc position power pow quarter rank regexp_replace replace reverse right round row_number rpad rtrim
    second sign split_part sqrt stddev stddev_pop stddev_samp stdev str_position strftime string_agg strpos substr
    substring sum time time_to_str timestamp timestamp_trunc to_char to_date to_timestamp total translate trim trunc
    ts_or_ds_to_date ts_or_ds_to_timestamp typeof unicode unixepoch upper var_pop var_samp variance variance_pop week
    year logical_and logical_or bool_and bool_or str_to_time str_to_date unix_to_time safe_divide
    """.split()
)
"""Functions that only compute, in SQL's names and the parser's own, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SQLPolicy:
    """What a statement may do."""

    tables: frozenset[str]
    """The tables and views that it may name: ``orders``, or ``sales.orders`` where it must name the schema.

    As they are called: SQLite compares without case, PostgreSQL takes what is not quoted for lower case."""
    writes: bool = False
    """Whether one INSERT, UPDATE or DELETE is allowed; DDL never is."""
    max_rows: int = 100
    """The most rows that a write may touch."""
    functions: frozenset[str] = frozenset()
    """Further functions that may be called; you vouch that they change nothing. Lower case."""

    def __post_init__(self) -> None:
        if self.max_rows < 0:
            raise InvalidSetting(f"max_rows must be 0 or more; got {self.max_rows}")
        if not self.tables:
            raise InvalidSetting("a policy without tables allows nothing; name those that a statement may read")

    def listed(self, dialect: str) -> frozenset[str]:
        """Return the tables as the database compares their names."""
        return frozenset(name.lower() for name in self.tables) if dialect == "sqlite" else self.tables


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that keeps its policy."""

    text: str
    """As it was written."""
    tree: exp.Expr
    """Its syntax tree."""
    dialect: str
    """The parser's name of the dialect."""

    @property
    def is_write(self) -> bool:
        """Whether it changes rows."""
        from sqlglot import exp

        return isinstance(self.tree, (exp.Insert, exp.Update, exp.Delete))

    def counting(self, most: int) -> str | None:
        """Return a query that counts the rows it touches, up to `most` + 1; None where the tree itself tells."""
        from sqlglot import exp

        tree = self.tree
        if isinstance(tree, exp.Insert):
            source = tree.expression
            if isinstance(source, exp.Values):
                return None
            inner = exp.select("1").from_(source.copy().subquery("source"))
        else:
            where = tree.args["where"]
            inner = exp.select("1").from_(tree.this.copy()).where(where.this.copy())
        if tree.args.get("with_"):
            inner.set("with_", tree.args["with_"].copy())
        return f"SELECT COUNT(*) FROM ({inner.limit(most + 1).sql(dialect=self.dialect)}) AS touched"


def with_plain_names(text: str, dialect: str) -> str:
    """Return a statement, on SQLite with every ``"name"`` in backticks: one that no column has is a text there."""
    if dialect != "sqlite":
        return text
    import sqlglot

    for token in reversed(sqlglot.tokenize(text, read=dialect)):
        if token.token_type.name == "IDENTIFIER" and text[token.start] == '"':
            name = token.text.replace("`", "``")
            text = f"{text[: token.start]}`{name}`{text[token.end + 1 :]}"
    return text


class RefusedStatement(Exception):
    """A statement breaks its policy; the message says how."""


def parse_statement(text: str, dialect: str, policy: SQLPolicy) -> Statement:
    """Return the one statement in `text`.

    Raises `RefusedStatement` for what the policy forbids, `MissingExtra` without sqlglot.
    """
    try:
        import sqlglot
        from sqlglot.errors import SqlglotError
    except ImportError as error:
        raise MissingExtra("checking SQL", "sql") from error
    if len(text) > MAX_LENGTH or "\0" in text:
        raise RefusedStatement(f"a statement is at most {MAX_LENGTH:,} characters, none of them NUL")
    try:
        if any(token.comments for token in sqlglot.tokenize(text, read=dialect)):
            raise RefusedStatement("it holds a comment; write it without")
        trees = [tree for tree in sqlglot.parse(text, read=dialect) if tree is not None]
    except (SqlglotError, RecursionError) as error:
        raise RefusedStatement(f"it cannot be read as {dialect}: {str(error).splitlines()[0]}") from error
    if len(trees) != 1:
        raise RefusedStatement(f"it must be exactly one statement; these are {len(trees)}")
    statement = Statement(text.strip().rstrip(";").rstrip(), trees[0], dialect)
    for fault in _faults(statement, policy):
        raise RefusedStatement(fault)
    return statement


def _faults(statement: Statement, policy: SQLPolicy) -> Iterator[str]:
    from sqlglot import exp

    tree = statement.tree
    if statement.is_write and not policy.writes:
        yield f"{tree.key.upper()} changes rows; only queries are allowed"
    elif not statement.is_write and not isinstance(tree, exp.Query):
        yield f"{tree.key.upper()} is no query"
    for node in tree.walk():
        if node is not tree and isinstance(node, (exp.DML, exp.DDL)) and not isinstance(node, exp.Query):
            yield f"{node.key.upper()} inside of it changes something"
        if isinstance(node, (exp.Command, exp.Into, exp.Lock, exp.Pragma, exp.Attach, exp.Detach, exp.Copy)):
            yield f"{node.key.upper()} is not allowed"
        if isinstance(node, (exp.Placeholder, exp.Parameter, exp.SessionParameter)):
            yield "it holds a parameter; write its values out"
        if isinstance(node, exp.Table):
            yield from _table_faults(node, statement, policy)
        if isinstance(node, exp.Func):
            yield from _function_faults(node, policy)
        if isinstance(node, exp.DataType) and node.sql(dialect=statement.dialect).lower().startswith("reg"):
            yield f"the type {node.sql(dialect=statement.dialect)} looks into the catalogue"
    if statement.is_write:
        yield from _write_faults(tree, policy)


def _table_faults(table: exp.Table, statement: Statement, policy: SQLPolicy) -> Iterator[str]:
    from sqlglot import exp

    if not isinstance(table.this, exp.Identifier):
        if not isinstance(table.this, exp.Func):
            yield f"{table.sql(dialect=statement.dialect)} is no table"
        return
    if table.args.get("catalog"):
        yield f"{table.sql(dialect=statement.dialect)} names another database"
        return
    schema, name = table.args.get("db"), _named(table.this, statement.dialect)
    if schema is None and _is_cte(table, name, statement.dialect):
        return
    full = name if schema is None else f"{_named(schema, statement.dialect)}.{name}"
    if statement.dialect == "sqlite" and full.startswith("main."):
        full = name
    if full not in policy.listed(statement.dialect):
        yield f"the table {full!r} is not on the list; allowed are {', '.join(sorted(policy.tables))}"


def _named(identifier: exp.Expr, dialect: str) -> str:
    """Return a name as the database compares it."""
    name = identifier.name
    return name if identifier.args.get("quoted") and dialect == "postgres" else name.lower()


def _is_cte(table: exp.Table, name: str, dialect: str) -> bool:
    """Return whether a name means a WITH of this statement here, not a real table of that name.

    ``WITH secret AS (SELECT * FROM secret)`` reads the real table: a name inside its own definition, or in one that
    stands before it, is none of the WITH's, unless it is recursive and has a base before the reference.
    """
    from sqlglot import exp

    outer = table.parent
    while outer is not None:
        listed = outer.args.get("with_")
        if listed is not None and name in [_alias(each, dialect) for each in listed.expressions]:
            return True
        if isinstance(outer, exp.CTE) and isinstance(outer.parent, exp.With):
            if name in _known_inside(outer, outer.parent, table, dialect):
                return True
            outer = outer.parent.parent  # the statement whose WITH this is: its own list does not count in here
        outer = outer.parent if outer is not None else None
    return False


def _alias(cte: exp.Expr, dialect: str) -> str:
    return _named(cte.args["alias"].this, dialect)


def _known_inside(cte: exp.CTE, listed: exp.With, table: exp.Table, dialect: str) -> list[str]:
    """Return which names of a WITH are known inside one of its definitions."""
    from sqlglot import exp

    known = [_alias(each, dialect) for each in listed.expressions[: listed.expressions.index(cte)]]
    recursive = listed.args.get("recursive") and isinstance(cte.this, exp.SetOperation)
    if recursive and not any(node is table for node in cte.this.this.walk()):
        known.append(_alias(cte, dialect))
    return known


def _function_faults(node: exp.Func, policy: SQLPolicy) -> Iterator[str]:
    from sqlglot import exp

    if isinstance(node, (exp.Binary, exp.Unary, exp.Predicate, exp.SubqueryPredicate)):
        return
    if isinstance(node, exp.Anonymous):
        names = {node.name.lower()}
    else:
        names = {node.key, node.sql_name().lower(), *(name.lower() for name in node.sql_names())}
    if not names & (FUNCTIONS | policy.functions):
        yield f"the function {min(names, key=len)!r} is not known to be harmless"


def _write_faults(tree: exp.Expr, policy: SQLPolicy) -> Iterator[str]:
    from sqlglot import exp

    if isinstance(tree, exp.Insert):
        if tree.args.get("alternative") or tree.args.get("overwrite"):
            yield "INSERT OR … replaces rows unseen; delete or update them by name"
        conflict = tree.args.get("conflict")
        if conflict is not None and conflict.args.get("expressions"):
            yield "ON CONFLICT DO UPDATE changes rows that cannot be counted before; only DO NOTHING is allowed"
        if isinstance(tree.expression, exp.Values) and len(tree.expression.expressions) > policy.max_rows:
            yield f"it adds {len(tree.expression.expressions):,} rows; at most {policy.max_rows:,} are allowed"
        if tree.expression is None:
            yield "it says no values"
        return
    if tree.args.get("where") is None:
        yield f"{tree.key.upper()} without WHERE touches every row"
    if any(tree.args.get(part) for part in ("from_", "using", "limit", "order", "cluster", "tables")):
        yield f"{tree.key.upper()} with FROM, USING, ORDER BY or LIMIT cannot be counted; use a subquery in WHERE"
    if not isinstance(tree.this, exp.Table) or tree.this.args.get("joins"):
        yield f"{tree.key.upper()} must name one table"
