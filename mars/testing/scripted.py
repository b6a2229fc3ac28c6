"""A chat model that says what its script says, and remembers how it was called."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, PrivateAttr

from mars.errors import ScriptError


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One reply of a `ScriptedModel`."""

    text: str = ""
    """What it says."""
    tool_calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    """Tools that it calls: (name, arguments)."""
    raw_calls: tuple[tuple[str | None, str], ...] = ()
    """Tools that it calls badly: (name, arguments as text, which may be no JSON); these calls have no id."""
    structured: dict[str, Any] | None = None
    """The object it gives where structured output was asked for; `text` is parsed else."""
    error: BaseException | None = None
    """Raised instead of a reply."""
    delay: float = 0.0
    """Seconds of real time before the reply."""
    tokens: tuple[int, int] | None = None
    """(input, output) tokens of the reply's usage; counted as words if None."""
    expect: str | None = None
    """Text that the prompt must contain; else `ScriptError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that a `ScriptedModel` received."""

    messages: tuple[BaseMessage, ...]
    """The prompt."""
    mode: str
    """generate, stream or structured."""
    tools: tuple[str, ...] = ()
    """Names of the bound tools."""
    reply: Step | None = None
    """What was replied."""

    @property
    def prompt(self) -> str:
        """The prompt as one string."""
        return "\n".join(str(message.content) for message in self.messages)


@dataclass
class _Log:
    """What copies of one model share: the script's place and the calls."""

    calls: list[Call] = field(default_factory=list)
    place: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


Script = Sequence[Step | str] | Callable[[Sequence[BaseMessage]], Step | str]


class ScriptedModel(BaseChatModel):
    """A `BaseChatModel` that replies by a script: text, tool calls, structured output, errors, in order.

    `script` is a sequence of `Step` or text, or a function from the messages to one of these. A call beyond the
    script's end raises `ScriptError`, and so does `assert_finished` while steps are left. `structured=False` and
    `tools=False` make it a model without these abilities. `calls` is the log of what it was asked.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    script: Any
    """Steps in order, or a function of the messages."""
    structured: bool = True
    """Whether it has structured output."""
    tools: bool = True
    """Whether tools can be bound."""
    bound: tuple[str, ...] = ()
    """Names of the tools that are bound."""

    _log: _Log = PrivateAttr(default_factory=_Log)

    def __init__(self, script: Script, **values: Any) -> None:
        super().__init__(**{"script": script if callable(script) else tuple(script), **values})

    @property
    def _llm_type(self) -> str:
        return "mars-scripted"

    @property
    def calls(self) -> list[Call]:
        """The calls so far, oldest first."""
        return self._log.calls

    @property
    def usage(self) -> tuple[int, int]:
        """Input and output tokens of all replies so far."""
        pairs = [_tokens(call.messages, call.reply) for call in self.calls if call.reply and not call.reply.error]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

    def assert_finished(self) -> None:
        """Raise `ScriptError` if steps of the script were never asked for."""
        if not callable(self.script) and self._log.place < len(self.script):
            left = len(self.script) - self._log.place
            raise ScriptError(f"{left} of {len(self.script)} scripted replies were never asked for")

    def _next(self, messages: Sequence[BaseMessage], mode: str) -> Step:
        with self._log.lock:
            if callable(self.script):
                reply = self.script(messages)
            elif self._log.place < len(self.script):
                reply = self.script[self._log.place]
                self._log.place += 1
            else:
                raise ScriptError(f"the script's {len(self.script)} replies are used up; call {mode} has none")
            step = reply if isinstance(reply, Step) else Step(text=reply)
            call = Call(messages=tuple(messages), mode=mode, tools=self.bound, reply=step)
            self._log.calls.append(call)
        if step.delay:
            time.sleep(step.delay)
        if step.error is not None:
            raise step.error
        if step.expect is not None and step.expect not in call.prompt:
            raise ScriptError(f"the prompt does not contain {step.expect!r}")
        return step

    def _message(self, messages: Sequence[BaseMessage], step: Step) -> AIMessage:
        number = len(self._log.calls)
        return AIMessage(
            content=step.text,
            tool_calls=[
                {"name": name, "args": arguments, "id": f"call-{number}-{place}", "type": "tool_call"}
                for place, (name, arguments) in enumerate(step.tool_calls)
            ],
            invalid_tool_calls=[
                {"name": name, "args": text, "id": None, "error": None, "type": "invalid_tool_call"}
                for name, text in step.raw_calls
            ],
            usage_metadata=_usage(messages, step),
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        step = self._next(messages, "generate")
        return ChatResult(generations=[ChatGeneration(message=self._message(messages, step))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        step = self._next(messages, "stream")
        whole = self._message(messages, step)
        words = step.text.split(" ")
        for word in words[:-1]:
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=word + " "))
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
        last = ChatGenerationChunk(
            message=AIMessageChunk(
                content=words[-1],
                tool_call_chunks=_chunks(whole, step),
                usage_metadata=whole.usage_metadata,
                chunk_position="last",
            )
        )
        if run_manager:
            run_manager.on_llm_new_token(last.text, chunk=last)
        yield last

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the same model with these tools bound; it shares script and log."""
        if not self.tools:
            raise NotImplementedError("this scripted model has no tools")
        names = tuple(
            tool.name if isinstance(tool, BaseTool) else getattr(tool, "__name__", str(tool)) for tool in tools
        )
        twin = self.model_copy(update={"bound": names})
        twin._log = self._log
        return twin

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that gives the next step's object, validated if `schema` is a pydantic model.

        With `include_raw` it gives ``raw``, ``parsed`` and ``parsing_error``, as LangChain's models do.
        """
        if not self.structured:
            raise NotImplementedError("this scripted model has no structured output")

        def reply(prompt: LanguageModelInput) -> Any:
            messages = prompt.to_messages() if isinstance(prompt, PromptValue) else _messages(prompt)
            step = self._next(messages, "structured")
            if include_raw:
                return with_raw(messages, step)
            return parsed(step)

        def parsed(step: Step) -> Any:
            if isinstance(schema, type) and issubclass(schema, BaseModel):
                if step.structured is None:
                    return schema.model_validate_json(step.text)
                return schema.model_validate(step.structured)
            return step.structured

        def with_raw(messages: Sequence[BaseMessage], step: Step) -> dict[str, Any]:
            found: dict[str, Any] = {"raw": self._message(messages, step), "parsed": None, "parsing_error": None}
            try:
                found["parsed"] = parsed(step)
            except ValueError as error:
                found["parsing_error"] = error
            return found

        return RunnableLambda(reply)


def _chunks(whole: AIMessage, step: Step) -> list[ToolCallChunk]:
    """Return the tool calls of a reply as a provider streams them; bad ones have no id."""
    good = [(call["name"], json.dumps(call["args"]), call["id"]) for call in whole.tool_calls]
    bad = [(name, text, None) for name, text in step.raw_calls]
    return [
        tool_call_chunk(name=name, args=text, id=id, index=index)
        for index, (name, text, id) in enumerate((*good, *bad))
    ]


def _messages(prompt: Any) -> list[BaseMessage]:
    return convert_to_messages([("human", prompt)] if isinstance(prompt, str) else prompt)


def _tokens(messages: Sequence[BaseMessage], step: Step) -> tuple[int, int]:
    if step.tokens is not None:
        return step.tokens
    return sum(len(str(message.content).split()) for message in messages), max(1, len(step.text.split()))


def _usage(messages: Sequence[BaseMessage], step: Step) -> UsageMetadata:
    read, written = _tokens(messages, step)
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
