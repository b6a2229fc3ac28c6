"""What the doctor sees of a SQL store: rows as they lie there, and what no row says by itself.

The driver's own values are read, without SQLAlchemy's conversions: a value that no conversion takes must not hide the
rows beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Index, Select, bindparam, delete, func, select, update
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.elements import ClauseElement

from mars.memory.backends.rows import record_of, row_of
from mars.memory.backends.statements import ROW, among, compiler_for
from mars.memory.findings import Audit, FindingKind, Stored, StoredVector
from mars.memory.records import Record
from mars.memory.tables import history, metadata, records, tombstones, vectors

Rows = Callable[..., list[Any]]
"""Runs a statement with parameters and returns what it gives."""

COMPLAINTS = 100
"""At most so many complaints of SQLite's own check are read."""

_WIDTH = len(ROW)
_NAMES = tuple(column.name for column in records.c)
_FIELDS = tuple(column.name for column in ROW)
_UNIQUE: dict[FindingKind, tuple[ColumnElement[Any], ...]] = {
    FindingKind.DUPLICATE_ID: (records.c.id,),
    FindingKind.DUPLICATE_SEQ: (records.c.seq,),
    FindingKind.DUPLICATE_KEY: (records.c.namespace, records.c.key),
    FindingKind.DUPLICATE_IDEMPOTENCY_KEY: (records.c.namespace, records.c.idempotency_key),
}


@dataclass(frozen=True, slots=True)
class Inspection:
    """SQL text for one dialect; parameters in the order of the docstrings."""

    stored: str
    """(after number, limit) → a whole row, its terms, its vector's three columns, the number of its changes."""
    counts: str
    """() → records, vectors, newest `seq` of records, tombstones, history."""
    orphans: str
    """() → numbers of vectors."""
    repeated: dict[FindingKind, str]
    """() → what is shared, number; in the order of the numbers."""
    indexes: str
    """() → names of the indexes that are there."""
    rewrite: str
    """A row without its number, then the number."""
    exhume: str
    """(list of ids)"""
    drop_orphans: str
    """()"""
    clear: tuple[str, ...]
    """Empties the tables of records, vectors, history and tombstones."""
    inhabitants: str
    """() → id, namespace of every record."""
    create: tuple[str, ...]
    """Makes each index that is missing."""


@lru_cache(maxsize=4)
def inspection(dialect: str) -> Inspection:
    """Return the statements for ``sqlite`` or ``postgresql``."""
    compiler, light = compiler_for(dialect), dialect == "sqlite"

    def text(statement: ClauseElement) -> str:
        return str(statement.compile(dialect=compiler))

    def constant(statement: ClauseElement) -> str:
        return str(statement.compile(dialect=compiler, compile_kwargs={"literal_binds": True}))

    row = records.c
    changes = select(func.count()).where(history.c.record == row.id).scalar_subquery()
    whole = select(*ROW, records.c.terms, vectors.c.embedder, vectors.c.dimension, vectors.c.vector, changes)
    whole = whole.outerjoin(vectors, vectors.c.number == row.number).where(row.number > bindparam("after"))
    orphaned = ~select(row.number).where(row.number == vectors.c.number).exists()
    names = [one.name for one in _indexes()]
    found = (
        f"SELECT name FROM sqlite_master WHERE type = 'index' AND name IN ({_quoted(names)})"
        if light
        else f"SELECT relname FROM pg_class WHERE relkind = 'i' AND relname IN ({_quoted(names)}) "
        "AND pg_table_is_visible(oid)"
    )
    return Inspection(
        stored=f"{text(whole.order_by(row.number))} LIMIT {'?' if light else '%s'}",
        counts=constant(_counts()),
        orphans=text(select(vectors.c.number).where(orphaned).order_by(vectors.c.number)),
        repeated={kind: constant(_repeated(*columns)) for kind, columns in _UNIQUE.items()},
        indexes=found,
        rewrite=text(update(records).where(row.number == bindparam("same")).values(_parameters())),
        exhume=text(delete(tombstones).where(among(tombstones.c.id, "ids", dialect))),
        drop_orphans=text(delete(vectors).where(orphaned)),
        clear=tuple(text(delete(table)) for table in (records, vectors, history, tombstones)),
        inhabitants=text(select(row.id, row.namespace).order_by(row.number)),
        create=tuple(constant(CreateIndex(one, if_not_exists=True)) for one in _indexes()),
    )


