"""What the rows of a shard hold under one key of their metadata, and which rows a condition on it finds.

A row holds the number of its value; values are kept once. A condition is decided once per distinct value, orders by
bisection in a sorted list that is built when it is first asked for, so that 100,000 rows cost two passes over numbers.
"""

from __future__ import annotations

import json
import math
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

FEW = 12
"""So many values are compared one by one; more by a table."""

_SIZES = (np.int8, np.int16, np.int32, np.int64)


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

    def has(self, size: int) -> Flags:
        """Return which of the first `size` rows hold a value."""
        return np.asarray(self._codes[:size] != MISSING)

    def find(self, size: int, ask: Ask, wanted: bool) -> Flags:
        """Return for which of the first `size` rows the answer is certainly `wanted`; see `Values.find`."""
        return self.values.find(self._codes[:size], ask, wanted)

    def find_inside(self, size: int, path: tuple[str, ...], ask: Ask, wanted: bool) -> Flags:
        """Return the same for what lies at a path of keys within each value."""
        values, inner = self.values.inner(path)
        return values.find(inner[self._codes[:size]], ask, wanted)

    def equal(self, size: int, value: object) -> Flags:
        """Return which of the first `size` rows hold this value."""
        code = self.values.known(value)
        return np.zeros(size, np.bool_) if code == MISSING else np.asarray(self._codes[:size] == code)


