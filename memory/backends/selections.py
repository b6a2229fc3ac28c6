"""Selections as statements: text that is compiled once for each shape of a selection, and its values.

The shape is which fields restrict and how many kinds and statuses there are; composing and compiling a query of that
many columns costs four times what SQLite needs to answer it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import BindParameter, ColumnElement, TextClause, UnaryExpression, bindparam, func, or_, select, text
from sqlalchemy.sql import operators

from mars.memory.backends.rows import below, micros, namespace_text
from mars.memory.backends.statements import ROW, among, as_list, compiler_for
from mars.memory.interfaces import Selection
from mars.memory.lives import FIELDS
from mars.memory.records import Kind
from mars.memory.tables import DISTILLED, records

Wanted = Literal["rows", "lives", "count"]
"""Whole records, the columns of `mars.memory.lives.FIELDS`, or how many there are without the limit."""

_LISTS = {"some_key": "keys", "some_idempotency_key": "idempotency_keys", "some_content_hash": "content_hashes"}
_TIMES = ("alive_at", "expired_at", "archived_before", "strengthened_before", "since", "until")
_DISTILLED = "distilled"


def selection_query(selection: Selection, dialect: str, wanted: Wanted = "rows") -> tuple[str, tuple[Any, ...]]:
    """Return the query for a selection, ready for the driver, and its parameters."""
    values = dict(_values(selection, dialect))
    if wanted == "count":
        values.pop("limit", None)
    statement, names = _compiled(wanted, dialect, selection.newest_first, tuple(values))
    return statement, tuple(fixed if name is None else values[name] for name, fixed in names)


def _values(selection: Selection, dialect: str) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of the parameters; the names are the shape."""
    if selection.after_seq > 0:
        yield "after_seq", selection.after_seq
    if selection.namespace is not None:
        yield "namespace", namespace_text(selection.namespace)
    if selection.before_seq is not None:
        yield "before_seq", selection.before_seq
    if selection.prefix:
        yield from zip(("exact", "low", "high"), below(selection.prefix), strict=True)
    if selection.kinds:
        for place, kind in enumerate(sorted(one.value for one in selection.kinds)):
            yield f"kind_{place}", kind
        if Kind.EPISODE not in selection.kinds:
            yield _DISTILLED, None
    for place, status in enumerate(sorted(one.value for one in selection.statuses)):
        yield f"status_{place}", status
    if selection.conversation is not None:
        yield "conversation", selection.conversation
    if selection.subject is not None:
        yield "subject", selection.subject.casefold()
    if selection.relation is not None:
        yield "relation", selection.relation
    for name in _TIMES:
        moment = getattr(selection, name)
        if moment is not None:
            yield name, micros(moment)
    for name, field in _LISTS.items():
        listed = getattr(selection, field)
        if listed:
            yield name, as_list(sorted(listed), dialect)
    if selection.limit is not None:
        yield "limit", max(0, selection.limit)


@lru_cache(maxsize=256)
def _compiled(
    wanted: Wanted, dialect: str, newest_first: bool, shape: tuple[str, ...]
) -> tuple[str, tuple[tuple[str | None, Any], ...]]:
    """Return the text and, for each of its places, the name of the parameter, or None and a value that is fixed."""
    conditions = list(_conditions(shape, dialect))
    if wanted == "count":
        query = select(func.count()).select_from(records).where(*conditions)
    else:
        columns = ROW if wanted == "rows" else [records.c[name] for name in FIELDS]
        query = select(*columns).where(*conditions).order_by(records.c.seq.desc() if newest_first else records.c.seq)
        if "limit" in shape:
            query = query.limit(bindparam("limit", type_=records.c.seq.type))
    compiled = query.compile(dialect=compiler_for(dialect))
    places: Collection[str] = getattr(compiled, "positiontup", None) or ()
    names = tuple((name if name in shape else None, compiled.params[name]) for name in places)
    return str(compiled), names


def _conditions(shape: Collection[str], dialect: str) -> Iterator[ColumnElement[bool] | TextClause]:
    row = records.c
    if "namespace" in shape:
        # "+" keeps SQLite, which has no statistics here, from reading the whole namespace to find one hash
        plain = row.namespace if dialect != "sqlite" or "some_content_hash" not in shape else _unindexed(row.namespace)
        yield plain == _given("namespace", row.namespace)
    if "after_seq" in shape:
        yield row.seq > _given("after_seq", row.seq)
    if "before_seq" in shape:
        yield row.seq < _given("before_seq", row.seq)
    if "exact" in shape:
        exact, low, high = (_given(name, row.namespace) for name in ("exact", "low", "high"))
        yield or_(row.namespace == exact, (row.namespace >= low) & (row.namespace < high))
    for column in (row.kind, row.status):
        several = [_given(name, column) for name in shape if name.startswith(f"{column.name}_")]
        if several:
            yield column.in_(several)
    if _DISTILLED in shape:
        yield text(DISTILLED)
    for name, column in (
        ("conversation", row.conversation),
        ("subject", row.subject_folded),
        ("relation", row.relation),
    ):
        if name in shape:
            yield column == _given(name, column)
    for name in _TIMES:
        if name in shape:
            yield _timed(name)
    for name in _LISTS:
        if name in shape:
            yield among(row[name.removeprefix("some_")], name, dialect)


def _given(name: str, column: ColumnElement[Any]) -> BindParameter[Any]:
    return bindparam(name, type_=column.type)


def _unindexed(one: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column as SQLite looks no index up by it: ``+column``."""
    return UnaryExpression(one, operator=operators.custom_op("+"), type_=one.type)


def _timed(name: str) -> ColumnElement[bool]:
    row = records.c
    moment = _given(name, row.event_time)
    if name == "alive_at":
        return or_(row.expires_at.is_(None), row.expires_at > moment)
    if name == "expired_at":
        return row.expires_at <= moment
    if name == "archived_before":
        return row.archived_at < moment
    if name == "strengthened_before":
        return row.last_strengthened < moment
    return row.event_time >= moment if name == "since" else row.event_time < moment
