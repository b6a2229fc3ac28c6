"""`mars eval`: figures that need no judge, from conversations with questions, and from tasks on a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mars.cli.evaluate_games import app as of_games
from mars.cli.evaluate_memory import app as of_memory
from mars.cli.output import JsonFlag, output
from mars.errors import InvalidSetting

if TYPE_CHECKING:
    from mars.memory.interfaces import Embedder

app = typer.Typer(
    help="Measure recall and answers on conversations with questions, and agents on tasks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.registered_commands += of_memory.registered_commands + of_games.registered_commands

LocomoFile = Annotated[Path, typer.Argument(help="A file of LoCoMo's conversations.", show_default=False)]
"""The conversations to measure on."""

EmbedderOption = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        help="A folder with MiniLM-class weights; the built-in keyless embedder if left out.",
        envvar="MARS_EMBEDDER",
    ),
]
"""The option ``--embedder``."""


@app.command()
def locomo(
    file: LocomoFile,
    decay: Annotated[
        bool, typer.Option("--decay", help="Store each turn at its own time and ask at the conversation's end.")
    ] = False,
    arms: Annotated[
        bool, typer.Option("--arms", help="Words and vectors each alone too, and all of it with and without decay.")
    ] = False,
    embedder: EmbedderOption = None,
    json: JsonFlag = False,
) -> None:
    """Evidence recall: the share of the turns that hold an answer among the first 5, 10 and 20 recalled."""
    from mars.cli.progress import progress_bar
    from mars.evaluation.locomo import evaluate_arms, evaluate_locomo

    if arms:
        if decay:
            raise InvalidSetting("--arms measures with and without decay: leave --decay out")
        with progress_bar("questions") as progress:
            reports = evaluate_arms(file, embedder=_embedder(embedder), progress=progress)
        told = {arm: {name: one.as_dict() for name, one in runs.items()} for arm, runs in reports.items()}
        output.json({"arms": told}) if json else output.print(_arms_table(told))
        return
    with progress_bar("questions") as progress:
        report = evaluate_locomo(file, embedder=_embedder(embedder), decay=decay, progress=progress)
    values = report.as_dict()
    if json:
        output.json(values)
    else:
        output.print(_recall_table(values))
        output.note(f"{values['embedder']}, {values['skipped']} skipped, {values['seconds']:.1f} s")


@app.command()
def longmemeval(
    file: Annotated[Path, typer.Argument(help="One of LongMemEval's files.", show_default=False)],
    decay: Annotated[
        bool, typer.Option("--decay", help="Store each turn at its own time and ask at the question's.")
    ] = False,
    embedder: EmbedderOption = None,
    limit: Annotated[int | None, typer.Option("--limit", help="The first so many questions.", min=1)] = None,
    json: JsonFlag = False,
) -> None:
    """Evidence recall: the share of turns and sessions that hold an answer among the first 5, 10 and 20 recalled."""
    from mars.cli.progress import progress_bar
    from mars.evaluation.longmemeval import evaluate_longmemeval

    with progress_bar("questions") as progress:
        report = evaluate_longmemeval(file, embedder=_embedder(embedder), decay=decay, limit=limit, progress=progress)
    values = report.as_dict()
    if json:
        output.json(values)
        return
    table = Table("", "questions", "turns @5", "@10", "@20", "MRR", "sessions @5", box=None, header_style="bold")
    for name, row in [*values["by_category"].items(), ("all", values)]:
        shares = [row["turns"][key] for key in ("5", "10", "20", "mrr")] + [row["sessions"]["5"]]
        table.add_row(name, f"{row['questions']:,}", *(f"{share:.3f}" for share in shares))
    output.print(table)
    output.note(
        f"{values['embedder']}, {values['abstentions']} without an answer, {values['skipped']} skipped, "
        f"{values['seconds']:.1f} s"
    )


@app.command()
def answers(
    file: LocomoFile,
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="Let a chat model judge the answers too: openai:gpt-4o-mini.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="At most so many questions of each conversation.", min=1)
    ] = None,
    json: JsonFlag = False,
) -> None:
    """The built-in reader's answers and the Checker's verdicts on them, adversarial questions apart."""
    from mars.cli.memory_view import details
    from mars.cli.output import run_async
    from mars.cli.progress import progress_bar
    from mars.evaluation.answers import evaluate_answers
    from mars.evaluation.judging import judged
    from mars.models.resolve import resolve_model

    model = None if judge is None else resolve_model(judge)
    with progress_bar("questions") as progress:
        report = evaluate_answers(file, limit=limit, progress=progress)
    values = report.as_dict()
    if model is not None:
        with progress_bar("judgements") as progress:
            values["judged"] = run_async(lambda: judged(report.answers, model, str(judge), progress=progress))
    if json:
        output.json(values)
        return
    bad = values.pop("known_bad")
    output.print(details(values))
    output.note(
        f"{len(bad)} of these questions have an answer in the file that is known to be wrong; --json lists them"
    )


@app.command()
def checker(
    file: LocomoFile,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="Give every draft the annotated evidence: what perfect recall would bring.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """The keyless Checker on right answers and on wrong ones made of them, beside two baselines."""
    from mars.cli.progress import progress_bar
    from mars.evaluation.checker import evaluate_checker

    with progress_bar("questions") as progress:
        values = evaluate_checker(file, oracle=oracle, progress=progress).as_dict()
    if json:
        output.json(values)
        return
    output.print(_checker_table(values))
    share = values["recalled"]["share"]
    output.note(f"evidence recalled for {share:.0%} of the questions, {values['seconds']:.1f} s")
    if oracle:
        output.note("these drafts had the evidence that the file names: no deployed agent has it")


@app.command()
def dbbench(
    file: Annotated[Path, typer.Argument(help="AgentBench's dbbench/dev.jsonl.", show_default=False)],
    model: Annotated[
        str, typer.Option("--model", help="oracle, mutated, builtin, or a chat model such as openai:gpt-4o-mini.")
    ] = "builtin",
    database: Annotated[
        str,
        typer.Option("--database", help="Empty SQLite database, or PostgreSQL, where a schema is made and dropped."),
    ] = "sqlite:///:memory:",
    seed: Annotated[int, typer.Option("--seed", help="Draws the mutated statements and the wrong answers.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many changes and questions.", min=1)] = None,
    sabotage: Annotated[
        str | None, typer.Option("--sabotage", help="Break something on purpose: checker, scorer.", show_default=False)
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Database tasks through the whole loop: statements are checked, run on the real database and scored."""
    from mars.cli.output import run_async
    from mars.cli.progress import progress_bar
    from mars.evaluation.dbbench import evaluate_dbbench

    async def work() -> dict[str, Any]:
        with progress_bar("tasks") as progress:
            report = await evaluate_dbbench(
                file, model, database=database, seed=seed, limit=limit, sabotage=sabotage, progress=progress
            )
        return report.as_dict()

    values = run_async(work)
    if json:
        output.json(values)
        return
    output.print(_dbbench_table(values))
    if values["oracle_feedback"]:
        output.note("this model knows the references: it measures the environment and the Checker, not an agent")
    output.note(f"{values['database']}, {values['seconds']:.1f} s; --json says more")


