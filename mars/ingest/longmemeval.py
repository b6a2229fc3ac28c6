"""LongMemEval's questions, each with months of chat between a user and an assistant (Wu et al. 2024, arXiv:2410.10813).

* A file is a JSON list; each question brings its own sessions (``haystack_sessions``), so each has its own namespace,
  ``(*namespace, question_id)``.
* Turns are ids ``SESSION:3``, counted from 1; those that hold the answer are marked ``has_answer`` in the file.
* "2023/05/20 (Sat) 02:21" is read as UTC; all turns of a session have its time.
* A question whose id ends in ``_abs`` has no answer: the right reply is that it is not known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from mars.errors import InvalidFile, InvalidInput
from mars.ingest.reading import BrokenLine, broken, turn_key
from mars.language import dates_said
from mars.memory.records import Namespace, NewRecord, Source

ABSTENTION = "abstention"
"""Category of the questions that have no answer."""
_MOMENT = re.compile(r"\s*(\d{4})/(\d{1,2})/(\d{1,2})\s*(?:\([A-Za-z]+\))?\s*(\d{1,2}):(\d{2})\s*")
_SOURCES = {"user": Source.USER, "assistant": Source.ASSISTANT}


@dataclass(frozen=True, slots=True)
class LongMemEvalQuestion:
    """One question with the chat that it is about."""

    id: str
    """The file's own id."""
    text: str
    """As it is asked."""
    category: str
    """The file's question type, ``multi-session`` or so; ``abstention`` where there is no answer."""
    asked_at: datetime | None
    """When it is asked."""
    answer: str | None
    """The right answer; None where there is none."""
    turns: tuple[NewRecord, ...]
    """The turns of all sessions, in order of time; `metadata` hold ``turn_id`` and ``session``."""
    evidence: tuple[str, ...]
    """The ``turn_id`` of each turn that holds the answer; empty where the file marks none."""
    sessions: tuple[str, ...]
    """The ids of the sessions that hold it."""


def read(path: Path, namespace: Namespace, *, strict: bool) -> Iterator[NewRecord | BrokenLine]:
    """Yield the turns of all questions; see `mars.ingest.reading.Read`. The line of a broken turn is its number."""
    numbers = count(1)
    for item in _items(path):
        yield from _turns(path, item, namespace, numbers, strict=strict)


def questions(path: str | Path, namespace: Namespace = ("longmemeval",)) -> Iterator[LongMemEvalQuestion]:
    """Yield the questions of a file; broken turns are left out.

    Raises `InvalidFile` for a file that is missing, empty or not in this format.
    """
    items = _items(Path(path))
    if not items:
        raise InvalidFile(f"{path} is an empty list: LongMemEval's files hold questions; check the path")
    for item in items:
        made = _turns(Path(path), item, namespace, count(1), strict=False)
        turns = tuple(turn for turn in made if isinstance(turn, NewRecord))
        known = {turn.metadata["session"] for turn in turns}
        named = item.get("answer_session_ids")
        absent = str(item["question_id"]).endswith("_abs")
        answer = item.get("answer")
        yield LongMemEvalQuestion(
            id=str(item["question_id"]),
            text=str(item["question"]),
            category=ABSTENTION if absent else str(item.get("question_type") or "unknown"),
            asked_at=session_time(item.get("question_date")),
            answer=None if absent or answer is None else str(answer),
            turns=turns,
            evidence=tuple(str(turn.metadata["turn_id"]) for turn in turns if turn.metadata.get("has_answer")),
            sessions=tuple(one for one in map(str, named if isinstance(named, list) else ()) if one in known),
        )


def _items(path: Path) -> list[dict[str, Any]]:
    try:
        items = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidFile(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{path} is not JSON: {error}; LongMemEval files are JSON lists of questions") from error
    needed = {"question_id": str, "question": str, "haystack_sessions": list}
    if not isinstance(items, list) or not all(
        isinstance(item, dict) and all(isinstance(item.get(name), sort) for name, sort in needed.items())
        for item in items
    ):
        raise InvalidFile(
            f"{path} is no LongMemEval file: it must be a JSON list of objects with {', '.join(needed)}, such as "
            "longmemeval_s.json"
        )
    return items


def _turns(
    path: Path, item: Mapping[str, Any], namespace: Namespace, numbers: Iterator[int], *, strict: bool
) -> Iterator[NewRecord | BrokenLine]:
    question = str(item["question_id"])
    ids, dates = (_list(item.get(name)) for name in ("haystack_session_ids", "haystack_dates"))
    sessions = []
    for place, session in enumerate(item["haystack_sessions"]):
        said = session_time(dates[place]) if place < len(dates) else None
        name = str(ids[place]) if place < len(ids) else f"session-{place + 1}"
        sessions.append((said, place, name, session if isinstance(session, list) else []))
    for said, _, name, turns in sorted(sessions, key=lambda one: (one[0] or datetime.min.replace(tzinfo=UTC), one[1])):
        for position, turn in enumerate(turns):
            number = next(numbers)
            try:
                if said is None:
                    raise InvalidInput("its session has no time like '2023/05/20 (Sat) 02:21' in haystack_dates")
                yield _turn(turn, (*namespace, question), name, position, said)
            except InvalidInput as error:
                yield broken(path, number, f"{question}, {name}, turn {position + 1}: {error}", strict=strict)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _turn(turn: object, namespace: Namespace, session: str, position: int, said: datetime) -> NewRecord:
    if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
        raise InvalidInput("a turn must be an object with a content")
    if turn.get("role") not in _SOURCES:
        raise InvalidInput(f"a turn's role is user or assistant; got {turn.get('role')!r}")
    name = f"{session}:{position + 1}"
    conversation = f"{namespace[-1]}/{session}"
    return NewRecord(
        text=turn["content"],
        namespace=namespace,
        conversation=conversation,
        position=position,
        speaker=turn["role"],
        event_time=said,
        source=_SOURCES[turn["role"]],
        idempotency_key=turn_key(conversation, 0, "id", name),
        metadata={
            "turn_id": name,
            "session": session,
            **({"has_answer": True} if turn.get("has_answer") else {}),
            **dates_said(turn["content"], said),
        },
    )


def session_time(value: object) -> datetime | None:
    """Return the time of a session, "2023/05/20 (Sat) 02:21", in UTC; None for what is no such time."""
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    try:
        return datetime(*map(int, found.groups()), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
