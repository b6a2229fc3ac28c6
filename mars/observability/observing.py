"""Who is told of runs: observers, and the context by which the code within a run finds them.

`Observers.watch` passes a run's events through and keeps its observations in a context variable while the run goes on,
so that nodes and calls find them in whatever task they run. A run within a run that has no observers of its own is
told to those of the outer one. An observer that fails is logged and harms no run.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from langgraph.errors import GraphBubbleUp

if TYPE_CHECKING:
    from mars.calls import Place, Wanted
    from mars.events import Event
    from mars.persistence.ledger import Key, Outcome
    from mars.results import RunResult
    from mars.state import State

__all__ = ["Began", "Observation", "Observer", "Observers", "noted", "observations", "observed", "tell"]

log = logging.getLogger(__name__)

Told = TypeVar("Told", bound="Event")


@dataclass(frozen=True, slots=True)
class Began:
    """What is known of a run when it begins."""

    operation: str
    """run, resume or replay."""
    namespace: tuple[str, ...] | None
    """Whose memories it works with; None where a conversation of that name is looked for."""
    conversation: str | None
    """As it was asked for; None for a new one."""
    task: str = ""
    """What was asked; empty where a turn is resumed."""
    user: str = ""
    """Who asked; empty where a turn is resumed."""
    team: str = ""
    """Name of the team; empty for the usual one."""

    @classmethod
    def of(cls, asked: State, conversation: str | None) -> Began:
        """Return what is known of a run that works on a new turn."""
        task = asked["task"]
        return cls("run", tuple(asked["namespace"]), conversation, task["text"], task["user"], asked.get("team", ""))


class Observation(Protocol):
    """One run as an observer sees it. All methods are called on the event loop and must not block."""

    def step(self) -> AbstractContextManager[object]:
        """Return the context in which the run goes on to its next event: tasks that it begins there inherit it."""

    def event(self, event: Event, place: Place) -> None:
        """Be told what happened, and where in which turn."""

    def call(self, wanted: Wanted) -> AbstractContextManager[object]:
        """Return the context in which an attempt at a call of a model or a tool is made."""

    def settled(self, key: Key, attempt: int, outcome: Outcome) -> None:
        """Be told what came of the attempt."""

    def end(self, result: RunResult | None, error: BaseException | None) -> None:
        """Be told how the run ended: by a result, by an error, or, in somebody else's graph, by an interrupt."""


class Observer(Protocol):
    """Is told of runs: `mars.observability.RunLog` and `mars.observability.Telemetry` are."""

    def begin(self, began: Began) -> Observation:
        """Return what is to be told of a run that begins; called on the event loop."""

    async def flush(self) -> None:
        """Return when all that was told is where it belongs; called when a `Mars` is closed."""


_seen: ContextVar[tuple[Observation, ...]] = ContextVar("mars_observations", default=())

observations: Callable[[], tuple[Observation, ...]] = _seen.get
"""Return who observes the run that this code is part of; empty where nobody does."""


@contextmanager
def _harmless(who: object) -> Iterator[None]:
    """Log what an observer fails with."""
    try:
        yield
    except Exception:
        log.exception("%s failed; the run goes on", type(who).__name__)


def tell(event: Event, place: Place) -> None:
    """Tell an event to all who observe this run."""
    for one in observations():
        with _harmless(one):
            one.event(event, place)


def observed(wanted: Wanted, make: Callable[[], Any]) -> Callable[[], Any]:
    """Return `make`, observed; itself where nobody observes."""
    seen = observations()
    if not seen:
        return make

    async def made() -> Any:
        with ExitStack() as stack:
            for one in seen:
                with _harmless(one):
                    stack.enter_context(one.call(wanted))
            return await make()

    return made


def noted(key: Key, attempt: int, outcome: Outcome) -> None:
    """Tell the outcome of an attempt to all who observe this run."""
    for one in observations():
        with _harmless(one):
            one.settled(key, attempt, outcome)


class Observers:
    """The observers of a `Mars`."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        """Observe with all of them; with none, nothing is done."""
        self.all = tuple(observers)
        """In the order in which they are told."""

    async def flush(self) -> None:
        """Flush all of them."""
        for one in self.all:
            with _harmless(one):
                await one.flush()

    def watch(self, events: AsyncGenerator[Told, None], began: Began) -> AsyncGenerator[Told, None]:
        """Return the events of a run, observed; the same generator where there is nobody to tell."""
        return self._watched(events, began) if self.all else events

    def _begun(self, began: Began) -> tuple[Observation, ...]:
        seen: list[Observation] = []
        for one in self.all:
            with _harmless(one):
                seen.append(one.begin(began))
        return tuple(seen)

    async def _watched(self, events: AsyncGenerator[Told, None], began: Began) -> AsyncGenerator[Told, None]:
        seen = self._begun(began)
        result: RunResult | None = None
        failure: BaseException | None = None
        try:
            async with aclosing(events):
                while True:
                    # Around each step, not the whole: an asynchronous generator runs in the context of its caller.
                    with _step(seen):
                        event = await anext(events, None)
                    if event is None:
                        break
                    result = event.result or result
                    yield event
        except BaseException as error:
            failure = error
            raise
        finally:
            _end(seen, result, failure)

    @contextmanager
    def run(self, began: Began) -> Iterator[Callable[[RunResult], None]]:
        """Observe what runs in this block; it is to be given the result."""
        seen = self._begun(began)
        results: list[RunResult] = []
        failure: BaseException | None = None
        try:
            with _step(seen) if seen else ExitStack():
                yield results.append
        except GraphBubbleUp:
            raise  # it waits for the host's user, which is no failure
        except BaseException as error:
            failure = error
            raise
        finally:
            _end(seen, results[-1] if results else None, failure)


@contextmanager
def _step(seen: tuple[Observation, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        stack.callback(_seen.reset, _seen.set(seen))
        for one in seen:
            with _harmless(one):
                stack.enter_context(one.step())
        yield


def _end(seen: tuple[Observation, ...], result: RunResult | None, failure: BaseException | None) -> None:
    for one in seen:
        with _harmless(one):
            one.end(result, None if result is not None else failure)
