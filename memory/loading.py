"""Many rows of a namespace as columns: what a shard is filled from at once, without a value for each record.

Filling a shard so takes a tenth of the time of `Record` values, which decides how long a cold store takes to answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mars.errors import InvalidVector
from mars.memory.conditions import microseconds
from mars.memory.records import Record, Vector
from mars.memory.terms import encode

__all__ = ["COLUMNS", "PART", "Loaded"]

PART = 500
"""So many rows are read at a time."""

_FLOAT = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows in the order of their storing, one sequence of values per column; times in microseconds since 1970 UTC."""

    id: Sequence[str]
    """Ids of the records."""
    kind: Sequence[str]
    """Values of `Kind`."""
    status: Sequence[str]
    """Values of `Status`."""
    terms: Sequence[bytes | None]
    """The blobs of `mars.memory.terms`."""
    text: Sequence[str | None]
    """The texts, verbatim, of those whose blobs are not of this version; None for the others."""
    conversation: Sequence[str | None]
    """Where each was said."""
    position: Sequence[int | None]
    """Places in the conversations."""
    speaker: Sequence[str | None]
    """Who said it."""
    event_time: Sequence[int]
    """When it was said or happened."""
    last_strengthened: Sequence[int]
    """When retention was last 1."""
    strength: Sequence[float]
    """S in days."""
    boost: Sequence[float]
    """S*/S."""
    importance: Sequence[float]
    """In [0, 1]."""
    pinned: Sequence[bool]
    """Never forgotten."""
    trust: Sequence[float]
    """In [0, 1]."""
    expires_at: Sequence[int | None]
    """When each ceases to exist."""
    archived_because: Sequence[str | None]
    """Why it was put away."""
    content_hash: Sequence[str]
    """Hashes of the texts."""
    metadata: Sequence[str]
    """JSON objects."""
    vector: Sequence[bytes | None]
    """Little-endian float32, as `mars.memory.tables.vectors` holds it."""
    later: int = 0
    """How many rows are still to come after these."""

    @classmethod
    def of(cls, rows: Iterable[Sequence[Any]], later: int) -> Loaded:
        """Return rows, of which there is at least one, as columns: a number, the values of `COLUMNS`, the vector."""
        _, *columns = zip(*rows, strict=True)
        return cls(**dict(zip((*COLUMNS, "vector"), columns, strict=True)), later=later)

    def __len__(self) -> int:
        return len(self.id)

    def blobs(self) -> Sequence[bytes]:
        """Return the blob of each row, made from the text where none of this version is stored."""
        if self.text.count(None) == len(self):
            return self.terms  # type: ignore[return-value]
        told = zip(self.terms, self.text, self.speaker, strict=True)
        return [blob or b"" if text is None else encode(text, speaker) for blob, text, speaker in told]

    def fill(self, matrix: Vector) -> None:
        """Write the vectors into the rows of a matrix of zeros, shape ``[n, d]``; `InvalidVector` for another d."""
        size = matrix.shape[1] * _FLOAT.itemsize
        held = [place for place, vector in enumerate(self.vector) if vector is not None]
        for place in held:
            found = len(self.vector[place] or b"")
            if found != size:
                raise InvalidVector(
                    f"record {self.id[place]} has a vector of {found // _FLOAT.itemsize} dimensions; expected "
                    f"{matrix.shape[1]}"
                )
        if matrix.dtype != _FLOAT or not matrix.flags.c_contiguous:  # a processor of the other byte order
            for place in held:
                matrix[place] = np.frombuffer(self.vector[place] or b"", _FLOAT)
            return
        there = matrix.data.cast("B") if held else memoryview(b"")
        for place in held:
            there[place * size : (place + 1) * size] = self.vector[place] or b""


COLUMNS = tuple(field.name for field in fields(Loaded) if field.name not in ("vector", "later"))
"""The columns of ``mars_records`` that a shard needs, in the order of `Loaded`; the vector follows."""


def loaded(records: Sequence[Record], vectors: Mapping[str, Vector], later: int) -> Loaded:
    """Return records, of which there is at least one, as columns."""
    return Loaded.of((_row(record, vectors.get(record.id)) for record in records), later)


def _row(record: Record, vector: Vector | None) -> tuple[object, ...]:
    return (
        *(record.seq, record.id, record.kind.value, record.status.value, encode(record.text, record.speaker), None),
        *(record.conversation, record.position, record.speaker),
        *(microseconds(record.event_time), microseconds(record.last_strengthened)),
        *(record.strength, record.boost, record.importance, record.pinned, record.trust),
        None if record.expires_at is None else microseconds(record.expires_at),
        *(record.archived_because, record.content_hash),
        json.dumps(dict(record.metadata)) if record.metadata else "{}",
        None if vector is None else vector.astype(_FLOAT, copy=False).tobytes(),
    )
