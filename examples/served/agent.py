"""MARS behind a LangGraph server, to be asked through its HTTP API; in this folder, run

    LANGGRAPH_CLI_NO_ANALYTICS=1 langgraph dev

The server calls `agent` for the graph; `MARS_DB` names the memory, `MARS_MODEL` a model, `MARS_RUN_LOG` a run log.
"""

from mars.subgraph import served_agent as agent

__all__ = ["agent"]
