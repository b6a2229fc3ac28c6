"""What callers pass to a memory, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Iterable

from mars.errors import InvalidInput, InvalidNamespace, InvalidSetting
from mars.memory.preparing import Fields
from mars.memory.records import Namespace, NewRecord, check_namespace


def new_record(record: str | NewRecord, namespace: Namespace | None, fields: Fields) -> NewRecord:
    """Return the record that is meant: a `NewRecord` itself, or a text with its namespace and fields."""
    if isinstance(record, NewRecord):
        if fields or namespace is not None:
            raise InvalidInput(
                "a NewRecord holds its namespace and fields itself: use dataclasses.replace to change them"
            )
        return record
    return NewRecord(text=record, namespace=check_namespace(namespace), **fields)


def id_list(ids: str | Iterable[str]) -> list[str]:
    """Return ids in their order, each once; a single one may stand alone."""
    return [ids] if isinstance(ids, str) else list(dict.fromkeys(ids))


def check_count(k: int) -> int:
    """Return k if it can count records, else raise `InvalidSetting`."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 0:
        raise InvalidSetting(f"k counts records and must not be negative; got {k!r}")
    return k


def one_scope(namespace: Namespace | None, prefix: Namespace | None) -> Namespace:
    """Return the namespace or the prefix, whichever is given; raise `InvalidNamespace` for both, neither or empty."""
    if (namespace is None) == (prefix is None):
        raise InvalidNamespace("give either namespace=('user-1',) or a non-empty namespace_prefix, and not both")
    return check_namespace(prefix if namespace is None else namespace)
