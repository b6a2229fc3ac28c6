"""The state of one turn, as the graph carries it: plain JSON values under a version.

A node returns only the keys that it changes; `checked` refuses what is not a key of the state or no plain value, since
LangGraph itself validates neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, TypedDict, TypeVar

from langgraph.types import Command

from mars.agents.interfaces import Evidence, Task
from mars.errors import InvalidUpdate, StateMismatch
from mars.memory.interfaces import Namespace

VERSION = 2
"""Version of the state's schema: 1 had no running summary."""


class State(TypedDict, total=False):
    """One turn: a task on its way to an answer."""

    version: int
    """Version of this schema."""
    task: dict[str, Any]
    """id, text, user, asked_at, constraints."""
    namespace: list[str]
    """Where memories are read and written."""
    conversation: str
    """The conversation that the turn belongs to."""
    turn: str
    """Id of the turn."""
    iteration: int
    """The current iteration, from 1."""
    evidence: list[dict[str, Any]]
    """Recalled records in the Assistant's prompt."""
    memory_words: int
    """Words of memories that the turn's prompts have held so far."""
    wider: list[dict[str, Any]]
    """What the Checker's own search found for the current draft."""
    window: list[dict[str, Any]]
    """The newest turns of the conversation: speaker and text."""
    summary: str
    """What was said before them, in a few lines; empty where nothing keeps a transcript."""
    leaving: list[dict[str, Any]]
    """What left the window with this turn, until a Summariser has read it; absent where there is none."""
    lessons: list[dict[str, Any]]
    """Reflections of earlier turns that fit the task."""
    reflections: list[dict[str, Any]]
    """Reflections of this turn, oldest first."""
    strategy: list[str]
    """The strategy note: what the next attempt does differently, in a few lines; drawn anew at each rejection."""
    team: str
    """Name of the team that works on the turn; empty for the usual one."""
    scratch: list[dict[str, Any]]
    """The Assistant's tool calls and their results in this iteration, after what people answered in earlier ones."""
    pending: list[dict[str, Any]]
    """Proposed actions that wait for their review or their run."""
    actions: int
    """Tool calls proposed in this iteration."""
    rejected_actions: int
    """Actions rejected in a row."""
    draft: str
    """The current draft, with citations."""
    oracle_feedback: bool
    """Whether a verifier of the turn's Checker knows a reference answer."""
    attempts: list[dict[str, Any]]
    """Every draft of this turn: iteration, draft, verdict, sources, blamed, prompt."""
    status: str
    """Empty while the turn runs; a `RunStatus` then."""
    error: str
    """What failed, for task_error."""
    stop_reason: str
    """What ended the turn early, in words; empty else."""
    replay: dict[str, Any]
    """What a turn that goes on in a copy of its conversation keeps to (`mars.past`); absent or empty for any other.
    ``of``: the turn that it was; ``effects``: ask, where a person decides on every action that may change something,
    or run; ``remember``: whether memory hears of it; ``until``: what was said since is not recalled."""
    calls: int
    """Calls of models and tools so far in this turn: their ordinals in the ledger."""
    budget: dict[str, Any]
    """What this turn may spend, beside the team's budgets; empty without one."""
    usage: dict[str, Any]
    """What the turn has spent, once it is over."""
    latency: float
    """Seconds that processes have worked on the turn, once it is over."""
    answer: str
    """The answer for the user, once there is one."""
    approved: bool
    """Whether it was approved."""
    sources: list[dict[str, Any]]
    """What the answer rests on."""


def fresh() -> dict[str, Any]:
    """Return what every turn begins with."""
    lists = ("evidence", "wider", "lessons", "reflections", "strategy", "scratch", "pending", "attempts", "sources")
    words = ("draft", "status", "error", "stop_reason", "answer")
    counts = ("actions", "rejected_actions", "calls", "memory_words")
    return {
        "version": VERSION,
        "iteration": 1,
        "approved": False,
        **{key: [] for key in lists},
        **dict.fromkeys(words, ""),
        **dict.fromkeys(counts, 0),
    }


def asked(
    task: str,
    user: str,
    namespace: Namespace,
    asked_at: datetime,
    constraints: Sequence[str] = (),
    budget: Mapping[str, Any] | None = None,
) -> State:
    """Return what a user asks, as a turn begins; it has no name yet."""
    told = {"text": task, "user": user, "asked_at": asked_at.isoformat(), "constraints": list(constraints)}
    return {"task": told, "namespace": list(namespace), "budget": dict(budget or {})}


def namespace_of(state: State) -> Namespace:
    """Return where memories are read and written."""
    return tuple(state["namespace"])


def task_of(state: State) -> Task:
    """Return the task of the turn."""
    values = state["task"]
    return Task(
        id=values["id"],
        text=values["text"],
        user=values["user"],
        asked_at=datetime.fromisoformat(values["asked_at"]),
        constraints=tuple(values.get("constraints", ())),
    )


def remembered(state: State) -> bool:
    """Return whether memory is to hear of the turn; it does not of a replay."""
    return bool(state.get("replay", {}).get("remember", True))


def told_until(state: State) -> datetime | None:
    """Return from when on what was said is not recalled: a replay does not know what came after it."""
    until = state.get("replay", {}).get("until")
    return datetime.fromisoformat(until) if until else None


def evidence_of(state: State) -> list[Evidence]:
    """Return the recalled records in the Assistant's prompt."""
    return [Evidence.from_plain(values) for values in state["evidence"]]


Update = TypeVar("Update", bound=Mapping[str, Any] | Command[Any])


def check_update(node: str, update: Mapping[str, Any]) -> None:
    """Raise `InvalidUpdate` if `update` has unknown keys or values that are not plain."""
    for key, value in update.items():
        if key not in State.__annotations__:
            raise InvalidUpdate(f"node {node} returned {key!r}, which is no key of the state")
        if not _plain(value):
            raise InvalidUpdate(f"node {node} returned {key!r} with a value that is not plain JSON")


_SCALARS = frozenset({str, int, float, bool, type(None)})


def _plain(value: object) -> bool:
    if type(value) in _SCALARS:
        return True
    if isinstance(value, dict):
        if not _SCALARS.issuperset(map(type, value.values())) and not all(map(_plain, value.values())):
            return False
        return all(type(key) is str or isinstance(key, str) for key in value)
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | int | float | bool)


def checked(node: Callable[..., Awaitable[Update]]) -> Callable[..., Awaitable[Update]]:
    """Wrap a node (a method of one argument, the state) so that what it returns is validated."""

    @wraps(node)
    async def run(self: Any, state: State) -> Update:
        update = await node(self, state)
        values = update.update if isinstance(update, Command) else update
        check_update(node.__name__, values if isinstance(values, Mapping) else {})
        return update

    return run


def migrated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has to change in a saved state of an older version; nothing for the current one.

    Raises `StateMismatch` for a version that this code does not know.
    """
    found = values.get("version", VERSION)
    if found == VERSION:
        return {}
    if found != 1:
        raise StateMismatch(
            f"the unfinished turn was saved as version {found} of the state, this code has {VERSION}: finish it with "
            'the version of mars-runtime that began it, or give it up by run(…, on_unfinished="abandon")'
        )
    return {"version": VERSION, "summary": ""}
