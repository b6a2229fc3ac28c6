"""What every reader of conversations yields: turns to store, and what was broken among them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from mars.errors import InvalidFile
from mars.memory.records import Namespace, NewRecord


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A part of a file that is no turn; the rest of the file is read all the same."""

    line: int
    """Its number, from 1: a line, or a message or turn where the format has no lines."""
    reason: str
    """What is wrong with it, in a sentence for the user."""

    def as_dict(self) -> dict[str, Any]:
        """Return the broken line as JSON values."""
        return {"line": self.line, "reason": self.reason}


class Read(Protocol):
    """A reader of one format."""

    def __call__(self, path: Path, namespace: Namespace, *, strict: bool) -> Iterator[NewRecord | BrokenLine]:
        """Yield the turns of a file in order; what is broken as `BrokenLine`, or raise `InvalidFile` if `strict`.

        Streams where the format allows it. Deterministic: the same file gives the same turns with the same
        idempotency keys, wherever it lies. Each turn carries its conversation, position, speaker and event time where
        the file says them, and `dates_said` as metadata. Raises `InvalidFile` for a file that is missing or that is
        not in this format at all.
        """
        ...


def broken(path: Path, line: int, reason: str, *, strict: bool) -> BrokenLine:
    """Return the broken line, or raise `InvalidFile` with its number if `strict`."""
    if strict:
        raise InvalidFile(f"{path}, {line}: {reason}; correct it, or leave out --strict to skip it")
    return BrokenLine(line, reason)


def numbered_lines(path: Path) -> Iterator[tuple[int, str | UnicodeDecodeError]]:
    """Yield the lines of a text file with their numbers, from 1; the error in place of a line that is not UTF-8.

    A byte order mark is dropped. Raises `InvalidFile` for a file that is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    yield number, error
    except OSError as error:
        raise InvalidFile(f"cannot read {path}: {error.strerror or error}; check the path") from error


def turn_key(conversation: str, position: int, *parts: str | None) -> str:
    """Return an idempotency key: the same turn of the same conversation always has the same one."""
    told = "\x1f".join([conversation, str(position), *(part or "" for part in parts)])
    return f"turn:{hashlib.blake2b(told.encode(errors='surrogatepass'), digest_size=16).hexdigest()}"


def read_time(value: object) -> datetime | None:
    """Return the time that a file gives, in UTC where it names no zone; None for None.

    Takes ISO 8601, or seconds since 1970. Raises `ValueError` with the reason for anything else.
    """
    if value is None:
        return None
    with suppress(ValueError, OverflowError, OSError):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, tz=UTC)
        if isinstance(value, str):
            found = datetime.fromisoformat(value.strip())
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    raise ValueError(f"{str(value)[:60]!r} is no time; write it like 2023-05-08T13:56:00+00:00")
