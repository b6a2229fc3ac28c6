"""The memory: what applications, the runtime and the tools hold in their hands.

`Memory` is thin: it checks what it is given, stamps it with the injected clock's time, and hands the work to pure or
synchronous functions of this package on a worker thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from anyio import to_thread

from mars.errors import InvalidInput
from mars.memory import keyed, lifecycle, merging, preparing, sweeping
from mars.memory.arguments import id_list, new_record, one_id, part_texts
from mars.memory.checks import check_flag, choice, shown, storable
from mars.memory.grouping import Adding
from mars.memory.ids import content_hash
from mars.memory.interfaces import Backend, Clock, Embedder, VectorIndex
from mars.memory.json_pieces import is_large
from mars.memory.outcomes import Added
from mars.memory.preparing import Fields, Rules
from mars.memory.presets import Preset, check_duplicates
from mars.memory.presets import preset as preset_named
from mars.memory.recall import CAP
from mars.memory.records import (
    Duplicates,
    Grade,
    Namespace,
    NewRecord,
    Record,
    Sweep,
    check_json,
    check_label,
    check_namespace,
    check_share,
    check_text,
    check_time,
    frozen_mapping,
)
from mars.memory.store import SystemClock
from mars.memory.tending import Tending

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from mars.memory.sync import SyncMemory

SWEEP_BATCH = 1000
"""So many records are archived in one transaction of a sweep."""


class Memory(Tending):
    """An agent's memory over one store: asynchronous, exact, with the clock as an argument.

    Guarantees. *Durable*: what a call has acknowledged survives the death of the process. *All or nothing*: a call that
    raises has written nothing. *Fresh*: what another process has committed is visible at the next call. *Isolated*: a
    namespace is mandatory and never leaks into another. *Reproducible*: the same calls at the same times, with the same
    `seed`, give the same store, ids included. *Honest*: retention is computed when it is read; reading never
    strengthens, `used` does. *Not blocking*: databases and embedders run on threads of their own; writes go one
    at a time, in the order of the calls, and those that wait together are committed together.

    Use it in an ``async with`` statement. Every method takes `now`, the time at which it happens; without it the clock
    is asked. Naive times raise `InvalidTime`, everything after `close` raises `StoreClosed`, and each method raises the
    `StoreError` that the database gives rise to. What takes ids, one or several, returns their records as they are
    afterwards, each once, in the order of the ids; an unknown id raises `NotFound`, and nothing was written.
    """

    @classmethod
    def open(
        cls,
        target: str | Engine | Backend = "sqlite:///mars.db",
        *,
        embedder: Embedder | str | Path | None = None,
        preset: str | Preset = "default",
        clock: Clock | None = None,
        extract_facts: bool = False,
        seed: int | str | None = None,
        index: VectorIndex | str | Path | bool | None = None,
        cache_bytes: int = CAP,
        reembed: bool | Callable[[int, int], None] = False,
        **options: Any,
    ) -> Self:
        """Return a memory that opens when it is entered: ``async with Memory.open("sqlite:///life.db") as memory:``.

        `target` is a URL (``sqlite:///file.db``, ``sqlite:///:memory:``, ``memory:``, ``postgresql://…``), an engine of
        SQLAlchemy or a backend; what is opened here is closed here, what was given stays open. `embedder` is one, or a
        folder of MiniLM-class weights; the built-in hashed n-grams by default. `preset` is a name or a `Preset`. With
        `extract_facts`, simple facts are drawn from what users say. `seed` makes the ids of a new store reproducible.
        `index` is the folder of the derived Chroma index, or True for the one beside the database file: it follows the
        records on a thread of its own. Without it that begins with the first ``recall(exact=False)`` or `reindex`, and
        nothing of Chroma is loaded before. `cache_bytes` is how much memory the namespaces that were recalled from may
        take together, 2 GiB by default; beyond it those asked longest ago are dropped and loaded again when they are
        asked, the one asked last never. With `reembed`, which may be a function that is told (rows passed, rows in
        all), entering first makes the vectors of another embedder anew; interrupted, the next time goes on. `options`
        go to `mars.memory.backends.open_backend`. Entering raises `EmbedderMismatch` if the store's vectors come from
        another embedder, `InvalidSetting` for ``index=True`` where there is no file, and the errors of the backend.
        """
        return cls(
            target,
            embedder=embedder,
            preset=preset_named(preset),
            clock=clock or SystemClock(),
            extract_facts=extract_facts,
            seed=seed,
            index=index,
            cache_bytes=cache_bytes,
            reembed=reembed,
            options=options,
        )

    @classmethod
    def open_sync(cls, target: str | Engine | Backend = "sqlite:///mars.db", **settings: Any) -> SyncMemory:
        """Return the blocking twin, for a ``with`` statement; the arguments are those of `open`."""
        from mars.memory.sync import SyncMemory

        return SyncMemory(cls.open(target, **settings))

    def under(self, preset: str | Preset) -> Self:
        """Return another memory over this open one's store, by another preset: enter it, and leave it before this one.

        Both see each other's writes; what each has loaded for recall counts against a `cache_bytes` of its own.
        """
        return type(self)(
            self.backend,
            embedder=self.embedder,
            preset=preset_named(preset),
            clock=self.clock,
            extract_facts=self._extract_facts,
            seed=None,
            index=None,
            cache_bytes=self._cache_bytes,
            reembed=False,
            options={},
        )

    # Writing

    async def add(
        self,
        record: str | NewRecord,
        namespace: Namespace | None = None,
        *,
        duplicates: Duplicates | str | None = None,
        now: datetime | None = None,
        **fields: Unpack[Fields],
    ) -> Record:
        """Store one record and return it: a text with its namespace and any field of `NewRecord`, or a `NewRecord`.

        A write under an idempotency key that the namespace holds returns the record that is there. `duplicates` says
        what becomes of a text that an active record says already: ``"keep"`` both, ``"exact"`` to merge the very same
        text, ``"skip"`` or ``"merge"`` to do so with near-duplicates too (`mars.memory.duplicates`), and return the
        other; by default what the preset says of the kind. A new record with an idempotency key is never merged: only
        so a retry finds what it stored. Raises `InvalidInput` (or what is below it) before anything is written.
        """
        if fields and is_large([record, fields]):
            new = await to_thread.run_sync(new_record, record, namespace, fields, limiter=self._limiter)
        else:
            new = new_record(record, namespace, fields)
        return (await self.add_many([new], duplicates=duplicates, now=now))[0]

    async def add_many(
        self,
        records: Iterable[NewRecord],
        *,
        duplicates: Duplicates | str | None = None,
        now: datetime | Sequence[datetime] | None = None,
    ) -> Added:
        """Store records in one transaction and return them in order, with counts of those added and skipped.

        `now` may be one time or one for each record. Skipped are records whose idempotency key the namespace holds
        already, or whose key with the same text, and near-duplicates as `add` says. Raises as `add` does; then none is
        stored.
        """
        news = list(records)
        for new in news:
            if not isinstance(new, NewRecord):
                raise InvalidInput(f"add_many takes NewRecord values; got {type(new).__name__}")
        times = self._times(now, len(news))
        if not news:
            return Added((), 0)
        rules = self._rules_if_open()
        if duplicates is not None:
            rules = replace(rules, duplicates=check_duplicates(duplicates))
        if preparing.at_once(news, rules):
            ready = preparing.prepare(news, times, rules)
        else:
            ready = await to_thread.run_sync(self._prepared, news, times, rules, limiter=self._limiter)
        return await self._write(Adding(ready, rules))

    def _prepared(self, news: Sequence[NewRecord], times: Sequence[datetime], rules: Rules) -> list[preparing.Prepared]:
        there: Collection[int] = ()
        if any(preparing.may_be_spared(new, rules) for new in news):
            there = self.backend.read(lambda reader: preparing.seen(reader, news, times[0]))
        return preparing.prepare(news, times, rules, there)

    async def put_many(self, values: Iterable[keyed.Keyed], *, now: datetime | None = None) -> Sequence[Record | None]:
        """Let keys hold new values or nothing, in one transaction; return their records in order, None where removed.

        What a key held is replaced in place: id, time of creation, strength and uses stay, τ restarts; trust and
        quarantine are those of the new value, and a fact takes its place as by `add`. Of several values for one key
        the last counts. Raises as `add` does; then nothing has changed.
        """
        moment, rules, given = self._at(now), self._rules_if_open(), list(values)
        for one in given:
            if not isinstance(one, keyed.Keyed):
                raise InvalidInput(f"put_many takes Keyed values; got {shown(one)}")
        ready = await to_thread.run_sync(keyed.prepare_keyed, given, moment, rules, limiter=self._limiter)
        return await self._write(lambda tx: keyed.put(tx, ready, moment, rules))

    async def renew(self, expiries: Mapping[str, datetime], *, now: datetime | None = None) -> int:
        """Let records live until the given times, by id; return how many there were. What has expired stays so."""
        moment, until = self._at(now), {one: check_time(when, "expires_at") for one, when in expiries.items()}
        until = {one: when for one, when in until.items() if storable(one_id(one))}
        return await self._write(lambda tx: keyed.renew(tx, until, moment))

    async def purge_expired(self, *, now: datetime | None = None) -> Sequence[Record]:
        """Delete for good every record whose time to live is over, and return what they were. No read depends on it."""
        moment = self._at(now)
        return await self._write(lambda tx: keyed.purge_expired(tx, moment))

    def _rules_if_open(self) -> Rules:
        _ = self.backend
        return self._rules

    def _times(self, now: datetime | Sequence[datetime] | None, count: int) -> Sequence[datetime]:
        if now is None or isinstance(now, datetime):
            return [self._at(now)] * count
        if isinstance(now, str) or not isinstance(now, Sequence):
            return [check_time(now)] * count
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
        expires_at: datetime | Literal["never"] | None = None,
        metadata: Mapping[str, Any] | None = None,
        parts: Sequence[str] = (),
        now: datetime | None = None,
    ) -> Record:
        """Change a record in place and return it; what is None stays. Strength and τ stay as they are.

        An `expires_at` that is past ends the record at once; ``"never"`` takes its time to live away. Another text
        ends the parts of a keyed value, which told of the old one; `parts` are texts by which the new one is found.

        Raises `NotFound` for an unknown id, else as `add` does.
        """
        moment, rules = self._at(now), self._rules_if_open()
        (record,) = id_list(one_id(record))
        values: dict[str, Any] = {}
        if text is not None:
            values |= {"text": check_text(text), "content_hash": content_hash(text)}
        if short_text is not None:
            values["short_text"] = check_text(short_text, "short_text")
        if importance is not None:
            values["importance"] = check_share(importance, "importance")
        if expires_at is not None:
            values["expires_at"] = None if expires_at == "never" else check_time(expires_at, "expires_at")
        if metadata is not None:
            await to_thread.run_sync(check_json, metadata, limiter=self._limiter)
            values["metadata"] = frozen_mapping(metadata)
        if text is None and parts:
            raise InvalidInput("parts are those of a new text: give it too (text=…)")
        texts = [] if text is None else [text, *part_texts(parts)]
        made = await to_thread.run_sync(preparing.embedded, texts, self.embedder, limiter=self._limiter)
        return await self._write(lambda tx: keyed.edit(tx, record, values, made, moment, rules, texts[1:]))

    # The life of a record

    async def used(
        self, ids: str | Iterable[str], grade: Grade = Grade.GOOD, turn: str = "", *, now: datetime | None = None
    ) -> list[Record]:
        """Grade how a use of records went, and return them: the only call that changes a strength.

        Once per record and `turn`, which is mandatory: a second grade in the same turn changes nothing. What was
        forgotten meanwhile comes back by a good use. Raises `NotFound`; then none is graded.
        """
        if not turn or not isinstance(turn, str) or not check_label(turn, "turn"):
            raise InvalidInput("used() needs the id of the turn, so that a record is graded once in it: turn='…'")
        moment, wanted, mark = self._at(now), id_list(ids), choice(grade, Grade, "grade")
        return await self._write(lambda tx: lifecycle.use(tx, wanted, mark, turn, moment, self._preset))

    async def pin(self, ids: str | Iterable[str], *, now: datetime | None = None) -> list[Record]:
        """Keep records from ever being forgotten: their retention is 1."""
        moment, wanted = self._at(now), id_list(ids)
        return await self._write(lambda tx: lifecycle.pin(tx, wanted, True, moment, self._preset))

    async def unpin(self, ids: str | Iterable[str], *, now: datetime | None = None) -> list[Record]:
        """Let records fade again, from the time of their last strengthening."""
        moment, wanted = self._at(now), id_list(ids)
        return await self._write(lambda tx: lifecycle.pin(tx, wanted, False, moment, self._preset))

    async def archive(
        self, ids: str | Iterable[str], because: str = "put away", *, now: datetime | None = None
    ) -> list[Record]:
        """Hide records, with the reason, until they are restored or purged."""
        moment, wanted = self._at(now), id_list(ids)
        check_text(check_label(because, "because"), "because")
        return await self._write(lambda tx: lifecycle.archive(tx, wanted, because, moment))

    async def restore(self, ids: str | Iterable[str], *, now: datetime | None = None) -> list[Record]:
        """Bring archived and forgotten records back; their retention is 1 again, their strength what it was."""
        moment, wanted = self._at(now), id_list(ids)
        return await self._write(lambda tx: lifecycle.restore(tx, wanted, moment, self._preset))

    async def merge(self, keep: str, ids: str | Iterable[str], *, now: datetime | None = None) -> Record:
        """Let one record stand for others of its namespace and kind, and return it: it takes over their sources.

        The others are archived as ``merged``; `restore` brings them back. `near_duplicates` finds what may be merged.
        Raises `NotFound`, and `InvalidInput` for what is not active; then nothing has changed.
        """
        moment, wanted = self._at(now), id_list(ids)
        (keep,) = id_list(one_id(keep))
        return await self._write(lambda tx: merging.merge(tx, keep, wanted, moment, self._preset))

    async def review(self, ids: str | Iterable[str], passed: bool, *, now: datetime | None = None) -> list[Record]:
        """Release quarantined records into recall, or archive them."""
        moment, wanted = self._at(now), id_list(ids)
        check_flag(passed, "passed")
        return await self._write(lambda tx: lifecycle.review(tx, wanted, passed, moment, self._preset))

    async def undo(self, record: str, *, now: datetime | None = None) -> list[Record]:
        """Take back a supersession, given either fact: the older one is active again, the newer one archived.

        Where the newer one was purged or has expired, the older one is given.
        """
        moment = self._at(now)
        (record,) = id_list(one_id(record))
        return await self._write(lambda tx: lifecycle.undo(tx, record, moment, self._preset))

    async def purge(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        namespace: Namespace | None = None,
        force: bool = False,
        dry_run: bool = False,
        now: datetime | None = None,
    ) -> list[str]:
        """Delete records for good and return their ids; their history stays, without any text.

        Without ids: what was archived longer ago than the preset's audit window, in `namespace` or everywhere, and is
        cited by no live record of any namespace. With ids, what other records were derived from is refused unless
        `force`, which flags them (``metadata["sources_purged"]``); the parts of a keyed value go with it. `dry_run`
        returns the same and writes nothing.
        """
        moment = self._at(now)
        if ids is None:
            scope = None if namespace is None else check_namespace(namespace)
            if not dry_run:
                return await self._write(lambda tx: lifecycle.purge_archived(tx, scope, moment, self._preset))
            old, expired = await self.read(lambda reader: lifecycle.outlived(reader, scope, moment, self._preset))
            return [one.id for one in (*old, *expired)]
        wanted = id_list(ids)
        if not dry_run:
            return await self._write(lambda tx: lifecycle.purge(tx, wanted, force, moment))
        return [one.id for one in (await self.read(lambda reader: lifecycle.doomed(reader, wanted, force)))[0]]

    async def sweep(
        self, *, namespace: Namespace | None = None, dry_run: bool = False, now: datetime | None = None
    ) -> Sweep:
        """Write down what time has done: archive what is forgotten or has expired. Idempotent, in batches.

        No read depends on it, and a record that is used meanwhile stays. `purge` deletes what is archived.
        """
        moment = self._at(now)
        scope = None if namespace is None else check_namespace(namespace)
        due = await self.read(lambda reader: sweeping.look_due(reader, scope, self._preset, moment))
        if dry_run:
            return Sweep(archived=tuple(due.forgotten), expired=tuple(due.expired), kept=due.kept, dry_run=True)
        todo, archived, deleted = due.forgotten + due.expired, list[str](), list[str]()
        for start in range(0, len(todo), SWEEP_BATCH):
            settle = partial(
                sweeping.settle_due, ids=todo[start : start + SWEEP_BATCH], preset=self._preset, now=moment
            )
            away, over = await self._write(settle)
            archived += away
            deleted += over
        kept = due.kept + len(todo) - len(archived) - len(deleted)
        return Sweep(archived=tuple(archived), expired=tuple(deleted), kept=kept, dry_run=False)
