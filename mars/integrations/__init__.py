"""MARS's memory in other people's programs: LangGraph's store, a retriever, a chat history, tools.

Each of these takes a URL or a live `Memory`; what was opened here is closed here, what was given stays open. Nothing is
imported before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.integrations.store import MemoryStore

__all__ = ["MemoryStore"]

__getattr__, __dir__ = lazy_exports(__name__, {"mars.integrations.store": ("MemoryStore",)})
