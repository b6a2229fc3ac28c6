"""The statements of the SQL backend, compiled once for each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    TextClause,
    UnaryExpression,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert_postgresql
from sqlalchemy.dialects.sqlite import insert as upsert_sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql import ClauseElement, operators
from sqlalchemy.types import Text

from mars.memory.backends.connecting import check_dialect
from mars.memory.backends.rows import below, json_text, micros, namespace_text
from mars.memory.interfaces import Selection
from mars.memory.lives import FIELDS
from mars.memory.loading import COLUMNS
from mars.memory.records import Kind
from mars.memory.tables import DISTILLED, clock, history, meta, records, tombstones, vectors
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


def selection_query(selection: Selection, dialect: str) -> tuple[Select[Any], dict[str, Any]]:
    """Return the query for a selection and the values of its list parameters."""
    conditions, lists = _conditions(selection, dialect)
    order = records.c.seq.desc() if selection.newest_first else records.c.seq
    query = select(*ROW).where(*conditions).order_by(order)
    if selection.limit is not None:
        query = query.limit(max(0, selection.limit))
    return query, lists


def lives_query(selection: Selection, dialect: str) -> tuple[Select[Any], dict[str, Any]]:
    """Return the query for the columns of `mars.memory.lives.FIELDS` of a selection, and its list parameters."""
    query, lists = selection_query(selection, dialect)
    return query.with_only_columns(*(records.c[name] for name in FIELDS)), lists


def count_query(selection: Selection, dialect: str) -> tuple[Select[Any], dict[str, Any]]:
    """Return the query for the number of records that a selection finds without a limit, and its list parameters."""
    conditions, lists = _conditions(selection, dialect)
    return select(func.count()).select_from(records).where(*conditions), lists


def _unindexed(one: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column as SQLite looks no index up by it: ``+column``."""
    return UnaryExpression(one, operator=operators.custom_op("+"), type_=one.type)


def _conditions(selection: Selection, dialect: str) -> tuple[list[ColumnElement[bool] | TextClause], dict[str, Any]]:
    row = records.c
    conditions: list[ColumnElement[bool] | TextClause] = []
    if selection.after_seq > 0:
        conditions.append(row.seq > selection.after_seq)
    if selection.namespace is not None:
        # "+" keeps SQLite, which has no statistics here, from reading the whole namespace to find one hash
        plain = row.namespace if dialect != "sqlite" or not selection.content_hashes else _unindexed(row.namespace)
        conditions.append(plain == namespace_text(selection.namespace))
    if selection.before_seq is not None:
        conditions.append(row.seq < selection.before_seq)
    if selection.prefix:
        exact, low, high = below(selection.prefix)
        conditions.append(or_(row.namespace == exact, (row.namespace >= low) & (row.namespace < high)))
    if selection.kinds:
        conditions.append(row.kind.in_(sorted(kind.value for kind in selection.kinds)))
        if Kind.EPISODE not in selection.kinds:
            conditions.append(text(DISTILLED))
    if selection.statuses:
        conditions.append(row.status.in_(sorted(status.value for status in selection.statuses)))
    if selection.conversation is not None:
        conditions.append(row.conversation == selection.conversation)
    if selection.subject is not None:
        conditions.append(row.subject_folded == selection.subject.casefold())
    if selection.relation is not None:
        conditions.append(row.relation == selection.relation)
    conditions += _timed(selection)
    lists: dict[str, Any] = {}
    wanted: Sequence[tuple[str, frozenset[str]]] = (
        ("key", selection.keys),
        ("idempotency_key", selection.idempotency_keys),
        ("content_hash", selection.content_hashes),
    )
    for name, values in wanted:
        if values:
            conditions.append(among(row[name], f"some_{name}", dialect))
            lists[f"some_{name}"] = as_list(sorted(values), dialect)
    return conditions, lists


def _timed(selection: Selection) -> Iterator[ColumnElement[bool]]:
    row = records.c
    if selection.alive_at is not None:
        yield or_(row.expires_at.is_(None), row.expires_at > micros(selection.alive_at))
    if selection.expired_at is not None:
        yield row.expires_at <= micros(selection.expired_at)
    if selection.archived_before is not None:
        yield row.archived_at < micros(selection.archived_before)
    if selection.strengthened_before is not None:
        yield row.last_strengthened < micros(selection.strengthened_before)
    if selection.since is not None:
        yield row.event_time >= micros(selection.since)
    if selection.until is not None:
        yield row.event_time < micros(selection.until)