class Whole:
    """One whole number per row, as it is, in as few bytes as all of them need; rows are numbered by their owner."""

    def __init__(self, capacity: int) -> None:
        self._held: npt.NDArray[Any] = np.zeros(capacity, _SIZES[0])
        self._has: Flags = np.zeros(capacity, np.bool_)

    @staticmethod
    def fits(values: Iterable[object]) -> bool:
        """Return whether these are whole numbers of 64 bits."""
        given = list(values)
        if set(map(type, given)) != {int}:
            return False
        return -(1 << 63) <= min(given) and max(given) < 1 << 63  # type: ignore[type-var, operator]

    def reserve(self, capacity: int) -> None:
        """Make room for so many rows."""
        for name in ("_held", "_has"):
            column = getattr(self, name)
            grown = np.zeros(capacity, column.dtype)
            grown[: len(column)] = column
            setattr(self, name, grown)

    def write(self, row: int, value: object) -> None:
        """Set a row's value, one that `fits`, or `ABSENT`."""
        self._has[row] = False
        if value is not ABSENT:
            self.load([row], [value])

    def load(self, rows: Sequence[int], values: Sequence[object]) -> None:
        """Set the values of many rows, of which there is one at least; all of them `fits`."""
        given = np.array(values, np.int64)
        least, most = int(given.min()), int(given.max())
        kind = next(kind for kind in _SIZES if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max)
        if np.dtype(kind).itemsize > self._held.dtype.itemsize:
            self._held = self._held.astype(kind)
        at = np.array(rows, np.int64)
        self._held[at], self._has[at] = given, True

    def coded(self) -> Coded:
        """Return the same as `Coded`, which takes any value."""
        made, rows = Coded(len(self._held)), np.flatnonzero(self._has)
        made.load(rows.tolist(), self._held[rows].tolist())
        return made

    def has(self, size: int) -> Flags:
        """Return which of the first `size` rows hold a value."""
        return self._has[:size]

    def find(self, size: int, ask: Ask, wanted: bool) -> Flags:
        """Return for which of the first `size` rows the answer is certainly `wanted`; neither where there is none."""
        if ask.operator in ORDERS:
            if isinstance(ask.operand, str):
                return np.zeros(size, np.bool_)
            found = self._ordered(size, ask)
        else:
            found = self._equal(size, ask.operand if ask.operator in LISTS else (ask.operand,))
            wanted = wanted == (ask.operator in ("$eq", "$in"))
        flags = found if wanted else ~found
        flags &= self._has[:size]
        return flags

    def find_inside(self, size: int, path: tuple[str, ...], ask: Ask, wanted: bool) -> Flags:
        """Return that nothing lies within a number."""
        return np.zeros(size, np.bool_)

    def _equal(self, size: int, operands: Iterable[object]) -> Flags:
        held, limits = self._held[:size], np.iinfo(self._held.dtype)
        same = {int(each) for each in operands if is_number(each) and each == each // 1}  # type: ignore[operator]
        chosen = sorted(each for each in same if limits.min <= each <= limits.max)
        if len(chosen) <= FEW:
            found = np.zeros(size, np.bool_)
            for value in chosen:
                found |= held == value
            return found
        ordered = np.array(chosen, held.dtype)
        places = np.minimum(np.searchsorted(ordered, held), len(ordered) - 1)
        return np.asarray(ordered[places] == held)

    def _ordered(self, size: int, ask: Ask) -> Flags:
        """Return which numbers stand in an order to the operand: to the next whole number, which is exact."""
        held, limits = self._held[:size], np.iinfo(self._held.dtype)
        bound = math.floor(ask.operand) if ask.operator in ("$gt", "$lte") else math.ceil(ask.operand)
        if not limits.min <= bound <= limits.max:
            return np.full(size, (bound < limits.min) == (ask.operator in ("$gt", "$gte")))
        match ask.operator:
            case "$gt":
                return np.asarray(held > bound)
            case "$gte":
                return np.asarray(held >= bound)
            case "$lt":
                return np.asarray(held < bound)
            case _:
                return np.asarray(held <= bound)


Column = Coded | Whole
"""What the rows hold under one key."""


class Metadata:
    """What the rows of a shard hold under every key; a key's values are read when it is first asked for.

    Until then the rows that were loaded are JSON text and those that were written are what their records hold.
    """

    def __init__(self, capacity: int) -> None:
        """Start without any row."""
        self._capacity = capacity
        self._parts: list[tuple[int, str]] = []
        self._written: dict[int, Mapping[str, Any]] = {}
        self._columns: dict[str, Column | None] = {}

    def reserve(self, capacity: int) -> None:
        """Make room for so many rows."""
        self._capacity = capacity
        for column in self._columns.values():
            if column is not None:
                column.reserve(capacity)

    def load(self, start: int, texts: Sequence[str]) -> None:
        """Take the JSON objects of the rows from `start` on."""
        if self._columns:
            for row, metadata in enumerate(_objects(",".join(texts)), start):
                self.write(row, metadata)
        elif texts.count("{}") < len(texts):
            self._parts.append((start, ",".join(texts)))

    def write(self, row: int, metadata: Mapping[str, Any]) -> None:
        """Set what a row holds."""
        if metadata or self._parts or row in self._written:
            self._written[row] = metadata
        for key in self._columns:
            self._set(key, row, _storable(metadata.get(key, ABSENT)))

    def _set(self, key: str, row: int, value: object) -> None:
        column = self._columns[key]
        if value is not ABSENT and not (isinstance(column, Coded) or (column and Whole.fits([value]))):
            column = self._columns[key] = column.coded() if column else _column([value], self._capacity)
        if column is not None:
            column.write(row, value)

    def read(self, keys: Iterable[str]) -> None:
        """Read what all rows hold under some keys, which are then ready: the text of each row once."""
        wanted = [key for key in keys if key not in self._columns]
        if not wanted:
            return
        found: dict[str, tuple[list[int], list[object]]] = {key: ([], []) for key in wanted}
        for start, text in self._parts:
            objects = _objects(text)
            for key, (rows, values) in found.items():
                held = [row for row, metadata in enumerate(objects, start) if key in metadata]
                rows += held
                values += [objects[row - start][key] for row in held]
        for key, (rows, values) in found.items():
            self._columns[key] = _column(values, self._capacity) if values else None
            if column := self._columns[key]:
                column.load(rows, values)
            for row, written in self._written.items():
                self._set(key, row, _storable(written.get(key, ABSENT)))

    def under(self, key: str) -> Column | None:
        """Return the values under a key, by row; None where no row has it."""
        self.read([key])
        return self._columns[key]


def _column(values: Sequence[object], capacity: int) -> Column:
    return Whole(capacity) if Whole.fits(values) else Coded(capacity)


def _objects(joined: str) -> list[dict[str, Any]]:
    return list(json.loads(f"[{joined}]"))


def _storable(value: object) -> object:
    """Return a value, or `ABSENT` for one that is no JSON value."""
    try:
        canonical(value)
    except InvalidInput:
        return ABSENT
    return value
