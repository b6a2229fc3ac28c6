"""Which records are parts of another: they say nothing of their own, and share the fate of their whole.

A part is a record that `mars.memory.keyed` stored so that its whole is found by a text of its own. What hides, shows,
strengthens or ends the whole does so to its parts in the same transaction; a use of a part is a use of its whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mars.memory.interfaces import Reader
from mars.memory.records import Record

PARTS = "parts"
"""Key of the metadata of a whole: the ids of its parts."""

AS_PART = "index"
"""`Provenance.role` of a part; its one source is the whole."""


def parts_of(reader: Reader, wholes: Iterable[Record]) -> list[Record]:
    """Return the parts of these records that are there, in order; a list of ids that somebody made up names none."""
    by_whole = {one.id: _listed(one) for one in wholes}
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


def wholes_of(reader: Reader, records: Sequence[Record]) -> dict[str, Record]:
    """Return by id the whole of each of these records that is a part, and of which the whole itself says so."""
    named = {one.id: one.provenance.sources[0] for one in records if _claims(one)}
    rows = reader.get(list(dict.fromkeys(named.values()))) if named else []
    there = {row.id: row for row in rows if row is not None}
    return {part: there[whole] for part, whole in named.items() if whole in there and part in _listed(there[whole])}


def _claims(record: Record) -> bool:
    return record.provenance.role == AS_PART and len(record.provenance.sources) == 1


def _listed(whole: Record) -> Sequence[Any]:
    listed = whole.metadata.get(PARTS)
    return listed if isinstance(listed, list | tuple) else ()


def in_step(part: Record, whole: Record) -> Record:
    """Return a part that is as strong as its whole, and fades with it."""
    return replace(
        part,
        strength=whole.strength,
        difficulty=whole.difficulty,
        last_strengthened=whole.last_strengthened,
        uses=whole.uses,
        last_turn=whole.last_turn,
    )


def in_common(parts: Sequence[Record]) -> Mapping[str, Any]:
    """Return the metadata that each of these parts has."""
    shared = parts[0].metadata if parts else {}
    return {key: value for key, value in shared.items() if all(one.metadata.get(key) == value for one in parts)}
