"""JSON text of large values, made piece by piece.

One call of the C encoder keeps every other thread from running until it returns: tens of milliseconds for metadata of
a few megabytes, in which no event loop turns, whichever thread makes the call. Between pieces others get their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType

__all__ = ["encoded", "is_large"]

LARGE = 2000
"""Values that hold more than so many others, a string counting for one per `CHARACTERS`, are encoded in pieces."""

CHARACTERS = 64
_GROUP = 256
_SLICE = LARGE * CHARACTERS // 4  # an escape takes up to twelve characters for one

Encode = Callable[[object], str]


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
