"""What is left of conversations, for those who look: a list of them, their words, and the results of their turns.

Nothing runs here and nothing holds a lease: all but `Archive.name` only read. `mars.conversations` runs the turns.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from mars.errors import ConversationBusy, InvalidNamespace, NotFound, TurnUnfinished
from mars.holding import conversation_of, thread_of
from mars.memory.interfaces import Namespace
from mars.memory.records import check_namespace
from mars.persistence.transcript import Utterance
from mars.results import RunResult, RunStatus, read_result
from mars.state import migrated

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import StateSnapshot

    from mars.persistence.journal import Journal, Listed
    from mars.persistence.turns import TurnRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation as a list shows it."""

    name: str
    """Its name."""
    namespace: Namespace
    """Whose it is."""
    turns: int
    """How many turns were begun."""
    running: bool
    """Whether a run holds it now."""
    turn: str | None
    """Id of the unfinished turn; None where all are finished."""
    task: str | None
    """What was asked in it."""
    why: str | None
    """Why it rests: interrupted, cancelled or waiting."""

    @classmethod
    def of(cls, listed: Listed) -> Conversation:
        """Return what a row of the journal says."""
        namespace, name = conversation_of(listed.thread)
        open_turn = listed.unfinished
        return cls(
            name=name,
            namespace=namespace,
            turns=listed.turns,
            running=listed.running,
            turn=open_turn.turn if open_turn else None,
            task=open_turn.input["task"]["text"] if open_turn else None,
            why=(open_turn.status or "interrupted") if open_turn and not listed.running else None,
        )

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "namespace": list(self.namespace)}


class Archive:
    """What is left of the conversations of one journal."""

    def __init__(self, graph: CompiledStateGraph[Any, Any, Any, Any], journal: Journal) -> None:
        """Read from a journal, and from the checkpointer that a graph was compiled with."""
        self._graph = graph
        self._journal = journal

    async def listed(self) -> list[Conversation]:
        """Return all conversations."""
        return [Conversation.of(one) for one in await self._journal.listed()]

    async def transcript(self, conversation: str, namespace: Namespace | None) -> list[Utterance]:
        """Return what was said in a conversation."""
        return await self._journal.transcript((await self.one(conversation, namespace)).thread)

    async def name(self, conversation: str, name: str, namespace: Namespace | None) -> None:
        """Name the last finished turn."""
        if not await self._journal.name((await self.one(conversation, namespace)).thread, name):
            raise NotFound(f"conversation {conversation!r} has no finished turn yet")

    async def named(self, conversation: str, namespace: Namespace | None) -> list[Listed]:
        """Return the conversations of a name, in one namespace or in all."""
        found = await self._journal.listed(conversation)
        wanted = None if namespace is None else thread_of(check_namespace(namespace), conversation)
        return [one for one in found if wanted in (None, one.thread)]

    async def one(
        self, conversation: str, namespace: Namespace | None, *, unfinished: Literal["", "only", "first"] = ""
    ) -> Listed:
        """Return the conversation of a name; of several, the one with an unfinished turn, as `unfinished` says.

        Raises `NotFound` where there is none, and `InvalidNamespace` where that leaves a choice.
        """
        found = await self.named(conversation, namespace)
        fitting = [one for one in found if one.unfinished] if unfinished else found
        if unfinished == "first" and not fitting:
            fitting = found
        if len(fitting) > 1:
            names = ", ".join(str(conversation_of(one.thread)[0]) for one in fitting)
            raise InvalidNamespace(f"conversation {conversation!r} is in several namespaces, name one: {names}")
        if not fitting:
            if found:
                raise NotFound(f"conversation {conversation!r} has no unfinished turn: run a new one")
            raise NotFound(f"{conversation!r} was never begun: see `mars conversations`, or mars.conversations()")
        return fitting[0]

    async def place(self, conversation: str, namespace: Namespace | None) -> tuple[Namespace, str]:
        """Return whose conversation this is, and its name."""
        return conversation_of((await self.one(conversation, namespace)).thread)

    async def waiting(self, conversation: str, namespace: Namespace | None) -> str:
        """Return the id of the unfinished turn of a conversation that nobody is working on."""
        found = await self.one(conversation, namespace, unfinished="only")
        if found.running:
            raise ConversationBusy(f"a run holds conversation {conversation!r}: wait for it, or cancel it first")
        assert found.unfinished is not None
        return found.unfinished.turn

    async def result(self, conversation: str, turn: str | None, namespace: Namespace | None) -> RunResult:
        """Return the result of a turn that is over, the last one where no id is given."""
        found = await self.one(conversation, namespace)
        if found.unfinished is not None and turn in (None, found.unfinished.turn):
            raise TurnUnfinished(
                f"the last turn of conversation {conversation!r} is "
                + (
                    "running: wait for it"
                    if found.running
                    else f"half done: finish it by mars.resume({conversation!r})"
                )
            )
        return await self.kept_result(found.thread, turn)

    async def last_snapshot(self, thread: str, row: TurnRow) -> StateSnapshot | None:
        """Return the last state that is kept of a turn; None where none is."""
        if row.checkpoint is not None and not row.input:
            return await self.snapshot(thread, row.checkpoint, row.turn)
        saver: Any = self._graph.checkpointer
        async for one in saver.alist(_place(thread), filter={"turn": row.turn}, limit=1):
            return await self._graph.aget_state(one.config)
        return None

    async def snapshot(self, thread: str, id: str, turn: str) -> StateSnapshot | None:
        """Return the state that a checkpoint holds; None where it is not kept, or is another turn's."""
        place = _place(thread)
        place["configurable"]["checkpoint_id"] = id
        found = await self._graph.aget_state(place)
        return found if (found.metadata or {}).get("turn") == turn else None

    async def snapshots(self, thread: str, turn: str) -> list[StateSnapshot]:
        """Return every state that is kept of a turn, the newest first."""
        return [one async for one in self._graph.aget_state_history(_place(thread), filter={"turn": turn})]

    async def kept_result(self, thread: str, turn: str | None) -> RunResult:
        """Return the result that the last checkpoint of a turn holds."""
        over, name = await self._journal.over(thread, turn), conversation_of(thread)[1]
        if over is None:
            raise NotFound(
                f"conversation {name!r} has no {'turn yet' if turn is None else f'turn {turn!r} that is over'}"
            )
        saver: Any = self._graph.checkpointer
        async for one in saver.alist(_place(thread), filter={"turn": over.turn}, limit=1):
            values = (await self._graph.aget_state(one.config)).values
            given_up = {"status": RunStatus.CANCELLED.value} if over.status == "abandoned" else {}
            return read_result({**values, **migrated(values), **given_up, "conversation": name})
        raise NotFound(
            f"nothing is kept of turn {over.turn!r} of conversation {name!r} but its words: mars.transcript({name!r}); "
            "kept are the newest turns, those that were broken off, and those with a name (mars.name_turn)"
        )


def _place(thread: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
