"""Trajectories: what later training needs of a turn, one JSON object a line.

A trajectory is the task, every rejected draft with the prompt that it answered and the feedback that it got, and the
accepted draft if there is one. It holds no reference answer, because nobody in the loop has one; where a verifier
knew one, `oracle_feedback` says so. The prompts are there
where the team keeps them (``Team(keep_prompts=True)``).

```json
{"version": 1, "turn": "…", "conversation": "…", "team": "", "task": "…", "status": "completed", "approved": true,
 "rejected": [{"iteration": 1, "prompt": […], "draft": "…", "decision": "rejected", "score": 0.2,
               "feedback": [{"kind": "stale", "evidence": "…", "directive": "…"}], "records": ["…"]}],
 "reflections": ["…"],
 "accepted": {"iteration": 2, "prompt": […], "draft": "…", "decision": "approved", "score": 0.9, "feedback": [],
              "records": ["…"]},
 "usage": {…}, "latency": 1.2, "oracle_feedback": false}
```

Lines are ASCII, so that a file survives every tool; what is read back equals what was written.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mars.agents.verdicts import Decision
from mars.errors import InvalidFile, InvalidSetting
from mars.results import Attempt, RunResult, RunStatus, read_result

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from mars.persistence.saver import CheckpointSaver


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Feedback(_Plain):
    """One thing that the Checker found wrong with a draft."""

    kind: str = Field(description="What sort of fault it is.")
    evidence: str = Field(description="What shows it.")
    directive: str = Field(description="What would mend it.")


class Draft(_Plain):
    """One draft of a turn, and what was said of it."""

    iteration: int = Field(ge=1, description="From 1.")
    prompt: tuple[dict[str, Any], ...] = Field(
        default=(), description="Messages in LangChain's form, if they were kept."
    )
    draft: str = Field(description="As drafted, with citations.")
    decision: Decision = Field(description="What the Checker decided.")
    score: float = Field(ge=0.0, le=1.0, description="How good it is, in [0, 1].")
    feedback: tuple[Feedback, ...] = Field(default=(), description="What was wrong, most serious first.")
    records: tuple[str, ...] = Field(default=(), description="Ids of the records that it cites.")


class Trajectory(_Plain):
    """A finished turn."""

    version: Literal[1] = Field(default=1, description="Of this form.")
    turn: str = Field(description="Id of the turn.")
    conversation: str = Field(description="The conversation that it belongs to.")
    team: str = Field(default="", description="Name of the team; empty for the usual one.")
    task: str = Field(description="What was asked.")
    status: RunStatus = Field(description="How the turn ended.")
    approved: bool = Field(description="Whether a draft was accepted.")
    rejected: tuple[Draft, ...] = Field(default=(), description="The drafts that were not accepted, oldest first.")
    reflections: tuple[str, ...] = Field(default=(), description="The lessons drawn, oldest first.")
    accepted: Draft | None = Field(default=None, description="The draft that was accepted, if one was.")
    usage: dict[str, int | float] = Field(default_factory=dict, description="What the turn has spent.")
    latency: float = Field(default=0.0, ge=0.0, description="Seconds that were worked on it.")
    oracle_feedback: bool = Field(default=False, description="Whether somebody in the loop knew a reference answer.")

    @classmethod
    def of(cls, result: RunResult) -> Trajectory:
        """Return the trajectory of a result."""
        drafts = [(attempt.verdict.approved, _draft(attempt)) for attempt in result.attempts]
        return cls(
            turn=result.turn,
            conversation=result.conversation,
            team=result.team,
            task=result.task,
            status=result.status,
            approved=result.approved,
            rejected=tuple(draft for approved, draft in drafts if not approved),
            reflections=tuple(reflection.text for reflection in result.reflections),
            accepted=next((draft for approved, draft in reversed(drafts) if approved), None),
            usage={name: value for name, value in result.usage.plain().items() if isinstance(value, int | float)},
            latency=result.latency,
            oracle_feedback=result.oracle_feedback,
        )

    def line(self) -> str:
        """Return it as one line of ASCII JSON."""
        return json.dumps(self.model_dump(mode="json"), allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> Trajectory:
        """Rebuild it from `line`; raise `ValueError` that says what is wrong."""
        try:
            return cls.model_validate(json.loads(line))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except RecursionError:
            raise ValueError("the JSON is too deep") from None


def _draft(attempt: Attempt) -> Draft:
    return Draft(
        iteration=attempt.iteration,
        prompt=attempt.prompt,
        draft=attempt.draft,
        decision=attempt.verdict.decision,
        score=attempt.verdict.score,
        feedback=tuple(
            Feedback(kind=issue.kind.value, evidence=issue.evidence, directive=issue.directive)
            for issue in attempt.verdict.issues
        ),
        records=tuple(source.record for source in attempt.sources),
    )


def write_trajectories(
    path: str | Path, trajectories: Iterable[Trajectory | RunResult], *, overwrite: bool = False
) -> int:
    """Write trajectories, or those of results, to a JSONL file and return how many.

    The file appears when it is complete. Raises `InvalidFile` where there is one already, unless `overwrite`, and where
    it cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise InvalidFile(f"{target} is there already: name another file, or overwrite it")
    count = 0
    part = target.with_name(target.name + ".part")
    try:
        with part.open("w", encoding="ascii", newline="\n") as file:
            for one in trajectories:
                trajectory = Trajectory.of(one) if isinstance(one, RunResult) else one
                file.write(trajectory.line() + "\n")
                count += 1
        part.replace(target)
    except OSError as error:
        raise InvalidFile(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    return count


def read_trajectories(path: str | Path) -> Iterator[Trajectory]:
    """Yield the trajectories of a JSONL file; empty lines are passed over.

    Raises `InvalidFile` that names the line, and where the file cannot be read.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield Trajectory.from_line(line)
                    except ValueError as error:
                        raise InvalidFile(f"{path}, line {number} is no trajectory: {error}") from None
    except OSError as error:
        raise InvalidFile(f"{path} cannot be read: {error.strerror or error}") from None


def import_trajectories(paths: Iterable[str | Path], into: str | Path) -> tuple[int, int]:
    """Add the trajectories of JSONL files to the collection `into`; return how many were added and were there already.

    A store keeps those of the newest turns only; a collection has each turn of each export once, in the order of its
    arrival. Everything is read before anything is written, and the file is replaced as a whole. Raises `InvalidFile`
    for a line that is no trajectory, and where two trajectories of one turn differ.
    """
    target = Path(into)
    collection = {one.turn: one for one in read_trajectories(target)} if target.exists() else {}
    before, known = len(collection), 0
    for path in paths:
        for one in read_trajectories(path):
            there = collection.setdefault(one.turn, one)
            if there != one:
                raise InvalidFile(f"{path} has another trajectory of turn {one.turn!r} than what is there")
            known += there is not one
    if len(collection) > before or not target.exists():
        write_trajectories(target, collection.values(), overwrite=True)
    return len(collection) - before, known


async def stored_trajectories(saver: CheckpointSaver, conversation: str | None = None) -> AsyncIterator[Trajectory]:
    """Yield the trajectories of the turns whose last checkpoint is kept, the newest first.

    Kept are the newest turns of each conversation and those that were named. `conversation` restricts them.
    Raises `InvalidSetting` for a saver that is not ours.
    """
    if not hasattr(saver, "database"):
        raise InvalidSetting(
            "trajectories are read from a CheckpointSaver of mars: open one on the database of the runs"
        )
    everywhere: RunnableConfig | None = None
    seen: set[str] = set()
    async for found in saver.alist(everywhere):
        values: dict[str, Any] = found.checkpoint["channel_values"]
        turn = str((found.metadata or {}).get("turn", ""))
        if not turn or turn in seen or values.get("turn") != turn or not values.get("status"):
            continue
        if "usage" not in values or (conversation is not None and values.get("conversation") != conversation):
            continue
        seen.add(turn)
        yield Trajectory.of(read_result(values))
