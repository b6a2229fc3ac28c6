"""Whether the documentation's quickstart works word for word, on a machine that knows nothing of MARS.

    python -m benchmarks.quickstart                       # a clone, an empty home, a new virtual environment
    python -m benchmarks.quickstart --here                # the same page, in the environment of this Python
    python -m benchmarks.quickstart --here --sabotage output     # and --sabotage command, code: must not pass

Every command of the page is typed into one shell, every file is saved, every output that the page shows is compared. A
server on this machine answers in the place of the provider whose key the page asks for; its real client is installed
and used. The last line on stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.fresh_clone import environment
from benchmarks.pages import Block, Shell, blocks_of, formed
from mars.testing import Step
from mars.testing.providers import ProviderServer, Received

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("docs", "quickstart.md")
LEFT_OUT = ("python3 -m venv ", ". ~/mars/bin/activate", "pip install ", "mars demo ")
"""What is left out in an environment that has MARS already; the demo has tests of its own."""

SABOTAGES = ("output", "command", "code")


@dataclass(frozen=True)
class Fault:
    """What did not go as the page says."""

    line: int
    """Where the block begins."""
    command: str
    """What was typed."""
    shown: list[str]
    """What the page shows."""
    printed: list[str]
    """What came."""
    status: int
    """The exit status."""


def spoilt(blocks: Sequence[Block], sabotage: str | None) -> list[Block]:
    """The blocks, with one word of an output, a command or a file changed."""
    if sabotage is None:
        return list(blocks)
    old, new = {
        "output": ("approved: True", "approved: False"),
        "command": ("mars ask", "mars aks"),
        "code": ("open_sync", "open_synch"),
    }[sabotage]
    return [replace(block, body=block.body.replace(old, new)) for block in blocks]


def answered(request: Received) -> Step:
    """What the server in the place of a provider says: a verdict where one is asked for, else a draft."""
    if request.form is not None:
        return Step(structured={"approved": True, "score": 1.0, "issues": []})
    return Step(text="Ana lives in Lisbon now [m1].")


def played(blocks: Sequence[Block], shell: Shell, left_out: tuple[str, ...]) -> Iterator[Fault | None]:
    """Type the page into a shell; for each command what was wrong with it."""
    for block in blocks:
        if block.file is not None:
            folder, _ = shell.run("pwd")
            Path(folder.strip(), block.file).write_text(block.body, encoding="utf-8")
        for command, shown in block.steps() if block.language == "console" else ():
            if command.startswith(left_out or "\0"):
                continue
            print(f"$ {command}", file=sys.stderr, flush=True)
            printed, status = shell.run(command)
            print(printed, file=sys.stderr, flush=True)
            right = status == 0 and (not shown.strip() or formed(shown) == formed(printed))
            yield None if right else Fault(block.line, command, formed(shown), formed(printed), status)


def surroundings(home: Path, base_url: str, *, here: bool) -> dict[str, str]:
    """The variables of a stranger's terminal; `here` has this environment's programs first on its path."""
    variables = environment() | {"HOME": str(home), "OPENAI_BASE_URL": base_url, "PYTHONDONTWRITEBYTECODE": "1"}
    if here:
        variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"
    return variables


def measure(*, here: bool, sabotage: str | None) -> dict[str, Any]:
    """Play the page, and report."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, ProviderServer(answered) as server:
        home, source = Path(scratch, "home"), Path(scratch, "source")
        home.mkdir()
        if here:
            source.mkdir()
        else:
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
        blocks = spoilt(blocks_of((ROOT if here else source) / PAGE), sabotage)
        with Shell(source, surroundings(home, server.openai_url, here=here)) as shell:
            steps = list(played(blocks, shell, LEFT_OUT if here else ()))
        asked = len(server.received)
    unread = [block.line for block in blocks if block.language != "console" and block.file is None]
    faults = [vars(fault) for fault in steps if fault is not None]
    return {
        "passed": not faults and not unread and asked > 0,
        "commands": len(steps),
        "outputs_compared": sum(bool(shown.strip()) for block in blocks for _, shown in block.steps()),
        "files": sum(block.file is not None for block in blocks),
        "unread_blocks": unread,
        "requests_to_the_provider": asked,
        "new_environment": not here,
        "sabotage": sabotage,
        "faults": faults,
        "minutes": round((time.monotonic() - started) / 60, 2),
    }


def main() -> None:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--here", action="store_true", help="use the environment of this Python; install nothing")
    parser.add_argument("--sabotage", choices=SABOTAGES, help="change a word of the page: the report must not pass")
    chosen = parser.parse_args()
    print(json.dumps(measure(here=chosen.here, sabotage=chosen.sabotage)))


if __name__ == "__main__":
    main()
