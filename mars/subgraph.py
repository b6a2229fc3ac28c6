"""MARS in somebody else's graph: a builder, a subgraph node, a Runnable, a tool, and what a LangGraph server serves.

Nothing here bakes in a checkpointer or a store. Messages go in and one message comes out; the loop of `mars.graph` is
a graph within one node. So the host's checkpointer saves its steps and `interrupt` reaches the host's user, while what
the roles say to each other is in no stream of the host, unless it asks for ``subgraphs=True``.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from anyio import CancelScope, to_thread
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.config import get_config, get_stream_writer
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.runtime import get_runtime
from typing_extensions import TypedDict  # pydantic, which LangGraph's server reads schemas with, asks for this one

from mars.agents.rendering import shown
from mars.conversations import BLANK
from mars.errors import InvalidInput, InvalidSetting
from mars.events import HEARD, Event, EventKind, final, kinds
from mars.graph import compile_graph, recursion_limit
from mars.memory.interfaces import Namespace
from mars.memory.records import check_namespace, check_text
from mars.observability.observing import Began
from mars.observability.run_log import RunLog
from mars.results import read_result
from mars.runtime import Mars, SyncMars
from mars.settings import load_settings
from mars.state import State, asked
from mars.watching import Watch, keep_unheard, watch

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["Asker", "Talk", "agent_graph", "agent_tool", "served_agent"]

Result = TypeVar("Result")

TURNS = 6
"""How many earlier turns of the host's messages the prompt holds."""


class Talk(TypedDict):
    """What goes in and comes out: LangGraph's usual key."""

    messages: Annotated[list[AnyMessage], add_messages]
    """The conversation; the last message is the task, and the answer is added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """The graph's context: who asks, ``graph.invoke(…, context=Asker(user="ann"))``, or a dict of the same keys."""

    user: str = "user"
    """Name of the user; memories are read and written at ``(user,)`` unless `namespace` says otherwise."""
    namespace: tuple[str, ...] | None = None
    """Where memories are read and written."""
    constraints: tuple[str, ...] = ()
    """What the answer must keep to."""
    team: str = ""
    """Name of the team that works; empty for the usual one."""


def agent_graph(
    mars: Mars | SyncMars, *, heard: Collection[EventKind | str] = HEARD
) -> StateGraph[Any, Asker, Any, Any]:
    """Return the builder of a graph that answers the last message of `Talk`; compile it with what the host uses.

    ``agent_graph(mars).compile()`` is a Runnable, and a node of a host whose state has ``messages``. The answer is an
    `AIMessage`; its ``response_metadata["mars"]`` holds status, approved and sources. The stream of custom events has
    the events of the kinds `heard`, as they come: ``{"kind": "token", "role": "assistant", "text": …, "data": …}``, as
    `mars.events` says; the last one is the message. Turns are recalled from the host's messages, memories from
    `mars.memory`; `mars` has to stay open. Raises `InvalidInput` where the last message is no user's, or has no text,
    and `InvalidSetting` for what is no kind of event.

    Over the blocking twin (`Mars.open_sync`) the graph has `invoke` and `stream` too: in plain code, in a thread, and
    in a cell of a notebook whose event loop is running. Its nodes run on the twin's loop, and so the host's
    checkpointer has to have asynchronous methods, as `CheckpointSaver` and LangGraph's `InMemorySaver` do. Over a
    `Mars` of an event loop it is for that loop: `invoke` raises `InvalidSetting`.
    """
    twin, own = _both(mars)
    loop, limit, wanted = compile_graph(own.roster), recursion_limit(own.roster), kinds(heard)
    calls = _Records(own)

    async def agent(graph: CompiledStateGraph[Any, Any, Any, Any], state: Talk) -> dict[str, Any]:
        who = get_runtime(Asker).context or Asker()
        turn = _turn(own, who if isinstance(who, Asker) else Asker(**who), state.get("messages", []))
        writer = get_stream_writer()

        def tell(event: Event) -> None:
            if event.kind in wanted:
                writer(event.plain())

        watch(Watch("", tell))  # the turn that goes on is another one where a resume comes without the context
        keep_unheard()
        with own.observers.run(Began.of(turn, turn["conversation"])) as over:
            values = await calls.run(turn, graph.ainvoke(turn, {"recursion_limit": limit}))
            over(read_result(values))
        about = {key: values.get(key) for key in ("status", "approved", "sources", "stop_reason", "error")}
        return {"messages": [AIMessage(values["answer"], id=values["turn"], response_metadata={"mars": about})]}

    def answer(state: Talk) -> dict[str, Any]:
        return _blocking(twin, lambda: agent(loop, state))

    async def aanswer(state: Talk) -> dict[str, Any]:
        return await (agent(loop, state) if twin is None else twin._arun(lambda: agent(loop, state)))

    builder = StateGraph(Talk, context_schema=Asker)
    builder.add_node("mars", RunnableLambda(answer, aanswer, name="mars"))
    builder.add_edge(START, "mars")
    builder.add_edge("mars", END)
    return builder


