"""A change of embedder: batched, resumable after SIGKILL, and two embedders' vectors are never compared."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mars.errors import EmbedderMismatch
from mars.memory.backends import open_backend
from mars.memory.engine import Memory
from mars.memory.index import index_folder
from mars.memory.interfaces import Backend, Reader, Selection
from mars.memory.records import NewRecord, Record
from mars.memory.reembedding import reembed
from mars.testing import FixedClock, RandomEmbedder

HOME = ("user-1",)
OLD, NEW = RandomEmbedder(8), RandomEmbedder(12, seed=1)
KILLED = """
import os, signal, sys, anyio
from mars import Memory
from mars.testing import RandomEmbedder

def die(done, total):
    if done < total:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with Memory.open(sys.argv[1], embedder=RandomEmbedder(12, seed=1), reembed=die):
        print("never here")

anyio.run(main)
"""


def contents(reader: Reader) -> tuple[dict[str, Record], dict[str, Any], dict[str, str]]:
    """Every record without its `seq`, every vector, and the store's own facts."""
    rows = {one.id: replace(one, seq=0) for one in reader.select(Selection())}
    meta = {key: value for key, value in reader.meta().items() if value}
    return rows, {one: vector.tolist() for one, vector in reader.vectors(list(rows)).items()}, meta


async def fill(url: str, embedder: RandomEmbedder, clock: FixedClock, count: int = 700) -> None:
    """Make a store of `count` records, always the same but for their vectors."""
    async with Memory.open(url, embedder=embedder, clock=clock, seed=7) as memory:
        await memory.add_many([NewRecord(text=f"row {n} of the heron", namespace=HOME) for n in range(count)])


async def test_another_embedder(store: str, clock: FixedClock) -> None:
    """On every backend: a wrong embedder is an error that names both and the remedy, and reembed=True is the remedy."""
    backend = open_backend(store)
    async with Memory.open(backend, embedder=OLD, clock=clock) as memory:
        await memory.add_many([NewRecord(text=f"row {n}", namespace=HOME) for n in range(300)])
    with pytest.raises(EmbedderMismatch, match=r"random-8-0.*random-12-1.*mars memory reembed"):
        async with Memory.open(backend, embedder=NEW, clock=clock):
            pass
    seen: list[tuple[int, int]] = []
    async with Memory.open(
        backend, embedder=NEW, clock=clock, reembed=lambda done, of: seen.append((done, of))
    ) as memory:
        assert (await memory.recall("row 17", namespace=HOME, k=1))[0].record.text == "row 17"
        assert (await memory.doctor()).clean
        records = await memory.list(HOME)
        vectors = backend.read(lambda reader: reader.vectors([one.id for one in records]))
        for one in records:
            assert vectors[one.id].tolist() == NEW.embed([one.text])[0].tolist()
    assert seen[-1] == (300, 300)
    async with Memory.open(backend, embedder=NEW, clock=clock, reembed=True) as memory:
        assert (await memory.doctor()).head == 600
    backend.close()


