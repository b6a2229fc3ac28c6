"""The report of `mars simulate`: read from the results of a folder, written beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mars.errors import InvalidFile

if TYPE_CHECKING:
    from mars.simulation.episodes import EpisodeTask
    from mars.simulation.results import Noted, Results

PAGE, TEXT = "report.html", "report.md"
"""Files of a folder of results."""


def reported(folder: Path) -> dict[str, Any]:
    """Write the report of a folder's results anew, without playing, and return its numbers.

    Raises `InvalidFile` where nothing lies there that could be reported.
    """
    from mars.simulation.results import DATABASE, Results

    if not (folder / DATABASE).is_file():
        raise InvalidFile(f"{folder} holds no {DATABASE}: name a folder that `mars simulate CONFIG` has filled")
    results = Results(folder)
    try:
        return drawn(results, folder)
    finally:
        results.close()


def finished(folder: Path, tasks: Sequence[EpisodeTask], *where: str) -> dict[str, Any]:
    """Write the report of a simulation that has just been played, and return its numbers.

    `where` is the database of its results, if it is another than the folder's.
    """
    from mars.simulation.results import Results

    results = Results(folder, *where)
    try:
        return drawn(results, folder, tasks)
    finally:
        results.close()


def drawn(results: Results, folder: Path, tasks: Sequence[EpisodeTask] | None = None) -> dict[str, Any]:
    """Write the report of the simulation that was noted last, or last with these tasks; see `reported`."""
    from mars import __version__
    from mars.evaluation.reports import Origin, report_markdown, report_page
    from mars.evaluation.simulations import simulation_report
    from mars.simulation.episodes import WORLDS

    noted = results.noted(tasks)
    ends = {task["variant"] for task, _ in noted.episodes} if noted is not None else set()
    if noted is None or not {"oracle", "none"} <= ends or noted.config["world"] not in WORLDS:
        raise InvalidFile(f"in {folder} too little is finished for a report: `mars simulate CONFIG` plays the rest")
    world = noted.config["world"]
    values: dict[str, Any] = simulation_report(world, noted.episodes, exact_floor=WORLDS[world].exact_floor)
    origin = Origin(
        name=folder.resolve().name,
        config=noted.config,
        method=noted.method,
        commits=noted.commits,
        version=__version__,
        sabotage=noted.sabotage,
        missing=noted.missing,
    )
    write(folder / PAGE, report_page(values, noted.episodes, origin))
    write(folder / TEXT, report_markdown(values, noted.episodes, origin))
    return {**values, **counted(noted), "page": str(folder / PAGE)}


def counted(noted: Noted) -> Mapping[str, Any]:
    """Return what a report says beside its numbers."""
    return {
        "cells": len(noted.config["cells"]),
        "episodes": len(noted.episodes),
        "sabotage": noted.sabotage,
        "oracle_feedback": False,
    }


def write(path: Path, told: str) -> None:
    """Write a file in one piece. Raises `InvalidFile` where that cannot be."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")  # another process may write its own
    try:
        new.write_text(told, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise InvalidFile(f"the report cannot be written to {path}: {error.strerror or error}") from error
