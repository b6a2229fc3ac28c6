"""Recall end to end: filters with operators, and what an explanation says of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mars.errors import InvalidInput, InvalidSetting
from mars.memory.backends.inmemory import InMemoryBackend
from mars.memory.embedding import HashingEmbedder
from mars.memory.engine import Memory
from mars.memory.filters import ANYTHING_ACTIVE
from mars.memory.presets import DEFAULT
from mars.memory.recall import Question, Recaller
from mars.memory.records import NewRecord

HOME = ("home",)
DAY = datetime(2025, 6, 1, tzinfo=UTC)


async def test_filters(memory: Memory) -> None:
    """Operators on metadata and time restrict what is recalled on every backend; a key that is missing passes none."""
    for n in range(4):
        place = {"place": {"city": "Rome" if n % 2 else "Oslo"}} if n else {}
        await memory.add(f"apple number {n}", HOME, event_time=DAY + timedelta(days=n), metadata={"n": n, **place})

    async def found(filter: dict[str, Any]) -> list[str]:
        hits = await memory.recall("apple", namespace=HOME, filter=filter)
        return sorted(hit.record.text[-1] for hit in hits)

    assert await found({"n": {"$gte": 1, "$lt": 3}}) == ["1", "2"]
    assert await found({"place.city": {"$ne": "Rome"}}) == ["2"]
    assert await found({"$or": [{"n": {"$in": [0]}}, {"place": {"city": "Rome"}}]}) == ["0", "1", "3"]
    assert await found({"$not": {"place.city": "Rome"}}) == ["2"]
    assert await found({"$event_time": {"$gt": DAY + timedelta(days=2)}}) == ["3"]
    with pytest.raises(InvalidInput, match=r"\$nin"):
        await found({"n": {"$like": "x"}})


async def test_explained(memory: Memory) -> None:
    """An explanation tells what the record holds under the keys that the filter names."""
    await memory.add("apple", HOME, metadata={"n": 1, "place": {"city": "Rome"}, "other": 2})
    filter = {"$or": [{"n": {"$lt": 3}}, {"missing": 1}], "place.city": "Rome", "$event_time": {"$gt": DAY}}
    (hit,) = await memory.recall("apple", namespace=HOME, filter=filter, explain=True)
    assert hit.explanation is not None
    assert hit.explanation.held == {"n": 1, "place.city": "Rome"}


async def test_eviction() -> None:
    """Beyond the cap the shards asked longest ago are dropped, and every answer stays the same."""
    backend = InMemoryBackend()
    async with Memory.open(backend) as memory:
        for name in "abc":
            await memory.add(f"apple of {name}", (name,))
        small, large = (Recaller(DEFAULT, HashingEmbedder(), cap=cap) for cap in (0, 1 << 30))
        now = datetime.now(UTC)
        for names in ("a", "b", "a", "c", ""):
            asked = Question(
                text="apple",
                scope=tuple(names),
                below=not names,
                k=5,
                now=now,
                filter=ANYTHING_ACTIVE,
                floor=0.0,
                explain=True,
            )
            assert small.answer(backend, asked) == large.answer(backend, asked) != []
            assert len(small.loaded()) == 1
        assert list(small.loaded()) == [("c",)]
        assert list(large.loaded()) == [("a",), ("b",), ("c",)]


async def test_memory_cap(tmp_path: Path) -> None:
    """A memory keeps in memory what its cap allows, says so in `stats`, and answers the same from less of it."""
    url = f"sqlite:///{tmp_path / 'm.db'}"
    names = [("a",), ("b",), ("c",)]
    answers = []
    for cap in (1 << 30, 3000, 0):
        async with Memory.open(url, cache_bytes=cap) as memory:
            if cap == 1 << 30:
                await memory.add_many(
                    [NewRecord(text=f"apple {n}", namespace=name) for name in names for n in range(2)]
                )
            assert (await memory.stats()).loaded == {}
            answers.append([await memory.recall("apple", namespace=name, k=2, now=DAY) for name in (*names, names[0])])
            loaded = (await memory.stats()).loaded
            assert list(loaded)[-1] == ("a",)
            assert all(held > 0 for held in loaded.values())
            assert len(loaded) == (3 if cap == 1 << 30 else 1)
            assert len(loaded) == 1 or sum(loaded.values()) <= cap
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("cap", [-1, 1.5, True, "2 GiB", None])
def test_caps_without_meaning(cap: Any) -> None:
    """A cap that is no number of bytes is refused before anything is opened."""
    with pytest.raises(InvalidSetting, match="cache_bytes"):
        Memory.open("memory:", cache_bytes=cap)
