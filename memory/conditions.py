"""Conditions on metadata and time: what may be asked, and what it means.

``{"key": value}``
    The record holds an equal JSON value under the key: 1 equals 1.0, not True; objects and lists are equal as a whole.
``{"key": {"$gt": 3, "$lte": 9}}``
    Every operator holds: ``$eq $ne $gt $gte $lt $lte`` with a value, ``$in $nin`` with a list of values.
``{"$and": [...]}``, ``{"$or": [...]}``, ``{"$not": {...}}``
    Combine conditions; several keys side by side must all hold. ``{"key": {"$not": {...}}}`` works too.
``{"a.b": value}``
    The key "a.b" where the record has it, else the key "b" of the object under "a", to any depth.
``{"$event_time": {"$gte": moment}}``
    The time of the event: an aware datetime, or ISO 8601 text with an offset.

Numbers are ordered among numbers and strings among strings (by code point); nothing else has an order.

**Fail closed.** What a record does not hold is neither true nor false of it: a condition on a missing key never passes,
also not ``$ne``, ``$nin`` or below ``$not``; nor does an order between a number and a string. ``$or`` passes if another
part does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mars.errors import InvalidInput
from mars.memory.checks import check_time, shown

EVENT_TIME: Final = "$event_time"
"""The key of the event time in a filter."""

DEPTH = 20
"""So deep may conditions be nested."""

ORDERS = ("$gt", "$gte", "$lt", "$lte")
"""Operators that need an order."""

LISTS = ("$in", "$nin")
"""Operators whose operand is a list."""

OPERATORS = ("$eq", "$ne", *ORDERS, *LISTS)
"""What may be asked of one value."""

COMBINING = ("$and", "$or", "$not")
"""What combines conditions."""

ABSENT: Final = object()
"""What a record holds under a key that it does not have."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_quoted = json.encoder.encode_basestring_ascii  # what `json.dumps` makes of a string, ten times as fast


def canonical(value: object) -> str:
    """Return a JSON value as text that is equal for equal values: 1 and 1.0 are, 1 and True are not.

    Raises `InvalidInput` for what is no JSON value.
    """
    if type(value) is str:
        return _quoted(value)
    try:
        if type(value) is int:
            return int.__repr__(value)
        return json.dumps(_plain(value), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"metadata holds JSON values only; got {shown(value)}: {error}") from error


