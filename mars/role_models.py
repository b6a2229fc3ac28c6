"""The model of a role as its agent sees it: the same calls, each through the boundary of `mars.calls`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.constants import TAG_NOSTREAM
from pydantic import BaseModel

from mars.agents.prompts import LAST_CALL
from mars.calls import Calls, Reply, Wanted, here
from mars.errors import BudgetExhausted, ModelOutputError
from mars.events import EventKind
from mars.persistence.transcript import storable
from mars.telling import emit
from mars.tools import whole_reply
from mars.watching import unheard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.language_models.base import LanguageModelInput
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable

Message = TypeVar("Message", bound=AIMessage)

CHARACTERS_PER_TOKEN = 4
"""For what is reserved before a call; what is settled is what the model says."""

EXPECTED_OUTPUT = 256
"""Tokens reserved for a reply of a model that has no limit of its own."""


class RoleModel:
    """A chat model whose calls are recorded, limited and counted for a role."""

    def __init__(
        self,
        calls: Calls,
        role: str,
        model: BaseChatModel,
        bound: Runnable[LanguageModelInput, AIMessage] | None = None,
    ) -> None:
        """Call `model`, or `bound`, which is the same model with its tools bound."""
        self.model_name = name_of(model)
        """As in the price table."""
        calls.models.add(self.model_name)
        self._calls = calls
        self._role = role
        self._model = model
        self._bound = bound or model

    def through(self, calls: Calls) -> RoleModel:
        """Return the same model of the same role, whose calls go another way."""
        return RoleModel(calls, self._role, self._model, self._bound)

    async def ainvoke(self, input: LanguageModelInput) -> AIMessage:
        """Return the reply to a prompt."""

        async def make() -> Reply:
            with _read(self._model):
                return _reply(_unbroken(self._model, await self._bound.ainvoke(input, _unheard())))

        return _message(await self._calls.perform(self._wanted(input), make))

    async def stream(self, messages: Sequence[BaseMessage], *, may_end: bool = False) -> tuple[AIMessage, str]:
        """Return the reply to a prompt, and put its tokens into the stream; one that is on record is a single token.

        A retry event says that an attempt broke off after its first token: what was streamed of it is void. With
        `may_end`, a used-up budget that allows a last call gets the model's answer without tools; then the second value
        is why it was the last. Else it is empty.
        """
        try:
            return await self._streamed(list(messages), last=False), ""
        except BudgetExhausted as error:
            if not (may_end and self._calls.last_call):
                raise
            emit(EventKind.BUDGET, "runtime", str(error))
            reply = await self._streamed([*messages, HumanMessage(LAST_CALL.text)], last=True)
            return reply.model_copy(update={"tool_calls": [], "invalid_tool_calls": []}), str(error)

    async def _streamed(self, prompt: list[BaseMessage], *, last: bool) -> AIMessage:
        told, wanted, place = False, self._wanted(prompt, last=last), here()

        def tell(text: str) -> None:
            emit(EventKind.TOKEN, self._role, text, iteration=place.iteration, reply=wanted.key.ordinal)

        async def make() -> Reply:
            nonlocal told
            if told:
                emit(EventKind.RETRY, self._role, "the reply broke off; what was streamed of it is void")
            chunks: list[Any] = []
            try:
                with _read(self._model):
                    async for chunk in self._bound.astream(prompt):
                        if text := chunk.text:
                            tell(text)
                            told = True
                        chunks.append(chunk)
            except ValueError as error:
                if chunks or "No generation" not in str(error):  # langchain's words for an empty stream
                    raise
            first, *rest = chunks or [None]  # a model that does not stream gives one message, which takes no others
            return _reply(whole_reply(_unbroken(self._model, first + rest if rest else first)))

        reply = _message(await self._calls.perform(wanted, make))
        if not told and reply.text:
            tell(reply.text)
        return reply

    def with_structured_output(self, schema: type[BaseModel]) -> StructuredModel:
        """Return what gives objects of a schema; raises what the model raises if it has no structured output."""
        structured: Any = self._model.with_structured_output(schema, include_raw=True)
        return StructuredModel(self._calls, self._model, structured, schema, self._wanted)

    def _wanted(self, input: Any, *, last: bool = False) -> Wanted:
        read = sum(len(str(getattr(message, "content", message))) for message in input) // CHARACTERS_PER_TOKEN
        most = getattr(self._model, "max_tokens", None)
        hold = (read, most if isinstance(most, int) else EXPECTED_OUTPUT)
        return Wanted(
            key=here().next(self._role), name=self.model_name, family=self._model._llm_type, hold=hold, last=last
        )


class StructuredModel:
    """A model that gives objects of one schema."""

    def __init__(
        self,
        calls: Calls,
        model: BaseChatModel,
        structured: Runnable[Any, Any],
        schema: type[BaseModel],
        wanted: Callable[[Any], Wanted],
    ) -> None:
        self._calls = calls
        self._model = model
        self._structured = structured
        self._schema = schema
        self._wanted = wanted

    async def ainvoke(self, input: LanguageModelInput) -> Any:
        """Return an object of the schema; `ModelOutputError` where the reply is none, which costs all the same."""

        async def make() -> Reply:
            with _read(self._model):
                found = await self._structured.ainvoke(input, _unheard())
            raw, parsed = (found["raw"], found["parsed"]) if isinstance(found, dict) else (None, found)
            reply = _reply(_unbroken(self._model, raw) if isinstance(raw, AIMessage) else AIMessage(""))
            plain = parsed.model_dump(mode="json") if isinstance(parsed, BaseModel) else parsed
            return Reply(body={**reply.body, "parsed": _storable(plain)}, usage=reply.usage)

        body = await self._calls.perform(self._wanted(input), make)
        if body["parsed"] is None:
            raise ModelOutputError(f"the reply is no {self._schema.__name__}")
        return self._schema.model_validate(body["parsed"])


def _unheard() -> Any:
    """Return what keeps the words of the Checker and the Reflector out of LangGraph's and LangChain's streams."""
    return {"tags": [TAG_NOSTREAM], "callbacks": unheard()}


def name_of(model: BaseChatModel) -> str:
    """Return a model's name, as in the price table."""
    names = (getattr(model, name, None) for name in ("model_name", "model"))
    return next((name for name in names if isinstance(name, str) and name), model._llm_type)


