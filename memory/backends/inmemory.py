"""The truth in plain dictionaries: for tests, sketches and conversations that end with the process.

The guarantees of the SQL backend but durability: transactions are all or nothing and one at a time, `seq` is gap-free,
and what was stored is what a database would give back. Reading views are consistent because they exclude writers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import uuid4

from mars.errors import InvalidInput, NotFound, StoreClosed, StoreError, StoreUnavailable
from mars.memory.backends.crowds import Crowds
from mars.memory.backends.doom import Doom
from mars.memory.backends.forks import renew_in_child
from mars.memory.backends.matching import matches
from mars.memory.backends.rows import change_of, change_row, life_row, settled
from mars.memory.findings import Audit, Stored, StoredVector
from mars.memory.interfaces import Backend, Reader, Selection, Transaction
from mars.memory.lives import Lives
from mars.memory.records import Change, Namespace, Record, Vector, check_vector
from mars.memory.terms import encode

__all__ = ["InMemoryBackend"]

Result = TypeVar("Result")
Undo = Callable[[], object]


@dataclass(slots=True)
class _Contents:
    """What the store holds; `by_seq` and each namespace's part of it are in the order of `seq`, `history` is rows."""

    head: int = 0
    records: dict[str, Record] = field(default_factory=dict)
    by_seq: dict[int, str] = field(default_factory=dict)
    spaces: dict[Namespace, dict[int, str]] = field(default_factory=dict)
    keys: dict[tuple[str, Namespace, str], str] = field(default_factory=dict)
    hashes: dict[str, dict[str, None]] = field(default_factory=dict)
    vectors: dict[str, Vector] = field(default_factory=dict)
    history: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    removed: list[tuple[int, str, Namespace]] = field(default_factory=list)
    meta: dict[str, str] = field(default_factory=dict)
    crowds: Crowds = field(default_factory=Crowds)


