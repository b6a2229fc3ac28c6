"""Seeing what runs do: a log of JSON lines, a timeline as a page, and OpenTelemetry's traces and metrics.

Each is an `Observer`, given to ``Mars.open(…, observers=[…])``. Without any, nothing is done. Nothing here sends
anything anywhere by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.observability.observing import Began, Observation, Observer
    from mars.observability.reading import LoggedRun, read_runs
    from mars.observability.run_log import RunLog
    from mars.observability.telemetry import Telemetry
    from mars.observability.timeline import timeline

__all__ = ["Began", "LoggedRun", "Observation", "Observer", "RunLog", "Telemetry", "read_runs", "timeline"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.observability.observing": ("Began", "Observation", "Observer"),
        "mars.observability.reading": ("LoggedRun", "read_runs"),
        "mars.observability.run_log": ("RunLog",),
        "mars.observability.telemetry": ("Telemetry",),
        "mars.observability.timeline": ("timeline",),
    },
)
