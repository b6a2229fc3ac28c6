"""A change of embedder: every vector of a store is made anew from its text, in batches, and a killed change goes on.

The store says from the first batch on which embedder it is changing to, and until the last one what it came from. So
two embedders' vectors are never compared: meanwhile nobody can recall or write, whichever embedder they have, but with
an error that says how to finish. What has its new vector already is passed over, so going on is beginning again.

Each batch is written only while the change is the one that was begun: of two that run at once towards one embedder both
do their part, and of two towards different ones the first learns at its next batch that the other has turned it round.
A change may be turned round, back to the embedder that it came from; a third embedder has to wait for its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mars.errors import EmbedderMismatch
from mars.memory import points
from mars.memory.findings import Stored
from mars.memory.interfaces import Backend, Embedder, Reader, Transaction
from mars.memory.preparing import CHANGING_FROM, check_settled, embedded
from mars.memory.records import Vector

Progress = Callable[[int, int], None]

CHANGE = "change"
"""The store's own fact that tells one change from another: its newest `seq` at the beginning; empty once it is done."""

BATCH = 256
"""So many texts are embedded and committed at a time."""


def reembed(
    backend: Backend,
    embedder: Embedder,
    progress: Progress | None = None,
    drop: Callable[[], object] = lambda: None,
) -> int:
    """Give every record that has a vector one of this embedder; return how many it made. Blocks; repeatable.

    Does nothing to a store whose vectors are this embedder's. `progress` is called with (rows passed, rows in all), and
    `drop`, which drops what was derived of the old vectors, before the change is noted as complete. Raises
    `EmbedderMismatch` where a change to a third embedder is under way, or one has turned this one round.
    """
    change = backend.transact(lambda tx: _begin(tx, embedder))
    if change is None:
        return 0
    points.reach("reembed_begun")
    total = backend.read(lambda reader: reader.audit().records)
    passed, made, after = 0, 0, -(1 << 63)
    while rows := backend.read(lambda reader, after=after: reader.stored(after, BATCH)):  # type: ignore[misc]
        after = rows[-1].number
        texts = {row.id: row.record.text for row in rows if row.record is not None and _is_due(row, embedder)}
        vectors = dict(zip(texts, embedded(list(texts.values()), embedder), strict=True))
        points.reach("reembed_embedded")
        made += backend.transact(lambda tx, t=texts, v=vectors: _replace(tx, t, v, embedder, change))  # type: ignore[misc]
        points.reach("reembed_replaced")
        passed += len(rows)
        if progress is not None:
            progress(min(passed, total), total)
    if backend.read(lambda reader: _is_open(reader, embedder, change)):
        drop()
        points.reach("reembed_dropped")
        backend.transact(lambda tx: _finish(tx, embedder, change))
    return made


def _begin(tx: Transaction, embedder: Embedder) -> str | None:
    """Note the change before the first vector; return what tells it from others, None if there is nothing to change."""
    meta = tx.meta()
    target, origin = meta.get("embedder"), meta.get(CHANGING_FROM)
    if target is None or (target == embedder.id and not origin):
        return None
    if target == embedder.id and meta.get(CHANGE):
        return meta[CHANGE]
    if origin and embedder.id not in (target, origin):
        check_settled(meta)
    change = str(tx.head())
    before = origin if origin and target == embedder.id else target
    noted = {"embedder": embedder.id, "dimension": str(embedder.dimension), CHANGING_FROM: before or "", CHANGE: change}
    tx.set_meta(noted)
    return change


def _is_open(reader: Reader, embedder: Embedder, change: str) -> bool:
    """Tell whether this change is under way; False once somebody else has finished it.

    Raises `EmbedderMismatch` where another change took its place.
    """
    meta = reader.meta()
    target, origin = meta.get("embedder"), meta.get(CHANGING_FROM)
    if target == embedder.id and not origin:
        return False
    if target != embedder.id or meta.get(CHANGE) != change:
        raise EmbedderMismatch(
            f"the change of the store's embedder to {embedder.id!r} was turned round meanwhile: it is to be {target!r} "
            "now; let one of the two finish, `mars memory reembed --embedder …`"
        )
    return True


def _finish(tx: Transaction, embedder: Embedder, change: str) -> None:
    """Note that the change is complete."""
    if _is_open(tx, embedder, change):
        tx.set_meta({CHANGING_FROM: "", CHANGE: ""})


def _is_due(row: Stored, embedder: Embedder) -> bool:
    if row.record is None or (row.vector is None and row.record.embedder is None):
        return False
    vector = row.vector
    return vector is None or {vector.embedder, row.record.embedder} != {embedder.id}


def _replace(
    tx: Transaction, texts: Mapping[str, str], vectors: Mapping[str, Vector], embedder: Embedder, change: str
) -> int:
    """Write the new vectors of the records that are still there with these texts; none once the change is finished."""
    if not _is_open(tx, embedder, change):
        return 0
    ids: Sequence[str] = list(texts)
    there = [
        one for one, record in zip(ids, tx.get(ids), strict=True) if record is not None and record.text == texts[one]
    ]
    tx.set_vectors(embedder.id, {one: vectors[one] for one in there})
    return len(there)
