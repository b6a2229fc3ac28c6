"""`mars ask`: one question, answered from a memory, checked, with its sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from mars.cli.output import (
    Database,
    JsonFlag,
    NamespaceOption,
    known_namespace,
    open_memory,
    output,
    run_async,
    run_log,
)
from mars.errors import ConversationBusy
from mars.events import EVERYTHING, EventKind
from mars.language import asks
from mars.results import RunStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mars.events import AnyEvent, Event
    from mars.memory.interfaces import Namespace
    from mars.results import RunResult
    from mars.runtime import Mars
    from mars.team import Team

ModelOption = Annotated[
    str, typer.Option("--model", help="reader (built in, no key), or provider:name.", envvar="MARS_MODEL")
]
"""The option ``--model``."""

WaitFlag = Annotated[bool, typer.Option("--wait", help="Wait while another process holds the conversation.")]
"""The option ``--wait``."""

UNANSWERED = 3
"""Exit code where a turn is over without an answer: a budget is out, or a model failed."""

MORE = "ask again with more of it: --max-calls, --max-tokens, --max-cost"
"""What helps where a budget is out."""


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    namespace: NamespaceOption,
    db: Database = None,
    user: Annotated[
        str | None, typer.Option(help='Who asks: "I" means this person. The last label of the namespace if left out.')
    ] = None,
    model: ModelOption = "reader",
    k: Annotated[int, typer.Option("-k", help="How many records the first recall brings.")] = 8,
    iterations: Annotated[int, typer.Option(help="The most drafts.")] = 3,
    max_calls: Annotated[
        int | None, typer.Option(help="The most calls of models; then the best draft is shown.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The most tokens, read and written together.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="The most it may cost, in US dollars.")] = None,
    remember: Annotated[bool, typer.Option("--remember", help="Store the turn in the memory, too.")] = False,
    conversation: Annotated[
        str | None, typer.Option(help="Ask in this conversation: durable, and resumable by `mars resume`.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Ask at most once in the conversation; asked again, its turn is finished, or told."),
    ] = None,
    wait: WaitFlag = False,
    json: JsonFlag = False,
) -> None:
    """Answer a question from a memory, with sources, retention and the Checker's verdict. Exit code 3: no answer."""
    from mars.persistence.budgets import Budget
    from mars.team import Team

    budget = Budget(calls=max_calls, tokens=max_tokens, cost=max_cost)
    team = Team(k=k, iterations=iterations, remember=remember, budget=budget)
    if question.strip() and not remember and not asks(question):
        question = question.rstrip(" .!") + "?"  # here nothing is told: what is not stored must not be "Noted."
    run_async(_ask, question, namespace, db, user, model, team, conversation, key, wait, json)


async def _ask(
    question: str,
    namespace: Namespace,
    db: str,
    user: str | None,
    model: str,
    team: Team,
    conversation: str | None,
    key: str | None,
    wait: bool,
    json: bool,
) -> None:
    from mars.models import resolve_model
    from mars.runtime import Mars

    answering = resolve_model(model)
    kept = db if conversation is not None and db != "memory:" else None
    asking: dict[str, Any] = {"user": user or namespace[-1], "namespace": namespace, "conversation": conversation}
    result: RunResult | None = None
    async with open_memory(db) as memory:
        await known_namespace(memory, namespace)
        async with Mars.open(memory, model=answering, team=team, checkpointer=kept, observers=run_log()) as mars:
            stream = patient if wait else Mars.stream
            async for event in stream(mars, question, **asking, key=key, heard=EVERYTHING):
                if not json:
                    show_step(event)
                result = event.result or result
    assert result is not None
    if json:
        output.json(result.plain())
    else:
        show_result(result)
    end(result, MORE if key is None else f"{MORE}; and with another --key, this one stands for the turn that is over")


async def patient(mars: Mars, task: str, **options: Any) -> AsyncIterator[AnyEvent]:
    """Yield the events of a turn; where another run holds the conversation, say so and wait for it."""
    try:
        async for event in mars.stream(task, **options):
            yield event
        return
    except ConversationBusy as error:
        output.note(f"  {str(error).partition(': wait')[0]}; waiting")
    async for event in mars.stream(task, **options, on_busy="queue"):
        yield event


def unanswered(result: RunResult, remedy: str = MORE) -> str | None:
    """Return why a turn that is over has no answer, and what helps; None if it has one, or goes on."""
    if result.answer or result.status in (RunStatus.COMPLETED, RunStatus.WAITING):
        return None
    if result.status is RunStatus.BUDGET_EXHAUSTED:
        return f"no answer: {result.stop_reason}; {remedy}"
    return f"no answer: {result.error or result.status.value}"


def end(result: RunResult, remedy: str = MORE) -> None:
    """End a command as its turn ended: without an answer with one line on stderr and `UNANSWERED`."""
    words = unanswered(result, remedy)
    if words is not None:
        output.error(words)
        raise typer.Exit(UNANSWERED)


def show_step(event: Event) -> None:
    """Print one line on standard error for what just happened, if it is worth one."""
    if event.kind is EventKind.MEMORY_READ:
        output.note(f"memory     {event.text}")
    elif event.kind is EventKind.DRAFT:
        output.note(f"assistant  {event.text}")
    elif event.kind is EventKind.VERDICT:
        issues = event.data.get("verdict", {}).get("issues", [])
        why = "; ".join(f"{issue['kind']}: {issue['evidence']}" for issue in issues)
        output.note(f"checker    {event.text}" + (f" ({why})" if why else ""))
    elif event.kind is EventKind.REFLECTION:
        output.note(f"reflector  {event.text}")


def show_result(result: RunResult) -> None:
    """Print the answer, how the run ended, and the sources with their retention."""
    output.print(Text(result.answer or "(no answer)", style="bold"))
    verdict = "approved" if result.approved else "not approved"
    drafts = f"{result.iterations} draft{'s' if result.iterations != 1 else ''}"
    output.print(Text(f"{verdict} · {result.status.value} · {drafts}", style="green" if result.approved else "yellow"))
    output.print(Text(spent(result), style="dim"))
    if result.status is RunStatus.BUDGET_EXHAUSTED:
        output.print(Text(result.stop_reason, style="yellow"))
    if result.error:
        output.print(Text(result.error, style="red"))
    if result.sources:
        table = Table("said on", "by", "source", "retention", "relevance", box=None, header_style="dim")
        for source in result.sources:
            day, who = source.said_at.date().isoformat(), source.speaker or ""
            table.add_row(day, Text(who), Text(source.text), f"{source.retention:.0%}", f"{source.relevance:.2f}")
        output.print(table)


def spent(result: RunResult) -> str:
    """Return what a turn has spent in a line: calls, tokens, cost where it is known, seconds."""
    usage = result.usage
    parts = [f"{usage.calls} call{'s' if usage.calls != 1 else ''}"]
    if usage.input_tokens or usage.output_tokens:
        parts.append(f"{usage.input_tokens} + {usage.output_tokens} tokens")
    if usage.cost:
        parts.append(f"${usage.cost:.4f}")
    return " · ".join([*parts, f"{result.latency:.1f} s"])