class _InMemoryReader(Reader):
    """Reads while the backend's lock is held."""

    def __init__(self, contents: _Contents) -> None:
        self._all = contents

    def head(self) -> int:
        return self._all.head

    def get(self, ids: Sequence[str]) -> list[Record | None]:
        return [self._all.records.get(one) for one in ids]

    def select(self, selection: Selection) -> list[Record]:
        return list(self.each(selection))

    def each(self, selection: Selection) -> Iterator[Record]:
        found = (record for one in self._ids(selection) if matches(record := self._all.records[one], selection))
        return islice(found, None if selection.limit is None else max(0, selection.limit))

    def _ids(self, selection: Selection) -> Iterable[str]:
        """Return the ids among which a selection finds its records, in its order; by their hashes if it names some."""
        if selection.content_hashes:
            same = [one for digest in selection.content_hashes for one in self._all.hashes.get(digest, ())]
            return sorted(same, key=lambda one: self._all.records[one].seq, reverse=selection.newest_first)
        ordered = self._all.by_seq
        if selection.namespace is not None:
            ordered = self._all.spaces.get(selection.namespace, {})
        if selection.newest_first or selection.after_seq > 0:
            newest = _after(reversed(ordered.items()), selection.after_seq)
            return newest if selection.newest_first else list(newest)[::-1]
        return ordered.values()

    def lives(self, selection: Selection) -> Lives:
        return Lives.of(life_row(record) for record in self.each(selection))

    def count(self, selection: Selection) -> int:
        return sum(1 for _ in self.each(replace(selection, limit=None)))

    def citing(self, ids: Collection[str]) -> list[Record]:
        wanted = set(ids)
        return [one for one in self.each(Selection()) if not wanted.isdisjoint(one.provenance.sources)]

    def vectors(self, ids: Sequence[str]) -> dict[str, Vector]:
        return {one: self._all.vectors[one] for one in ids if one in self._all.vectors}

    def metadata(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        return {one.id: one.metadata for one in self.get(ids) if one is not None}

    def removed(self, after_seq: int) -> list[tuple[int, str, Namespace]]:
        return [grave for grave in self._all.removed if grave[0] > after_seq]

    def namespaces(self) -> dict[Namespace, int]:
        return {namespace: len(ids) for namespace, ids in self._all.spaces.items() if ids}

    def history(self, record: str) -> list[Change]:
        return [change_of(row) for row in self._all.history.get(record, ())]

    def meta(self) -> Mapping[str, str]:
        return MappingProxyType(dict(self._all.meta))

    def stored(self, after: int, limit: int) -> list[Stored]:
        ids = (one for seq, one in self._all.by_seq.items() if seq > after)
        return [self._stored(self._all.records[one]) for one in islice(ids, limit)]

    def _stored(self, record: Record) -> Stored:
        values = self._all.vectors.get(record.id)
        vector = None
        if values is not None:
            made = record.embedder or ""
            vector = StoredVector(embedder=made, dimension=values.size, data=values.astype("<f4").tobytes())
        changes = len(self._all.history.get(record.id, ()))
        return Stored(
            number=record.seq,
            id=record.id,
            record=record,
            terms=encode(record.text, record.speaker),
            vector=vector,
            changes=changes,
        )

    def audit(self) -> Audit:
        everything = self._all
        newest = [*everything.by_seq, *(seq for seq, _, _ in everything.removed)]
        newest += [row[0] for rows in everything.history.values() for row in rows]
        return Audit(records=len(everything.records), vectors=len(everything.vectors), newest=max(newest, default=0))


class _InMemoryTransaction(_InMemoryReader, Transaction):
    """Writes at once, and notes how to take each write back."""

    def __init__(self, contents: _Contents) -> None:
        super().__init__(contents)
        self._undo: list[Undo] = []
        self._doom = Doom()
        self._disordered: dict[int, dict[int, str]] = {}
        head, crowds = contents.head, contents.crowds
        self._undo.append(lambda: setattr(contents, "head", head))
        self._undo.append(lambda: setattr(contents, "crowds", crowds))

    def crowd(self, namespace: Namespace) -> Lives:
        self._all.crowds, lives = self._all.crowds.look(self, namespace)
        return lives

    def next_seq(self) -> int:
        self._all.head += 1
        return self._all.head

    def insert(self, records: Sequence[Record], vectors: Mapping[str, Vector]) -> None:
        with self._doom:
            for given in records:
                record = settled(given)
                if record.id in self._all.records or any(key in self._all.keys for key in _keys(record)):
                    raise InvalidInput(
                        "a record with this id, key or idempotency key is already in its namespace; nothing was written"
                    )
                self._link(record)
                self._undo.append(lambda one=record.id: self._unlink(one))  # type: ignore[misc]
                if record.id in vectors:
                    self._put_vector(record.id, vectors[record.id])
            self._order()

    def update(self, records: Sequence[Record]) -> None:
        with self._doom:
            for given in records:
                record = settled(given)
                old = self._all.records.get(record.id)
                if old is None:
                    raise NotFound("an updated record is not in the store; nothing was written")
                if any(self._all.keys.get(key, record.id) != record.id for key in _keys(record)):
                    raise InvalidInput("a record with this key is already in its namespace; nothing was written")
                self._swap(record)
                self._undo.append(lambda old=old: self._swap(old, in_order=False))  # type: ignore[misc]
            self._order()

    def set_vectors(self, embedder: str, vectors: Mapping[str, Vector]) -> None:
        with self._doom:
            for one, vector in vectors.items():
                record = self._all.records.get(one)
                if record is None:
                    raise NotFound("a vector was given for a record that is not in the store; nothing was written")
                self._put_vector(one, vector)
                self.update([replace(record, seq=self.next_seq(), embedder=embedder)])

    def remove(self, records: Iterable[Record]) -> None:
        for record in records:
            old = self._all.records.get(record.id)
            if old is not None:
                self._unlink(record.id)
                self._undo.append(lambda old=old: self._link(old, in_order=False))  # type: ignore[misc]
            vector = self._all.vectors.pop(record.id, None)
            if vector is not None:
                self._undo.append(lambda one=record.id, vector=vector: self._restore(one, vector))  # type: ignore[misc]
            self._all.removed.append((self.next_seq(), record.id, record.namespace))
            self._undo.append(lambda: self._all.removed.pop())

    def log(self, changes: Sequence[Change]) -> None:
        with self._doom:
            for change in changes:
                rows = self._all.history.setdefault(change.record, [])
                rows.append(change_row(change))
                self._undo.append(rows.pop)

    def set_meta(self, values: Mapping[str, str]) -> None:
        before = dict(self._all.meta)
        self._all.meta.update(values)
        self._undo.append(lambda: setattr(self._all, "meta", before))

    def advance(self, seq: int) -> None:
        self._all.head, self._all.crowds = max(self._all.head, seq), Crowds()

    def rewrite(self, rows: Mapping[int, Record]) -> None:
        with self._doom:
            self._all.crowds = Crowds()
            for number, record in rows.items():
                if self._all.by_seq.get(number) != record.id:
                    raise NotFound("a row to rewrite is not in the store; nothing was written")
                self.update([record])

    def exhume(self, ids: Sequence[str]) -> None:
        before, gone = self._all.removed, set(ids)
        self._all.removed = [grave for grave in before if grave[1] not in gone]
        self._undo.append(lambda: setattr(self._all, "removed", before))

    def bury(self, graves: Sequence[tuple[int, str, Namespace]]) -> None:
        before = self._all.removed
        self._all.removed = sorted([*before, *graves])
        self._undo.append(lambda: setattr(self._all, "removed", before))

    def clear(self) -> None:
        graves, past = self._all.removed, self._all.history
        self._all.removed, self._all.history = [], {}
        self._undo.append(lambda: setattr(self._all, "removed", graves))
        self._undo.append(lambda: setattr(self._all, "history", past))
        self.remove(list(self._all.records.values()))

    def drop_orphans(self) -> int:
        return 0

    def rebuild_indexes(self) -> None:
        """There are none."""

    def finish(self) -> None:
        """Raise what a call failed with, even if `work` swallowed it."""
        self._doom.check()

    def roll_back(self) -> None:
        """Take back everything, newest first."""
        for step in reversed(self._undo):
            step()

    def _link(self, record: Record, in_order: bool = True) -> None:
        everything = self._all
        everything.records[record.id] = record
        space = everything.spaces.setdefault(record.namespace, {})
        for ordered in (everything.by_seq, space):
            if ordered and next(reversed(ordered)) > record.seq:
                self._disordered[id(ordered)] = ordered
            ordered[record.seq] = record.id
        if not in_order:
            self._order()
        everything.hashes.setdefault(record.content_hash, {})[record.id] = None
        for key in _keys(record):
            everything.keys[key] = record.id

    def _order(self) -> None:
        """Put what was linked after a newer record into the order of `seq`."""
        for ordered in self._disordered.values():
            ascending = sorted(ordered.items())
            ordered.clear()
            ordered.update(ascending)
        self._disordered.clear()

    def _unlink(self, one: str) -> None:
        record = self._all.records.pop(one)
        del self._all.by_seq[record.seq]
        del self._all.spaces[record.namespace][record.seq]
        same = self._all.hashes[record.content_hash]
        del same[record.id]
        if not same:
            del self._all.hashes[record.content_hash]
        for key in _keys(record):
            del self._all.keys[key]

    def _swap(self, record: Record, in_order: bool = True) -> None:
        self._unlink(record.id)
        self._link(record, in_order)

    def _put_vector(self, one: str, vector: Vector) -> None:
        values = check_vector(vector).copy()
        values.flags.writeable = False
        before = self._all.vectors.get(one)
        self._all.vectors[one] = values
        self._undo.append(lambda: self._restore(one, before))

    def _restore(self, one: str, vector: Vector | None) -> None:
        if vector is None:
            self._all.vectors.pop(one, None)
        else:
            self._all.vectors[one] = vector


class InMemoryBackend(Backend):
    """Records in dictionaries; see the module for the guarantees. Lost when the process ends."""

    def __init__(self) -> None:
        """Start empty."""
        self._all = _Contents(meta={"store_id": uuid4().hex})
        self._lock = threading.RLock()
        self._inside = False
        self._writing = False
        self._torn = False
        self._closed = False
        renew_in_child(self)

    def forked(self) -> None:
        """Let go, in a child, of what a thread of the parent holds; what that was changing is of no use here."""
        if not self._lock.acquire(blocking=False):
            self._lock, self._inside, self._torn = threading.RLock(), False, self._writing
        else:
            self._lock.release()

    @property
    def url(self) -> str:
        """``memory:``"""
        return "memory:"

    def transact(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` alone, and take everything back if it raises; see `Backend.transact`."""
        with self._lock:
            self._enter()
            transaction = _InMemoryTransaction(self._all)
            self._writing = True
            try:
                result = work(transaction)
                transaction.finish()
                return result
            except BaseException:
                transaction.roll_back()
                raise
            finally:
                self._inside = self._writing = False

    def read(self, work: Callable[[Reader], Result]) -> Result:
        """Run `work` while nobody writes; see `Backend.read`."""
        with self._lock:
            self._enter()
            try:
                return work(_InMemoryReader(self._all))
            finally:
                self._inside = False

    def close(self) -> None:
        """Forget everything; idempotent."""
        with self._lock:
            self._closed = True
            self._all = _Contents()

    def _enter(self) -> None:
        if self._closed:
            raise StoreClosed("the in-memory store is closed; what it held is gone")
        if self._torn:
            raise StoreUnavailable(
                "memory: this process was forked while a thread of its parent wrote; nothing was written: fork while "
                "nothing is being written, or start the process by spawn"
            )
        if self._inside:
            raise StoreError("a transaction is open in this thread: use the one that was handed to `work`")
        self._inside = True


def _keys(record: Record) -> Iterator[tuple[str, Namespace, str]]:
    if record.key is not None:
        yield "key", record.namespace, record.key
    if record.idempotency_key is not None:
        yield "idempotency", record.namespace, record.idempotency_key


def _after(newest_first: Iterable[tuple[int, str]], after_seq: int) -> Iterator[str]:
    for seq, one in newest_first:
        if seq <= after_seq:
            return
        yield one
