"""Measure what the project promises: every row of `bars.toml` against its threshold.

    make bars                  all rows but the slow ones
    make bars ONLY=name        one row, slow or not
    make bars ALL=1            all rows
    make bars ISSUE=2          the rows that one issue demands
    make bars ARGS=--json      the table as one line of JSON, last

A row names a command, the key of a figure in the JSON that the command prints on its last line, and what the figure
must be. Rows with the same command share one run. A row whose files are missing is not run. Exit status 1: one failed.
"""

from __future__ import annotations

import argparse
import json
import math
import operator
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = Path(__file__).with_name("bars.toml")
RESULTS = Path(__file__).with_name("results")
COMPARE: dict[str, Callable[[Any, Any], bool]] = {">=": operator.ge, "<=": operator.le, "==": operator.eq}


class Outcome(StrEnum):
    """What became of a row."""

    PASSED = "pass"
    FAILED = "fail"
    NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One promise and how it is measured."""

    name: str
    """Short and unique; `ONLY=` takes it."""
    issue: int
    """The issue that demands it."""
    command: str
    """Shell command, run in the repository's root; prints JSON on its last line."""
    key: str
    """Where the figure is in that JSON: names and list positions joined by dots."""
    expect: str
    """`>=`, `<=` or `==` and a JSON value."""
    minutes: float
    """About how long the command takes; ten times as long, and it is stopped."""
    needs: list[str] = field(default_factory=list)
    """Files without which it is not run, relative to the root."""
    hint: str = ""
    """How to get them."""
    slow: bool = False
    """Run only when named, or with ALL=1."""

    def __post_init__(self) -> None:
        sign, _, value = self.expect.partition(" ")
        if sign not in COMPARE:
            raise ValueError(f"bar {self.name}: expect must start with >=, <= or ==; got {self.expect!r}")
        try:
            json.loads(value)
        except ValueError:
            raise ValueError(f"bar {self.name}: expect must end with a JSON value; got {self.expect!r}") from None

    def met_by(self, figure: Any) -> bool:
        """Whether a figure is what the promise says; no number, and a truth value in place of one, never is."""
        sign, _, value = self.expect.partition(" ")
        wanted = json.loads(value)
        if isinstance(figure, bool) != isinstance(wanted, bool):
            return False
        if sign != "==" and (not isinstance(figure, int | float) or math.isnan(figure)):
            return False
        return COMPARE[sign](figure, wanted)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A row after its run."""

    bar: Bar
    """The promise."""
    outcome: Outcome
    """Pass, fail or not run."""
    figure: Any = None
    """What was measured; None when nothing was."""
    note: str = ""
    """Why it was not run, or what went wrong."""
    seconds: float = 0.0
    """How long its command ran."""


def read_bars(file: Path = FILE) -> list[Bar]:
    """Return the rows of a file; ValueError when one is wrong or two have the same name."""
    bars = [Bar(**row) for row in tomllib.loads(file.read_text())["bar"]]
    names = [bar.name for bar in bars]
    if len(set(names)) < len(names):
        raise ValueError(f"{file.name} names a bar twice: {sorted({name for name in names if names.count(name) > 1})}")
    return bars


def figure_at(report: Any, key: str) -> Any:
    """Return the value at a dotted key; LookupError names the part that is missing."""
    for part in key.split("."):
        try:
            report = report[int(part)] if isinstance(report, list) else report[part]
        except (LookupError, ValueError, TypeError):
            raise LookupError(f"the output has no {part!r} of {key!r}") from None
    return report


def run_command(command: str, limit: float) -> tuple[Any, str]:
    """Run a command for at most `limit` seconds; return its JSON, or None and what went wrong."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    process = subprocess.Popen(
        command, shell=True, cwd=ROOT, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, f"stopped after {limit:.0f} s"
    if process.returncode != 0:
        return None, f"exit status {process.returncode}: {last_line(errors) or last_line(output)}"
    try:
        return json.loads(last_line(output)), ""
    except ValueError:
        return None, f"the last line is no JSON: {last_line(output)[:80]!r}"


