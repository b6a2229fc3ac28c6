"""Where episodes are played: in processes of this machine, or by the workers of Ray, which may be on others.

An engine is given one episode at a time and returns what came of it; how many are given at once is the caller's. If
the process that plays an episode dies, the episode is played by another from its start, `RETRIES` times at most.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from anyio import BrokenWorkerProcess, CancelScope, CapacityLimiter, to_process, to_thread

from mars.errors import EpisodeLost, InvalidSetting, MarsError, MissingExtra
from mars.simulation.databases import IN_MEMORY
from mars.simulation.episodes import play_episode

if TYPE_CHECKING:
    from mars.simulation.episodes import EpisodeTask

RETRIES = 3
"""So many times is an episode played again whose process died."""
OBJECTS = 80_000_000
"""Bytes that Ray keeps for results on its way; theirs are a few thousand each."""


class Engine(Protocol):
    """Something that plays episodes."""

    async def play(self, task: EpisodeTask) -> dict[str, Any]:
        """Return what came of an episode. Raises `EpisodeLost` where every process that played it died."""


class Local:
    """Processes of this machine, at most `at_once`."""

    def __init__(self, at_once: int, database: str, retries: int) -> None:
        self._limiter = CapacityLimiter(at_once)
        self._database = database
        self._retries = retries

    async def play(self, task: EpisodeTask) -> dict[str, Any]:
        """Play it in a process that is free."""
        for _ in range(1 + self._retries):
            try:
                return await to_process.run_sync(
                    play_episode, task, None, self._database, cancellable=True, limiter=self._limiter
                )
            except (BrokenWorkerProcess, ProcessLookupError):  # the latter is anyio's for one that dies as it begins
                continue
        raise _lost(task, self._retries)


class Ray:
    """Workers of Ray."""

    def __init__(self, ray: Any, at_once: int, database: str, retries: int) -> None:
        self._ray = ray
        self._limiter = CapacityLimiter(at_once)
        self._database = database
        self._retries = retries
        self._remote = ray.remote(num_cpus=1, max_retries=retries)(play_episode)

    async def play(self, task: EpisodeTask) -> dict[str, Any]:
        """Play it by a worker that is free; where one dies, Ray gives it to another."""
        promised = self._remote.remote(task, None, self._database)
        try:
            outcome: dict[str, Any] = await to_thread.run_sync(
                self._ray.get, promised, abandon_on_cancel=True, limiter=self._limiter
            )
            return outcome
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, MarsError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            raise _lost(task, self._retries) from error
        except BaseException:
            self._ray.cancel(promised, force=True)
            raise


def _lost(task: EpisodeTask, retries: int) -> EpisodeLost:
    return EpisodeLost(
        f"{1 + retries} processes died that played {task.variant} in {task.world}, {task.cell.name}, seed {task.seed}: "
        "look whether memory is short (concurrency, capacity); the same command goes on from here"
    )


@asynccontextmanager
async def _local(at_once: int, database: str, retries: int) -> AsyncIterator[Engine]:
    yield Local(at_once, database, retries)


@asynccontextmanager
async def _with_ray(at_once: int, database: str, retries: int) -> AsyncIterator[Engine]:
    """Join the cluster that ``RAY_ADDRESS`` names, or begin one of `at_once` workers here, and end it afterwards."""
    alone = "RAY_ADDRESS" not in os.environ
    _prepare_environment(alone)
    try:
        import ray
    except ImportError:
        raise MissingExtra("--engine ray", "ray") from None
    folder = Path(tempfile.mkdtemp(prefix="mars-ray-", dir="/tmp" if os.path.isdir("/tmp") else None))
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if alone:
        settings |= {"address": "local", "num_cpus": at_once, "num_gpus": 0, "include_dashboard": False}
        settings |= {"object_store_memory": OBJECTS, "_temp_dir": str(folder)}
    try:
        await to_thread.run_sync(lambda: ray.init(**settings))
        yield Ray(ray, at_once, database, retries)
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(ray.shutdown)
            await to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


def _prepare_environment(alone: bool) -> None:
    """Tell Ray what it reads when it is imported: to report to nobody, and what opens its own cluster."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # whatever anybody has set it to
    if alone and not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # else Ray leaves one in the home folder


ENGINES: Mapping[str, Callable[[int, str, int], AbstractAsyncContextManager[Engine]]] = {
    "local": _local,
    "ray": _with_ray,
}
"""The engines by name."""


def open_engine(
    name: str, at_once: int, database: str = IN_MEMORY, *, retries: int = RETRIES
) -> AbstractAsyncContextManager[Engine]:
    """Return an engine to enter; `database` is the URL of where the memories live.

    Raises `InvalidSetting` for an unknown name; entering raises `MissingExtra` where Ray is not installed.
    """
    if name not in ENGINES:
        raise InvalidSetting(f"there is no engine {name!r}; choose among {', '.join(ENGINES)}")
    return ENGINES[name](at_once, database, retries)
