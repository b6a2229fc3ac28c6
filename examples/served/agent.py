"""MARS behind a LangGraph server: run `langgraph dev` in this folder, and ask it through its HTTP API.

The server calls `agent` for the graph; `MARS_DB` names the memory, `MARS_MODEL` a model.
"""

from mars.subgraph import served_agent as agent

__all__ = ["agent"]
