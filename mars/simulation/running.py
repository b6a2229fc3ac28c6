"""A simulation is run: what is missing of it is played, in other processes, and kept as soon as it is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anyio import CancelScope, Lock, create_task_group, to_thread

from mars.models import resolve_model
from mars.simulation.config import SimulationConfig
from mars.simulation.engines import Engine, open_engine
from mars.simulation.episodes import EpisodeTask
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
    engine: str = "local",
    kept: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Play what is missing of a simulation, and return all of it.

    The results are in the folder; where `kept`, by default the config's database, is a PostgreSQL, they are there.
    Killed at any moment, the same call plays only what is missing, by whichever `engine` (`mars.simulation.engines`).
    `progress` is told (done, total). Raises `InvalidSetting` for an unknown sabotage or engine, `ModelUnavailable` for
    a model that cannot be made, `StoreUnavailable` for a folder that cannot be written or where another process plays,
    `EpisodeLost`, and what an episode raises; what was over before is kept.
    """
    tasks = config.tasks(sabotage)
    if config.model is not None:
        await to_thread.run_sync(resolve_model, config.model)  # what cannot be made leaves nothing behind
    playing = open_engine(engine, config.concurrency, config.database)
    results = await to_thread.run_sync(Results, folder, config.database if kept is None else kept)
    try:
        async with _alone(results, tasks):
            await to_thread.run_sync(results.note, config.plain(), sabotage, tasks)
            missing = await to_thread.run_sync(results.missing, tasks)
            if missing:
                async with playing as opened:
                    told = partial(_tell, progress, tasks, missing)
                    await _play(missing, config.concurrency, results, told, opened)
        await to_thread.run_sync(results.export, tasks)
        return Simulated(episodes=await to_thread.run_sync(results.of, tasks), played=len(missing))
    finally:
        results.close()


@asynccontextmanager
async def _alone(results: Results, tasks: Sequence[EpisodeTask]) -> AsyncIterator[None]:
    """Keep others from playing the tasks meanwhile, unless all of them are done."""
    with ExitStack() as stack:
        if await to_thread.run_sync(results.missing, tasks):
            await to_thread.run_sync(stack.enter_context, results.alone(tasks))
        try:
            yield
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(stack.close)


async def _play(
    tasks: Sequence[EpisodeTask], at_once: int, results: Results, told: Callable[[int], None], engine: Engine
) -> None:
    """Have tasks played, `at_once` of them at a time."""
    waiting, one_writes, done = iter(tasks), Lock(), 0
    told(0)

    async def work() -> None:
        nonlocal done
        for task in waiting:
            outcome = await engine.play(task)
            async with one_writes:
                await to_thread.run_sync(results.add, task, outcome)
                done += 1
                told(done)

    try:
        async with create_task_group() as group:
            for _ in range(min(at_once, len(tasks))):
                group.start_soon(work)
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


def _first(error: BaseException) -> BaseException:
    """Return the first error of a group, on which a caller can act: the others were cancelled, or fail alike."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _tell(
    progress: Callable[[int, int], None] | None, tasks: Sequence[EpisodeTask], missing: Sequence[EpisodeTask], done: int
) -> None:
    if progress is not None:
        progress(len(tasks) - len(missing) + done, len(tasks))
