"""Durable conversations: saved at every step, finished after a crash.

Who does what: here turns are begun, run to their end, and resumed. `mars.holding` takes and returns the lease,
`mars.persistence.journal` writes the rows, `mars.archive` reads what is left for those who only look.

A turn begins with a lease on its conversation and ends with the return of it (`mars.holding`); between the two,
LangGraph saves each superstep before the next one begins. What rests half done is finished by `resume`, with the result
that an uninterrupted run would have had.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from langgraph.errors import GraphDrained

from mars.agents.rendering import shown
from mars.archive import Archive
from mars.errors import InvalidInput, InvalidSetting, LeaseLost, TurnUnfinished
from mars.events import AnyEvent, final
from mars.holding import Ask, Holder, OnBusy, Run, check_choice, conversation_of
from mars.memory.interfaces import Namespace
from mars.persistence.budgets import Scope
from mars.persistence.leases import FENCE
from mars.persistence.transcript import Utterance
from mars.results import RunResult, RunStatus, read_result
from mars.state import VERSION, State, migrated
from mars.watching import Watch

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import Durability

    from mars.nodes import Loop
    from mars.persistence.journal import Begin, Claim, Journal, Opening
    from mars.persistence.ledger import Ledger
    from mars.persistence.turns import Unfinished

OnUnfinished = Literal["refuse", "finish", "abandon"]
"""What to do where the last turn is half done: raise `TurnUnfinished`, finish it first, or give it up."""


BLANK: dict[str, Any] = {
    "version": VERSION,
    "iteration": 1,
    "draft": "",
    "attempts": [],
    "reflections": [],
    "evidence": [],
    "status": "",
    "error": "",
    "stop_reason": "",
    "replay": {},
    "calls": 0,
    "usage": {},
    "latency": 0.0,
    "answer": "",
    "approved": False,
    "sources": [],
}
"""What a new turn begins with beside its task, so that nothing of the turn before it is taken for its own."""


def named(asked: State, conversation: str | None, number: int, key: str | None = None) -> State:
    """Return what was asked as the first state of a turn, with ids that follow from it and from its number.

    With a key they follow from that and from nothing else, so that a key and a conversation have one turn.
    """
    task = asked["task"]
    asking = f"{task['asked_at']}\0{task['text']}\0{number}" if key is None else f"key\0{key}"
    mark = f"{tuple(asked['namespace'])}\0{conversation}\0{asking}"
    turn = hashlib.blake2b(mark.encode(), digest_size=12).hexdigest()
    return {**asked, "task": {"id": turn, **task}, "conversation": conversation or turn, "turn": turn}


class Conversations:
    """The durable conversations of one `Mars`; see the module for the guarantees."""

    def __init__(
        self,
        graph: CompiledStateGraph[Any, Any, Any, Any],
        journal: Journal,
        ledger: Ledger,
        *,
        limit: int,
        lease: float,
        keep: bool,
        durability: Durability,
        loop_of: Callable[[str], Loop],
    ) -> None:
        """Run a graph that was compiled with a checkpointer.

        `limit` is LangGraph's recursion limit, `lease` is in seconds. With `keep`, what is said goes to the transcript.
        `loop_of` returns the loop of a team, and raises `InvalidSetting` for one that does not work here.
        """
        self.journal = journal
        """What is kept of conversations."""
        self.ledger = ledger
        """What was called, and what was spent."""
        self.archive = Archive(graph, journal)
        """What is left of them."""
        self.holder = Holder(journal, lease)
        """Who holds which."""
        self._graph = graph
        self._limit = limit
        self._durability = durability
        self._keep = keep
        self._loop_of = loop_of

    async def ask(self, asked: State, conversation: str | None, key: str | None = None) -> Ask:
        """Return what is asked of a conversation; one without a name gets a new one."""
        namespace, number = tuple(asked["namespace"]), 1
        while conversation is None:
            candidate = named(asked, None, number)["turn"]
            number += 1
            if not await self.journal.listed(candidate):
                conversation = candidate

        def begin(name: str) -> Begin:
            def first(opening: Opening) -> tuple[str, dict[str, Any]]:
                state = named(asked, name, opening.number, key)
                told = {"window": _shown(opening.said), "summary": opening.summary}
                if opening.left and self._loop_of(asked["team"]).summarising is not None:
                    told["leaving"] = _shown(opening.left)
                return state["turn"], {**BLANK, **state, **told}

            return first

        once = None if key is None else named(asked, conversation, 0, key)["turn"]
        return Ask(namespace, conversation, begin, once, asked["task"]["text"])

    async def cancel(self, conversation: str, namespace: Namespace | None) -> bool:
        """End the runs of a conversation; False where there are none."""
        found = await self.archive.named(conversation, namespace)
        stopped = [await self.holder.stop(one.thread) for one in found if one.running]
        return any(stopped)

    async def run(
        self, ask: Ask, on_busy: OnBusy, on_unfinished: OnUnfinished, *, listen: bool = True
    ) -> AsyncGenerator[AnyEvent, None]:
        """Run a new turn; yield its events, the last with the result; without `listen` only that.

        With `Ask.once`, the turn of that id is finished where it is half done, and told where it is over.
        """
        check_choice(on_unfinished, OnUnfinished, "on_unfinished")
        if ask.once is not None and on_busy == "fork":
            raise InvalidSetting("a key has one turn, so it goes with no copy: on_busy='reject', 'queue' or 'cancel'")
        if ask.once is not None and await self.journal.over(ask.thread, ask.once):
            yield final(await self._once(ask))
            return
        ask, claim = await self.holder.claim(ask, on_busy)
        assert ask.begin is not None
        run = self.holder.enter(claim)
        try:
            found = None if claim.fresh else claim.turn
            if found is not None and found.turn == ask.once:
                _same_task(ask, found.input["task"]["text"])
            elif found is not None:
                async with aclosing(self._settle(run, on_unfinished)) as events:
                    async for event in events:
                        yield event
            if not claim.fresh and (found is None or found.turn != ask.once):
                begin = ask.begin(ask.conversation)
                run.claim = await self.journal.begin(claim.fence, ask.conversation, begin, once=ask.once)
                run.over = False
            if run.claim.turn is None:
                yield final(await self._once(ask))
                return
            async with aclosing(self._play(run, listen=listen)) as events:
                async for event in events:
                    yield event
        finally:
            await self.holder.leave(run)

    async def _once(self, ask: Ask) -> RunResult:
        """Return the result of the turn of a key, which is over."""
        result = await self.archive.kept_result(ask.thread, ask.once)
        _same_task(ask, result.task)
        return result

    async def resume(
        self, conversation: str, namespace: Namespace | None, on_busy: OnBusy
    ) -> AsyncGenerator[AnyEvent, None]:
        """Return the events of what is left of the last turn; where that is over, the one with its result."""
        found = await self.archive.one(conversation, namespace, unfinished="first")
        if found.unfinished is None:
            return self._told(found.thread)
        return self._resume(Ask(conversation_of(found.thread)[0], conversation, None), on_busy)

    async def _resume(self, ask: Ask, on_busy: OnBusy) -> AsyncGenerator[AnyEvent, None]:
        ask, claim = await self.holder.claim(ask, on_busy)
        run = self.holder.enter(claim)
        try:
            # Without a turn, somebody else has finished it meanwhile.
            async with aclosing(self._told(claim.fence.thread) if claim.turn is None else self._play(run)) as events:
                async for event in events:
                    yield event
        finally:
            await self.holder.leave(run)

    async def _told(self, thread: str) -> AsyncGenerator[AnyEvent, None]:
        yield final(await self.archive.kept_result(thread, None))

    async def _settle(self, run: Run, on_unfinished: OnUnfinished) -> AsyncGenerator[AnyEvent, None]:
        """Do with an unfinished turn what the caller said; one whose graph has ended is finished in any case."""
        turn = run.claim.turn
        assert turn is not None
        if on_unfinished == "abandon" or run.claim.replaced:
            await self.journal.finish(run.claim.fence, turn, "abandoned", (), leave=False)
            return
        ended = (await self._found(run))[2]
        if on_unfinished == "refuse" and not ended:
            name = conversation_of(turn.thread)[1]
            raise TurnUnfinished(
                f"the last turn of conversation {name!r} is half done: finish it by mars.resume({name!r}), or run with "
                "on_unfinished='finish' or 'abandon'"
            )
        async with aclosing(self._play(run, last=False)) as events:
            async for event in events:
                if event.result is None:
                    yield event
        if not run.over:
            raise TurnUnfinished(f"the last turn of conversation {conversation_of(turn.thread)[1]!r} was not finished")

    async def _play(self, run: Run, *, last: bool = True, listen: bool = True) -> AsyncGenerator[AnyEvent, None]:
        """Run the graph to its end, from the start or from where the turn rests; end the turn."""
        claim, turn = run.claim, run.claim.turn
        assert turn is not None
        begin, values, ended = (turn.input, {}, False) if claim.fresh else await self._found(run)
        if not (claim.fresh or ended):
            self._check_team(turn)
        seen = Watch(turn.turn, values=values)
        if not ended:
            source: Any = self._graph.astream(
                begin,
                self._config(claim),
                stream_mode="values",
                output_keys=["turn"],  # `seen` has the values; reading all of them at every step costs
                durability=self._durability,
                control=run.control,
            )
            try:
                async with aclosing(run.follow(source, seen, listen)) as events:  # it ends before the lease does
                    async for event in events:
                        yield event
            except GraphDrained:
                run.stopped = "cancelled"
            except LeaseLost:
                run.stopped = run.stopped or "lost"
        result = await self._result(run, turn, seen, last)
        yield final(result)

    async def _result(self, run: Run, turn: Unfinished, seen: Watch, last: bool) -> RunResult:
        values = seen.values
        partial = values if values.get("turn") == turn.turn else turn.input
        if run.stopped == "lost" and await self.journal.status(turn) not in ("cancelled", "abandoned"):
            raise LeaseLost(
                f"another run has taken over conversation {turn.input['conversation']!r}, because this one did not "
                "renew its lease in time; it will finish the turn, or resume does"
            )
        if run.stopped or seen.asked:
            status = RunStatus.CANCELLED if run.stopped else RunStatus.WAITING
            run.rest = status.value
            spent = await self.ledger.spent(Scope("turn", turn.turn))
            so_far = {"status": status.value, "usage": spent.usage.plain(), "latency": spent.wall, "asks": seen.asked}
            return read_result({**partial, **so_far})
        result = read_result(values)
        said = _said(turn, values) if self._keep else ()
        summary = values.get("summary") if values.get("summary") != turn.input.get("summary") else None
        await self.journal.finish(run.claim.fence, turn, result.status.value, said, leave=last, summary=summary)
        run.over, run.released = True, last
        return result

    def _check_team(self, turn: Unfinished) -> None:
        """Raise `InvalidSetting` where the team that began a turn does not work here, before anything runs."""
        try:
            self._loop_of(turn.input.get("team", ""))
        except InvalidSetting as error:
            name = conversation_of(turn.thread)[1]
            raise InvalidSetting(
                f"the unfinished turn of conversation {name!r} goes on with the team that began it, and {error}; or "
                "give the turn up by run(…, on_unfinished='abandon')"
            ) from None

    async def _found(self, run: Run) -> tuple[dict[str, Any] | None, dict[str, Any], bool]:
        """Return what to give the graph, the state so far, and whether the graph has ended."""
        turn, config = run.claim.turn, self._config(run.claim)
        assert turn is not None
        snapshot = await self._graph.aget_state(config)
        if (snapshot.metadata or {}).get("turn") != turn.turn:
            return {**turn.input, **migrated(turn.input)}, {}, False
        values = dict(snapshot.values)
        if not snapshot.tasks:
            return None, values, True
        changes = migrated(values)
        if changes:
            await self._migrate(config, changes)
        return None, {**values, **changes}, False

    async def _migrate(self, config: RunnableConfig, changes: dict[str, Any]) -> None:
        """Write what changes of a saved state into its newest checkpoint, so that its tasks go on from there."""
        saver: Any = self._graph.checkpointer
        found = await saver.aget_tuple(config)
        checkpoint, versions = found.checkpoint, dict(found.checkpoint["channel_versions"])
        fresh = {name: saver.get_next_version(versions.get(name), None) for name in changes}
        changed = {
            **checkpoint,
            "channel_values": {**checkpoint["channel_values"], **changes},
            "channel_versions": {**versions, **fresh},
        }
        parent = found.parent_config or {"configurable": {"thread_id": config["configurable"]["thread_id"]}}
        place = {"checkpoint_ns": "", **parent["configurable"], FENCE: config["configurable"][FENCE]}
        await saver.aput({"configurable": place}, changed, found.metadata, fresh)

    def _config(self, claim: Claim) -> RunnableConfig:
        assert claim.turn is not None
        return {
            "recursion_limit": self._limit,
            "metadata": {"turn": claim.turn.turn},
            "configurable": {"thread_id": claim.fence.thread, FENCE: claim.fence.token},
        }


def _same_task(ask: Ask, task: str) -> None:
    if ask.task != task:
        raise InvalidInput(
            f"this key stands for another task in conversation {ask.conversation!r}: {shown(task)!r}; give each task a "
            "key of its own"
        )


def _shown(said: Sequence[Utterance]) -> list[dict[str, Any]]:
    return [{"speaker": one.speaker, "text": shown(one.text)} for one in said]


def _said(turn: Unfinished, values: dict[str, Any]) -> Sequence[Utterance]:
    task = values["task"]
    at = datetime.fromisoformat(task["asked_at"])
    spoken = ((task["user"], "user", task["text"]), ("assistant", "assistant", values.get("answer", "")))
    return [Utterance(turn.number, who, source, at, text) for who, source, text in spoken if text.strip()]
