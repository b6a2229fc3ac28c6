"""Compare what the usage ledger counts with what the scripted models saw themselves, whatever happens to a call.

    python -m benchmarks.usage_reconciles

Each scenario is a user of their own in one SQLite database: retries, failures, a structured reply that is none, replies
out of a cache, a turn cancelled within a call and resumed, one that waits for a person, and one whose process was
drained. The models log every call themselves. ``difference`` is how far the two are apart in calls and tokens, over all
scenarios; the call that is cancelled has no tokens, since nobody knows what it took. ``sabotaged`` is the same with a
ledger that dies with its `Mars`: it must not be 0. Prints a table on standard error and JSON as its last line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from langchain_core.caches import InMemoryCache
from langchain_core.messages import BaseMessage
from langgraph.types import interrupt

from mars import Assistant, Checker, Mars, Reflector, RunStatus, Team
from mars.persistence.ledger import MemoryLedger
from mars.retrying import CallPolicy
from mars.testing import ScriptedModel, Step

DOWN = Step(error=ConnectionError("down"))
YES = Step(structured={"approved": True, "score": 0.9})
ISSUE = {"kind": "unsupported", "evidence": "no source", "directive": "Find a source.", "records": [], "blame": []}
NO = Step(structured={"approved": False, "score": 0.2, "issues": [ISSUE]})
ANSWER = "In Oslo."

Counts = dict[str, int]
Open = Callable[..., Any]


class Waiting:
    """A model whose first call waits until it is let go, and costs no tokens; the later ones answer."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.model = ScriptedModel(self._reply)

    def _reply(self, _: Sequence[BaseMessage]) -> Step:
        if self.asked.is_set():
            return Step(text=ANSWER)
        self.asked.set()
        self.go.wait(60)
        return Step(text="In Rome.", tokens=(0, 0))


def team(model: ScriptedModel, judge: ScriptedModel | None = None, **options: Any) -> Team:
    """Return a team of these models whose Reflector works by rules; without a judge nobody checks."""
    without = frozenset({"checker"} if judge is None else ())
    checker = Checker(model=judge)
    return Team(assistant=Assistant(model=model), checker=checker, reflector=Reflector(), without=without, **options)


async def plainly(opened: Open, user: str, *models: ScriptedModel, turns: int = 1, **options: Any) -> RunStatus:
    """Run turns; return how the last one ended."""
    async with opened(team(*models, **options)) as mars:
        results = [await mars.run("Where is she?", user=user, conversation=user) for _ in range(turns)]
        status: RunStatus = results[-1].status
        return status


async def cancelled(opened: Open, user: str, waiting: Waiting) -> RunStatus:
    """Cancel a turn within its call, and resume it elsewhere."""
    async with opened(team(waiting.model)) as mars:
        task = asyncio.ensure_future(mars.run("Where is she?", user=user, conversation=user))
        await asyncio.to_thread(waiting.asked.wait, 60)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        waiting.go.set()
    return await resumed(opened, user, waiting.model)


async def drained(opened: Open, user: str, waiting: Waiting, judge: ScriptedModel) -> RunStatus:
    """Let a turn end after the step that it is in, and resume it elsewhere."""
    async with opened(team(waiting.model, judge)) as mars:
        task = asyncio.ensure_future(mars.run("Where is she?", user=user, conversation=user))
        await asyncio.to_thread(waiting.asked.wait, 60)
        mars.drain()
        waiting.go.set()
        await task
    return await resumed(opened, user, waiting.model, judge)


async def resumed(opened: Open, user: str, *models: ScriptedModel) -> RunStatus:
    """Resume a turn; return how it ended."""
    async with opened(team(*models)) as mars:
        status: RunStatus = (await mars.resume(user)).status
        return status


async def asked(opened: Open, user: str, model: ScriptedModel) -> RunStatus:
    """Wait for a person, twice."""

    def ask(what: str) -> str:
        """Ask somebody."""
        return str(interrupt(what))

    async with opened(team(model), tools=[ask]) as mars:
        await mars.run("Where is she?", user=user, conversation=user)
    async with opened(team(model), tools=[ask]) as mars:
        status: RunStatus = (await mars.resume(user)).status
        return status


Scenario = tuple[Callable[[Open], Awaitable[RunStatus]], list[ScriptedModel], RunStatus]


