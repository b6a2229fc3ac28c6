"""The chat model over a cassette, and how requests and replies are written."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage, convert_to_messages
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field

_PRIVATE = re.compile(r"key|token$|secret|password|auth|header|credential", re.IGNORECASE)
_TOLD = ("finish_reason", "stop_reason", "done_reason", "model_name", "model_provider")
_SILENT: Any = {"callbacks": []}


class CassetteModel(BaseChatModel):
    """A chat model over a `Cassette`: made by `Cassette.wrap`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    cassette: Any
    """The `Cassette`."""
    inner: Any = None
    """The model that is recorded; None where the cassette is replayed."""
    bound: Any = None
    """The same with its tools bound, if it has any."""
    model_name: str = "mars-cassette"
    """Name of the model, as in the price table."""
    tools: tuple[dict[str, Any], ...] = ()
    """The bound tools, as JSON."""
    choice: dict[str, Any] = Field(default_factory=dict)
    """How the tools were bound."""

    @property
    def _llm_type(self) -> str:
        return "mars-cassette"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the same model with tools; raises what the recorded model raises if it has none."""
        shown = tuple(json.loads(json.dumps(convert_to_openai_tool(tool), default=str)) for tool in tools)
        bound = self.inner.bind_tools(tools, **kwargs) if self.inner is not None else None
        return self.model_copy(update={"tools": shown, "bound": bound, "choice": _settings(kwargs)})

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that gives objects of a schema; raises `NotImplementedError` where none were recorded."""
        form = convert_to_json_schema(schema)
        structured: Any = None
        if self.inner is not None:
            structured = self.inner.with_structured_output(schema, include_raw=True, **kwargs)
        elif all(entry["request"]["form"] is None for entry in self.cassette.entries):
            raise NotImplementedError("this cassette holds no structured output")

        def told(prompt: LanguageModelInput) -> dict[str, Any]:
            return self._request(_prompt(prompt), {**kwargs}, form)

        def done(prompt: LanguageModelInput, found: Any) -> Any:
            reply = _structured_reply(found) if found is not None else self.cassette.find(told(prompt))
            if found is not None:
                self.cassette.keep(told(prompt), reply)
            return _structured(reply, schema, include_raw)

        def call(prompt: LanguageModelInput) -> Any:
            return done(prompt, structured.invoke(prompt, _SILENT) if structured is not None else None)

        async def acall(prompt: LanguageModelInput) -> Any:
            return done(prompt, await structured.ainvoke(prompt, _SILENT) if structured is not None else None)

        return RunnableLambda(call, acall)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request, model = self._request(messages, {**kwargs, "stop": stop}), self.bound or self.inner
        if model is None:
            return _result(_message(self.cassette.find(request)))
        message = model.invoke(messages, _SILENT, stop=stop, **kwargs)
        self.cassette.keep(request, {"message": _kept(message)})
        return _result(message)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request, model = self._request(messages, {**kwargs, "stop": stop}), self.bound or self.inner
        if model is None:
            return _result(_message(self.cassette.find(request)))
        message = await model.ainvoke(messages, _SILENT, stop=stop, **kwargs)
        self.cassette.keep(request, {"message": _kept(message)})
        return _result(message)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        request, model = self._request(messages, {**kwargs, "stop": stop}), self.bound or self.inner
        pieces: Iterable[AIMessageChunk]
        if model is None:
            pieces = _pieces(self.cassette.find(request))
        else:
            pieces = map(_chunk, model.stream(messages, _SILENT, stop=stop, **kwargs))
        kept = []
        for piece in pieces:
            kept.append(_kept(piece))
            chunk = ChatGenerationChunk(message=piece)
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
        if model is not None:
            self.cassette.keep(request, {"chunks": kept})

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        request, model = self._request(messages, {**kwargs, "stop": stop}), self.bound or self.inner
        pieces: AsyncIterator[Any]
        if model is None:
            pieces = _each(_pieces(self.cassette.find(request)))
        else:
            pieces = model.astream(messages, _SILENT, stop=stop, **kwargs)
        kept = []
        async for found in pieces:
            piece = _chunk(found)
            kept.append(_kept(piece))
            chunk = ChatGenerationChunk(message=piece)
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
        if model is not None:
            self.cassette.keep(request, {"chunks": kept})

    def _request(
        self, messages: Sequence[BaseMessage], settings: Mapping[str, Any], form: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return what a request is known by, the same in each run that asks the same."""
        request = {
            "model": self.model_name,
            "messages": _told(messages),
            "tools": list(self.tools),
            "form": form,
            "settings": {**_settings(self.choice), **_settings(settings)},
        }
        plain: dict[str, Any] = json.loads(json.dumps(request, default=str))
        return plain


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a call that say something of it, and nothing that could be a key."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and not _PRIVATE.search(name) and isinstance(value, str | int | float | list | dict)
    }


def _prompt(prompt: LanguageModelInput) -> list[BaseMessage]:
    if isinstance(prompt, PromptValue):
        return prompt.to_messages()
    return convert_to_messages([("human", prompt)] if isinstance(prompt, str) else prompt)


def _told(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return messages as they are compared: ids of calls become numbers in their order."""
    numbers: dict[str | None, int] = {}
    told = []
    for message in messages:
        one: dict[str, Any] = {"type": message.type, "content": message.content}
        if isinstance(message, AIMessage):
            calls = [*message.tool_calls, *message.invalid_tool_calls]
            one["calls"] = [
                {"name": call["name"], "args": call["args"], "id": numbers.setdefault(call["id"], len(numbers))}
                for call in calls
            ]
        if isinstance(message, ToolMessage):
            one["of"] = numbers.setdefault(message.tool_call_id, len(numbers))
        told.append(one)
    return told


def _kept(message: AIMessage) -> dict[str, Any]:
    """Return what is kept of a reply or a piece of one."""
    calls: Any = message.tool_call_chunks if isinstance(message, AIMessageChunk) else message.tool_calls
    kept = {
        "content": message.content,
        "calls": [dict(call) for call in calls],
        "invalid": [] if isinstance(message, AIMessageChunk) else [dict(call) for call in message.invalid_tool_calls],
        "usage": message.usage_metadata,
        "last": isinstance(message, AIMessageChunk) and message.chunk_position == "last",
        "told": {name: message.response_metadata[name] for name in _TOLD if name in message.response_metadata},
    }
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain


def _message(reply: Mapping[str, Any]) -> AIMessage:
    """Return a recorded reply as a whole message."""
    if "chunks" in reply:
        first, *rest = _pieces(reply)
        whole = first + rest if rest else first
        return AIMessage(
            content=whole.content,
            tool_calls=whole.tool_calls,
            invalid_tool_calls=whole.invalid_tool_calls,
            usage_metadata=whole.usage_metadata,
            response_metadata=whole.response_metadata,
        )
    kept = reply["message"]
    return AIMessage(
        content=kept["content"],
        tool_calls=kept["calls"],
        invalid_tool_calls=kept["invalid"],
        usage_metadata=kept["usage"],
        response_metadata=kept["told"],
    )


def _pieces(reply: Mapping[str, Any]) -> list[AIMessageChunk]:
    """Return a recorded reply as the pieces of a stream."""
    if "chunks" not in reply:
        return [_chunk(_message(reply))]
    return [
        AIMessageChunk(
            content=kept["content"],
            tool_call_chunks=kept["calls"],
            usage_metadata=kept["usage"],
            response_metadata=kept["told"],
            chunk_position="last" if kept["last"] else None,
        )
        for kept in reply["chunks"]
    ]


def _chunk(message: Any) -> AIMessageChunk:
    """Return a message as a piece of a stream."""
    if isinstance(message, AIMessageChunk):
        return message
    good = [(call["name"], json.dumps(call["args"]), call["id"]) for call in message.tool_calls]
    bad = [(call["name"], call["args"], call["id"]) for call in message.invalid_tool_calls]
    calls: Any = [
        {"name": name, "args": args, "id": id, "index": place, "type": "tool_call_chunk"}
        for place, (name, args, id) in enumerate((*good, *bad))
    ]
    return AIMessageChunk(
        content=message.content,
        tool_call_chunks=calls,
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
    )


async def _each(pieces: Iterable[AIMessageChunk]) -> AsyncIterator[AIMessageChunk]:
    for piece in pieces:
        yield piece


def _result(message: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=message)])


def _structured_reply(found: Any) -> dict[str, Any]:
    raw, parsed, error = (found["raw"], found["parsed"], found["parsing_error"])
    plain = parsed.model_dump(mode="json") if isinstance(parsed, BaseModel) else parsed
    return {"message": _kept(raw), "parsed": plain, "error": None if error is None else str(error)}


def _structured(reply: Mapping[str, Any], schema: Any, include_raw: bool) -> Any:
    """Return a recorded object as the model would have given it."""
    parsed = reply.get("parsed")
    if parsed is not None and isinstance(schema, type) and issubclass(schema, BaseModel):
        parsed = schema.model_validate(parsed)
    error = OutputParserException(reply["error"]) if reply.get("error") else None
    if include_raw:
        return {"raw": _message(reply), "parsed": parsed, "parsing_error": error}
    if error is not None:
        raise error
    return parsed
