"""What a key holds: the newest value, in place, with its parts, and nothing once it is removed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mars.errors import InvalidInput
from mars.memory.engine import Memory
from mars.memory.keyed import PARTS, Keyed
from mars.memory.records import Grade, NewRecord
from mars.testing import FixedClock

pytestmark = pytest.mark.anyio

HOME = ("user-1",)


def value(text: str, *parts: str, key: str = "k") -> Keyed:
    """A value under a key of the home namespace."""
    record = NewRecord(text=text, namespace=HOME, key=key)
    return Keyed(
        namespace=HOME, key=key, record=record, parts=tuple(NewRecord(text=part, namespace=HOME) for part in parts)
    )


NOTHING = Keyed(namespace=HOME, key="k", record=None)


async def test_a_value_is_replaced_in_place(store: str) -> None:
    """The newest text wins and is found; id, time of creation, strength and uses outlive it."""
    clock = FixedClock()
    async with Memory.open(store, clock=clock) as memory:
        (first,) = await memory.put_many([value("The heron nests by the weir.")])
        assert first is not None
        clock.advance(days=2)
        (used,) = await memory.used(first.id, Grade.GOOD, "t")
        (second,) = await memory.put_many([value("The otter sleeps in the reeds.")])
        assert second is not None
        assert (second.id, second.created_at, second.strength) == (first.id, first.created_at, used.strength)
        assert second.uses == 1
        assert [hit.record for hit in await memory.recall("otter", namespace=HOME)] == [second]
        assert await memory.recall("heron", namespace=HOME) == []
        assert [change.event for change in await memory.history(first.id)] == ["added", "used", "replaced"]


async def test_the_last_of_several_values_counts(store: str) -> None:
    """One batch may name a key twice; what was said last is held."""
    async with Memory.open(store) as memory:
        await memory.put_many([value("one"), value("two"), value("three", key="other")])
        assert [row.text for row in await memory.list(HOME)] == ["two", "three"]
        await memory.put_many([value("four"), NOTHING])
        assert [row.text for row in await memory.list(HOME)] == ["three"]


async def test_parts_come_and_go_with_the_whole(store: str) -> None:
    """Each part is found by itself, and none outlives its value."""
    async with Memory.open(store) as memory:
        (whole,) = await memory.put_many([value("whole", "red apple", "blue car")])
        assert whole is not None
        assert len(whole.metadata[PARTS]) == 2
        (hit,) = await memory.recall("car", namespace=HOME)
        assert hit.record.provenance.sources == (whole.id,)
        await memory.put_many([value("whole", "green pear")])
        assert await memory.recall("car", namespace=HOME) == []
        assert len(await memory.list(HOME)) == 2
        await memory.put_many([NOTHING])
        assert await memory.list(HOME) == []
        assert (await memory.stats()).records == 0


async def test_an_archived_value_comes_back(store: str) -> None:
    """A put makes a value active again, whatever was done to the one before."""
    async with Memory.open(store) as memory:
        (row,) = await memory.put_many([value("text")])
        assert row is not None
        await memory.archive(row.id)
        await memory.put_many([value("text again")])
        assert [one.text for one in await memory.list(HOME)] == ["text again"]


async def test_renewal_and_expiry(store: str) -> None:
    """Renewed records live on with their parts, expired ones cannot be renewed, and a purge deletes only those."""
    clock = FixedClock()
    async with Memory.open(store, clock=clock) as memory:
        soon = clock.now() + timedelta(minutes=1)
        record = NewRecord(text="whole", namespace=HOME, key="k", expires_at=soon)
        part = NewRecord(text="part", namespace=HOME, expires_at=soon)
        (whole,) = await memory.put_many([Keyed(namespace=HOME, key="k", record=record, parts=(part,))])
        assert whole is not None
        assert await memory.renew({whole.id: soon + timedelta(minutes=5)}) == 1
        clock.advance(minutes=2)
        assert len(await memory.list(HOME)) == 2
        assert await memory.purge_expired() == []
        clock.advance(minutes=5)
        assert await memory.renew({whole.id: clock.now() + timedelta(days=1)}) == 0
        assert {row.text for row in await memory.purge_expired()} == {"whole", "part"}
        assert (await memory.stats()).records == 0


async def test_a_key_whose_value_expired_is_free(store: str) -> None:
    """What comes after an expired value is a new record, with a time of creation of its own."""
    clock = FixedClock()
    async with Memory.open(store, clock=clock) as memory:
        record = NewRecord(text="old", namespace=HOME, key="k", expires_at=clock.now() + timedelta(minutes=1))
        (old,) = await memory.put_many([Keyed(namespace=HOME, key="k", record=record)])
        clock.advance(minutes=2)
        (new,) = await memory.put_many([value("new")])
        assert old is not None
        assert new is not None
        assert new.id != old.id
        assert new.created_at == clock.now()


def test_a_value_is_under_its_own_key() -> None:
    """A record of another key or namespace is refused, and so is a part with a key."""
    record = NewRecord(text="text", namespace=HOME, key="other")
    with pytest.raises(InvalidInput):
        Keyed(namespace=HOME, key="k", record=record)
    with pytest.raises(InvalidInput):
        Keyed(namespace=HOME, key="other", record=record, parts=(record,))