def scenarios() -> dict[str, Scenario]:
    """Return what is run, with its models and how it must end."""
    judgement = '{"approved": true, "score": 0.9, "issues": []}'
    found: dict[str, Scenario] = {}

    def add(name: str, run: Callable[..., Awaitable[RunStatus]], *models: Any, **options: Any) -> None:
        due = options.pop("ends", RunStatus.COMPLETED)
        counted = [one.model if isinstance(one, Waiting) else one for one in models]
        found[name] = (lambda opened: run(opened, name, *models, **options), counted, due)

    add("plain", plainly, ScriptedModel(["In Rome.", ANSWER]), ScriptedModel([NO, YES]))
    add("retries", plainly, ScriptedModel([DOWN, DOWN, ANSWER]), ScriptedModel([DOWN, YES]))
    denied = ScriptedModel([Step(error=PermissionError("no key"))])
    add("failures", plainly, denied, ends=RunStatus.TASK_ERROR)
    add("stays down", plainly, ScriptedModel([DOWN] * 3), ends=RunStatus.TASK_ERROR)
    add("no judgement", plainly, ScriptedModel([ANSWER]), ScriptedModel(["Hm.", judgement]))
    cache = ScriptedModel([judgement], structured=False, cache=InMemoryCache())
    add("caching", plainly, ScriptedModel([ANSWER] * 2), cache, turns=2, remember=False, window=0)
    add("cancellation", cancelled, Waiting())
    add("interruption", drained, Waiting(), ScriptedModel([NO, YES]))
    asking = ScriptedModel(lambda _: Step(tool_calls=(("ask", {"what": "Where?"}),)))
    add("waiting", asked, asking, ends=RunStatus.WAITING)
    return found


def by_models(models: Sequence[ScriptedModel]) -> Counts:
    """Return what the models saw themselves."""
    read, written = (sum(model.usage[place] for model in models) for place in (0, 1))
    return {"calls": sum(len(model.calls) for model in models), "input_tokens": read, "output_tokens": written}


async def by_ledger(run: Callable[[Open], Awaitable[RunStatus]], user: str, url: str, dying: bool) -> Counts:
    """Run a scenario; return what the ledger has counted for its user when it is over."""
    found: Counts = {}

    @asynccontextmanager
    async def opened(people: Team, **options: Any) -> AsyncIterator[Mars]:
        async with Mars.open(url, team=people, policy=CallPolicy(first_wait=0.0), **options) as mars:
            if dying:
                object.__setattr__(mars.calls, "ledger", MemoryLedger())
            yield mars
            usage = await mars.calls.usage_of_user(user)
            found.update({key: getattr(usage, key) for key in ("calls", "input_tokens", "output_tokens")})

    await run(opened)
    return found


async def measure(folder: Path, *, dying: bool = False) -> dict[str, dict[str, Counts]]:
    """Run every scenario; return both counts of each. Raises SystemExit where one ends otherwise than it must."""
    found = {}
    for name, (run, models, due) in scenarios().items():
        ended: list[RunStatus] = []

        async def noted(opened: Open, run: Any = run, ended: list[RunStatus] = ended) -> RunStatus:
            ended.append(await run(opened))
            return ended[-1]

        counted = await by_ledger(noted, name, f"sqlite:///{folder / 'run.db'}", dying)
        if ended != [due]:
            raise SystemExit(f"{name} ended as {ended}, not as {due}")
        found[name] = {"ledger": counted, "models": by_models(models)}
    return found


def difference(found: dict[str, dict[str, Counts]]) -> int:
    """Return how far the counts are apart, over all scenarios."""
    return sum(abs(one["ledger"][key] - one["models"][key]) for one in found.values() for key in one["models"])


def main() -> int:
    """Print what was counted; the exit status is 1 where the counts differ, or the sabotaged ones do not."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        found = asyncio.run(measure(Path(first)))
        sabotaged = asyncio.run(measure(Path(second), dying=True))
    for name, one in found.items():
        print(f"{name:14}", one["ledger"], "" if one["ledger"] == one["models"] else one["models"], file=sys.stderr)
    total = sum(one["models"]["calls"] for one in found.values())
    report = {"scenarios": len(found), "calls": total, "difference": difference(found)}
    print(json.dumps({**report, "sabotaged": difference(sabotaged), "by_scenario": found}))
    return int(report["difference"] > 0 or difference(sabotaged) == 0)


if __name__ == "__main__":
    sys.exit(main())
