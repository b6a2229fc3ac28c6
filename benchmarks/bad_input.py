"""Bad input, a read-only database, a full disk, a newer schema: a clear error each, and nothing lost.

    python -m benchmarks.bad_input

Every case acts on a store that holds three records. An error is clear when it is the expected kind of `MarsError` and
says more than its name. Nothing is lost when the three records, and all that was acknowledged, are there afterwards.
The full disk is a small file system in a mount namespace of this process.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from benchmarks.commands import MARS, store_in
from mars.errors import (
    InvalidFile,
    InvalidNamespace,
    InvalidText,
    InvalidTime,
    InvalidVector,
    MarsError,
    SchemaMismatch,
    StoreFull,
    StoreReadOnly,
)
from mars.memory.embedding import HashingEmbedder
from mars.memory.engine import Memory
from mars.memory.interfaces import Vector

HOME = ("ann",)
TOLD = ("Ana lives in Porto.", "Ben plays the cello.", "The cat is called Miso.")
INGEST = ("ingest", "chat.jsonl", "--format", "jsonl", "--namespace", "ann")
BROKEN = '{"role": "user", "text": "fine"}\n{"text": \n'
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
MNT_DETACH = 0x2


class BrokenEmbedder(HashingEmbedder):
    """Says that it is the usual embedder, and returns vectors with NaN or of another length."""

    def __init__(self, columns: int, value: float) -> None:
        super().__init__()
        self._columns = columns
        self._value = value

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return a wrong matrix."""
        return np.full((len(texts), self._columns), self._value, dtype=np.float32)


@dataclass(frozen=True)
class Case:
    """Something bad, and the error it must end in."""

    name: str
    """What it is."""
    expected: type[MarsError] | None
    """The error; None if it must be taken as it is."""
    act: Callable[[Path], Awaitable[object]]
    """Does it, to a store in a folder."""


def adding(text: str, **more: object) -> Callable[[Path], Awaitable[object]]:
    """Add one text."""

    async def act(folder: Path) -> object:
        async with Memory.open(store_in(folder)) as memory:
            return await memory.add(text, namespace=HOME, **more)  # type: ignore[arg-type]

    return act


async def add_large(folder: Path) -> None:
    """Add a text of 1 MB and read it back."""
    text = ("A long story about a lighthouse, told again. " * 24_000)[:1_048_576]
    async with Memory.open(store_in(folder)) as memory:
        await memory.add(text, namespace=("large",))
        hits = await memory.recall("lighthouse story", namespace=("large",), k=1)
        if [hit.record.text for hit in hits] != [text]:
            raise AssertionError("the text came back otherwise")


def embedding(columns: int, value: float) -> Callable[[Path], Awaitable[object]]:
    """Add a text through an embedder that is broken."""

    async def act(folder: Path) -> object:
        async with Memory.open(store_in(folder), embedder=BrokenEmbedder(columns, value)) as memory:
            return await memory.add("Dora paints.", namespace=HOME)

    return act


