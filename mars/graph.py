"""The loop as a graph; it reads like the diagram of runtime.md §2.

```
begin → recall → assistant ⇄ (review_action → tools) → checker ─ approved ─→ consolidate → END
          ▲                                               │
          └── reflect ←──────────── rejected, i < N ──────┘   rejected, i = N → reflect → consolidate → END (best draft)
```

Between review_action and tools is person, where one has to decide.
"""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from mars.nodes import Loop
from mars.roster import Roster
from mars.state import State

STEPS_PER_ITERATION = 5
"""recall, draft, check, reflect, and one to spare; tool rounds come on top."""


def build_graph(loop: Loop | Roster) -> StateGraph[State, None, State, State]:
    """Return the graph of a loop, or of a roster of them, not yet compiled, without checkpointer or store."""
    graph = StateGraph(State)
    graph.add_node("begin", loop.begin)
    graph.add_node("recall", loop.recall)
    graph.add_node("assistant", loop.draft)
    graph.add_node("review_action", loop.review_action)
    graph.add_node("person", loop.person)
    graph.add_node("tools", loop.tools)
    graph.add_node("checker", loop.check)
    graph.add_node("reflect", loop.reflect)
    graph.add_node("consolidate", loop.consolidate)
    graph.add_edge(START, "begin")
    graph.add_edge("begin", "recall")
    graph.add_edge("recall", "assistant")
    graph.add_edge("consolidate", END)
    return graph


def compile_graph(
    loop: Loop | Roster, checkpointer: BaseCheckpointSaver[Any] | None = None
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the compiled graph, without a store, and without a checkpointer unless one is given."""
    return build_graph(loop).compile(name="mars", checkpointer=checkpointer)


def recursion_limit(loop: Loop | Roster) -> int:
    """Return a limit on LangGraph's steps that the loop's own counter always reaches first."""
    iterations, actions = loop.steps
    return 4 + iterations * (STEPS_PER_ITERATION + 4 * (actions + 1))
