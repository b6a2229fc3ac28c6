"""TextWorld through the whole loop: what memory, Checker and reflections are worth in games that nobody here wrote.

Each variant plays the same games as often; one memory serves all of its tries. The oracle gives the walkthroughs that
come with the games: it measures the environment and the loop, not an agent, and stands in no comparison.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from mars.agents.roles import Assistant
from mars.environments.interfaces import Request, Score
from mars.environments.playing import Played, open_in, play
from mars.environments.textworld import COMMANDS, DONE, PROMPT, TOOL, Game, TextWorld, make_games, textworld_team
from mars.errors import InvalidSetting
from mars.evaluation.paired import COMPLETE, Row, compared
from mars.evaluation.simulations import MEMORYLESS, ORACLE
from mars.memory.interfaces import Namespace, NewRecord
from mars.results import RunResult
from mars.testing import ScriptedModel, Step

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

VARIANTS: dict[str, frozenset[str]] = {
    COMPLETE: frozenset(),
    "mars-no-checker": frozenset({"checker"}),
    "mars-no-reflection": frozenset({"reflection"}),
    MEMORYLESS: frozenset({"memory"}),
}
"""What is compared, and the switches that are off."""
BUILT_IN = "builtin"
"""Name of the keyless rules."""
SABOTAGES = ("memory", "scorer")
"""What can be broken on purpose: nothing discovered is kept, or each try is scored as another game's."""
NAMESPACE = ("textworld",)
"""Whose memory it is."""
Progress = Callable[[int, int], None]
"""Called with (tries played, tries in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try of a game."""

    played: Played
    """What came of it."""
    ms: float
    """How long it took, on the wall clock."""

    @property
    def details(self) -> Mapping[str, Any]:
        """What the environment found beside the score: ``won``, ``points``, ``commands``, ``game``."""
        return self.played.score.details


@dataclass(frozen=True, slots=True, kw_only=True)
class TextWorldReport:
    """What came of the games."""

    model: str
    """Who played."""
    seeds: tuple[int, ...]
    """The games."""
    tries: int
    """How often each was tried."""
    played: Mapping[str, Sequence[Try]]
    """The tries of each variant, and of the oracle, in order."""
    sabotage: str | None
    """What was broken on purpose."""
    seconds: float
    """How long it took, on the wall clock."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; success is the share of a game's points, over its tries."""
        rows = [row for name, tries in self.played.items() if name != ORACLE for row in self._rows(name, tries)]
        values = compared(rows)
        for name, variant in values["variants"].items():
            variant |= self._tries(self.played[name])
        oracle = self._tries(self.played[ORACLE])
        failed = {one.played.result.error for tries in self.played.values() for one in tries} - {None}
        problems = [f"turns failed: {error}" for error in sorted(map(str, failed))]
        if oracle["won"] < 1.0:
            problems.append("the oracle does not win every game: environment, loop or scorer is broken")
        return {
            "world": "textworld",
            "model": self.model,
            "oracle": oracle["won"],
            "memoryless": values["variants"][MEMORYLESS]["success"],
            "variants": values["variants"],
            "pairs": {
                name: {key: pair[key] for key in ("delta", "ci95", "p", "p_holm", "p_signs_holm", "episodes")}
                for name, pair in values["pairs"].items()
            },
            "games": len(self.seeds),
            "tries": self.tries,
            "seeds": list(self.seeds),
            "sabotage": self.sabotage,
            "problems": problems,
            "seconds": round(self.seconds, 1),
        }

    def _rows(self, variant: str, tries: Sequence[Try]) -> list[Row]:
        """Return a row for each game: an episode is a game with all of its tries."""
        of: dict[str, list[Try]] = {}
        for one in tries:
            of.setdefault(one.details["game"], []).append(one)
        return [
            Row(
                variant=variant,
                cell="simple",
                seed=seed,
                success=_mean([one.played.score.value for one in own]),
                tokens=sum(_tokens(one.played) for one in own),
                ms=math.fsum(one.ms for one in own),
                cost=None,
            )
            for seed, own in zip(self.seeds, of.values(), strict=True)
        ]

    def _tries(self, played: Sequence[Try]) -> dict[str, Any]:
        """Return the share of tries won, and the mean points of the first tries, the second, and so on."""
        size = len(self.seeds)
        rounds = [played[place : place + size] for place in range(0, len(played), size)]
        return {
            "won": _mean([one.details["won"] for one in played]),
            "by_try": [round(_mean([one.played.score.value for one in own]), 4) for own in rounds],
            "commands": round(_mean([one.details["commands"] for one in played]), 2),
        }


