"""An environment is played: each request is a turn of the real runtime, then it is scored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mars.environments.interfaces import Discovering, Environment, Request, Score
from mars.events import EventKind
from mars.memory.engine import Memory
from mars.memory.interfaces import Backend, Namespace
from mars.opening import Opening
from mars.results import RunResult
from mars.runtime import Mars
from mars.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An action that the Assistant proposed."""

    tool: str
    """Name of the tool."""
    arguments: Mapping[str, Any]
    """As proposed; JSON values."""
    approved: bool
    """Whether the Checker let it run."""
    oracle_feedback: bool
    """Whether a verifier behind the verdict knows a reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One request and what came of it."""

    request: Request
    """What was asked."""
    result: RunResult
    """The turn's result."""
    score: Score
    """How it was answered."""
    proposals: tuple[Proposal, ...]
    """The actions that were proposed, oldest first."""

    @property
    def answer(self) -> str:
        """The answer as it was drafted."""
        return drafted_answer(self.result)


def drafted_answer(result: RunResult) -> str:
    """Return the answer as it was drafted, letter by letter: `RunResult.answer` mends the spaces around citations."""
    chosen = [attempt.draft for attempt in result.attempts if attempt.verdict == result.verdict]
    return chosen[-1] if chosen else result.answer


def open_in(
    environment: Environment, memory: Memory | Backend | str = "memory:", *, team: Team | None = None, **options: Any
) -> Opening[Mars]:
    """Return `Mars` to enter, with the environment's tools, its verifiers beside those of the team's Checker.

    Other arguments are those of `Mars.open`.
    """
    team = team or Team()
    checker = team.checker
    verified = replace(checker, action_verifiers=(*checker.action_verifiers, *environment.verifiers))
    return Mars.open(memory, team=replace(team, checker=verified), tools=environment.tools, **options)


async def play(
    mars: Mars, environment: Environment, *, namespace: Namespace = ("agent",), team: str | None = None
) -> AsyncIterator[Played]:
    """Play an environment from its first request to its last, and yield each once it is scored.

    All turns share a namespace, so that what one of them leaves serves the next: lessons, what was told, and the
    discoveries of an environment that makes any (`Discovering`). A team without memory keeps none of these.
    """
    async for request in environment.requests():
        proposals: list[Proposal] = []
        result: RunResult | None = None
        async for event in mars.stream(
            request.text,
            user=request.user,
            namespace=namespace,
            constraints=request.constraints,
            now=request.at,
            team=team,
            heard={EventKind.VERDICT},
        ):
            if event.kind is EventKind.VERDICT and "action" in event.data:
                proposals.append(_proposal(event.data))
            result = event.result or result
        assert result is not None
        remembers = mars.roster.loop_of(team or "").memory is not None
        if remembers and isinstance(environment, Discovering) and (found := environment.discoveries(namespace)):
            await mars.memory.add_many(found, now=request.at)
        score = await environment.score(request, result)
        yield Played(request=request, result=result, score=score, proposals=tuple(proposals))


def _proposal(data: Mapping[str, Any]) -> Proposal:
    action, verdict = data["action"], data["verdict"]
    return Proposal(
        tool=action["tool"],
        arguments=action["arguments"],
        approved=verdict["decision"] == "approved",
        oracle_feedback=verdict["oracle_feedback"],
    )