def last_line(text: str) -> str:
    """The last line that is not blank."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def measure(bars: Iterable[Bar], only: str | None = None, slow: bool = False) -> Iterator[Result]:
    """Run what is chosen, each command once, and yield a result for each row."""
    reports: dict[str, tuple[Any, str, float]] = {}
    for bar in bars:
        missing = [path for path in bar.needs if not (ROOT / path).exists()]
        if only is not None and bar.name != only:
            continue
        if bar.slow and not slow and only is None:
            yield Result(bar=bar, outcome=Outcome.NOT_RUN, note="slow: ALL=1 runs it")
        elif missing:
            yield Result(bar=bar, outcome=Outcome.NOT_RUN, note=lacking(bar, missing))
        else:
            if bar.command not in reports:
                print(f"# {bar.command}", file=sys.stderr, flush=True)
                started = time.monotonic()
                reports[bar.command] = (*run_command(bar.command, bar.minutes * 600), time.monotonic() - started)
            yield judge(bar, *reports[bar.command])


def lacking(bar: Bar, missing: list[str]) -> str:
    """Say which files a row has to do without, and how to get them."""
    return f"missing: {', '.join(missing)}" + (f" ({bar.hint})" if bar.hint else "")


def judge(bar: Bar, report: Any, trouble: str, seconds: float) -> Result:
    """Hold a command's report against a row."""
    if trouble:
        return Result(bar=bar, outcome=Outcome.FAILED, note=trouble, seconds=seconds)
    try:
        figure = figure_at(report, bar.key)
    except LookupError as error:
        return Result(bar=bar, outcome=Outcome.FAILED, note=str(error.args[0]), seconds=seconds)
    outcome = Outcome.PASSED if bar.met_by(figure) else Outcome.FAILED
    return Result(bar=bar, outcome=outcome, figure=figure, seconds=seconds)


def commit() -> str:
    """The commit that is measured, with a plus when the tree differs from it."""
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return (head.stdout.strip() or "unknown") + ("+" if changed.stdout.strip() else "")


def shown(figure: Any) -> str:
    """A figure as the table shows it."""
    return f"{figure:.4g}" if isinstance(figure, float) else "-" if figure is None else json.dumps(figure)


def table(results: list[Result]) -> str:
    """The results as text."""
    rows = [("bar", "outcome", "figure", "expected", "seconds", "note")]
    rows += [
        (r.bar.name, r.outcome.value, shown(r.figure), r.bar.expect, f"{r.seconds:.0f}" if r.seconds else "-", r.note)
        for r in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:5], widths, strict=True)), row[5]]).rstrip()
        for row in rows
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the bars; the result is 1 when one failed and 2 when there is none of the name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="NAME", help="run this row, slow or not")
    parser.add_argument("--all", action="store_true", help="run the slow rows too")
    parser.add_argument("--issue", type=int, metavar="N", help="run the rows of this issue only")
    parser.add_argument("--json", action="store_true", help="print one line of JSON after the table")
    parser.add_argument("--file", type=Path, default=FILE, help="the rows (default: benchmarks/bars.toml)")
    chosen = parser.parse_args(arguments)
    bars = [bar for bar in read_bars(chosen.file) if chosen.issue in (None, bar.issue)]
    if not bars:
        print(f"no bar belongs to issue {chosen.issue}", file=sys.stderr)
        return 2
    if chosen.only is not None and chosen.only not in {bar.name for bar in bars}:
        print(f"no bar is called {chosen.only!r}; there are: {', '.join(bar.name for bar in bars)}", file=sys.stderr)
        return 2
    results = list(measure(bars, chosen.only, chosen.all))
    counts = {outcome: sum(r.outcome is outcome for r in results) for outcome in Outcome}
    print(table(results))
    print(f"\ncommit {commit()}: " + ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items()))
    report = {
        "commit": commit(),
        **{outcome.name.lower(): count for outcome, count in counts.items()},
        "bars": [
            {
                "name": r.bar.name,
                "issue": r.bar.issue,
                "outcome": r.outcome.value,
                "figure": r.figure,
                "expect": r.bar.expect,
                "command": r.bar.command,
                "seconds": round(r.seconds, 1),
                "note": r.note,
            }
            for r in results
        ],
    }
    if chosen.file == FILE and chosen.only is None and chosen.issue is None:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "bars.json").write_text(json.dumps(report, indent=1))
    if chosen.json:
        print(json.dumps(report))
    return 1 if counts[Outcome.FAILED] else 0


if __name__ == "__main__":
    sys.exit(main())
