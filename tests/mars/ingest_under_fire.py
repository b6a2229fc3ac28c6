"""Ingest in children that are killed with SIGKILL at random instants; print what was found as one line of JSON.

    python tests/mars/ingest_under_fire.py FOLDER TRIALS SEED [sound|keyless|piecemeal]

The parent imports everything, opens nothing and stays single-threaded, so that a fork is cheap and sound. ``keyless``
and ``piecemeal`` are sabotaged on purpose: without idempotency keys, and with a transaction per turn instead of one per
batch. They show that the figures would tell.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import alembic.command
import anyio

import mars.ingest.jsonl
import mars.memory.embedding
from mars.ingest.writing import ingest
from mars.memory.backends import sql
from mars.memory.engine import Memory
from mars.memory.records import NewRecord

TURNS, BATCH = 240, 12
NOW = datetime(2026, 3, 1, tzinfo=UTC)
LOADED = (alembic.command, mars.ingest.jsonl, mars.memory.embedding, sql)


class Sabotaged:
    """A memory that stores turns in a way that a crash exposes."""

    def __init__(self, memory: Memory, how: str) -> None:
        self._memory, self._how = memory, how

    async def add_many(self, records: Sequence[NewRecord], *, now: datetime | None = None) -> Any:
        """Store without keys, or one by one."""
        if self._how == "keyless":
            return await self._memory.add_many([replace(one, idempotency_key=None) for one in records], now=now)
        for one in records[:-1]:
            await self._memory.add_many([one], now=now)
        return await self._memory.add_many(records, now=now)


async def read_in(database: Path, talk: Path, told: Path, how: str) -> None:
    """Ingest the conversation; note each acknowledged batch in a file."""
    notes = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with Memory.open(f"sqlite:///{database}") as memory:
        store: Any = memory if how == "sound" else Sabotaged(memory, how)
        await ingest(store, talk, "jsonl", ("ann",), now=NOW, batch=BATCH, progress=lambda done, _: _note(notes, done))


def _note(file: int, done: int) -> None:
    os.write(file, b"%d\n" % done)


def child(*arguments: Any) -> int:
    """Fork a child that ingests; return its process id."""
    process = os.fork()
    if process == 0:
        try:
            anyio.run(read_in, *arguments)
        finally:
            os._exit(0)
    return process


def texts(database: Path) -> list[str]:
    """Return what the store holds, after a check of its file and of the vectors beside the rows."""
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'mars_records'").fetchall():
            return []
        alone = "SELECT count(*) FROM mars_records LEFT JOIN mars_vectors USING (number) WHERE vector IS NULL"
        assert connection.execute(alone).fetchone() == (0,)
        seqs = [row[0] for row in connection.execute("SELECT seq FROM mars_records ORDER BY seq")]
        assert seqs == list(range(1, len(seqs) + 1))
        return [row[0] for row in connection.execute("SELECT text FROM mars_records ORDER BY seq")]
    finally:
        connection.close()


def batches(told: Path) -> int:
    """Return how many batches were acknowledged."""
    return told.read_bytes().count(b"\n") if told.exists() else 0


def wait(told: Path, process: int, count: int) -> None:
    """Wait until a child has had so many batches acknowledged, or has ended."""
    while batches(told) < count and os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0005)


def trial(folder: Path, dice: random.Random, how: str) -> Counter[str]:
    """Ingest into a fresh store, killed up to three times, then in peace; return what was found."""
    folder.mkdir()
    database, talk, told = folder / "store.db", folder / "talk.jsonl", folder / "told"
    talk.write_text("".join(f'{{"text": "turn {n} of the talk"}}\n' for n in range(TURNS)), encoding="utf-8")
    found: Counter[str] = Counter(trials=1)
    for _ in range(3):
        told.unlink(missing_ok=True)
        process = child(database, talk, told, how)
        wait(told, process, dice.randrange(TURNS // BATCH))
        time.sleep(dice.uniform(0, 0.008))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        acknowledged = BATCH * batches(told)
        there = len(texts(database)) if database.exists() else 0
        found["killed_midway"] += 0 < there < TURNS
        found["lost"] += max(0, acknowledged - there)
        found["half_batches"] += there % BATCH != 0
    os.waitpid(child(database, talk, told, how), 0)
    expected = Counter(f"turn {n} of the talk" for n in range(TURNS))
    found["missing"] += sum((expected - Counter(texts(database))).values())
    found["duplicated"] += sum((Counter(texts(database)) - expected).values())
    return found


def main() -> None:
    """Run the trials and print the sum of what was found."""
    folder, trials, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    how = sys.argv[4] if len(sys.argv) > 4 else "sound"
    dice = random.Random(seed)
    total: Counter[str] = Counter(killed_midway=0, lost=0, half_batches=0, missing=0, duplicated=0)
    for number in range(trials):
        total.update(trial(folder / f"{number}", dice, how))
    print(json.dumps(total))


main()
