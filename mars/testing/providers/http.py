"""As much of HTTP/1.1 as a model's client needs, over asyncio's streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from mars.errors import InvalidInput

MAX_BODY = 64 * 1024 * 1024
"""The most bytes of a request."""

JSON = "application/json"
"""Content type of answers that are not streamed."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came."""

    method: str
    """In capitals."""
    path: str
    """Without its query."""
    headers: Mapping[str, str]
    """Names in small letters."""
    body: bytes
    """What was sent."""

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; raise `InvalidInput` where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise InvalidInput(f"the body is no JSON: {error}") from None
        if not isinstance(value, dict):
            raise InvalidInput("the body is no JSON object")
        return value


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Return the request of a connection; None where it ended before. Raises `InvalidInput` for what is no HTTP."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise InvalidInput(f"no HTTP request: {first[:80]!r}")
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    length = int(headers.get("content-length", "0"))
    if length > MAX_BODY or "transfer-encoding" in headers:
        raise InvalidInput(f"a body needs a content-length of at most {MAX_BODY:,} bytes")
    body = await reader.readexactly(length)
    return Request(words[0], words[1].partition("?")[0], headers, body)


class Response:
    """The answer to the one request of a connection, written as it is made."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        """Write to a connection."""
        self._writer = writer

    async def send(
        self,
        status: int,
        body: bytes,
        headers: Iterable[tuple[str, str]] = (),
        kind: str = JSON,
        part: int | None = None,
    ) -> None:
        """Send a whole answer; with `part`, only so many bytes of it, though its length is that of the whole."""
        self._head(status, [("content-type", kind), ("content-length", str(len(body))), *headers])
        self._writer.write(body if part is None else body[:part])
        await self._writer.drain()

    async def begin(self, kind: str) -> None:
        """Begin an answer that is streamed in chunks."""
        self._head(200, [("content-type", kind), ("transfer-encoding", "chunked")])
        await self._writer.drain()

    async def chunk(self, data: bytes) -> None:
        """Send a chunk of a streamed answer."""
        self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self._writer.drain()

    async def end(self) -> None:
        """End a streamed answer in good order."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Error"
        lines = [
            f"HTTP/1.1 {status} {phrase}",
            "connection: close",
            *(f"{name}: {value}" for name, value in headers),
            "",
            "",
        ]
        self._writer.write("\r\n".join(lines).encode("latin-1"))
