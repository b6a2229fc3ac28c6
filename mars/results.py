"""What a run returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from mars.agents.reflections import Reflection
from mars.agents.verdicts import Verdict, best
from mars.persistence.budgets import Usage


class RunStatus(StrEnum):
    """How a run ended; exactly one (runtime.md §2)."""

    COMPLETED = "completed"
    """The answer was approved, or it is that the answer is not known."""
    ITERATION_LIMIT = "iteration_limit"
    """No draft was approved in the iterations allowed; the best one is returned."""
    NO_PROGRESS = "no_progress"
    """The same draft came again, or drafts went back and forth; the best one is returned."""
    BUDGET_EXHAUSTED = "budget_exhausted"
    """A budget ended the run early."""
    CONTEXT_LIMIT = "context_limit"
    """The prompt no longer fits the model."""
    INVALID_FORMAT = "invalid_format"
    """No draft had the form that was asked for."""
    INVALID_ACTION = "invalid_action"
    """Three proposed actions in a row were rejected."""
    CANCELLED = "cancelled"
    """The caller ended it."""
    WAITING = "waiting"
    """A person has to decide."""
    TASK_ERROR = "task_error"
    """A model failed; `error` holds its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedSource:
    """A record that an answer rests on."""

    record: str
    """Id of the record."""
    text: str
    """Its verbatim text."""
    speaker: str | None
    """Who said it."""
    said_at: datetime
    """When, in UTC."""
    retention: float
    """R when it was recalled, in [0, 1]."""
    relevance: float
    """Relevance to the question when it was recalled, in [0, 1]."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "record": self.record,
            "text": self.text,
            "speaker": self.speaker,
            "said_at": self.said_at.isoformat(),
            "retention": round(self.retention, 4),
            "relevance": round(self.relevance, 4),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One draft and what became of it."""

    iteration: int
    """From 1."""
    draft: str
    """The answer as drafted, with citations."""
    verdict: Verdict
    """What the Checker said."""
    sources: tuple[CitedSource, ...] = ()
    """The records that the draft cites."""
    prompt: tuple[dict[str, Any], ...] = ()
    """What the Assistant was shown, as LangChain writes messages; empty unless the team keeps prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What came of a task."""

    answer: str
    """The answer for the user, without citations; empty if there is no draft."""
    status: RunStatus
    """How the run ended."""
    approved: bool
    """Whether the Checker approved the answer."""
    sources: tuple[CitedSource, ...]
    """What the answer rests on; empty for "Not known."."""
    iterations: int
    """How many drafts were made."""
    attempts: tuple[Attempt, ...]
    """Every draft with its verdict, oldest first."""
    reflections: tuple[Reflection, ...]
    """Lessons drawn in this run, oldest first."""
    recalled: int
    """How many records were in the Assistant's last prompt."""
    conversation: str
    """The conversation that this turn belongs to."""
    turn: str
    """Id of the turn."""
    task: str = ""
    """What was asked."""
    team: str = ""
    """Name of the team that worked on it; empty for the usual one."""
    strategy: tuple[str, ...] = ()
    """The strategy note after the last rejection: what the next attempt did differently."""
    error: str | None = None
    """What failed, if the status is task_error or context_limit."""
    stop_reason: str = ""
    """What ended the turn: which budget, if one did; else the status."""
    usage: Usage = field(default_factory=Usage)
    """What the turn has spent, in every process that worked on it."""
    latency: float = 0.0
    """Seconds that processes have worked on the turn, waiting included."""
    oracle_feedback: bool = False
    """Whether somebody in the loop knew a reference answer: such a run is no measure of the agent."""
    asks: tuple[Mapping[str, Any], ...] = ()
    """What a person has to decide before the turn goes on, if the status is waiting.

    What a tool gives LangGraph's `interrupt` itself, if it is no mapping, stands under ``value``.
    """

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the answer that was returned, if there is a draft."""
        verdicts = [attempt.verdict for attempt in self.attempts]
        return verdicts[best(verdicts)] if verdicts else None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values: answer, status, approved, sources, iterations, and more."""
        return {
            "answer": self.answer,
            "status": self.status.value,
            "approved": self.approved,
            "sources": [source.plain() for source in self.sources],
            "iterations": self.iterations,
            "attempts": [
                {
                    "iteration": attempt.iteration,
                    "draft": attempt.draft,
                    "verdict": attempt.verdict.model_dump(mode="json"),
                }
                for attempt in self.attempts
            ],
            "reflections": [reflection.plain() for reflection in self.reflections],
            "recalled": self.recalled,
            "conversation": self.conversation,
            "turn": self.turn,
            "task": self.task,
            "team": self.team,
            "strategy": list(self.strategy),
            "error": self.error,
            "stop_reason": self.stop_reason,
            "usage": self.usage.plain(),
            "latency": round(self.latency, 3),
            "oracle_feedback": self.oracle_feedback,
            "asks": [dict(ask) for ask in self.asks],
        }


def read_result(values: Mapping[str, Any]) -> RunResult:
    """Return the result that a finished state holds."""
    attempts = tuple(
        Attempt(
            iteration=attempt["iteration"],
            draft=attempt["draft"],
            verdict=Verdict.model_validate(attempt["verdict"]),
            sources=_sources(attempt["sources"]),
            prompt=tuple(attempt.get("prompt", ())),
        )
        for attempt in values.get("attempts", ())
    )
    status = RunStatus(values.get("status") or (RunStatus.WAITING if _asks(values) else RunStatus.TASK_ERROR))
    return RunResult(
        answer=values.get("answer", ""),
        status=status,
        approved=values.get("approved", False),
        sources=_sources(values.get("sources", [])),
        iterations=len(attempts),
        attempts=attempts,
        reflections=tuple(Reflection.from_plain(lesson) for lesson in values.get("reflections", ())),
        recalled=len(values.get("evidence", ())),
        conversation=values.get("conversation", ""),
        turn=values.get("turn", ""),
        task=values.get("task", {}).get("text", ""),
        team=values.get("team", ""),
        strategy=tuple(values.get("strategy", ())),
        error=values.get("error") or None,
        stop_reason=values.get("stop_reason") or status.value,
        usage=Usage(**values.get("usage") or {}),
        latency=values.get("latency", 0.0),
        oracle_feedback=values.get("oracle_feedback", False) or any(each.verdict.oracle_feedback for each in attempts),
        asks=tuple(ask if isinstance(ask, Mapping) else {"value": ask} for ask in values.get("asks", _asks(values))),
    )


def _asks(values: Mapping[str, Any]) -> list[Any]:
    """Return what a graph stopped to ask a person; nothing if it did not."""
    return [one.value for one in values.get("__interrupt__", ())]


def _sources(plain: Sequence[dict[str, Any]]) -> tuple[CitedSource, ...]:
    return tuple(
        CitedSource(
            record=values["record"],
            text=values["text"],
            speaker=values["speaker"],
            said_at=datetime.fromisoformat(values["said_at"]),
            retention=values["retention"],
            relevance=values["relevance"],
        )
        for values in plain
    )
