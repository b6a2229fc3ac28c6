"""The presets, and variants of the default, in the worlds of simulated months and on LoCoMo with decay.

    python -m benchmarks.preset_choice [locomo5.json] [--seeds 901 902 903]

In the worlds: the arm that strengthens what an answer cites, with each preset in turn, on the grid of
``examples/simulations``; the share of right answers. On LoCoMo: recall at 10 where each turn is stored at its own time
and asked at the end. Memory under change is `mars eval change`. Prints a table, and one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean

import anyio

from mars.evaluation.locomo import evaluate_locomo
from mars.memory.engine import Memory
from mars.memory.interfaces import Kind
from mars.memory.presets import DEFAULT, Preset, preset
from mars.simulation.arms import Limits, MemoryArm
from mars.simulation.config import read_config
from mars.simulation.episodes import WORLDS
from mars.simulation.worlds import START, Cell, Statement
from mars.testing.clocks import FixedClock

DATA = Path("../shared/data/locomo/locomo5.json")
CONFIGS = Path("examples/simulations")


def candidates() -> dict[str, Preset]:
    """Return what is compared."""
    bases = dict(DEFAULT.base_strength)
    return {
        **{name: preset(name) for name in ("default", "memorybank", "generative-agents", "paper")},
        "no decay": DEFAULT.without_decay(),
        "episodes of 3.5 days": DEFAULT.but(base_strength={**bases, Kind.EPISODE: 3.5}),
        "episodes of 14 days": DEFAULT.but(base_strength={**bases, Kind.EPISODE: 14.0}),
        "retention_floor 0.5": DEFAULT.but(retention_floor=0.5),
        "retention_floor 0.9": DEFAULT.but(retention_floor=0.9),
    }


async def success(name: str, world: str, seed: int, cell: Cell) -> float:
    """Play an episode with a preset and return the share of right answers."""
    episode, clock = WORLDS[world](seed, cell), FixedClock(START)
    told, right = [], []
    async with Memory.open("memory:", preset=candidates()[name], clock=clock, seed=seed) as memory:
        arm = MemoryArm(episode.policy(seed), Limits(), memory, strengthens=True)
        for step in episode.steps():
            if isinstance(step, Statement):
                told.append(step)
                continue
            await arm.tell(told)
            told = []
            right.append(episode.mark(step, (await arm.ask(step)).text).passed)
    return fmean(right)


def played(task: tuple[str, str, int, Cell]) -> float:
    """Play an episode in a process of its own."""
    return anyio.run(success, *task)


def in_worlds(seeds: list[int]) -> dict[str, dict[str, float]]:
    """Return the mean of each preset in each world."""
    report: dict[str, dict[str, float]] = {name: {} for name in candidates()}
    with ProcessPoolExecutor(2) as pool:
        for world in WORLDS:
            cells = read_config(CONFIGS / f"{world}.toml").cells
            for name, values in report.items():
                tasks = [(name, world, 1_000 * seed, cell) for cell in cells for seed in seeds]
                values[world] = round(fmean(pool.map(played, tasks, chunksize=8)), 4)
                print(f"{name:24} {world:12} {values[world]:.3f}", file=sys.stderr)
    return report


def main(argv: list[str] | None = None) -> int:
    """Measure every candidate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=DATA)
    parser.add_argument("--seeds", nargs="+", type=int, default=[901, 902, 903])
    chosen = parser.parse_args(argv)
    report = in_worlds(chosen.seeds)
    for name, rules in candidates().items():
        found = evaluate_locomo(chosen.file, preset=rules, decay=True)
        report[name]["locomo"] = round(found.as_dict()["recall"]["10"], 4)
        print(f"{name:24} {'LoCoMo':12} {report[name]['locomo']:.3f}", file=sys.stderr)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
