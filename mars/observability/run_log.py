"""The run log: one line of JSON for everything that happens in a run, in a file that only grows.

A run's first line is its header (``kind`` is ``header``, with the version of the format). Its last one is its result
(``final``), its error (``broken``), or ``interrupted`` where it goes on in another run. Between them is a line for each
event and for each call of a model or a tool (``call``). Lines of several runs and processes stand between each other;
``run`` tells them apart. Fields:

=================  =====================================================================================
run                id of the run
kind               header, an `EventKind`, call, final, broken or interrupted
at                 wall time, UTC, ISO 8601
offset             seconds since the run began, on the monotonic clock
conversation       name of the conversation; null before it is known
turn               id of the turn; null in the header
iteration          from 1; null in the header and at the end
role               who did it
text               for people
data               for programs
=================  =====================================================================================
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from mars.errors import InvalidFile
from mars.observability.appending import Appender, first_line, secrets_of

if TYPE_CHECKING:
    from mars.calls import Place, Wanted
    from mars.events import Event
    from mars.observability.observing import Began
    from mars.persistence.ledger import Key, Outcome
    from mars.results import RunResult

FORMAT = 1
"""Version of the format; a higher one is refused."""

BEGINNING = b'{"run": "'
"""Every line begins like this."""

SPENT = ("input_tokens", "output_tokens", "cost", "cached", "latency")
"""What the line of a call says of its outcome."""

_numbers = itertools.count()


class RunLog:
    """Writes what happens in runs to a file, one line each; an observer for ``Mars.open(…, observers=[RunLog(…)])``.

    Lines are made at once and written by a thread, whole, under a lock, so that several processes may write to one
    file. What a killed process could not write ends no line; whoever writes next begins a new one. The file is
    readable by its owner only. What looks like a key, and every value of a variable of the environment whose name ends
    in KEY, TOKEN, SECRET or PASSWORD, is written as ``***``.
    """

    def __init__(self, path: str | Path, *, tokens: bool = True, prompts: bool = False) -> None:
        """Append to a file, which is made if there is none; without `tokens`, no line for each token.

        With `prompts`, the result has the Assistant's prompts of teams that keep them (``Team(keep_prompts=True)``).
        Raises `InvalidFile` where the file is something else, or cannot be written.
        """
        self.path = Path(path)
        """Where it writes."""
        self._tokens = tokens
        self._prompts = prompts
        found = first_line(self.path)
        if not is_log(found):
            raise InvalidFile(f"{self.path} is no run log, and nothing was added to it: name another file")
        self._appender = Appender(self.path, secrets_of(os.environ))

    def begin(self, began: Began) -> _LoggedRun:
        """Write the header of a run."""
        return _LoggedRun(self._appender, began, self._tokens, self._prompts)

    async def flush(self) -> None:
        """Return when all lines are in the file."""
        await to_thread.run_sync(self._appender.flush)


def is_log(first: bytes) -> bool:
    """Whether a file with this first line is a run log; a killed process may have left half of the line."""
    return first.startswith(BEGINNING) or BEGINNING.startswith(first.rstrip(b"\n"))


class _LoggedRun:
    """Writes the lines of one run."""

    def __init__(self, appender: Appender, began: Began, tokens: bool, prompts: bool) -> None:
        from mars import __version__

        self._appender = appender
        self._tokens = tokens
        self._prompts = prompts
        self._began = time.monotonic()
        self._calls: dict[Key, tuple[Wanted, float]] = {}
        self._place: tuple[str | None, str | None] = (began.conversation, None)
        number = f"{os.getpid()}-{time.time_ns()}-{next(_numbers)}"
        self.id = blake2b(number.encode(), digest_size=6).hexdigest()
        about = {name: getattr(began, name) for name in ("operation", "task", "user", "namespace", "team")}
        self._write("header", "runtime", began.task, about, format=FORMAT, mars=__version__, process=os.getpid())

    def step(self) -> AbstractContextManager[object]:
        """Nothing is inherited."""
        return nullcontext()

    def event(self, event: Event, place: Place) -> None:
        """Write a line."""
        if self._tokens or event.kind.value != "token":
            self._place = (place.conversation, place.turn)
            self._write(event.kind.value, event.role, event.text, event.data, place.iteration)

    def call(self, wanted: Wanted) -> AbstractContextManager[object]:
        """Note when it began; the line is written once its outcome is known."""
        self._calls[wanted.key] = wanted, self._offset()
        return nullcontext()

    def settled(self, key: Key, attempt: int, outcome: Outcome) -> None:
        """Write the line of a call."""
        if key not in self._calls or outcome.state == "unissued":
            return
        wanted, started = self._calls.pop(key)
        self._place = (key.conversation, key.turn)
        counts = {name: getattr(outcome, name) for name in SPENT}
        data = {"sort": wanted.kind, "name": wanted.name, "attempt": attempt, "started": round(started, 6), **counts}
        error = outcome.body if isinstance(outcome.body, str) and outcome.state != "done" else None
        self._write("call", key.role, outcome.state, {**data, "error": error}, key.iteration)

    def end(self, result: RunResult | None, error: BaseException | None) -> None:
        """Write the last line."""
        if result is None:
            if error is None:
                self._write("interrupted", "runtime", "it waits for what the host's user says")
            else:
                self._write("broken", "runtime", f"{type(error).__name__}: {error}")
            return
        self._place = (result.conversation, result.turn)
        plain = result.plain()
        if self._prompts:
            for attempt, kept in zip(plain["attempts"], result.attempts, strict=True):
                attempt["prompt"] = list(kept.prompt)
        self._write("final", "runtime", result.answer, plain)

    def _offset(self) -> float:
        return time.monotonic() - self._began

    def _write(
        self,
        kind: str,
        role: str,
        text: str = "",
        data: Mapping[str, Any] | None = None,
        iteration: int | None = None,
        **more: Any,
    ) -> None:
        conversation, turn = self._place
        line = {
            "run": self.id,
            "kind": kind,
            "at": datetime.now(UTC).isoformat(),
            "offset": round(self._offset(), 6),
            "conversation": conversation,
            "turn": turn,
            "iteration": iteration,
            "role": role,
            "text": text,
            "data": data or {},
        }
        self._appender.put(json.dumps({**line, **more}, ensure_ascii=False, default=str))
