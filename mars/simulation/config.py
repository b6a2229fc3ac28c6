"""What `mars simulate` reads: a world, its grid, seeds and variants, as TOML.

```toml
world = "assistant"            # assistant, operations or scheduler
seeds = [201, 202, 203]
episodes = 1                   # episodes of each seed and cell
variants = ["none", "mars"]    # all of them if left out
concurrency = 2                # processes at once
model = "openai:gpt-4o-mini"   # who answers; the world's keyless policy if left out
database = "postgresql://h/d"  # where memories and results live; in memory, and in the folder, if left out

[grid]                         # every combination is a cell
noise = [2, 8]
change = [0.0, 0.5]
repeat = [0, 2]
gap = [7, 60]

[limits]
budget = 96                    # words of memories in a prompt
capacity = 64                  # statements that fifo keeps
```
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mars.errors import InvalidFile, InvalidSetting
from mars.models.resolve import BUILT_IN
from mars.simulation.arms import VARIANTS, Limits
from mars.simulation.databases import IN_MEMORY, check_database
from mars.simulation.episodes import ORACLE, WORLDS, EpisodeTask
from mars.simulation.worlds import Cell

AXES = ("noise", "change", "repeat", "gap")
"""The axes of the grid."""
MEMORYLESS = "none"
"""The variant whose score the world predicts."""
LARGEST_SEED = 2_000_000
"""A thousand times a seed, with the number of its episode, must be an INTEGER of every database."""
MOST_EPISODES = 100_000
"""A simulation of more episodes is refused: it is a slip of the pen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """A simulation: every variant plays every cell with every seed. Raises `InvalidSetting` for what cannot be."""

    world: str
    """Name of the world."""
    cells: tuple[Cell, ...]
    """The grid's cells."""
    seeds: tuple[int, ...]
    """What episodes are drawn from."""
    episodes: int = 1
    """Episodes of each seed and cell."""
    variants: tuple[str, ...] = VARIANTS
    """Names of the arms; the oracle and the memoryless one are always played."""
    limits: Limits = field(default_factory=Limits)
    """What every arm gets alike."""
    concurrency: int = 2
    """Processes that play at once."""
    model: str | None = None
    """Who answers; None for the world's keyless policy."""
    database: str = IN_MEMORY
    """URL of the database in which each episode's memory gets a place of its own; PostgreSQL holds the results too."""

    def __post_init__(self) -> None:
        if not isinstance(self.world, str) or self.world not in WORLDS:
            raise InvalidSetting(f"there is no world {self.world!r}; choose among {', '.join(WORLDS)}")
        unknown = [name for name in self.variants if name not in VARIANTS]
        if unknown:
            raise InvalidSetting(f"variants knows {', '.join(VARIANTS)}; got {', '.join(map(str, unknown))}")
        if any(type(seed) is not int or abs(seed) > LARGEST_SEED for seed in self.seeds):
            raise InvalidSetting(f"seeds must be whole numbers up to {LARGEST_SEED:,}; got {list(self.seeds)!r}")
        names = [cell.name for cell in self.cells]
        for what, given in (("seeds", self.seeds), ("cells", names)):
            twice = [one for place, one in enumerate(given) if one in given[:place]]
            if not given or twice:
                held = f"{twice[0]} twice" if twice else "none"
                raise InvalidSetting(f"{what} must not be empty, and hold nothing twice; got {held}")
        check_name(self.model)
        for name, most in (("episodes", 1_000), ("concurrency", 64)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise InvalidSetting(f"{name} must be a whole number from 1 to {most:,}; got {value!r}")
        check_database(self.database)
        count = len(self.cells) * len(self.seeds) * self.episodes * (len(self.variants) + 2)
        if count > MOST_EPISODES:
            raise InvalidSetting(f"these are {count:,} episodes, and at most {MOST_EPISODES:,} are played: take fewer")

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values, without the database: its URL may hold a password."""
        values = asdict(self)
        values.pop("database", None)
        return {**values, "cells": [cell.name for cell in self.cells]}

    def tasks(self, sabotage: str | None = None) -> list[EpisodeTask]:
        """Return all episodes, cell by cell."""
        names = dict.fromkeys((ORACLE, MEMORYLESS, *self.variants))
        draws = [seed * 1_000 + number for seed in self.seeds for number in range(self.episodes)]
        return [
            EpisodeTask(
                world=self.world,
                variant=name,
                cell=cell,
                seed=seed,
                limits=self.limits,
                model=self.model,
                sabotage=sabotage,
            )
            for cell, seed, name in itertools.product(self.cells, draws, names)
        ]


def read_config(path: str | Path) -> SimulationConfig:
    """Return the simulation that a TOML file describes; `InvalidFile` if it cannot be read, else `InvalidSetting`."""
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidFile(f"the simulation {path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise InvalidFile(f"{path} is no TOML: {error}") from None
    known = ("world", "seeds", "episodes", "variants", "concurrency", "model", "database", "grid", "limits")
    _only(values, known, str(path))
    if "world" not in values or "seeds" not in values:
        raise InvalidSetting(f'{path}: name a world and seeds: world = "assistant", seeds = [1, 2]')
    lists: dict[str, Any] = {
        name: tuple(_listed(values[name], f"{path}: {name}")) for name in ("seeds", "variants") if name in values
    }
    names = ("episodes", "concurrency", "model", "database")
    rest: dict[str, Any] = {name: values[name] for name in names if name in values}
    limits = _table(values.get("limits", {}), ("budget", "capacity"), f"{path}: limits")
    return SimulationConfig(
        world=values["world"],
        cells=_cells(values.get("grid", {}), str(path)),
        limits=Limits(**limits),
        **lists,
        **rest,
    )


def check_name(model: object) -> None:
    """Raise `InvalidSetting` for what cannot be the name of a model; None is the world's keyless policy."""
    named = model is None or (isinstance(model, str) and (model == BUILT_IN or all(model.partition(":")[::2])))
    if not named:
        raise InvalidSetting(f"model must be provider:name, such as openai:gpt-4o-mini, or {BUILT_IN}; got {model!r}")


def _cells(values: Any, where: str) -> tuple[Cell, ...]:
    grid = _table(values, AXES, f"{where}: grid")
    missing = [axis for axis in AXES if axis not in grid]
    if missing:
        raise InvalidSetting(f"{where}: grid lacks {', '.join(missing)}; give each axis a list: noise = [2, 8]")
    axes = [_listed(grid[axis], f"{where}: grid.{axis}") for axis in AXES]
    for axis, numbers in zip(AXES, axes, strict=True):
        if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
            raise InvalidSetting(f"{where}: grid.{axis} must hold numbers; got {numbers!r}")
    return tuple(Cell(**dict(zip(AXES, numbers, strict=True))) for numbers in itertools.product(*axes))


def _table(values: Any, known: tuple[str, ...], where: str) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise InvalidSetting(f"{where} must be a table; got {values!r}")
    _only(values, known, where)
    return values


def _only(values: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidSetting(f"{where}: there is no {unknown[0]!r}; known are {', '.join(known)}")


def _listed(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidSetting(f"{where} must be a list; got {value!r}")
    return value
