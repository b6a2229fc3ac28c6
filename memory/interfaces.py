"""The abstract ends of memory; read this first.

Guarantees that hold for every implementation are stated here, once. *Threads.* Backends and indexes are synchronous and
may be called from any thread; `mars.memory.engine.Memory` calls them on worker threads, so that no event loop waits for
a disk. *Order.* Every change gets the next `seq` of its store inside the transaction that makes it: `seq` is gap-free
and in commit order. *Durability.* When `Backend.transact` returns, the change survives the death of the process.
*Staleness.* The truth is never stale. What is derived from it (shards, the Chroma collection) says up to which `seq` it
has read, and is brought up to date before it answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, TypeVar, runtime_checkable

from mars.memory.findings import Audit, IndexAudit, Stored
from mars.memory.lives import Lives
from mars.memory.loading import PART, Loaded, loaded
from mars.memory.outcomes import Failed as Failed
from mars.memory.outcomes import outcome as outcome
from mars.memory.records import (
    Change,
    Explanation,
    Grade,
    Hit,
    Kind,
    Namespace,
    NewRecord,
    Provenance,
    Record,
    Source,
    Status,
    Sweep,
    Tier,
    Vector,
)

__all__ = [
    "Backend",
    "Change",
    "Clock",
    "Embedder",
    "Explanation",
    "Failed",
    "Grade",
    "Hit",
    "IndexUpdate",
    "Kind",
    "Lives",
    "Namespace",
    "NewRecord",
    "Provenance",
    "Reader",
    "Record",
    "Selection",
    "Source",
    "Status",
    "Sweep",
    "Tier",
    "Transaction",
    "Vector",
    "VectorIndex",
]

Result = TypeVar("Result")

FIRST_PAGE, LAST_PAGE = 64, 4096
"""Records that `Reader.each` reads at first, and at most, in one go."""


@runtime_checkable
class Clock(Protocol):
    """The domain's time: retention, TTL, event times. Timeouts and leases never use it."""

    def now(self) -> datetime:
        """Return the present as a timezone-aware datetime."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns text into vectors. Deterministic: the same text gives the same vector, also in another process."""

    @property
    def id(self) -> str:
        """Name, version and settings; vectors of two ids are never compared."""
        ...

    @property
    def dimension(self) -> int:
        """Length d of a vector."""
        ...

    @property
    def lexical_weight(self) -> float:
        """The claimed share of the lexical arm in the fusion, in [0, 1]; see `mars.memory.agreement`."""
        ...

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return float32 vectors of shape ``[len(texts), dimension]``, of unit length or zero.

        May block; called on a worker thread. Raises `InvalidVector` for NaN, infinity or a wrong dimension.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which records a listing wants; a field that is None or empty does not restrict."""

    namespace: Namespace | None = None
    """Exactly this namespace."""
    prefix: Namespace = ()
    """This namespace and those below it."""
    kinds: frozenset[Kind] = frozenset()
    """Only these kinds."""
    statuses: frozenset[Status] = frozenset()
    """Only these statuses."""
    conversation: str | None = None
    """Only this conversation."""
    subject: str | None = None
    """Only facts about this subject (compared without case)."""
    relation: str | None = None
    """Only facts in this respect."""
    after_seq: int = 0
    """Only records whose last change came after this."""
    keys: frozenset[str] = frozenset()
    """Only records with one of these caller's keys."""
    idempotency_keys: frozenset[str] = frozenset()
    """Only records written under one of these keys."""
    content_hashes: frozenset[str] = frozenset()
    """Only records whose text has one of these hashes."""
    alive_at: datetime | None = None
    """Only records whose time to live is not over at this time."""
    expired_at: datetime | None = None
    """Only records whose time to live is over at this time."""
    archived_before: datetime | None = None
    """Only records that were put away before this time."""
    strengthened_before: datetime | None = None
    """Only records whose retention was last 1 before this time."""
    since: datetime | None = None
    """Only records of this event time or a later one."""
    until: datetime | None = None
    """Only records of an earlier event time."""
    before_seq: int | None = None
    """Only records whose last change came before this."""
    newest_first: bool = False
    """In descending order of `seq`."""
    limit: int | None = None
    """At most so many, the first in this order."""


