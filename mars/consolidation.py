"""What stays of a turn: strengthened records, what the user told, the turn itself, its lessons."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mars.agents.evidence.reading import asked_about
from mars.agents.interfaces import Evidence, Task
from mars.agents.memory_review import review_memory
from mars.agents.reflections import Reflection
from mars.agents.rendering import shown
from mars.agents.verdicts import Decision, IssueKind
from mars.errors import NotFound, StoreReadOnly
from mars.language import dates_said, tells, words
from mars.memory.interfaces import Grade, Kind, Namespace, NewRecord, Provenance, Source, Status

if TYPE_CHECKING:
    from mars.memory.engine import Memory

TURNS = "turns"
"""Last label of the namespace that keeps the turns of a user's conversations, apart from what answers questions."""

REVIEWED_AT_ONCE = 8
"""How many quarantined records are reviewed at the end of a turn, the newest first."""

_SUPPORTING = frozenset({Kind.EPISODE, Kind.FACT})


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
    answers: tuple[tuple[str, str], ...] = ()
    """What the user was asked by the Assistant, and answered."""


async def recent_turns(
    memory: Memory | None, namespace: Namespace, conversation: str, count: int, now: datetime
) -> list[dict[str, Any]]:
    """Return the newest turns of a conversation that are short-term at `now`, oldest first; two entries a turn."""
    if memory is None or count < 1:
        return []
    rows = await memory.window((*namespace, TURNS), conversation, k=2 * count, now=now)
    return [{"speaker": row.speaker, "text": shown(row.text)} for row in rows]


async def earlier_lessons(
    memory: Memory, task: Task, namespace: Namespace, k: int, floor: float, until: datetime | None = None
) -> list[Reflection]:
    """Return the lessons of earlier turns that are at least `floor` relevant to a task, the best last.

    With `until`, lessons that were drawn since are left out.
    """
    kinds = frozenset({Kind.REFLECTION})
    hits = await memory.recall(
        task.text, namespace=namespace, k=k, now=task.asked_at, kinds=kinds, floor=floor, until=until, whole=True
    )
    found = [hit.record.metadata.get("reflection") for hit in reversed(hits)]
    lessons = [Reflection.from_plain(values) for values in found if isinstance(values, Mapping)]
    # What was not known then may be known now, so an old lesson never says to abstain.
    return [replace(lesson, plan=replace(lesson.plan, abstain=False)) for lesson in lessons]


def fitted(lesson: Reflection, task: Task, evidence: Sequence[Evidence]) -> Reflection:
    """Return an earlier lesson as far as it concerns this task.

    Whom to prefer counts only where that person is asked about; since when, only where the same is asked again or what
    the lesson was about is recalled.
    """
    plan, there = lesson.plan, {item.record for item in evidence}
    again = lesson.task is not None and words(lesson.task) == words(task.text)
    concerned = again or not plan.avoid or bool(there.intersection(plan.avoid))
    return replace(
        lesson,
        plan=replace(
            plan,
            speaker=plan.speaker if plan.speaker in asked_about(task, evidence) else None,
            not_before=plan.not_before if concerned else None,
        ),
    )


async def consolidate_turn(memory: Memory, turn: Turn, *, remember: bool, turns: bool = True) -> dict[str, int]:
    """Write what stays of a turn and return how many changes of each sort were made.

    Only records that an approved answer cites are strengthened, and those blamed are weakened, once per turn. What the
    user told becomes an episode; a question and its answer are kept as a turn, apart, so that an answer never becomes
    evidence for itself; without `turns` a transcript has it, and memory does not. A read-only memory keeps nothing,
    which is an error only where the turn was to be remembered.
    """
    try:
        return await _written(memory, turn, remember=remember, turns=turns)
    except StoreReadOnly:
        if remember:
            raise
        return dict.fromkeys(("strengthened", "weakened", "lessons", "remembered", "released", "refused"), 0)


