"""Which items and namespaces a search or a listing of LangGraph's store means. Pure functions.

A filter maps fields to values or to operators: ``{"color": "red", "score": {"$gte": 3}}``. A field is a key of the
value or, where there is none of that name, a dotted path into it. All conditions must hold; a field that is missing
passes none, ``$ne`` included. 1 equals 1.0 and is not True; only numbers are ordered among numbers, text among text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langgraph.store.base import MatchCondition

from mars.errors import InvalidInput

Condition = Mapping[str, Any]

_MISSING = object()


def check_filter(filter: Mapping[str, Any] | None) -> Condition:
    """Return the filter, or raise `InvalidInput` for what means nothing: an unknown operator, a name that is none."""
    if filter is None:
        return {}
    if not isinstance(filter, Mapping) or not all(isinstance(name, str) for name in filter):
        raise InvalidInput(f"a filter maps the names of fields to values; got {filter!r}")
    for wanted in filter.values():
        _check(wanted)
    return filter


def _check(wanted: object) -> None:
    if isinstance(wanted, Mapping):
        unknown = [name for name in wanted if str(name).startswith("$") and name not in _OPERATORS]
        if unknown or (_has_operators(wanted) and not all(str(name).startswith("$") for name in wanted)):
            raise InvalidInput(f"a condition is a value or operators out of {', '.join(_OPERATORS)}; got {wanted!r}")
        if not _has_operators(wanted):
            for each in wanted.values():
                _check(each)


def passes(value: Mapping[str, Any], filter: Condition) -> bool:
    """Return whether an item's value meets every condition of a checked filter."""
    return all(_meets(_field(value, name), wanted) for name, wanted in filter.items())


def _field(value: Mapping[str, Any], name: str) -> object:
    if name in value:
        return value[name]
    found: object = value
    for step in name.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return _MISSING
        found = found[step]
    return found


def _meets(found: object, wanted: object) -> bool:
    if found is _MISSING:
        return False
    if isinstance(wanted, Mapping):
        if _has_operators(wanted):
            return all(_OPERATORS[name](found, operand) for name, operand in wanted.items())
        return isinstance(found, Mapping) and all(_meets(found.get(k, _MISSING), v) for k, v in wanted.items())
    return _equal(found, wanted)


def _has_operators(wanted: Mapping[Any, Any]) -> bool:
    return any(str(name).startswith("$") for name in wanted)


def _equal(found: object, wanted: object) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return found.keys() == wanted.keys() and all(_equal(found[name], wanted[name]) for name in wanted)
    if isinstance(found, list | tuple) and isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(_equal, found, wanted))
    return found == wanted


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[object, object], bool]:
    def compare(found: object, operand: object) -> bool:
        if isinstance(found, str) and isinstance(operand, str):
            return holds(found, operand)
        return _is_number(found) and _is_number(operand) and holds(found, operand)

    return compare


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_OPERATORS: Mapping[str, Callable[[object, object], bool]] = {
    "$eq": _equal,
    "$ne": lambda found, operand: not _equal(found, operand),
    "$gt": _ordered(lambda found, operand: found > operand),
    "$gte": _ordered(lambda found, operand: found >= operand),
    "$lt": _ordered(lambda found, operand: found < operand),
    "$lte": _ordered(lambda found, operand: found <= operand),
}


def matches(namespace: Sequence[str], conditions: Sequence[MatchCondition]) -> bool:
    """Return whether a namespace meets every condition; ``*`` in a path stands for exactly one label."""
    return all(_matches(namespace, condition) for condition in conditions)


def _matches(namespace: Sequence[str], condition: MatchCondition) -> bool:
    path = tuple(condition.path)
    if condition.match_type not in ("prefix", "suffix"):
        raise InvalidInput(f"a namespace is matched by prefix or suffix; got {condition.match_type!r}")
    if len(path) > len(namespace):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))