def _indexes() -> Sequence[Index]:
    return sorted((one for table in metadata.tables.values() for one in table.indexes), key=lambda one: str(one.name))


def _quoted(names: Sequence[Any]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _counts() -> Select[Any]:
    def newest(column: ColumnElement[Any]) -> Any:
        return select(func.coalesce(func.max(column), 0)).scalar_subquery()

    counted = (select(func.count()).select_from(table).scalar_subquery() for table in (records, vectors))
    return select(*counted, newest(records.c.seq), newest(tombstones.c.seq), newest(history.c.seq))


def _repeated(*columns: ColumnElement[Any]) -> Select[Any]:
    """Return what selects the rows that share the values of these columns with others."""
    shared = select(*columns).where(columns[-1].is_not(None)).group_by(*columns).having(func.count() > 1).subquery()
    same = [column == shared.c[column.name] for column in columns]
    return select(*columns, records.c.number).join(shared, _all(same)).order_by(records.c.number)


def _all(conditions: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    first, *rest = conditions
    for one in rest:
        first = first & one
    return first


def _parameters() -> dict[str, Any]:
    return {name: bindparam(name) for name in _NAMES if name != "number"}


def stored(rows: Rows, dialect: str, after: int, limit: int) -> list[Stored]:
    """See `Reader.stored`."""
    return [_stored(row) for row in rows(inspection(dialect).stored, (after, limit))]


def _stored(row: Sequence[Any]) -> Stored:
    terms, embedder, dimension, data, changes = row[_WIDTH:]
    vector = None if data is None else StoredVector(embedder=embedder, dimension=dimension, data=bytes(data))
    record: Record | None = None
    crooked: tuple[str, ...] = ()
    try:
        record = record_of(row[:_WIDTH])
        straight = row_of(record, row[0])
        crooked = tuple(name for name, has, wants in zip(_FIELDS, row[:_WIDTH], straight, strict=True) if has != wants)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        record, crooked = None, (type(error).__name__,)
    return Stored(
        number=row[0],
        id=str(row[1]),
        record=record,
        crooked=crooked,
        terms=None if terms is None else bytes(terms),
        vector=vector,
        changes=changes,
    )


def audit(rows: Rows, dialect: str) -> Audit:
    """See `Reader.audit`."""
    sql = inspection(dialect)
    count, vectors_held, *newest = rows(sql.counts)[0]
    there = {row[0] for row in rows(sql.indexes)}
    return Audit(
        records=count,
        vectors=vectors_held,
        newest=max(newest),
        orphans=tuple(row[0] for row in rows(sql.orphans)),
        repeated={kind: groups for kind in _UNIQUE if (groups := tuple(_groups(rows(sql.repeated[kind]))))},
        complaints=tuple(_complaints(rows)) if dialect == "sqlite" else (),
        missing_indexes=tuple(str(one.name) for one in _indexes() if one.name not in there),
    )


def _groups(found: Sequence[Any]) -> Iterator[tuple[int, ...]]:
    groups: dict[Any, list[int]] = defaultdict(list)
    for *shared, number in found:
        groups[tuple(shared)].append(number)
    return (tuple(numbers) for numbers in groups.values())


def _complaints(rows: Rows) -> Iterator[str]:
    """Yield what SQLite's own checks say about the file."""
    for (told,) in rows(f"PRAGMA integrity_check({COMPLAINTS})"):
        if told != "ok":
            yield str(told)
    for table, number, parent, _ in rows("PRAGMA foreign_key_check"):
        yield f"row {number} of {table} refers to a row of {parent} that is not there"