async def _written(memory: Memory, turn: Turn, *, remember: bool, turns: bool) -> dict[str, int]:
    now = turn.task.asked_at
    blamed = [record for record in turn.blamed if not (turn.approved and record in turn.used)]
    used = await _graded(memory, turn.used if turn.approved else (), Grade.GOOD, turn)
    weakened = await _graded(memory, blamed, Grade.AGAIN, turn)
    records = _lessons(turn)
    if remember:
        records += _episode(turn) + _answers(turn) + (_transcript(turn) if turns else [])
    if records:
        await memory.add_many(records, now=now)
    reviewed = await review_quarantined(memory, turn.namespace, now)
    return {
        "strengthened": used,
        "weakened": weakened,
        "lessons": len(turn.reflections),
        "remembered": int(remember and tells(turn.task.text)) + (len(turn.answers) if remember else 0),
        **reviewed,
    }


async def review_quarantined(memory: Memory, namespace: Namespace, now: datetime) -> dict[str, int]:
    """Review the newest quarantined records of a namespace by rules; return how many were released and refused.

    See `mars.agents.memory_review`: what is neither supported nor suspicious stays in quarantine, for a person.
    """
    batch = await memory.list(
        namespace, statuses=(Status.QUARANTINED,), newest_first=True, limit=REVIEWED_AT_ONCE, now=now
    )
    support = {
        record.id: [
            hit.record for hit in await memory.recall(record.text, namespace=namespace, k=3, now=now, kinds=_SUPPORTING)
        ]
        for record in batch
    }
    decided = review_memory(list(batch), support)
    passed = [one for one, decision in decided.items() if decision is Decision.APPROVED]
    refused = [one for one, decision in decided.items() if decision is Decision.REJECTED]
    try:
        if passed:
            await memory.review(passed, True, now=now)
        if refused:
            await memory.review(refused, False, now=now)
    except NotFound:  # deleted meanwhile: the rest is reviewed with the next turn
        return {"released": 0, "refused": 0}
    return {"released": len(passed), "refused": len(refused)}


async def _graded(memory: Memory, ids: Sequence[str], grade: Grade, turn: Turn) -> int:
    """Grade the records that are still there, and return how many; what was deleted meanwhile stops no answer."""
    if not ids:
        return 0
    try:
        return len(await memory.used(ids, grade, turn=turn.id, now=turn.task.asked_at))
    except NotFound:
        there = [one for one in ids if await memory.get(one, now=turn.task.asked_at) is not None]
        return await _graded(memory, there, grade, turn)


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


def _answers(turn: Turn) -> list[NewRecord]:
    """Return what the user answered, in the user's words; after the question where they say nothing by themselves."""
    return [
        NewRecord(
            text=text if tells(text) else f"{question}\n{text}",
            namespace=turn.namespace,
            conversation=turn.conversation,
            speaker=turn.task.user,
            event_time=turn.task.asked_at,
            provenance=Provenance(task=turn.task.id, role="user"),
            idempotency_key=f"{turn.id}/answered/{place}",
            metadata={"question": question} | dates_said(text, turn.task.asked_at),
        )
        for place, (question, text) in enumerate(turn.answers, 1)
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
            draw_facts=False,  # the episode gives them, in the user's own namespace
            metadata={"turn": turn.id, "status": turn.status, "approved": turn.approved},
        )
        for speaker, text, source in spoken
        if text.strip()
    ]


def _lessons(turn: Turn) -> list[NewRecord]:
    """Return the lessons to keep: that a draft cited nothing, as the rules say it, teaches nothing for another one."""
    return [
        NewRecord(
            text=f"{turn.task.text}\n{reflection.text}",
            namespace=turn.namespace,
            kind=Kind.REFLECTION,
            speaker="reflector",
            event_time=turn.task.asked_at,
            source=Source.TOOL if reflection.from_tools else Source.ASSISTANT,
            provenance=Provenance(
                task=turn.task.id,
                iteration=place,
                role="reflector",
                sources=tuple(dict.fromkeys((*reflection.plan.avoid, *reflection.records))),
            ),
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
        if set(reflection.causes) != {IssueKind.NO_CITATION.value} or reflection.origin != "rules"
    ]
