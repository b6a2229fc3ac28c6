"""The Assistant's tools: langchain-core tools or plain functions with type hints."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.errors import GraphBubbleUp

from mars.errors import InvalidSetting, ModelUnavailable
from mars.persistence.transcript import storable
from mars.retrying import is_transient

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.language_models.base import LanguageModelInput
    from langchain_core.runnables import Runnable

    from mars.agents.interfaces import Action

READ_ONLY = "read_only"
"""Key of a tool's metadata; true if it changes nothing and needs no review."""

ASKS = "asks_user"
"""Key of a tool's metadata; true if calling it asks a person, whose answer is its result."""

IDEMPOTENT = "idempotent"
"""Key of a tool's metadata; true if running it twice with the same arguments is as good as once."""

WAS_DONE = "was_done"
"""Key of a tool's metadata, or an attribute of the tool or its function: called with an action's idempotency key, it
says whether that action happened: its result, True where that is not known, or None or False."""

KEY_ARGUMENT = "idempotency_key"
"""A tool with a parameter of this name is given the action's key, the same whenever that action is run; annotate it
with `langchain_core.tools.InjectedToolArg`, so that no model fills it in."""

MAX_OUTPUT = 20_000
"""The most characters of a tool's output that enter a prompt."""

AT_ONCE = 16
"""How many tools may run at once unless `CallPolicy.tools_at_once` says otherwise."""

MAX_ARGUMENTS = 500
"""The most characters of arguments that cannot be read which are shown to the model again."""


class Calls(NamedTuple):
    """The tool calls of one reply, read."""

    reply: AIMessage
    """The reply; each of its calls, readable or not, has an id of its own."""
    proposed: tuple[dict[str, Any], ...]
    """The calls that can be read: id, tool, arguments."""
    unreadable: tuple[ToolMessage, ...]
    """For each other call the error that the model gets instead of a result."""


