"""The turns of a conversation as rows: which one is unfinished, and which checkpoints are kept."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from langgraph.checkpoint.serde.base import SerializerProtocol

from mars.memory.backends.wire import Wire
from mars.persistence.checkpoints import Checkpoints, Place
from mars.persistence.deltas import COUNTERS, needed

__all__ = ["KEPT", "Over", "TurnRow", "Turns", "Unfinished"]

KEPT = 20
"""Of so many of a conversation's newest turns the last checkpoint is kept."""


class Unfinished(NamedTuple):
    """A turn that has begun and is not finished."""

    thread: str
    """The thread of the conversation."""
    number: int
    """Number of the turn in its conversation, from 1."""
    turn: str
    """Id of the turn."""
    status: str
    """Empty, or ``cancelled`` where somebody ended it on purpose."""
    input: dict[str, Any]
    """The state that it began with."""


class Over(NamedTuple):
    """A turn that is finished, or was given up."""

    thread: str
    """The thread of the conversation."""
    turn: str
    """Id of the turn."""
    status: str
    """How it ended; ``abandoned`` where it was given up."""


class TurnRow(NamedTuple):
    """A turn as it is stored."""

    number: int
    """Number of the turn in its conversation, from 1."""
    turn: str
    """Id of the turn."""
    status: str
    """How it ended, or why it rests; empty while it runs."""
    input: str
    """The state that it began with, as JSON; empty once it is over."""
    checkpoint: str | None
    """Id of its last checkpoint, once it is over."""
    name: str | None
    """Its name, if it was given one."""


