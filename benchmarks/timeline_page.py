"""Whether the timeline of a run opens in a browser and shows what happened, and how long it takes to draw.

python -m benchmarks.timeline_page [--keep FOLDER] [--height PIXELS]

The run has all that a timeline shows: records of different age, a draft that is rejected, a reflection, a call that
is tried again, a tool that a person lets run, and an answer. One of the records is an attack: script in its text.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mars import Assistant, Mars, Memory, Team
from mars.models.prices import Price
from mars.observability import LoggedRun, RunLog, read_runs, timeline
from mars.observability.timeline import same_turn
from mars.persistence.approvals import Approval
from mars.retrying import CallPolicy
from mars.testing import FixedClock, ScriptedModel, Step

ATTACK = "</script></style><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
"""What a record says to whoever shows it."""

TOLD = (
    (0, "My landlord is Bo Berg."),
    (1, "My rent is 900 euros a month."),
    (40, f"A note on my rent read: {ATTACK}"),
    (160, "Since June my rent is 950 euros a month."),
    (182, "I pay the rent on the first of the month."),
)
"""Day, and what Ann said on it."""

TASK = "How much rent do I pay a month, and will you pay it for July?"


def pay(amount: int, to: str) -> str:
    """Pay somebody an amount in euros."""
    return f"paid {amount} euros to {to}; receipt 2026-07-01/17"


class Tenant:
    """The script of the Assistant: a wrong draft, a connection that breaks, a payment, and the answer."""

    def __init__(self) -> None:
        """Begin at the beginning."""
        self.calls = 0

    def __call__(self, messages: Sequence[Any]) -> Step:
        """Return the next reply."""
        self.calls += 1
        prompt = "\n".join(str(message.content) for message in messages)
        refs = {amount: ref for ref, amount in re.findall(r'"id": "(m\d+)"[^\n]*?(900|950) euros', prompt)}
        if self.calls == 1:
            return Step(text=f"You pay 980 euros a month. [{refs['900']}]", delay=0.06, tokens=(412, 14))
        if self.calls == 2:
            return Step(error=ConnectionError("the provider closed the connection"), delay=0.02)
        if messages[-1].type != "tool":
            return Step(tool_calls=(("pay", {"amount": 950, "to": "Bo Berg"}),), delay=0.05, tokens=(530, 31))
        return Step(text=f"Since June my rent is 950 euros a month. [{refs['950']}]", delay=0.08, tokens=(618, 22))


async def scenario(folder: Path) -> Path:
    """Run it in a folder; return the log of its runs."""
    clock, log, url = (
        FixedClock(datetime(2026, 1, 1, 9, tzinfo=UTC)),
        folder / "runs.jsonl",
        f"sqlite:///{folder}/life.db",
    )
    async with Memory.open(url, clock=clock) as memory:
        for day, text in TOLD:
            clock.set(datetime(2026, 1, 1, 9, tzinfo=UTC))
            clock.advance(days=day)
            await memory.add(text, namespace=("ann",), speaker="ann", event_time=clock.now())
    team = Team(assistant=Assistant(model=ScriptedModel(Tenant())), approval=Approval(tools=("pay",)))
    opening = Mars.open(
        url,
        tools=[pay],
        team=team,
        clock=clock,
        prices={"mars-scripted": Price(input=2.5, output=10.0)},
        policy=CallPolicy(first_wait=0.02),
        observers=[RunLog(log)],
    )
    async with opening as mars:
        waiting = await mars.run(TASK, user="ann", conversation="rent", now=clock.now())
        if waiting.asks:
            await mars.decide("rent", {"choice": "approve", "by": "ann", "text": "It is the right amount."})
            await mars.resume("rent")
    return log


def browser() -> str | None:
    """Return the path of a headless browser; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def opened(page: Path, width: int = 1120, height: int = 2600) -> tuple[str, Path]:
    """Open a page in headless Chromium; return what the browser made of it, as HTML, and a screenshot."""
    program, picture = browser(), page.with_suffix(".png")
    assert program is not None
    quiet = ("background-networking", "component-update", "default-apps", "extensions", "gpu", "sync")
    command = [program, "--headless", "--no-sandbox", "--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command += [*(f"--disable-{one}" for one in quiet), f"--window-size={width},{height}", "--virtual-time-budget=2000"]
    with tempfile.TemporaryDirectory() as profile:
        command += [f"--user-data-dir={profile}", f"--screenshot={picture}", "--dump-dom", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, picture


def drawn(log: Path, page: Path) -> list[LoggedRun]:
    """Draw the newest turn of a log; return its runs."""
    runs = read_runs(log)
    turn = same_turn(runs, runs[-1])
    page.write_text(timeline(turn), encoding="utf-8")
    return turn


def main() -> None:
    """Print the report as one line of JSON."""
    import anyio

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="where page and screenshot stay")
    parser.add_argument("--height", type=int, default=2600, help="of the screenshot, in pixels")
    arguments = parser.parse_args()
    kept = arguments.keep
    with tempfile.TemporaryDirectory() as scratch:
        folder = kept or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        log = anyio.run(scenario, Path(scratch))
        page = folder / "timeline.html"
        began = time.process_time()
        turn = drawn(log, page)
        milliseconds = 1000 * (time.process_time() - began)
        report: dict[str, Any] = {
            "runs": len(turn),
            "lines": sum(len(run.lines) for run in turn),
            "bytes": page.stat().st_size,
            "draw_cpu_ms": round(milliseconds, 1),
            "status": turn[-1].status,
            "browser": browser() is not None,
        }
        if report["browser"]:
            shown, picture = opened(page, height=arguments.height)
            report["opens"] = "Who did what, when" in shown and picture.stat().st_size > 20_000
            report["owned"] = "<title>owned" in shown or "<script" in shown
            naked = folder / "unescaped.html"
            naked.write_text(f"<!doctype html><title>quiet</title><style></style><p>{ATTACK}", encoding="utf-8")
            report["unescaped_owned"] = "<title>owned" in opened(naked)[0]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
