"""The past of conversations: `Past`, the part of `Mars` that lists it, goes on from it, repeats it and compares.

What is over is never changed: `fork` and `replay` copy rows into a conversation of another name, in one transaction
(`mars.persistence.branching`). Memory belongs to the namespace, not to a conversation, and is not copied: see
docs/time-travel.md for what that means, and for the tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mars.agents.rendering import shown
from mars.archive import Conversation
from mars.conversations import BLANK, Conversations
from mars.errors import HistoryPruned, InvalidInput, InvalidSetting, TurnUnfinished
from mars.holding import check_choice, conversation_of, thread_of
from mars.memory.interfaces import Namespace
from mars.memory.records import check_text
from mars.moments import (
    Difference,
    Moment,
    Replay,
    Side,
    ToolRun,
    difference,
    first_difference,
    steps_of,
    tools_in,
)
from mars.observability.observing import Began, Observers
from mars.persistence.branching import At, Begin, Branch
from mars.persistence.budgets import Scope, Usage
from mars.persistence.transcript import Utterance
from mars.persistence.turns import TurnRow
from mars.rehearsing import Records, rehearsed
from mars.results import RunResult, read_result
from mars.state import migrated

if TYPE_CHECKING:
    from langgraph.types import StateSnapshot

    from mars.persistence.journal import Listed
    from mars.roster import Roster

Effects = Literal["ask", "run"]
"""What a replay does with an action that may change something: have a person decide, or run it as any turn would."""

Place = str | tuple[str, At] | Moment
"""A moment for `diff`: a conversation, which means its last turn; a conversation and a place in it; or a `Moment`."""


class Found(NamedTuple):
    """A moment with what is saved of it."""

    moment: Moment
    state: Mapping[str, Any]
    thread: str


class Past:
    """What a caller may ask of the conversations that are kept."""

    roster: Roster
    observers: Observers
    _durable: Conversations | None

    @property
    def _conversations(self) -> Conversations:
        if self._durable is None:
            raise InvalidSetting(
                "runs leave nothing here: open Mars by a URL of SQLite or PostgreSQL, or with checkpointer=URL"
            )
        return self._durable

    async def unfinished(self) -> list[Conversation]:
        """Return the conversations whose last turn is not finished, those that are running now too."""
        return [one for one in await self.conversations() if one.turn is not None]

    async def conversations(self) -> list[Conversation]:
        """Return all conversations."""
        return await self._conversations.archive.listed()

    async def transcript(self, conversation: str, *, namespace: Namespace | None = None) -> list[Utterance]:
        """Return every word of the finished turns of a conversation, oldest first."""
        return await self._conversations.archive.transcript(conversation, namespace)

    async def name_turn(self, conversation: str, name: str, *, namespace: Namespace | None = None) -> None:
        """Name the last finished turn, so that its checkpoint is kept for good; `NotFound` where there is none."""
        await self._conversations.archive.name(conversation, check_text(name, "name"), namespace)

    async def history(
        self,
        conversation: str,
        *,
        limit: int = 20,
        before: At = None,
        checkpoints: bool = False,
        namespace: Namespace | None = None,
    ) -> list[Moment]:
        """Return the newest `limit` turns of a conversation, the newest first, or those before the turn `before`.

        With `checkpoints`, each turn is followed by the checkpoints that are kept of it: all of one that is half done,
        the last one of any other. `Moment.id` is what `fork`, `replay` and `diff` take as ``at``. Nothing is written.
        Raises `NotFound` for an unknown conversation or turn.
        """
        if limit < 1:
            raise InvalidSetting(f"limit is 1 or more; got {limit!r}")
        listed, archive = await self._listed(conversation, namespace), self._conversations.archive
        below = None if before is None else (await self._spot(listed, before))[0].number
        rows, said = await self._conversations.journal.turns(listed.thread, below, limit + 1)
        found: list[Moment] = []
        for row, earlier in zip(rows[:limit], [*rows[1:], None], strict=False):
            snapshot = await archive.last_snapshot(listed.thread, row)
            parent = earlier.turn if earlier else None
            words = [one for one in said if one.turn == row.number]
            found.append(await self._moment(listed, row, snapshot, words, parent))
            if checkpoints:
                turn, saved = found[-1], await archive.snapshots(listed.thread, row.turn)
                found += [_checkpoint(turn, one) for one in saved]
        return found

    async def fork(
        self, conversation: str, *, at: At = None, into: str | None = None, namespace: Namespace | None = None
    ) -> Conversation:
        """Make a conversation that goes on from a place in another one's past; return it. Nothing runs.

        `at` is the number, id or name of a turn, after which it goes on, or the id of a checkpoint within a half-done
        turn, which `resume` then finishes there; by default the newest. `into` names it, else it is ``conversation~1``
        or the next that is free. It has the words, turns and checkpoints until there, and spends on its own; what was
        decided for the other conversation does not hold in it. Raises, with nothing written, `NotFound`,
        `HistoryPruned`, `ConversationExists`, `ConversationBusy` while a run holds the conversation, and
        `TurnUnfinished` where an action that may change something would be run by both.
        """
        listed = await self._listed(conversation, namespace)
        thread, name = await self._branch(listed, at, into, _continued)
        return Conversation.of(await self._conversations.archive.one(name, conversation_of(thread)[0]))

    async def replay(
        self,
        conversation: str,
        *,
        at: At = None,
        into: str | None = None,
        recorded: bool = False,
        effects: Effects = "ask",
        namespace: Namespace | None = None,
        progress: Callable[[Any], object] | None = None,
    ) -> Replay:
        """Run a turn again, with fresh calls, in a conversation of its own (`into`, as for `fork`).

        `at` is a turn, which is run from its beginning, or a checkpoint within a half-done turn, from which it goes on.
        What was said since is not recalled, and memory does not hear of it. An action that may change something waits
        for a person, also one that has none to ask otherwise; ``effects="run"`` runs it as any turn does.

        With `recorded`, the turn's own records answer instead: no model and no tool is called, nothing is written.
        `Replay.first_difference` says where the loop leaves the recorded run. `progress` is told each event. Raises as
        `fork` does.
        """
        check_choice(effects, Effects, "effects")
        listed = await self._listed(conversation, namespace)
        of = await self._found(listed, at)
        if recorded:
            return await self._rehearse(listed, of)

        def mark(values: Mapping[str, Any]) -> dict[str, Any]:
            return {"of": of.moment.turn, "effects": effects, "remember": False, "until": values["task"]["asked_at"]}

        thread, name = await self._branch(listed, at, into, mark, begin=_anew, effects=effects)
        where, final = conversation_of(thread)[0], None
        source = await self._conversations.resume(name, where, "reject")
        began = Began("replay", where, name, of.moment.task, str(of.state.get("task", {}).get("user", "")))
        async with aclosing(self.observers.watch(source, began)) as events:
            async for event in events:
                if progress is not None:
                    progress(event)
                final = event.result or final
        run, whole = await self._found(await self._listed(name, where), None), await self._found(listed, of.moment.turn)
        over = bool(whole.state.get("status"))
        same, first = first_difference(steps_of(whole.state), steps_of(run.state), whole=over)
        return Replay(
            of=of.moment, recorded=False, conversation=name, result=final, first_difference=first, same_steps=same
        )

    async def diff(self, a: Place, b: Place, *, namespace: Namespace | None = None) -> Difference:
        """Return what differs between two moments: words, drafts, verdicts, records, lessons, tools and cost.

        Each is a conversation (its last turn), a pair of a conversation and a place in it as `fork` takes it, or a
        `Moment` of `history`. Raises `NotFound`, and `HistoryPruned` where nothing is kept of one but its words.
        """
        return difference(await self._side(a, namespace), await self._side(b, namespace))

    async def _side(self, place: Place, namespace: Namespace | None) -> Side:
        at: At
        if isinstance(place, Moment):
            namespace, name, at = place.namespace, place.conversation, place.id
        else:
            name, at = place if isinstance(place, tuple) else (place, None)
        listed = await self._listed(name, namespace)
        found = await self._found(listed, at)
        number = found.moment.number if found.moment.next == "" else found.moment.number - 1
        said = [one for one in await self._conversations.journal.transcript(found.thread) if one.turn <= number]
        return Side(found.moment, found.state, said, await self._tools(found))

    async def _tools(self, found: Found) -> list[ToolRun]:
        """Return the tools that a turn has run until a moment, by the ledger where it has them."""
        most = int(found.state.get("calls", 0))
        calls = await self._conversations.ledger.calls(found.state.get("conversation", ""), found.moment.turn)
        if not calls:
            return list(tools_in(found.state.get("scratch", ())))
        done = [one for one in calls if one.kind == "tool" and one.state == "done" and one.ordinal <= most]
        return [ToolRun.of(one.name, one.body) for one in done]

    async def _listed(self, conversation: str, namespace: Namespace | None) -> Listed:
        return await self._conversations.archive.one(check_text(conversation, "conversation"), namespace)

    async def _spot(self, listed: Listed, at: At) -> tuple[TurnRow, str | None]:
        """Return the turn of a place, and the id of its checkpoint where it is one."""
        _check_at(at)
        spot = await self._conversations.journal.spot(listed.thread, conversation_of(listed.thread)[1], at)
        inside = spot.checkpoint is not None and at == spot.checkpoint.id and not spot.over
        return spot.turn, spot.checkpoint.id if inside and spot.checkpoint else None

    async def _found(self, listed: Listed, at: At) -> Found:
        """Return a place in a conversation with its saved state; raises `NotFound` and `HistoryPruned`."""
        row, id = await self._spot(listed, at)
        archive, journal = self._conversations.archive, self._conversations.journal
        last = await archive.last_snapshot(listed.thread, row)
        _, said = await journal.turns(listed.thread, row.number + 1, 1)
        moment = await self._moment(listed, row, last, said, None)
        snapshot = last
        if id is not None:
            snapshot = await archive.snapshot(listed.thread, id, row.turn)
            moment = _checkpoint(moment, snapshot) if snapshot is not None else moment
        if snapshot is None and not row.input:
            raise HistoryPruned(
                f"nothing is kept of turn {row.number} of conversation {moment.conversation!r} but its words; kept are "
                "the newest turns, those that were broken off, and those with a name (mars.name_turn)"
            )
        return Found(moment, dict(snapshot.values) if snapshot else {}, listed.thread)

    async def _moment(
        self, listed: Listed, row: TurnRow, last: StateSnapshot | None, said: Sequence[Utterance], parent: str | None
    ) -> Moment:
        """Return a turn as a moment."""
        half_done = listed.unfinished if listed.unfinished and listed.unfinished.turn == row.turn else None
        values = dict(last.values) if last is not None else dict(half_done.input) if half_done else {}
        usage = Usage(**values["usage"]) if values.get("usage") and not half_done else None
        if half_done:
            usage = (await self._conversations.ledger.spent(Scope("turn", row.turn))).usage
        asked_at, task = values.get("task", {}).get("asked_at"), values.get("task", {}).get("text")
        words = {one.source: one for one in said}
        told = words["user"].text if "user" in words else ""
        resting = "running" if listed.running else row.status or "interrupted"
        namespace, conversation = conversation_of(listed.thread)
        return Moment(
            id=row.turn,
            kind="turn",
            namespace=namespace,
            conversation=conversation,
            number=row.number,
            turn=row.turn,
            name=row.name,
            at=datetime.fromisoformat(asked_at) if asked_at else words["user"].said_at if "user" in words else None,
            task=task if task is not None else told,
            draft=str(values.get("draft", "")),
            answer=str(values.get("answer", "")) or (words["assistant"].text if "assistant" in words else ""),
            status=resting if half_done else row.status,
            decision=_decision(values),
            next=", ".join(last.next) if last is not None else "begin" if half_done else "",
            waiting=bool(half_done and not listed.running and row.status == "waiting"),
            usage=usage,
            parent=parent,
            kept=last is not None or half_done is not None,
        )

    async def _branch(
        self,
        listed: Listed,
        at: At,
        into: str | None,
        mark: Begin,
        *,
        begin: Begin | None = None,
        effects: Effects = "ask",
    ) -> tuple[str, str]:
        if into is not None:
            check_text(into, "into")
        _check_at(at)
        namespace, name = conversation_of(listed.thread)

        def targets(number: int) -> tuple[str, str] | None:
            chosen = f"{name}~{number}" if into is None else into
            return (thread_of(namespace, chosen), chosen) if into is None or number == 1 else None

        def check(values: Mapping[str, Any], nodes: Sequence[str]) -> None:
            toolbox = self.roster.loop_of(values.get("team", "")).toolbox
            changing = [one["tool"] for one in values.get("pending", ()) if not toolbox.read_only(one["tool"])]
            if "tools" in nodes and changing and effects == "ask":
                raise TurnUnfinished(
                    f"the turn is about to run {changing[0]}, which may change something, and a copy would run it a "
                    f"second time: resume conversation {name!r} first, or begin at an earlier place of "
                    f"mars.history({name!r}, checkpoints=True)"
                )

        return await self._conversations.journal.branch(
            Branch(source=listed.thread, named=name, at=at, targets=targets, begin=begin, mark=mark, check=check)
        )

    async def _rehearse(self, listed: Listed, of: Found) -> Replay:
        """Run a turn from its records."""
        journal, state = self._conversations.journal, of.state
        name, turn = state.get("conversation", of.moment.conversation), of.moment.turn
        calls = await self._conversations.ledger.calls(name, turn)
        usage = of.moment.usage
        if usage is not None and (usage.calls or usage.tool_calls) and not calls:
            raise HistoryPruned(
                f"the calls of turn {of.moment.number} of conversation {of.moment.conversation!r} are not kept: they "
                "go with the checkpoint of a turn without a name, 20 turns later; replay it with fresh calls"
            )
        copied = bool(state.get("replay", {}).get("of")) and not state.get("stop_reason")
        if copied and int(state.get("calls", 0)) and all(one.ordinal > 1 for one in calls):
            raise HistoryPruned(
                f"turn {of.moment.number} of conversation {of.moment.conversation!r} was taken up half done, and its "
                "first calls are on record with the turn that it was: replay that one, or this one with fresh calls"
            )
        loop, window = self.roster.loop_of(state.get("team", "")), self.roster.usual.window
        begun = _anew(state or (listed.unfinished.input if listed.unfinished else {}))
        begun |= {"conversation": name, "turn": turn}
        begun["replay"] = {"of": turn, "effects": "run", "remember": False, "until": begun["task"]["asked_at"]}
        if "leaving" in state:  # a Summariser was asked: its reply is one of the records
            left = [one for one in await journal.transcript(of.thread) if one.turn == of.moment.number - window - 1]
            begun["leaving"] = [{"speaker": one.speaker, "text": shown(one.text)} for one in left]
        asks = await self.roster.usual.people.desk.of(of.moment.namespace, name)
        mine, reason = [one for one in asks if one.turn == turn], str(state.get("stop_reason", ""))
        records = Records(calls=calls, asks=mine, stop_reason=reason)
        to_recall = of.moment.next in ("begin", "recall")
        values = await rehearsed(loop, {} if to_recall else state, begun, records)
        there, over = steps_of(state, recalled=not to_recall), bool(state.get("status"))
        same, first = first_difference(there, steps_of(values), whole=over, cut=records.missing)
        result: RunResult | None = read_result(values) if records.missing is None else None
        return Replay(
            of=of.moment, recorded=True, conversation=None, result=result, first_difference=first, same_steps=same
        )


def _check_at(at: At) -> None:
    """Raise `InvalidInput` for what names no place."""
    if isinstance(at, str):
        check_text(at, "at")
    elif at is not None and (type(at) is not int or at.bit_length() > 62):
        raise InvalidInput(f"at is the number of a turn, or the id or the name of a place as text; got {at!r}")


def _anew(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first state of a turn, given what is kept of it; its names are to be filled in."""
    current = {**values, **migrated(values)}
    names = ("task", "namespace", "team", "budget", "window", "summary")
    leaving = {"leaving": current["leaving"]} if current.get("leaving") else {}
    return {**BLANK, **{name: current[name] for name in names if name in current}, **leaving}


def _continued(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a half-done turn keeps to that goes on in a fork."""
    return {**values.get("replay", {}), "of": values["turn"], "effects": "ask"}


def _decision(values: Mapping[str, Any]) -> str:
    attempts = values.get("attempts") or ()
    return str(attempts[-1]["verdict"]["decision"]) if attempts else ""


def _checkpoint(turn: Moment, snapshot: StateSnapshot) -> Moment:
    """Return a checkpoint of a turn as a moment."""
    values, parent = snapshot.values, snapshot.parent_config
    return replace(
        turn,
        id=str(snapshot.config["configurable"]["checkpoint_id"]),
        kind="checkpoint",
        draft=str(values.get("draft", "")),
        answer=str(values.get("answer", "")),
        decision=_decision(values),
        next=", ".join(snapshot.next),
        waiting=bool(snapshot.interrupts),
        usage=Usage(**values["usage"]) if values.get("usage") else None,
        parent=str(parent["configurable"]["checkpoint_id"]) if parent else None,
        kept=True,
    )
