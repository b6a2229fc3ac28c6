"""A simulation is run: what is missing of it is played, in processes of its own, and kept as soon as it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, Lock, create_task_group, to_process, to_thread

from mars.simulation.config import SimulationConfig
from mars.simulation.episodes import EpisodeTask, play_episode
from mars.simulation.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A simulation that is over."""

    episodes: list[tuple[EpisodeTask, dict[str, Any]]]
    """Every episode with its outcome, in the order of the tasks."""
    played: int
    """How many of them this run has played; the others were there."""


async def simulate(
    config: SimulationConfig,
    folder: str | Path,
    *,
    sabotage: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Play what the folder lacks of a simulation, and return all of it.

    Killed at any moment, the same call plays only what is missing. `progress` is told (done, total). Raises
    `InvalidSetting` for an unknown sabotage, `StoreUnavailable` for a folder that cannot be written, and what an
    episode raises; what was over before is kept.
    """
    tasks = config.tasks(sabotage)
    results = await to_thread.run_sync(Results, folder)
    try:
        missing = await to_thread.run_sync(results.missing, tasks)
        await _play(missing, config.concurrency, results, lambda done: _tell(progress, tasks, missing, done))
        await to_thread.run_sync(results.export, tasks)
        return Simulated(episodes=await to_thread.run_sync(results.of, tasks), played=len(missing))
    finally:
        results.close()


async def _play(tasks: Sequence[EpisodeTask], at_once: int, results: Results, told: Callable[[int], None]) -> None:
    """Play tasks in processes, `at_once` of them at a time."""
    waiting, one_writes, done = iter(tasks), Lock(), 0
    limiter = CapacityLimiter(at_once)
    told(0)

    async def work() -> None:
        nonlocal done
        for task in waiting:
            outcome = await to_process.run_sync(play_episode, task, cancellable=True, limiter=limiter)
            async with one_writes:
                await to_thread.run_sync(results.add, task, outcome)
                done += 1
                told(done)

    async with create_task_group() as group:
        for _ in range(min(at_once, len(tasks))):
            group.start_soon(work)


def _tell(
    progress: Callable[[int, int], None] | None, tasks: Sequence[EpisodeTask], missing: Sequence[EpisodeTask], done: int
) -> None:
    if progress is not None:
        progress(len(tasks) - len(missing) + done, len(tasks))
