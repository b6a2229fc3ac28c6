"""`mars simulate`: months of simulated time for every variant, compared over a grid."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from mars.cli.output import JsonFlag, output, run_async
from mars.cli.simulation_report import finished, reported
from mars.errors import InvalidSetting


def simulate(
    config: Annotated[
        Path,
        typer.Argument(
            help="A TOML file, such as examples/quick.toml; or a folder of results, to report them anew.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the results.", show_default="out/ and the file's name"),
    ] = None,
    sabotage: Annotated[
        str | None,
        typer.Option("--sabotage", help="Break on purpose: memory, decay, scorer, checker.", show_default=False),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="Who plays: local processes, or ray (extra ray; RAY_ADDRESS if it runs).")
    ] = "local",
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            help="PostgreSQL for memories and results.",
            envvar="MARS_SIMULATION_DATABASE",
            show_default="the file's, or memory",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Play all of it in a temporary folder, and leave nothing.")
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the page of the report in a browser.")] = False,
    json: JsonFlag = False,
) -> None:
    """Let every variant live through a world, and compare them; killed half way, it goes on where it was."""
    if config.is_dir():
        if fresh or out is not None or sabotage is not None:
            raise InvalidSetting(f"{config} is a folder of results: nothing is played, and its report is written there")
        _told(reported(config), show, json)
        return
    if fresh and out is not None:
        raise InvalidSetting("--fresh leaves nothing, and --out says where to leave it: choose one")
    played = partial(_simulated, config, sabotage=sabotage, engine=engine, database=database)
    if not fresh:
        values = played(out or Path("out") / config.stem)
    else:
        with tempfile.TemporaryDirectory(prefix="mars-simulate-") as folder:
            values = {**played(Path(folder), fresh=True), "folder": None}
    _told(values, show, json)


def _told(values: dict[str, Any], show: bool, json: bool) -> None:
    """Print a report, and open its page if that is wanted."""
    from mars.evaluation.reports.words import unsure

    if show and values.get("page"):
        typer.launch(values["page"])
    if json:
        output.json(values)
        return
    output.print(_variants(values), "", _pairs(values))
    if values["claim"]:
        output.print(f"\n{_claimed(values['claim'])}")
    for problem in values["problems"]:
        output.error(problem)
    if caution := unsure(values):
        output.note(caution)
    if "played" in values:
        output.note(
            f"{values['episodes']:,} episodes, {values['played']:,} of them played now in {values['seconds']:.0f} s"
        )
    if values.get("folder"):
        output.note(f"each is a line of {values['folder']}/results.jsonl")
    if values.get("page"):
        output.note(f"the report: {values['page']}")


def _simulated(
    config: Path, folder: Path, *, sabotage: str | None, engine: str, database: str | None, fresh: bool = False
) -> dict[str, Any]:
    """Run a simulation and return its report."""
    from mars.cli.progress import progress_bar
    from mars.evaluation.simulations import simulation_report
    from mars.simulation.config import read_config
    from mars.simulation.databases import IN_MEMORY, masked
    from mars.simulation.episodes import WORLDS
    from mars.simulation.results import canonical_hash
    from mars.simulation.running import Simulated
    from mars.simulation.running import simulate as run

    read, began = read_config(config), time.perf_counter()
    if database is not None:
        read = replace(read, database=database)
    kept = IN_MEMORY if fresh else read.database

    async def work() -> Simulated:
        with progress_bar("episodes") as progress:
            return await run(read, folder, sabotage=sabotage, engine=engine, kept=kept, progress=progress)

    done = run_async(work)
    episodes = [({**task.plain(), "cell": task.cell.name}, outcome) for task, outcome in done.episodes]
    if fresh:
        values = simulation_report(read.world, episodes, exact_floor=WORLDS[read.world].exact_floor)
    else:
        values = finished(folder, [task for task, _ in done.episodes], kept)
    return {
        **values,
        "cells": len(read.cells),
        "episodes": len(episodes),
        "played": done.played,
        "sabotage": sabotage,
        "oracle_feedback": False,
        "engine": engine,
        "database": masked(read.database),
        "canonical": canonical_hash(done.episodes),
        "folder": str(folder),
        "seconds": round(time.perf_counter() - began, 2),
    }


def _variants(values: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(values["world"])
    for name in ("success", "95 %", "tokens", "ms", "$"):
        table.add_column(name, justify="right")
    table.add_row("oracle", f"{values['oracle']:.3f}", "", "", "", "")
    for name, row in sorted(values["variants"].items(), key=lambda item: -item[1]["success"]):
        cost = "-" if row["cost"] is None else f"{row['cost']:.4f}"
        bounds = "{:.3f} to {:.3f}".format(*row["ci95"])
        table.add_row(name, f"{row['success']:.3f}", bounds, f"{row['tokens']:,.0f}", f"{row['ms']:,.0f}", cost)
    table.add_row("predicted without memory", f"{values['floor']:.3f}", "", "", "", "")
    return table


def _pairs(values: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("pair", "difference", "95 %", "p (Holm)", "cells won", "lost"):
        table.add_column(name, justify="left" if name == "pair" else "right")
    for name, row in values["pairs"].items():
        if row["delta"] is None:  # unfinished: no episode was played by both
            continue
        bounds = "{:+.3f} to {:+.3f}".format(*row["ci95"])
        cells = (str(row["cells_won"]), str(row["cells_lost"]))
        table.add_row(name, f"{row['delta']:+.3f}", bounds, f"{row['p_holm']:.3f}", *cells)
    return table


def _claimed(claim: dict[str, Any]) -> str:
    low, high = claim["ci95"]
    return (
        f"mars against the best baseline, {claim['best_baseline']}, in the median cell: {claim['median_cell']:+.3f} "
        f"({low:+.3f} to {high:+.3f}): " + ("better" if claim["holds"] else "not shown to be better")
    )
