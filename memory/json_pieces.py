"""JSON text of large values, made and read piece by piece.

One call of the C encoder or decoder keeps every other thread from running until it returns: tens of milliseconds for
metadata of a few megabytes, in which no event loop turns, whichever thread makes the call. Between pieces others get
their turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

__all__ = ["decoded", "encoded", "is_large"]

LARGE = 2000
"""Values that hold more than so many others, a string counting for one per `CHARACTERS`, are encoded in pieces."""

CHARACTERS = 64
_GROUP = 256
_SLICE = LARGE * CHARACTERS // 4  # an escape takes up to twelve characters for one
_WINDOW = LARGE * CHARACTERS // 4

Encode = Callable[[object], str]
Scan = Callable[[str, int], tuple[Any, int]]

_decoder: Any = json.JSONDecoder()
_scan: Scan = _decoder.scan_once


def is_large(value: object) -> bool:
    """Tell whether encoding a value takes long. Counts no further than it must; a value within itself is large."""
    left, todo = LARGE, [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            left -= len(one) // CHARACTERS
        elif isinstance(one, dict | MappingProxyType):
            left -= len(one)
            todo += one.values() if left >= 0 else ()
        elif isinstance(one, list | tuple):
            left -= len(one)
            todo += one if left >= 0 else ()
        if left < 0:
            return True
    return False


def encoded(value: object, encode: Encode) -> str:
    """Return what ``encode(value)`` returns; `encode` makes JSON without white space between values.

    Raises what it raises, and `RecursionError` for a value within itself.
    """
    return "".join(_pieces(value, encode)) if is_large(value) else encode(value)


def _pieces(value: object, encode: Encode) -> Iterator[str]:
    if isinstance(value, str) and len(value) > _SLICE:
        yield '"'
        for start in range(0, len(value), _SLICE):
            yield encode(value[start : start + _SLICE])[1:-1]
        yield '"'
    elif isinstance(value, dict | MappingProxyType) and is_large(value):
        yield from _of_dict(value, encode)
    elif isinstance(value, list | tuple) and is_large(value):
        yield from _of_list(value, encode)
    else:
        yield encode(value)


def _of_list(values: list[object] | tuple[object, ...], encode: Encode) -> Iterator[str]:
    for start in range(0, len(values), _GROUP):
        some = values[start : start + _GROUP]
        yield "," if start else "["
        if not is_large(some):
            yield encode(some)[1:-1]
            continue
        for place, one in enumerate(some):
            yield "," if place else ""
            yield from _pieces(one, encode)
    yield "]"


def _of_dict(values: Mapping[object, object], encode: Encode) -> Iterator[str]:
    items, before = iter(values.items()), "{"
    while some := dict(islice(items, _GROUP)):
        yield before
        before = ","
        if not is_large(some):
            yield encode(some)[1:-1]
            continue
        for place, (key, one) in enumerate(some.items()):
            yield "," if place else ""
            yield encode({key: 0})[1:-2]
            yield from _pieces(one, encode)
    yield "}"


def decoded(text: str, scan: Scan = _scan) -> Any:
    """Return what `json.loads` returns of a text; raises what it raises. White space between values costs the pieces.

    `scan` reads the value that begins at a place of a text, and returns it with the place behind it.
    """
    if len(text) <= 2 * _WINDOW:
        return json.loads(text)
    try:
        value, end = _Reader(text, scan).value(0)
    except (IndexError, ValueError, RecursionError):
        end = -1
    return value if end == len(text) else json.loads(text)


class _Reader:
    """Reads values out of a text; one call of the C decoder sees no more than a window of it."""

    def __init__(self, text: str, scan: Scan) -> None:
        self._text = text
        self._scan = scan
        self._start, self._window = 0, text[:_WINDOW]

    def value(self, at: int) -> tuple[Any, int]:
        """Return the value that begins at a place, and the place behind it."""
        found = self._small(at)
        if found is None:
            self._start, self._window = at, self._text[at : at + _WINDOW]
            found = self._small(at)
        if found is not None:
            return found
        read = {"{": self._dict, "[": self._list, '"': self._string}.get(self._text[at])
        if read is None:
            raise ValueError(f"no value begins at {at}")
        return read(at + 1)

    def _small(self, at: int) -> tuple[Any, int] | None:
        """Return the value at a place if it ends within the window; at its very end, a number may go on."""
        try:
            value, end = self._scan(self._window, at - self._start)
        except (StopIteration, ValueError):
            return None
        whole = end < len(self._window) or self._start + end == len(self._text)
        return (value, self._start + end) if whole else None

    def _string(self, at: int) -> tuple[str, int]:
        text, end = _decoder.parse_string(self._text, at)
        return text, end

    def _list(self, at: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        if self._text[at] == "]":
            return values, at + 1
        while True:
            value, at = self.value(at)
            values.append(value)
            at = self._run_of(values, at)
            if self._text[at] == "]":
                return values, at + 1
            at = _after(self._text, at, ",")

    def _run_of(self, values: list[Any], at: int) -> int:
        """Read on in a list while its values end within the window; return the place behind the last one."""
        scan, window, start = self._scan, self._window, self._start
        place, last = at - start, len(window)
        try:
            while window[place] == ",":
                value, end = scan(window, place + 1)
                if end == last:
                    break
                values.append(value)
                place = end
        except (StopIteration, ValueError, IndexError):
            return start + place
        return start + place

    def _dict(self, at: int) -> tuple[dict[str, Any], int]:
        values: dict[str, Any] = {}
        while self._text[at] != "}":
            key, at = self._string(_after(self._text, _after(self._text, at, ",") if values else at, '"'))
            values[key], at = self.value(_after(self._text, at, ":"))
        return values, at + 1


def _after(text: str, at: int, sign: str) -> int:
    if text[at] != sign:
        raise ValueError(f"{sign} is missing at {at}")
    return at + 1
