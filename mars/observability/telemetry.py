"""OpenTelemetry: spans and metrics of runs, calls of models and tools, by the conventions for generative AI.

https://opentelemetry.io/docs/specs/semconv/gen-ai/ (in development there; names as of version 1.37). A run is a span
``invoke_agent``, each attempt at a model a ``chat`` within it, each action an ``execute_tool``. Only the API is used:
where the program has set up no SDK, all of it does nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from mars.errors import MissingExtra

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from mars.calls import Place, Wanted
    from mars.events import Event
    from mars.observability.observing import Began
    from mars.persistence.ledger import Key, Outcome
    from mars.results import RunResult

__all__ = ["Telemetry"]

PROVIDERS = {
    "openai-chat": "openai",
    "azure-openai-chat": "azure.ai.openai",
    "anthropic-chat": "anthropic",
    "chat-ollama": "ollama",
    "amazon_bedrock_chat": "aws.bedrock",
    "amazon_bedrock_converse_chat": "aws.bedrock",
    "chat-google-generative-ai": "gcp.gemini",
    "mistralai-chat": "mistral_ai",
    "groq-chat": "groq",
    "xai-chat": "x_ai",
    "chat-deepseek": "deepseek",
}
"""``gen_ai.provider.name`` by what LangChain's classes call themselves; others are named as they are."""

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Bounds of the histogram of durations, as the conventions advise."""

TOKENS = tuple(4**power for power in range(14))
"""Bounds of the histogram of tokens, as the conventions advise."""

TOLD = frozenset(
    {
        "draft",
        "withdrawn",
        "verdict",
        "reflection",
        "memory_read",
        "memory_write",
        "retry",
        "budget",
        "interrupt",
        "decision",
    }
)
"""Kinds of events that become events of the run's span."""


