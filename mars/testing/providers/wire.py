"""What every provider's format has in common: what was asked, what is said, and what goes wrong."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mars.errors import InvalidSetting
from mars.testing.scripted import Step


class FaultKind(StrEnum):
    """What a server does instead of answering."""

    STATUS = "status"
    """An HTTP status with an error in the provider's own form."""
    SILENT = "silent"
    """Takes the request and never answers."""
    DROPPED = "dropped"
    """Ends the connection before a byte of the answer."""
    STALLED = "stalled"
    """Begins to answer and never goes on."""
    TRUNCATED = "truncated"
    """Begins to answer and ends the connection, so that the client can tell."""
    CUT_SHORT = "cut_short"
    """Ends the answer in good order before it is whole, as a proxy may; only its missing end tells. A reply that is
    not streamed is one piece, and is truncated instead."""
    MALFORMED = "malformed"
    """Answers with JSON that is none."""
    NOT_JSON = "not_json"
    """Answers with status 200 and a page for people."""
    EMPTY = "empty"
    """Answers with status 200 and nothing."""
    ERROR_IN_STREAM = "error_in_stream"
    """Begins to answer and then reports an error in the stream, in the provider's own form; status 500 if none is
    streamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong."""

    kind: FaultKind
    """What."""
    status: int = 500
    """HTTP status, for `FaultKind.STATUS`."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers beside the usual ones, such as retry-after."""
    message: str = "as the plan says"
    """Words of the error, where one is reported."""
    text: str = "in Rome, as far as I"
    """What the answer begins with where it breaks off."""

    def __post_init__(self) -> None:
        if not 400 <= self.status < 600:
            raise InvalidSetting(f"the status of a fault must be from 400 to 599; got {self.status}")
        if len(self.text.split(" ")) < 3:
            raise InvalidSetting("the text that a fault breaks off needs three words or more")

    @classmethod
    def rate_limit(cls, retry_after: str | float | None = None) -> Fault:
        """Return status 429, with the seconds or the date to wait for."""
        headers = () if retry_after is None else (("retry-after", str(retry_after)),)
        return cls(kind=FaultKind.STATUS, status=429, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request, without its headers: no key is kept."""

    path: str
    """Path of the request."""
    body: Mapping[str, Any]
    """Its JSON, as it came."""
    prompt: str
    """Every text of its messages, joined by line ends."""
    streams: bool
    """Whether the answer is to be streamed."""
    tools: tuple[str, ...] = ()
    """Names of the tools that are offered."""
    form: str | None = None
    """What structured output is asked for by: ``text``, or the name of the tool that has to be called."""
    at: float = 0.0
    """When it came, on the monotonic clock."""
    retried: int = 0
    """Which of its own retries the client says that it is."""

    @property
    def model(self) -> str:
        """Name of the model that is asked for."""
        return str(self.body.get("model", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A reply, as every provider can write it."""

    id: str
    """Id of the reply, the same for the same place in the script."""
    text: str
    """Its words."""
    calls: tuple[tuple[str, str, str], ...]
    """Calls of tools: id, name, arguments as JSON, or as what was meant to be JSON."""
    read: int
    """Input tokens."""
    written: int
    """Output tokens."""

    @property
    def words(self) -> Iterator[str]:
        """The text in the pieces that it is streamed in."""
        parts = self.text.split(" ")
        yield from (part + " " for part in parts[:-1])
        if parts[-1]:
            yield parts[-1]

    @classmethod
    def of(cls, step: Step, received: Received, number: int) -> Said:
        """Return what a step of a script says to a request."""
        calls = [(name, json.dumps(arguments)) for name, arguments in step.tool_calls]
        calls += [(name or "", text) for name, text in step.raw_calls]
        text = step.text
        if step.structured is not None:
            if received.form in (None, "text"):
                text = json.dumps(step.structured)
            else:
                calls.append((str(received.form), json.dumps(step.structured)))
        read, written = step.tokens or (len(received.prompt.split()), max(1, len(text.split())))
        named = tuple((f"call_{number}_{place}", *call) for place, call in enumerate(calls))
        return cls(id=f"reply-{number}", text=text, calls=named, read=read, written=written)


class Wire(ABC):
    """The format of one provider's interface."""

    path: str
    """Path of the requests that it is for."""
    stream_type: str = "text/event-stream; charset=utf-8"
    """Content type of a streamed answer."""

    @abstractmethod
    def read(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is said of a request by the fields of `Received`: prompt, streams, tools, form."""

    @abstractmethod
    def whole(self, said: Said, received: Received) -> dict[str, Any]:
        """Return the answer that is not streamed."""

    @abstractmethod
    def pieces(self, said: Said, received: Received) -> Iterator[bytes]:
        """Yield a streamed answer: what begins it, its words and calls, and what ends it."""

    @abstractmethod
    def error(self, status: int, text: str) -> dict[str, Any]:
        """Return an error in the provider's form."""

    @abstractmethod
    def stream_error(self, text: str) -> bytes:
        """Return an error in the midst of a stream."""


def sse(data: Mapping[str, Any] | str, event: str | None = None) -> bytes:
    """Return one server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {event}\n" if event else "").encode() + f"data: {text}\n\n".encode()


def texts(value: Any) -> Iterator[str]:
    """Yield every text in the content of messages, however a provider nests it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key in ("content", "text", "output", "arguments", "input", "function", "tool_calls"):
            if key in value:
                yield from texts(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def prompt_of(*parts: Any) -> str:
    """Return the texts of parts of a request as one."""
    return "\n".join(text for part in parts for text in texts(part))