class _Records:
    """What the ledger has of a host's turns: it goes when a turn is over, or when nobody can go on with it."""

    def __init__(self, mars: Mars) -> None:
        self._mars = mars
        self._broken: dict[str, set[tuple[str, str]]] = {}

    async def run(self, turn: State, work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        """Return the state that a turn ends with.

        One that rests for a person goes on with what is on record. So may one that failed in a thread: its records go
        when the next turn of that thread ends. Without a thread nobody can go on with it.
        """
        try:
            values = await work
        except GraphBubbleUp:
            raise
        except BaseException:
            broken = (str(turn.get("team", "")), turn["turn"])
            if get_config().get("configurable", {}).get("thread_id") is None:
                with CancelScope(shield=True):
                    await self._forget(turn["conversation"], {broken})
            else:
                self._broken.setdefault(turn["conversation"], set()).add(broken)
            raise
        conversation = values["conversation"]
        await self._forget(conversation, {(values["team"], values["turn"]), *self._broken.pop(conversation, ())})
        return values

    async def _forget(self, conversation: str, turns: Collection[tuple[str, str]]) -> None:
        for team, turn in turns:
            await self._mars.roster.loop_of(team).calls.forget(conversation, turn)


def _both(mars: Mars | SyncMars) -> tuple[SyncMars | None, Mars]:
    return (mars, mars.original) if isinstance(mars, SyncMars) else (None, mars)


def _blocking(twin: SyncMars | None, work: Callable[[], Awaitable[Result]]) -> Result:
    """Do asynchronous work for somebody who waits for it, on the twin's event loop."""
    if twin is None:
        raise InvalidSetting(
            "a Mars of Mars.open belongs to its event loop: use ainvoke or astream there; for invoke and stream, give "
            "the blocking twin of Mars.open_sync"
        )
    return twin._run(work)


def agent_tool(
    mars: Mars | SyncMars,
    *,
    user: str = "user",
    namespace: Namespace | None = None,
    name: str = "ask_memory",
    description: str = "Ask what is remembered. The answer was checked against the records that it rests on.",
) -> BaseTool:
    """Return a tool that puts a question to `mars`; its artifact is what an end user may see of the result.

    That is answer, status, approved, sources, conversation, turn and asks, as JSON values: the host's streams and
    checkpoints have the artifact too. Each question is a run of its own, and no part of the host's graph.
    Over the blocking twin (`Mars.open_sync`) it can be called from everywhere, else from the event loop of `mars` only.
    Raises `InvalidInput` for a bad namespace.
    """
    twin, own = _both(mars)
    where = check_namespace(namespace if namespace is not None else (user,))

    async def answered(question: str) -> tuple[str, dict[str, Any]]:
        result = await own.run(question, user=user, namespace=where)
        return result.answer or result.stop_reason, dict(final(result).data)

    def ask(question: str) -> tuple[str, dict[str, Any]]:
        return _blocking(twin, lambda: answered(question))

    async def aask(question: str) -> tuple[str, dict[str, Any]]:
        return await (answered(question) if twin is None else twin._arun(lambda: answered(question)))

    return StructuredTool.from_function(
        ask, aask, name=name, description=description, response_format="content_and_artifact"
    )


@asynccontextmanager
async def served_agent() -> AsyncIterator[CompiledStateGraph[Any, Any, Any, Any]]:
    """Open what the environment's ``MARS_*`` variables say, and yield its graph: a factory for ``langgraph.json``."""
    settings = load_settings()
    url = settings.db if "://" in settings.db else f"sqlite:///{settings.db}"
    log = [await to_thread.run_sync(RunLog, settings.run_log)] if settings.run_log else []
    opening = Mars.open(url, model=settings.model, preset=settings.preset, checkpointer=None, observers=log)
    async with opening as mars:
        yield await to_thread.run_sync(lambda: agent_graph(mars).compile(name="mars"))


def _turn(mars: Mars, who: Asker, messages: list[AnyMessage]) -> State:
    """Return the state that a turn begins with: what the host's last message asks."""
    last = messages[-1] if messages else None
    if not isinstance(last, HumanMessage):
        raise InvalidInput('the last message has to be the user\'s: {"messages": [{"role": "user", "content": "…"}]}')
    mars.roster.loop_of(who.team)
    where = check_namespace(who.namespace if who.namespace is not None else (who.user,))
    text = check_text(last.text, "last message")
    what = asked(text, who.user, where, mars.memory.clock.now(), who.constraints)
    thread = get_config().get("configurable", {}).get("thread_id")
    # The message's id, not the time: a node that is executed again after an interrupt means the same turn.
    turn = hashlib.blake2b(f"{tuple(where)}\0{thread}\0{last.id}".encode(), digest_size=12).hexdigest()
    begun: Any = {**BLANK, **what, "team": who.team, "conversation": str(thread or turn), "turn": turn}
    begun["task"]["id"] = turn
    begun.update(window=_window(who.user, messages[:-1]), summary="")
    state: State = begun
    return state


def _window(user: str, earlier: list[AnyMessage]) -> list[dict[str, Any]]:
    spoken = [
        {"speaker": user if isinstance(message, HumanMessage) else "assistant", "text": shown(message.text)}
        for message in earlier
        if isinstance(message, HumanMessage | AIMessage) and message.text.strip()
    ]
    return spoken[-2 * TURNS :]
