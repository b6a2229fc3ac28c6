"""Run `mars` as a user does, in a process of its own, and read the JSON it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MARS = str(Path(sys.executable).with_name("mars"))
LOCOMO = Path(__file__).resolve().parents[2] / "shared" / "data" / "locomo" / "locomo5.json"
"""Where the real conversations are, unless a command line names another file."""


def command(*arguments: str | Path, store: str | None = None) -> list[str]:
    """The command line of `mars` with JSON output, over a store of its own if one is named."""
    return [MARS, *map(str, arguments), *(["--db", store] if store is not None else []), "--json"]


def run(*arguments: str | Path, store: str | None = None) -> dict[str, Any]:
    """Run `mars` and return the JSON on its last line; raise SystemExit with its words when it fails."""
    line = command(*arguments, store=store)
    result = subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        sys.stderr.write(result.stderr)
        raise SystemExit(f"{' '.join(line)}: exit status {result.returncode}")
    report: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return report


def store_in(folder: str | Path, name: str = "memory.db") -> str:
    """The URL of a SQLite store in a folder."""
    return f"sqlite:///{Path(folder, name)}"
