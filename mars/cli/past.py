"""`mars history`, `fork`, `replay` and `diff`: going back in a conversation, and comparing where that leads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from mars.cli.ask import ModelOption, show_result, show_step
from mars.cli.conversations import NamespaceOption
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

if TYPE_CHECKING:
    from mars.moments import Difference, Moment, Sides

Name = Annotated[str, typer.Argument(help="The conversation, as `mars conversations` names it.")]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="PLACE", help="Number, id or name of a turn, or id of a checkpoint.")
]
IntoOption = Annotated[str | None, typer.Option("--into", metavar="NAME", help="Name of the new conversation.")]


def history(
    conversation: Name,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many turns.")] = 20,
    before: Annotated[str | None, typer.Option("--before", metavar="TURN", help="Only turns before this one.")] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Show what is kept within each turn, too.")
    ] = False,
    db: Database = None,
    namespace: NamespaceOption = None,
    json: JsonFlag = False,
) -> None:
    """Show the turns of a conversation, the newest first, with the ids that fork, replay and diff take."""
    run_async(_history, conversation, limit, before, checkpoints, db, namespace, json)


def fork(
    conversation: Name,
    at: AtOption = None,
    into: IntoOption = None,
    db: Database = None,
    namespace: NamespaceOption = None,
    json: JsonFlag = False,
) -> None:
    """Make a conversation that goes on from a place in another one's past; that one stays as it is."""
    run_async(_fork, conversation, at, into, db, namespace, json)


def replay(
    conversation: Name,
    at: AtOption = None,
    into: IntoOption = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Answer from the turn's records: no model, no tool, nothing written.")
    ] = False,
    db: Database = None,
    namespace: NamespaceOption = None,
    model: ModelOption = "reader",
    json: JsonFlag = False,
) -> None:
    """Run a turn again, in a conversation of its own; or check whether its records still lead to the same end."""
    run_async(_replay, conversation, at, into, recorded, db, namespace, model, json)


def diff(
    a: Annotated[str, typer.Argument(help="The first conversation.")],
    b: Annotated[str | None, typer.Argument(help="The second one; the same if left out.")] = None,
    at: AtOption = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="PLACE", help="Where in the second one; its last turn if left out.")
    ] = None,
    db: Database = None,
    namespace: NamespaceOption = None,
    json: JsonFlag = False,
) -> None:
    """Compare two moments: words, drafts and verdicts, records, lessons, tools, cost."""
    run_async(_diff, (a, at), (b if b is not None else a, to), db, namespace, json)


def _opened(db: str, model: str | None = None) -> Any:
    from mars.runtime import Mars

    check_exists(db)
    return Mars.open(db, model=model, observers=run_log() if model else ())


def _where(namespace: str | None) -> Any:
    return parse_namespace(namespace) if namespace is not None else None


async def _history(
    conversation: str, limit: int, before: str | None, checkpoints: bool, db: str, namespace: str | None, json: bool
) -> None:
    async with _opened(db) as mars:
        found = await mars.history(
            conversation, limit=limit, before=before, checkpoints=checkpoints, namespace=_where(namespace)
        )
    if json:
        output.json([one.plain() for one in found])
        return
    for one in found:
        for line in _lines(one):
            output.print(line)


def _lines(one: Moment) -> Iterator[Text]:
    """Yield a turn as two lines, with the whole id that other commands take; a checkpoint as one, indented."""

    def line(text: str, style: str = "") -> Text:
        return Text(text, style=style, no_wrap=True, overflow="ignore")

    follows = f"next {one.next}" if one.next else ""
    if one.kind == "checkpoint":
        draft = f"draft {one.draft}" if one.draft else ""
        yield line("    " + "  ".join(filter(None, (one.id, one.decision, follows, draft))), "dim")
        return
    asked = one.at.strftime("%Y-%m-%d %H:%M") if one.at else ""
    state = ", ".join(filter(None, (one.status, one.decision, follows, "" if one.kept else "words only")))
    head = (f"{one.number:>3}", one.id, asked, state, _cost(one), f"[{one.name}]" if one.name else "")
    yield line("  ".join(filter(None, head)), "" if one.kept else "dim")
    yield line(f"     {one.task} -> {one.answer or one.draft or '...'}")