def _plain(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def microseconds(moment: datetime) -> int:
    """Return the microseconds from 1970 UTC to an aware datetime, exactly."""
    age = moment - _EPOCH
    return (age.days * 86_400 + age.seconds) * 1_000_000 + age.microseconds


def is_number(value: object) -> bool:
    """Return whether a JSON value is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def held(metadata: Mapping[str, Any], key: str) -> object:
    """Return what metadata holds under a key of a filter, or `ABSENT`."""
    if key in metadata:
        return metadata[key]
    first, *path = key.split(".")
    value: object = metadata.get(first, ABSENT) if path else ABSENT
    return inside(value, path)


def inside(value: object, path: Sequence[str]) -> object:
    """Return what lies at a path of keys within a value, or `ABSENT`."""
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return ABSENT
        value = value[key]
    return value


@dataclass(frozen=True, slots=True)
class Ask:
    """One operator on one key; for `EVENT_TIME` the operand is in microseconds since 1970 UTC."""

    key: str
    operator: str
    operand: Any


@dataclass(frozen=True, slots=True)
class Both:
    """All of the parts hold; with `either`, at least one does."""

    parts: tuple[Condition, ...]
    either: bool = False


@dataclass(frozen=True, slots=True)
class Never:
    """The part does not hold."""

    part: Condition


Condition = Ask | Both | Never
"""A checked condition."""


def parse(expression: object, depth: int = DEPTH) -> Condition:
    """Return a filter as a condition. Raises `InvalidInput`, naming what is allowed, for one that means nothing."""
    if not isinstance(expression, Mapping) or not all(isinstance(key, str) for key in expression):
        raise InvalidInput(
            f"a filter maps keys to values or to operators ({_names(OPERATORS)}); got {shown(expression)}"
        )
    if not depth:
        raise InvalidInput(f"a filter nests at most {DEPTH} levels of {_names(COMBINING)}")
    parts = []
    for key, value in expression.items():
        if key in ("$and", "$or"):
            parts.append(_combined(key, value, depth))
        elif key == "$not":
            parts.append(Never(parse(value, depth - 1)))
        elif key.startswith("$") and key != EVENT_TIME:
            raise InvalidInput(
                f"a filter has no {key!r} in place of a key: it takes {_names(COMBINING)}, {EVENT_TIME} and keys of "
                f"metadata; {_names(OPERATORS)} go below a key"
            )
        else:
            parts.append(_of_key(key, value, depth))
    return parts[0] if len(parts) == 1 else Both(tuple(parts))


def _combined(name: str, value: object, depth: int) -> Condition:
    if not isinstance(value, list | tuple) or not value:
        raise InvalidInput(f"{name} takes a list of at least one filter; got {shown(value)}")
    return Both(tuple(parse(each, depth - 1) for each in value), either=name == "$or")


def _of_key(key: str, value: object, depth: int) -> Condition:
    """The condition on one key: a plain value, or a mapping of operators."""
    if not isinstance(value, Mapping) or not any(isinstance(name, str) and name.startswith("$") for name in value):
        return _ask(key, "$eq", value)
    if not depth:
        raise InvalidInput(f"a filter nests at most {DEPTH} levels of {_names(COMBINING)}")
    parts: list[Condition] = []
    for name, operand in value.items():
        if name == "$not":
            if not isinstance(operand, Mapping) or not operand or not all(str(each)[:1] == "$" for each in operand):
                raise InvalidInput(f"$not below a key takes operators ({_names(OPERATORS)}); got {shown(operand)}")
            parts.append(Never(_of_key(key, operand, depth - 1)))
        elif name in OPERATORS:
            parts.append(_ask(key, name, operand))
        else:
            raise InvalidInput(f"there is no operator {name!r} (on {key!r}); choose among {_names(OPERATORS)} and $not")
    return parts[0] if len(parts) == 1 else Both(tuple(parts))


def _ask(key: str, operator: str, operand: object) -> Ask:
    if operator in LISTS:
        if not isinstance(operand, list | tuple | set | frozenset):
            raise InvalidInput(f"{operator} (on {key!r}) takes a list of values; got {shown(operand)}")
        return Ask(key, operator, tuple(_operand(key, operator, each) for each in operand))
    return Ask(key, operator, _operand(key, operator, operand))


def _operand(key: str, operator: str, operand: object) -> object:
    if key == EVENT_TIME:
        return microseconds(_moment(operand))
    if operator in ORDERS and not is_number(operand) and not isinstance(operand, str):
        raise InvalidInput(
            f"{operator} (on {key!r}) takes a number or a string, which have an order; got {shown(operand)}"
        )
    canonical(operand)
    return operand


def _moment(operand: object) -> datetime:
    if isinstance(operand, str):
        try:
            operand = datetime.fromisoformat(operand)
        except ValueError as error:
            raise InvalidInput(f"{EVENT_TIME} takes an aware datetime or ISO 8601 text: {error}") from error
    if not isinstance(operand, datetime):
        raise InvalidInput(
            f"{EVENT_TIME} takes an aware datetime or ISO 8601 text with an offset; got {shown(operand)}"
        )
    return check_time(operand, EVENT_TIME)


def keys_of(condition: Condition) -> frozenset[str]:
    """Return the keys of metadata that a condition asks about."""
    if isinstance(condition, Ask):
        return frozenset() if condition.key == EVENT_TIME else frozenset({condition.key})
    parts = (condition.part,) if isinstance(condition, Never) else condition.parts
    return frozenset[str]().union(*map(keys_of, parts))


def _names(names: Sequence[str]) -> str:
    return " ".join(names)
