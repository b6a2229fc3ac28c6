"""The built-in, keyless reader: an offline "show me the sources" mode behind langchain-core's chat model interface.

It is **no language model**. It looks at nothing but the strings of its messages (`mars.models.prompt_parts` says which
blocks it reads), picks the sentence that shares most of the question's words (`mars.models.extraction` says how), and
returns it verbatim with the id of its memory, a date for a question about time, or exactly ``Not known.``. It writes no
sentence of its own, knows no synonyms and follows no instruction other than the lessons' fixed keys. The same messages
give the same answer, on every machine. It is fenced: it imports nothing of memory, agents, simulation or evaluation.

*Tools.* If the memories do not support an answer and a bound tool takes one string called ``query``, ``question``,
``search`` or ``q``, it calls that tool once per task with the question's words, and reads what comes back.

*Structured output.* With a forced tool (that is how `with_structured_output` asks) it fills fields by name and type:

======================================================= ============ ========================================
field                                                   type         value
======================================================= ============ ========================================
answer, text, content, output, response, reply, message string       the answer with its citation
sentence, span, quote, evidence, passage                string       the verbatim sentence, or empty
sources, source, citations, citation, refs, ids, used   array/string ids of the memories relied on
known, found, answered, supported, is_known             boolean      whether the answer is known
support, confidence, score                              number       lexical support in [0, 1]
date, day                                               string       the ISO day stated; null if there is none
query, question, search, q                              string       the question's words
======================================================= ============ ========================================

Another field takes its default or null, or is left out if it is optional; one that is required makes the reader refuse
with `ModelOutputError`: it never makes up a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import run_in_executor
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from mars.errors import ModelOutputError
from mars.language import asks, words
from mars.models.extraction import Found, extract
from mars.models.prompt_parts import Prompt, read_prompt

NOT_KNOWN = "Not known."
"""What the reader says when its messages do not support an answer."""
NOTED = "Noted."
"""What it says when it was told something and asked nothing."""

SHORT = 3000
"""A prompt of no more characters is read where it is asked, on no thread: in half a millisecond, at worst in three.

A thread would keep the event loop waiting as long: Python lets one run for five before another gets its turn.
"""

QUERY_FIELDS = ("query", "question", "search", "q")
_ANSWER_FIELDS = ("answer", "text", "content", "output", "response", "reply", "message")
_SENTENCE_FIELDS = ("sentence", "span", "quote", "evidence", "passage")
_SOURCE_FIELDS = ("sources", "source", "citations", "citation", "refs", "ids", "used")
_KNOWN_FIELDS = ("known", "found", "answered", "supported", "is_known")
_SUPPORT_FIELDS = ("support", "confidence", "score")
_DATE_FIELDS = ("date", "day")
_MISSING = object()


class ReaderModel(BaseChatModel):
    """Answers from its prompt by extraction; see this module's first lines for what it can and cannot do."""

    model_name: str = "mars-reader-1"
    """Name in results and usage; raised when the method changes."""

    @property
    def _llm_type(self) -> str:
        return "mars-reader"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the reader with tools; a `tool_choice` other than "auto" or "none" forces one to be filled."""
        kwargs.pop("ls_structured_output_format", None)
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], tool_choice=tool_choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = self._reply(messages, stop, kwargs.get("tools") or (), kwargs.get("tool_choice"))
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Do the same; a long prompt is read on a thread."""
        message = await self._areply(messages, stop, kwargs.get("tools") or (), kwargs.get("tool_choice"))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Yield the answer word by word, then its tool calls and usage."""
        for chunk in _chunks(self._reply(messages, stop, kwargs.get("tools") or (), kwargs.get("tool_choice"))):
            if run_manager is not None and chunk.text:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Yield the same; the whole answer is found in at most one visit to a thread, not one for each word."""
        tools, choice = kwargs.get("tools") or (), kwargs.get("tool_choice")
        for chunk in _chunks(await self._areply(messages, stop, tools, choice)):
            if run_manager is not None and chunk.text:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _areply(
        self, messages: Sequence[BaseMessage], stop: Sequence[str] | None, tools: Sequence[dict[str, Any]], choice: Any
    ) -> AIMessage:
        """Return the reply to a short prompt at once, to a long one from a thread."""
        if not tools and sum(_length(message) for message in messages) <= SHORT:
            return self._reply(messages, stop, tools, choice)
        return await run_in_executor(None, self._reply, messages, stop, tools, choice)

    def _reply(
        self, messages: Sequence[BaseMessage], stop: Sequence[str] | None, tools: Sequence[dict[str, Any]], choice: Any
    ) -> AIMessage:
        prompt = read_prompt(messages)
        found = extract(prompt) if asks(prompt.question) else None
        text, calls = _draft(prompt, found), []
        forced = _forced(tools, choice)
        if forced is not None:
            calls, text = [(forced["name"], _filled(forced, prompt, found))], ""
        elif found is None and asks(prompt.question) and choice != "none":
            searches = [tool["function"] for tool in tools if tool["function"]["name"] not in prompt.called]
            search = next(((tool, name) for tool in searches if (name := _query_field(tool))), None)
            if search is not None:
                calls, text = [(search[0]["name"], {search[1]: prompt.question})], ""
        text = _stopped(text, stop or ())
        return AIMessage(
            content=text,
            tool_calls=[
                tool_call(name=name, args=args, id=_call_id(name, args, len(messages))) for name, args in calls
            ],
            usage_metadata=_usage(messages, text + "".join(json.dumps(args) for _, args in calls)),
            response_metadata={"model_name": self.model_name, "finish_reason": "tool_calls" if calls else "stop"},
        )


