"""What a memory could be worth at most in a world: its policy with everything that the user has ever said before it.

    python -m benchmarks.perfect_memory [examples/simulations/operations.toml …]

Nothing is forgotten, nothing cut to a budget, the newest comes first, and what others said is left out. Where that is
no better than a variant, the world cannot tell a better memory from it. The oracle is told more: in the operations
world it knows a rule that nobody has seen yet. Prints a table, and one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import anyio

from mars.agents.interfaces import Evidence
from mars.simulation.arms import Arm, Limits, PromptArm, spoken
from mars.simulation.config import read_config
from mars.simulation.episodes import WORLDS
from mars.simulation.worlds import USER, Cell, Episode, Question, Statement

CONFIGS = [Path("examples/simulations") / f"{world}.toml" for world in ("assistant", "operations", "scheduler")]
UNLIMITED = Limits(budget=100_000)


class PerfectArm(PromptArm):
    """All that the user said, the newest first."""

    said: Sequence[Statement] = ()

    async def tell(self, statements: Sequence[Statement]) -> None:
        """Keep what the user says."""
        self.said = [*self.said, *(one for one in statements if one.speaker == USER)]

    async def chosen(self, question: Question) -> Sequence[Evidence]:
        """Return all of it."""
        return spoken(self.said[::-1])


async def success(world: str, seed: int, cell: Cell) -> float:
    """Play an episode and return the share of right answers."""
    episode = WORLDS[world](seed, cell)
    return await played(episode, PerfectArm(episode.policy(seed), UNLIMITED))


async def played(episode: Episode, arm: Arm) -> float:
    """Let an arm live through an episode and return the share of right answers."""
    told: list[Statement] = []
    right: list[bool] = []
    for step in episode.steps():
        if isinstance(step, Statement):
            told.append(step)
            continue
        await arm.tell(told)
        told = []
        right.append(episode.mark(step, (await arm.ask(step)).text).passed)
    return fmean(right)


def measured(config: Path) -> dict[str, object]:
    """Return the mean over a grid, and that of each cell."""
    read = read_config(config)
    seeds = [seed * 1_000 + number for seed in read.seeds for number in range(read.episodes)]
    cells = {cell.name: fmean(anyio.run(success, read.world, seed, cell) for seed in seeds) for cell in read.cells}
    return {"success": round(fmean(cells.values()), 4), "grid": {name: round(one, 4) for name, one in cells.items()}}


def main(argv: list[str] | None = None) -> int:
    """Measure each world."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", type=Path, default=CONFIGS)
    report = {config.stem: measured(config) for config in parser.parse_args(argv).configs}
    for world, values in report.items():
        print(f"{world:12} {values['success']:.3f}", file=sys.stderr)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
