"""The memory: what applications, the runtime and the tools hold in their hands.

`Memory` is thin: it checks what it is given, stamps it with the injected clock's time, and hands the work to pure or
synchronous functions of this package on a worker thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from anyio import to_thread

from mars.errors import InvalidInput, InvalidNamespace, InvalidSetting
from mars.memory import lifecycle, listing, preparing, writing
from mars.memory.filters import RecallFilter
from mars.memory.ids import content_hash
from mars.memory.interfaces import Backend, Clock, Embedder, Reader, Selection
from mars.memory.listing import Stats
from mars.memory.preparing import Fields, Rules
from mars.memory.presets import Preset
from mars.memory.presets import preset as preset_named
from mars.memory.recall import Question, Recaller
from mars.memory.records import (
    Change,
    Grade,
    Hit,
    Kind,
    Namespace,
    NewRecord,
    Record,
    Status,
    Sweep,
    check_namespace,
    check_share,
    check_text,
    check_time,
    frozen_mapping,
)
from mars.memory.store import Store, SystemClock
from mars.memory.views import as_read
from mars.memory.writing import Added

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from mars.memory.sync import SyncMemory

Records = list[Record]  # within the class, `list` is the method
Hits = list[Hit]
Changes = list[Change]
Names = list[str]

SWEEP_BATCH = 1000
"""So many records are archived in one transaction of a sweep."""


class Memory(Store):
    """An agent's memory over one store: asynchronous, exact, with the clock as an argument.

    Guarantees. *Durable*: what a call has acknowledged survives the death of the process. *All or nothing*: a call that
    raises has written nothing. *Fresh*: what another process has committed is visible at the next call. *Isolated*: a
    namespace is mandatory and never leaks into another. *Reproducible*: the same calls at the same times, with the same
    `seed`, give the same store, ids included. *Honest*: retention is computed when it is read; reading never
    strengthens, `used` does. *Not blocking*: databases and embedders run on worker threads, writes one at a time.

    Use it in an ``async with`` statement. Every method takes `now`, the time at which it happens; without it the clock
    is asked. Naive times raise `InvalidTime`, everything after `close` raises `StoreClosed`, and each method raises the
    `StoreError` that the database gives rise to.
    """

    @classmethod
    def open(
        cls,
        target: str | Engine | Backend = "sqlite:///mars.db",
        *,
        embedder: Embedder | None = None,
        preset: str | Preset = "default",
        clock: Clock | None = None,
        extract_facts: bool = False,
        seed: int | str | None = None,
        **options: Any,
    ) -> Self:
        """Return a memory that opens when it is entered: ``async with Memory.open("sqlite:///life.db") as memory:``.

        `target` is a URL (``sqlite:///file.db``, ``sqlite:///:memory:``, ``memory:``, ``postgresql://…``), an engine of
        SQLAlchemy or a backend; what is opened here is closed here, what was given stays open. `embedder` defaults to
        the built-in hashed n-grams. `preset` is a name or a `Preset`. With `extract_facts`, simple facts are drawn from
        what users say. `seed` makes the ids of a new store reproducible. `options` go to
        `mars.memory.backends.open_backend`. Entering raises `EmbedderMismatch` if the store's vectors come from another
        embedder, and the errors of the backend.
        """
        return cls(
            target,
            embedder=embedder,
            preset=preset_named(preset),
            clock=clock or SystemClock(),
            extract_facts=extract_facts,
            seed=seed,
            options=options,
        )

    @classmethod
    def open_sync(cls, target: str | Engine | Backend = "sqlite:///mars.db", **settings: Any) -> SyncMemory:
        """Return the blocking twin, for a ``with`` statement; the arguments are those of `open`."""
        from mars.memory.sync import SyncMemory

        return SyncMemory(cls.open(target, **settings))

    # Writing

    async def add(
        self,
        record: str | NewRecord,
        namespace: Namespace | None = None,
        *,
        now: datetime | None = None,
        **fields: Unpack[Fields],
    ) -> Record:
        """Store one record and return it: a text with its namespace and any field of `NewRecord`, or a `NewRecord`.

        A write under an idempotency key that the namespace holds returns the record that is there. Raises
        `InvalidInput` (or what is below it) before anything is written.
        """
        return (await self.add_many([_new(record, namespace, fields)], now=now))[0]

    async def add_many(
        self, records: Iterable[NewRecord], *, now: datetime | Sequence[datetime] | None = None
    ) -> Added:
        """Store records in one transaction and return them in order, with counts of those added and skipped.

        `now` may be one time or one for each record. Skipped are records whose idempotency key the namespace holds
        already, or whose key with the same text. Raises as `add` does; then none is stored.
        """
        news = list(records)
        for new in news:
            if not isinstance(new, NewRecord):
                raise InvalidInput(f"add_many takes NewRecord values; got {type(new).__name__}")
        times = self._times(now, len(news))
        if not news:
            return Added((), 0)
        rules, backend = self._rules_if_open(), self.backend

        def prepared() -> Sequence[preparing.Prepared]:
            keyed = any(new.idempotency_key is not None for new in news)
            there = backend.read(lambda reader: preparing.seen(reader, news, times[0])) if keyed else ()
            return preparing.prepare(news, times, rules, there)

        ready = await to_thread.run_sync(prepared, limiter=self._limiter)
        return await self._write(lambda tx: writing.store(tx, ready, rules))

    def _rules_if_open(self) -> Rules:
        _ = self.backend
        return self._rules

    def _times(self, now: datetime | Sequence[datetime] | None, count: int) -> Sequence[datetime]:
        if now is None or isinstance(now, datetime):
            return [self._at(now)] * count
        if len(now) != count:
            raise InvalidInput(f"{len(now)} times for {count} records; give one time, or one for each record")
        return [check_time(moment) for moment in now]

    async def edit(
        self,
        record: str,
        *,
        text: str | None = None,
        short_text: str | None = None,
        importance: float | None = None,
        expires_at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        now: datetime | None = None,
    ) -> Record:
        """Change a record in place and return it; what is None stays. Strength and τ stay as they are.

        Raises `NotFound` for an unknown id, else as `add` does.
        """
        moment, rules = self._at(now), self._rules_if_open()
        values: dict[str, Any] = {}
        if text is not None:
            values |= {"text": check_text(text), "content_hash": content_hash(text)}
        if short_text is not None:
            values["short_text"] = check_text(short_text, "short_text")
        if importance is not None:
            values["importance"] = check_share(importance, "importance")
        if expires_at is not None:
            values["expires_at"] = check_time(expires_at, "expires_at")
        if metadata is not None:
            values["metadata"] = frozen_mapping(metadata)
        vector = None
        if text is not None:
            (vector,) = await to_thread.run_sync(preparing.embedded, [text], self.embedder, limiter=self._limiter)
        return await self._write(lambda tx: writing.revise(tx, record, values, vector, moment, rules))

    # Reading

    async def recall(
        self,
        query: str,
        *,
        namespace: Namespace | None = None,
        namespace_prefix: Namespace | None = None,
        k: int = 10,
        now: datetime | None = None,
        kinds: Collection[Kind] = (),
        filter: Mapping[str, Any] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        conversation: str | None = None,
        floor: float | None = None,
        explain: bool = False,
    ) -> Hits:
        """Return the k best records by `rank`, best first; exact, and possibly none. Nothing is strengthened.

        Either `namespace` or `namespace_prefix` (this namespace and those below it; not empty) is given. Only active
        records that are neither forgotten nor expired are found. `kinds`, `filter` (on metadata), `since` <= event time
        < `until` and `conversation` restrict them. `floor` is the least relevance in [0, 1], the preset's by default.
        With `explain` each hit says how its rank came about. Raises `InvalidText` for an empty query,
        `InvalidNamespace` and `InvalidSetting`.
        """
        question = Question(
            text=check_text(query, "query"),
            scope=_scope(namespace, namespace_prefix),
            below=namespace is None,
            k=_count(k),
            now=self._at(now),
            filter=RecallFilter(
                kinds=frozenset(kinds or ()),
                conversation=conversation,
                after=since,
                before=until,
                metadata=filter or {},
            ),
            floor=self._preset.relevance_floor if floor is None else check_share(floor, "floor"),
            explain=explain,
        )
        return await to_thread.run_sync(self._recaller_if_open().answer, self.backend, question, limiter=self._limiter)

    def _recaller_if_open(self) -> Recaller:
        _ = self.backend
        return self._recaller

    async def get(self, record: str, *, now: datetime | None = None) -> Record | None:
        """Return the record with this id as it reads now, archived ones included; None if there is none."""
        moment = self._at(now)
        (found,) = await self.read(lambda reader: reader.get([record]))
        return None if found is None else as_read(found, self._preset, moment)

    async def list(
        self,
        namespace: Namespace | None = None,
        *,
        namespace_prefix: Namespace | None = None,
        kinds: Collection[Kind] = (),
        statuses: Collection[Status] = (Status.ACTIVE,),
        conversation: str | None = None,
        subject: str | None = None,
        relation: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        now: datetime | None = None,
    ) -> Records:
        """Return the records of a namespace in the order of their last change; only active ones unless asked.

        Forgotten records count as archived, whether a sweep has come by or not.
        """
        moment = self._at(now)
        scope = _scope(namespace, namespace_prefix)
        selection = Selection(
            namespace=None if namespace is None else scope,
            prefix=() if namespace is not None else scope,
            kinds=frozenset(map(Kind, kinds)),
            conversation=conversation,
            subject=subject,
            relation=relation,
            newest_first=newest_first,
            limit=limit,
        )
        wanted = frozenset(map(Status, statuses))
        return await self.read(lambda reader: listing.select(reader, selection, wanted, self._preset, moment))

    async def window(
        self, namespace: Namespace, conversation: str, *, k: int = 20, now: datetime | None = None
    ) -> Records:
        """Return the newest k short-term records of a conversation, oldest first: what needs no query to be at hand."""
        moment, scope = self._at(now), check_namespace(namespace)
        return await self.read(
            lambda reader: listing.window(reader, scope, conversation, _count(k), self._preset, moment)
        )

    async def as_of(
        self,
        namespace: Namespace,
        valid_at: datetime,
        *,
        known_at: datetime | None = None,
        subject: str | None = None,
        relation: str | None = None,
    ) -> Records:
        """Return the facts that held at `valid_at`, as far as the store knew at `known_at` (now by default)."""
        selection = Selection(namespace=check_namespace(namespace), subject=subject, relation=relation)
        valid, known = check_time(valid_at, "valid_at"), self._at(known_at)
        return await self.read(lambda reader: listing.as_of(reader, selection, valid, known, self._at(None)))

    async def history(self, record: str) -> Changes:
        """Return what happened to a record, oldest first; also after it was purged."""
        return await self.read(lambda reader: reader.history(record))

    async def namespaces(self, prefix: Namespace = ()) -> dict[Namespace, int]:
        """Return the namespaces at or below `prefix` with the number of their stored records."""
        found = await self.read(lambda reader: reader.namespaces())
        return {name: count for name, count in sorted(found.items()) if name[: len(prefix)] == tuple(prefix)}

    async def stats(self, *, now: datetime | None = None) -> Stats:
        """Return what the store holds, by status, kind and tier."""
        moment, backend = self._at(now), self.backend
        return await self.read(lambda r: listing.stats(r, backend.url, self.embedder.id, self._preset, moment))

    # The life of a record

    async def used(
        self, ids: str | Iterable[str], grade: Grade = Grade.GOOD, turn: str = "", *, now: datetime | None = None
    ) -> Records:
        """Grade how a use of records went, and return them: the only call that changes a strength.

        Once per record and `turn`, which is mandatory: a second grade in the same turn changes nothing. What was
        forgotten meanwhile comes back by a good use. Raises `NotFound`; then none is graded.
        """
        if not turn or not isinstance(turn, str):
            raise InvalidInput("used() needs the id of the turn, so that a record is graded once in it: turn='…'")
        moment, wanted, mark = self._at(now), _ids(ids), Grade(grade)
        return await self._write(lambda tx: lifecycle.use(tx, wanted, mark, turn, moment, self._preset))

    async def pin(self, ids: str | Iterable[str], *, now: datetime | None = None) -> Records:
        """Keep records from ever being forgotten: their retention is 1."""
        moment, wanted = self._at(now), _ids(ids)
        return await self._write(lambda tx: lifecycle.pin(tx, wanted, True, moment))

    async def unpin(self, ids: str | Iterable[str], *, now: datetime | None = None) -> Records:
        """Let records fade again, from the time of their last strengthening."""
        moment, wanted = self._at(now), _ids(ids)
        return await self._write(lambda tx: lifecycle.pin(tx, wanted, False, moment))

    async def archive(
        self, ids: str | Iterable[str], because: str = "put away", *, now: datetime | None = None
    ) -> Records:
        """Hide records, with the reason, until they are restored or purged."""
        moment, wanted = self._at(now), _ids(ids)
        return await self._write(lambda tx: lifecycle.archive(tx, wanted, because, moment))

    async def restore(self, ids: str | Iterable[str], *, now: datetime | None = None) -> Records:
        """Bring archived and forgotten records back; their retention is 1 again, their strength what it was."""
        moment, wanted = self._at(now), _ids(ids)
        return await self._write(lambda tx: lifecycle.restore(tx, wanted, moment, self._preset))

    async def review(self, ids: str | Iterable[str], passed: bool, *, now: datetime | None = None) -> Records:
        """Release quarantined records into recall, or archive them."""
        moment, wanted = self._at(now), _ids(ids)
        return await self._write(lambda tx: lifecycle.review(tx, wanted, passed, moment))

    async def undo(self, record: str, *, now: datetime | None = None) -> Records:
        """Take back a supersession, given either fact: the older one is active again, the newer one archived."""
        moment = self._at(now)
        return await self._write(lambda tx: lifecycle.undo(tx, record, moment))

    async def purge(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        namespace: Namespace | None = None,
        force: bool = False,
        now: datetime | None = None,
    ) -> Names:
        """Delete records for good and return their ids; their history stays, without any text.

        Without ids: what was archived longer ago than the preset's audit window, in `namespace` or everywhere, and is
        cited by no live record. With ids, what other records were derived from is refused unless `force`, which flags
        them (``metadata["sources_purged"]``).
        """
        moment = self._at(now)
        if ids is None:
            scope = None if namespace is None else check_namespace(namespace)
            return await self._write(lambda tx: lifecycle.purge_archived(tx, scope, moment, self._preset))
        wanted = _ids(ids)
        return await self._write(lambda tx: lifecycle.purge(tx, wanted, force, moment))

    async def sweep(
        self, *, namespace: Namespace | None = None, dry_run: bool = False, now: datetime | None = None
    ) -> Sweep:
        """Write down what time has done: archive what is forgotten or has expired. Idempotent, in batches.

        No read depends on it, and a record that is used meanwhile stays. `purge` deletes what is archived.
        """
        moment = self._at(now)
        selection = Selection(namespace=None if namespace is None else check_namespace(namespace))

        def look(reader: Reader) -> tuple[Names, Names, int]:
            rows = reader.select(selection)
            gone, over = lifecycle.due(rows, self._preset, moment)
            active = sum(row.status is Status.ACTIVE for row in rows)
            kept = active - len(gone) - sum(row.status is Status.ACTIVE for row in over)
            return [row.id for row in gone], [row.id for row in over], kept

        forgotten, expired, kept = await self.read(look)
        if dry_run:
            return Sweep(archived=tuple(forgotten), expired=tuple(expired), kept=kept, dry_run=True)
        todo, archived, deleted = forgotten + expired, Names(), Names()
        for start in range(0, len(todo), SWEEP_BATCH):
            settle = partial(
                lifecycle.settle_due, ids=todo[start : start + SWEEP_BATCH], preset=self._preset, now=moment
            )
            away, over = await self._write(settle)
            archived += away
            deleted += over
        kept += len(todo) - len(archived) - len(deleted)
        return Sweep(archived=tuple(archived), expired=tuple(deleted), kept=kept, dry_run=False)


def _new(record: str | NewRecord, namespace: Namespace | None, fields: Fields) -> NewRecord:
    if isinstance(record, NewRecord):
        if fields or namespace is not None:
            raise InvalidInput(
                "a NewRecord holds its namespace and fields itself: use dataclasses.replace to change them"
            )
        return record
    return NewRecord(text=record, namespace=check_namespace(namespace), **fields)


def _ids(ids: str | Iterable[str]) -> Names:
    return [ids] if isinstance(ids, str) else list(dict.fromkeys(ids))


def _count(k: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or k < 0:
        raise InvalidSetting(f"k counts records and must not be negative; got {k!r}")
    return k


def _scope(namespace: Namespace | None, prefix: Namespace | None) -> Namespace:
    if (namespace is None) == (prefix is None):
        raise InvalidNamespace("give either namespace=('user-1',) or a non-empty namespace_prefix, and not both")
    return check_namespace(prefix if namespace is None else namespace)
