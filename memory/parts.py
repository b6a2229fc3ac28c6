"""Which records are parts of another: they say nothing of their own, and share the fate of their whole.

A part is a record that `mars.memory.keyed` stored so that its whole is found by a text of its own. What hides, shows or
ends the whole does so to its parts in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mars.memory.interfaces import Reader
from mars.memory.records import Record

PARTS = "parts"
"""Key of the metadata of a whole: the ids of its parts."""

AS_PART = "index"
"""`Provenance.role` of a part; its one source is the whole."""


def parts_of(reader: Reader, wholes: Iterable[Record]) -> list[Record]:
    """Return the parts of these records that are there, in order; a list of ids that somebody made up names none."""
    by_whole = {one.id: listed for one in wholes if isinstance(listed := one.metadata.get(PARTS), list | tuple)}
    named = [(whole, str(part)) for whole, listed in by_whole.items() for part in listed]
    found = reader.get([part for _, part in named]) if named else []
    return [one for one, (whole, _) in zip(found, named, strict=True) if one is not None and is_part(one, whole)]


def is_part(record: Record, whole: str) -> bool:
    """Return whether a record is a part of the whole with this id."""
    return record.provenance.role == AS_PART and record.provenance.sources == (whole,)


def with_parts(reader: Reader, records: Sequence[Record]) -> list[Record]:
    """Return these records and then the parts of each that are not among them."""
    given = {record.id for record in records}
    return [*records, *(part for part in parts_of(reader, records) if part.id not in given)]
