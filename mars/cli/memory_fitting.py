"""`mars memory fit`: a forgetting curve fitted to the memory's own log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mars.cli.output import Database, JsonFlag, known_namespace, open_memory, output, run_async
from mars.errors import InvalidFile

if TYPE_CHECKING:
    from mars.memory.fitting import Fit

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def fit(
    db: Database = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Only this namespace.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Deals the records to folds, draws the intervals.")] = 0,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the fitted preset to this TOML file.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Fit the forgetting curve to the log of uses, and say by how much it predicts better. Changes nothing."""
    from mars.memory.fitting import fit_values
    from mars.memory.preset_files import SUFFIX, preset_text

    if save is not None and (save.suffix != SUFFIX or (save.exists() and not overwrite)):
        why = (
            "is there already: name another file, or --overwrite" if save.suffix == SUFFIX else f"must end in {SUFFIX}"
        )
        raise InvalidFile(f"{save} {why}")
    found = run_async(_fitted, db or "", namespace, seed)
    text = preset_text(found.preset)
    if save is not None:
        try:
            save.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidFile(f"{save} cannot be written: {error.strerror or error}") from None
    if json:
        output.json({**fit_values(found), "saved": None if save is None else str(save), "toml": text})
        return
    _show(fit_values(found))
    if save is not None:
        output.note(f"written: {save}; use it with MARS_PRESET={save} or Memory.open(preset={str(save)!r})")
    else:
        output.print(text)
        output.note("nothing was written; --save FILE.toml keeps it")


async def _fitted(db: str, namespace: str | None, seed: int) -> Fit:
    from anyio import to_thread

    from mars.cli.output import parse_namespace
    from mars.cli.progress import progress_bar
    from mars.memory.fitting import fit
    from mars.memory.reviews import reviewed

    async with open_memory(db) as memory:
        scope = None if namespace is None else await known_namespace(memory, parse_namespace(namespace))
        records = await memory.read(lambda reader: reviewed(reader, scope))
        preset = memory.preset
    with progress_bar("fits") as report:
        return await to_thread.run_sync(lambda: fit(records, preset, seed=seed, progress=report))


def _show(values: dict[str, Any]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("held out, by record", "compared with", "before", "fitted", "gain", "95 %"):
        table.add_column(name, justify="left" if name in ("held out, by record", "compared with") else "right")
    rows = (
        ("log loss", values["preset"], values["log_loss"], "before"),
        ("log loss", "a constant", values["log_loss_over_constant"], "constant"),
        ("calibration error", values["preset"], values["calibration"], "before"),
    )
    for name, other, row, key in rows:
        low, high = row["ci95"]
        figures = (f"{row[key]:.4f}", f"{row['fitted']:.4f}", f"{row['gain']:+.4f}", f"{low:+.4f} to {high:+.4f}")
        table.add_row(name, other, *figures)
    output.print(table)
    shown = f", decay {values['decay']:.4f}" if values["curve"] == "power" else ""
    output.print(f"{values['curve']}: strengths times {values['scale']:.3f}{shown}")
    output.print(f"{values['uses']:,} uses of {values['records']:,} records, {values['served']:,} went well")
    verdict = "surely predicts better" if values["better"] else "does not surely predict better: keep the preset"
    output.print(f"The fitted curve {verdict}.")
