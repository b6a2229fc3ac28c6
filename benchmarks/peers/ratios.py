"""How many times as long the others take as MARS at 10,000 rows, read from the last comparison.

    make bench-memory && python -m benchmarks.peers.ratios [results/memory.json]

Prints one line of JSON: `add` (by system, against MARS at NORMAL and at FULL), `recall` and `recall_filtered` (by
system), and where the figures come from. A system is taken as it is shipped; `langgraph-sqlite-wal` is SqliteStore on a
connection whose write-ahead log and synchronous setting equal MARS's, `langgraph-pgvector-async` a server that does not
wait for its disk. Ratios are of medians of one run. Results that are not what their description says, or that lack what
a bar needs, are refused.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.report import about_file, digest

RESULTS = Path(__file__).resolve().parents[1] / "results" / "memory.json"
ROWS = 10_000
AGAIN = "run `make bench-memory`"

AS_SHIPPED = {
    "chroma": "full",
    "langgraph-memory": "none",
    "langgraph-sqlite": "as shipped",
    "langgraph-pgvector": "full",
    "mem0-chroma": "full",
    "mem0-qdrant": "full",
    "mem0-faiss": "none",
}
"""The durability of each peer as it comes."""

ALIKE = {
    "langgraph-sqlite-wal": ("langgraph-sqlite", "normal", "full"),
    "langgraph-pgvector-async": ("langgraph-pgvector", "async", "full"),
}
"""Peers whose settings were changed: what is held against MARS at NORMAL, and at FULL."""

NEEDED = {
    "add": ("mem0-chroma", "langgraph-sqlite", "langgraph-pgvector"),
    "recall": ("mem0-chroma", "langgraph-sqlite", "langgraph-pgvector"),
    "recall_filtered": ("chroma",),
}
"""What the bars read."""

Median = Callable[[str, str, str], float | None]


def read(file: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows and their description. Raises `SystemExit` where they are missing or do not belong together."""
    if not file.exists() or not about_file(file).exists():
        raise SystemExit(f"there is no {file.name} with its description: {AGAIN}")
    about: dict[str, Any] = json.loads(about_file(file).read_text())
    if about.get("sha256") != digest(file):
        raise SystemExit(f"{file.name} is not the file that {about_file(file).name} describes: {AGAIN}")
    return json.loads(file.read_text()), about


def medians(results: list[dict[str, Any]]) -> Median:
    """Return what gives the median of a system, an operation and, unless it is empty, a durability."""

    def median(system: str, operation: str, durability: str = "") -> float | None:
        for row in results:
            named = (row["system"], row["operation"], row["rows"]) == (system, operation, ROWS)
            if named and durability in ("", row["durability"]) and row["median_ms"] is not None:
                return float(row["median_ms"])
        return None

    return median


def quotient(theirs: float | None, ours: float | None) -> float | None:
    """Return how many times as long they take; None if either was not measured."""
    return None if theirs is None or not ours else round(theirs / ours, 3)


def ratios(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the ratios. Raises `SystemExit` if one that a bar needs was not measured."""
    median = medians(results)
    ours = {name: median("mars", "add", name) for name in ("normal", "full")}
    found: dict[str, dict[str, Any]] = {"add": {}, "recall": {}, "recall_filtered": {}}
    for system, durability in AS_SHIPPED.items():
        theirs = median(system, "add", durability)
        found["add"][system] = {name: quotient(theirs, spent) for name, spent in ours.items()}
        for operation in ("recall", "recall_filtered"):
            found[operation][system] = quotient(median(system, operation, ""), median("mars", operation, "normal"))
    for name, (system, *settings) in ALIKE.items():
        pairs = zip(ours.items(), settings, strict=True)
        found["add"][name] = {at: quotient(median(system, "add", set_to), spent) for (at, spent), set_to in pairs}
    missing = [f"{operation} of {name}" for operation, names in NEEDED.items() for name in names
               if not complete(found[operation][name])]  # fmt: skip
    if missing:
        raise SystemExit(f"the results lack at {ROWS:,} rows: {', '.join(missing)} or MARS's own; {AGAIN}")
    return found


def complete(figure: Any) -> bool:
    """Whether a ratio, or each of several, was measured."""
    return None not in figure.values() if isinstance(figure, dict) else figure is not None


def main(arguments: list[str]) -> None:
    """Print the ratios as one line of JSON."""
    results, about = read(Path(arguments[0]) if arguments else RESULTS)
    source = {name: about[name] for name in ("date", "commit", "machine", "python", "versions")}
    print(json.dumps({"rows": ROWS, **ratios(results), **source}))


if __name__ == "__main__":
    main(sys.argv[1:])