async def test_killed_and_resumed(tmp_path: Path, clock: FixedClock) -> None:
    """After SIGKILL half-way neither embedder opens the store; the change goes on, to what a new store would be."""
    url, other = (f"sqlite:///{tmp_path / name}" for name in ("changed.db", "made.db"))
    await fill(url, OLD, clock)
    await fill(other, NEW, clock)
    child = subprocess.run([sys.executable, "-c", KILLED, url], capture_output=True, timeout=60, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert child.stdout == b""
    for embedder in (OLD, NEW):
        with pytest.raises(EmbedderMismatch, match=r"is changing its embedder from 'random-8-0' to 'random-12-1'"):
            async with Memory.open(url, embedder=embedder, clock=clock):
                pass
    backend = open_backend(url)
    half = {vector.size for vector in backend.read(_vectors).values()}
    assert half == {8, 12}
    assert 0 < reembed(backend, NEW) < 700
    backend.close()
    async with Memory.open(url, embedder=NEW, clock=clock, reembed=True) as memory:
        assert (await memory.doctor()).clean
        changed = await memory.read(contents)
    async with Memory.open(other, embedder=NEW, clock=clock) as memory:
        assert await memory.read(contents) == changed


def _vectors(reader: Reader) -> dict[str, Any]:
    return reader.vectors([one.id for one in reader.select(Selection())])


async def test_whoever_has_it_open(tmp_path: Path, clock: FixedClock) -> None:
    """A memory that was open before the change neither writes nor recalls with its embedder, during it and after."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    await fill(url, OLD, clock)
    async with Memory.open(url, embedder=OLD, clock=clock) as before:
        await before.recall("heron", namespace=HOME)
        refused = []

        async def trouble() -> None:
            for call in (before.add("another", HOME), before.recall("heron", namespace=HOME)):
                try:
                    await call
                except EmbedderMismatch as error:
                    refused.append(str(error))

        def during(done: int, total: int) -> None:
            if done < total:
                from anyio import from_thread

                from_thread.run(trouble)

        async with Memory.open(url, embedder=NEW, clock=clock, reembed=during) as after:
            assert len(refused) == 4
            assert all("is changing its embedder" in one for one in refused)
            await trouble()
            assert all("'random-12-1' and cannot be compared" in one for one in refused[4:])
            assert len(refused) == 6
            assert len(await after.list(HOME)) == 700


async def test_back_and_elsewhere(tmp_path: Path, clock: FixedClock) -> None:
    """A change that was begun may also end with another embedder, the old one too; the index goes with the vectors."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    await fill(url, OLD, clock)
    async with Memory.open(url, embedder=OLD, clock=clock) as memory:
        await memory.reindex()
        before = await memory.read(contents)
    child = subprocess.run([sys.executable, "-c", KILLED, url], capture_output=True, timeout=60, check=False)
    assert child.returncode == -signal.SIGKILL
    async with Memory.open(url, embedder=OLD, clock=clock, reembed=True) as memory:
        assert await memory.read(contents) == before
        assert not list(index_folder(url).glob("data-*"))
        await memory.reindex()
        assert (await memory.doctor()).clean


def _embedders(backend: Backend) -> set[tuple[str, str | None]]:
    """Who made the vectors, and who the records say did."""
    rows = backend.read(lambda reader: reader.stored(-(1 << 63), 10_000))
    return {(one.vector.embedder, one.record.embedder) for one in rows if one.vector and one.record}


async def test_a_repair_or_a_copy_beside_it(store: str, tmp_path: Path, clock: FixedClock) -> None:
    """Whoever has the store open neither mends nor copies it half-way, nor mends it back afterwards."""
    backend = open_backend(store)
    refused: list[str] = []
    async with Memory.open(backend, embedder=OLD, clock=clock) as before:
        await before.add_many([NewRecord(text=f"row {n} of the heron", namespace=HOME) for n in range(300)])

        async def trouble() -> None:
            for call in (before.repair(), before.backup(tmp_path / "copy")):
                with pytest.raises(EmbedderMismatch, match="mars memory reembed") as told:
                    await call
                refused.append(str(told.value))

        def during(done: int, total: int) -> None:
            from anyio import from_thread

            if done < total:
                from_thread.run(trouble)

        async with Memory.open(backend, embedder=NEW, clock=clock, reembed=during) as after:
            assert len(refused) == 2
            assert all("is changing its embedder" in one for one in refused)
            assert not (tmp_path / "copy").exists()
            with pytest.raises(EmbedderMismatch, match="cannot be compared"):
                await before.repair()
            assert (await after.doctor()).clean
    assert _embedders(backend) == {(NEW.id, NEW.id)}
    backend.close()


async def test_two_at_once(store: str, clock: FixedClock) -> None:
    """A third embedder waits; of two that turn each other round one ends, and whichever it is, all vectors are its."""
    third = RandomEmbedder(6, seed=2)
    backend = open_backend(store)
    async with Memory.open(backend, embedder=OLD, clock=clock) as memory:
        await memory.add_many([NewRecord(text=f"row {n} of the heron", namespace=HOME) for n in range(600)])

    def back(done: int, total: int) -> None:
        if done <= 256:
            with pytest.raises(EmbedderMismatch, match=r"from 'random-8-0' to 'random-12-1'"):
                reembed(backend, third)
            assert reembed(backend, OLD) > 0

    with pytest.raises(EmbedderMismatch, match=r"turned round meanwhile: it is to be 'random-8-0'"):
        reembed(backend, NEW, back)
    assert _embedders(backend) == {(OLD.id, OLD.id)}

    class Stop(Exception):
        pass

    def there_and_back(done: int, total: int) -> None:
        def stop(done: int, total: int) -> None:
            raise Stop

        if done <= 256:
            for turn in (OLD, NEW):  # the same embedder again, but what was passed has vectors of the other
                with pytest.raises(Stop):
                    reembed(backend, turn, stop)

    with pytest.raises(EmbedderMismatch, match="turned round meanwhile"):
        reembed(backend, NEW, there_and_back)
    assert reembed(backend, NEW) > 0
    assert _embedders(backend) == {(NEW.id, NEW.id)}
    backend.close()


def test_twins(tmp_path: Path) -> None:
    """Two that change to the same embedder do it once; what was edited after the first had finished stays."""
    backend = open_backend(f"sqlite:///{tmp_path / 'store.db'}")
    with Memory.open_sync(backend, embedder=OLD) as memory:
        memory.add_many([NewRecord(text=f"row {n} of the heron", namespace=HOME) for n in range(600)])
    dropped: list[str] = []

    def other(done: int, total: int) -> None:
        if done <= 256:
            assert reembed(backend, NEW, drop=lambda: dropped.append("other")) == 344

    assert reembed(backend, NEW, other, drop=lambda: dropped.append("one")) == 256
    assert dropped == ["other"]
    assert _embedders(backend) == {(NEW.id, NEW.id)}
    backend.close()
