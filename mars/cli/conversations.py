"""`mars conversations`, `resume` and `decide`: what was talked about, what rests half done, and finishing it."""

from __future__ import annotations

from json import dumps, loads
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from mars.cli.ask import ModelOption, WaitFlag, end, show_result
from mars.cli.output import (
    Database,
    JsonFlag,
    check_exists,
    output,
    parse_namespace,
    run_async,
    run_log,
    show_namespace,
)

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
    wait: WaitFlag = False,
    json: JsonFlag = False,
) -> None:
    """Finish the turn that a crash, a cancellation or a shutdown left half done; one that is over is shown.

    Exit code 3: it is over without an answer.
    """
    run_async(_resume, conversation, db, namespace, model, wait, json)


def decide(
    conversation: Annotated[str, typer.Argument(help="The conversation whose turn waits.")],
    approve: Annotated[bool, typer.Option("--approve", help="Let the action run.")] = False,
    reject: Annotated[str | None, typer.Option("--reject", metavar="WHY", help="Do not run it; say why.")] = None,
    edit: Annotated[str | None, typer.Option("--edit", metavar="JSON", help="Run it with these arguments.")] = None,
    answer: Annotated[str | None, typer.Option("--answer", metavar="TEXT", help="Answer the question.")] = None,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides; kept with the decision.")] = "",
    db: Database = None,
    namespace: NamespaceOption = None,
    json: JsonFlag = False,
) -> None:
    """Show what people were asked in a conversation; with an option, decide what waits. `mars resume` then goes on."""
    given = {"approve": approve or None, "reject": reject, "edit": edit, "answer": answer}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise typer.BadParameter(f"decide by one of them, not by {' and '.join(chosen)}")
    decision = _decision(chosen[0], given[chosen[0]], by) if chosen else None
    run_async(_decide, conversation, decision, db, namespace, json)


def _decision(choice: str, value: object, by: str) -> dict[str, Any]:
    """Return a decision as its fields."""
    if choice == "edit":
        try:
            arguments = loads(str(value))
        except ValueError as error:
            raise typer.BadParameter(f"no JSON: {error}", param_hint="--edit") from None
        return {"choice": choice, "arguments": arguments, "by": by}
    return {"choice": choice, "text": "" if value is True else str(value), "by": by}


async def _decide(
    conversation: str, decision: dict[str, Any] | None, db: str, namespace: str | None, json: bool
) -> None:
    from mars.runtime import Mars

    check_exists(db)
    where = parse_namespace(namespace) if namespace is not None else None
    async with Mars.open(db) as mars:
        if decision is not None:
            await mars.decide(conversation, decision, namespace=where)
        found = await mars.asked(conversation, namespace=where)
    if json:
        output.json([one.plain() for one in found])
        return
    table = Table("asked", "what", "with", "decided", "by", "why", box=None, header_style="dim")
    for one in found:
        row = one.decision
        decided = row.choice if row else "waits: " + ", ".join(one.choices)
        what = Text(one.tool), Text(dumps(one.arguments, ensure_ascii=False))
        asked_at = one.asked_at.isoformat(" ", "seconds")
        table.add_row(asked_at, *what, decided, Text(row.by if row else ""), Text(row.text if row else ""))
    output.print(table if found else Text("Nobody was asked anything."))


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
    async with Mars.open(db, model=model, observers=run_log()) as mars:
        with drain_on_sigterm(mars.drain):
            result = await mars.resume(conversation, namespace=where, on_busy="queue" if wait else "reject")
    if json:
        output.json(result.plain())
    else:
        show_result(result)
    end(result)
