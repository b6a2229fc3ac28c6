"""What nodes tell: events into the stream, and how a turn ends whose call failed."""

from __future__ import annotations

from typing import Any

from langgraph.config import get_stream_writer
from langgraph.errors import GraphBubbleUp

from mars.errors import BudgetExhausted, CallFailed, ConversationError, InvalidSetting, StoreError
from mars.results import Event, EventKind, RunStatus


def failure(error: Exception) -> dict[str, Any]:
    """Return how a turn ends whose model failed; what is no failure of a model is raised."""
    if isinstance(error, AssertionError | ConversationError | InvalidSetting | StoreError | GraphBubbleUp):
        raise error
    if isinstance(error, BudgetExhausted):
        emit(EventKind.BUDGET, "runtime", str(error))
        return {"status": RunStatus.BUDGET_EXHAUSTED.value, "stop_reason": str(error)}
    if isinstance(error, CallFailed):
        return {"status": RunStatus.TASK_ERROR.value, "error": str(error)}
    return {"status": RunStatus.TASK_ERROR.value, "error": f"{type(error).__name__}: {error}"}


def emit(kind: EventKind, role: str, text: str = "", **data: Any) -> None:
    """Put an event into the stream."""
    get_stream_writer()(Event(kind=kind, role=role, text=text, data=data))
