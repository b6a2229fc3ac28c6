"""What stays of a turn: strengthened records, what the user told, the turn itself, its lessons."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mars.agents.interfaces import Task
from mars.agents.reflections import Reflection
from mars.language import dates_said, tells
from mars.memory.interfaces import Grade, Kind, Namespace, NewRecord, Provenance, Source

if TYPE_CHECKING:
    from mars.memory.engine import Memory

TURNS = "turns"
"""Last label of the namespace that keeps the turns of a user's conversations, apart from what answers questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A finished turn."""

    id: str
    """Id of the turn; a record is graded once in it."""
    task: Task
    """What was asked."""
    namespace: Namespace
    """Where memories are read and written."""
    conversation: str
    """The conversation it belongs to."""
    answer: str
    """What the user got, without citations."""
    approved: bool
    """Whether the Checker approved it."""
    status: str
    """How the turn ended."""
    used: tuple[str, ...]
    """Ids of the records that the answer cites."""
    blamed: tuple[str, ...]
    """Ids of the records that caused rejected drafts."""
    reflections: tuple[Reflection, ...]
    """Lessons of the turn, oldest first."""


async def recent_turns(
    memory: Memory | None, namespace: Namespace, conversation: str, count: int
) -> list[dict[str, Any]]:
    """Return the newest turns of a conversation, oldest first, as speaker and text; two entries a turn."""
    if memory is None or count < 1:
        return []
    where = (*namespace, TURNS)
    rows = await memory.list(where, conversation=conversation, newest_first=True, limit=2 * count)
    return [{"speaker": row.speaker, "text": row.text} for row in reversed(rows)]


async def consolidate_turn(memory: Memory, turn: Turn, *, remember: bool) -> dict[str, int]:
    """Write what stays of a turn and return how many changes of each sort were made.

    Only records that an approved answer cites are strengthened, and those blamed are weakened, once per turn. What the
    user told becomes an episode; a question and its answer are kept as a turn, apart, so that an answer never becomes
    evidence for itself.
    """
    now = turn.task.asked_at
    blamed = [record for record in turn.blamed if not (turn.approved and record in turn.used)]
    if turn.approved and turn.used:
        await memory.used(turn.used, Grade.GOOD, turn=turn.id, now=now)
    if blamed:
        await memory.used(blamed, Grade.AGAIN, turn=turn.id, now=now)
    records = _lessons(turn)
    if remember:
        records += _episode(turn) + _transcript(turn)
    if records:
        await memory.add_many(records, now=now)
    return {
        "strengthened": len(turn.used) if turn.approved else 0,
        "weakened": len(blamed),
        "lessons": len(turn.reflections),
        "remembered": int(remember and tells(turn.task.text)),
    }


def _episode(turn: Turn) -> list[NewRecord]:
    if not tells(turn.task.text):
        return []
    return [
        NewRecord(
            text=turn.task.text,
            namespace=turn.namespace,
            conversation=turn.conversation,
            speaker=turn.task.user,
            event_time=turn.task.asked_at,
            provenance=Provenance(task=turn.task.id, role="user"),
            idempotency_key=f"{turn.id}/told",
            metadata=dates_said(turn.task.text, turn.task.asked_at),
        )
    ]


def _transcript(turn: Turn) -> list[NewRecord]:
    spoken: Sequence[tuple[str, str, Source]] = (
        (turn.task.user, turn.task.text, Source.USER),
        ("assistant", turn.answer, Source.ASSISTANT),
    )
    return [
        NewRecord(
            text=text,
            namespace=(*turn.namespace, TURNS),
            conversation=turn.conversation,
            speaker=speaker,
            event_time=turn.task.asked_at,
            source=source,
            provenance=Provenance(task=turn.task.id, role=source.value),
            idempotency_key=f"{turn.id}/{source.value}",
            metadata={"turn": turn.id, "status": turn.status, "approved": turn.approved},
        )
        for speaker, text, source in spoken
        if text.strip()
    ]


def _lessons(turn: Turn) -> list[NewRecord]:
    return [
        NewRecord(
            text=f"{turn.task.text}\n{reflection.text}",
            namespace=turn.namespace,
            kind=Kind.REFLECTION,
            speaker="reflector",
            event_time=turn.task.asked_at,
            source=Source.ASSISTANT,
            provenance=Provenance(task=turn.task.id, iteration=place, role="reflector", sources=reflection.plan.avoid),
            idempotency_key=hashlib.blake2b(
                f"{turn.task.text}\0{reflection.text}".encode(), digest_size=16
            ).hexdigest(),
            metadata={
                "reflection": reflection.plain(),
                "task": turn.task.text,
                "outcome": {"status": turn.status, "approved": turn.approved},
            },
        )
        for place, reflection in enumerate(turn.reflections, 1)
    ]
