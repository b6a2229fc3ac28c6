"""LangGraph's checkpoint saver on the memory's database: `CheckpointSaver`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from mars.bridge import Openable
from mars.errors import InvalidInput, InvalidSetting
from mars.memory.backends.connecting import BUSY_TIMEOUT, Synchronous
from mars.memory.backends.wire import Wire
from mars.persistence import encoding
from mars.persistence.checkpoints import Checkpoints, Place, Row, Write
from mars.persistence.database import Database
from mars.persistence.deltas import Ancestry, ancestry, needed
from mars.persistence.leases import Fence, check, fence_of
from mars.persistence.superseding import Superseding, follows

if TYPE_CHECKING:
    from sqlalchemy import Engine

PAGE = 100
"""So many checkpoints are read at a time for `list`."""


Item = TypeVar("Item")


class _Page(NamedTuple):
    found: list[tuple[Row, list[Write]]]
    next: tuple[str, ...]
    """(id, thread, namespace) of the last row that was looked at; empty after the last page."""


Found = tuple[Row, list[Write]] | None
"""A checkpoint with what tasks wrote since."""


def look(wire: Wire, place: Place, id: str | None = None) -> Found:
    """Return the checkpoint of an id, the newest where none is given, within a transaction of the caller's."""
    rows = Checkpoints(wire)
    row = rows.get(place, id)
    return None if row is None else (row, rows.writes(place, row.id))


def _several(values: Collection[Item], name: str) -> Collection[Item]:
    """Return what is a collection of ids; `InvalidInput` for a single one, whose letters would be taken for ids."""
    if isinstance(values, str | bytes):
        raise InvalidInput(f"{name} is a list of ids; nothing was deleted")
    return values


