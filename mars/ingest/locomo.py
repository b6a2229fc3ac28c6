"""LoCoMo (Maharana et al. 2024): months of dated sessions between two people, with questions about them.

The file is a JSON list of samples; each has a `conversation` with `session_1`, `session_1_date_time`, … and `qa`.

* Each session is a conversation of its own, ``conv-26/session_1``: turns of different days are no neighbours.
* A turn's text stays verbatim; the caption of an image that it shares follows on a line of its own, as data:
  ``[image: a photo of a dog]``. Metadata hold ``dia_id``, ``sample``, ``session``, ``caption`` and resolved ``dates``.
* "1:56 pm on 8 May, 2023" is read as UTC; all turns of a session have its time.
* Evidence ids are read leniently: ``D8:6; D9:17`` is two, ``D:11:26`` is ``D11:26``; what names no turn is left out.
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
from mars.language.dates import MONTHS
from mars.memory.records import Namespace, NewRecord

CATEGORIES = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}
"""LoCoMo's numbers of question categories, and what they are called here."""

_SESSION = re.compile(r"session_(\d+)")
_EVIDENCE = re.compile(r"D:?(\d+):(\d+)")
_MOMENT = re.compile(r"\s*(\d{1,2}):(\d{2})\s*([ap])\.?m\.?\s+on\s+(\d{1,2})\s+([a-z]+),?\s+(\d{4})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LocomoQuestion:
    """A question of a sample."""

    text: str
    """As it is asked."""
    category: str
    """multi_hop, temporal, open_domain, single_hop or adversarial."""
    answer: str | None
    """The right answer; None where there is none (adversarial)."""
    evidence: tuple[str, ...]
    """The `dia_id` of each turn that holds it, of those that exist; empty where the file names none."""


@dataclass(frozen=True, slots=True)
class LocomoConversation:
    """One sample of the file."""

    id: str
    """The file's own id, ``conv-26``."""
    turns: tuple[NewRecord, ...]
    """Its turns in order, through all sessions."""
    questions: tuple[LocomoQuestion, ...]
    """Its questions, in the file's order."""


def read(path: Path, namespace: Namespace, *, strict: bool) -> Iterator[NewRecord | BrokenLine]:
    """Yield the turns of all samples; see `mars.ingest.reading.Read`. The line of a broken turn is its number."""
    numbers = count(1)
    for sample in _samples(path):
        yield from _turns(path, sample, namespace, numbers, strict=strict)


def conversations(path: str | Path, namespace: Namespace = ("locomo",)) -> list[LocomoConversation]:
    """Return the samples of a file, the turns of each in the namespace ``(*namespace, id)``.

    Broken turns and questions are left out. Raises `InvalidFile` for a file that is missing, empty or no LoCoMo file.
    """
    found = []
    for number, sample in enumerate(_samples(Path(path)), start=1):
        name = _name(sample, number)
        made = _turns(Path(path), sample, (*namespace, name), count(1), strict=False)
        turns = tuple(turn for turn in made if isinstance(turn, NewRecord))
        known = frozenset(str(turn.metadata["dia_id"]) for turn in turns)
        asked = sample.get("qa")
        questions = (_question(one, known) for one in (asked if isinstance(asked, list) else []))
        found.append(LocomoConversation(name, turns, tuple(one for one in questions if one is not None)))
    if not found:
        raise InvalidFile(f"{path} is an empty list: there is no sample to ask about; check the path")
    return found


def _samples(path: Path) -> list[dict[str, Any]]:
    try:
        samples = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidFile(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{path} is not JSON: {error}; LoCoMo files are JSON lists of samples") from error
    if isinstance(samples, dict):
        samples = [samples]
    if not isinstance(samples, list) or not all(
        isinstance(sample, dict) and isinstance(sample.get("conversation"), dict) for sample in samples
    ):
        raise InvalidFile(f"{path} is no LoCoMo file: it must be a JSON list of objects with a 'conversation'")
    return samples


def _name(sample: Mapping[str, Any], number: int) -> str:
    return str(sample.get("sample_id") or f"sample-{number}")


def _turns(
    path: Path, sample: Mapping[str, Any], namespace: Namespace, numbers: Iterator[int], *, strict: bool
) -> Iterator[NewRecord | BrokenLine]:
    talk: Mapping[str, Any] = sample["conversation"]
    name = _name(sample, 1)
    for session in sorted(filter(_SESSION.fullmatch, talk), key=lambda key: int(key.partition("_")[2])):
        said = talk_time(talk.get(f"{session}_date_time"))
        turns = talk[session]
        for position, turn in enumerate(turns if isinstance(turns, list) else []):
            number = next(numbers)
            try:
                if said is None:
                    raise InvalidInput(f"{session}_date_time is no time like '1:56 pm on 8 May, 2023'")
                yield _turn(turn, namespace, name, session, position, said)
            except InvalidInput as error:
                yield broken(path, number, f"{name}, {session}, turn {position + 1}: {error}", strict=strict)


def _turn(turn: object, namespace: Namespace, sample: str, session: str, position: int, said: datetime) -> NewRecord:
    if not isinstance(turn, dict):
        raise InvalidInput("a turn must be an object with a text")
    text, caption = str(turn.get("text") or ""), str(turn.get("blip_caption") or "").strip()
    name = str(turn.get("dia_id") or f"D{session.partition('_')[2]}:{position + 1}")
    conversation = f"{sample}/{session}"
    return NewRecord(
        text="\n".join(filter(None, (text, f"[image: {caption}]" if caption else ""))),
        namespace=namespace,
        conversation=conversation,
        position=position,
        speaker=str(turn["speaker"]) if turn.get("speaker") else None,
        event_time=said,
        idempotency_key=turn_key(conversation, 0, "id", name),
        metadata={
            "dia_id": name,
            "sample": sample,
            "session": session,
            **({"caption": caption} if caption else {}),
            **dates_said(text, said),
        },
    )


def talk_time(value: object) -> datetime | None:
    """Return the time of a session, "1:56 pm on 8 May, 2023", in UTC; None for what is no such time."""
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[5].lower() not in MONTHS:
        return None
    hour = int(found[1]) % 12 + (12 if found[3].lower() == "p" else 0)
    month = MONTHS.index(found[5].lower()) + 1
    try:
        return datetime(int(found[6]), month, int(found[4]), hour, int(found[2]), tzinfo=UTC)
    except ValueError:
        return None


def _question(found: object, known: frozenset[str]) -> LocomoQuestion | None:
    if not isinstance(found, dict) or not isinstance(found.get("question"), str) or not found["question"].strip():
        return None
    category = CATEGORIES.get(found.get("category", 0))
    if category is None:
        return None
    answer = found.get("answer")
    return LocomoQuestion(
        text=found["question"],
        category=category,
        answer=None if answer is None or category == "adversarial" else str(answer),
        evidence=evidence_ids(found.get("evidence"), known),
    )


def evidence_ids(values: object, known: frozenset[str]) -> tuple[str, ...]:
    """Return the turn ids that a question's evidence names, each once, of those that are known."""
    texts = [values] if isinstance(values, str) else values if isinstance(values, list) else []
    named = (f"D{int(a)}:{int(b)}" for text in texts for a, b in _EVIDENCE.findall(str(text)))
    return tuple(dict.fromkeys(one for one in named if one in known))
