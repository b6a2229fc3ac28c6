"""The files that a comparison leaves: the rows, where they come from, and tables for people."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.bars import commit
from benchmarks.peers.system import Entry

COLUMNS = ("system", "operation", "durability", "median_ms", "p95_ms", "per_second", "recall", "rss_mb", "disk_mb")


def describe(systems: Iterable[Entry], started: datetime) -> dict[str, Any]:
    """Return when, where and on what is measured."""
    packages = sorted({package for system in systems for package in system.packages})
    return {
        "date": started.isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {
            "processor": processor(),
            "cpus": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load_at_start": [round(load, 2) for load in os.getloadavg()],
        },
        "python": platform.python_version(),
        "versions": {package: installed(package) for package in packages},
    }


def installed(package: str) -> str | None:
    """Return the version of a distribution, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """Return the processor's name as the system tells it."""
    file = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", file.read_text()) if file.exists() else None
    return found.group(1) if found else platform.processor()


def about_file(results: Path) -> Path:
    """Return where it is told what results come from."""
    return results.with_suffix(".meta.json")


def digest(results: Path) -> str:
    """Return what tells whether a file of results is the one that was described."""
    return hashlib.sha256(results.read_bytes()).hexdigest()


def write(output: Path, results: list[dict[str, Any]], about: dict[str, Any], systems: list[Entry]) -> str:
    """Write the three files and return the tables."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("[\n" + ",\n".join(json.dumps(row) for row in results) + "\n]\n")
    about_file(output).write_text(json.dumps(about | {"sha256": digest(output)}, indent=1) + "\n")
    text = tables(results, about, systems)
    output.with_suffix(".md").write_text(text)
    return text


def tables(results: list[dict[str, Any]], about: dict[str, Any], systems: list[Entry]) -> str:
    """Return one table for each size, and what must be known to read it."""
    machine = about["machine"]
    lines = [
        "# Memories side by side",
        "",
        f"{about['date']}, commit {about['commit']}, {machine['processor']}, {machine['cpus']} CPUs, Python "
        f"{about['python']}, {about['seconds']} s in all. Milliseconds are of one operation, for `bulk_add` of one "
        "batch; `per_second` counts rows.",
    ]
    for rows in sorted({row["rows"] for row in results}):
        here = [row for row in results if row["rows"] == rows]
        lines += ["", f"## {rows:,} rows", "", f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
        lines += [
            f"| {' | '.join(shown(row[name]) for name in COLUMNS)} |" for row in here if row["median_ms"] is not None
        ]
        missing: dict[tuple[str, str], list[str]] = {}
        for row in here:
            if row["median_ms"] is None:
                missing.setdefault((row["system"], row["why"]), []).append(row["operation"])
        lines += [""] if missing else []
        lines += [
            f"* {system} has no {', '.join(dict.fromkeys(names))}: {why}" for (system, why), names in missing.items()
        ]
    lines += ["", "## How", ""]
    for system in systems:
        versions = ", ".join(f"{package} {about['versions'][package]}" for package in system.packages)
        meant = "; ".join(f"{name}: {meaning}" for name, meaning in system.durabilities.items())
        lines.append(f"* **{system.name}** ({versions}). {system.how or 'As it comes'}. Durability: {meant}.")
    return "\n".join(lines) + "\n"


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row as a table shows it."""
    found = [shown(row[name]) for name in COLUMNS]
    if "cosine_recall" in row:
        found[COLUMNS.index("recall")] += f" (cosine {shown(row['cosine_recall'])})"
    return found


def shown(figure: Any) -> str:
    """Return a figure as a table shows it."""
    if isinstance(figure, float):
        return f"{figure:.3f}" if abs(figure) < 10 else f"{figure:,.1f}"
    return "-" if figure is None else str(figure)
