"""The transcript: what was said in a conversation, word for word, as rows that are only ever added.

The newest turns of it are the window of the prompt; what leaves the window goes into the conversation's running summary
(`mars.summary`). Nothing of it is in a checkpoint, so that a checkpoint's size does not grow with the conversation, and
nothing of it is a memory: an answer is no evidence for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from mars.memory.backends.wire import Wire

__all__ = ["Transcript", "Utterance"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Utterance(NamedTuple):
    """What somebody said in a turn."""

    turn: int
    """Number of the turn in its conversation, from 1."""
    speaker: str
    """Who said it."""
    source: str
    """user or assistant."""
    said_at: datetime
    """When, in UTC, by the clock of the memory."""
    text: str
    """The words; characters that no database stores are replaced by U+FFFD."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**self._asdict(), "said_at": self.said_at.isoformat()}


class Transcript:
    """The rows, within one transaction or snapshot of a connection."""

    def __init__(self, wire: Wire) -> None:
        """Read and write on a connection whose transaction the caller begins and ends."""
        self._wire = wire

    def add(self, thread: str, said: Sequence[Utterance]) -> None:
        """Append what was said in one turn; what is there stays as it is."""
        rows = [
            (thread, one.turn, place, one.speaker, one.source, (one.said_at - EPOCH) // MICROSECOND, storable(one.text))
            for place, one in enumerate(said)
        ]
        if rows:
            self._run("INSERT INTO mars_transcript VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)

    def newest(self, thread: str, turns: int, before: int) -> list[Utterance]:
        """Return what was said in so many turns before number `before`, oldest first."""
        return self._found(
            "SELECT number, speaker, source, said_at, text FROM mars_transcript "
            "WHERE thread_id = ? AND number >= ? AND number < ? ORDER BY number, place",
            (thread, before - turns, before),
        )

    def all(self, thread: str) -> list[Utterance]:
        """Return everything that was said, oldest first."""
        return self._found(
            "SELECT number, speaker, source, said_at, text FROM mars_transcript WHERE thread_id = ? "
            "ORDER BY number, place",
            (thread,),
        )

    def copy(self, source: str, target: str, before: int) -> None:
        """Copy what was said before turn `before` to another conversation."""
        self._run(
            "INSERT INTO mars_transcript SELECT CAST(? AS TEXT), number, place, speaker, source, said_at, text "
            "FROM mars_transcript WHERE thread_id = ? AND number < ?",
            (target, source, before),
        )

    def _found(self, statement: str, parameters: tuple[Any, ...]) -> list[Utterance]:
        rows = self._run(statement, parameters).fetchall()
        return [Utterance(row[0], row[1], row[2], EPOCH + row[3] * MICROSECOND, row[4]) for row in rows]

    def _run(self, statement: str, parameters: Any) -> Any:
        return self._wire.run(statement if self._wire.dialect == "sqlite" else statement.replace("?", "%s"), parameters)


def storable(text: str) -> str:
    """Return a text with what no database stores replaced."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
