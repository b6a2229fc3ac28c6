"""Chroma as a derived index: approximate candidates, never the truth, never given any text.

One collection per namespace, because a filter on metadata costs three to a hundred times more than a collection of
its own (2 ms to make), and because what is apart cannot leak. A collection's name is a hash of store, embedder and
namespace; it holds ids and vectors of active records, nothing else.

The high-water mark lies in Chroma beside the vectors, so that losing the folder loses both and the next `follow` is a
replay; every step is an upsert or a delete, so that a replay after a crash is harmless. Chroma loses vectors when two
processes write to one folder, so the folder is locked from the first use to `close`, and a second process is refused.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from mars.errors import InvalidVector, StoreClosed, StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from mars.memory import points
from mars.memory.findings import IndexAudit
from mars.memory.index import inspection
from mars.memory.index.folder_lock import FolderLock
from mars.memory.index.updates import read_update
from mars.memory.interfaces import IndexUpdate, Reader, VectorIndex
from mars.memory.records import Namespace, Vector, check_vector

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

__all__ = ["ChromaIndex"]

BATCH = 5_000
"""Records per call; Chroma takes 5,461 at most."""

PIECE = 16
"""Records per call where others are to get a word in: Chroma keeps the interpreter to itself during its calls."""

PAUSE = 0.002
"""Seconds between these calls, in which a question for candidates has its turn."""

Progress = Callable[[int, int], None]

# A wider search than Chroma's default of 100: recall on clustered vectors is worth a tenth of a millisecond.
_SEARCH: Any = {"space": "cosine", "ef_search": 200, "ef_construction": 200}


class ChromaIndex(VectorIndex):
    """An index in a folder of its own; see the module. Usable from any thread, by one process at a time."""

    def __init__(self, folder: Path, *, store: str, embedder: str, dimension: int, patience: float = 5.0) -> None:
        """Name the index of one store (its ``store_id``) and embedder; nothing is imported or opened before use.

        `patience` is how many seconds to wait for another process to close the folder.
        """
        self._folder = folder
        self._whose = f"{store}\x1f{embedder}"
        self._embedder = embedder
        self._dimension = dimension
        self._patience = patience
        self._lock = FolderLock(folder)
        self._guard = threading.RLock()
        self._opened: ClientAPI | None = None
        self._closed = False
        self._process = os.getpid()

    def claim(self) -> bool:
        """See `VectorIndex.claim`; raises `StoreUnavailable` where the folder cannot be used by anybody."""
        with self._guard:
            return self._hold(0.0)

    def high_water(self) -> int:
        """See `VectorIndex.high_water`."""
        with self._chroma() as client:
            return self._mark(client)

    def pending(self, reader: Reader, after: int, limit: int = BATCH) -> IndexUpdate:
        """See `VectorIndex.pending`; raises `InvalidVector` for a vector of another dimension than the index's."""
        update = read_update(reader, after, limit, self._embedder)
        for rows in update.vectors.values():
            for vector in rows.values():
                if vector.size != self._dimension:
                    raise InvalidVector(f"a vector has {vector.size} dimensions, the index {self._dimension}: reindex")
        return update

    def apply(self, update: IndexUpdate, *, gently: bool = True) -> int:
        """See `VectorIndex.apply`. The mark comes last: whatever ends the process before it is a replay."""
        with self._chroma() as client:
            mark = self._mark(client)
        if mark != update.after:
            return mark
        size = PIECE if gently else BATCH
        for namespace, ids in update.gone.items():
            for part in _parts(ids, size):
                with self._chroma() as client:
                    collection = self._find(client, self._name(namespace))
                    if collection is not None:
                        collection.delete(ids=part)
                _yield(gently)
        points.reach("index_removed")
        for namespace, rows in update.vectors.items():
            for part in _parts(list(rows), size):
                with self._chroma() as client:
                    vectors = np.stack([rows[one] for one in part])
                    self._get(client, self._name(namespace)).upsert(ids=part, embeddings=vectors)
                _yield(gently)
        points.reach("index_applied")
        with self._chroma() as client:
            mark = self._mark(client)
            if mark != update.after:  # somebody began anew meanwhile
                return mark
            self._set_mark(client, update.upto)
        points.reach("index_marked")
        return update.upto

    def follow(self, reader: Reader, progress: Progress | None = None) -> int:
        """See `VectorIndex.follow`; `progress` is called with (`seq` reached, `seq` aimed at) after each batch."""
        with self._guard:
            mark, head, done = self.high_water(), reader.head(), 0
            if mark > head:
                # The truth was restored from an older backup: what was indexed since is not in it.
                self.clear()
                mark = 0
            while mark < head:
                update = self.pending(reader, mark)
                mark, done = self.apply(update), done + update.changes
                if progress is not None:
                    progress(mark, head)
            return done

    def clear(self) -> None:
        """See `VectorIndex.clear`; the files are deleted, so it also mends an index that cannot be opened."""
        with self._guard:
            self._must_hold()
            self._close_client()
            for folder in self._folder.glob("data-*"):
                shutil.rmtree(folder, ignore_errors=True)
            points.reach("index_dropped")

    def audit(self, reader: Reader) -> IndexAudit | None:
        """See `VectorIndex.audit`; a purge that is not followed yet is no finding."""
        if not any(self._folder.glob("data-*")):
            return None
        with self._chroma() as client:
            mark, head = self._mark(client), reader.head()
            names = {self._name(name): name for name in inspection.known_names(reader)}
            late = {one for _, one, _ in reader.removed(mark)}
            found = [*inspection.strays(client, names)] + ([inspection.ahead(mark, head)] if mark > head else [])
            held = 0
            for told, name in names.items():
                collection = self._find(client, told)
                held += 0 if collection is None else collection.count()
                if name:
                    found += inspection.compare(collection, reader, name, mark, self._embedder)
            return IndexAudit(
                mark=mark,
                vectors=held,
                findings=tuple(one for one in found if one.record not in late or not one.record),
            )

    def candidates(self, namespace: Namespace, vector: Vector, k: int) -> list[tuple[str, float]]:
        """See `VectorIndex.candidates`; raises `InvalidVector` for another dimension."""
        query = check_vector(vector, self._dimension)
        with self._chroma() as client:
            collection = self._find(client, self._name(namespace))
            wanted = min(k, collection.count()) if collection is not None else 0
            if collection is None or wanted < 1 or not query.any():
                return []
            found = collection.query(query_embeddings=query[None, :], n_results=wanted, include=["distances"])
        ids, distances = found["ids"][0], (found["distances"] or [[]])[0]
        return [(one, 1.0 - float(distance)) for one, distance in zip(ids, distances, strict=True)]

    def close(self) -> None:
        """See `VectorIndex.close`; frees the folder for other processes."""
        with self._guard:
            self._closed = True
            self._close_client()
            self._lock.release()

    def _name(self, namespace: Namespace) -> str:
        """The name of a namespace's collection; that of ``()`` carries the mark."""
        told = "\x1f".join((self._whose, *(f"{len(label)}:{label}" for label in namespace)))
        return f"mars-{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}"

    def _mark(self, client: ClientAPI) -> int:
        collection = self._find(client, self._name(()))
        return 0 if collection is None else int((collection.metadata or {}).get("seq", 0))

    def _set_mark(self, client: ClientAPI, seq: int) -> None:
        self._get(client, self._name(())).modify(metadata={"seq": seq})

    def _get(self, client: ClientAPI, name: str) -> Collection:
        return client.get_or_create_collection(name, configuration={"hnsw": _SEARCH}, embedding_function=None)

    def _find(self, client: ClientAPI, name: str) -> Collection | None:
        from chromadb.errors import NotFoundError

        try:
            return client.get_collection(name, embedding_function=None)
        except NotFoundError:
            return None

    @contextmanager
    def _chroma(self) -> Iterator[ClientAPI]:
        """Open Chroma at first use; say what helps where it fails."""
        with self._guard:
            self._must_hold()
            if self._opened is None:
                self._opened = self._open_client()
            try:
                yield self._opened
            except BaseException as error:
                if not _is_chromas(error):
                    raise
                self._close_client()
                raise self._useless(error) from error

    def _open_client(self) -> ClientAPI:
        """Open Chroma in this process, without telemetry."""
        import chromadb
        from chromadb.config import Settings

        # A name of its own for each rebuild: within a process, Chroma keeps what it has opened by its path.
        folder = next(iter(sorted(self._folder.glob("data-*"))), self._folder / f"data-{uuid4().hex[:12]}")
        folder.mkdir(parents=True, exist_ok=True)
        settings = Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(folder))
        try:
            return chromadb.PersistentClient(path=str(folder), settings=settings)
        except Exception as error:  # its clean-up after damaged files fails in ways of its own
            raise self._useless(error) from error

    def _useless(self, error: BaseException) -> StoreError:
        told = str(error).lower()
        if "no space left" in told or "disk is full" in told:
            return StoreFull(f"no space is left for the Chroma index in {self._folder}; the memory itself is intact")
        return StoreCorrupt(
            f"the Chroma index in {self._folder} is of no use ({type(error).__name__}); the memory itself is intact: "
            "run `mars memory reindex`"
        )

    def _must_hold(self) -> None:
        if not self._hold(self._patience):
            raise StoreUnavailable(
                f"the index in {self._folder} is in use by another process: close that one, or recall exactly, which "
                "needs no index"
            )

    def _hold(self, patience: float) -> bool:
        """Have the folder for this process, if it can be had within `patience` seconds."""
        if self._closed:
            raise StoreClosed("the index is closed: open it again")
        if self._process != os.getpid():
            raise StoreUnavailable("the index was opened before a fork: open the memory in the child")
        if self._lock.held:
            return True
        self._close_client()  # of a folder that is no longer there
        return self._lock.attempt(patience)

    def _close_client(self) -> None:
        client, self._opened = self._opened, None
        if client is not None:
            close: Callable[[], Any] | None = getattr(client, "close", None)
            if close is not None:
                close()


def _parts(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    """Yield ids in parts of at most `size`."""
    rest = iter(ids)
    while part := list(islice(rest, size)):
        yield part


def _yield(gently: bool) -> None:
    if gently:
        time.sleep(PAUSE)


def _is_chromas(error: BaseException) -> bool:
    """Whether Chroma failed: by an error of its own, or by a panic of its core, which is no `Exception`."""
    from chromadb.errors import ChromaError

    return isinstance(error, ChromaError) or type(error).__name__ == "PanicException"