def _cost(one: Moment) -> str:
    if one.usage is None:
        return ""
    tokens = one.usage.input_tokens + one.usage.output_tokens
    return f"{one.usage.calls} call{'s' if one.usage.calls != 1 else ''}, {tokens:,} tokens" + (
        f", ${one.usage.cost:.4f}" if one.usage.cost else ""
    )


async def _fork(
    conversation: str, at: str | None, into: str | None, db: str, namespace: str | None, json: bool
) -> None:
    async with _opened(db) as mars:
        made = await mars.fork(conversation, at=at, into=into, namespace=_where(namespace))
    if json:
        output.json(made.plain())
        return
    turns = f"{made.turns} turn{'s' if made.turns != 1 else ''}"
    output.print(Text(f"{made.name}  ({show_namespace(made.namespace)}, {turns})"))
    if made.turn is not None:
        output.note(f"its last turn is half done: mars resume {made.name!r}")


async def _replay(
    conversation: str,
    at: str | None,
    into: str | None,
    recorded: bool,
    db: str,
    namespace: str | None,
    model: str,
    json: bool,
) -> None:
    async with _opened(db, model) as mars:
        shown = None if json else show_step
        place: dict[str, Any] = {"at": at, "into": into, "namespace": _where(namespace)}
        found = await mars.replay(conversation, recorded=recorded, progress=shown, **place)
    if json:
        output.json(found.plain())
        return
    steps = f"{found.same_steps} step{'s' if found.same_steps != 1 else ''}"
    if found.result is not None:
        show_result(found.result)
    step = found.first_difference
    if step is None:
        output.print(Text(f"the same as turn {found.of.number}: {steps}", style="green"))
    else:
        output.print(Text(f"after {steps} the {step.what} differs, in round {step.iteration} ({step.role}):", "yellow"))
        output.print(Text(f"- {step.recorded or '(nothing)'}", "red"))
        output.print(Text(f"+ {step.replayed or '(nothing)'}", "green"))
    if found.conversation is not None:
        output.note(f"it is conversation {found.conversation!r}")


async def _diff(
    a: tuple[str, str | None], b: tuple[str, str | None], db: str, namespace: str | None, json: bool
) -> None:
    async with _opened(db) as mars:
        found = await mars.diff(a, b, namespace=_where(namespace))
    if json:
        output.json(found.plain())
    else:
        _print(found)


def _print(found: Difference) -> None:
    """Print what differs as lines of a diff."""
    for sign, one, style in (("-", found.a, "red"), ("+", found.b, "green")):
        output.print(Text(f"{sign}{sign}{sign} {one.conversation}, {one.kind} {one.number} ({one.id})", style))
    for name, (first, second) in found.changed.items():
        _sides(name, [first] if first else [], [second] if second else [])
    shown: list[tuple[str, Sides[Any], Any]] = [
        ("said", found.said, lambda one: f"{one.turn} {one.speaker}: {one.text}"),
        ("drafts", found.drafts, _draft),
        ("records", found.records, lambda one: f"{one.record} {one.text}"),
        ("lessons", found.lessons, str),
        ("tools", found.tools, lambda one: f"{one.tool}{one.arguments} -> {one.result}"),
    ]
    for name, sides, words in shown:
        if sides:
            _sides(f"{name} ({sides.both} the same)", map(words, sides.a), map(words, sides.b))
    if found.same:
        output.print(Text("no difference", style="dim"))
    costs = [_cost(one) for one in (found.a, found.b)]
    if len(set(costs)) > 1:
        _sides("cost", costs[:1], costs[1:])


def _sides(title: str, a: Any, b: Any) -> None:
    output.print(Text(title, style="bold"))
    for one in a:
        output.print(Text(f"- {one}", style="red"))
    for one in b:
        output.print(Text(f"+ {one}", style="green"))


def _draft(one: Any) -> str:
    issues = f" ({'; '.join(one.issues)})" if one.issues else ""
    return f"{one.iteration} {one.draft} [{one.decision} {one.score:.2f}]{issues}"
