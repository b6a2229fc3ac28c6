"""A turn that leaves nothing but memories: what `mars.conversations` is for turns that are kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from mars.events import AnyEvent, Event, final
from mars.results import read_result
from mars.watching import apart

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import StreamMode

    from mars.calls import Calls
    from mars.state import State


async def pass_through(
    graph: CompiledStateGraph[Any, Any, Any, Any], calls: Calls, state: State, limit: int
) -> AsyncGenerator[AnyEvent, None]:
    """Run a turn; yield its events, the last with the result. `limit` is LangGraph's recursion limit."""
    config: RunnableConfig = {"recursion_limit": limit}
    modes: list[StreamMode] = ["custom", "values"]
    values: dict[str, Any] = {}
    source: Any = graph.astream(state, config, stream_mode=modes)
    try:
        async with aclosing(apart(source)) as parts:
            async for mode, part in parts:
                if mode == "custom":
                    if isinstance(part, Event):
                        event: Any = part
                        yield event
                elif isinstance(part, dict):
                    values = part
    finally:
        await calls.forget(state["conversation"], state["turn"])
    yield final(read_result(values))
