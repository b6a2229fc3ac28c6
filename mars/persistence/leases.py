"""Leases: one writer per conversation, on the database's time, with a fencing token.

Whoever writes to a conversation holds its row in ``mars_conversations``: `holder` until `held_until`, which a heartbeat
moves on. Each claim gives a new, higher token; `check` refuses a write by an older one in the transaction of that
write, so that a holder that was paused past its lease cannot write over its successor (Kleppmann, "How to do
distributed locking", 2016). Times are milliseconds since 1970 by the clock of the database, never of a client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig

from mars.errors import LeaseLost
from mars.memory.backends.statements import as_list
from mars.memory.backends.wire import Wire

__all__ = ["FENCE", "Fence", "Held", "Lease", "Leases", "check", "fence_of"]

FENCE = "__mars_fence"
"""The key of a config's ``configurable`` with the token of the run's lease; LangGraph keeps it out of the metadata."""

NOW = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}
"""The database's time in milliseconds since 1970."""


class Fence(NamedTuple):
    """What a write of a run is checked by."""

    thread: str
    """The thread of the conversation."""
    token: int
    """The token of the run's lease."""


class Lease(NamedTuple):
    """A lease that somebody holds."""

    holder: str
    """Id of the process."""
    until: int
    """When it ends unless it is renewed, in milliseconds since 1970 by the database's clock."""
    left: int
    """Milliseconds until then."""

    def __str__(self) -> str:
        until = datetime.fromtimestamp(self.until / 1000, UTC).isoformat(timespec="seconds")
        return f"process {self.holder}, if it has died its lease ends at {until} ({self.left / 1000:.0f} s from now)"


@dataclass(frozen=True, slots=True)
class Held:
    """A conversation's row under its lock."""

    token: int
    """The newest token that was given."""
    holder: str | None
    """Who holds the lease now; None where it is free or has run out."""
    turns: int
    """How many turns were begun."""
    summary: str
    """The running summary of what left the window."""


def fence_of(config: RunnableConfig | None) -> Fence | None:
    """Return the fence of a run's config; None for a run without a lease of ours."""
    configurable = (config or {}).get("configurable") or {}
    token = configurable.get(FENCE)
    return None if token is None else Fence(str(configurable["thread_id"]), int(token))


def check(wire: Wire, fence: Fence | None) -> None:
    """Raise `LeaseLost` unless the fence's token is the newest; for the transaction of a write, as its first step."""
    if fence is None:
        return
    lock = "" if wire.dialect == "sqlite" else " FOR SHARE"
    row = _run(wire, f"SELECT token FROM mars_conversations WHERE thread_id = ?{lock}", (fence.thread,)).fetchone()
    if row is None or row[0] != fence.token:
        raise LeaseLost(
            "another run has taken over this conversation; nothing was written: see what it did, then run or resume"
        )


class Leases:
    """The leases, within one transaction of a connection."""

    def __init__(self, wire: Wire) -> None:
        """Read and write on a connection whose transaction the caller begins and ends."""
        self._wire = wire
        self._now = NOW[wire.dialect]

    def look(self, thread: str, conversation: str) -> Held:
        """Lock a conversation's row until the transaction ends, made where there is none, and return it."""
        _run(
            self._wire,
            "INSERT INTO mars_conversations VALUES (?, ?, 0, '', 0, NULL, 0, 0) ON CONFLICT (thread_id) DO NOTHING",
            (thread, conversation),
        )
        lock = "" if self._wire.dialect == "sqlite" else " FOR UPDATE"
        token, holder, left, turns, summary = _run(
            self._wire,
            f"SELECT token, holder, held_until - {self._now}, turns, summary FROM mars_conversations "
            f"WHERE thread_id = ?{lock}",
            (thread,),
        ).fetchone()
        return Held(int(token), holder if left > 0 else None, int(turns), summary)

    def make(self, thread: str, conversation: str) -> bool:
        """Make a conversation's row, held by nobody; False where there is one already."""
        made = _run(
            self._wire,
            "INSERT INTO mars_conversations VALUES (?, ?, 0, '', 0, NULL, 0, 0) ON CONFLICT (thread_id) DO NOTHING",
            (thread, conversation),
        ).rowcount
        return bool(made)

    def take(self, thread: str, token: int, holder: str, seconds: float) -> Fence:
        """Give the lease to a holder under the next token after `token`."""
        _run(
            self._wire,
            f"UPDATE mars_conversations SET token = ?, holder = ?, held_until = {self._now} + ? WHERE thread_id = ?",
            (token + 1, holder, round(seconds * 1000), thread),
        )
        return Fence(thread, token + 1)

    def release(self, fence: Fence) -> None:
        """Give a lease back; nothing happens where it was lost."""
        _run(
            self._wire,
            "UPDATE mars_conversations SET holder = NULL, held_until = 0 WHERE thread_id = ? AND token = ?",
            tuple(fence),
        )

    def renew(self, fences: Sequence[Fence], seconds: float) -> dict[Fence, bool]:
        """Extend leases; return those that are still held, and whether somebody has asked their run to stop."""
        kept: dict[Fence, bool] = {}
        for fence in fences:
            renewed = _run(
                self._wire,
                f"UPDATE mars_conversations SET held_until = {self._now} + ? WHERE thread_id = ? AND token = ?",
                (round(seconds * 1000), *fence),
            ).rowcount
            if renewed:
                stop = _run(
                    self._wire, "SELECT stop FROM mars_conversations WHERE thread_id = ?", (fence.thread,)
                ).fetchone()
                kept[fence] = stop[0] == fence.token
        return kept

    def ask_to_stop(self, thread: str) -> bool:
        """Ask whoever holds the lease to stop, which the next heartbeat finds; False where nobody does."""
        asked = _run(
            self._wire,
            f"UPDATE mars_conversations SET stop = token WHERE thread_id = ? AND held_until > {self._now}",
            (thread,),
        ).rowcount
        return bool(asked)

    def held(self, thread: str) -> Lease | None:
        """Return the lease of a conversation that is held now; None for one that is free."""
        row = _run(
            self._wire,
            f"SELECT holder, held_until, held_until - {self._now} FROM mars_conversations WHERE thread_id = ?",
            (thread,),
        ).fetchone()
        return None if row is None or row[0] is None or row[2] <= 0 else Lease(row[0], int(row[1]), int(row[2]))

    def busy(self, threads: Sequence[str]) -> set[str]:
        """Return those of some threads whose lease is held now."""
        among = "IN (SELECT value FROM json_each(?))" if self._wire.dialect == "sqlite" else "= ANY(?)"
        rows = _run(
            self._wire,
            f"SELECT thread_id FROM mars_conversations WHERE held_until > {self._now} AND thread_id {among}",
            (as_list(threads, self._wire.dialect),),
        ).fetchall()
        return {row[0] for row in rows}


def _run(wire: Wire, statement: str, parameters: tuple[Any, ...]) -> Any:
    return wire.run(statement if wire.dialect == "sqlite" else statement.replace("?", "%s"), parameters)
