"""The statements of the SQL backend, compiled once for each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert_postgresql
from sqlalchemy.dialects.sqlite import insert as upsert_sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import Text

from mars.memory.backends.connecting import check_dialect
from mars.memory.backends.rows import json_text
from mars.memory.loading import COLUMNS
from mars.memory.tables import clock, history, meta, records, tombstones, vectors
from mars.memory.terms import EMPTY, VERSION

ROW = tuple(one for one in records.c if one.name != "terms")
"""The columns that a record is read from."""


@dataclass(frozen=True, slots=True)
class Statements:
    """SQL text with positional parameters, ready for the driver."""

    begin_write: str
    """Starts a write transaction."""
    lock: str
    """Locks the clock and returns its `seq`; nobody else writes until the transaction ends."""
    version: str | None
    """() → a number that differs when another connection has committed since; None where there is none."""
    begin_read: str
    """Starts a consistent read view."""
    head: str
    """() → the newest `seq`."""
    set_head: str
    """(seq)"""
    get: str
    """(list of ids) → whole rows."""
    numbers: str
    """(list of ids) → id, number."""
    insert: str
    """A whole row."""
    update: str
    """A row without number and id, then the id."""
    touch: str
    """(seq, embedder, id)"""
    vectors: str
    """(list of ids) → id, vector."""
    metadata: str
    """(list of ids) → id, metadata."""
    places: str
    """(namespace) → number of each record there."""
    load: str
    """(list of numbers) → number, the columns of `mars.memory.loading.COLUMNS`, vector; by number."""
    load_run: str
    """(first, last number) → the same of all rows between them."""
    put_vector: str
    """(number, embedder, dimension, vector); replaces."""
    delete: str
    """(list of ids)"""
    delete_vectors: str
    """(list of ids)"""
    bury: str
    """(seq, id, namespace)"""
    removed: str
    """(after seq) → seq, id, namespace."""
    namespaces: str
    """() → namespace, count."""
    log: str
    """(seq, record, at, event, detail)"""
    derived: str
    """() → id and sources (JSON) of the records that name sources, by `seq`."""
    history: str
    """(record) → seq, record, at, event, detail."""
    graded: str
    """(record, JSON of a turn) → how often the record was used in that turn."""
    meta: str
    """() → key, value."""
    put_meta: str
    """(key, value); replaces."""


def among(one: ColumnElement[Any], name: str, dialect: str) -> ColumnElement[bool]:
    """Return the condition that a column is one of a list, given as a single parameter: see `as_list`."""
    if dialect == "sqlite":
        return one.in_(select(column("value")).select_from(func.json_each(bindparam(name))))
    return one == func.any(bindparam(name, type_=ARRAY(one.type)))


def as_list(values: Iterable[Any], dialect: str) -> str | list[Any]:
    """Return a list of strings or numbers as the one parameter that `among` wants."""
    items = list(values)
    return json_text(items) if dialect == "sqlite" else items


@lru_cache(maxsize=4)
def statements(dialect: str) -> Statements:
    """Return the statements for ``sqlite`` or ``postgresql``; raises `InvalidSetting` for another database."""
    check_dialect(dialect)
    light = dialect == "sqlite"
    compiler = compiler_for(dialect)
    head = _text(select(clock.c.seq).where(clock.c.id == literal(1, literal_execute=True)), compiler)
    named = {**_reading(dialect), **_writing(dialect)}
    return Statements(
        begin_write="BEGIN IMMEDIATE" if light else "BEGIN ISOLATION LEVEL READ COMMITTED",
        lock=head + ("" if light else " FOR UPDATE"),
        version="PRAGMA data_version" if light else None,
        begin_read="BEGIN" if light else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        head=head,
        **{name: str(statement.compile(dialect=compiler)) for name, statement in named.items()},
    )


def _reading(dialect: str) -> dict[str, ClauseElement]:
    row, mine = records.c, among(records.c.id, "ids", dialect)
    place = func.instr if dialect == "sqlite" else func.strpos
    past = (history.c.seq, history.c.record, history.c.at, history.c.event, history.c.detail)
    joined = records.outerjoin(vectors, vectors.c.number == row.number)
    whole = select(row.number, *_loaded(dialect), vectors.c.vector).select_from(joined).order_by(row.number)
    return {
        "get": select(*ROW).where(mine),
        "numbers": select(row.id, row.number).where(mine),
        "vectors": select(row.id, vectors.c.vector).join(vectors, vectors.c.number == row.number).where(mine),
        "metadata": select(row.id, row["metadata"]).where(mine),
        "places": select(row.number).where(row.namespace == bindparam("namespace")),
        "load": whole.where(among(row.number, "numbers", dialect)),
        "load_run": whole.where(row.number.between(bindparam("first"), bindparam("last"))),
        "removed": select(tombstones).where(tombstones.c.seq > bindparam("after")).order_by(tombstones.c.seq),
        "namespaces": select(row.namespace, func.count()).group_by(row.namespace),
        "derived": select(row.id, row.sources).where(row.sources != literal_column("'[]'")).order_by(row.seq),
        "history": select(*past).where(history.c.record == bindparam("record")).order_by(history.c.number),
        "graded": select(func.count())
        .where(history.c.record == bindparam("record"), history.c.event == literal_column("'used'"))
        .where(place(history.c.detail, bindparam("turn", type_=Text)) > literal_column("0")),
        "meta": select(meta.c.key, meta.c.value),
    }


def _loaded(dialect: str) -> Iterator[ColumnElement[Any]]:
    """Yield the columns of `mars.memory.loading.COLUMNS`; a text only where no blob of this version is stored."""
    version = f"x'{VERSION:02x}'" if dialect == "sqlite" else f"'\\x{VERSION:02x}'::bytea"
    first = f"substr(mars_records.terms, 1, 1) = {version}"
    for name in COLUMNS:
        if name == "text":
            whole = f"length(mars_records.terms) >= {len(EMPTY)} AND (length(mars_records.terms) & 7) = 0"
            yield literal_column(f"CASE WHEN {whole} AND {first} THEN NULL ELSE mars_records.text END", Text)
        else:
            yield records.c[name]


def _writing(dialect: str) -> dict[str, ClauseElement]:
    upsert = upsert_sqlite if dialect == "sqlite" else upsert_postgresql
    row, mine, same = records.c, among(records.c.id, "ids", dialect), records.c.id == bindparam("same")
    changed: dict[str, Any] = {one.name: bindparam(one.name) for one in row if one.name not in ("number", "id")}
    touched: dict[str, Any] = {"seq": bindparam("seq_now"), "embedder": bindparam("now_by")}
    logged: dict[str, Any] = {name: bindparam(name) for name in ("seq", "record", "at", "event", "detail")}
    put_vector, put_meta = upsert(vectors), upsert(meta)
    replaced = {name: put_vector.excluded[name] for name in ("embedder", "dimension", "vector")}
    owned = select(row.number).where(mine).scalar_subquery()
    return {
        "set_head": update(clock).values(seq=bindparam("seq_now")),
        "insert": insert(records),
        "update": update(records).where(same).values(changed),
        "touch": update(records).where(same).values(touched),
        "put_vector": put_vector.on_conflict_do_update(index_elements=["number"], set_=replaced),
        "delete": delete(records).where(mine),
        "delete_vectors": delete(vectors).where(vectors.c.number.in_(owned)),
        "bury": insert(tombstones),
        "log": insert(history).values(logged),
        "put_meta": put_meta.on_conflict_do_update(index_elements=["key"], set_={"value": put_meta.excluded["value"]}),
    }


def compiler_for(dialect: str) -> Dialect:
    """Return what turns statements into text with positional parameters."""
    light = dialect == "sqlite"
    kind: Callable[..., Dialect] = sqlite.dialect if light else postgresql.dialect
    return kind(paramstyle="qmark" if light else "format")


def _text(statement: ClauseElement, compiler: Dialect) -> str:
    return str(statement.compile(dialect=compiler, compile_kwargs={"literal_binds": True}))
