"""A change of embedder: every vector of a store is made anew from its text, in batches, and a killed change goes on.

The store says from the first batch on which embedder it is changing to, and until the last one what it came from. So
two embedders' vectors are never compared: meanwhile nobody can recall or write, whichever embedder they have, but with
an error that says how to finish. What has its new vector already is passed over, so going on is beginning again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mars.memory.findings import Stored
from mars.memory.interfaces import Backend, Embedder, Transaction
from mars.memory.preparing import CHANGING_FROM, embedded
from mars.memory.records import Vector

Progress = Callable[[int, int], None]

BATCH = 256
"""So many texts are embedded and committed at a time."""


def reembed(backend: Backend, embedder: Embedder, progress: Progress | None = None) -> int:
    """Give every record that has a vector one of this embedder; return how many it made. Blocks; repeatable.

    Does nothing to a store whose vectors are this embedder's. `progress` is called with (rows passed, rows in all).
    """
    if not backend.transact(lambda tx: _begin(tx, embedder)):
        return 0
    total = backend.read(lambda reader: reader.audit().records)
    passed, made, after = 0, 0, -(1 << 63)
    while rows := backend.read(lambda reader, after=after: reader.stored(after, BATCH)):  # type: ignore[misc]
        after = rows[-1].number
        texts = {row.id: row.record.text for row in rows if row.record is not None and _is_due(row, embedder)}
        vectors = dict(zip(texts, embedded(list(texts.values()), embedder), strict=True))
        made += backend.transact(lambda tx, t=texts, v=vectors: _replace(tx, t, v, embedder))  # type: ignore[misc]
        passed += len(rows)
        if progress is not None:
            progress(min(passed, total), total)
    return made


def finish(backend: Backend) -> None:
    """Note that the change of embedder is complete."""
    backend.transact(lambda tx: tx.set_meta({CHANGING_FROM: ""}) if tx.meta().get(CHANGING_FROM) else None)


def _begin(tx: Transaction, embedder: Embedder) -> bool:
    """Note the change before the first vector, and tell whether there is anything to change."""
    meta = tx.meta()
    before, under_way = meta.get("embedder"), meta.get(CHANGING_FROM)
    if before is None or (before == embedder.id and not under_way):
        return False
    tx.set_meta({"embedder": embedder.id, "dimension": str(embedder.dimension), CHANGING_FROM: under_way or before})
    return True


def _is_due(row: Stored, embedder: Embedder) -> bool:
    if row.record is None or (row.vector is None and row.record.embedder is None):
        return False
    vector = row.vector
    return vector is None or {vector.embedder, row.record.embedder} != {embedder.id}


def _replace(tx: Transaction, texts: Mapping[str, str], vectors: Mapping[str, Vector], embedder: Embedder) -> int:
    """Write the new vectors of the records that are still there."""
    ids: Sequence[str] = list(texts)
    there = [one for one, record in zip(ids, tx.get(ids), strict=True) if record is not None]
    tx.set_vectors(embedder.id, {one: vectors[one] for one in there})
    return len(there)
