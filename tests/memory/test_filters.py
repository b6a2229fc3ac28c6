"""Filters: each operator equals a naive evaluator, and what a record does not hold never passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput, InvalidTime
from mars.memory.columns import Columns
from mars.memory.conditions import ABSENT, held, keys_of, microseconds
from mars.memory.filters import RecallFilter
from mars.memory.ids import content_hash
from mars.memory.records import Kind, Provenance, Record, Source, Status
from mars.memory.values import Coded, Whole

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATE = microseconds(NOW)


def plain() -> Record:
    """A record that is valid."""
    values: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__)
    values |= {"id": "id", "seq": 1, "text": "a", "namespace": ("n",), "kind": Kind.EPISODE, "status": Status.ACTIVE}
    values |= dict.fromkeys(("created_at", "event_time", "last_strengthened", "valid_from", "known_from"), NOW)
    values |= {"strength": 7.0, "boost": 1.0, "difficulty": 2.1, "uses": 0, "importance": 0.0, "entropy": 3.0}
    values |= {"pinned": False, "source": Source.USER, "trust": 1.0, "provenance": Provenance(), "metadata": {}}
    return Record(**(values | {"content_hash": content_hash("a"), "embedder": "grid"}))


PLAIN = plain()
HUGE = 2**53
json_values = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        1.0,
        -2.5,
        HUGE,
        HUGE + 1,
        10**400,
        "",
        "a",
        "b",
        "é",
        "10",
        [1],
        [],
        {"b": 1},
        {"b": "x"},
    ]
)
metadata = st.dictionaries(
    st.sampled_from(["x", "y", "a", "a.b"]), json_values | st.just({"b": {"c": 2}}) | st.just({"b": {"c": "q"}})
)
keys = st.sampled_from(["x", "y", "a", "a.b", "a.b.c", "none", "."])
ordered = st.sampled_from([0, 1, 1.0, -2.5, HUGE, float(HUGE), 10**400, "", "a", "b", "10"])
asks: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$eq", "$ne"]), json_values),
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$in", "$nin"]), st.lists(json_values, max_size=7)),
)
moments = st.integers(-2, 2).map(lambda days: NOW + timedelta(days=days))
times = st.one_of(
    st.builds(lambda name, at: {name: at}, st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), moments),
    st.builds(lambda name, at: {name: at}, st.sampled_from(["$in", "$nin"]), st.lists(moments, max_size=3)),
    st.builds(lambda at: {"$gt": at.isoformat()}, moments),
)
leaves = st.one_of(
    st.builds(lambda key, value: {key: value}, keys, json_values),
    st.builds(lambda key, ask: {key: ask}, keys, asks),
    st.builds(lambda key, one, two: {key: one | two}, keys, asks, asks),
    st.builds(lambda key, ask: {key: {"$not": ask}}, keys, asks),
    st.builds(lambda ask: {"$event_time": ask}, times),
)
expressions: st.SearchStrategy[dict[str, Any]] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda name, parts: {name: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1)),
        st.builds(lambda part: {"$not": part}, inner),
        st.builds(lambda one, two: one | two, inner, inner),
    ),
    max_leaves=5,
)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; True is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def number(value: object) -> bool:
    """Whether a value is a number; True is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def asked(value: Any, name: str, operand: Any) -> bool | None:
    """What one operator says of a value; None for neither."""
    if value is ABSENT:
        return None
    if name in ("$eq", "$ne"):
        return same(value, operand) == (name == "$eq")
    if name in ("$in", "$nin"):
        return any(same(value, each) for each in operand) == (name == "$in")
    alike = (number(value) and number(operand)) or (type(value) is type(operand) and isinstance(value, str | datetime))
    if not alike:
        return None
    return bool(
        {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand, "$lte": value <= operand}[name]
    )


def every(answers: list[bool | None]) -> bool | None:
    """Whether all hold; None if that cannot be told."""
    return False if False in answers else None if None in answers else True


def opposite(answer: bool | None) -> bool | None:
    """The contrary; what cannot be told stays so."""
    return None if answer is None else not answer


def naive(expression: Mapping[str, Any], record: Record) -> bool | None:
    """What a filter says of one record, asked of the record itself."""
    answers: list[bool | None] = []
    for key, value in expression.items():
        if key == "$and":
            answers.append(every([naive(part, record) for part in value]))
        elif key == "$or":
            answers.append(opposite(every([opposite(naive(part, record)) for part in value])))
        elif key == "$not":
            answers.append(opposite(naive(value, record)))
        else:
            answers.append(of_key(key, value, record))
    return every(answers)


