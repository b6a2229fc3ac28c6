"""`mars eval change`: a memory whose facts change, whose uses differ, and that junk piles up in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mars.cli.output import JsonFlag, output, run_async

if TYPE_CHECKING:
    from mars.evaluation.change import ChangeReport

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SHOWN = {
    "update": ("found", "newer_first", "newer_first_used"),
    "as-of": ("told", "told_then"),
    "decay": ("first_age", "first_uses", "first_spacing", "archived", "displaced"),
    "loops": ("first", "in_prompt", "copies"),
    "junk": ("answered", "junk_there", "merged", "archived", "growth"),
}
"""The figures of each suite that the table has."""


@app.command()
def change(
    preset: Annotated[
        list[str] | None,
        typer.Option("--preset", help="A preset, or a file of one; may be repeated.", show_default="all, and no decay"),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option("--suite", help="update, as-of, decay, loops or junk; may be repeated.", show_default="all"),
    ] = None,
    cases: Annotated[int, typer.Option("--cases", min=1, help="So many cases of each suite.")] = 200,
    turns: Annotated[int, typer.Option("--turns", min=100, help="So many turns of junk, over three years.")] = 1_000,
    seed: Annotated[int, typer.Option("--seed", help="Draws the cases.")] = 0,
    sabotage: Annotated[
        str | None,
        typer.Option(
            "--sabotage",
            help="Break something on purpose: superseding, dates, strength, loops, forgetting, uses.",
            show_default=False,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """What memory answers when facts change, uses differ, answers are stored again and junk piles up; by preset."""
    from mars.cli.progress import progress_bar
    from mars.evaluation.change import NO_DECAY, SUITES, evaluate_change, presets_compared

    known = presets_compared()
    chosen = None if not preset else {name: known[NO_DECAY] if name == NO_DECAY else name for name in preset}

    async def work() -> ChangeReport:
        with progress_bar("suites") as progress:
            return await evaluate_change(
                chosen,
                tuple(suite or SUITES),
                cases=cases,
                turns=turns,
                seed=seed,
                sabotage=sabotage,
                progress=progress,
            )

    values = run_async(work).as_dict()
    if json:
        output.json(values)
        return
    for name in suite or SUITES:
        output.print(change_table(name, values["presets"]))
    output.note(f"seed {seed}, {values['seconds']:.1f} s; --json says more")


def change_table(suite: str, presets: dict[str, Any]) -> Table:
    """Return what one suite found, a row for each preset."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(suite, min_width=18)
    names = SHOWN[suite]
    for name in ("violations", "of", *names):
        table.add_column(name.replace("_", " "), justify="right")
    for preset, suites in presets.items():
        row = suites[suite]
        figures = ("-" if row.get(name) is None else f"{row[name]:.3f}" for name in names)
        table.add_row(preset, f"{row['violations']:,}", f"{row['cases']:,}", *figures)
    return table