def terminal(
    expected: type[MarsError], *arguments: str, content: str | None = None
) -> Callable[[Path], Awaitable[None]]:
    """Run `mars` over the store; an error of one line, without a traceback, becomes the expected exception here."""

    async def act(folder: Path) -> None:
        if content is not None:
            (folder / "chat.jsonl").write_text(content)
        line = [MARS, *arguments, "--db", store_in(folder)]
        result = await asyncio.to_thread(subprocess.run, line, cwd=folder, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            said = result.stderr.strip()
            raise (expected if len(said.splitlines()) == 1 else RuntimeError)(said)

    return act


async def write_read_only(folder: Path) -> None:
    """Add to a store on a file system that cannot be written."""
    mount(folder, folder, flags=MS_BIND)
    mount(folder, folder, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)
    try:
        async with Memory.open(store_in(folder)) as memory:
            await memory.add("Dora paints.", namespace=HOME)
    finally:
        unmount(folder)


async def add_read_only(folder: Path) -> None:
    """Add to a database that was opened for reading."""
    async with Memory.open(f"sqlite:///file:{folder}/memory.db?mode=ro&uri=true") as memory:
        await memory.add("Dora paints.", namespace=HOME)


async def fill_disk(folder: Path) -> None:
    """Add to a store on a small file system until it is full; everything acknowledged must be there."""
    small = folder / "small"
    small.mkdir()
    mount("tmpfs", small, "tmpfs", options="size=2m")
    acknowledged: list[str] = []
    try:
        async with Memory.open(store_in(small)) as memory:
            while len(acknowledged) < 4_000:
                text = f"Entry {len(acknowledged)}: {os.urandom(512).hex()}"
                await memory.add(text, namespace=HOME)
                acknowledged.append(text)
    finally:
        with sqlite3.connect(small / "memory.db") as database:
            kept = {text for (text,) in database.execute("SELECT text FROM mars_records")}
        if not acknowledged or set(acknowledged) - kept:
            raise AssertionError(
                f"{len(set(acknowledged) - kept)} of {len(acknowledged)} acknowledged records are lost"
            )


async def open_newer(folder: Path) -> None:
    """Open a store whose schema a newer version has made."""
    with sqlite3.connect(folder / "memory.db") as database:
        (table,) = next(
            database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%alembic%' OR name LIKE '%version'")
        )
        (old,) = next(database.execute(f"SELECT version_num FROM {table}"))
        database.execute(f"UPDATE {table} SET version_num = '9999_from_the_future'")
    try:
        async with Memory.open(store_in(folder)):
            pass
    finally:
        with sqlite3.connect(folder / "memory.db") as database:
            database.execute(f"UPDATE {table} SET version_num = ?", (old,))


CASES = [
    Case("empty text", InvalidText, adding("")),
    Case("blank text", InvalidText, adding(" \n\t")),
    Case("1 MB text", None, add_large),
    Case("5 MB text", InvalidText, adding("x" * 5_242_880)),
    Case("NaN vector", InvalidVector, embedding(256, float("nan"))),
    Case("wrong dimension", InvalidVector, embedding(255, 1.0)),
    Case("naive datetime", InvalidTime, adding("Dora paints.", now=datetime(2026, 1, 1))),  # noqa: DTZ001
    Case("empty namespace", InvalidNamespace, lambda folder: recall_in(folder, ())),
    Case(
        "unknown namespace", InvalidNamespace, terminal(InvalidNamespace, "ask", "Who plays?", "--namespace", "nobody")
    ),
    Case("missing file", InvalidFile, terminal(InvalidFile, *INGEST)),
    Case("broken JSON", InvalidFile, terminal(InvalidFile, *INGEST, "--strict", content=BROKEN)),
    Case("broken line skipped", None, terminal(InvalidFile, *INGEST, content=BROKEN)),
    Case("read-only database", StoreReadOnly, add_read_only),
    Case("read-only file system", StoreReadOnly, write_read_only),
    Case("full disk", StoreFull, fill_disk),
    Case("newer schema", SchemaMismatch, open_newer),
]


async def recall_in(folder: Path, namespace: tuple[str, ...]) -> object:
    """Recall from a namespace."""
    async with Memory.open(store_in(folder)) as memory:
        return await memory.recall("cello", namespace=namespace)


def mount(source: Path | str, folder: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount something on a folder, seen by this process and its children only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(str(source).encode(), str(folder).encode(), kind.encode(), flags, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), "cannot mount a file system here; run as root")


def unmount(folder: Path) -> None:
    """Undo a mount."""
    ctypes.CDLL(None).umount2(str(folder).encode(), MNT_DETACH)


def leave_mounts() -> None:
    """Give this process mounts of its own; where that is not permitted, the full disk will fail as a case."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS) != 0 and libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)


async def told(folder: Path) -> list[str]:
    """Which of the three records are there."""
    async with Memory.open(store_in(folder)) as memory:
        return [record.text for record in await memory.list(namespace=HOME) if record.text in TOLD]


async def try_case(case: Case) -> tuple[str, bool, bool]:
    """Return what the case said, whether that was clear, and whether something was lost."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        async with Memory.open(store_in(folder)) as memory:
            for text in TOLD:
                await memory.add(text, namespace=HOME)
        said, clear, lost = "", case.expected is None, False
        try:
            await case.act(folder)
        except MarsError as error:
            said = f"{type(error).__name__}: {error}"
            clear = case.expected is not None and isinstance(error, case.expected) and len(str(error)) >= 20
        except AssertionError as error:
            said, clear, lost = str(error), False, True
        except Exception as error:  # noqa: BLE001 - anything else is what this benchmark looks for
            said, clear = f"{type(error).__name__}: {error}", False
        lost = lost or sorted(await told(folder)) != sorted(TOLD)
        unmount(folder / "small")
    return said, clear, lost


def main() -> None:
    """Print the report as one line of JSON."""
    leave_mounts()
    outcomes = {case.name: asyncio.run(try_case(case)) for case in CASES}
    report = {
        "cases": len(CASES),
        "unclear": [name for name, (_, clear, _) in outcomes.items() if not clear],
        "lost": [name for name, (_, _, lost) in outcomes.items() if lost],
        "said": {name: said[:300] for name, (said, _, _) in outcomes.items()},
    }
    for name, said in outcomes.items():
        print(f"{name:20} {said[0][:160]}", file=sys.stderr)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