def _tokens(played: Played) -> int:
    return played.result.usage.input_tokens + played.result.usage.output_tokens


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


async def evaluate_textworld(
    model: BaseChatModel | str = BUILT_IN,
    *,
    seeds: Sequence[int] = tuple(range(1, 9)),
    tries: int = 5,
    folder: str | Path | None = None,
    sabotage: str | None = None,
    progress: Progress | None = None,
) -> TextWorldReport:
    """Play the games of these seeds by every variant, and by the oracle once.

    `model` is ``builtin`` or what `Mars.open` takes. Games are made in `folder`, or in one that is dropped afterwards.
    Raises `MissingExtra` where TextWorld is not installed, `InvalidSetting` for a `sabotage` that is not known.
    """
    if sabotage is not None and sabotage not in SABOTAGES:
        raise InvalidSetting(f"sabotage is one of {', '.join(SABOTAGES)}; got {sabotage!r}")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as made:
        games = make_games(folder or made, seeds)
        total = len(games) * (tries * len(VARIANTS) + 1)
        played: dict[str, list[Try]] = {}
        for name, without in (*VARIANTS.items(), (ORACLE, frozenset[str]())):
            world = _World(games, tries=1 if name == ORACLE else tries, sabotage=sabotage)
            player = _oracle(world) if name == ORACLE else model
            played[name] = []
            async for one in _played(world, player, without):
                played[name].append(one)
                if progress is not None:
                    progress(sum(map(len, played.values())), total)
    return TextWorldReport(
        model=model if isinstance(model, str) else model._llm_type,
        seeds=tuple(seeds),
        tries=tries,
        played=played,
        sabotage=sabotage,
        seconds=time.perf_counter() - started,
    )


class _World(TextWorld):
    """The games, broken where asked."""

    def __init__(self, games: Sequence[Game], *, tries: int, sabotage: str | None) -> None:
        super().__init__(games, tries=tries)
        self._sabotage = sabotage

    def discoveries(self, namespace: Namespace) -> Sequence[NewRecord]:
        """Return what was found, or nothing."""
        found = super().discoveries(namespace)
        return () if self._sabotage == "memory" else found

    async def score(self, request: Request, result: RunResult) -> Score:
        """Return the score; by the sabotaged scorer a try is won if it gave the commands of another game."""
        score = await super().score(request, result)
        if self._sabotage != "scorer":
            return score
        other = self.games[(self.games.index(self.current) + 1) % len(self.games)]
        won = tuple(self.commands) == other.walkthrough
        return Score(value=float(won), details={**score.details, "won": won})


async def _played(world: TextWorld, model: BaseChatModel | str, without: frozenset[str]) -> AsyncIterator[Try]:
    """Yield the tries of a world; the rules and the oracle take the Assistant's place only."""
    own = model == BUILT_IN or isinstance(model, ScriptedModel)
    if model == BUILT_IN:
        from mars.models.game_rules import GameRulesModel

        model = GameRulesModel()
    fields = {"assistant": Assistant(prompt=PROMPT, model=model, max_actions=COMMANDS)} if own else {}
    async with open_in(world, team=textworld_team(without=without, **fields), model=None if own else model) as mars:
        begun = time.perf_counter()
        async for one in play(mars, world, namespace=NAMESPACE):
            yield Try(played=one, ms=(time.perf_counter() - begun) * 1000)
            begun = time.perf_counter()


def _oracle(world: TextWorld) -> ScriptedModel:
    """Return an Assistant that gives the walkthrough of the current game."""

    def reply(messages: Sequence[BaseMessage]) -> Step:
        asked = max(place for place, message in enumerate(messages) if isinstance(message, HumanMessage))
        given = sum(isinstance(message, ToolMessage) for message in messages[asked:])
        line = world.current.walkthrough
        return Step(tool_calls=((TOOL, {"command": line[given]}),)) if given < len(line) else Step(text=DONE)

    return ScriptedModel(reply)
