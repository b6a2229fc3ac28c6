"""Killing processes that tend a store: a backup, a restore, a repair, a change of embedder.

The child first makes a few calls, which are acknowledged, and then gives one command, within which it dies. Another
child looks at what was left, gives the same command again, and compares the store with what the acknowledged calls
leave in an undisturbed one (`mars.testing.comparing`). Beside that: a backup is there whole, the earlier one or the new
one; a restore has happened as a whole or not at all; a repair has mended all that was broken before it; and a store
whose embedder is changing is refused to the one that it came from.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import text

from mars.errors import EmbedderMismatch, InvalidFile
from mars.memory.backends.sql import SqlBackend
from mars.memory.copies import check
from mars.memory.engine import Memory
from mars.memory.interfaces import Backend
from mars.testing.clocks import EPOCH
from mars.testing.comparing import Comparison, compare
from mars.testing.embedders import RandomEmbedder
from mars.testing.kills import KillPoint
from mars.testing.plans import TASKS, Plan, State, open_sql
from mars.testing.workload import PRESET, Call, Script, contents, drive, perform

__all__ = ["COMMANDS", "Fate", "fate_of", "look", "settle", "tend"]

COMMANDS: Mapping[str, tuple[str | None, ...]] = MappingProxyType(
    {
        "backup": ("backup_written", "backup_synced", "backup_named", None),
        "restore": ("restore_emptied", "restore_loaded", "before_commit", "after_commit", None),
        "repair": ("repair_whole", "repair_row", "repair_rival", "repair_step", "before_commit", None),
        "reembed": (
            "reembed_begun",
            "reembed_embedded",
            "reembed_replaced",
            "reembed_dropped",
            "vector_replaced",
            None,
        ),
    }
)
"""Each command with the points within it at which its child dies; None for any instant."""

FATES = [one for one in chain(*zip_longest(*([(name, at) for at in COMMANDS[name]] for name in COMMANDS))) if one]

MOST = {"backup_written": 12, "repair_row": 3, "repair_step": 2}
"""So often a point is passed at most before the end; others end at once."""

EMBEDDERS = (RandomEmbedder(8), RandomEmbedder(8, seed=1))
"""What a store changes between."""

CALLS = 4
"""Calls in each namespace before a command, and between a copy and the restore from it."""

FAVOURED = ("tell", "add_many")
"""Calls that are made more often: they let facts take each other's places, which a repair has to do again."""

SETTINGS: dict[str, Any] = {"preset": PRESET, "extract_facts": True, "seed": 0}

DAMAGE = (
    "INSERT INTO mars_vectors SELECT number + 1000000, embedder, dimension, vector FROM mars_vectors "
    "WHERE number = (SELECT min(number) FROM mars_vectors)",
    "DELETE FROM mars_vectors WHERE number = (SELECT min(number) FROM mars_records)",
    "UPDATE mars_records SET content_hash = 'broken' WHERE number > (SELECT max(number) - 3 FROM mars_records)",
    "UPDATE mars_records SET status = 'active' WHERE number = (SELECT min(old.number) FROM mars_records old "
    "JOIN mars_records heir ON old.superseded_by = heir.id WHERE old.status = 'superseded' AND heir.status = 'active')",
)
"""What breaks a store so that a repair can make it what it was: an orphan, a lost vector, hashes, a rival fact."""


@dataclass(frozen=True, slots=True)
class Fate:
    """How a child ends."""

    command: str
    """What it does; one of `COMMANDS`."""
    point: str | None
    """Where it dies; None for an instant."""
    hits: int
    """When the point is reached for which time."""
    delay: float
    """Where no point is named: after so many seconds."""


def fate_of(plan: Plan, state: State, run: int, chance: random.Random) -> Fate:
    """Return how the child of a run ends: each way in turn."""
    fates = [one for one in FATES if not plan.points or one[1] in plan.points]
    command, point = fates[(state.chain.turn(run) + plan.seed) % len(fates)]
    return Fate(command, point, chance.randint(1, MOST.get(point or "", 1)), chance.uniform(0.0, 0.012))


def _embedders(state: State) -> tuple[RandomEmbedder, RandomEmbedder]:
    """Return the embedder that a store has, and the other one."""
    has = state.turned % 2
    return EMBEDDERS[has], EMBEDDERS[1 - has]


def _backup(state: State) -> Path:
    return state.folder / "memory.backup"


async def tend(plan: Plan, state: State, fate: Fate, seed: str, tell: Callable[[str], None]) -> None:
    """Be the child: make calls, give the command and die within it."""
    has, other = _embedders(state)
    scripts = [Script(seed, space, state.last(space), FAVOURED) for space in range(TASKS)]
    state.folder.mkdir(exist_ok=True)
    backend = plan.open(state.url, state.synchronous)
    async with plan.memory.open(backend, embedder=has, **SETTINGS) as memory:
        await _write(memory, scripts, tell)
        if fate.command == "restore":
            await memory.backup(_backup(state), overwrite=True)
            tell("copied")
            await _write(memory, scripts, tell)
        if fate.command == "repair":
            _break(state)
        if fate.command != "reembed":
            with _dying(fate, tell):
                await _give(memory, fate.command, _backup(state))
            return
    with _dying(fate, tell):
        async with plan.memory.open(backend, embedder=other, reembed=True, **SETTINGS):
            pass


