"""`mars conversations` and `mars resume`: what was talked about, what rests half done, and finishing it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from mars.cli.ask import ModelOption, show_result
from mars.cli.output import Database, JsonFlag, check_exists, output, parse_namespace, run_async, show_namespace

UnfinishedFlag = Annotated[bool, typer.Option("--unfinished", help="Only those whose last turn is not finished.")]


NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Whose it is, where several have one of this name.")
]


def conversations(
    conversation: Annotated[str | None, typer.Argument(help="Show how the last turn of this one ended.")] = None,
    turn: Annotated[str | None, typer.Option("--turn", help="Show this turn of it, by its id.")] = None,
    db: Database = None,
    namespace: NamespaceOption = None,
    unfinished: UnfinishedFlag = False,
    json: JsonFlag = False,
) -> None:
    """List the conversations of a database, and which of them rest half done; or show the result of a turn."""
    if conversation is None:
        for given, name in ((turn, "--turn"), (namespace, "--namespace")):
            if given is not None:
                raise typer.BadParameter("needs the conversation's name before it", param_hint=name)
        run_async(_list, db, unfinished, json)
    else:
        run_async(_show, conversation, db, namespace, turn, json)


def resume(
    conversation: Annotated[str, typer.Argument(help="The conversation, as `mars conversations` names it.")],
    db: Database = None,
    namespace: NamespaceOption = None,
    model: ModelOption = "reader",
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another process holds it.")] = False,
    json: JsonFlag = False,
) -> None:
    """Finish the turn that a crash, a cancellation or a shutdown left half done; one that is over is shown."""
    run_async(_resume, conversation, db, namespace, model, wait, json)


async def _list(db: str, unfinished: bool, json: bool) -> None:
    from mars.runtime import Mars

    check_exists(db)
    async with Mars.open(db) as mars:
        found = await (mars.unfinished() if unfinished else mars.conversations())
    if json:
        output.json([one.plain() for one in found])
        return
    table = Table("conversation", "namespace", "turns", "state", "task", box=None, header_style="dim")
    for one in found:
        state = "running" if one.running else one.why or "finished"
        table.add_row(Text(one.name), show_namespace(one.namespace), str(one.turns), state, Text(one.task or ""))
    output.print(table if found else Text("No conversations." if not unfinished else "Nothing is unfinished."))


async def _show(conversation: str, db: str, namespace: str | None, turn: str | None, json: bool) -> None:
    from mars.runtime import Mars

    check_exists(db)
    where = parse_namespace(namespace) if namespace is not None else None
    async with Mars.open(db) as mars:
        result = await mars.result(conversation, turn=turn, namespace=where)
    if json:
        output.json(result.plain())
    else:
        output.print(Text(result.task, style="dim"))
        show_result(result)


async def _resume(conversation: str, db: str, namespace: str | None, model: str, wait: bool, json: bool) -> None:
    from mars.runtime import Mars, drain_on_sigterm

    check_exists(db)
    where = parse_namespace(namespace) if namespace is not None else None
    async with Mars.open(db, model=model) as mars:
        with drain_on_sigterm(mars.drain):
            result = await mars.resume(conversation, namespace=where, on_busy="queue" if wait else "reject")
    if json:
        output.json(result.plain())
    else:
        show_result(result)
