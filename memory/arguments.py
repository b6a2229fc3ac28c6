"""What callers pass to a memory, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Iterable

from mars.errors import InvalidInput, InvalidNamespace, InvalidSetting, NotFound
from mars.memory.checks import Choice, check_text, choice, shown, storable
from mars.memory.preparing import Fields
from mars.memory.records import Namespace, NewRecord, check_namespace

MOST = (1 << 31) - 1
"""More records than any store holds; to ask for more is to ask for all."""


def new_record(record: str | NewRecord, namespace: Namespace | None, fields: Fields) -> NewRecord:
    """Return the record that is meant: a `NewRecord` itself, or a text with its namespace and fields."""
    if isinstance(record, NewRecord):
        if fields or namespace is not None:
            raise InvalidInput(
                "a NewRecord holds its namespace and fields itself: use dataclasses.replace to change them"
            )
        return record
    unknown = sorted(fields.keys() - Fields.__annotations__.keys())
    if unknown:
        known = ", ".join(Fields.__annotations__)
        raise InvalidInput(f"a record has no field {unknown[0]!r}: it takes {known}; your own values go into metadata")
    return NewRecord(text=record, namespace=check_namespace(namespace), **fields)


def one_id(record: object) -> str:
    """Return the id of a record; raise `InvalidInput` for what is no string."""
    if not isinstance(record, str):
        raise InvalidInput(f"the id of a record is a string, `Record.id`; got {shown(record)}")
    return record


def id_list(ids: str | Iterable[str]) -> list[str]:
    """Return ids in their order, each once; a single one may stand alone.

    Raises `InvalidInput` for what are no ids, and `NotFound` for one that no database could hold.
    """
    if isinstance(ids, str):
        ids = [ids]
    if not isinstance(ids, Iterable):
        raise InvalidInput(f"give the id of a record, or several in a list; got {shown(ids)}")
    found = list(dict.fromkeys(map(one_id, ids)))
    for one in found:
        if not storable(one):
            raise NotFound(f"no record has the id {one!r}; nothing was written: list() shows what there is")
    return found


def part_texts(parts: Iterable[str]) -> list[str]:
    """Return the texts of parts; raises `InvalidInput` for a single one without a list, `InvalidText` for a bad one."""
    if isinstance(parts, str) or not isinstance(parts, Iterable):
        raise InvalidInput(f"parts are several texts in a list; got {shown(parts)}")
    return [check_text(part, "text of a part") for part in parts]


def choices(values: Iterable[object], among: type[Choice], name: str) -> frozenset[Choice]:
    """Return the members that values name; raises `InvalidInput`, for a single name without a list too."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput(f"{name} takes a list of {', '.join(among)}; got {shown(values)}")
    return frozenset(choice(one, among, name) for one in values)


def check_count(k: int, name: str = "k") -> int:
    """Return k if it can count records, else raise `InvalidSetting`; what is more than all is `MOST`."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 0:
        raise InvalidSetting(f"{name} counts records and must be a whole number, not negative; got {shown(k)}")
    return min(k, MOST)


def one_scope(namespace: Namespace | None, prefix: Namespace | None) -> Namespace:
    """Return the namespace or the prefix, whichever is given; raise `InvalidNamespace` for both, neither or empty."""
    if (namespace is None) == (prefix is None):
        raise InvalidNamespace("give either namespace=('user-1',) or a non-empty namespace_prefix, and not both")
    return check_namespace(prefix if namespace is None else namespace)
