"""JSON lines: one turn per line, an object with at least a ``text``.

| field | meaning |
|---|---|
| ``text`` (or ``content``) | what was said; verbatim |
| ``speaker`` (or ``role``, ``name``) | who said it |
| ``time`` (or ``timestamp``, ``event_time``) | ISO 8601 or seconds since 1970; UTC where no zone is named |
| ``conversation`` (or ``session``, ``thread``) | the conversation; the file's name without suffix by default |
| ``position`` | place in the conversation, from 0; counted if absent |
| ``id`` | the turn's own id: the same id in the same conversation is the same turn, whatever its text |
| ``kind``, ``key``, ``importance``, ``pinned``, ``subject``, ``relation``, ``value``, ``source`` | as in `NewRecord` |
| ``metadata`` | an object; fields that are not named here join it |
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mars.errors import InvalidInput
from mars.ingest.reading import BrokenLine, broken, numbered_lines, read_time, turn_key
from mars.language import dates_said
from mars.memory.records import Kind, Namespace, NewRecord, Source

_ALIASES = {
    "text": ("text", "content"),
    "speaker": ("speaker", "role", "name"),
    "time": ("time", "timestamp", "event_time"),
    "conversation": ("conversation", "session", "thread"),
}
_OWN = ("key", "importance", "pinned", "subject", "relation", "value")


def read(path: Path, namespace: Namespace, *, strict: bool) -> Iterator[NewRecord | BrokenLine]:
    """Yield the turns of a JSON lines file; see `mars.ingest.reading.Read`. Blank lines are passed over."""
    positions: Counter[str] = Counter()
    for number, line in numbered_lines(path):
        try:
            if isinstance(line, UnicodeDecodeError):
                raise ValueError("not UTF-8")
            if not line.strip():
                continue
            yield _turn(json.loads(line), namespace, path.stem, positions)
        except (ValueError, RecursionError) as error:
            yield broken(path, number, _reason(error), strict=strict)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    return str(error) or type(error).__name__


def _turn(found: object, namespace: Namespace, stem: str, positions: Counter[str]) -> NewRecord:
    if not isinstance(found, dict):
        raise InvalidInput("not an object with a text, but " + type(found).__name__)
    fields: dict[str, Any] = dict(found)
    named = {name: _take(fields, aliases) for name, aliases in _ALIASES.items()}
    text, conversation = named["text"], _string(named["conversation"]) or stem
    moment = read_time(named["time"])
    position = fields.pop("position", None)
    if position is None:
        position = positions[conversation]
    if not isinstance(position, int) or isinstance(position, bool):
        raise InvalidInput(f"position must be a whole number; got {position!r}")
    own = {name: fields.pop(name) for name in _OWN if name in fields}
    identity, metadata = fields.pop("id", None), fields.pop("metadata", None) or {}
    if not isinstance(metadata, dict):
        raise InvalidInput("metadata must be an object")
    if not isinstance(own.get("pinned", False), bool):
        raise InvalidInput("pinned must be true or false")
    kind, source = Kind(fields.pop("kind", Kind.EPISODE)), Source(fields.pop("source", Source.USER))
    speaker = _string(named["speaker"])
    turn = NewRecord(
        text=text,
        namespace=namespace,
        kind=kind,
        conversation=conversation,
        position=position,
        speaker=speaker,
        event_time=moment,
        source=source,
        idempotency_key=_key(conversation, position, identity, speaker, text),
        metadata={**fields, **metadata, **dates_said(text if isinstance(text, str) else "", moment)},
        **own,
    )
    positions[conversation] = position + 1
    return turn


def _key(conversation: str, position: int, identity: object, speaker: str | None, text: object) -> str:
    if identity is not None:
        return turn_key(conversation, 0, "id", str(identity))
    return turn_key(conversation, position, speaker, str(text))


def _take(fields: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Take the first of some fields that is there."""
    for name in names:
        if name in fields:
            return fields.pop(name)
    return None


def _string(value: object) -> str | None:
    return None if value is None else str(value)