def whole_reply(streamed: AIMessage | None) -> AIMessage:
    """Return the message that streamed chunks add up to, with usage; empty where nothing came.

    A model that cannot stream gives its message as the only chunk, and it is no `AIMessageChunk`.

    Arguments are read strictly. LangChain completes half a JSON object to some whole one, so that a call that was cut
    off would run with arguments that the model never gave; here it is an invalid call.
    """
    if streamed is None:
        return AIMessage(content="")
    calls, invalid = list(streamed.tool_calls), list(streamed.invalid_tool_calls)
    if isinstance(streamed, AIMessageChunk) and streamed.tool_call_chunks:
        calls, invalid = [], []
        for chunk in streamed.tool_call_chunks:
            arguments = _object(chunk["args"] or "{}")
            if arguments is None or not chunk["name"]:
                invalid.append(invalid_tool_call(name=chunk["name"], args=chunk["args"], id=chunk["id"], error=None))
            else:
                calls.append(tool_call(name=chunk["name"], args=arguments, id=chunk["id"]))
    return AIMessage(
        content=streamed.content, tool_calls=calls, invalid_tool_calls=invalid, usage_metadata=streamed.usage_metadata
    )


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_calls(reply: AIMessage, mark: str) -> Calls:
    """Return the tool calls of a reply; nothing that the model called goes missing.

    A call without an id, or with one that an earlier call of the reply has, gets one made of `mark` and its place, so
    that a call and its result always belong together. Arguments that are no JSON object are an error that the model
    reads and can mend; such a call is no action, and nothing runs.
    """
    taken: set[str] = set()

    def own(given: str | None) -> str:
        name = given if given and given not in taken else f"{mark}-{len(taken)}"
        taken.add(name)
        return name

    good = [tool_call(name=storable(call["name"]), args=call["args"], id=own(call["id"])) for call in reply.tool_calls]
    bad = [
        invalid_tool_call(
            name=storable(call["name"] or "unnamed"), args=call["args"] or "", id=own(call["id"]), error=None
        )
        for call in reply.invalid_tool_calls
    ]
    return Calls(
        reply=reply.model_copy(update={"tool_calls": good, "invalid_tool_calls": bad}),
        proposed=tuple({"id": str(call["id"]), "tool": call["name"], "arguments": call["args"]} for call in good),
        unreadable=tuple(
            ToolMessage(
                content=(
                    "Not run: the arguments are no JSON object. Call the tool again with one. They were: "
                    f"{str(call['args'])[:MAX_ARGUMENTS]}"
                ),
                tool_call_id=str(call["id"]),
                name=call["name"],
                status="error",
            )
            for call in bad
        ),
    )


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools of one Assistant, by name."""

    tools: Mapping[str, BaseTool] = field(default_factory=dict)
    """Name to tool."""
    places: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(AT_ONCE), compare=False, repr=False)
    """One for each tool that may run at once, shared with the toolboxes that `only` makes."""

    @classmethod
    def of(cls, tools: Iterable[BaseTool | Callable[..., Any]], at_once: int = AT_ONCE) -> Toolbox:
        """Return a toolbox of langchain-core tools and plain functions; raise `InvalidSetting` for two of one name.

        At most `at_once` of them run at the same time, whoever calls them.
        """
        made = [tool if isinstance(tool, BaseTool) else _made(tool) for tool in tools]
        names = [tool.name for tool in made]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise InvalidSetting(f"two tools have the same name: {', '.join(sorted(twice))}")
        return cls({tool.name: tool for tool in made}, anyio.Semaphore(at_once))

    def only(self, names: Collection[str] | None) -> Toolbox:
        """Return the tools of these names, all for None; raise `InvalidSetting` for one that is not there."""
        if names is None:
            return self
        unknown = sorted(set(names) - set(self.tools))
        if unknown:
            there = ", ".join(sorted(self.tools)) or "none: give them to Mars.open(tools=…)"
            raise InvalidSetting(f"there is no tool {', '.join(unknown)}; the tools are {there}")
        return Toolbox({name: tool for name, tool in self.tools.items() if name in names}, self.places)

    @property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON schema of the arguments of each tool."""
        return {
            name: convert_to_openai_tool(tool)["function"].get("parameters", {}) for name, tool in self.tools.items()
        }

    def read_only(self, name: str) -> bool:
        """Return whether the tool says of itself that it changes nothing."""
        tool = self.tools.get(name)
        return bool(tool and tool.metadata and tool.metadata.get(READ_ONLY))

    def asks(self, name: str) -> bool:
        """Return whether calling the tool asks a person."""
        tool = self.tools.get(name)
        return bool(tool and tool.metadata and tool.metadata.get(ASKS))

    def takes_key(self, name: str) -> bool:
        """Return whether the tool takes the idempotency key of an action."""
        tool = self.tools.get(name)
        return tool is not None and KEY_ARGUMENT in getattr(tool.get_input_schema(), "model_fields", {})

    def repeatable(self, name: str) -> bool:
        """Return whether an action may be run again although it may have had its effect."""
        tool = self.tools.get(name)
        if tool is None or self.read_only(name):
            return True
        idempotent = bool(tool.metadata and tool.metadata.get(IDEMPOTENT))
        return idempotent or (self.takes_key(name) and self.was_done(name) is None)

    def was_done(self, name: str) -> Callable[[str], Any] | None:
        """Return what says whether an action of this tool happened, by its key, if the tool has it."""
        tool = self.tools[name]
        function = getattr(tool, "coroutine", None) or getattr(tool, "func", None)
        found = (
            (tool.metadata or {}).get(WAS_DONE) or getattr(tool, WAS_DONE, None) or getattr(function, WAS_DONE, None)
        )
        return found if callable(found) else None

    def bind(self, model: BaseChatModel) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with the tools bound; the model itself if there are none."""
        if not self.tools:
            return model
        try:
            return model.bind_tools(list(self.tools.values()))
        except NotImplementedError as error:
            raise ModelUnavailable(
                f"the model {model._llm_type!r} cannot call tools; open Mars without tools"
            ) from error

    @staticmethod
    def reply(action: Action, text: str, *, failed: bool = False) -> ToolMessage:
        """Return a tool's reply to an action, cut to the most that a prompt takes, without what no database stores."""
        if len(text) > MAX_OUTPUT:
            text = f"{text[:MAX_OUTPUT]}\n… cut: {len(text):,} characters in all"
        return ToolMessage(
            content=storable(text), tool_call_id=action.id, name=action.tool, status="error" if failed else "success"
        )

    async def run(self, action: Action, key: str = "", limit: float | None = None) -> ToolMessage:
        """Run an action, known by an idempotency key; whatever its tool does, the reply says so in words.

        An error becomes the reply, verbatim. After `limit` seconds the reply is that nothing came; a plain function
        that hangs goes on in a thread of its own, which keeps its place and ends with the process at the latest. Raises
        `ToolDown` where the tool may be run again and another attempt may succeed.
        """
        tool = self.tools.get(action.tool)
        if tool is None:
            return self.reply(action, f"there is no tool {action.tool!r}", failed=True)
        arguments = {**action.arguments, KEY_ARGUMENT: key} if self.takes_key(action.tool) else dict(action.arguments)
        begun = False
        try:
            with anyio.move_on_after(limit):
                await self.places.acquire()
                begun = True
                result = await _result(tool, arguments, self.places)
                failed = isinstance(result, ToolMessage) and result.status == "error"
                return self.reply(action, _words(result), failed=failed)
        except GraphBubbleUp:
            raise  # the tool asks a person
        except (Exception, SystemExit) as error:
            said = said_of(error)
            if is_transient(error) and self.repeatable(action.tool):
                raise ToolDown(said, getattr(error, "response", None)) from error
            return self.reply(action, said, failed=True)
        late = "it may have had its effect" if begun else "it was not run, because too many others still are"
        return self.reply(action, f"TimeoutError: no result within {limit:g} s; {late}", failed=True)


