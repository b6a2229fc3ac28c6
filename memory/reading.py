"""The reading half of a memory: recall, listings, history. Nothing here strengthens or writes anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import Any

from anyio import to_thread

from mars.memory import approximate, duplicates, listing
from mars.memory.approximate import ApproximateRecall, Asked
from mars.memory.arguments import check_count, choices, one_id, one_scope
from mars.memory.checks import storable
from mars.memory.duplicates import DuplicateGroup
from mars.memory.filters import RecallFilter
from mars.memory.interfaces import Reader, Selection
from mars.memory.listing import Stats
from mars.memory.recall import Question, Recaller
from mars.memory.records import (
    Change,
    Hit,
    Kind,
    Namespace,
    Record,
    Status,
    check_label,
    check_namespace,
    check_share,
    check_text,
    check_time,
)
from mars.memory.store import Store
from mars.memory.views import as_read
from mars.memory.weights import Weights, check_weights

Records = list[Record]  # within the class, `list` is the method
Changes = list[Change]
Groups = list[DuplicateGroup]


class Reading(Store):
    """What `mars.memory.engine.Memory` can tell; each method raises `StoreClosed` unless it is open."""

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
        whole: bool = False,
        explain: bool = False,
        exact: bool = True,
        weights: Weights | None = None,
        diversity: float | None = None,
    ) -> list[Hit]:
        """Return the k best records by `rank`, best first; exact, and possibly none. Nothing is strengthened.

        Either `namespace` or `namespace_prefix` (this namespace and those below it; not empty) is given. Only active
        records that are neither forgotten nor expired are found. `kinds`, `filter` (on metadata and time, with the
        operators of `mars.memory.conditions`), `since` <= event time < `until` and `conversation` restrict them.
        `floor` is the least relevance in [0, 1], the preset's by default; a long query (more than some 40 words) is
        compared passage by passage too, unless it is to be judged as a `whole` only. With `explain` each hit says how
        its rank came about. An empty query raises `InvalidText`.

        `weights` order the hits by recency, importance and relevance (`mars.memory.weights`), over every row that
        passes. `diversity` in [0, 1] lets each hit differ from those before it: maximal marginal relevance over the
        exact best 50 rows, or 4·k if that is more (`mars.memory.diversity`). Both are the preset's by default.

        With ``exact=False`` the derived index chooses the rows that are compared by vector, and `Hit.exact` says
        whether it did; `approximate_recall` measures what that misses. The index is begun if need be, and given a
        moment to catch up. Where it fails, is of no use (few rows, a narrow filter, an embedder without a say) or lies
        with another process, the answer is exact. Raises `InvalidSetting` for a store that has no place for an index.
        """
        question = Question(
            text=check_text(query, "query"),
            scope=one_scope(namespace, namespace_prefix),
            below=namespace is None,
            k=check_count(k),
            now=self._at(now),
            filter=_restricted(kinds, conversation, since, until, filter),
            floor=self._preset.relevance_floor if floor is None else check_share(floor, "floor"),
            whole=whole,
            explain=explain,
            exact=exact,
            weights=self._preset.weights if weights is None else check_weights(weights),
            diversity=self._preset.diversity if diversity is None else check_share(diversity, "diversity"),
        )
        return await self.answer(question)

    async def answer(self, question: Question) -> list[Hit]:
        """Answer a question as it stands, best hit first: for front ends whose scope may be everything, ``()``."""
        recaller, backend = self._recaller_if_open(), self.backend
        if not recaller.by_vectors:  # no embedder has to be waited for, and the recaller answers one at a time
            return await self._lane.ask(partial(recaller.answer, backend, question))
        follower = None if question.exact else self._following()
        return await to_thread.run_sync(recaller.answer, backend, question, follower, limiter=self._limiter)

    async def approximate_recall(
        self,
        queries: Sequence[str] | None = None,
        *,
        namespace: Namespace | None = None,
        sample: int = 100,
        k: int = 10,
        seed: int = 0,
        now: datetime | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> ApproximateRecall:
        """Measure which share of the exact k best ``recall(exact=False)`` finds, once the index has caught up.

        Asked are `queries` in `namespace`, or the texts of about `sample` active records, drawn with `seed` from
        `namespace` or from everywhere, each in its own namespace. `progress` is called with (`seq` reached, `seq` aimed
        at) while the index catches up. Raises as `recall` does, `InvalidNamespace` for queries without a namespace.
        """
        moment, scope = self._at(now), None if namespace is None else check_namespace(namespace)
        many, top = check_count(sample), check_count(k)
        if queries is None:
            drawn = await self.read(lambda reader: approximate.sampled(reader, scope, many, seed))
        else:
            drawn = [(check_namespace(namespace), check_text(query, "query")) for query in queries]
        if self._recaller_if_open().by_vectors:
            await self._catch_up(progress)
        asked = []
        for space, text in drawn:
            question = Question(
                text=text,
                scope=space,
                below=False,
                k=top,
                now=moment,
                filter=RecallFilter(),
                floor=self._preset.relevance_floor,
                explain=False,
            )
            asked.append(await self._both_ways(question))
        return approximate.summary(asked, top, seed)

    async def _both_ways(self, question: Question) -> Asked:
        await self.answer(question)  # brings vector and shard to hand
        started = perf_counter()
        exact = await self.answer(question)
        between = perf_counter()
        near = await self.answer(replace(question, exact=False))
        return Asked(exact, near, between - started, perf_counter() - between)

    async def _catch_up(self, progress: Callable[[int, int], None] | None) -> None:
        """Wait until the index has reached the newest `seq`, or does not follow here."""
        follower, head = self._following(), await self.read(lambda reader: reader.head())
        while follower.able and follower.state(head).lag:
            await to_thread.run_sync(follower.reach, head, limiter=self._limiter)
            if progress is not None:
                progress(min(head, follower.state(head).mark), head)

    def _recaller_if_open(self) -> Recaller:
        _ = self.backend
        return self._recaller

    async def get(self, record: str, *, now: datetime | None = None) -> Record | None:
        """Return the record with this id as it reads now, archived ones included; None if there is none."""
        moment = self._at(now)
        if not storable(one_id(record)):
            return None
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
        scope = one_scope(namespace, namespace_prefix)
        selection = Selection(
            namespace=None if namespace is None else scope,
            prefix=() if namespace is not None else scope,
            kinds=choices(kinds, Kind, "kinds"),
            conversation=check_label(conversation, "conversation"),
            subject=check_label(subject, "subject"),
            relation=check_label(relation, "relation"),
            newest_first=newest_first,
            limit=None if limit is None else check_count(limit, "limit"),
        )
        wanted = choices(statuses, Status, "statuses")
        return await self.read(lambda reader: listing.select(reader, selection, wanted, self._preset, moment))

    async def window(
        self, namespace: Namespace, conversation: str, *, k: int = 20, now: datetime | None = None
    ) -> Records:
        """Return the newest k short-term records of a conversation, oldest first: what needs no query to be at hand."""
        moment, scope, count = self._at(now), check_namespace(namespace), check_count(k)
        check_label(conversation, "conversation")
        return await self.read(lambda reader: listing.window(reader, scope, conversation, count, self._preset, moment))

    async def as_of(
        self,
        namespace: Namespace,
        valid_at: datetime,
        *,
        known_at: datetime | None = None,
        subject: str | None = None,
        relation: str | None = None,
        now: datetime | None = None,
    ) -> Records:
        """Return the facts that held at `valid_at`, as far as the store knew at `known_at` (now by default)."""
        selection = Selection(
            namespace=check_namespace(namespace),
            subject=check_label(subject, "subject"),
            relation=check_label(relation, "relation"),
        )
        moment, preset = self._at(now), self._preset
        valid, known = check_time(valid_at, "valid_at"), check_time(known_at or moment, "known_at")
        return await self.read(lambda reader: listing.as_of(reader, selection, valid, known, preset, moment))

    async def near_duplicates(
        self,
        namespace: Namespace,
        *,
        kinds: Collection[Kind] = (),
        now: datetime | None = None,
    ) -> Groups:
        """Return groups of active records of a namespace that say the same; writes nothing.

        `mars.memory.duplicates` defines it. `Memory.merge` takes what a group says.
        """
        moment, active, preset = self._at(now), frozenset({Status.ACTIVE}), self._preset
        selection = Selection(namespace=check_namespace(namespace), kinds=choices(kinds, Kind, "kinds"))

        def find(reader: Reader) -> Groups:
            return duplicates.groups(listing.select(reader, selection, active, preset, moment))

        return await self.read(find)

    async def history(self, record: str) -> Changes:
        """Return what happened to a record, oldest first; also after it was purged."""
        return await self.read(lambda reader: reader.history(record)) if storable(one_id(record)) else []

    async def namespaces(self, prefix: Namespace = ()) -> dict[Namespace, int]:
        """Return the namespaces at or below `prefix` with the number of their stored records."""
        check_namespace((*prefix, "any") if isinstance(prefix, tuple | list) else prefix)
        found = await self.read(lambda reader: reader.namespaces())
        return {name: count for name, count in sorted(found.items()) if name[: len(prefix)] == tuple(prefix)}

    async def stats(self, *, now: datetime | None = None) -> Stats:
        """Return what the store holds by status, kind and tier, and what of it is in memory.

        And how far the derived index is, if it is in use.
        """
        moment, backend = self._at(now), self.backend
        found = await self.read(lambda r: listing.stats(r, backend.url, self.embedder.id, self._preset, moment))
        recaller = self._recaller_if_open()
        found = replace(found, loaded=await to_thread.run_sync(recaller.loaded, limiter=self._limiter))
        return found if self._follower is None else replace(found, index=self._follower.state(found.head))


def _restricted(
    kinds: Collection[Kind],
    conversation: str | None,
    since: datetime | None,
    until: datetime | None,
    metadata: Mapping[str, Any] | None,
) -> RecallFilter:
    return RecallFilter(
        kinds=choices(kinds or (), Kind, "kinds"),
        conversation=check_label(conversation, "conversation"),
        after=since,
        before=until,
        metadata=metadata or {},
    )
