"""Killing processes within a turn, finishing it in another process, and comparing it with an undisturbed one.

A turn acts with two tools, drafts twice, is checked twice and reflects once. It runs in a child forked from a process
that has one thread and nothing open; SIGKILL ends the child, another one resumes. The models, the tools and a
verifier note what they do in a file before they answer: that file, not the ledger, is the witness.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool

from mars.agents.interfaces import Review
from mars.agents.roles import Assistant, Checker, Reflector
from mars.agents.verdicts import Check
from mars.errors import NotFound, ScriptError
from mars.memory import points
from mars.memory.backends.connecting import engine_for
from mars.persistence.ledger import MemoryLedger
from mars.retrying import CallPolicy
from mars.runtime import Mars
from mars.team import Team
from mars.testing.clocks import FixedClock
from mars.testing.kills import Fork, KillPoint
from mars.testing.scripted import ScriptedModel, Step

__all__ = ["Scene", "Witness", "child", "warm"]

NOW = datetime(2026, 3, 1, tzinfo=UTC)
QUESTION = "Where does Ann's sister live?"
REJECTED = {
    "approved": False,
    "score": 0.2,
    "issues": [{"kind": "unsupported", "evidence": "no", "directive": "Look again.", "records": [], "blame": []}],
}
APPROVED = {"approved": True, "score": 0.9, "issues": [], "used": ["m1"]}


class Witness:
    """A file that outlives every process: one line per call, and per point that was reached."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, role: str, what: str) -> None:
        """Note a call."""
        self._write(f"{role} {hashlib.blake2b(what.encode(), digest_size=8).hexdigest()}")

    def pass_point(self, point: str) -> None:
        """Note that a point was reached."""
        self._write(f"at {point}")

    def _write(self, line: str) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f"{line}\n".encode())
        os.close(file)

    def history(self) -> list[str]:
        """Return calls and points in their order."""
        return self._path.read_text().split("\n")[:-1] if self._path.exists() else []

    def lines(self) -> list[str]:
        """Return the calls."""
        return [line for line in self.history() if not line.startswith("at ")]

    def model(self, role: str, reply: Callable[[Sequence[BaseMessage]], Step | str], **abilities: Any) -> ScriptedModel:
        """Return a model that notes each call and replies by its prompt alone."""

        def script(messages: Sequence[BaseMessage]) -> Step | str:
            self.note(role, "\n".join(str(message.content) for message in messages))
            return reply(messages)

        return ScriptedModel(script, **abilities)

    def tools(self) -> list[BaseTool]:
        """Return a tool that reads, and one with a side effect that honours its key."""

        def look(where: str) -> str:
            """Look somewhere."""
            self.note("look", where)
            return f"nothing in {where}"

        def post(text: str, idempotency_key: Annotated[str, InjectedToolArg] = "") -> str:
            """Post a text."""
            if f"effect {hashlib.blake2b(idempotency_key.encode(), digest_size=8).hexdigest()}" not in self.lines():
                self.note("effect", idempotency_key)
            return "posted"

        return [
            StructuredTool.from_function(look, metadata={"read_only": True}),
            StructuredTool.from_function(post),
        ]


@dataclass(frozen=True, slots=True)
class WatchedVerifier:
    """A step without a call, which no ledger knows: only a saved step keeps it from being done again."""

    witness: Witness
    name: str = "watched"

    async def verify(self, review: Review) -> Check:
        """Note the draft, and leave the verdict to others."""
        self.witness.note("verify", review.draft)
        return Check.undecided(self.name)


def answered(messages: Sequence[BaseMessage]) -> Step | str:
    """Reply as the Assistant: act, then a wrong draft, then a right one."""
    if "<lessons>" in str(messages[1].content):
        return "In Oslo [m1]."
    if any(isinstance(message, ToolMessage) for message in messages):
        return "In Rome [m1]."
    return Step(tool_calls=(("look", {"where": "Oslo"}), ("post", {"text": "Where is she?"})))