class Reader(ABC):
    """What can be read from the truth, within one consistent view."""

    @abstractmethod
    def head(self) -> int:
        """Return the newest `seq`; 0 for an empty store."""

    @abstractmethod
    def get(self, ids: Sequence[str]) -> list[Record | None]:
        """Return the records with these ids, in this order; None where there is none."""

    @abstractmethod
    def select(self, selection: Selection) -> list[Record]:
        """Return the records that match, ordered by `seq`; see `Selection.newest_first`."""

    def each(self, selection: Selection) -> Iterator[Record]:
        """Yield the records of `select` one by one; what is not asked for any more is not read, up to a page."""
        left, size = selection.limit, FIRST_PAGE
        while left is None or left > 0:
            page = self.select(replace(selection, limit=size if left is None else min(left, size)))
            yield from page
            if len(page) < size:
                return
            last, left = page[-1].seq, None if left is None else left - len(page)
            if selection.newest_first:
                selection = replace(selection, before_seq=last)
            else:
                selection = replace(selection, after_seq=last)
            size = min(4 * size, LAST_PAGE)

    @abstractmethod
    def lives(self, selection: Selection) -> Lives:
        """Return what decides the standing of the records of `select`, as columns; no record is built."""

    @abstractmethod
    def count(self, selection: Selection) -> int:
        """Return how many records match, whatever the limit."""

    @abstractmethod
    def citing(self, ids: Collection[str]) -> list[Record]:
        """Return the records, of whatever namespace, that name one of these ids as their source, ordered by `seq`."""

    @abstractmethod
    def vectors(self, ids: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors (shape ``[d]``) of those of these records that have one."""

    @abstractmethod
    def metadata(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Return the metadata of these records, for a tenth of what whole records cost; unknown ids are left out."""

    def load(self, namespace: Namespace) -> Iterator[Loaded]:
        """Give every record of a namespace with its vector, in parts; nothing else is read meanwhile."""
        count, after = self.namespaces().get(namespace, 0), 0
        while batch := self.select(Selection(namespace=namespace, after_seq=after, limit=PART)):
            after, count = batch[-1].seq, count - len(batch)
            yield loaded(batch, self.vectors([record.id for record in batch]), max(0, count))

    @abstractmethod
    def removed(self, after_seq: int) -> list[tuple[int, str, Namespace]]:
        """Return (seq, id, namespace) of the records that were purged after this `seq`, in order."""

    @abstractmethod
    def namespaces(self) -> dict[Namespace, int]:
        """Return every namespace that holds a record, with the number of its records."""

    @abstractmethod
    def history(self, record: str) -> list[Change]:
        """Return what happened to a record, oldest first; also after it was purged."""

    def graded(self, record: str, turn: str) -> bool:
        """Tell whether the history holds a use of a record in this turn."""
        return any(one.event == "used" and one.detail.get("turn") == turn for one in self.history(record))

    @abstractmethod
    def meta(self) -> Mapping[str, str]:
        """Return the store's own facts: ``store_id``, ``embedder``, ``dimension``, …"""

    @abstractmethod
    def stored(self, after: int, limit: int) -> list[Stored]:
        """Return the rows with a number beyond `after` as they lie there, whatever is wrong with them; by number."""

    @abstractmethod
    def audit(self) -> Audit:
        """Return what the rows do not say one by one: what belongs to none of them, or to several."""


class Transaction(Reader):
    """A reader that can also write. All or nothing; nobody else writes meanwhile."""

    def crowd(self, namespace: Namespace) -> Lives:
        """Return the columns of a namespace's active records, expired ones too, in any order.

        A backend may keep them between transactions, so that this reads what has changed and no more.
        """
        return self.lives(Selection(namespace=namespace, statuses=frozenset({Status.ACTIVE})))

    @abstractmethod
    def next_seq(self) -> int:
        """Take the next `seq`. Every changed record and every purge takes one of its own."""

    @abstractmethod
    def insert(self, records: Sequence[Record], vectors: Mapping[str, Vector]) -> None:
        """Add records that are new, with the vectors of those that have one."""

    @abstractmethod
    def update(self, records: Sequence[Record]) -> None:
        """Replace records by new values with the same ids; vectors stay."""

    @abstractmethod
    def set_vectors(self, embedder: str, vectors: Mapping[str, Vector]) -> None:
        """Replace the vectors of these records, set their `embedder`, and give each a new `seq`: indexes follow."""

    @abstractmethod
    def remove(self, records: Iterable[Record]) -> None:
        """Delete records and their vectors for good, leaving a tombstone each, with new `seq` in this order."""

    @abstractmethod
    def log(self, changes: Sequence[Change]) -> None:
        """Add to the history."""

    @abstractmethod
    def set_meta(self, values: Mapping[str, str]) -> None:
        """Set facts of the store."""

    @abstractmethod
    def advance(self, seq: int) -> None:
        """Let the newest `seq` be at least this one; it never goes back."""

    @abstractmethod
    def rewrite(self, rows: Mapping[int, Record]) -> None:
        """Replace rows by their numbers, ids included; vectors stay. For repairs, where an id may not be unique."""

    @abstractmethod
    def exhume(self, ids: Sequence[str]) -> None:
        """Forget that records with these ids were ever purged."""

    @abstractmethod
    def bury(self, graves: Sequence[tuple[int, str, Namespace]]) -> None:
        """Note that these were purged, (seq, id, namespace) each; they are not in the store."""

    @abstractmethod
    def clear(self) -> None:
        """Delete every record, vector and change, leaving nothing but a tombstone with a new `seq` for each record."""

    @abstractmethod
    def drop_orphans(self) -> int:
        """Delete the vectors that belong to no record; return how many."""

    @abstractmethod
    def rebuild_indexes(self) -> None:
        """Make the database's own indexes anew, those that are missing too."""


class Backend(ABC):
    """Holds the truth. A new one has few methods to write; everything else is built on them."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is, without secrets."""

    @abstractmethod
    def transact(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` in one write transaction and commit it; roll back if it raises.

        Raises `StoreReadOnly`, `StoreFull`, `StoreUnavailable` or `StoreClosed`; then nothing was written.
        """

    def transact_all(self, works: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
        """Run these in their order; return what each returned, or `Failed` for one that raised and wrote nothing.

        All that succeeded is committed when this returns. A backend may commit them together; if that commit fails, it
        raises, and none of them has written anything.
        """
        return [outcome(lambda work=work: self.transact(work)) for work in works]  # type: ignore[misc]

    @abstractmethod
    def read(self, work: Callable[[Reader], Result]) -> Result:
        """Run `work` in one consistent read view."""

    @abstractmethod
    def close(self) -> None:
        """Release what was opened; idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexUpdate:
    """What a derived index has to apply next; from one view of the truth. Holds no text."""

    after: int
    """The `seq` that the index must have reached before."""
    upto: int
    """The `seq` that the index has reached once this is applied."""
    head: int
    """The newest `seq` of that view."""
    vectors: Mapping[Namespace, Mapping[str, Vector]]
    """What it has to hold, by namespace and id."""
    gone: Mapping[Namespace, Sequence[str]]
    """Ids that it must no longer hold, by namespace; unknown ones are ignored."""
    changes: int
    """How many changed and purged records these are."""


class VectorIndex(ABC):
    """A derived index of vectors: approximate candidates from outside the process. Never given any text."""

    @abstractmethod
    def claim(self) -> bool:
        """Have the index for this process without waiting; False while another process has it. Kept until `close`."""

    @abstractmethod
    def high_water(self) -> int:
        """Return the `seq` up to which the index has followed the truth."""

    @abstractmethod
    def pending(self, reader: Reader, after: int, limit: int) -> IndexUpdate:
        """Return what changed after this `seq`, at most `limit` records of it; `apply` it outside of the view."""

    @abstractmethod
    def apply(self, update: IndexUpdate, *, gently: bool = True) -> int:
        """Bring the vectors up to date, then the high-water mark, and return it. Applied by halves it can be repeated.

        Does nothing where the mark is not the one that the update follows. `gently` lets other threads run now and
        then; without it the whole is done sooner.
        """

    @abstractmethod
    def clear(self) -> None:
        """Drop everything, also what cannot be read; the high-water mark is 0."""

    @abstractmethod
    def follow(self, reader: Reader, progress: Callable[[int, int], None] | None = None) -> int:
        """Apply what changed since the high-water mark, in batches; return how many records. Repeatable."""

    @abstractmethod
    def audit(self, reader: Reader) -> IndexAudit | None:
        """Compare all that the index holds with the truth; None where there is no index yet. Writes nothing."""

    @abstractmethod
    def candidates(self, namespace: Namespace, vector: Vector, k: int) -> list[tuple[str, float]]:
        """Return about the k nearest (id, cosine) of a namespace; approximate."""

    @abstractmethod
    def close(self) -> None:
        """Release what was opened; idempotent."""
