"""Turns in children that are killed with SIGKILL around each of their calls; print what was found as one line of JSON.

    python tests/mars/calls_under_fire.py FOLDER URL POINT=HIT,HIT… … [--sabotaged]

Each kill is a turn of its own: a child runs it and dies when a point was reached so many times, another one resumes it.
The models and tools note each call in a file before they answer; that file, not the ledger, is the witness. The parent
imports everything, opens nothing and stays single-threaded. ``--sabotaged`` switches the ledger off.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import alembic.command
import anyio
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool

import mars.conversations
import mars.keeping
import mars.memory.embedding
import mars.persistence.journal
import mars.persistence.ledger
import mars.persistence.saver
from mars import Assistant, Checker, Mars, Reflector, Team
from mars.memory.backends import sql
from mars.persistence.ledger import MemoryLedger
from mars.retrying import CallPolicy
from mars.testing import FixedClock, KillPoint, ScriptedModel, Step
from mars.testing.kills import Fork

LOADED = (alembic.command, mars.conversations, mars.keeping, mars.memory.embedding, mars.persistence.ledger, sql)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
QUESTION = "Where does Ann's sister live?"
REJECTED = {
    "approved": False,
    "score": 0.2,
    "issues": [{"kind": "unsupported", "evidence": "no", "directive": "Look again.", "records": [], "blame": []}],
}
APPROVED = {"approved": True, "score": 0.9, "issues": [], "used": ["m1"]}


class Witness:
    """A file that outlives every process: one line per call that was made."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, role: str, what: str) -> None:
        """Note a call."""
        line = f"{role} {hashlib.blake2b(what.encode(), digest_size=8).hexdigest()}\n"
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line.encode())
        os.close(file)

    def lines(self) -> list[str]:
        """Return what was noted."""
        return self._path.read_text().split("\n")[:-1] if self._path.exists() else []

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


async def work(url: str, talk: str, witness: Witness, how: str) -> dict[str, Any]:
    """Run or resume the turn of a conversation; return its result."""
    team = Team(
        assistant=Assistant(model=witness.model("assistant", answered)),
        checker=Checker(model=witness.model("judge", judged, structured=False)),
        reflector=Reflector(model=witness.model("reflector", lambda _: "Look at where she lives.")),
    )
    settings: dict[str, Any] = {"clock": FixedClock(NOW), "policy": CallPolicy(first_wait=0.0)}
    async with Mars.open(url, team=team, tools=witness.tools(), lease=0.4, **settings) as opened:
        if "sabotaged" in how:
            object.__setattr__(opened.calls, "ledger", MemoryLedger())
        if "resume" in how:
            result = await opened.resume(talk, on_busy="queue")
        else:
            await opened.memory.add("My sister lives in Oslo.", namespace=(talk,), speaker="ann", idempotency_key="one")
            result = await opened.run(QUESTION, user=talk, conversation=talk, now=NOW)
        return result.plain()


def child(url: str, talk: str, witness: Witness, how: str, point: str = "", hit: int = 0) -> dict[str, Any] | None:
    """Work in a child; return its result, None if it was killed."""

    def perform(tell: Callable[[str], None]) -> None:
        if point:
            KillPoint(point, hit).__enter__()
        tell(json.dumps(anyio.run(work, url, talk, witness, how)))

    heard, _ = Fork.start(perform).heard()
    return json.loads(heard[-1]) if heard else None


def judge(expected: dict[str, Any], found: dict[str, Any] | None, made: Sequence[str], point: str) -> dict[str, int]:
    """Return what was wrong with a turn that was killed and resumed, and how often a call was repeated."""
    if found is None:
        return {"unresumable": 1}
    counts, extra = Counter(made), Counter(made) - Counter(expected["made"])
    again = sum(extra.values())
    effects = sum(count - 1 for line, count in counts.items() if line.startswith("effect"))
    in_flight = min(again, int(point == "call_returned"))
    usage, due = found["usage"], expected["usage"]
    same = all(found[key] == expected[key] for key in ("answer", "status", "approved", "iterations"))
    counted = all(usage[key] == due[key] for key in due if key not in ("maybe_paid", "cost"))
    lost = usage["maybe_paid"] <= int(point in ("call_intended", "call_returned"))
    missing = Counter(expected["made"]) - counts
    return {
        "wrong_result": int(not same or bool(missing)),
        "repeated_committed": again - in_flight,
        "repeated_in_flight": in_flight,
        "effects_twice": effects,
        "miscounted": int(not (counted and lost)),
        "maybe_paid": usage["maybe_paid"],
    }


def main(folder: Path, url: str, cases: Sequence[tuple[str, int]], how: str) -> dict[str, int]:
    """Kill and resume one turn per case; return the sums."""
    calm = Witness(folder / "calm")
    undisturbed = child(url, "calm", calm, how)
    assert undisturbed is not None
    expected = {**undisturbed, "made": calm.lines()}
    # Whose conversation it is changes the prompts and the keys, but not how many calls there are of which role.
    roles = [line.partition(" ")[0] for line in expected["made"]]
    sums: Counter[str] = Counter({"runs": 0})
    for number, (point, hit) in enumerate(cases):
        talk, witness = f"talk{number}", Witness(folder / f"talk{number}")
        if child(url, talk, witness, how, point, hit) is not None:
            sums["not_killed"] += 1
            continue
        found = child(url, talk, witness, f"resume {how}")
        made = witness.lines()
        firsts = list(dict.fromkeys(made))
        due = {
            **expected,
            "made": firsts if sorted(one.partition(" ")[0] for one in firsts) == sorted(roles) else roles,
        }
        sums.update({"runs": 1, **judge(due, found, made, point)})
    return {"calls": len(roles), **sums}


if __name__ == "__main__":
    where, target, *rest = sys.argv[1:]
    points = [one.split("=") for one in rest if "=" in one]
    plan = [(name, int(hit)) for name, hits in points for hit in hits.split(",")]
    print(json.dumps(main(Path(where), target, plan, "sabotaged" if "--sabotaged" in rest else "")))
