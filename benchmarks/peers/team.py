"""The processes that are measured, as seen from outside."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.system import Entry

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600.0
"""So many seconds may one order take."""

QUIET = {"MEM0_TELEMETRY": "False", "ANONYMIZED_TELEMETRY": "False", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}

# Of two threads one waits for a core that another process holds: seen to make a product of .6 ms take 8.
ALONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Gone(Exception):
    """A process cannot go on; the message says why."""


class Member:
    """One system at one durability, in a process of its own."""

    def __init__(self, system: Entry, durability: str, folder: Path, workload: Path) -> None:
        self.entry = system
        self.durability = durability
        self.folder = folder
        self._workload = workload
        self.spent = 0.0
        """Seconds that filling it has taken."""
        self.why = ""
        """Why it does no more; empty while it does."""
        self.filled = False
        """Whether all rows are in its store, so that it can be opened again whatever came later."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def leads(self) -> bool:
        """Whether recall is measured with it, too."""
        return self.durability == next(iter(self.entry.durabilities))

    def start(self) -> None:
        """Start the process and let it import what it needs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = [self.entry.name, self.durability, str(self.folder), str(self._workload)]
        with Path(f"{self.folder}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers.worker", *arguments],
                cwd=ROOT, env=os.environ | QUIET | ALONE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._answer()

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """Give an order and return the answer; raise `Gone` if there is none, or the system cannot."""
        if self.why or self._process is None or self._process.stdin is None:
            raise Gone(self.why or "it was never started")
        self._process.stdin.write(json.dumps({"do": do, **given}).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer(do)

    def _answer(self, to: str = "start") -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self.stop()
            self.why = f"{to}: {self._last_words()}" if ready else f"{to}: no answer within {PATIENCE:.0f} s"
            raise Gone(self.why)
        answer: dict[str, Any] = json.loads(line)
        if "unsupported" in answer:
            if to == "start":
                self.why = answer["unsupported"]
            raise Gone(answer["unsupported"])
        return answer

    def _last_words(self) -> str:
        lines = Path(f"{self.folder}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "the process ended without a word"

    def stop(self) -> None:
        """End the process and wait for it."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
