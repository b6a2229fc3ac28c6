"""Branches: a conversation that goes on from a place in the past of another one, made in one transaction.

Rows are copied, never shared, so that neither conversation can change the other. What is over is copied as it is: its
words, its turns under their own ids, and their checkpoints that are kept. A turn that is half done at that place gets a
new id, since by its id calls, budgets, questions and memories are known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from langgraph.checkpoint.serde.base import SerializerProtocol

from mars.errors import ConversationBusy, ConversationExists, HistoryPruned, NotFound
from mars.memory.backends.wire import Wire
from mars.persistence import asks
from mars.persistence.call_rows import StoredRows
from mars.persistence.checkpoints import Checkpoints, Place, Row
from mars.persistence.encoding import checkpoint_of
from mars.persistence.leases import Leases
from mars.persistence.superseding import BRANCH
from mars.persistence.transcript import Transcript
from mars.persistence.turns import TurnRow, Turns

__all__ = ["At", "Begin", "Branch", "Spot", "copy_past", "locate", "next_nodes"]

At = int | str | None
"""A place in a conversation: number, id or name of a turn, id of a checkpoint; None is the newest."""

Begin = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Returns part of a state of a turn, or its first one, given what is kept of it."""


class Spot(NamedTuple):
    """A place in a conversation."""

    turn: TurnRow
    """The turn that it is in."""
    checkpoint: Row | None
    """What is kept there; None where nothing is."""
    head: bool
    """Whether it is the last checkpoint of its turn."""

    @property
    def over(self) -> bool:
        """Whether the turn had ended there."""
        return self.head and not self.turn.input and self.turn.status not in ("abandoned", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A conversation that is to be made."""

    source: str
    """Thread of the conversation that it comes from."""
    named: str
    """Name of that, for messages."""
    at: At
    """Where it begins."""
    targets: Callable[[int], tuple[str, str] | None]
    """Gives the first, second, … choice for its thread and its name; None where there is no further one."""
    begin: Begin | None
    """Where the turn is to be run anew: makes its first state. None goes on with what the turn had done."""
    mark: Begin
    """Returns what a turn that is not over keeps to, given its state: ``replay`` of it."""
    check: Callable[[Mapping[str, Any], Sequence[str]], None]
    """Raises where a turn cannot go on from a state with these nodes next."""

    def made(self, wire: Wire, serde: SerializerProtocol) -> tuple[str, str]:
        """Make it; return its thread and its name.

        Raises `NotFound`, `HistoryPruned`, `ConversationBusy`, `ConversationExists`, and what `check` raises.
        """
        if Leases(wire).look(self.source, self.named).holder is not None:
            raise ConversationBusy(f"a run holds conversation {self.named!r}: wait for it, or cancel it first")
        spot = locate(wire, self.source, self.named, self.at)
        if self.begin is None and spot.over:
            target = self._target(wire)
            values = _values(serde, self._kept(spot))
            copy_past(wire, self.source, target[0], spot.turn.number, str(values.get("summary", "")))
            return target
        first = self.begin(self._input(spot, serde)) if self.begin is not None and self._anew(spot) else None
        if first is None:
            self._checked(spot, serde)
        target = self._target(wire)
        self._half_done(wire, serde, spot, target, first)
        return target

    def turn_id(self, old: str, thread: str) -> str:
        """Return the id of a turn that goes on in another thread."""
        return hashlib.blake2b(f"{old}\0{thread}".encode(), digest_size=12).hexdigest()

    def _anew(self, spot: Spot) -> bool:
        """Whether the turn is run from its beginning, and not from a checkpoint in its midst."""
        named_by_checkpoint = spot.checkpoint is not None and self.at == spot.checkpoint.id
        return spot.over or not named_by_checkpoint

    def _kept(self, spot: Spot) -> Row:
        if spot.checkpoint is None:
            raise HistoryPruned(
                f"nothing is kept of turn {spot.turn.number} of conversation {self.named!r} but its words; kept are "
                "the newest turns, those that were broken off, and those with a name (mars.name_turn): see "
                f"mars.history({self.named!r})"
            )
        return spot.checkpoint

    def _input(self, spot: Spot, serde: SerializerProtocol) -> Mapping[str, Any]:
        if spot.turn.input:
            return cast(dict[str, Any], json.loads(spot.turn.input))
        return _values(serde, self._kept(spot))

    def _checked(self, spot: Spot, serde: SerializerProtocol) -> None:
        if spot.checkpoint is None and spot.turn.input:
            return  # killed before its first step: it begins with its input
        checkpoint = checkpoint_of(serde, self._kept(spot))
        self.check(checkpoint["channel_values"], next_nodes(checkpoint))

    def _target(self, wire: Wire) -> tuple[str, str]:
        number = 1
        while (target := self.targets(number)) is not None:
            if not Checkpoints(wire).namespaces(target[0]) and Leases(wire).make(*target):
                return target
            number += 1
        taken = self.targets(1)
        raise ConversationExists(
            f"there is a conversation {taken[1] if taken else ''!r} already, and none is written over: name another"
        )

    def _half_done(
        self, wire: Wire, serde: SerializerProtocol, spot: Spot, target: tuple[str, str], first: dict[str, Any] | None
    ) -> None:
        """Copy what is over before a turn, and that turn as far as it had come, or with its first state."""
        (thread, name), old = target, spot.turn
        turn = self.turn_id(old.turn, thread)

        def own(values: Mapping[str, Any]) -> dict[str, Any]:
            own = {"conversation": name, "turn": turn, "task": {**values["task"], "id": turn}}
            pending = [_uncleared(action) for action in values.get("pending", ())]
            waiting = {"pending": pending} if "pending" in values else {}
            return {**values, **own, **waiting, "replay": self.mark(values)}

        state = first if first is not None else self._input(spot, serde)
        copy_past(wire, self.source, thread, old.number - 1, str(state.get("summary", "")))
        Turns(wire).begin(thread, old.number, turn, own(state), str(state.get("summary", "")))
        if first is not None or spot.checkpoint is None:
            return
        rows = Checkpoints(wire)
        line = [row for row in rows.line(spot.checkpoint.place, spot.checkpoint.id) if _turn(row) == old.turn]
        for row in line:
            rows.put(_owned(serde, row, thread, turn, own))
        if self.begin is None and spot.head:
            self._going_on(wire, serde, spot, thread, (name, turn))

    def _going_on(
        self, wire: Wire, serde: SerializerProtocol, spot: Spot, thread: str, target: tuple[str, str]
    ) -> None:
        """Copy what the turn did since its last checkpoint: outcomes that are paid for, and what a person is asked."""
        assert spot.checkpoint is not None
        values = _values(serde, spot.checkpoint)
        calls, source = int(values.get("calls", 0)), (values["conversation"], spot.turn.turn)
        rows = StoredRows(wire)
        for call in rows.of_turn(*source):
            if call.ordinal > calls and call.state in ("done", "failed"):
                rows.put(call.unpaid(*target))
        waits = asks.copy_open(wire, source, target, calls)
        begun = Turns(wire).unfinished(thread)
        if waits and begun is not None:
            Turns(wire).mark(begun, "waiting")


def copy_past(wire: Wire, source: str, thread: str, through: int, summary: str) -> None:
    """Copy what is over up to a turn: words, turns under their own ids, and their checkpoints that are kept."""
    turns = Turns(wire)
    Transcript(wire).copy(source, thread, through + 1)
    Checkpoints(wire).copy_some(source, thread, turns.copy(source, thread, through))
    turns.set_count(thread, through, summary)


def locate(wire: Wire, thread: str, named: str, at: At) -> Spot:
    """Return a place in a conversation; raises `NotFound`."""
    turns, rows = Turns(wire), Checkpoints(wire)
    place = Place(thread, "")
    turn = turns.find(thread, at)
    if turn is not None:
        row = rows.get(place, turn.checkpoint) if not turn.input else rows.get(place, None)
        return Spot(turn, row if row is not None and _turn(row) == turn.turn else None, True)
    row = rows.get(place, at) if isinstance(at, str) else None
    turn = turns.find(thread, _turn(row)) if row is not None else None
    if row is None or turn is None:
        what = "turn yet" if at is None else f"turn or checkpoint {at!r}"
        raise NotFound(f"conversation {named!r} has no {what}: see mars.history({named!r}, checkpoints=True)")
    newest = turn.checkpoint if not turn.input else rows.newest(place)
    return Spot(turn, row, row.id == newest)


def next_nodes(checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the nodes that follow a checkpoint of a run of ours."""
    updated = checkpoint.get("updated_channels") or ()
    return [name.removeprefix(BRANCH) for name in updated if name.startswith(BRANCH)]


def _turn(row: Row) -> str:
    return str(json.loads(row.metadata).get("turn", ""))


def _values(serde: SerializerProtocol, row: Row) -> dict[str, Any]:
    return checkpoint_of(serde, row)["channel_values"]


def _uncleared(action: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pending action without the mark of who let it pass: that was decided for the other conversation."""
    return {name: value for name, value in action.items() if name != "cleared"}


def _owned(
    serde: SerializerProtocol,
    row: Row,
    thread: str,
    turn: str,
    own: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> Row:
    """Return a checkpoint of a turn as that of another one, in another thread."""
    checkpoint = checkpoint_of(serde, row)
    changed = {**checkpoint, "channel_values": own(checkpoint["channel_values"])}
    format, body = serde.dumps_typed(changed)
    facts = {**json.loads(row.metadata), "turn": turn}
    return row._replace(thread=thread, format=format, body=body, metadata=json.dumps(facts))
