"""The journal of conversations: who holds one, which turn runs, and what is left of it when it is over.

Each method is one transaction: a turn begins together with its lease, and ends together with its words, the trimming of
its checkpoints and the return of the lease. With a saver of somebody else's the checkpoints are in another database:
there the lease is advisory (a write of theirs is not fenced), and nothing of theirs is trimmed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

from mars.errors import InvalidSetting
from mars.memory.backends.wire import Wire
from mars.persistence.branching import At, Branch, Spot, copy_past, locate
from mars.persistence.checkpoints import Checkpoints, Place
from mars.persistence.database import Database
from mars.persistence.leases import Fence, Held, Lease, Leases, check
from mars.persistence.saver import CheckpointSaver, Found, look
from mars.persistence.transcript import Transcript, Utterance
from mars.persistence.turns import Over, TurnRow, Turns, Unfinished

__all__ = ["Claim", "Journal", "Listed", "Opening"]


class Opening(NamedTuple):
    """What a new turn begins with."""

    number: int
    """Number of the turn in its conversation, from 1."""
    said: list[Utterance]
    """The turns in the window, oldest first."""
    summary: str
    """The running summary of the turns before them."""
    left: list[Utterance]
    """The turn that has just left the window, which the summary covers; empty where none has."""


class Claim(NamedTuple):
    """A conversation that is held."""

    fence: Fence
    """What every write is checked by."""
    turn: Unfinished | None
    """The turn that is to run: the new one, or the one that was found unfinished; None where there is none."""
    fresh: bool
    """Whether the turn is new."""
    replaced: bool = False
    """Whether a run was ended for it."""


class Listed(NamedTuple):
    """A conversation as a list shows it."""

    thread: str
    """Its thread: namespace and name."""
    turns: int
    """How many turns were begun."""
    summary: str
    """What left the window."""
    unfinished: Unfinished | None
    """Its unfinished turn."""
    running: bool
    """Whether somebody holds the lease."""


Begin = Callable[[Opening], tuple[str, dict[str, Any]]]
"""Returns the id and the first state of a new turn."""


class Journal:
    """The journal in one database; see the module for the guarantees."""

    def __init__(
        self,
        database: Database,
        *,
        saver: CheckpointSaver | None,
        lease: float,
        window: int,
        summarise: Callable[[str, Sequence[Utterance]], str],
        final: Callable[[Wire, str, str, str | None], None] | None = None,
    ) -> None:
        """Keep the journal in an open database.

        `saver` is ours, on the same database, or None. `lease` is in seconds, `window` in turns. `summarise` gives the
        summary that also covers a turn that leaves the window. `final` is called with (conversation, turn, turn of
        which nothing but the words is kept from now on) in the transaction that ends a turn.
        """
        self._database = database
        self._saver = saver
        self._lease = lease
        self._window = window
        self._summarise = summarise
        self._final = final

    async def claim(
        self,
        thread: str,
        conversation: str,
        holder: str,
        begin: Begin | None,
        *,
        take_over: bool = False,
        once: str | None = None,
    ) -> Claim | None:
        """Take the lease, and begin a turn where none is unfinished; None where somebody else holds the lease.

        With `take_over` it is taken from them, and their turn noted as cancelled. Where a turn of the id `once` is
        over, none is begun.
        """

        def work(wire: Wire) -> tuple[Claim, Found] | None:
            leases, turns = Leases(wire), Turns(wire)
            held = leases.look(thread, conversation)
            if held.holder is not None and not take_over:
                return None
            fence = leases.take(thread, held.token, holder, self._lease)
            found = turns.unfinished(thread)
            if found is not None and held.holder is not None:
                turns.mark(found, "cancelled")
            if found is not None or begin is None:
                return Claim(fence, found, False), None
            return self._begun(wire, fence, held, begin, once)

        return self._expected(await self._database.write(work))

    async def begin(self, fence: Fence, conversation: str, begin: Begin, *, once: str | None = None) -> Claim:
        """Begin a turn in a conversation that is held; none where that of the id `once` is over."""

        def work(wire: Wire) -> tuple[Claim, Found]:
            check(wire, fence)
            return self._begun(wire, fence, Leases(wire).look(fence.thread, conversation), begin, once)

        claim = self._expected(await self._database.write(work))
        assert claim is not None
        return claim

    def _expected(self, begun: tuple[Claim, Found] | None) -> Claim | None:
        """Let the saver have the checkpoint that a new turn begins after, so that its graph need not look for it."""
        if begun is None:
            return None
        claim, found = begun
        if claim.fresh and self._saver is not None:
            self._saver.expect(claim.fence, found)
        return claim

    def _begun(self, wire: Wire, fence: Fence, held: Held, begin: Begin, once: str | None) -> tuple[Claim, Found]:
        if once is not None and Turns(wire).over(fence.thread, once):
            return Claim(fence, None, False), None
        thread, number, summary, transcript = fence.thread, held.turns + 1, held.summary, Transcript(wire)
        leaving = transcript.newest(thread, 1, number - self._window)
        if leaving:
            summary = self._summarise(summary, leaving)
        turn, input = begin(Opening(number, transcript.newest(thread, self._window, number), summary, leaving))
        Turns(wire).begin(thread, number, turn, input, summary)
        found = look(wire, Place(thread, "")) if self._saver is not None else None
        return Claim(fence, Unfinished(thread, number, turn, "", input), True), found

    async def finish(
        self,
        fence: Fence,
        turn: Unfinished,
        status: str,
        said: Sequence[Utterance],
        *,
        leave: bool,
        summary: str | None = None,
    ) -> None:
        """End a turn: append what was said and trim its checkpoints; give the lease back where it is left, too.

        `summary` is the running summary from now on, where it is not that of the turn's beginning.
        """

        def work(wire: Wire) -> None:
            check(wire, fence)
            Transcript(wire).add(fence.thread, said)
            turns = Turns(wire)
            turns.end(turn, status)
            if summary is not None:
                turns.set_count(fence.thread, turn.number, summary)
            if self._final is not None:
                gone = turns.leaving(fence.thread, turn.number)
                self._final(wire, turn.input["conversation"], turn.turn, gone)
            if self._saver is not None:
                turns.trim(fence.thread, self._saver.serde)
            if leave:
                Leases(wire).release(fence)

        await self._database.write(work, of=fence)

    async def leave(self, fence: Fence, turn: Unfinished | None = None, status: str = "") -> None:
        """Give the lease back; where it is still held, note first why the turn rests."""

        def work(wire: Wire) -> None:
            if turn is not None and status and fence in Leases(wire).renew([fence], self._lease):
                Turns(wire).mark(turn, status)
            Leases(wire).release(fence)

        if self._saver is not None:
            self._saver.forget(fence)
        self._database.drop(fence)
        await self._database.write(work)

    async def status(self, turn: Unfinished) -> str:
        """Return what is noted of a turn."""
        return await self._database.read(lambda wire: Turns(wire).status(turn.thread, turn.turn))

    async def over(self, thread: str, turn: str | None = None) -> Over | None:
        """Return a turn that is over, the last one where no id is given; None where there is none."""
        return await self._database.read(lambda wire: Turns(wire).over(thread, turn))

    async def renew(self, fences: Sequence[Fence]) -> dict[Fence, bool]:
        """Extend leases; return those that are still held, and whether their run was asked to stop."""
        return await self._database.write(lambda wire: Leases(wire).renew(fences, self._lease))

    async def held(self, thread: str) -> Lease | None:
        """Return the lease of a conversation that a run holds now; None for one that is free."""
        return await self._database.read(lambda wire: Leases(wire).held(thread))

    async def ask_to_stop(self, thread: str) -> bool:
        """Ask the run of a conversation, in whatever process, to stop; False where nobody holds it."""
        return await self._database.write(lambda wire: Leases(wire).ask_to_stop(thread))

    async def fork(self, source: str, targets: Callable[[int], tuple[str, str]]) -> tuple[str, str]:
        """Copy what is over of a conversation to the first free (thread, conversation) of `targets`; return it.

        It may be held: its turn that is half done stays behind. With a saver of somebody else's the words are copied,
        and nothing else.
        """

        def work(wire: Wire) -> tuple[str, str]:
            def made(thread: str, conversation: str) -> bool:
                kept = self._saver is not None and Checkpoints(wire).namespaces(thread)
                return not kept and Leases(wire).make(thread, conversation)

            held = Leases(wire).look(source, targets(1)[1])  # others who copy it wait here, and see what is made
            thread, conversation = next(one for one in map(targets, count(1)) if made(*one))
            found = Turns(wire).unfinished(source)
            through = found.number - 1 if found else held.turns
            if self._saver is not None:
                copy_past(wire, source, thread, through, held.summary)
            else:
                Transcript(wire).copy(source, thread, through + 1)
                Turns(wire).set_count(thread, through, held.summary)
            return thread, conversation

        return await self._database.write(work)

    async def branch(self, branch: Branch) -> tuple[str, str]:
        """Make a conversation that goes on from the past of another one; return its thread and its name.

        Raises `InvalidSetting` where the checkpoints are with a saver of somebody else's, and what `Branch.made` does.
        """
        saver = self._saver
        if saver is None:
            raise InvalidSetting(
                "the checkpoints are with a saver that is not ours, and a copy could be torn: fork and replay need "
                "runs that are kept by mars.CheckpointSaver"
            )
        return await self._database.write(lambda wire: branch.made(wire, saver.serde))

    async def turns(self, thread: str, before: int | None, limit: int) -> tuple[list[TurnRow], list[Utterance]]:
        """Return the newest turns of a conversation, the newest first, and what was said in them."""

        def work(wire: Wire) -> tuple[list[TurnRow], list[Utterance]]:
            rows = Turns(wire).rows(thread, before, limit)
            newest = rows[0].number if rows else 0
            return rows, Transcript(wire).newest(thread, len(rows), newest + 1)

        return await self._database.read(work)

    async def spot(self, thread: str, named: str, at: At) -> Spot:
        """Return a place in a conversation; raises `NotFound`."""
        return await self._database.read(lambda wire: locate(wire, thread, named, at))

    async def name(self, thread: str, name: str) -> bool:
        """Name the last finished turn, so that its checkpoint is kept; False where there is none."""
        return await self._database.write(lambda wire: Turns(wire).name(thread, name))

    async def listed(self, conversation: str | None = None) -> list[Listed]:
        """Return all conversations, or those of one name in any namespace."""

        def work(wire: Wire) -> list[Listed]:
            turns = Turns(wire)
            rows = turns.threads(conversation)
            busy = Leases(wire).busy([row[0] for row in rows])
            open_turns = {one.thread: one for one in turns.every_unfinished()}
            return [Listed(row[0], row[2], row[3], open_turns.get(row[0]), row[0] in busy) for row in rows]

        return await self._database.read(work)

    async def transcript(self, thread: str) -> list[Utterance]:
        """Return everything that was said in a conversation's finished turns, oldest first."""
        return await self._database.read(lambda wire: Transcript(wire).all(thread))
