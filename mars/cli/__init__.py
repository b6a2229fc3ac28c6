"""The command line: ``mars COMMAND``.

Each command lives in a file of its own, which is imported when it is called, and imports what is heavy inside its
function. Errors of MARS end as one line on stderr and exit code 2; unexpected ones keep their traceback. A
turn that is over without an answer ends `mars ask` and `mars resume` with exit code 3.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

COMMANDS: dict[str, str] = {
    "demo": "mars.cli.demo:demo",
    "simulate": "mars.cli.simulate:simulate",
    "ingest": "mars.cli.ingest:ingest",
    "ask": "mars.cli.ask:ask",
    "chat": "mars.cli.chat:chat",
    "conversations": "mars.cli.conversations:conversations",
    "resume": "mars.cli.conversations:resume",
    "decide": "mars.cli.conversations:decide",
    "history": "mars.cli.past:history",
    "fork": "mars.cli.past:fork",
    "replay": "mars.cli.past:replay",
    "diff": "mars.cli.past:diff",
    "runs": "mars.cli.runs:app",
    "memory": "mars.cli.memory:app",
    "eval": "mars.cli.evaluate:app",
    "agents": "mars.cli.agents:agents",
    "check-model": "mars.cli.check_model:check_model",
    "trajectories": "mars.cli.trajectories:app",
}
"""Commands in the order of the help, and where each is: a function, or a Typer application with commands of its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with `arguments` (those of the process by default); return the exit code."""
    from mars.cli.application import run

    return run(list(sys.argv[1:] if arguments is None else arguments))


def __getattr__(name: str) -> Any:
    """Build `app`, the Typer application, when it is asked for (documentation tools do)."""
    if name == "app":
        from mars.cli.application import application

        return application()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
