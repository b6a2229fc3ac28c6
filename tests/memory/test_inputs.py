"""What callers give to a memory: one rule on every backend, a typed error that says what helps, nothing written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from mars.errors import InvalidInput, InvalidNamespace, InvalidSetting, InvalidText, NotFound
from mars.memory.checks import MAX_LABEL, MAX_MATTER, MAX_NAMESPACE
from mars.memory.engine import Memory
from mars.memory.records import Grade, Kind, NewRecord, Provenance

HOME = ("user-1",)
HUGE = 10**5000
WIDE = "".join(Random(1).choices([chr(code) for code in range(0x4E00, 0x9FFF)], k=MAX_LABEL // 3))
Call = Callable[[Memory], Awaitable[Any]]


def add(**fields: Any) -> Call:
    """The call that stores a record with these fields."""
    return lambda memory: memory.add("a heron", HOME, **fields)


BAD: dict[str, tuple[Call, type[InvalidInput], str]] = {
    "unknown field": (add(colour="blue"), InvalidInput, r"no field 'colour'.*metadata"),
    "pinned": (add(pinned="x"), InvalidSetting, "pinned must be True or False"),
    "draw_facts": (add(draw_facts=1), InvalidSetting, "draw_facts must be True or False"),
    "position": (add(position=2**70), InvalidInput, r"position must be a whole number from 0 to 2\^53"),
    "half a position": (add(position=1.5), InvalidInput, "position must be a whole number"),
    "sources": (add(provenance=Provenance(sources="abc")), InvalidInput, "ids of records, in a tuple"),  # type: ignore[arg-type]
    "source": (add(provenance=Provenance(sources=(5,))), InvalidInput, "ids of records"),  # type: ignore[arg-type]
    "NUL source": (add(provenance=Provenance(sources=("a\0",))), InvalidText, "without NUL"),
    "task": (add(provenance=Provenance(task="a\0")), InvalidText, "provenance.task"),
    "role": (add(provenance=Provenance(role="\ud800")), InvalidText, "provenance.role"),
    "iteration": (add(provenance=Provenance(iteration=10**30)), InvalidInput, "provenance.iteration"),
    "provenance": (add(provenance="task"), InvalidInput, "a mars.memory.Provenance"),
    "long conversation": (add(conversation=WIDE * 2), InvalidText, "1,024 bytes of UTF-8"),
    "long namespace": (
        lambda memory: memory.add("a heron", ("é" * (MAX_NAMESPACE // 6),)),
        InvalidNamespace,
        "1,500 bytes as JSON",
    ),
    "long matter": (
        add(kind=Kind.FACT, subject="ŉ" * 300, relation="r" * (MAX_MATTER - 600)),
        InvalidText,
        "subject and relation have together",
    ),
    "metadata": (add(metadata={"a": HUGE}), InvalidInput, "JSON values only"),
    "filter": (lambda m: m.recall("heron", namespace=HOME, filter={"a": HUGE}), InvalidInput, "too large to show"),
    "nested filter": (
        lambda m: m.recall("heron", namespace=HOME, filter={"a": {"$not": HUGE}}),
        InvalidInput,
        "too large to show",
    ),
    "recalled kinds": (lambda m: m.recall("heron", namespace=HOME, kinds=["zz"]), InvalidInput, "one of episode"),  # type: ignore[list-item]
    "recalled conversation": (lambda m: m.recall("heron", namespace=HOME, conversation="\0"), InvalidText, "NUL"),
    "kinds": (lambda m: m.list(HOME, kinds=["zz"]), InvalidInput, "kinds must be one of episode, fact"),  # type: ignore[list-item]
    "one kind": (lambda m: m.list(HOME, kinds="fact"), InvalidInput, "takes a list"),  # type: ignore[arg-type]
    "statuses": (lambda m: m.list(HOME, statuses=[None]), InvalidInput, "statuses must be one of active"),  # type: ignore[list-item]
    "limit": (lambda m: m.list(HOME, limit="x"), InvalidSetting, "limit counts records"),  # type: ignore[arg-type]
    "negative limit": (lambda m: m.list(HOME, limit=-1), InvalidSetting, "limit counts records"),
    "subject": (lambda m: m.list(HOME, subject=3), InvalidText, "subject must be a string"),  # type: ignore[arg-type]
    "relation": (lambda m: m.list(HOME, relation="\0"), InvalidText, "relation must be a string"),
    "conversation": (lambda m: m.list(HOME, conversation="\ud800"), InvalidText, "conversation must be a string"),
    "window": (lambda m: m.window(HOME, "\0"), InvalidText, "conversation must be a string"),
    "as of": (lambda m: m.as_of(HOME, datetime(2026, 1, 1, tzinfo=UTC), subject="\0"), InvalidText, "subject must"),
    "grade": (lambda m: m.used([], grade="zz", turn="t"), InvalidInput, "grade must be one of good, easy, again"),  # type: ignore[arg-type]
    "turn": (lambda m: m.used([], Grade.GOOD, "t\0"), InvalidText, "turn must be a string"),
    "ids": (lambda m: m.archive([5]), InvalidInput, "the id of a record is a string"),  # type: ignore[list-item]
    "no ids": (lambda m: m.archive(None), InvalidInput, "or several in a list; got None"),  # type: ignore[arg-type]
    "because": (lambda m: m.archive([], "a\0"), InvalidText, "because must be a string"),
    "merge": (lambda m: m.merge("x", None), InvalidInput, "or several in a list; got None"),  # type: ignore[arg-type]
    "merge into": (lambda m: m.merge(5, []), InvalidInput, "the id of a record is a string"),  # type: ignore[arg-type]
    "passed": (lambda m: m.review([], "no"), InvalidSetting, "passed must be True or False"),  # type: ignore[arg-type]
    "id": (lambda m: m.get(5), InvalidInput, "the id of a record is a string"),  # type: ignore[arg-type]
    "put_many": (lambda m: m.put_many([1]), InvalidInput, "put_many takes Keyed values; got 1"),  # type: ignore[list-item]
}


@pytest.mark.parametrize("name", BAD)
async def test_refused_by_remedy(quick: Memory, name: str) -> None:
    """No bare error of Python, and nothing stored."""
    call, kind, told = BAD[name]
    with pytest.raises(kind, match=told):
        await call(quick)
    assert not await quick.list(HOME)


@pytest.mark.parametrize("one", ["a\0", "\ud800", "nobody"])
async def test_ids_that_no_database_holds(memory: Memory, one: str) -> None:
    """They are ids that nothing has, wherever the memory lies."""
    stored = await memory.add("a heron", HOME)
    assert await memory.get(one) is None
    assert await memory.history(one) == []
    assert await memory.renew({one: datetime(2027, 1, 1, tzinfo=UTC)}) == 0
    calls: list[Call] = [
        lambda m: m.used([stored.id, one], turn="t"),
        lambda m: m.pin(one),
        lambda m: m.archive(one),
        lambda m: m.restore(one),
        lambda m: m.review(one, passed=True),
        lambda m: m.merge(one, stored.id),
        lambda m: m.undo(one),
        lambda m: m.edit(one, importance=0.5),
        lambda m: m.purge(one),
    ]
    for call in calls:
        with pytest.raises(NotFound, match="no record has the id"):
            await call(memory)
    assert await memory.get(stored.id) == stored


async def test_all_that_is_allowed_is_stored(memory: Memory) -> None:
    """The longest labels, which do not compress, fit every index beside the longest namespace."""
    room = (MAX_NAMESPACE - 4) // 6
    space = (WIDE[:room],)
    matter = {"kind": Kind.FACT, "subject": WIDE[:200], "relation": WIDE[100:200]}
    fields: list[dict[str, Any]] = [
        {"key": WIDE},
        {"idempotency_key": WIDE},
        {"conversation": WIDE, "position": 2**53},
        {"speaker": WIDE, "provenance": Provenance(task=WIDE, role=WIDE, iteration=2**53, sources=(WIDE,))},
        matter,
    ]
    for one in fields:
        stored = await memory.add("a heron", space, **one)
        assert await memory.get(stored.id) == stored
    assert len(await memory.list(space, limit=10**30)) == len(fields)
    with pytest.raises(InvalidInput):
        await memory.add_many(
            [NewRecord(text="one", namespace=HOME), NewRecord(text="two", namespace=HOME, key="k" * 2000)]
        )
    assert not await memory.list(HOME)


async def test_the_ends_of_time(memory: Memory) -> None:
    """The first and the last day are times like any other."""
    stored = await memory.add("a heron", HOME)
    for now in (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)):
        await memory.sweep(now=now, dry_run=True)
        assert await memory.purge(namespace=("nobody",), now=now) == []
        await memory.recall("heron", namespace=HOME, now=now)
    assert await memory.get(stored.id) == stored