def _dbbench_table(values: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (values["model"], "tasks", "passed", "approved"):
        table.add_column(name, justify="left" if name == values["model"] else "right")
    for name in ("changes", "questions", "perturbed"):
        if row := values.get(name):
            shown = "wrong answers" if name == "perturbed" else name
            table.add_row(shown, f"{row['tasks']:,}", f"{row['passed']:,}", f"{row.get('approved', '-')}")
    table.add_row("all", f"{values['tasks']:,}", f"{values['passed']:,}", "")
    for name, row in values.get("kinds", {}).items():
        table.add_row(f"stopped: {name.replace('_', ' ')}", f"{row['proposed']:,}", f"{row['stopped']:,}", "")
    for name in ("proposed_dangerous", "stopped", "reached_database", "outside_writes", "false_blocks"):
        table.add_row(name.replace("_", " "), f"{values[name]:,}", "", "")
    return table


def _checker_table(values: dict[str, Any]) -> Table:
    kinds = [kind for kind in values["drafts"] if kind != "gold"]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for name in ("accepts right", "abstains", *(f"rejects {kind}" for kind in kinds)):
        table.add_column(name, justify="right")
    rows = {"checker": values, "where evidence was recalled": values["recalled"], **values["baselines"]}
    for name, row in rows.items():
        figures = (row["accept_gold"], row["abstain"], *(row["reject"][kind] for kind in kinds))
        table.add_row(name, *("-" if figure is None else f"{figure:.3f}" for figure in figures))
    table.add_row("drafts", *(f"{values['drafts'][kind]:,}" for kind in ("gold", "gold", *kinds)))
    return table


def _recall_table(values: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("category")
    for name in ("questions", "R@5", "R@10", "R@20", "MRR"):
        table.add_column(name, justify="right")
    rows = {
        "all": {**values["recall"], "mrr": values["mrr"], "questions": values["questions"]},
        **values["by_category"],
    }
    for name, row in rows.items():
        figures = ("-" if row[key] is None else f"{row[key]:.3f}" for key in ("5", "10", "20", "mrr"))
        table.add_row(name, f"{row['questions']:,}", *figures)
    return table


def _arms_table(arms: dict[str, Any]) -> Table:
    table = Table(title="R@10 and MRR", title_justify="left", box=None, header_style="bold", pad_edge=False)
    for name in ("category", "decay", *arms):
        table.add_column(name, justify="right" if name in arms else "left")
    some = next(iter(arms.values()))
    for category in ("all", *some["with_decay"]["by_category"]):
        for name, shown in (("without_decay", "without"), ("with_decay", "with")):
            rows = [runs[name] for runs in arms.values()]
            found = [row["by_category"].get(category) or {**row["recall"], "mrr": row["mrr"]} for row in rows]
            table.add_row(category, shown, *(f"{one['10']:.3f} {one['mrr']:.3f}" for one in found))
    return table


def _embedder(folder: str | None) -> Embedder | None:
    if folder is None:
        return None
    from mars.memory.minilm import MiniLMEmbedder

    return MiniLMEmbedder(folder)
