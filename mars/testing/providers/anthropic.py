"""Anthropic's messages: ``POST /v1/messages``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mars.testing.providers.wire import Received, Said, Wire, prompt_of, sse

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class Messages(Wire):
    """The format of Anthropic's messages."""

    path = "/v1/messages"

    def read(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is said of a request."""
        choice = body.get("tool_choice") or {}
        wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
        return {
            "prompt": prompt_of(body.get("system"), body.get("messages")),
            "streams": bool(body.get("stream")),
            "tools": tuple(tool["name"] for tool in body.get("tools", ())),
            "form": str(choice["name"]) if choice.get("type") == "tool" else "text" if wanted else None,
        }

    def whole(self, said: Said, received: Received) -> dict[str, Any]:
        """Return the answer that is not streamed."""
        return {**self._message(said, received, _blocks(said)), **_end(said)}

    def pieces(self, said: Said, received: Received) -> Iterator[bytes]:
        """Yield a streamed answer."""

        def event(kind: str, **values: Any) -> bytes:
            return sse({"type": kind, **values}, kind)

        def delta(place: int, kind: str, **values: Any) -> bytes:
            return event("content_block_delta", index=place, delta={"type": kind, **values})

        yield event("message_start", message=self._message(said, received, []))
        yield event("ping")
        for place, block in enumerate(_blocks(said)):
            opened = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
            yield event("content_block_start", index=place, content_block=opened)
            if block["type"] == "text":
                for word in said.words:
                    yield delta(place, "text_delta", text=word)
            else:
                text = said.calls[place - bool(said.text)][2]
                for half in (text[: len(text) // 2], text[len(text) // 2 :]):
                    yield delta(place, "input_json_delta", partial_json=half)
            yield event("content_block_stop", index=place)
        end = _end(said)
        yield event("message_delta", delta=end, usage={"input_tokens": said.read, "output_tokens": said.written})
        yield event("message_stop")

    def error(self, status: int, text: str) -> dict[str, Any]:
        """Return an error in the provider's form."""
        return {"type": "error", "error": {"type": _KINDS.get(status, "api_error"), "message": text}}

    def stream_error(self, text: str) -> bytes:
        """Return an error in the midst of a stream."""
        return sse(self.error(529, text), "error")

    @staticmethod
    def _message(said: Said, received: Received, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"msg_{said.id}",
            "type": "message",
            "role": "assistant",
            "model": received.model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": said.read, "output_tokens": said.written if content else 1},
        }


def _blocks(said: Said) -> list[dict[str, Any]]:
    """Return the blocks that a message is made of."""
    text = [{"type": "text", "text": said.text}] if said.text or not said.calls else []
    return [
        *text,
        *({"type": "tool_use", "id": id, "name": name, "input": _object(call)} for id, name, call in said.calls),
    ]


def _object(text: str) -> Any:
    """Return the arguments of a call; Anthropic sends an object when nothing is streamed, never half a one."""
    try:
        return json.loads(text)
    except ValueError:
        return {}


def _end(said: Said) -> dict[str, Any]:
    return {"stop_reason": "tool_use" if said.calls else "end_turn", "stop_sequence": None}
