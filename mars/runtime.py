"""`Mars`: opens what the loop needs, runs it, and streams what happens."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mars.agents.interfaces import Verifier
from mars.agents.roles import Checker, User
from mars.bridge import Twin, blocking, streaming
from mars.errors import InvalidSetting, StoreClosed
from mars.graph import compile_graph, recursion_limit
from mars.memory.engine import Memory
from mars.memory.interfaces import Backend, Namespace
from mars.memory.records import check_namespace, check_text, check_time
from mars.models.resolve import resolve_model
from mars.nodes import Loop
from mars.results import Event, EventKind, RunResult, read_result
from mars.state import State
from mars.team import Team
from mars.tools import Toolbox

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import BaseTool
    from langgraph.types import StreamMode


class Mars:
    """The loop over one memory.

    Open it with `Mars.open`, which closes what it opened and leaves alone what it was given. One instance may run many
    turns at once; turns of one conversation should follow one another.
    """

    def __init__(self, memory: Memory, loop: Loop) -> None:
        self.memory = memory
        """The store behind the loop."""
        self.graph = compile_graph(loop)
        """The compiled graph, without checkpointer or store."""
        self._loop = loop
        self._turns = itertools.count(1)

    @classmethod
    def open(
        cls,
        memory: Memory | Backend | str = "sqlite:///mars.db",
        *,
        model: BaseChatModel | str | None = None,
        tools: Iterable[BaseTool | Callable[..., Any]] = (),
        verifiers: Sequence[Verifier] = (),
        team: Team | None = None,
        **memory_options: Any,
    ) -> Opening:
        """Return something to enter: ``async with Mars.open("sqlite:///life.db") as mars``.

        `memory` is an open `Memory`, a backend or a URL; `memory_options` go to `Memory.open` (embedder, preset,
        clock, …). `model` is the default of all roles without a model of their own: a langchain-core chat model, a name
        such as ``openai:gpt-…``, or None for the built-in extractive reader. With a model, the Checker and the
        Reflector use it too; with the reader, they work by rules. `verifiers` are added to the Checker's.
        """
        return Opening(memory, model, tuple(tools), tuple(verifiers), team or Team(), memory_options)

    @classmethod
    def open_sync(
        cls,
        memory: Backend | str = "sqlite:///mars.db",
        *,
        model: BaseChatModel | str | None = None,
        tools: Iterable[BaseTool | Callable[..., Any]] = (),
        verifiers: Sequence[Verifier] = (),
        team: Team | None = None,
        **memory_options: Any,
    ) -> SyncMars:
        """Return the blocking twin to enter with a plain `with`; it takes what `open` takes, but no open `Memory`."""
        return SyncMars(cls.open(memory, model=model, tools=tools, verifiers=verifiers, team=team, **memory_options))

    async def run(
        self,
        task: str,
        *,
        user: User | str = "user",
        namespace: Namespace | None = None,
        conversation: str | None = None,
        constraints: Sequence[str] = (),
        now: datetime | None = None,
    ) -> RunResult:
        """Work on a task until it is approved or a limit is reached, and return what came of it.

        The namespace is ``(user,)`` unless given. A limit is no error: `RunResult.status` says how the run ended.
        Raises `InvalidInput` for an empty task, a bad namespace or a naive `now`, and `StoreError` if memory fails.
        """
        final: RunResult | None = None
        async for event in self.stream(
            task, user=user, namespace=namespace, conversation=conversation, constraints=constraints, now=now
        ):
            final = event.result or final
        assert final is not None
        return final

    async def stream(
        self,
        task: str,
        *,
        user: User | str = "user",
        namespace: Namespace | None = None,
        conversation: str | None = None,
        constraints: Sequence[str] = (),
        now: datetime | None = None,
    ) -> AsyncIterator[Event]:
        """Run a task and yield its events as they happen; the last one is final and holds the result."""
        state = self._state(task, user, namespace, conversation, constraints, now)
        config: RunnableConfig = {"recursion_limit": recursion_limit(self._loop)}
        modes: list[StreamMode] = ["custom", "values"]
        values: dict[str, Any] = {}
        async for mode, part in self.graph.astream(state, config, stream_mode=modes):
            if mode == "custom":
                if isinstance(part, Event):
                    yield part
            elif isinstance(part, dict):
                values = part
        result = read_result(values)
        yield Event(kind=EventKind.FINAL, role="runtime", text=result.answer, result=result)

    def _state(
        self,
        task: str,
        user: User | str,
        namespace: Namespace | None,
        conversation: str | None,
        constraints: Sequence[str],
        now: datetime | None,
    ) -> State:
        check_text(task, "task")
        person = user if isinstance(user, User) else User(name=user)
        where = check_namespace(namespace if namespace is not None else (person.name,))
        asked_at = check_time(now) if now is not None else self.memory.clock.now()
        mark = f"{where}\0{conversation}\0{asked_at.isoformat()}\0{task}\0{next(self._turns)}"
        turn = hashlib.blake2b(mark.encode(), digest_size=12).hexdigest()
        return {
            "task": {
                "id": turn,
                "text": task,
                "user": person.name,
                "asked_at": asked_at.isoformat(),
                "constraints": list(constraints),
            },
            "namespace": list(where),
            "conversation": conversation or turn,
            "turn": turn,
        }


class SyncMars(Twin[Mars]):
    """`Mars` for code without an event loop: ``with Mars.open_sync("sqlite:///life.db") as mars``."""

    run = blocking(Mars.run)
    stream = streaming(Mars.stream)


class Opening:
    """What `Mars.open` returns: enter it to get a `Mars`, leave it to close what it opened."""

    def __init__(
        self,
        memory: Memory | Backend | str,
        model: BaseChatModel | str | None,
        tools: tuple[BaseTool | Callable[..., Any], ...],
        verifiers: tuple[Verifier, ...],
        team: Team,
        memory_options: dict[str, Any],
    ) -> None:
        if isinstance(memory, Memory) and memory_options:
            raise InvalidSetting(f"an open Memory takes no options: {', '.join(sorted(memory_options))}")
        self._memory = memory
        self._memory_options = memory_options
        self._team = team
        self._toolbox = Toolbox.of(tools)
        self._verifiers = verifiers
        self._model = model
        self._stack: AsyncExitStack | None = None

    async def __aenter__(self) -> Mars:
        async with AsyncExitStack() as stack:
            memory = self._memory
            if not isinstance(memory, Memory):
                memory = await stack.enter_async_context(Memory.open(memory, **self._memory_options))
            loop = make_loop(memory, self._team, self._model, self._toolbox, self._verifiers)
            self._stack = stack.pop_all()
            return Mars(memory, loop)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stack is None:
            raise StoreClosed("this was never opened; use it as: async with Mars.open(…) as mars")
        await self._stack.aclose()


def make_loop(
    memory: Memory,
    team: Team,
    model: BaseChatModel | str | None = None,
    toolbox: Toolbox | None = None,
    verifiers: Sequence[Verifier] = (),
) -> Loop:
    """Return the loop of a team: each role with its own model, or the default, or the rules where there is no model."""
    default = resolve_model(model)
    keyless = model is None or getattr(default, "_llm_type", "") == "mars-reader"
    checker = _with_verifiers(team.checker, verifiers)
    judge = checker.model if checker.model is not None else None if keyless else default
    words = team.reflector.model if team.reflector.model is not None else None if keyless else default
    drafting = resolve_model(team.assistant.model) if team.assistant.model is not None else default
    tools = toolbox or Toolbox()
    return Loop(
        memory=None if "memory" in team.without else memory,
        assistant=team.assistant,
        assistant_model=tools.bind(drafting),
        checker=None if "checker" in team.without else _judged(checker, judge is not None),
        judge=resolve_model(judge) if judge is not None else None,
        reflector=None if "reflection" in team.without else team.reflector,
        reflector_model=resolve_model(words) if words is not None else None,
        toolbox=tools,
        iterations=team.iterations,
        k=team.k,
        floor=team.floor,
        window=team.window,
        remember=team.remember,
    )


def _with_verifiers(checker: Checker, verifiers: Sequence[Verifier]) -> Checker:
    return replace(checker, verifiers=(*checker.verifiers, *verifiers)) if verifiers else checker


def _judged(checker: Checker, judged: bool) -> Checker:
    rules = checker.evidence_rules
    return replace(checker, evidence_rules=not judged if rules is None else rules)
