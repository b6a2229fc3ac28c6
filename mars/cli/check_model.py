"""`mars check-model`: which roles a model can play, by thirty probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from mars.cli.output import JsonFlag, output, run_async
from mars.errors import InvalidSetting

if TYPE_CHECKING:
    from mars.evaluation.model_check import ModelCheck

UNFIT = 1
"""Exit code where the model cannot play a role that was asked for."""

UNKNOWN = 2
"""Exit code where that is not known, because some probes never reached the model."""

ModelName = Annotated[
    str, typer.Argument(help="The model: provider:name, such as openai:gpt-4o-mini, or reader.", show_default=False)
]
"""The model to check."""

RoleOption = Annotated[
    list[str] | None,
    typer.Option("--role", help="A role that it must be able to play, again for more; all four if left out."),
]
"""The option ``--role``."""

TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds until a reply must be there.")]
"""The option ``--timeout``."""

AtOnceOption = Annotated[int, typer.Option("--at-once", min=1, help="How many probes run at the same time.")]
"""The option ``--at-once``."""


def check_model(
    model: ModelName,
    role: RoleOption = None,
    timeout: TimeoutOption = 30.0,
    at_once: AtOnceOption = 4,
    json: JsonFlag = False,
) -> None:
    """Ask a model thirty things, and say which roles it can play; exit code 1 if it cannot play all, 2 if unreachable.

    Thirty to forty calls, of which a provider may ask its price: the card says how many tokens they were.
    """
    from mars.cli.progress import progress_bar
    from mars.evaluation.model_check import NEEDS

    wanted = role or list(NEEDS)
    unknown = sorted(set(wanted) - set(NEEDS))
    if unknown:
        raise InvalidSetting(f"there is no role {unknown[0]!r}; the roles are {', '.join(NEEDS)}")
    with progress_bar("probes") as progress:
        check: ModelCheck = run_async(_checked, model, at_once, timeout, progress)
    if json:
        output.json(check.as_dict())
    else:
        _show(check)
    missing = {name for name in wanted if not check.roles[name]}
    if missing:
        raise typer.Exit(UNKNOWN if missing <= check.undecided else UNFIT)


async def _checked(model: str, at_once: int, timeout: float, progress: Any) -> ModelCheck:
    from mars.evaluation.model_check import check_model as check

    return await check(model, at_once=at_once, timeout=timeout, progress=progress)


def _show(check: ModelCheck) -> None:
    """Print the scorecard: probes, then abilities and roles."""
    values = check.as_dict()
    table = Table("", "ability", "probe", "what came instead", box=None, header_style="dim", pad_edge=False)
    for outcome in check.outcomes:
        mark = Text("pass", "green") if outcome.passed else Text("fail", "red")
        kind = outcome.kind.replace("_", " ")
        came = ": ".join(filter(None, (outcome.why, outcome.said))) if outcome.why else ""
        table.add_row(mark, kind, Text(outcome.name), Text(came[:160]))
    output.print(table)
    shares = ", ".join(f"{kind.replace('_', ' ')} {one['passed']}/{one['of']}" for kind, one in values["kinds"].items())
    output.print(Text(f"\n{values['passed']} of {values['probes']}: {shares}"))
    for role, fits in check.roles.items():
        unfit = "was not shown to" if role in check.undecided else "cannot"
        output.print(Text(f"{'can' if fits else unfit} play the {role}", "green" if fits else "red"))
    if check.unanswered:
        output.error(
            f"{check.unanswered} of {values['probes']} probes never reached the model and count as failed, which says "
            "nothing about it: try again with --at-once 1, or with a longer --timeout"
        )
    usage = values["usage"]
    cost = "no price known" if usage["cost"] is None else f"{usage['cost']:.4f} dollars"
    tokens = f"{usage['input_tokens']:,} tokens in, {usage['output_tokens']:,} out"
    output.note(f"{values['model']}: {usage['calls']} calls, {tokens}, {cost}, {values['seconds']:.1f} s")