class ToolDown(ConnectionError):
    """A tool that may be run again failed in a way that another attempt may not meet; the words are the error's."""

    def __init__(self, words: str, response: Any = None) -> None:
        super().__init__(words)
        self.response = response
        """What says how long to wait, if anything does."""


async def _result(tool: BaseTool, arguments: dict[str, Any], places: anyio.Semaphore) -> Any:
    """Return what a tool returns, and give its place back when it has ended, be that long after this was cancelled."""
    if _blocks(tool):
        return await _on_thread(lambda: tool.invoke(arguments), places.release)
    try:
        return await tool.ainvoke(arguments)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("the tool cancelled itself") from error
    finally:
        places.release()


def _blocks(tool: BaseTool) -> bool:
    """Whether a tool is a plain function, which the event loop cannot wait for."""
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is None
    return type(tool)._arun is BaseTool._arun


async def _on_thread(work: Callable[[], Any], ended: Callable[[], None]) -> Any:
    """Return what a blocking function returns, from a thread that keeps neither the loop nor the process from ending.

    The threads of an event loop's executor are waited for when it closes, so that one tool that hangs would hang all.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = copy_context()

    def finish(value: Any, error: BaseException | None) -> None:
        ended()
        if not found.done():
            found.set_result((value, error))

    def run() -> None:
        value, error = None, None
        try:
            value = context.run(work)
        except BaseException as raised:  # noqa: BLE001 - it is raised again where somebody waits for it
            error = raised
        with suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(finish, value, error)

    Thread(target=run, name="mars-tool", daemon=True).start()
    value, error = await found
    if isinstance(error, StopIteration) or not isinstance(error, Exception | SystemExit | None):
        raise RuntimeError(said_of(error)) from error  # it is the tool's, and would end the coroutine or the loop here
    if error is not None:
        raise error
    return value


def said_of(error: BaseException) -> str:
    """Return an error's type and words, and those of the errors within it; also of one that cannot be written."""
    try:
        said = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - whatever its author did, the type is known
        said = type(error).__name__
    within = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return "; ".join((said, *map(said_of, within)))


def _words(result: Any) -> str:
    """Return a tool's result as text for a prompt: collections as JSON where they can be, all else as it is written."""
    if isinstance(result, ToolMessage):
        return _words(result.content)
    if isinstance(result, dict | list | tuple):
        try:
            return json.dumps(result, ensure_ascii=False, default=str)
        except (TypeError, ValueError, RecursionError):
            return str(result)
    return str(result)


def _made(function: Callable[..., Any]) -> BaseTool:
    """Return a tool of a function, plain or asynchronous; without a docstring its signature says what it is."""
    name = getattr(function, "__name__", None)
    if name is None:
        raise InvalidSetting(f"a tool is a langchain-core tool or a function with a name; got {function!r}")
    told = None if inspect.getdoc(function) else f"{name}{inspect.signature(function)}"
    if inspect.iscoroutinefunction(function):
        return StructuredTool.from_function(coroutine=function, description=told)
    return StructuredTool.from_function(function, description=told)