ENDS = {
    "openai-chat": ("finish_reason", "status"),
    "azure-openai-chat": ("finish_reason", "status"),
    "anthropic-chat": ("stop_reason",),
    "chat-ollama": ("done_reason", "done"),
}
"""What the end of a reply says in its metadata, by the kind of model."""


UNREAD = ("Unexpected response type", "No data received")
"""How clients begin to say that what came is no reply."""


@contextmanager
def _read(model: BaseChatModel) -> Iterator[None]:
    """Raise `ConnectionError` where a provider's client cannot read what came, such as a proxy's page with status 200.

    Clients take text for an object then, or bytes for text. The same from a model of another kind may be its own fault.
    """
    try:
        yield
    except (AttributeError, ValueError) as error:
        taken = isinstance(error, AttributeError) and isinstance(error.obj, str | list)
        unread = taken or isinstance(error, UnicodeDecodeError) or str(error).startswith(UNREAD)
        if model._llm_type not in ENDS or not unread:
            raise
        raise ConnectionError(f"the reply of {name_of(model)} cannot be read: {error}") from error


def _unbroken(model: BaseChatModel, whole: Message | None) -> Message:
    """Return a reply; raise `ConnectionError` where it broke off: nothing came, or the provider's own end is missing.

    A connection that a proxy ends in good order raises nothing; half an answer would pass for a whole one.
    """
    ends = ENDS.get(model._llm_type)
    if whole is None or (ends is not None and not any(whole.response_metadata.get(name) for name in ends)):
        raise ConnectionError(f"the reply of {name_of(model)} broke off: it ended before it was whole")
    return whole


def _reply(message: AIMessage) -> Reply:
    """Return what is kept of a message, as it is kept."""
    kept = {
        "content": message.content,
        "tool_calls": list(message.tool_calls),
        "invalid_tool_calls": list(message.invalid_tool_calls),
        "usage_metadata": dict(message.usage_metadata) if message.usage_metadata else None,
    }
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    plain["content"] = _storable(plain["content"])
    return Reply(body=plain, usage=plain["usage_metadata"])


def _storable(value: Any) -> Any:
    """Return JSON values with what no database stores replaced: else the turn could not end, whoever resumes it."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable(one) for one in value]
    return {key: _storable(one) for key, one in value.items()} if isinstance(value, dict) else value


def _message(body: dict[str, Any]) -> AIMessage:
    return AIMessage(**{key: value for key, value in body.items() if key != "parsed"})
