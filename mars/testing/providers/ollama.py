"""Ollama's chat: ``POST /api/chat``, a JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mars.testing.providers.wire import Received, Said, Wire, prompt_of

MADE = "2026-01-01T00:00:00.000000000Z"
"""When replies were made."""


class Chat(Wire):
    """The format of Ollama's chat."""

    path = "/api/chat"
    stream_type = "application/x-ndjson"

    def read(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is said of a request; it streams unless it says otherwise."""
        return {
            "prompt": prompt_of(body.get("messages")),
            "streams": body.get("stream", True) is not False,
            "tools": tuple(tool["function"]["name"] for tool in body.get("tools") or ()),
            "form": "text" if body.get("format") else None,
        }

    def whole(self, said: Said, received: Received) -> dict[str, Any]:
        """Return the answer that is not streamed."""
        return {**self._part(received, said.text, said.calls), **_end(said)}

    def pieces(self, said: Said, received: Received) -> Iterator[bytes]:
        """Yield a streamed answer."""
        for word in said.words:
            yield _line(self._part(received, word))
        if said.calls:
            yield _line(self._part(received, "", said.calls))
        yield _line({**self._part(received, ""), **_end(said)})

    def error(self, status: int, text: str) -> dict[str, Any]:
        """Return an error in the provider's form."""
        return {"error": text}

    def stream_error(self, text: str) -> bytes:
        """Return an error in the midst of a stream."""
        return _line({"error": text})

    @staticmethod
    def _part(received: Received, text: str, calls: tuple[tuple[str, str, str], ...] = ()) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = [
                {"function": {"name": name, "arguments": _arguments(given)}} for _, name, given in calls
            ]
        return {"model": received.model, "created_at": MADE, "message": message, "done": False}


def _arguments(text: str) -> Any:
    """Return the arguments of a call; Ollama sends them parsed, or not at all."""
    try:
        return json.loads(text)
    except ValueError:
        return {}


def _end(said: Said) -> dict[str, Any]:
    return {
        "done": True,
        "done_reason": "stop",
        "total_duration": 2_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": said.read,
        "prompt_eval_duration": 500_000,
        "eval_count": said.written,
        "eval_duration": 500_000,
    }


def _line(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode() + b"\n"
