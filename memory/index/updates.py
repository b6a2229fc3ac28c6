"""What a derived index has to apply: read from the truth in one view, applied without one."""

from __future__ import annotations

from collections import defaultdict

from mars.memory.interfaces import IndexUpdate, Reader, Selection
from mars.memory.records import Namespace, Status, Vector

__all__ = ["read_update"]


def read_update(reader: Reader, after: int, limit: int, embedder: str) -> IndexUpdate:
    """Return what changed after this `seq`, at most `limit` changed records and the purges among them.

    An index holds the vectors of active records that this embedder made; what is none of these, or has no direction, is
    to leave it.
    """
    batch = reader.select(Selection(after_seq=after, limit=limit))
    upto = batch[-1].seq if len(batch) == limit else reader.head()
    belong = [each.id for each in batch if each.status is Status.ACTIVE and each.embedder == embedder]
    found = reader.vectors(belong)
    vectors: dict[Namespace, dict[str, Vector]] = defaultdict(dict)
    gone: dict[Namespace, list[str]] = defaultdict(list)
    for record in batch:
        vector = found.get(record.id)
        if vector is None or not vector.any():
            gone[record.namespace].append(record.id)
        else:
            vectors[record.namespace][record.id] = vector
    purged = [(one, namespace) for seq, one, namespace in reader.removed(after) if seq <= upto]
    for one, namespace in purged:
        gone[namespace].append(one)
    changes = len(batch) + len(purged)
    return IndexUpdate(after=after, upto=upto, head=reader.head(), vectors=vectors, gone=gone, changes=changes)