class CheckpointSaver(Openable, BaseCheckpointSaver[int]):
    """A checkpointer for any graph, on SQLite or PostgreSQL: ``with CheckpointSaver.open("sqlite:///life.db")``.

    Guarantees. *Durable*: what `put` and `put_writes` have acknowledged survives the death of the process, so that with
    ``durability="sync"`` no finished superstep is lost; see `mars.persistence.database` for the loss of power.
    *From anywhere*: each method works in plain code, in worker threads and within a running event loop, where the
    blocking ones block it; several processes may share a database. *Checked*: a value that cannot be stored is
    `InvalidInput`, before anything is written. *No pickle*: values are msgpack, by LangGraph's serializer.
    *Delta channels*: `prune` and `retain` keep the ancestors that what they keep is rebuilt from.

    All methods raise `StoreClosed` outside of the ``with`` block, `StoreReadOnly`, `StoreFull` and `StoreUnavailable`
    where the database cannot serve.
    """

    def __init__(self, database: Database, *, serde: SerializerProtocol | None = None) -> None:
        """Keep checkpoints in a database, which is opened and closed with the saver. See `open`."""
        super().__init__(serde=serde)
        inner = getattr(self.serde, "serde", self.serde)
        if getattr(inner, "pickle_fallback", False):
            raise InvalidSetting("stored bytes must not become code: use a serializer with pickle_fallback=False")
        self._database = database
        self._superseding = Superseding()
        self._begun: dict[Fence | None, Found] = {}

    @classmethod
    def open(
        cls,
        target: str | Engine = "sqlite:///mars.db",
        *,
        serde: SerializerProtocol | None = None,
        synchronous: Synchronous = "normal",
        busy_timeout: float = BUSY_TIMEOUT,
    ) -> Self:
        """Return a saver that opens when it is entered, by ``with`` or ``async with``.

        `target` is the URL of a database, that of a `Memory` for instance, or a live engine, which stays the caller's.
        `serde` replaces LangGraph's `JsonPlusSerializer`. `synchronous` says what an acknowledged write on SQLite
        survives, ``normal`` a killed process, ``full`` a power loss too; `busy_timeout` is in seconds. Entering raises
        `SchemaMismatch` for a store of another version, `StoreUnavailable`, `StoreCorrupt` or `StoreReadOnly`.
        """
        return cls(Database(target, synchronous=synchronous, busy_timeout=busy_timeout), serde=serde)

    @property
    def database(self) -> Database:
        """Where the checkpoints are, for other tables of a run."""
        return self._database

    def close(self) -> None:
        """Finish what is in progress and release what was opened; idempotent."""
        self._database.close()

    def _begin(self) -> None:
        self._database.open()

    # Reading

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that a config names, the thread's newest where it names none; None if there is none."""
        place, id, fence = encoding.place_of(config), encoding.id_of(config), fence_of(config)
        if fence in self._begun and not id and not place.namespace:
            found = self._begun.pop(fence)
        else:
            found = await self._database.read(lambda wire: look(wire, place, id))
        return None if found is None else encoding.tuple_of(self.serde, *found)

    def expect(self, fence: Fence, found: Found) -> None:
        """Take what the transaction that gave a run its lease has found, for the first look of its graph."""
        self._begun[fence] = found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield the checkpoints of a thread, or of all threads, the newest id first.

        A config without ``checkpoint_ns`` means every namespace of its thread. `filter` gives values that the metadata
        must equal, `before` a checkpoint that all are older than, `limit` the most that are yielded.
        """
        left = limit
        below: Sequence[str] = ()
        while left is None or left > 0:
            page = await self._database.read(self._page(config, filter or {}, before, below, left))
            for row, writes in page.found:
                yield encoding.tuple_of(self.serde, row, writes)
            left = None if left is None else left - len(page.found)
            if not page.next:
                return
            below = page.next

    def _page(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any],
        before: RunnableConfig | None,
        below: Sequence[str],
        left: int | None,
    ) -> Callable[[Wire], _Page]:
        """Return what reads the next page: those that match, and where the page after it begins."""
        place = None if config is None else encoding.place_of(config)
        named = None if config is None else config["configurable"].get("checkpoint_ns")
        count = PAGE if filter or left is None else min(left, PAGE)

        def look(wire: Wire) -> _Page:
            rows = Checkpoints(wire)
            seen = rows.page(
                place.thread if place else None,
                None if place is None or named is None else place.namespace,
                encoding.id_of(config),
                below,
                encoding.id_of(before) or "",
                count,
            )
            kept = [row for row in seen if not filter or encoding.matches(row, filter)][:left]
            found = [(row, rows.writes(row.place, row.id)) for row in kept]
            last = seen[-1] if len(seen) == count else None
            return _Page(found, (last.id, last.thread, last.namespace) if last else ())

        return look

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return for each channel its nearest stored value among the ancestors, and what was written since."""
        place, id, serde = encoding.place_of(config), encoding.id_of(config), self.serde
        if not channels:
            return {}

        def look(wire: Wire) -> tuple[Ancestry, dict[str, list[Write]]]:
            rows = Checkpoints(wire)
            start = rows.get(place, id)
            above = rows.line(place, start.id) if start else iter(())
            found = ancestry(islice(above, 1, None), channels, serde)
            return found, rows.writes_of(place, found.ids)

        found, writes = await self._database.read(look)
        return {channel: found.history(channel, writes, serde) for channel in channels}

    # Writing

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint after the one that the config names; return the config that names it."""
        place, fence = encoding.place_of(config), fence_of(config)
        if fence is not None and not place.namespace:
            parent = encoding.id_of(config)
            if self._superseding.passes(fence, checkpoint["id"], parent, metadata):
                return encoding.config_of(place, checkpoint["id"])
        row = encoding.row_of(self.serde, config, checkpoint, metadata)

        def work(wire: Wire) -> None:
            check(wire, fence)
            Checkpoints(wire).put(row)

        if fence is None or place.namespace:
            await self._database.write(work)
        elif follows(checkpoint):
            await self._database.write(work, of=fence)
        else:
            self._database.defer(work, of=fence)
        return encoding.config_of(row.place, row.id)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote since the checkpoint that the config names.

        A task's ordinary writes stay as they were first stored; errors, interrupts and resumes are replaced. For a run
        of ours see `mars.persistence.superseding`.
        """
        replace = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        fence = fence_of(config)
        if fence is not None and not replace and not encoding.place_of(config).namespace:
            return  # the checkpoint of the superstep, which comes next, has it
        rows = encoding.write_rows(self.serde, config, writes, task_id, task_path)

        def work(wire: Wire) -> None:
            check(wire, fence)
            Checkpoints(wire).put_writes(rows, replace)

        if rows:
            await self._database.write(work)

    def forget(self, fence: Fence) -> None:
        """Forget what is not saved of a run that has ended."""
        self._begun.pop(fence, None)
        self._superseding.forget(fence)
        self._database.drop(fence)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete every checkpoint of a thread, with what tasks wrote."""
        thread = encoding.text(thread_id, "thread_id")
        await self._database.write(lambda wire: Checkpoints(wire).delete_thread(thread))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made, whatever is built on them; see LangGraph's warning there."""
        runs = [encoding.text(one, "run_ids") for one in _several(run_ids, "run_ids")]
        await self._database.write(lambda wire: Checkpoints(wire).delete_runs(runs))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with all of its checkpoints and writes; `InvalidInput` where the target has some."""
        source = encoding.text(source_thread_id, "source_thread_id")
        target = encoding.text(target_thread_id, "target_thread_id")
        await self._database.write(lambda wire: Checkpoints(wire).copy(source, target))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all but the newest checkpoint of each namespace of threads, or, by ``delete``, everything.

        What the delta channels of the newest one are rebuilt from stays too.
        """
        if strategy not in ("keep_latest", "delete"):
            raise InvalidInput(f"strategy is 'keep_latest' or 'delete'; got {strategy!r}")
        threads = [encoding.text(one, "thread_ids") for one in _several(thread_ids, "thread_ids")]
        serde = self.serde

        def work(wire: Wire) -> None:
            rows = Checkpoints(wire)
            for thread in threads:
                if strategy == "delete":
                    rows.delete_thread(thread)
                    continue
                for namespace in rows.namespaces(thread):
                    head = rows.get(place := Place(thread, namespace), None)
                    rows.retain(place, needed(rows, head, serde) if head else ())

        await self._database.write(work)

    async def aretain(self, thread_id: str, checkpoint_ids: Collection[str], *, checkpoint_ns: str = "") -> None:
        """Delete all checkpoints of one namespace of a thread but these and what their delta channels need."""
        place = Place(encoding.text(thread_id, "thread_id"), encoding.text(checkpoint_ns, "checkpoint_ns"))
        ids, serde = list(_several(checkpoint_ids, "checkpoint_ids")), self.serde

        def work(wire: Wire) -> None:
            rows = Checkpoints(wire)
            heads = [rows.get(place, id) for id in ids]
            rows.retain(place, {id for head in heads if head for id in needed(rows, head, serde)})

        await self._database.write(work)

    # The same, for callers who block

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Do what `aget_tuple` does; blocks."""
        return self._database.caller.run(lambda: self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Do what `alist` does; blocks."""
        return self._database.caller.iterate(lambda: self.alist(config, filter=filter, before=before, limit=limit))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Do what `aget_delta_channel_history` does; blocks."""
        return self._database.caller.run(lambda: self.aget_delta_channel_history(config=config, channels=channels))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Do what `aput` does; blocks."""
        return self._database.caller.run(lambda: self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Do what `aput_writes` does; blocks."""
        self._database.caller.run(lambda: self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Do what `adelete_thread` does; blocks."""
        self._database.caller.run(lambda: self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Do what `adelete_for_runs` does; blocks."""
        self._database.caller.run(lambda: self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Do what `acopy_thread` does; blocks."""
        self._database.caller.run(lambda: self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Do what `aprune` does; blocks."""
        self._database.caller.run(lambda: self.aprune(thread_ids, strategy=strategy))

    def retain(self, thread_id: str, checkpoint_ids: Collection[str], *, checkpoint_ns: str = "") -> None:
        """Do what `aretain` does; blocks."""
        self._database.caller.run(lambda: self.aretain(thread_id, checkpoint_ids, checkpoint_ns=checkpoint_ns))
