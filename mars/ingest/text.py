"""Plain text: a transcript, or prose.

A transcript has lines such as ``Ann: I moved to Bern.``, each with a time before it if there is one:
``[2023-05-08 13:56] Ann: …``. A line that is nothing but a date or time in brackets, after ``#`` or alone
(``# 2023-05-08``), holds for the turns after it. Lines without a speaker continue the turn before them; a blank line
ends it. A file in which no line has a speaker is prose: each paragraph is a turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mars.errors import InvalidInput
from mars.ingest.reading import BrokenLine, broken, numbered_lines, read_time, turn_key
from mars.language import dates_said
from mars.memory.records import Namespace, NewRecord

_STAMP = r"\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
_HEADING = re.compile(rf"\s*(?:#+\s*|\[\s*)?(?P<time>{_STAMP})\s*\]?\s*$")
_TURN = re.compile(rf"(?:\[\s*(?P<time>{_STAMP})\s*\]\s*)?(?P<speaker>[^\W\d_][\w .'-]{{0,39}}?):\s+(?P<text>\S.*)$")
_TIMED = re.compile(rf"\[\s*(?P<time>{_STAMP})\s*\]\s*(?P<text>\S.*)$")


@dataclass(slots=True)
class _Turn:
    """A turn that further lines may still join."""

    line: int
    speaker: str | None
    time: datetime | None
    lines: list[str] = field(default_factory=list)


def read(path: Path, namespace: Namespace, *, strict: bool) -> Iterator[NewRecord | BrokenLine]:
    """Yield the turns of a transcript, or the paragraphs of prose; see `mars.ingest.reading.Read`."""
    speakers = any(isinstance(line, str) and _TURN.match(line) for _, line in numbered_lines(path))
    position = 0
    for found in _turns(path, speakers):
        if isinstance(found, BrokenLine):
            yield broken(path, found.line, found.reason, strict=strict)
            continue
        text = "\n".join(found.lines)
        try:
            yield NewRecord(
                text=text,
                namespace=namespace,
                conversation=path.stem,
                position=position,
                speaker=found.speaker,
                event_time=found.time,
                idempotency_key=turn_key(path.stem, position, found.speaker, text),
                metadata=dates_said(text, found.time),
            )
            position += 1
        except InvalidInput as error:
            yield broken(path, found.line, str(error), strict=strict)


def _turns(path: Path, speakers: bool) -> Iterator[_Turn | BrokenLine]:
    current: _Turn | None = None
    now: datetime | None = None
    for number, line in numbered_lines(path):
        if isinstance(line, UnicodeDecodeError):
            yield BrokenLine(number, "not UTF-8")
            continue
        text = line.strip()
        heading = _HEADING.match(text)
        started = (_TURN.match(text) if speakers else None) or _TIMED.match(text)
        if (not text or heading or started) and current is not None:
            yield current
            current = None
        if not text:
            continue
        try:
            stamp = (heading or started) and (heading or started)["time"]  # type: ignore[index]
            now = read_time(stamp) if stamp else now
        except ValueError as error:
            yield BrokenLine(number, str(error))
            continue
        if started:
            current = _Turn(number, started.groupdict().get("speaker"), now, [started["text"]])
        elif not heading:
            current = current or _Turn(number, None, now)
            current.lines.append(text)
    if current is not None:
        yield current