def _chunks(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    """Yield a reply word by word, then its tool calls and usage."""
    for piece in re.findall(r"\s*\S+\s*$|\s*\S+", str(message.content)):
        yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
    calls = [
        tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=place)
        for place, call in enumerate(message.tool_calls)
    ]
    last = AIMessageChunk(
        content="",
        tool_call_chunks=calls,
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
    )
    yield ChatGenerationChunk(message=last)


def _length(message: BaseMessage) -> int:
    """Return the characters of a message of plain text; more than is short for one of other parts."""
    return len(message.content) if isinstance(message.content, str) else SHORT + 1


def _draft(prompt: Prompt, found: Found | None) -> str:
    if not asks(prompt.question):
        return NOTED
    return NOT_KNOWN if found is None else f"{found.words} [{found.ref}]" if found.ref else found.words


def _stopped(text: str, stop: Sequence[str]) -> str:
    """Return the text up to the first stop sequence."""
    return min((text.split(mark, 1)[0] for mark in stop if mark), key=len, default=text)


def _usage(messages: Sequence[BaseMessage], reply: str) -> UsageMetadata:
    """Return the usage, a token being a word: the reader has no tokenizer."""
    read = sum(_fixed(str(m.text)) if isinstance(m, SystemMessage) else len(words(str(m.text))) for m in messages)
    wrote = len(words(reply))
    return UsageMetadata(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote)


@lru_cache(maxsize=64)
def _fixed(text: str) -> int:
    """Return the words of a system message, which is the same from prompt to prompt."""
    return len(words(text))


def _call_id(name: str, args: Mapping[str, Any], place: int) -> str:
    """Return an id that is the same for the same call at the same place of a conversation."""
    content = json.dumps([name, args, place], sort_keys=True)
    return "call_" + blake2b(content.encode(), digest_size=8).hexdigest()


def _forced(tools: Sequence[dict[str, Any]], choice: Any) -> dict[str, Any] | None:
    """Return the function that must be filled, if `choice` forces one: by name, or the first for any."""
    if choice in (None, False, "auto", "none") or not tools:
        return None
    functions: list[dict[str, Any]] = [tool["function"] for tool in tools]
    if isinstance(choice, dict):
        choice = choice.get("function", choice).get("name")
    if choice in (True, "any", "required"):
        return functions[0]
    named = next((each for each in functions if each["name"] == choice), None)
    if named is None:
        raise ModelOutputError(f"tool_choice names {choice!r}; the tools are {[each['name'] for each in functions]}")
    return named


def _query_field(function: Mapping[str, Any]) -> str | None:
    """Return the name of a tool's only required string if it is a query, else None."""
    parameters = function.get("parameters", {})
    properties = parameters.get("properties", {})
    required = parameters.get("required", list(properties))
    if len(required) != 1 or required[0] not in QUERY_FIELDS:
        return None
    return str(required[0]) if properties.get(required[0], {}).get("type") == "string" else None


def _filled(function: Mapping[str, Any], prompt: Prompt, found: Found | None) -> dict[str, Any]:
    """Return a function's arguments by the table in this module's first lines, or refuse."""
    parameters = function.get("parameters", {})
    required = set(parameters.get("required", ()))
    filled: dict[str, Any] = {}
    for name, schema in parameters.get("properties", {}).items():
        value = _field(name, schema, prompt, found)
        if value is not _MISSING:
            filled[name] = value
        elif name in required:
            raise ModelOutputError(
                f"the built-in reader cannot fill {name!r} of {function['name']!r}: it only extracts; "
                "give the field a default, or use a language model for this role"
            )
    return filled


def _field(name: str, schema: Mapping[str, Any], prompt: Prompt, found: Found | None) -> Any:
    kinds = {schema.get("type"), *(option.get("type") for option in schema.get("anyOf", ()))}
    refs = [found.ref] if found is not None and found.ref else []
    values: list[tuple[tuple[str, ...], str, Any]] = [
        (_ANSWER_FIELDS, "string", _draft(prompt, found)),
        (_SENTENCE_FIELDS, "string", found.sentence if found else ""),
        (_SOURCE_FIELDS, "array", refs),
        (_SOURCE_FIELDS, "string", "".join(refs)),
        (_KNOWN_FIELDS, "boolean", found is not None),
        (_SUPPORT_FIELDS, "number", round(found.support, 6) if found else 0.0),
        (QUERY_FIELDS, "string", prompt.question),
    ]
    if found is not None and found.day is not None:
        values.append((_DATE_FIELDS, "string", found.day.isoformat()))
    for names, kind, value in values:
        if name in names and kind in kinds and not schema.get("enum"):
            return value
    return schema.get("default", None if "null" in kinds else _MISSING)
