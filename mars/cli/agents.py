"""`mars agents`: how reliable the agents of a store were, as far as their finished tasks tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from mars.cli.output import Database, JsonFlag, check_exists, output, run_async

if TYPE_CHECKING:
    from mars.persistence.reliability import Tally


def agents(db: Database = None, json: JsonFlag = False) -> None:
    """Show each agent with its model: tasks, successes, and the weight (successes + 1) / (tasks + 2)."""
    assert db is not None
    check_exists(db)
    found: list[Tally] = run_async(_tallies, db)
    rows = [{**tally._asdict(), "weight": round(_weight(tally), 4)} for tally in found]
    if json:
        output.json(rows)
        return
    if not rows:
        output.note("no finished task has told anything about an agent yet: run some, with a Checker")
        return
    table = Table("role", "agent", "model", "tasks", "successes", "weight", box=None, header_style="dim")
    for row in rows:
        names = (Text(str(row[name])) for name in ("role", "agent", "model"))
        table.add_row(*names, *(str(row[name]) for name in ("tasks", "successes")), f"{row['weight']:.3f}")
    output.print(table)


def _weight(tally: Tally) -> float:
    from mars.agents.reliability import reliability

    return reliability(tally.successes, tally.tasks)


async def _tallies(db: str) -> list[Tally]:
    from mars.persistence.reliability import Reliability
    from mars.persistence.saver import CheckpointSaver

    async with CheckpointSaver.open(db) as saver:
        return await Reliability(saver.database).tallies()
