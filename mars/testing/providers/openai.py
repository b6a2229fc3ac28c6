"""OpenAI's two interfaces: chat completions, and responses, which its client uses for some models and tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mars.testing.providers.wire import Received, Said, Wire, prompt_of, sse

CREATED = 1_767_225_600
"""When replies were made, in Unix seconds: always the beginning of 2026."""


class _OpenAI(Wire):
    """Errors, which both interfaces write alike."""

    def error(self, status: int, text: str) -> dict[str, Any]:
        """Return an error in the provider's form."""
        kind = {429: "rate_limit_error", 401: "authentication_error"}.get(status)
        kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
        return {"error": {"message": text, "type": kind, "param": None, "code": None}}


class ChatCompletions(_OpenAI):
    """``POST /v1/chat/completions``."""

    path = "/v1/chat/completions"

    def read(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is said of a request."""
        wanted, choice = body.get("response_format"), body.get("tool_choice")
        form = "text" if isinstance(wanted, Mapping) and wanted.get("type") != "text" else None
        if isinstance(choice, Mapping):
            form = str(choice["function"]["name"])
        return {
            "prompt": prompt_of(body.get("messages")),
            "streams": bool(body.get("stream")),
            "tools": tuple(tool["function"]["name"] for tool in body.get("tools", ())),
            "form": form,
        }

    def whole(self, said: Said, received: Received) -> dict[str, Any]:
        """Return the answer that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None}
        if said.calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": text}}
                for id, name, text in said.calls
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said)}
        return {
            **_head(said, received, "chat.completion"),
            "choices": [choice],
            "usage": _chat_usage(said),
        }

    def pieces(self, said: Said, received: Received) -> Iterator[bytes]:
        """Yield a streamed answer."""
        options = received.body.get("stream_options") or {}
        with_usage = bool(options.get("include_usage"))

        def piece(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
            body = {**_head(said, received, "chat.completion.chunk"), "choices": choices}
            return sse({**body, "usage": usage} if with_usage else body)

        def delta(values: dict[str, Any], finish: str | None = None) -> bytes:
            return piece([{"index": 0, "delta": values, "logprobs": None, "finish_reason": finish}])

        yield delta({"role": "assistant", "content": ""})
        for word in said.words:
            yield delta({"content": word})
        for place, (id, name, text) in enumerate(said.calls):
            called = {"name": name, "arguments": ""}
            yield delta({"tool_calls": [{"index": place, "id": id, "type": "function", "function": called}]})
            for half in (text[: len(text) // 2], text[len(text) // 2 :]):
                yield delta({"tool_calls": [{"index": place, "function": {"arguments": half}}]})
        yield delta({}, _finish(said))
        if with_usage:
            yield piece([], _chat_usage(said))
        yield sse("[DONE]")

    def stream_error(self, text: str) -> bytes:
        """Return an error in the midst of a stream."""
        return sse(self.error(500, text))


class Responses(_OpenAI):
    """``POST /v1/responses``."""

    path = "/v1/responses"

    def read(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is said of a request."""
        wanted, choice = (body.get("text") or {}).get("format"), body.get("tool_choice")
        form = "text" if isinstance(wanted, Mapping) and wanted.get("type") != "text" else None
        if isinstance(choice, Mapping):
            form = str(choice["name"])
        return {
            "prompt": prompt_of(body.get("instructions"), body.get("input")),
            "streams": bool(body.get("stream")),
            "tools": tuple(tool["name"] for tool in body.get("tools", ()) if tool.get("type") == "function"),
            "form": form,
        }

    def whole(self, said: Said, received: Received) -> dict[str, Any]:
        """Return the answer that is not streamed."""
        return self._response(said, received, "completed", _items(said))

    def pieces(self, said: Said, received: Received) -> Iterator[bytes]:
        """Yield a streamed answer."""
        number = 0

        def event(kind: str, **values: Any) -> bytes:
            nonlocal number
            number += 1
            return sse({"type": kind, "sequence_number": number - 1, **values}, kind)

        begun = self._response(said, received, "in_progress", [])
        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        for place, item in enumerate(_items(said)):
            where = {"output_index": place, "item_id": item["id"]}
            if item["type"] == "message":
                part = {**item["content"][0], "text": ""}
                opened = {**item, "status": "in_progress", "content": []}
                yield event("response.output_item.added", output_index=place, item=opened)
                yield event("response.content_part.added", **where, content_index=0, part=part)
                for word in said.words:
                    yield event("response.output_text.delta", **where, content_index=0, delta=word, logprobs=[])
                yield event("response.output_text.done", **where, content_index=0, text=said.text, logprobs=[])
                yield event("response.content_part.done", **where, content_index=0, part=item["content"][0])
            else:
                opened = {**item, "status": "in_progress", "arguments": ""}
                yield event("response.output_item.added", output_index=place, item=opened)
                text = item["arguments"]
                for half in (text[: len(text) // 2], text[len(text) // 2 :]):
                    yield event("response.function_call_arguments.delta", **where, delta=half)
                yield event("response.function_call_arguments.done", **where, arguments=text, name=item["name"])
            yield event("response.output_item.done", output_index=place, item=item)
        yield event("response.completed", response=self.whole(said, received))

    def stream_error(self, text: str) -> bytes:
        """Return an error in the midst of a stream."""
        values = {"type": "error", "sequence_number": 3, "code": "server_error", "message": text, "param": None}
        return sse(values, "error")

    @staticmethod
    def _response(said: Said, received: Received, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        usage = {
            "input_tokens": said.read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": said.written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": said.read + said.written,
        }
        return {
            "id": f"resp_{said.id}",
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": received.model,
            "output": output,
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": received.body.get("tool_choice") or "auto",
            "tools": received.body.get("tools") or [],
            "top_p": 1.0,
            "usage": usage if status == "completed" else None,
        }


def _items(said: Said) -> list[dict[str, Any]]:
    """Return what a response is made of."""
    found: list[dict[str, Any]] = []
    if said.text or not said.calls:
        part = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
        found.append(
            {"id": f"msg_{said.id}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        )
    for id, name, text in said.calls:
        call = {"id": f"fc_{id}", "type": "function_call", "call_id": id, "name": name, "arguments": text}
        found.append({**call, "status": "completed"})
    return found


def _head(said: Said, received: Received, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{said.id}", "object": kind, "created": CREATED, "model": received.model}


def _finish(said: Said) -> str:
    return "tool_calls" if said.calls else "stop"


def _chat_usage(said: Said) -> dict[str, Any]:
    return {
        "prompt_tokens": said.read,
        "completion_tokens": said.written,
        "total_tokens": said.read + said.written,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
