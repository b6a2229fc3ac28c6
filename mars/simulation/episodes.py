"""One episode is played by one arm, and what came of it is told in plain values."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio

from mars.environments import Score
from mars.environments.interfaces import FAILED_TURNS
from mars.errors import InvalidSetting
from mars.simulation.arms import SABOTAGES, Arm, Limits, OracleArm, fading, open_arm
from mars.simulation.census import MONTH, Notebook
from mars.simulation.databases import IN_MEMORY, own_database
from mars.simulation.world_assistant import AssistantEpisode
from mars.simulation.world_operations import OperationsEpisode
from mars.simulation.world_scheduler import SchedulerEpisode
from mars.simulation.worlds import START, Cell, Episode, Question, Statement

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from mars.memory.presets import Preset

WORLDS: Mapping[str, type[Episode]] = {
    one.world: one for one in (AssistantEpisode, OperationsEpisode, SchedulerEpisode)
}
"""The worlds by name."""
ORACLE = "oracle"
"""The arm that is given the truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeTask:
    """What is to be played: all that decides what comes of it, but for timings."""

    world: str
    """Name of the world."""
    variant: str
    """Name of the arm."""
    cell: Cell
    """Cell of the grid."""
    seed: int
    """Draws the episode, and the ids of the memory."""
    limits: Limits = field(default_factory=Limits)
    """What every arm gets alike."""
    model: str | None = None
    """A chat model's name; None for the world's own keyless policy."""
    sabotage: str | None = None
    """What is broken on purpose."""

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise InvalidSetting(f"there is no world {self.world!r}; choose among {', '.join(WORLDS)}")
        if self.sabotage is not None and self.sabotage not in SABOTAGES:
            raise InvalidSetting(f"there is no sabotage {self.sabotage!r}; choose among {', '.join(SABOTAGES)}")

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values, with the version of its world."""
        return {**asdict(self), "version": WORLDS[self.world].version}

    @property
    def name(self) -> str:
        """The hash of `plain`, 32 characters of 0 to 9 and a to f."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an episode."""

    asked: int
    """Questions."""
    right: int
    """Right answers."""
    floor: float
    """The share that an agent without memory is expected to get right."""
    tokens: int
    """Tokens read and written."""
    cost: float | None
    """US dollars; None where a price is not known."""
    ms: float
    """Milliseconds that the arm took for all that it was told and asked."""
    months: tuple[tuple[int, int], ...]
    """For each 30 days (asked, right)."""
    counts: Mapping[str, int]
    """What else the world counts, such as repeated mistakes; and `FAILED_TURNS`, if there are any."""
    failures: tuple[Mapping[str, Any], ...]
    """The first wrong answers: what was asked when, what is true, what stood in the prompt, and why it is wrong."""
    lapses: Mapping[str, int] = field(default_factory=dict)
    """How many answers were wrong for which reason; see `mars.simulation.census.Lapse`."""
    census: tuple[Mapping[str, int], ...] = ()
    """At each look: claims that are needed, spare and stale, and how many of each are still held."""
    calibration: tuple[tuple[float, ...], ...] = ()
    """For each tenth of R: records in prompts, ΣR, cited, true, true and cited; empty where nothing fades."""
    curves: tuple[Mapping[str, Any], ...] = ()
    """Some memories, with every change of their strength."""

    @property
    def success(self) -> float:
        """The share of right answers."""
        return self.right / self.asked


def play_episode(task: EpisodeTask, model: BaseChatModel | None = None, database: str = IN_MEMORY) -> dict[str, Any]:
    """Play an episode from start to end and return its outcome as JSON values; for a process of its own.

    `model` goes before the task's; `database` is the URL of where the memory lives meanwhile.
    """
    return asdict(anyio.run(played, task, model, database))


async def played(task: EpisodeTask, model: BaseChatModel | None = None, database: str = IN_MEMORY) -> Outcome:
    """Play an episode and return what came of it. Same task, same outcome but for `ms`, in every database."""
    episode = WORLDS[task.world](task.seed, task.cell)
    episode.shuffled = task.sabotage == "scorer"
    policy = model or _policy(episode, task)
    if task.variant == ORACLE:
        return await _through(episode, OracleArm(policy, task.limits, episode.truth), None)
    lent = own_database(database, task.name)
    async with open_arm(
        task.variant, policy, task.limits, seed=task.seed, sabotage=task.sabotage, database=lent
    ) as arm:
        return await _through(episode, arm, fading(task.variant))


async def _through(episode: Episode, arm: Arm, rules: Preset | None) -> Outcome:
    told: list[Statement] = []
    tally, notes, now = _Tally(), Notebook(episode, rules), START
    for step in episode.steps():
        now = step.at
        if isinstance(step, Statement):
            told.append(step)
            continue
        began = time.perf_counter()
        await arm.tell(told)
        reply = await arm.ask(step)
        tally.ms += 1000 * (time.perf_counter() - began)
        notes.tell(told)
        told = []
        tally.tokens += reply.tokens
        tally.cost = None if tally.cost is None or reply.cost is None else tally.cost + reply.cost
        score = episode.mark(step, reply.text)
        tally.count(step, score)
        tally.failed += reply.error is not None
        await notes.answered(arm, step, reply, score)
    return replace(
        tally.outcome(episode.floor()),
        failures=tuple(notes.failures),
        lapses=notes.lapses,
        census=tuple(notes.census()),
        calibration=tuple(tuple(one) for one in notes.bins) if rules else (),
        curves=tuple(await notes.curves(arm.memory, now)),
    )


class _Tally:
    """Counts what happens in an episode."""

    def __init__(self) -> None:
        self.tokens, self.ms, self.failed = 0, 0.0, 0
        self.cost: float | None = 0.0
        self._months: dict[int, list[int]] = {}
        self._counts: dict[str, int] = {}

    def count(self, question: Question, score: Score) -> None:
        """Count an answer."""
        month = self._months.setdefault((question.at - START).days // MONTH, [0, 0])
        month[0] += 1
        month[1] += score.passed
        for name, value in score.details.items():
            self._counts[name] = self._counts.get(name, 0) + int(value)

    def outcome(self, floor: float) -> Outcome:
        """Return what was counted."""
        months = tuple(tuple(self._months.get(place, [0, 0])) for place in range(max(self._months, default=-1) + 1))
        return Outcome(
            asked=sum(month[0] for month in months),
            right=sum(month[1] for month in months),
            floor=floor,
            tokens=self.tokens,
            cost=self.cost,
            ms=round(self.ms, 3),
            months=tuple((asked, right) for asked, right in months),
            counts=self._counts | ({FAILED_TURNS: self.failed} if self.failed else {}),
            failures=(),
        )


def _policy(episode: Episode, task: EpisodeTask) -> BaseChatModel:
    if task.model is None:
        return episode.policy(task.seed)
    from mars.models.resolve import resolve_model

    return resolve_model(task.model)
