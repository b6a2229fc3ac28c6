"""Reading run logs: which runs a file holds, and what happened in each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mars.errors import InvalidFile, NotFound
from mars.observability.run_log import FORMAT, is_log

ENDS = ("final", "broken", "interrupted")
"""Kinds of a run's last line."""


@dataclass(slots=True, kw_only=True)
class LoggedRun:
    """A run as its log tells it."""

    id: str
    """Its id in the log."""
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Its lines, oldest first; the fields are those of `mars.observability.run_log`."""
    torn: int = 0
    """How many lines of the file nobody can read: what a killed process left of one."""

    @property
    def header(self) -> dict[str, Any]:
        """The first line; raises `InvalidFile` where its version is newer than this code."""
        first = self.lines[0]
        if first.get("format", FORMAT) > FORMAT:
            raise InvalidFile(
                f"run {self.id} is logged in format {first['format']}, this MARS reads {FORMAT}: use a newer one"
            )
        return first

    @property
    def end(self) -> dict[str, Any] | None:
        """The last line; None for a run that goes on or was killed."""
        return self.lines[-1] if self.lines[-1]["kind"] in ENDS else None

    @property
    def result(self) -> dict[str, Any] | None:
        """What `RunResult.plain` gave; None where there is no result."""
        end = self.end
        return dict(end["data"]) if end is not None and end["kind"] == "final" else None

    @property
    def status(self) -> str:
        """How it ended: a `RunStatus`, broken, interrupted, or unfinished."""
        result, end = self.result, self.end
        return str(result["status"]) if result is not None else str(end["kind"]) if end is not None else "unfinished"

    @property
    def conversation(self) -> str | None:
        """Name of its conversation, as far as it is known."""
        known = [line["conversation"] for line in self.lines if line.get("conversation") is not None]
        return known[-1] if known else None

    @property
    def task(self) -> str:
        """What was asked, as far as it is known."""
        result = self.result or {}
        return str(result.get("task") or self.header["data"].get("task") or "")

    @property
    def began(self) -> datetime:
        """When it began, in UTC."""
        return datetime.fromisoformat(self.header["at"])

    @property
    def seconds(self) -> float:
        """How long it ran, as far as the log tells."""
        return float(self.lines[-1]["offset"])

    def summary(self) -> dict[str, Any]:
        """Return what a list shows of it, as JSON values."""
        result = self.result or {}
        return {
            "run": self.id,
            "began": self.began.isoformat(),
            "conversation": self.conversation,
            "task": self.task,
            "status": self.status,
            "approved": result.get("approved"),
            "iterations": result.get("iterations"),
            "usage": result.get("usage"),
            "seconds": round(self.seconds, 3),
            "lines": len(self.lines),
        }


def read_runs(path: str | Path) -> list[LoggedRun]:
    """Return the runs of a log, in the order in which they began.

    Lines that nobody can read are left out and counted. Raises `InvalidFile` where the file is no run log.
    """
    runs: dict[str, LoggedRun] = {}
    torn = 0
    for number, line in _lines(Path(path)):
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if number == 0 and not is_log(line):
            raise InvalidFile(f"{path} is no run log: its first line is none of a run")
        if not (isinstance(found, dict) and isinstance(found.get("run"), str) and "kind" in found):
            torn += bool(line.strip())
            continue
        runs.setdefault(found["run"], LoggedRun(id=found["run"])).lines.append(found)
    begun = [run for run in runs.values() if run.lines[0]["kind"] == "header"]
    for run in begun:
        run.torn = torn
    return begun


def find_run(runs: list[LoggedRun], wanted: str) -> LoggedRun:
    """Return a run by its id, the name of its conversation, or how its id begins; ``last`` is the newest.

    The first of these that fits counts; of several in one conversation the newest is meant. Raises `NotFound` where
    none fits, or several ids begin so.
    """
    if wanted == "last" and runs:
        return runs[-1]
    named = [run for run in runs if run.id == wanted] or [run for run in runs if run.conversation == wanted]
    if named:
        return named[-1]
    fitting = [run for run in runs if run.id.startswith(wanted)] if wanted else []
    if len(fitting) > 1:
        raise NotFound(f"{len(fitting)} runs begin with {wanted!r}: {', '.join(run.id for run in fitting)}")
    if not fitting:
        raise NotFound(f"the log has no run {wanted!r}: see `mars runs list`")
    return fitting[0]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            yield from enumerate(file)
    except OSError as error:
        raise InvalidFile(
            f"there is no run log at {path} ({error.strerror}): set MARS_RUN_LOG, or give RunLog(path) as an observer"
        ) from error
