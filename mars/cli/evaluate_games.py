"""`mars eval textworld`: games that nobody here wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from mars.cli.output import JsonFlag, output

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def textworld(
    model: Annotated[
        str, typer.Option("--model", help="builtin, or a chat model such as openai:gpt-4o-mini.")
    ] = "builtin",
    games: Annotated[int, typer.Option("--games", help="How many games.", min=2)] = 8,
    tries: Annotated[int, typer.Option("--tries", help="How often each is tried.", min=1)] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first game; the others follow.", min=1)] = 1,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where games are made and kept; nowhere if left out.")
    ] = None,
    sabotage: Annotated[
        str | None, typer.Option("--sabotage", help="Break something on purpose: memory, scorer.", show_default=False)
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Text adventures of TextWorld, each tried several times: what memory, Checker and reflections add."""
    from mars.cli.output import run_async
    from mars.cli.progress import progress_bar
    from mars.evaluation.textworld import evaluate_textworld

    async def work() -> dict[str, Any]:
        with progress_bar("tries") as progress:
            report = await evaluate_textworld(
                model,
                seeds=range(seed, seed + games),
                tries=tries,
                folder=folder,
                sabotage=sabotage,
                progress=progress,
            )
        return report.as_dict()

    values = run_async(work)
    if json:
        output.json(values)
        return
    output.print(_table(values))
    for problem in values["problems"]:
        output.note(f"problem: {problem}")
    output.note(f"{values['games']} games, {values['tries']} tries each, {values['model']}, {values['seconds']:.0f} s")


def _table(values: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for name in ("points", "95 % interval", "won", "by try"):
        table.add_column(name, justify="right")
    table.add_row("oracle", "", "", f"{values['oracle']:.0%}", "")
    for name, row in values["variants"].items():
        low, high = row["ci95"]
        tries = " ".join(f"{share:.2f}" for share in row["by_try"])
        table.add_row(name, f"{row['success']:.3f}", f"{low:.3f} to {high:.3f}", f"{row['won']:.0%}", tries)
    return table
