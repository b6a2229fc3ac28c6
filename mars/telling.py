"""What nodes tell: events into the stream, and how a turn ends whose call failed."""

from __future__ import annotations

from typing import Any

from langgraph.config import get_stream_writer
from langgraph.errors import GraphBubbleUp

from mars.calls import here
from mars.errors import BudgetExhausted, CallFailed, ConversationError, InvalidSetting, StoreError
from mars.events import EVENTS, EventKind
from mars.observability.observing import observations, tell
from mars.results import RunStatus


def failure(error: Exception) -> dict[str, Any]:
    """Return how a turn ends whose model failed; what is no failure of a model is raised."""
    if isinstance(error, AssertionError | ConversationError | InvalidSetting | StoreError | GraphBubbleUp):
        raise error
    if isinstance(error, BudgetExhausted):
        emit(EventKind.BUDGET, "runtime", str(error))
        return {"status": RunStatus.BUDGET_EXHAUSTED.value, "stop_reason": str(error)}
    words = str(error) if isinstance(error, CallFailed) else f"{type(error).__name__}: {error}"
    overflow = words.partition(":")[0].endswith("ContextOverflowError")  # langchain's name, in memory and on record
    status = RunStatus.CONTEXT_LIMIT if overflow else RunStatus.TASK_ERROR
    return {"status": status.value, "error": words}


def emit(kind: EventKind, role: str, text: str = "", **data: Any) -> None:
    """Tell an event to whoever watches the turn, else put it into LangGraph's stream; and to those who observe it."""
    place = here()
    watch, observed = place.watch, observations()
    if watch is not None and watch.tell is None and not observed:
        return
    event = EVENTS[kind](kind=kind, role=role, text=text, data=data)
    if observed:
        tell(event, place)
    if watch is None:
        get_stream_writer()(event)
    elif watch.tell is not None:
        watch.tell(event)