class Turns:
    """The rows, within one transaction or snapshot of a connection."""

    def __init__(self, wire: Wire) -> None:
        """Read and write on a connection whose transaction the caller begins and ends."""
        self._wire = wire

    def begin(self, thread: str, number: int, turn: str, input: dict[str, Any], summary: str) -> None:
        """Note that a turn begins, and the summary that goes with its window."""
        self._run(
            "INSERT INTO mars_turns VALUES (?, ?, ?, '', ?, NULL, NULL)", (thread, number, turn, json.dumps(input))
        )
        self.set_count(thread, number, summary)

    def set_count(self, thread: str, turns: int, summary: str) -> None:
        """Let a conversation have had so many turns, and this summary of those that left the window."""
        self._run("UPDATE mars_conversations SET turns = ?, summary = ? WHERE thread_id = ?", (turns, summary, thread))

    def unfinished(self, thread: str) -> Unfinished | None:
        """Return the turn of a conversation that is not finished; at most one is."""
        found = self._open("thread_id = ?", (thread,))
        return found[-1] if found else None

    def every_unfinished(self) -> list[Unfinished]:
        """Return the unfinished turns of all conversations."""
        return self._open("1 = 1", ())

    def _open(self, condition: str, parameters: tuple[Any, ...]) -> list[Unfinished]:
        rows = self._run(
            "SELECT thread_id, number, turn, status, input FROM mars_turns "
            f"WHERE input <> '' AND {condition} ORDER BY thread_id, number",
            parameters,
        ).fetchall()
        return [Unfinished(row[0], int(row[1]), row[2], row[3], json.loads(row[4])) for row in rows]

    def over(self, thread: str, turn: str | None) -> Over | None:
        """Return a turn of a conversation that is over, the last one where no id is given; None where there is none."""
        condition, parameters = ("", ()) if turn is None else ("AND turn = ? ", (turn,))
        row = self._run(
            "SELECT thread_id, turn, status FROM mars_turns WHERE thread_id = ? AND input = '' "
            f"{condition}ORDER BY number DESC LIMIT 1",
            (thread, *parameters),
        ).fetchone()
        return Over(*row) if row else None

    def rows(self, thread: str, before: int | None, limit: int) -> list[TurnRow]:
        """Return the newest turns of a conversation, those before a number where one is given; the newest first."""
        condition, parameters = ("", ()) if before is None else ("AND number < ? ", (before,))
        return self._rows(f"thread_id = ? {condition}ORDER BY number DESC LIMIT ?", (thread, *parameters, limit))

    def find(self, thread: str, at: int | str | None) -> TurnRow | None:
        """Return a turn by its number, its id or its name, the newest where `at` is None; None where there is none.

        Of several turns of one name the newest is meant; a text of digits that is neither id nor name is a number.
        """
        if at is None:
            found = self.rows(thread, None, 1)
        elif isinstance(at, int):
            found = self._rows("thread_id = ? AND number = ?", (thread, at))
        else:
            found = self._rows("thread_id = ? AND (turn = ? OR name = ?) ORDER BY number DESC", (thread, at, at))
            if not found and at.isascii() and at.isdigit() and len(at) < 10:
                return self.find(thread, int(at))
        return found[0] if found else None

    def _rows(self, condition: str, parameters: tuple[Any, ...]) -> list[TurnRow]:
        selected = "SELECT number, turn, status, input, checkpoint_id, name FROM mars_turns WHERE "
        return [TurnRow(int(row[0]), *row[1:]) for row in self._run(selected + condition, parameters).fetchall()]

    def copy(self, source: str, target: str, through: int) -> list[str]:
        """Copy the turns up to a number, which are over, to another conversation; return their last checkpoints."""
        self._run(
            "INSERT INTO mars_turns SELECT CAST(? AS TEXT), number, turn, status, input, checkpoint_id, name "
            "FROM mars_turns WHERE thread_id = ? AND number <= ? AND input = ''",
            (target, source, through),
        )
        found = self._rows("thread_id = ? AND checkpoint_id IS NOT NULL ORDER BY number", (target,))
        return [row.checkpoint for row in found if row.checkpoint is not None]

    def leaving(self, thread: str, number: int) -> str | None:
        """Return the turn whose last checkpoint is kept no longer once that of turn `number` is; None without one."""
        found = self._rows("thread_id = ? AND number = ? AND name IS NULL", (thread, number - KEPT))
        return found[0].turn if found else None

    def mark(self, turn: Unfinished, status: str) -> None:
        """Note why an unfinished turn rests."""
        self._run(
            "UPDATE mars_turns SET status = ? WHERE thread_id = ? AND number = ?", (status, turn.thread, turn.number)
        )

    def status(self, thread: str, turn: str) -> str:
        """Return what is noted of a turn; empty while it runs."""
        row = self._run("SELECT status FROM mars_turns WHERE thread_id = ? AND turn = ?", (thread, turn)).fetchone()
        return str(row[0]) if row else ""

    def end(self, turn: Unfinished, status: str) -> None:
        """Note that a turn is over, with the conversation's newest checkpoint as its last."""
        newest = Checkpoints(self._wire).newest(Place(turn.thread, ""))
        self._run(
            "UPDATE mars_turns SET status = ?, input = '', checkpoint_id = ? WHERE thread_id = ? AND number = ?",
            (status, newest, turn.thread, turn.number),
        )

    def name(self, thread: str, name: str) -> bool:
        """Name the last finished turn of a conversation, so that its checkpoint stays; False where there is none."""
        return bool(
            self._run(
                "UPDATE mars_turns SET name = ? WHERE thread_id = ? AND number = (SELECT MAX(number) FROM mars_turns "
                "WHERE thread_id = ? AND checkpoint_id IS NOT NULL AND input = '')",
                (name, thread, thread),
            ).rowcount
        )

    def trim(self, thread: str, serde: SerializerProtocol) -> None:
        """Delete the checkpoints of finished turns but the last one of each of the newest `KEPT` turns, of each named
        turn, and of each that was broken off; what their delta channels need stays, too."""
        rows, place = Checkpoints(self._wire), Place(thread, "")
        heads = self._run(
            "SELECT t.checkpoint_id, c.metadata LIKE ? FROM mars_turns t JOIN mars_checkpoints c "
            "ON c.thread_id = t.thread_id AND c.checkpoint_ns = '' AND c.checkpoint_id = t.checkpoint_id "
            "WHERE t.thread_id = ? AND (t.name IS NOT NULL OR t.status IN ('abandoned', 'cancelled') OR t.number > "
            "(SELECT turns FROM mars_conversations WHERE thread_id = ?) - ?)",
            (f"%{COUNTERS}%", thread, thread, KEPT),
        ).fetchall()
        keep = {id for id, _ in heads}
        for head in [rows.get(place, id) for id, has_deltas in heads if has_deltas]:
            keep |= needed(rows, head, serde) if head else set()
        rows.retain(place, keep)
        for namespace in rows.namespaces(thread):
            if ":" in namespace:  # of a graph within one task of this turn; nothing can go on there
                rows.retain(Place(thread, namespace), ())

    def threads(self, conversation: str | None = None) -> list[tuple[str, str, int, str]]:
        """Return conversations, of one name where it is given: thread, name, number of turns, summary."""
        condition, parameters = ("WHERE conversation = ? ", (conversation,)) if conversation is not None else ("", ())
        return [
            (row[0], row[1], int(row[2]), row[3])
            for row in self._run(
                f"SELECT thread_id, conversation, turns, summary FROM mars_conversations {condition}ORDER BY thread_id",
                parameters,
            ).fetchall()
        ]

    def _run(self, statement: str, parameters: tuple[Any, ...]) -> Any:
        return self._wire.run(statement if self._wire.dialect == "sqlite" else statement.replace("?", "%s"), parameters)