class Telemetry:
    """Tells OpenTelemetry of runs: an observer for ``Mars.open(…, observers=[Telemetry()])``.

    No words of users, models, tools or memories are in it, unless `content` asks for them.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        content: bool = False,
    ) -> None:
        """Use these providers, or the program's own.

        With `content`, the run's span has the task and the answer (``gen_ai.input.messages``,
        ``gen_ai.output.messages``), and events have their texts. Raises `MissingExtra` without OpenTelemetry's API.
        """
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise MissingExtra("OpenTelemetry", "otel") from error
        from mars import __version__

        self.tracer = trace.get_tracer("mars", __version__, tracer_provider=tracer_provider)
        """Makes the spans."""
        meter = metrics.get_meter("mars", __version__, meter_provider=meter_provider)
        self.durations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        """Seconds of runs, calls of models and calls of tools."""
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        """Tokens of calls of models."""
        self.content = content
        """Whether words are told."""

    def begin(self, began: Began) -> _TracedRun:
        """Begin the span of a run, within the span that the caller is in."""
        return _TracedRun(self, began)

    async def flush(self) -> None:
        """Do nothing: the SDK's processors are the program's."""


class _TracedRun:
    """The spans of one run."""

    def __init__(self, telemetry: Telemetry, began: Began) -> None:
        from opentelemetry.trace import set_span_in_context

        self._telemetry = telemetry
        self._began = time.monotonic()
        self._calls: dict[Key, tuple[Span, Wanted]] = {}
        self._about = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "mars",
            "gen_ai.agent.name": began.team or "mars",
        }
        self._span = telemetry.tracer.start_span(f"invoke_agent {began.team or 'mars'}", attributes=self._about)
        self._context = set_span_in_context(self._span)
        self._span.set_attribute("mars.operation", began.operation)
        if began.conversation is not None:
            self._span.set_attribute("gen_ai.conversation.id", began.conversation)
        if telemetry.content and began.task:
            self._span.set_attribute("gen_ai.input.messages", _message("user", began.task))

    @contextmanager
    def step(self) -> Iterator[None]:
        """Have what begins here be within the run's span."""
        from opentelemetry import context

        token = context.attach(self._context)
        try:
            yield
        finally:
            context.detach(token)

    def event(self, event: Event, place: Place) -> None:
        """Add an event to the run's span."""
        if event.kind.value not in TOLD:
            return
        told: dict[str, Any] = {"mars.role": event.role, "mars.iteration": place.iteration, **_numbers(event)}
        if self._telemetry.content:
            told["mars.text"] = event.text
        self._span.add_event(f"mars.{event.kind.value}", told)

    def call(self, wanted: Wanted) -> AbstractContextManager[Span]:
        """Begin the span of an attempt, in which it is made; it ends with its outcome."""
        from opentelemetry.trace import SpanKind, use_span

        about: dict[str, Any] = dict(_about(wanted))
        kind = SpanKind.CLIENT if wanted.kind == "model" else SpanKind.INTERNAL
        named = f"{about['gen_ai.operation.name']} {wanted.name}"
        about |= {"gen_ai.agent.name": wanted.key.role, "gen_ai.conversation.id": wanted.key.conversation}
        about |= {"mars.turn": wanted.key.turn, "mars.iteration": wanted.key.iteration}
        span = self._telemetry.tracer.start_span(named, kind=kind, attributes=about)
        self._calls[wanted.key] = span, wanted
        return use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def settled(self, key: Key, attempt: int, outcome: Outcome) -> None:
        """End the span of an attempt, and count it."""
        span, wanted = self._calls.pop(key, (None, None))
        if span is None or wanted is None:
            return
        about = dict(_about(wanted))
        wrong = _error(outcome)
        if wrong:
            about["error.type"] = wrong
            _fail(span, wrong)
        span.set_attributes({"mars.attempt": attempt, "mars.state": outcome.state})
        self._telemetry.durations.record(outcome.latency, about)
        if wanted.kind == "model" and outcome.state == "done":
            spent = {"input": outcome.input_tokens, "output": outcome.output_tokens}
            span.set_attributes({f"gen_ai.usage.{sort}_tokens": count for sort, count in spent.items()})
            span.set_attribute("mars.cached", outcome.cached)
            if outcome.cost is not None:
                span.set_attribute("mars.cost", outcome.cost)
            for sort, count in spent.items():
                self._telemetry.tokens.record(count, {**about, "gen_ai.token.type": sort})
        span.end()

    def end(self, result: RunResult | None, error: BaseException | None) -> None:
        """End the run's span."""
        about = dict(self._about)
        wrong = type(error).__name__ if error is not None else ""
        if result is not None:
            usage = result.usage
            self._span.set_attributes(
                {
                    "gen_ai.conversation.id": result.conversation,
                    "gen_ai.usage.input_tokens": usage.input_tokens,
                    "gen_ai.usage.output_tokens": usage.output_tokens,
                    "mars.turn": result.turn,
                    "mars.status": result.status.value,
                    "mars.approved": result.approved,
                    "mars.iterations": result.iterations,
                    "mars.calls": usage.calls,
                    "mars.tool_calls": usage.tool_calls,
                }
            )
            if usage.cost is not None:
                self._span.set_attribute("mars.cost", usage.cost)
            if self._telemetry.content:
                self._span.set_attribute("gen_ai.output.messages", _message("assistant", result.answer))
            if result.error is not None:
                wrong = result.status.value
        if wrong:
            about["error.type"] = wrong
            _fail(self._span, wrong)
        self._telemetry.durations.record(time.monotonic() - self._began, about)
        self._span.end()


def _about(wanted: Wanted) -> dict[str, str]:
    """Return the attributes that the span of a call and its metrics share."""
    if wanted.kind != "model":
        return {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.provider.name": "mars",
            "gen_ai.tool.name": wanted.name,
            "gen_ai.tool.type": "function",
        }
    family = wanted.family or "unknown"
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": PROVIDERS.get(family, family),
        "gen_ai.request.model": wanted.name,
    }


def _error(outcome: Outcome) -> str:
    """Return what kind of error an attempt ended with; empty for none. Its words may hold what a user said."""
    if outcome.state in ("done", "unissued"):
        failed = isinstance(outcome.body, Mapping) and outcome.body.get("failed") is True
        return "tool_error" if failed else ""
    return str(outcome.body).partition(":")[0] or outcome.state


def _fail(span: Span, wrong: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", wrong)
    span.set_status(Status(StatusCode.ERROR))


def _numbers(event: Event) -> dict[str, Any]:
    """Return what an event tells without words of anybody."""
    data, told = event.data, {}
    verdict = data.get("verdict")
    if isinstance(verdict, Mapping):
        told = {"mars.decision": verdict.get("decision"), "mars.score": verdict.get("score")}
        told["mars.issues"] = [str(issue.get("kind")) for issue in verdict.get("issues", ())]
    for name in ("records", "lessons"):
        if isinstance(data.get(name), list):
            told[f"mars.{name}"] = len(data[name])
    counts = {f"mars.{name}": value for name, value in data.items() if isinstance(value, int) and name != "iteration"}
    return {**{name: value for name, value in told.items() if value is not None}, **counts}


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}], ensure_ascii=False)
