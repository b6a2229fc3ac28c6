"""Two and four processes on one store, at the same time: exact counts, one order, and nobody sees the past.

    python -m benchmarks.memory_processes

Real processes, each with a memory of its own. First all add at once, and look between their writes: at every moment the
records that are visible must have exactly the `seq` from 1 to the newest. Then all add, use one shared record and
recall. Then each in turn writes, and every other one must find that at its next call. PostgreSQL where it is here.
"""

from __future__ import annotations

import argparse
import json
import runpy
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from mars.errors import MarsError
from mars.memory.backends.sql import SqlBackend
from mars.memory.engine import Memory
from mars.memory.interfaces import Reader, Selection
from mars.memory.records import Grade
from mars.testing import RandomEmbedder

HOME = ("shared",)
EMBEDDER = RandomEmbedder(8)
EACH = 40
"""So many writes of each process in each storm."""
POSTGRES = Path(__file__).resolve().parents[1] / "tests" / "postgres.py"


class Stale(SqlBackend):
    """A backend that believes what it knew: it does not ask whether another process has committed."""

    believed = 0

    def _begin(self, wire: Any, known: Any) -> Any:
        begun = super()._begin(wire, known)
        self.believed += known not in (None, begun)
        return begun if known is None else known


def gapped(reader: Reader) -> bool:
    """Whether a snapshot of records that were only added shows other `seq` than 1 to the newest."""
    return [row.seq for row in reader.select(Selection())] != list(range(1, reader.head() + 1))


class Worker:
    """What one process does; each method answers one line."""

    def __init__(self, memory: Memory, name: str) -> None:
        self._memory = memory
        self._name = name

    async def believed(self) -> int:
        """Return how often the backend believed what was true no more."""
        return getattr(self._memory.backend, "believed", 0)

    async def adds(self, count: str) -> int:
        """Add records one by one, looking at a snapshot after each; return how many snapshots had a gap."""
        bad = 0
        for number in range(int(count)):
            record = await self._memory.add(
                f"{self._name} adds {number}", HOME, idempotency_key=f"{self._name}{number}"
            )
            bad += await self._memory.read(gapped)
            bad += not any(hit.record.id == record.id for hit in await self._memory.recall(record.text, namespace=HOME))
        return bad

    async def uses(self, count: str, shared: str) -> int:
        """Add, use the shared record and recall it; return how often it was not found, or not as used as it is."""
        bad, before = 0, 0
        for number in range(int(count)):
            await self._memory.add(f"{self._name} mixes {number}", HOME)
            (used,) = await self._memory.used(shared, Grade.GOOD, f"{self._name} {number}")
            bad += used.uses <= before
            before = used.uses
            hits = await self._memory.recall("the shared record", namespace=HOME, k=3)
            bad += not any(hit.record.id == shared and hit.record.uses >= before for hit in hits)
        return bad

    async def add(self, *words: str) -> int:
        """Add one record; return its `seq`."""
        return (await self._memory.add(" ".join(words), HOME)).seq

    async def sees(self, *words: str) -> int:
        """Return 1 if a text is found by the next recall and in the next listing."""
        text = " ".join(words)
        hits = await self._memory.recall(text, namespace=HOME, k=3)
        return int(any(h.record.text == text for h in hits) and text in [r.text for r in await self._memory.list(HOME)])


async def work(url: str, name: str, sort: str) -> None:
    """Be a process: answer each line of the input by a line of JSON."""
    backend = {"right": SqlBackend, "stale": Stale}[sort](url)
    async with Memory.open(backend, embedder=EMBEDDER) as memory:
        worker = Worker(memory, name)
        print("0", flush=True)
        while line := await to_thread.run_sync(sys.stdin.readline):
            what, *rest = line.split()
            try:
                answer: int | str = await getattr(worker, what)(*rest)
            except MarsError as error:
                answer = f"{type(error).__name__}: {error}"
            print(json.dumps(answer), flush=True)