async def _write(memory: Memory, scripts: Sequence[Script], tell: Callable[[str], None]) -> None:
    for space, script in enumerate(scripts):
        await drive(memory, script, space, CALLS, tell)


async def _give(memory: Memory, command: str, file: Path) -> object:
    match command:
        case "backup":
            return await memory.backup(file, overwrite=True)
        case "restore":
            return await memory.restore_backup(file, force=True)
    return await memory.repair(now=EPOCH)


def _break(state: State) -> None:
    backend = SqlBackend(state.url)
    with backend.engine.connect() as connection:
        for statement in DAMAGE:
            connection.execute(text(statement))
    backend.close()


@contextmanager
def _dying(fate: Fate, tell: Callable[[str], None]) -> Iterator[None]:
    if fate.point is not None:
        with KillPoint(fate.point, fate.hits, lambda name: tell(f"dies {name}")):
            yield
        return
    end = threading.Timer(fate.delay, os.kill, (os.getpid(), signal.SIGKILL))
    end.start()
    yield
    end.cancel()


async def look(state: State, fate: Fate, tell: Callable[[str], None]) -> None:
    """Be the child that looks at what was left, gives the command again and compares."""
    seen, (has, other) = Comparison(), _embedders(state)
    backend = open_sql(state.url, state.synchronous)
    # The server may still be ending the dead client's transaction: whoever writes next waits for that.
    backend.transact(lambda tx: tx.head())
    if fate.command == "reembed":
        await _look_at_change(seen, backend, has)
        async with Memory.open(backend, embedder=other, reembed=True, **SETTINGS):
            pass
        has = other
    else:
        async with Memory.open(backend, embedder=has, **SETTINGS) as memory:
            if fate.command == "backup":
                await _look_at_backups(seen, state)
            if fate.command == "restore":
                await _look_at_restore(seen, state, memory)
            await _give(memory, fate.command, _backup(state))
    backend.close()
    logs = state.copied if fate.command == "restore" else state.logs
    if fate.command == "backup":
        await _look_at_backup(seen, _backup(state), [logs])
    pending = [None] * TASKS
    seen.add(await compare(lambda: open_sql(state.url, state.synchronous), logs, pending, embedder=has, tended=True))
    tell(json.dumps(seen.values()))


def settle(state: State, fate: Fate) -> None:
    """Note what a command has changed that was given again."""
    if fate.command == "restore":
        state.logs = [list(log) for log in state.copied]
    if fate.command == "backup":
        state.copied = [list(log) for log in state.logs]
    state.turned += fate.command == "reembed"


async def _left_by(logs: Sequence[Sequence[Call]], embedder: RandomEmbedder) -> list[list[str]]:
    """Return what calls leave in an undisturbed store."""
    async with Memory.open("memory:", embedder=embedder, **SETTINGS) as twin:
        for log in logs:
            for call in log:
                await perform(twin, call)
        return [await contents(twin, space, tended=True) for space in range(TASKS)]


async def _look_at_change(seen: Comparison, backend: Backend, has: RandomEmbedder) -> None:
    """Let a store that the change has begun in refuse the embedder that it came from; another has only its vectors."""
    try:
        async with Memory.open(backend, embedder=has, **SETTINGS) as memory:
            if not (await memory.doctor(now=EPOCH)).clean:
                seen.unclean += 1
                seen.errors.append(f"the store says that its vectors are those of {has.id}, and they are not")
    except EmbedderMismatch:
        return


async def _look_at_restore(seen: Comparison, state: State, memory: Memory) -> None:
    """Count a loss unless all is as it was before the restore, or as in the copy."""
    held = [await contents(memory, space, tended=True) for space in range(TASKS)]
    has, _ = _embedders(state)
    if held not in (await _left_by(state.logs, has), await _left_by(state.copied, has)):
        seen.lost += 1
        seen.errors.append("a restore has happened in part")


async def _look_at_backups(seen: Comparison, state: State) -> None:
    """Look at the backup that was there or has come, and at what a dead process was writing it to."""
    file = _backup(state)
    if file.exists():
        await _look_at_backup(seen, file, [state.logs, state.copied])
    elif any(state.copied):
        seen.torn += 1
        seen.errors.append("the earlier backup is gone")
    for part in file.parent.glob(f".{file.name}*.part"):
        try:
            check(part)
        except InvalidFile:
            part.unlink()
            continue
        await _look_at_backup(seen, part, [state.logs])
        part.unlink()


async def _look_at_backup(seen: Comparison, file: Path, allowed: Sequence[Sequence[Sequence[Call]]]) -> None:
    """Count a backup as torn unless it gives back what some of these calls have left."""
    try:
        made_by = check(file).meta.get("embedder")
        embedder = next((one for one in EMBEDDERS if one.id == made_by), EMBEDDERS[0])
        async with Memory.open("memory:", embedder=embedder, **SETTINGS) as memory:
            await memory.restore_backup(file)
            held = [await contents(memory, space, tended=True) for space in range(TASKS)]
        whole = held in [await _left_by(logs, embedder) for logs in allowed]
    except InvalidFile as error:
        seen.errors.append(str(error))
        whole = False
    if not whole:
        seen.torn += 1
        seen.errors.append(f"{file.name} does not give back what was acknowledged")
