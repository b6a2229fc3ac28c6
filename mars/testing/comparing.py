"""Comparing a store with the calls that were acknowledged on it: what a soak does after each kill."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mars.memory.engine import Memory
from mars.memory.findings import FindingKind
from mars.memory.interfaces import Backend, Embedder, Selection, VectorIndex
from mars.testing.clocks import EPOCH
from mars.testing.workload import ADDING, PRESET, REPEATABLE, Call, contents, perform, written

__all__ = ["Comparison", "compare"]

ORPHANS = frozenset({FindingKind.ORPHAN_VECTOR, FindingKind.MISSING_VECTOR})
"""What the doctor finds where a vector and its record have not come or gone together."""

EVERYTHING = 10_000
"""More hits than a soak's store has records."""


@dataclass(slots=True)
class Comparison:
    """What was found; see `mars.testing.soak.Report` for the meaning of the counts."""

    lost: int = 0
    """Records that should be there as they were."""
    duplicated: int = 0
    """Records too many."""
    orphans: int = 0
    """Vectors and records that lack each other."""
    ghosts: int = 0
    """Hits that are no live record."""
    unclean: int = 0
    """Whether the doctor found something."""
    torn: int = 0
    """Backups that were not whole."""
    applied: list[bool] = field(default_factory=list)
    """For each namespace, whether the call that was under way is now done."""
    landed: int = 0
    """How many of those calls were found done before anything was tried again."""
    errors: list[str] = field(default_factory=list)
    """In words."""

    def values(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def add(self, other: Comparison) -> None:
        """Count another comparison into this one."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


async def compare(
    open_store: Callable[[], Backend],
    logs: Sequence[Sequence[Call]],
    under_way: Sequence[Call | None],
    *,
    embedder: Embedder,
    index: VectorIndex | None = None,
    tended: bool = False,
) -> Comparison:
    """Open a store and compare it with what acknowledged calls leave; repeat those that were under way.

    `tended` is as for `mars.testing.workload.contents`.
    """
    seen = Comparison()
    backend = open_store()
    # The server may still be ending the dead client's transaction: whoever writes next waits for that.
    backend.transact(lambda tx: tx.head())
    settings: dict[str, Any] = {"embedder": embedder, "preset": PRESET, "extract_facts": True, "seed": 0}
    async with Memory.open(backend, index=index, **settings) as memory:
        async with Memory.open("memory:", **settings) as twin:
            for space, log in enumerate(logs):
                await _compare(memory, twin, seen, (space, log, under_way[space]), tended)
            for space, log in enumerate([] if seen.lost or seen.duplicated else logs):
                pending = under_way[space]
                if pending is None or seen.applied[space]:
                    await _recall(memory, twin, seen, [*log, *([] if pending is None else [pending])])
                    continue
                async with Memory.open("memory:", **settings) as fresh:  # the other twin was told of the call
                    for call in log:
                        await perform(fresh, call)
                    await _recall(memory, fresh, seen, log)
        if index is not None:
            await memory.read(index.follow)
        await _examine(memory, seen)
    if index is not None:
        index.close()
    backend.close()
    return seen


async def _compare(
    memory: Memory, twin: Memory, seen: Comparison, place: tuple[int, Sequence[Call], Call | None], tended: bool
) -> None:
    """Compare one namespace with its twin, without and with the call under way, and try that one again."""
    space, log, pending = place
    look = partial(contents, space=space, tended=tended)
    for call in log:
        await perform(twin, call)
    held, before = await look(memory), await look(twin)
    after = before
    if pending is not None:
        await perform(twin, pending)
        after = await look(twin)
    seen.applied.append(pending is not None and held == after)
    seen.landed += seen.applied[space]
    if held != before and held != after:
        _tell_apart(seen, held, before if pending is None else after, f"namespace {space}, {pending}")
        return
    if pending is not None and pending.name in REPEATABLE:
        await perform(memory, pending)
        seen.applied[space] = True
        _tell_apart(seen, await look(memory), after, f"after {pending} was repeated")
    seen.duplicated += await _added_again(memory, space, log)


def _tell_apart(seen: Comparison, held: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """Count what is missing and what is too much, records being told by their text."""
    if list(held) == list(wanted):
        return
    there, right = Counter(map(_said, held)), Counter(map(_said, wanted))
    missing, surplus = (right - there).total(), (there - right).total()
    changed = sum(one not in held for one in wanted) - missing
    seen.lost += missing + max(changed, 0)
    seen.duplicated += surplus
    different = next(((one, other) for one, other in zip(held, wanted, strict=False) if one != other), ("", ""))
    seen.errors.append(f"{where}: {missing} missing, {surplus} too many, {changed} otherwise: {different}"[:4000])


def _said(line: str) -> str:
    return str(json.loads(line)["text"]) if line.startswith("{") else "tombstones"


async def _added_again(memory: Memory, space: int, log: Sequence[Call]) -> int:
    """Add what is there once more under the same idempotency keys; return how many records that made."""
    namespace = ("soak", str(space))
    rows = await memory.read(lambda reader: reader.select(Selection(namespace=namespace)))
    there = {row.idempotency_key: row for row in rows}
    added = 0
    for call in log:
        if call.name in ADDING:
            again = [new for new in written(call) if new.idempotency_key in there]
            added += (await memory.add_many(again, now=call.now)).added
    return added


async def _recall(memory: Memory, twin: Memory, seen: Comparison, done: Sequence[Call]) -> None:
    """Compare what a namespace recalls with what is live in it, and with what an undisturbed store recalls."""
    if not done:
        return
    scope, moment = done[0].namespace, max(call.now for call in done)
    live = {row.id for row in await memory.list(scope, now=moment)}
    for query in ("note", "I live in Porto", "weir heron ledger"):
        hits = await memory.recall(query, namespace=scope, k=EVERYTHING, floor=0.0, now=moment)
        seen.ghosts += sum(hit.record.id not in live for hit in hits)
        right = await twin.recall(query, namespace=scope, k=EVERYTHING, floor=0.0, now=moment)
        if [hit.record.text for hit in hits] != [hit.record.text for hit in right]:
            seen.errors.append(f"{scope}: {query!r} recalls otherwise than in an undisturbed store")


async def _examine(memory: Memory, seen: Comparison) -> None:
    """Ask the store's doctor, who looks at the index too."""
    diagnosis = await memory.doctor(now=EPOCH)
    seen.unclean += not diagnosis.clean
    seen.orphans += sum(one.kind in ORPHANS for one in diagnosis.findings)
    seen.ghosts += sum(one.kind is FindingKind.INDEX_GHOST for one in diagnosis.findings)
    seen.errors += [f"the doctor finds {one.kind}: {one.message}" for one in diagnosis.findings[:5]]