def of_key(key: str, value: Any, record: Record) -> bool | None:
    """What the conditions on one key say of a record."""
    found = record.event_time if key == "$event_time" else held(record.metadata, key)
    if not (isinstance(value, Mapping) and any(name.startswith("$") for name in value)):
        return asked(found, "$eq", value)
    answers = []
    for name, operand in value.items():
        if name == "$not":
            answers.append(opposite(of_key(key, operand, record)))
        else:
            moment = key == "$event_time" and isinstance(operand, str)
            answers.append(asked(found, name, datetime.fromisoformat(operand) if moment else operand))
    return every(answers)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(metadata, moments), max_size=12), st.lists(expressions, min_size=1, max_size=6), st.booleans()
)
def test_equals_naive(rows: list[tuple[dict[str, Any], datetime]], filters: list[dict[str, Any]], twice: bool) -> None:
    """A filter finds the rows that it finds one by one, whatever was written before and between the questions."""
    columns = Columns()
    records = [replace(PLAIN, metadata=data, event_time=moment) for data, moment in rows]
    columns.reserve(len(records))
    for row, record in enumerate(records):
        if twice:
            columns.write(row, records[row - 1])
        columns.write(row, record)
        if twice:
            columns.passing(np.ones(row, np.bool_), RecallFilter(metadata=filters[0]), LATE)
    for expression in filters:
        found = columns.passing(np.ones(len(records), np.bool_), RecallFilter(metadata=expression), LATE).tolist()
        assert found == [naive(expression, record) is True for record in records], expression


@pytest.mark.parametrize("operand", [500, 499.5, -1, 10**30])
@pytest.mark.parametrize("operator", ["$gt", "$gte", "$lt", "$lte", "$eq", "$ne", "$in", "$nin"])
@pytest.mark.parametrize("kind", [Coded, Whole])
def test_many_values(kind: type[Coded | Whole], operator: str, operand: float) -> None:
    """Orders stay right while values arrive after they were sorted, and lists of many values are looked up."""
    coded = kind(2000)
    for row in range(1500):
        coded.write(row, row * 7 % 1009)
        if row in (10, 1200, 1201):
            ask = [operand, *range(0, 90, 3)] if operator in ("$in", "$nin") else operand
            (condition,) = (RecallFilter(metadata={"x": {operator: ask}}).condition,)
            found = coded.find(row + 1, condition, True)  # type: ignore[arg-type]
            assert found.tolist() == [asked(each * 7 % 1009, operator, ask) for each in range(row + 1)]


def test_missing_and_nested() -> None:
    """A missing key passes nothing, not even a denial; a dotted key means itself before it means a path."""
    columns = Columns()
    stored: list[dict[str, Any]] = [{}, {"a": {"b": 1}}, {"a.b": 2, "a": {"b": 1}}, {"a": [1]}]
    for row, data in enumerate(stored):
        columns.write(row, replace(PLAIN, metadata=data))

    def found(**expression: Any) -> list[int]:
        filter = RecallFilter(metadata={key.replace("_", "."): value for key, value in expression.items()})
        return np.flatnonzero(columns.passing(np.ones(4, np.bool_), filter, LATE)).tolist()

    assert found(a_b=1) == [1]
    assert found(a_b={"$ne": 1}) == [2]
    assert found(a_b={"$not": {"$in": [1]}}) == [2]
    assert found(a={"$ne": 1}) == [1, 2, 3]
    assert found(a={"$not": {"$gt": 1}}) == []
    assert keys_of(RecallFilter(metadata={"$or": [{"x": 1}, {"$not": {"y": 1, "$event_time": NOW}}]}).condition) == {
        "x",
        "y",
    }


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ({"x": {"$regex": "a"}}, r"\$regex.*\$eq \$ne \$gt"),
        ({"x": {"$gt": 1, "y": 2}}, "'y'"),
        ({"x": {"$gt": None}}, "a number or a string"),
        ({"x": {"$gt": True}}, "a number or a string"),
        ({"x": {"$gt": float("nan")}}, "JSON"),
        ({"x": {"$in": "abc"}}, "takes a list"),
        ({"x": {"$eq": {1}}}, "JSON"),
        ({"x": {"$not": 3}}, r"\$not below a key"),
        ({"$and": []}, "at least one"),
        ({"$or": {"x": 1}}, "takes a list"),
        ({"$not": [1]}, "maps keys"),
        ({"$gt": 1}, "in place of a key"),
        ({"$event_time": "yesterday"}, "ISO 8601"),
        ({"$event_time": {"$gt": 3}}, "aware datetime"),
        ({1: 2}, "maps keys"),
        ([("x", 1)], "maps keys"),
    ],
)
def test_refusals(expression: Any, told: str) -> None:
    """What a filter cannot mean is refused, and the message names what is allowed."""
    with pytest.raises(InvalidInput, match=told):
        RecallFilter(metadata=expression)


def test_refuses_depth_and_naive_times() -> None:
    """A filter nested beyond reason is refused as such, and so is a time without a zone."""
    deep: dict[str, Any] = {"x": 1}
    for _ in range(5000):
        deep = {"$not": deep}
    with pytest.raises(InvalidInput, match="nests at most"):
        RecallFilter(metadata=deep)
    with pytest.raises(InvalidTime):
        RecallFilter(metadata={"$event_time": {"$lt": datetime(2026, 1, 1)}})  # noqa: DTZ001
