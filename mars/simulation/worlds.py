"""Worlds of months, drawn from a seed, in which the truth is known at every moment; read this first.

A world's episode says what happens as `Statement` and `Question`, in order of time. What is right is in a `Reference`,
which only `Episode.mark` and `Episode.truth` read: no statement, question or prompt holds any of it. What depends on
the agent's own answers (an operations desk) is said after `mark`, in words that a deployed agent would get.

A cell of the grid has four numbers, and every world says in its docstring what it makes of them:

======== ====================================================================
noise    statements of no use for each statement of use, >= 0
change   chance that what was told becomes otherwise, in [0, 1]
repeat   how often a statement of use is said again, a whole number >= 0
gap      days between the last telling and the question, > 0
======== ====================================================================
"""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from mars.agents.rendering import says_not_known, without_citations
from mars.environments import Request, Score
from mars.errors import InvalidSetting

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from mars.results import RunResult

START = datetime(2026, 1, 5, tzinfo=UTC)
"""Midnight before the first day of every episode."""
USER = "Mara"
"""Whom the agent works for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the grid; see this module's first lines. Raises `InvalidSetting` for a number out of range."""

    noise: float
    """Statements of no use for each one of use."""
    change: float
    """Chance of a change, in [0, 1]."""
    repeat: int
    """How often a statement of use is said again."""
    gap: float
    """Days of silence before it is needed."""

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 100:
            raise InvalidSetting(f"noise must lie in [0, 100]; got {self.noise!r}")
        if not 0 <= self.change <= 1:
            raise InvalidSetting(f"change must lie in [0, 1]; got {self.change!r}")
        if type(self.repeat) is not int or self.repeat not in range(21):
            raise InvalidSetting(f"repeat must be a whole number from 0 to 20; got {self.repeat!r}")
        if not 1 <= self.gap <= 120:
            raise InvalidSetting(f"gap must lie in [1, 120] days; got {self.gap!r}")

    @property
    def name(self) -> str:
        """The cell in a few letters."""
        return f"noise={self.noise:g} change={self.change:g} repeat={self.repeat} gap={self.gap:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Something that is said, and asks nothing."""

    at: datetime
    """When."""
    speaker: str
    """Who says it."""
    text: str
    """The words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something that the agent is asked."""

    at: datetime
    """When."""
    text: str
    """The words."""
    id: str
    """Unique in its episode."""
    user: str = USER
    """Who asks."""


Step = Statement | Question
"""What happens next."""
Claim = tuple[str, str]
"""A matter, and the value that is said of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What is right about a question. For the scorer and the oracle only."""

    values: tuple[str, ...] = field(repr=False)
    """What an answer must say, all of it; empty: it must be "Not known."."""
    wrong: frozenset[str] = field(default=frozenset(), repr=False)
    """What it must not say: other values of the same matter."""
    records: tuple[Statement, ...] = field(default=(), repr=False)
    """The statements from which the right answer follows: the truth of this moment."""
    canary: str = field(default="", repr=False)
    """A word that stands nowhere else: where it is found in a prompt, a reference has leaked."""

    def accepts(self, answer: str) -> bool:
        """Return whether an answer is right."""
        if not self.values:
            return says_not_known(answer)
        said = without_citations(answer)
        return all(_says(said, value) for value in self.values) and not any(_says(said, one) for one in self.wrong)


def _says(text: str, value: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE) is not None


class Episode(ABC):
    """One run of a world: months of somebody's time. It is played once, from its first step to its last."""

    world: str
    """Name of the world."""
    version: int
    """Raised whenever the same seed and cell give another episode."""
    exact_floor = True
    """Whether an agent without memory reaches `floor` in every episode, or in expectation only."""
    telling_decides = True
    """Whether what the user has said last of a matter is the truth of it; else only the references know."""

    def __init__(self, seed: int, cell: Cell) -> None:
        self.seed = seed
        """What it is drawn from."""
        self.cell = cell
        """Its cell of the grid."""
        self.shuffled = False
        """Whether each question is marked by another's reference: a scorer that must fail."""
        self.random = random.Random(f"{self.world} {self.version} {seed} {cell.name}")
        """What it draws with."""
        self._references: dict[str, Reference] = {}
        self._numbers = count(1)

    @abstractmethod
    def steps(self) -> Iterator[Step]:
        """Yield what happens, in order of time; the answer to a question is marked before the next step is taken."""

    @abstractmethod
    def floor(self) -> float:
        """Return the expected share of right answers of an agent without memory, as derived in the docstring."""

    @staticmethod
    @abstractmethod
    def policy(seed: int) -> BaseChatModel:
        """Return the keyless policy of this world: a chat model that sees its prompt and nothing else."""

    def mark(self, question: Question, answer: str) -> Score:
        """Return whether an answer is right; what follows from the answer in this world is in later steps."""
        return Score(value=float(self.key_of(question).accepts(answer)))

    @staticmethod
    def claim(speaker: str, text: str) -> Claim | None:
        """Return what somebody claims that bears on the questions; None for what claims nothing. For the scorer.

        A world that overrides it gets a census of what is remembered and forgotten.
        """
        return None

    def truth(self, question: Question) -> tuple[Statement, ...]:
        """Return the true records behind a question; for the oracle's prompt."""
        return self._references[question.id].records

    def key_of(self, question: Question) -> Reference:
        """Return the reference by which a question is marked: its own unless `shuffled`."""
        if not self.shuffled:
            return self._references[question.id]
        others = [number for number in self._references if number != question.id]
        return self._references[random.Random(f"{self.seed} {question.id}").choice(others)]

    def ask(self, at: datetime, text: str, reference: Reference) -> Question:
        """Return a question whose reference is kept here, with a canary in it."""
        number = next(self._numbers)
        question = Question(at=at, text=text, id=f"q{number}")
        self._references[question.id] = Reference(
            values=reference.values,
            wrong=reference.wrong,
            records=reference.records,
            canary=f"canary-{self.world}-{self.seed}-{number}",
        )
        return question

    def canaries(self) -> tuple[str, ...]:
        """Return the canaries of every reference so far."""
        return tuple(one.canary for one in self._references.values())

    def moment(self, day: float) -> datetime:
        """Return a drawn minute of the daytime of a day, counted from 0."""
        return START + timedelta(days=int(day), minutes=self.random.randint(8 * 60, 20 * 60))


class WorldEnvironment:
    """An episode as an environment, for `mars.environments.play`: statements and questions are turns alike."""

    tools: tuple[Callable[..., str], ...] = ()
    verifiers = ()

    def __init__(self, episode: Episode) -> None:
        self.episode = episode
        """What is played."""
        self._asked: dict[str, Question] = {}

    async def requests(self) -> AsyncIterator[Request]:
        """Yield every step as a request; what others than the user say is said as theirs."""
        for place, step in enumerate(self.episode.steps()):
            if isinstance(step, Question):
                self._asked[step.id] = step
                yield Request(id=step.id, text=step.text, user=step.user, at=step.at)
            else:
                yield Request(id=f"s{place}", text=step.text, user=step.speaker, at=step.at)

    async def score(self, request: Request, result: RunResult) -> Score:
        """Return whether a question was answered rightly; what was only told counts as right."""
        question = self._asked.get(request.id)
        if question is None:
            return Score(value=1.0, details={"asked": False})
        score = self.episode.mark(question, result.answer)
        return Score(value=score.value, details={"asked": True, **score.details})


def in_order(steps: list[Step]) -> list[Step]:
    """Return steps by time; what is told at the same moment comes before what is asked."""
    return sorted(steps, key=lambda step: (step.at, isinstance(step, Question), step.text))
