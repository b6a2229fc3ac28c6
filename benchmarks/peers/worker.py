"""The process that one system runs in: reads what to do line by line, and answers each line with one of JSON.

    python -m benchmarks.peers.worker SYSTEM DURABILITY FOLDER WORKLOAD

Whatever libraries print goes to the error output. A system that cannot do something answers {"unsupported": why}.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.system import System, Unsupported, entry
from benchmarks.peers.workload import Lookup, Question, numbers, read_questions, read_rows


class Measured:
    """A system and what has been asked of it."""

    def __init__(self, system: System, workload: Path, questions: list[Question]) -> None:
        self._system = system
        self._workload = workload
        self._questions = questions

    def do(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order and return what was measured."""
        work = getattr(self, f"_{order.pop('do')}")
        found: dict[str, Any] = work(**order)
        return found

    def _open(self) -> dict[str, Any]:
        return {"seconds": _seconds(self._system.open)}

    def _open_and_ask(self) -> dict[str, Any]:
        started = time.perf_counter()
        self._system.open()
        self._system.recall(self._questions[0], False)
        return {"seconds": time.perf_counter() - started, "rss_mb": self._memory()}

    def _fill(self, start: int, stop: int, by_batch: bool) -> dict[str, Any]:
        rows = read_rows(self._workload, start, stop)
        self._system.lookup.expect(rows)
        store = self._system.add_many if by_batch else self._system.load
        return {"seconds": _seconds(lambda: store(rows)), "rss_mb": self._memory()}

    def _adds(self, start: int, stop: int, seconds: float) -> dict[str, Any]:
        rows = read_rows(self._workload, start, stop)
        self._system.lookup.expect(rows)
        return {"times": self._system.timed_adds(rows, seconds), "rss_mb": self._memory()}

    def _recalls(self, asked: list[int], filtered: bool, seconds: float) -> dict[str, Any]:
        questions = [self._questions[number] for number in asked]
        found = self._system.timed_recalls(questions, filtered, seconds)
        return {
            "times": [spent for spent, _ in found],
            "found": [numbers(texts) for _, texts in found],
            "rss_mb": self._memory(),
        }

    def _own(self, filtered: bool) -> dict[str, Any]:
        return {"answers": [numbers(texts) for texts in self._system.own_answers(self._questions, filtered)]}

    def _reindex(self) -> dict[str, Any]:
        started = time.perf_counter()
        self._system.reindex()
        self._system.recall(self._questions[0], False)
        return {"seconds": time.perf_counter() - started, "rss_mb": self._memory()}

    def _close(self) -> dict[str, Any]:
        self._system.close()
        files = [file for file in self._system.folder.rglob("*") if file.is_file() and not file.is_symlink()]
        return {"disk_mb": sum(file.stat().st_size for file in files) / 1e6}

    def _memory(self) -> float | None:
        """Megabytes in memory: all of this process, and of its servers what they do not share; None if unknown."""
        parts = [_kilobytes(Path("/proc/self/status"), "VmRSS")]
        parts += [_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in self._system.processes()]
        known = [part for part in parts if part is not None]
        return sum(known) * 1024 / 1e6 if len(known) == len(parts) else None


def _kilobytes(file: Path, name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) if found else None


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(arguments: list[str]) -> None:
    """Answer orders until the input ends."""
    name, durability, folder, workload = arguments
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    kind = entry(name).load()
    questions = read_questions(Path(workload))
    try:
        system = kind(Path(folder), durability, Lookup(questions, kind.as_lists))
    except Unsupported as error:
        answers.write(json.dumps({"unsupported": str(error)}) + "\n")
        return
    measured = Measured(system, Path(workload), questions)
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        try:
            found = measured.do(json.loads(line))
        except Unsupported as error:
            found = {"unsupported": str(error)}
        answers.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
