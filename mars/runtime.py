"""`Mars`: what a caller may ask for.

It names the turns and hands them on: those that are kept to `mars.conversations`, which runs them, or to its archive,
which reads what is left of them; others to `mars.passing`. What asks for their past is in `mars.past`. What it needs is
opened and closed by `mars.opening`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mars.actions import settled
from mars.agents.interfaces import Verifier
from mars.agents.roles import User
from mars.bridge import Twin, blocking, streaming
from mars.calls import Calls
from mars.conversations import Conversations, OnUnfinished, named
from mars.crew import Crew
from mars.errors import InvalidInput, InvalidSetting, NotFound
from mars.events import HEARD, AnyEvent, EventKind, kinds
from mars.graph import compile_graph, recursion_limit
from mars.holding import OnBusy, drain_on_sigterm
from mars.keeping import LEASE, SAME, Keeping
from mars.memory.checks import check_kind
from mars.memory.engine import Memory
from mars.memory.interfaces import Backend, Namespace
from mars.memory.records import check_namespace, check_text, check_time
from mars.models.prices import Prices, load_prices
from mars.observability.observing import Began, Observer, Observers
from mars.opening import Opening
from mars.passing import pass_through
from mars.past import Past
from mars.persistence.approvals import Asked, Decision
from mars.persistence.budgets import Budget
from mars.results import RunResult
from mars.retrying import CallPolicy
from mars.roster import Roster
from mars.state import State
from mars.state import asked as begun
from mars.team import Team, check_team, named_teams
from mars.tools import Toolbox

__all__ = ["Mars", "Opening", "SyncMars", "drain_on_sigterm"]

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.tools import BaseTool
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.types import Durability


class Mars(Past):
    """The loop over one memory.

    Open it with `Mars.open`, which closes what it opened and leaves alone what it was given. One instance may run many
    turns at once. With a checkpointer, conversations are durable: every step is saved before the next one begins,
    `resume` finishes what a crash or a cancellation left, and one run at a time writes to a conversation.
    """

    def __init__(
        self,
        memory: Memory,
        roster: Roster,
        conversations: Conversations | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.memory = memory
        """The store behind the loop."""
        self.graph = compile_graph(roster)
        """The compiled graph, without checkpointer or store."""
        self.calls = roster.usual.calls
        """How models and tools are called, and what was spent."""
        self.roster = roster
        """The teams, and how reliable their agents are."""
        self.observers = Observers(observers)
        """Who is told of runs."""
        self._durable = conversations
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
        teams: Mapping[str, Team] | str | Path | None = None,
        route_seed: int | str = 0,
        policy: CallPolicy | None = None,
        prices: Prices | str | None = None,
        checkpointer: BaseCheckpointSaver[Any] | str | None = SAME,
        lease: float = LEASE,
        durability: Durability = "sync",
        observers: Sequence[Observer] = (),
        **memory_options: Any,
    ) -> Opening[Mars]:
        """Return something to enter: ``async with Mars.open("sqlite:///life.db") as mars``.

        `memory` is an open `Memory`, a backend or a URL; `memory_options` go to `Memory.open` (embedder, preset,
        clock, …). `model` is the default of all roles without a model of their own: a langchain-core chat model, a name
        such as ``openai:gpt-…``, or None for the built-in extractive reader. With a model, the Checker and the
        Reflector use it too; with the reader, they work by rules. `verifiers` are added to the Checker's. `teams` are
        others by name, or a file of them (`mars.team`), for ``run(team=…)``; `route_seed` decides the draws among them.
        `policy` says when a call to a model is given up or tried again; `prices`, a mapping or a TOML file, goes before
        the package's price table.

        Runs are saved in the database of the memory where that is given by a URL, else nowhere: `checkpointer` is
        another URL, a saver (which stays the caller's), or None for runs that leave nothing. Where a run gives no sign
        of life, others may take its conversation over after `lease` seconds. `durability` is LangGraph's: only with
        ``sync`` is each step saved before the next one begins. `observers` are told of runs (`mars.observability`).
        """
        check_kind(policy, CallPolicy | None, "policy", "a mars.retrying.CallPolicy")
        check_team(team or Team())
        calls = Calls(policy=policy or CallPolicy(), prices=load_prices(prices))
        keeping = Keeping(checkpointer=checkpointer, lease=lease, durability=durability, observers=tuple(observers))
        toolbox = Toolbox.of(tools, calls.policy.tools_at_once)
        crew = Crew(team or Team(), named_teams(teams), route_seed, model, toolbox, tuple(verifiers), calls)
        return Opening(cls, memory, crew, keeping, memory_options)

    @classmethod
    def open_sync(
        cls,
        memory: Backend | str = "sqlite:///mars.db",
        *,
        model: BaseChatModel | str | None = None,
        tools: Iterable[BaseTool | Callable[..., Any]] = (),
        verifiers: Sequence[Verifier] = (),
        team: Team | None = None,
        teams: Mapping[str, Team] | str | Path | None = None,
        route_seed: int | str = 0,
        policy: CallPolicy | None = None,
        prices: Prices | str | None = None,
        checkpointer: BaseCheckpointSaver[Any] | str | None = SAME,
        lease: float = LEASE,
        durability: Durability = "sync",
        observers: Sequence[Observer] = (),
        **memory_options: Any,
    ) -> SyncMars:
        """Return the blocking twin to enter with a plain `with`; it takes what `open` takes, but no open `Memory`."""
        return SyncMars(
            cls.open(
                memory,
                model=model,
                tools=tools,
                verifiers=verifiers,
                team=team,
                teams=teams,
                route_seed=route_seed,
                policy=policy,
                prices=prices,
                checkpointer=checkpointer,
                lease=lease,
                durability=durability,
                observers=observers,
                **memory_options,
            )
        )

    async def run(
        self,
        task: str,
        *,
        user: User | str = "user",
        namespace: Namespace | None = None,
        conversation: str | None = None,
        constraints: Sequence[str] = (),
        now: datetime | None = None,
        team: str | Sequence[str] | None = None,
        budget: Budget | None = None,
        on_busy: OnBusy = "reject",
        on_unfinished: OnUnfinished = "refuse",
        key: str | None = None,
    ) -> RunResult:
        """Work on a task until it is approved or a limit is reached, and return what came of it.

        The namespace is ``(user,)`` unless given. `team` names the team that works on it; of several names one is
        drawn, in proportion to how reliable they were. A limit is no error: `RunResult.status` says how the run ended.
        Where another run holds the conversation, `on_busy` says what to do: reject, queue, cancel or fork; where its
        last turn is half done, `on_unfinished`: refuse, finish or abandon. With a `key`, the conversation has one turn
        of it at most: asked again, that is begun, finished, or its result returned, whichever it needs. Raises
        `InvalidInput` for an empty task, a bad namespace or a naive `now`, `ConversationBusy`, `TurnUnfinished`, and
        `StoreError` if memory fails.
        """
        final: RunResult | None = None
        asked = self._asked(task, user, namespace, constraints, now, budget)
        events = await self._begun(asked, conversation, team, budget, on_busy, on_unfinished, key, listen=False)
        async with aclosing(events):
            async for event in events:
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
        team: str | Sequence[str] | None = None,
        budget: Budget | None = None,
        on_busy: OnBusy = "reject",
        on_unfinished: OnUnfinished = "refuse",
        key: str | None = None,
        heard: Collection[EventKind | str] = HEARD,
    ) -> AsyncIterator[AnyEvent]:
        """Run a task and yield what is heard of it as it happens; the last event is final and holds the result.

        By default that is what an end user may hear: the Assistant's tokens, which nobody has checked yet and which
        `mars.events.Preview` shows and takes back, what a person is asked, and the end. `heard` is another set of
        kinds: ``CHECKED``, ``EVERYTHING``, or one of your own (`mars.events`). Raises `InvalidSetting` for no kind.
        """
        wanted, asked = kinds(heard), self._asked(task, user, namespace, constraints, now, budget)
        listen = len(wanted) > 1
        events = await self._begun(asked, conversation, team, budget, on_busy, on_unfinished, key, listen=listen)
        async with aclosing(events):
            async for event in events:
                if event.kind in wanted:
                    yield event

    async def _begun(
        self,
        asked: State,
        conversation: str | None,
        team: str | Sequence[str] | None,
        budget: Budget | None,
        on_busy: OnBusy,
        on_unfinished: OnUnfinished,
        key: str | None,
        *,
        listen: bool,
    ) -> AsyncGenerator[AnyEvent, None]:
        """Return the events of a turn, the last with the result; without `listen` perhaps only that."""
        if conversation is not None:
            check_text(conversation, "conversation")
        if key is not None and check_text(key, "key") and conversation is None:
            raise InvalidSetting("a key is known within its conversation: name that, too")
        asked["team"] = await self.roster.choose(team, json.dumps([asked["namespace"], conversation, asked["task"]]))
        self.roster.loop_of(asked["team"]).calls.check_priced(budget, self.memory.clock.now().date())
        if self._durable is None and key is None:
            state = named(asked, conversation, next(self._turns))
            events = pass_through(self.graph, self.calls, state, recursion_limit(self.roster))
        else:
            ask = await self._conversations.ask(asked, conversation, key)
            events = self._conversations.run(ask, on_busy, on_unfinished, listen=listen)
        return self.observers.watch(events, Began.of(asked, conversation))

    async def resume(
        self, conversation: str, *, namespace: Namespace | None = None, on_busy: OnBusy = "reject"
    ) -> RunResult:
        """Finish the last turn of a conversation, with the result that an uninterrupted run would have had.

        Where it is over already, its result is returned and nothing runs: a caller that was killed at any point asks
        again and gets the same. Which turn it was is in `RunResult.task`; one that was killed before its first row was
        saved has never begun, and is run again. Of several conversations of this name that with an unfinished turn is
        meant; where that leaves a choice, name the namespace. Raises `NotFound` where there is no such conversation or
        nothing is kept of its turn, `ConversationBusy` as `run` does, and `StateMismatch` where this code cannot go on.
        """
        final: RunResult | None = None
        async with aclosing(self.stream_resume(conversation, namespace=namespace, on_busy=on_busy)) as events:
            async for event in events:
                final = event.result or final
        assert final is not None
        return final

    async def stream_resume(
        self,
        conversation: str,
        *,
        namespace: Namespace | None = None,
        on_busy: OnBusy = "reject",
        heard: Collection[EventKind | str] = HEARD,
    ) -> AsyncGenerator[AnyEvent, None]:
        """Do what `resume` does, and yield what is heard of it, as `stream` does."""
        wanted, events = kinds(heard), await self._conversations.resume(conversation, namespace, on_busy)
        async with aclosing(self.observers.watch(events, Began("resume", namespace, conversation))) as events:
            async for event in events:
                if event.kind in wanted:
                    yield event

    async def result(
        self, conversation: str, *, turn: str | None = None, namespace: Namespace | None = None
    ) -> RunResult:
        """Return the result of a turn that is over, by its id, or that of the last one; nothing runs or is written.

        Kept are the results of the newest 20 turns, of those that were given up (with the status ``cancelled``), and of
        those with a name; of all others the words (`transcript`). Raises `TurnUnfinished` where that turn is half done
        or running, `NotFound` where there is none, and `InvalidNamespace` where two conversations have this name.
        """
        return await self._conversations.archive.result(conversation, turn, namespace)

    async def settle_action(
        self, conversation: str, *, done: bool, result: str | None = None, namespace: Namespace | None = None
    ) -> None:
        """Say what came of the action whose outcome an unfinished turn waits for; then `resume` goes on with it.

        With `done`, the Assistant reads `result`; without, the action is run. Raises `NotFound` where none waits, and
        `ConversationBusy` while a run holds the conversation.
        """
        waiting = await self._conversations.archive.waiting(conversation, namespace)
        await self.calls.settle_action(conversation, waiting, settled(result) if done else None)

    async def asked(self, conversation: str, *, namespace: Namespace | None = None) -> list[Asked]:
        """Return what people were asked in a conversation, oldest first; what has no `decision` waits for one."""
        where, name = await self._conversations.archive.place(conversation, namespace)
        return await self.roster.usual.people.desk.of(where, name)

    async def decide(
        self, conversation: str, decision: Decision | Mapping[str, Any] | str, *, namespace: Namespace | None = None
    ) -> Asked:
        """Decide what the unfinished turn of a conversation waits for; then `resume` goes on with it.

        `decision` is ``"approve"``, ``"reject"``, a `Decision`, or a mapping of its fields; it is stored for good.
        Raises `NotFound` where nothing waits, `InvalidInput` for what cannot be decided, and `ConversationBusy`.
        """
        chosen, turn = Decision.of(decision), await self._conversations.archive.waiting(conversation, namespace)
        for ask in await self.asked(conversation, namespace=namespace):
            if ask.turn == turn and ask.decision is None:
                return await self.roster.usual.people.desk.decide(ask, ask.check(chosen), datetime.now(UTC))
        raise NotFound(f"nothing in conversation {conversation!r} waits for a decision: resume it")

    async def cancel(self, conversation: str, *, namespace: Namespace | None = None) -> bool:
        """End the run of a conversation, here or in another process; False where none runs.

        Its caller gets the status ``cancelled`` with the partial work; its turn is saved, and `resume` finishes it.
        In another process it ends at the next heartbeat, a third of the lease.
        """
        return await self._conversations.cancel(conversation, namespace)

    def drain(self) -> None:
        """Let every run end at its next step, saved and resumable, and begin none; safe in a signal handler."""
        if self._durable is not None:
            self._durable.holder.drain()

    def _asked(
        self,
        task: str,
        user: User | str,
        namespace: Namespace | None,
        constraints: Sequence[str],
        now: datetime | None,
        budget: Budget | None,
    ) -> State:
        check_text(task, "task")
        person = user if isinstance(user, User) else User(name=user)
        where = check_namespace(namespace if namespace is not None else (person.name,))
        asked_at = check_time(self.memory.clock.now() if now is None else now)
        check_kind(budget, Budget | None, "budget", "a mars.Budget, such as Budget(calls=6)")
        if isinstance(constraints, str) or not all(isinstance(one, str) for one in constraints):
            raise InvalidInput(f"constraints is a list of strings, one for each; got {constraints!r}")
        return begun(task, person.name, where, asked_at, constraints, budget.plain() if budget else None)


class SyncMars(Twin[Mars]):
    """`Mars` for code without an event loop: ``with Mars.open_sync("sqlite:///life.db") as mars``."""

    run = blocking(Mars.run)
    stream = streaming(Mars.stream)
    resume = blocking(Mars.resume)
    stream_resume = streaming(Mars.stream_resume)
    result = blocking(Mars.result)
    settle_action = blocking(Mars.settle_action)
    asked = blocking(Mars.asked)
    decide = blocking(Mars.decide)
    cancel = blocking(Mars.cancel)
    unfinished = blocking(Mars.unfinished)
    conversations = blocking(Mars.conversations)
    transcript = blocking(Mars.transcript)
    name_turn = blocking(Mars.name_turn)
    history = blocking(Mars.history)
    fork = blocking(Mars.fork)
    replay = blocking(Mars.replay)
    diff = blocking(Mars.diff)
