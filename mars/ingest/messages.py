"""Messages of langchain: what `messages_to_dict` or `dumpd` of langchain-core write, or role/content dictionaries.

The file holds a JSON list of messages, an object with such a list under ``messages``, or one message per line. System
messages and messages without text (bare tool calls) are passed over. A time is taken from the message's
``additional_kwargs`` or ``response_metadata`` (``timestamp``, ``time`` or ``created_at``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mars.errors import InvalidFile, InvalidInput
from mars.ingest.reading import BrokenLine, broken, numbered_lines, read_time, turn_key
from mars.language import dates_said
from mars.memory.records import Namespace, NewRecord, Source

_ROLES = {
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
    "system": "system",
    "developer": "system",
    "chat": "user",
}
_SOURCES = {"user": Source.USER, "assistant": Source.ASSISTANT, "tool": Source.TOOL}
_TIMES = ("timestamp", "time", "created_at")


def read(path: Path, namespace: Namespace, *, strict: bool) -> Iterator[NewRecord | BrokenLine]:
    """Yield the messages of a conversation; see `mars.ingest.reading.Read`. `line` counts messages from 1."""
    position = 0
    for number, message in _messages(path):
        try:
            if isinstance(message, ValueError):
                raise message
            turn = _turn(message, namespace, path.stem, position)
        except ValueError as error:
            yield broken(path, number, str(error), strict=strict)
            continue
        if turn is not None:
            yield turn
            position += 1


def _messages(path: Path) -> Iterator[tuple[int, object]]:
    whole = _whole(path)
    if whole is not None:
        yield from enumerate(whole, start=1)
        return
    for number, line in numbered_lines(path):
        if isinstance(line, UnicodeDecodeError):
            yield number, ValueError("not UTF-8")
        elif line.strip():
            try:
                yield number, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                yield number, ValueError(f"not JSON: {error}")


def _whole(path: Path) -> list[Any] | None:
    """Return the messages of a file that is one JSON document; None for JSON lines."""
    first = next((line for _, line in numbered_lines(path) if isinstance(line, UnicodeDecodeError) or line.strip()), "")
    start = "" if isinstance(first, UnicodeDecodeError) else first.lstrip()[:1]
    if start not in ("[", "{"):
        raise InvalidFile(f"{path} holds no JSON list of messages, nor a message per line: name another --format")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        if start == "[":
            raise InvalidFile(f"{path} is not JSON: {error}") from None
        return None
    if isinstance(found, dict):
        found = found.get("messages", [found])
    if not isinstance(found, list):
        raise InvalidFile(f"{path}: 'messages' is no list")
    return found


def _turn(message: object, namespace: Namespace, conversation: str, position: int) -> NewRecord | None:
    if not isinstance(message, dict):
        raise InvalidInput("not a message, but " + type(message).__name__)
    role, fields = _role_and_fields(message)
    text = _text(fields.get("content"))
    if role == "system" or not text.strip():
        return None
    moment = _time(fields)
    name = fields.get("name")
    speaker = name if isinstance(name, str) and name else role
    return NewRecord(
        text=text,
        namespace=namespace,
        conversation=conversation,
        position=position,
        speaker=speaker,
        event_time=moment,
        source=_SOURCES[role],
        idempotency_key=turn_key(conversation, position, speaker, text),
        metadata={"role": role, **dates_said(text, moment)},
    )


def _role_and_fields(message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the role and the fields of a message in any of the three spellings."""
    fields: Any = message
    kind = message.get("role") or message.get("type")
    if isinstance(message.get("data"), dict):
        fields = message["data"]
    elif isinstance(message.get("kwargs"), dict) and isinstance(message.get("id"), list) and message["id"]:
        fields = message["kwargs"]
        kind = str(message["id"][-1]).removesuffix("Chunk").removesuffix("Message")
    if kind == "chat" and isinstance(fields.get("role"), str):
        kind = fields["role"]
    role = _ROLES.get(str(kind).lower())
    if role is None:
        raise InvalidInput(f"no role that is known: {str(kind)[:40]!r}; known are {', '.join(sorted(_ROLES))}")
    return role, fields


def _text(content: object) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InvalidInput("content is neither text nor a list of blocks")
    blocks = (block.get("text") if isinstance(block, dict) else block for block in content)
    return "\n".join(block for block in blocks if isinstance(block, str))


def _time(fields: dict[str, Any]) -> Any:
    places = (fields, fields.get("additional_kwargs"), fields.get("response_metadata"))
    found = (place.get(name) for place in places if isinstance(place, dict) for name in _TIMES)
    return read_time(next((value for value in found if value is not None), None))
