"""Run many conversations at once for minutes, and look at errors and at memory.

    python -m benchmarks.soak_episodes --minutes 20

So many tasks at once (`--episodes`) run turn after turn on SQLite, every fifth in a new conversation, with a model that
takes `--latency` seconds and a Checker by rules. From time to time the garbage is collected, and the live objects of
Python and the resident memory of the process are read. ``growth`` is the resident memory in the last quarter of these
readings as a multiple of that in the second quarter, medians; ``objects_per_turn`` is by how many the live objects grew
for each turn between the two. ``--sabotage leak`` keeps every result, which must be found. The last line is JSON; the
exit status is 1 where a turn failed, or one of the two is above `FLAT` or `LEAK`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.runtime_speed import CitingModel
from mars import Assistant, Mars, Team
from mars.results import RunStatus

FLAT = 1.1
"""Memory that grows by less than this factor is flat: it goes up and down by some per cent."""
LEAK = 5.0
"""So many objects for each turn are what the turns under way differ by; what is kept of a turn is many more."""
TURNS = 5
"""So many turns of one conversation follow each other."""
READINGS = 40
"""So often memory is read."""
RECORDS = 200
"""In the memory that all share."""


def resident() -> float:
    """Return the process's resident memory in megabytes, from Linux's /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


class Soak:
    """The tasks, and what was seen."""

    def __init__(self, mars: Mars, *, until: float, leak: bool) -> None:
        self.mars = mars
        self.until = until
        """When the tasks end, on the monotonic clock."""
        self.turns = 0
        self.failed: Counter[str] = Counter()
        """What went wrong, and how often."""
        self.readings: list[tuple[int, int, float]] = []
        """Turns so far, live objects, and megabytes."""
        self.kept: list[dict[str, Any]] | None = [] if leak else None

    async def episode(self, number: int) -> None:
        """Run turns until the time is over."""
        turn = 0
        while time.monotonic() < self.until:
            name = f"{number}-{turn // TURNS}"
            try:
                result = await self.mars.run("Where is item 7?", user="ann", conversation=name)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.failed[f"{type(error).__name__}: {error}"[:200]] += 1
            else:
                if result.status not in (RunStatus.COMPLETED, RunStatus.ITERATION_LIMIT):
                    self.failed[f"{result.status.value} {result.error}"[:200]] += 1
                if self.kept is not None:
                    self.kept.append(result.plain())
                self.turns += 1
            turn += 1

    async def read(self, every: float) -> None:
        """Read memory from time to time, until this is cancelled."""
        while True:
            await asyncio.sleep(every)
            gc.collect()
            self.readings.append((self.turns, len(gc.get_objects()), resident()))
            if sys.stderr.isatty():
                print(f"\r{self.turns} turns, {self.readings[-1][2]:.0f} MB", end="", file=sys.stderr)

    def medians(self, place: int) -> tuple[float, float]:
        """Return the medians of the second and the last quarter of the readings."""
        values = [one[place] for one in self.readings]
        quarter = len(values) // 4
        return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])

    @property
    def growth(self) -> float:
        """Resident memory at the end as a multiple of what it was before."""
        before, after = self.medians(2)
        return after / before

    @property
    def objects_per_turn(self) -> float:
        """By how many objects each turn made the process grow."""
        (first, last), (before, after) = self.medians(0), self.medians(1)
        return (after - before) / (last - first)


async def soak(options: argparse.Namespace, folder: Path) -> Soak:
    """Open a memory with records, run the tasks, and return what was seen."""
    seconds = options.minutes * 60
    team = Team(assistant=Assistant(model=CitingModel(latency=options.latency)), iterations=1)
    async with Mars.open(f"sqlite:///{folder / 'life.db'}", team=team) as mars:
        for number in range(RECORDS):
            await mars.memory.add(f"Item {number} is in room {number}.", namespace=("ann",), speaker="ann")
        seen = Soak(mars, until=time.monotonic() + seconds, leak=options.sabotage == "leak")
        reading = asyncio.ensure_future(seen.read(seconds / READINGS))
        await asyncio.gather(*(seen.episode(number) for number in range(options.episodes)))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return seen


def main() -> int:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--latency", type=float, default=0.5)
    parser.add_argument("--sabotage", choices=("leak",))
    options = parser.parse_args()
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(soak(options, Path(folder)))
    report = {
        "minutes": options.minutes,
        "episodes": options.episodes,
        "turns": seen.turns,
        "errors": seen.failed.total(),
        "growth": round(seen.growth, 3),
        "objects_per_turn": round(seen.objects_per_turn, 2),
        "megabytes": [round(one) for *_, one in seen.readings[:: READINGS // 8]],
        "failed": dict(seen.failed.most_common(5)),
        "cpu_ms_per_turn": round((time.process_time() - started) / max(1, seen.turns) * 1e3, 1),
    }
    print(json.dumps(report))
    return int(bool(seen.failed) or seen.growth > FLAT or seen.objects_per_turn > LEAK)


if __name__ == "__main__":
    sys.exit(main())