def judged(messages: Sequence[BaseMessage]) -> Step | str:
    """Reply as the judge: prose first, and a judgement when a repair is asked for."""
    if not any(isinstance(message, AIMessage) for message in messages):
        return "Hm."
    return json.dumps(REJECTED if "Rome" in str(messages[1].content) else APPROVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a turn runs, and how."""

    url: str
    """The database of the memory and of the runs."""
    talk: str
    """The conversation, and its namespace."""
    witness: Witness
    """Takes down what happens."""
    ledger: bool = True
    """Whether calls go by the ledger of the database; False sabotages it by one that dies with its process."""
    durability: Literal["sync", "async"] = "sync"
    """LangGraph's; ``async`` sabotages it."""
    verified: bool = False
    """Whether a `WatchedVerifier` looks at the drafts."""
    slow: float = 0.0
    """Seconds that a commit of the run takes longer, a disk on which what is not waited for comes too late: each commit
    once so many calls are settled as `settled` says."""
    settled: int = 0
    """See `slow`."""

    async def work(self, *, resume: bool) -> dict[str, Any]:
        """Run or resume the turn; return its result, the transcript, the user's memories and what is told again."""
        witness = self.witness
        team = Team(
            assistant=Assistant(model=witness.model("assistant", answered)),
            checker=Checker(
                model=witness.model("judge", judged, structured=False),
                verifiers=(WatchedVerifier(witness),) if self.verified else (),
            ),
            reflector=Reflector(model=witness.model("reflector", lambda _: "Look at where she lives.")),
        )
        settings: dict[str, Any] = {"clock": FixedClock(NOW), "policy": CallPolicy(first_wait=0.0), "lease": 0.4}
        async with Mars.open(
            self.url, team=team, tools=witness.tools(), durability=self.durability, **settings
        ) as opened:
            if not self.ledger:
                object.__setattr__(opened.calls, "ledger", MemoryLedger())
            found = await (self._finish(opened) if resume else self._begin(opened))
            again = (await opened.result(self.talk)).plain()
            said = [line.text for line in await opened.transcript(self.talk)]
            kept = sorted(record.text for record in await opened.memory.list((self.talk,)))
            return {**found, "said": said, "kept": kept, "again": again}

    async def _begin(self, mars: Mars) -> dict[str, Any]:
        await mars.memory.add("My sister lives in Oslo.", namespace=(self.talk,), speaker="ann", idempotency_key="one")
        where: dict[str, Any] = {"namespace": (self.talk,), "conversation": self.talk}
        return (await mars.run(QUESTION, user="ann", now=NOW, on_busy="queue", **where)).plain()

    async def _finish(self, mars: Mars) -> dict[str, Any]:
        """Resume; ask again where the turn was killed before its beginning was saved."""
        try:
            return (await mars.resume(self.talk, on_busy="queue")).plain()
        except NotFound:
            return {**await self._begin(mars), "unbegun": True}


def child(scene: Scene, *, resume: bool = False, point: str = "", hit: int = 0, after: float | None = None) -> Any:
    """Run or resume a turn in a child; return its result, None if it was killed.

    It dies when `point` is reached for the `hit`-th time, or `after` so many seconds.
    """

    def perform(tell: Callable[[str], None]) -> None:
        end = KillPoint(point, hit) if point else None
        left = scene.settled

        def watcher(name: str) -> None:
            nonlocal left
            scene.witness.pass_point(name)
            left -= name == "call_settled"
            if name == "run_before_commit" and scene.slow and left <= 0:
                time.sleep(scene.slow)
            if end is not None:
                end.reached(name)

        points.watch(watcher)
        tell(json.dumps(anyio.run(lambda: scene.work(resume=resume))))

    heard, _ = Fork.start(perform).heard(kill_after=after)
    return json.loads(heard[-1]) if heard else None


def warm() -> None:
    """Run a turn that leaves nothing, so that a fork has loaded all that a child needs; its threads end with it.

    Raises `ScriptError` where this process has other threads, and so cannot be forked.
    """
    if threading.active_count() != 1:
        raise ScriptError(f"this process has {threading.active_count()} threads: warm it before they start")
    scene = Scene(url="sqlite:///:memory:", talk="warming", witness=Witness(Path(os.devnull)), verified=True)
    anyio.run(lambda: scene.work(resume=False))
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()
    if find_spec("psycopg") is not None:
        engine_for("postgresql://nobody@/nothing").dispose()  # imports the driver, connects to nothing
    gc.collect()
    gc.freeze()
