"""MARS as a node and as a tool of somebody else's graph, with their state, their checkpointer and their store.

    python examples/subgraph.py

A help desk sends what is about an order to a function of its own, and everything else to the agent that remembers.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore

from mars import Mars
from mars.subgraph import Asker, agent_graph, agent_tool


def desk(state: MessagesState) -> Literal["orders", "mars"]:
    """Say who takes care of the last message."""
    return "orders" if "order" in state["messages"][-1].text else "mars"


async def orders(state: MessagesState, runtime: Runtime[Asker]) -> dict[str, Any]:
    """Look an order up in the host's own store."""
    assert runtime.store is not None
    found = await runtime.store.aget(("orders",), state["messages"][-1].text.split()[-1].strip("?"))
    return {"messages": [AIMessage(found.value["state"] if found else "There is no such order.")]}


async def main() -> None:
    """Ask both of them, in one thread; then ask the memory by a tool."""
    store = InMemoryStore()
    store.put(("orders",), "17", {"state": "Order 17 left the house on Monday."})
    async with Mars.open("memory:") as mars:
        builder = StateGraph(MessagesState, context_schema=Asker)
        builder.add_node("orders", orders)
        builder.add_node("mars", agent_graph(mars).compile())
        builder.add_conditional_edges(START, desk)
        builder.add_edge("orders", END)
        builder.add_edge("mars", END)
        graph = builder.compile(checkpointer=InMemorySaver(), store=store)

        config: Any = {"configurable": {"thread_id": "monday"}}
        for said in ("My parcels go to 5 Mill Lane.", "Where is order 17?", "Where do my parcels go?"):
            print(f"ann: {said}\n  ", end="")
            asked: Any = {"messages": [("user", said)]}
            # The Assistant's words as they come are in the mode "custom" with subgraphs=True; here, the answers.
            values = await graph.ainvoke(asked, config, context=Asker(user="ann"))
            print(values["messages"][-1].text)

        tool = agent_tool(mars, user="ann")  # for the model of another agent
        print(f"{tool.name}: {await tool.ainvoke({'question': 'Where do my parcels go?'})}")


if __name__ == "__main__":
    asyncio.run(main())
