"""MARS's memory in other people's programs: LangGraph's store, a retriever, a chat history, tools.

What was given stays open. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.integrations.history import MemoryChatHistory
    from mars.integrations.middleware import memory_middleware
    from mars.integrations.retriever import MemoryRetriever
    from mars.integrations.store import MemoryStore
    from mars.integrations.tools import memory_tools

__all__ = ["MemoryChatHistory", "MemoryRetriever", "MemoryStore", "memory_middleware", "memory_tools"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.integrations.history": ("MemoryChatHistory",),
        "mars.integrations.middleware": ("memory_middleware",),
        "mars.integrations.retriever": ("MemoryRetriever",),
        "mars.integrations.store": ("MemoryStore",),
        "mars.integrations.tools": ("memory_tools",),
    },
)
