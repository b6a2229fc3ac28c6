"""Every fault of a provider through the real clients and the whole loop: does each end, typed, with every call counted?

    python -m benchmarks.provider_faults [--sabotage retries|patience]

Servers on this machine (`mars.testing.providers`) speak the formats of OpenAI (both interfaces), Anthropic and Ollama;
`langchain-openai`, `langchain-anthropic` and `langchain-ollama` talk to them. Each fault meets the Assistant or the
Checker, once or for good, in a turn of its own whose ledger is in SQLite. Prints a table on standard error and JSON as
its last line: `runs`; `hung`, runs beyond the deadline (monotonic clock); `untyped`, those that ended neither with an
answer nor with a status and the error's type; `lost_rows`, requests that a provider got and no ledger
counted; `unsettled`, intents without an outcome; `wrong`, runs that did not survive a fault that happened once.

`--sabotage retries` gives OpenAI's client retries of its own, unseen by the runtime: `lost_rows` must rise.
`--sabotage patience` takes the time limit away: `hung` must rise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
from langchain_anthropic import ChatAnthropic
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI

from mars import Assistant, Checker, Mars, Reflector, RunResult, RunStatus, Team
from mars.persistence.budgets import Scope, Spending
from mars.retrying import CallPolicy
from mars.testing import Step
from mars.testing.providers import Fault, FaultKind, ProviderServer, Received
from mars.testing.providers.server import Answer

PROVIDERS = ("openai", "responses", "anthropic", "ollama")
LIMIT = 2.0
"""Seconds that a call is given where the fault is that nothing comes; 30 else."""
DEADLINE = 60.0
"""Seconds in which a run must have ended; 10 where the time limit is taken away."""
JUDGEMENT = {"approved": True, "score": 0.9, "issues": [], "used": ["m1"]}

FAULTS = {
    **{f"status {status}": Fault(kind=FaultKind.STATUS, status=status) for status in (400, 401, 500, 503, 529)},
    "status 429": Fault.rate_limit(0.05),
    **{kind.value: Fault(kind=kind) for kind in FaultKind if kind is not FaultKind.STATUS},
}
HANGS = ("silent", "stalled")
SABOTAGED = {"patience": HANGS, "retries": ("status 500",)}
"""The faults that each sabotage is shown by."""
FOR_GOOD = ("status 400", "status 401")
"""Faults that no second attempt mends; a judge is asked in another form then."""


class Retrying(ChatOpenAI):
    """A client of a kind that the runtime does not know, with retries of its own."""

    @property
    def _llm_type(self) -> str:
        return "somebody-elses"


class Faulty:
    """A plan that fails the first so many requests of a role."""

    def __init__(self, fault: Fault, times: int, role: str) -> None:
        self.fault, self.times, self.role = fault, times, role

    def __call__(self, received: Received) -> Answer:
        """Return the fault while it is due, else what a good model says."""
        role = "checker" if "You check an assistant's draft" in received.prompt else "assistant"
        if role == self.role and self.times:
            self.times -= 1
            return self.fault
        return Step(structured=JUDGEMENT) if role == "checker" else "In Oslo [m1]."


def client(provider: str, server: ProviderServer, sabotage: str | None) -> Any:
    """Return the real client of a provider."""
    if provider == "ollama":
        return ChatOllama(model="llama-test", base_url=server.url)
    if provider == "anthropic":
        return ChatAnthropic(model="claude-test", base_url=server.url, api_key="none")  # type: ignore[call-arg, arg-type]
    kind = Retrying if sabotage == "retries" else ChatOpenAI
    options: dict[str, Any] = {"base_url": server.openai_url, "api_key": "none", "stream_usage": True}
    return kind(model="gpt-test", use_responses_api=provider == "responses", **options)


async def one(folder: Path, provider: str, name: str, role: str, times: int, sabotage: str | None) -> Counter[str]:
    """Run a turn through a fault; return what is to be counted of it."""
    hangs, patient = name in HANGS, sabotage == "patience"
    policy = CallPolicy(timeout=None if patient else LIMIT if hangs else 30.0, first_wait=0.0, attempts=2)
    result: RunResult | None = None
    with ProviderServer(Faulty(FAULTS[name], times, role)) as server:
        model = client(provider, server, sabotage)
        people = Team(assistant=Assistant(model=model), checker=Checker(model=model), reflector=Reflector())
        async with Mars.open(f"sqlite:///{folder / 'runs.db'}", team=people, policy=policy) as mars:
            await mars.memory.add("My sister lives in Oslo.", ("ann",), speaker="ann")
            with anyio.move_on_after(10.0 if patient else DEADLINE):
                result = await mars.run("Where does my sister live?", user="ann")
            spent = await mars.calls.ledger.spent(Scope("user", "ann"))
    return judged(
        result, spent, len(server.received), survives=times == 1 and not (name in FOR_GOOD and role == "assistant")
    )


def judged(result: RunResult | None, spent: Spending, received: int, *, survives: bool) -> Counter[str]:
    """Return what is to be counted of a run."""
    found = Counter({"runs": 1, "lost_rows": max(0, received - spent.calls), "unsettled": spent.held_calls})
    if result is None:
        return found + Counter(hung=1)
    answered = result.status is RunStatus.COMPLETED and result.answer == "In Oslo." and result.approved
    kind = (result.error or "").partition(":")[0]
    typed = answered or (result.status is RunStatus.TASK_ERROR and kind.endswith("Error"))
    return found + Counter(untyped=int(not typed), wrong=int(answered is not survives))


async def measure(sabotage: str | None) -> dict[str, Any]:
    """Run every provider through every fault; return the figures."""
    table = {provider: Counter[str]() for provider in PROVIDERS}

    async def add(provider: str, name: str, role: str, times: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            found = await one(Path(folder), provider, name, role, times, sabotage)
        table[provider] += found

    every = [
        (provider, name, role, times)
        for provider in PROVIDERS
        for name in SABOTAGED.get(sabotage or "", tuple(FAULTS))
        for role in ("assistant", "checker")
        for times in (1, 99)
    ]
    async with anyio.create_task_group() as group:  # what hangs waits side by side
        for each in every:
            if each[1] in HANGS:
                group.start_soon(add, *each)
    for each in every:
        if each[1] not in HANGS:
            await add(*each)
    totals = sum(table.values(), Counter[str]())
    for provider, mine in table.items():
        print(f"{provider:<12}" + "  ".join(f"{key} {mine[key]}" for key in KEYS), file=sys.stderr)
    return {**{key: totals[key] for key in KEYS}, "providers": {name: dict(one) for name, one in table.items()}}


KEYS = ("runs", "hung", "untyped", "lost_rows", "unsettled", "wrong")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sabotage", choices=("retries", "patience"))
    options = parser.parse_args()
    started = time.monotonic()
    figures = anyio.run(measure, options.sabotage)
    print(json.dumps({**figures, "seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    main()
