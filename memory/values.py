"""What the rows of a shard hold under one key of their metadata, and which rows a condition on it finds.

A row holds the number of its value; values are kept once. A condition is decided once per distinct value, orders by
bisection in a sorted list that is built when it is first asked for, so that 100,000 rows cost two passes over numbers.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mars.errors import InvalidInput
from mars.memory.conditions import ABSENT, LISTS, ORDERS, Ask, canonical, inside, is_number

Flags = npt.NDArray[np.bool_]
"""One truth value per row, shape ``[n]``."""

Codes = npt.NDArray[np.int32]
"""The number of each row's value, `MISSING` without one; shape ``[n]``."""

MISSING = -1
"""The code of a row without a value."""

_PLAIN = {int, str}
"""Types of values that are equal where they are the same; bool is not int here."""

FEW = 4
"""So many values are compared one by one; more by a table."""


class Values:
    """Distinct JSON values, numbered in the order of their arrival."""

    def __init__(self) -> None:
        self._codes: dict[object, int] = {}
        self._values: list[object] = []
        self._orders: dict[type, _Order] = {}
        self._inner: dict[tuple[str, ...], tuple[Values, list[int]]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def code(self, value: object) -> int:
        """Return the number of a value, a new one if it is new."""
        same = _same(value)
        found = self._codes.get(same)
        if found is None:
            found = self._codes[same] = len(self._values)
            self._values.append(value)
        return found

    def codes(self, values: Sequence[object]) -> list[int]:
        """Return the number of each of many values."""
        plain = set(map(type, values)) <= _PLAIN
        told, known = values if plain else list(map(_same, values)), self._codes
        for same, value in zip(told, values, strict=True):
            if same not in known:
                known[same] = len(self._values)
                self._values.append(value)
        return list(map(known.__getitem__, told))

    def known(self, value: object) -> int:
        """Return the number of a value, or `MISSING` for one that no row holds."""
        return self._codes.get(_same(value), MISSING)

    def inner(self, path: tuple[str, ...]) -> tuple[Values, Codes]:
        """Return the values at a path within these, and for each of these the number of its inner one."""
        values, codes = self._inner.setdefault(path, (Values(), []))
        for value in self._values[len(codes) :]:
            found = inside(value, path)
            codes.append(MISSING if found is ABSENT else values.code(found))
        return values, np.array([*codes, MISSING], np.int32)

    def find(self, codes: Codes, ask: Ask, wanted: bool) -> Flags:
        """Return for which rows the answer is certainly `wanted`; neither for rows without a value or an order."""
        if ask.operator in ORDERS:
            return self._ordered(codes, ask, wanted)
        operands = ask.operand if ask.operator in LISTS else (ask.operand,)
        found = _among(codes, {self.known(each) for each in operands} - {MISSING}, len(self))
        if (ask.operator in ("$eq", "$in")) == wanted:
            return found
        flags: Flags = codes != MISSING
        return flags & ~found

    def _ordered(self, codes: Codes, ask: Ask, wanted: bool) -> Flags:
        sort = str if isinstance(ask.operand, str) else float
        order = self._orders.setdefault(sort, _Order(sort))
        return order.table(self._values, ask, wanted)[codes]


class _Order:
    """The values of one sort, numbers or strings, in ascending order; compared as Python compares, hence exactly."""

    def __init__(self, sort: type) -> None:
        self._sort = sort
        self._sorted: list[Any] = []
        self._rank: npt.NDArray[np.int32] = np.zeros(0, np.int32)

    def _has(self, value: object) -> bool:
        return isinstance(value, str) if self._sort is str else is_number(value)

    def table(self, values: Sequence[object], ask: Ask, wanted: bool) -> Flags:
        """Return the answer for each value by its code, and False for `MISSING`."""
        if len(values) - len(self._rank) > 64 + len(self._rank) // 8:
            self._sort_all(values)
        fresh = [value if self._has(value) else None for value in values[len(self._rank) :]]
        answers = [value is not None and compare(value, ask) is wanted for value in fresh]
        table = np.zeros(len(values) + 1, np.bool_)
        upwards = ask.operator in ("$gt", "$gte")
        cut = bisect_right if ask.operator in ("$gt", "$lte") else bisect_left
        at = cut(self._sorted, ask.operand)
        above = self._rank >= at
        table[: len(self._rank)] = above if upwards == wanted else ~above & (self._rank != MISSING)
        table[len(self._rank) : -1] = answers
        return table

    def _sort_all(self, values: Sequence[object]) -> None:
        held: Sequence[Any] = values
        if self._sort is float and set(map(type, held)) == {int}:
            codes = list(range(len(held)))
        else:
            codes = [code for code, value in enumerate(held) if self._has(value)]
        codes.sort(key=held.__getitem__)
        self._sorted = list(map(held.__getitem__, codes))
        self._rank = np.full(len(values), MISSING, np.int32)
        self._rank[codes] = np.arange(len(codes), dtype=np.int32)


def _same(value: object) -> object:
    """Return what is equal for equal values: whole numbers and strings themselves, the JSON text of all else in a pair.

    Raises `InvalidInput` for what is no JSON value.
    """
    if type(value) is int or type(value) is str:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    return (canonical(value),)


def compare(value: Any, ask: Ask) -> bool:
    """Return whether a value stands in an order to the operand; both are numbers or both strings."""
    match ask.operator:
        case "$gt":
            return bool(value > ask.operand)
        case "$gte":
            return bool(value >= ask.operand)
        case "$lt":
            return bool(value < ask.operand)
        case _:
            return bool(value <= ask.operand)


def _among(codes: Codes, wanted: Iterable[int], distinct: int) -> Flags:
    chosen = list(wanted)
    if len(chosen) <= FEW:
        found = np.zeros(len(codes), np.bool_)
        for code in chosen:
            found |= codes == code
        return found
    table = np.zeros(distinct + 1, np.bool_)
    table[chosen] = True
    return np.asarray(table[codes])


class Coded:
    """One value per row, kept as its number; rows are numbered from 0 by their owner."""

    def __init__(self, capacity: int) -> None:
        self._codes: Codes = np.full(capacity, MISSING, np.int32)
        self.values = Values()

    def reserve(self, capacity: int) -> None:
        """Make room for so many rows."""
        grown = np.full(capacity, MISSING, np.int32)
        grown[: len(self._codes)] = self._codes
        self._codes = grown

    def write(self, row: int, value: object) -> None:
        """Set a row's value, or `ABSENT`."""
        self._codes[row] = MISSING if value is ABSENT else self.values.code(value)

    def load(self, rows: Sequence[int], values: Sequence[object]) -> None:
        """Set the values of many rows."""
        if rows:
            self._codes[np.array(rows)] = self.values.codes(values)

    def codes(self, size: int) -> Codes:
        """Return the numbers of the first `size` rows' values."""
        return self._codes[:size]

    def equal(self, size: int, value: object) -> Flags:
        """Return which of the first `size` rows hold this value."""
        code = self.values.known(value)
        return np.zeros(size, np.bool_) if code == MISSING else np.asarray(self._codes[:size] == code)


class Metadata:
    """What the rows of a shard hold under every key; a key's values are read when it is first asked for.

    Until then the rows that were loaded are JSON text and those that were written are what their records hold.
    """

    def __init__(self, capacity: int) -> None:
        """Start without any row."""
        self._capacity = capacity
        self._parts: list[tuple[int, str]] = []
        self._written: dict[int, Mapping[str, Any]] = {}
        self._coded: dict[str, Coded | None] = {}

    def reserve(self, capacity: int) -> None:
        """Make room for so many rows."""
        self._capacity = capacity
        for coded in self._coded.values():
            if coded is not None:
                coded.reserve(capacity)

    def load(self, start: int, texts: Sequence[str]) -> None:
        """Take the JSON objects of the rows from `start` on."""
        if self._coded:
            for row, metadata in enumerate(_objects(",".join(texts)), start):
                self.write(row, metadata)
        elif texts.count("{}") < len(texts):
            self._parts.append((start, ",".join(texts)))

    def write(self, row: int, metadata: Mapping[str, Any]) -> None:
        """Set what a row holds."""
        if metadata or self._parts or row in self._written:
            self._written[row] = metadata
        for key, coded in self._coded.items():
            held = metadata.get(key, ABSENT)
            if coded is None and held is not ABSENT:
                coded = self._coded[key] = Coded(self._capacity)
            if coded is not None:
                coded.write(row, _storable(held))

    def under(self, key: str) -> Coded | None:
        """Return the values under a key, by row; None where no row has it."""
        if key not in self._coded:
            coded = Coded(self._capacity)
            for start, text in self._parts:
                held = [(row, metadata[key]) for row, metadata in enumerate(_objects(text), start) if key in metadata]
                if held:
                    coded.load(*zip(*held, strict=True))
            for row, metadata in self._written.items():
                coded.write(row, _storable(metadata.get(key, ABSENT)))
            self._coded[key] = coded if len(coded.values) else None
        return self._coded[key]


def _objects(joined: str) -> list[dict[str, Any]]:
    return list(json.loads(f"[{joined}]"))


def _storable(value: object) -> object:
    """Return a value, or `ABSENT` for one that is no JSON value."""
    try:
        canonical(value)
    except InvalidInput:
        return ABSENT
    return value
