"""What the doctor sees of a Chroma index: every id and vector of every collection, against the truth.

Only what changed up to the mark is judged. What came later the next `follow` settles, whatever the index holds of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mars.memory.findings import Finding, FindingKind
from mars.memory.interfaces import Reader, Selection
from mars.memory.records import Namespace, Record, Status, Vector

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

BATCH = 2_000
"""So many records and vectors are compared at a time."""

NEAR = 1e-4
"""How far apart the numbers of two equal vectors may be: Chroma scales them itself."""

REMEDY = "run `mars memory repair`, or `mars memory reindex`"


def known_names(reader: Reader) -> set[Namespace]:
    """Return every namespace that holds a record or once did."""
    return {(), *reader.namespaces(), *(namespace for _, _, namespace in reader.removed(0))}


def strays(client: ClientAPI, known: Iterable[str]) -> Iterator[Finding]:
    """Yield the collections that belong to no namespace of this store and embedder."""
    names = set(known)
    for collection in client.list_collections():
        if collection.name not in names:
            yield Finding(
                kind=FindingKind.INDEX_STRAY_COLLECTION,
                message=f"the index has a collection {collection.name} that belongs to no namespace of this store",
                remedy=REMEDY,
            )


def ahead(mark: int, head: int) -> Finding:
    """Return the finding of a mark that is beyond the newest `seq`."""
    message = f"the index says it has followed to seq {mark:,}; the newest of the store is {head:,}"
    return Finding(kind=FindingKind.INDEX_AHEAD, message=message, remedy=REMEDY)


def compare(
    collection: Collection | None, reader: Reader, namespace: Namespace, mark: int, embedder: str
) -> Iterator[Finding]:
    """Yield where a namespace's collection (None if there is none) differs from the truth."""
    seen: set[str] = set()
    for ids, held in _contents(collection):
        seen.update(ids)
        records = {one: record for one, record in zip(ids, reader.get(ids), strict=True) if record is not None}
        wanted = reader.vectors(list(records))
        for one in ids:
            yield from _judge(one, records.get(one), wanted.get(one), held[one], namespace, mark, embedder)
    after = 0
    while batch := reader.select(Selection(namespace=namespace, after_seq=after, limit=BATCH)):
        after = batch[-1].seq
        lacking = [one.id for one in batch if one.id not in seen and one.seq <= mark and _belongs(one, embedder)]
        for one, vector in reader.vectors(lacking).items():
            if vector.any():
                yield _finding(FindingKind.INDEX_MISSING, one, namespace, "is not in the index")


def _contents(collection: Collection | None) -> Iterator[tuple[list[str], Mapping[str, Vector]]]:
    if collection is None:
        return
    include: Any = ["embeddings"]
    for start in range(0, collection.count(), BATCH):
        page = collection.get(limit=BATCH, offset=start, include=include)
        rows = np.asarray(page["embeddings"], np.float32)
        yield page["ids"], dict(zip(page["ids"], rows, strict=True))


def _judge(
    one: str,
    record: Record | None,
    wanted: Vector | None,
    held: Vector,
    namespace: Namespace,
    mark: int,
    embedder: str,
) -> Iterator[Finding]:
    """Yield what is wrong with one vector of the index."""
    if record is not None and record.seq > mark:
        return
    if record is None or record.namespace != namespace:
        yield _finding(FindingKind.INDEX_GHOST, one, namespace, "is in the index, but no record of the namespace")
    elif not _belongs(record, embedder) or wanted is None or not wanted.any():
        yield _finding(FindingKind.INDEX_GHOST, one, namespace, "is in the index, but not to be recalled")
    elif wanted.shape != held.shape or not np.allclose(wanted, held, atol=NEAR):
        yield _finding(FindingKind.INDEX_VECTOR, one, namespace, "has another vector in the index")


def _belongs(record: Record, embedder: str) -> bool:
    return record.status is Status.ACTIVE and record.embedder == embedder


def _finding(kind: FindingKind, one: str, namespace: Namespace, what: str) -> Finding:
    return Finding(kind=kind, record=one, namespace=namespace, message=f"{one} {what}", remedy=REMEDY)
