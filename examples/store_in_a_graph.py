"""A LangGraph graph that uses nothing of MARS but its store: what one thread is told, another one knows.

    python examples/store_in_a_graph.py [sqlite:///notes.db]

The store is durable, searches without a key, and is any LangGraph graph's: `builder.compile(store=store)`.
"""

from __future__ import annotations

import sys
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from mars import MemoryStore


class State(TypedDict, total=False):
    """What the graph carries from node to node."""

    user: str
    said: str
    answer: str


def listen(state: State, runtime: Runtime[None]) -> State:
    """Keep what the user tells; questions are not kept."""
    if runtime.store is not None and not state["said"].endswith("?"):
        runtime.store.put(("users", state["user"]), state["said"], {"text": state["said"]})
    return {}


def answer(state: State, runtime: Runtime[None]) -> State:
    """Answer with the note that is nearest to what was said."""
    found = runtime.store.search(("users", state["user"]), query=state["said"], limit=1) if runtime.store else []
    return {"answer": found[0].value["text"] if found else "I know nothing about that."}


def build() -> StateGraph[State]:
    """Return the graph, to be compiled with any store."""
    builder = StateGraph(State)
    builder.add_node("listen", listen)
    builder.add_node("answer", answer)
    builder.add_edge(START, "listen")
    builder.add_edge("listen", "answer")
    builder.add_edge("answer", END)
    return builder


def main(url: str) -> None:
    """Tell the graph two things, and ask for one of them, as two users."""
    with MemoryStore.open(url, floor=0.1) as store:
        graph = build().compile(store=store)
        for user, said in (
            ("ann", "My sister lives in Porto."),
            ("ann", "The cat is called Miso."),
            ("ann", "What is the cat called?"),
            ("bob", "What is the cat called?"),
        ):
            print(f"{user}: {said}\n  {graph.invoke({'user': user, 'said': said})['answer']}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///:memory:")