@dataclass
class Outcome:
    """What some processes on one store have shown; all but the first two must be 0."""

    processes: int
    """How many there were."""
    records: int = 0
    """Records that are there at the end."""
    missing: int = 0
    """Records that were acknowledged and are not there, or too many."""
    uses: int = 0
    """Uses of the shared record that were acknowledged and are not counted, or too many."""
    disorder: int = 0
    """Snapshots with a gap in `seq`, writes that their own process did not find, counts that went back."""
    unseen: int = 0
    """Writes that another process did not find at its next call."""
    errors: int = 0
    """Calls that failed."""
    believed: int = 0
    """How often a sabotaged backend believed what was true no more."""

    @property
    def exact(self) -> bool:
        """Whether everything came out even."""
        return not (self.missing or self.uses or self.disorder or self.unseen or self.errors)


class Crew:
    """The processes on one store."""

    def __init__(self, url: str, count: int, sort: str) -> None:
        self.errors = 0
        line = [sys.executable, "-m", "benchmarks.memory_processes", "--work", url]
        self._workers = [
            subprocess.Popen([*line, f"p{one}", sort], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for one in range(count)
        ]
        for one in range(count):
            self.answer(one)

    def ask(self, one: int, line: str) -> None:
        """Give a process a line."""
        pipe = self._workers[one].stdin
        assert pipe is not None
        pipe.write(f"{line}\n")
        pipe.flush()

    def answer(self, one: int) -> int:
        """Wait for what a process answers; an error counts as nothing."""
        pipe = self._workers[one].stdout
        assert pipe is not None
        said = json.loads(pipe.readline() or '"the process has ended"')
        if isinstance(said, int):
            return said
        self.errors += 1
        print(said, file=sys.stderr)
        return 0

    def all(self, line: str) -> int:
        """Have all do the same at the same time; return the sum of what they answer."""
        for one in range(len(self._workers)):
            self.ask(one, line)
        return sum(self.answer(one) for one in range(len(self._workers)))

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.communicate(timeout=60)


def measure(url: str, count: int, sort: str = "right") -> Outcome:
    """Let so many processes loose on an empty store; `sort` is the kind of backend they have."""
    outcome, crew = Outcome(count), Crew(url, count, sort)
    try:
        outcome.disorder += crew.all(f"adds {EACH}")
        shared = anyio.run(_share, url)
        outcome.disorder += crew.all(f"uses {EACH} {shared}")
        for one in range(count):
            for turn in range(3):
                text = f"p{one} passes on {turn}"
                crew.ask(one, f"add {text}")
                crew.answer(one)
                for other in range(count):
                    crew.ask(other, f"sees {text}")
                    outcome.unseen += crew.answer(other) != 1
        outcome.believed = crew.all("believed")
    finally:
        crew.close()
    records, uses = anyio.run(_held, url, shared)
    outcome.records = records
    outcome.missing = abs(count * (2 * EACH + 3) + 1 - records)
    outcome.uses = abs(count * EACH - uses)
    outcome.errors = crew.errors
    return outcome


async def _share(url: str) -> str:
    async with Memory.open(url, embedder=EMBEDDER) as memory:
        return (await memory.add("the shared record", HOME)).id


async def _held(url: str, shared: str) -> tuple[int, int]:
    async with Memory.open(url, embedder=EMBEDDER) as memory:
        rows = await memory.list(HOME)
        return len(rows), next((row.uses for row in rows if row.id == shared), 0)


def main() -> None:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", nargs=3, metavar=("URL", "NAME", "SORT"), help="be one of the processes")
    options = parser.parse_args()
    if options.work:
        anyio.run(work, *options.work)
        return
    report: dict[str, Any] = {"exact": True}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        postgres = runpy.run_path(str(POSTGRES))
        missing = postgres["missing"]()
        server = None if missing else stack.enter_context(postgres["cluster"]())
        for count in (2, 4):
            urls = {"sqlite": f"sqlite:///{folder}/{count}.db"}
            if server is not None:
                urls["postgres"] = stack.enter_context(postgres["database"](server, f"processes{count}"))
            for kind, url in urls.items():
                outcome = measure(url, count)
                report[f"{kind}_{count}"] = asdict(outcome)
                report["exact"] = report["exact"] and outcome.exact
        report["postgres"] = missing or "here"
    print(json.dumps(report))


if __name__ == "__main__":
    main()
