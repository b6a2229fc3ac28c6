"""OpenTelemetry: what a run tells the SDK's exporters in memory, and what it keeps to itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from langchain_core.tools import StructuredTool

from mars import Mars, Team
from mars.observability import Began, Telemetry
from mars.observability.telemetry import _TracedRun
from mars.retrying import CallPolicy
from mars.subgraph import agent_tool
from mars.testing import ScriptedModel, Step

trace = pytest.importorskip("opentelemetry.sdk.trace")
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

ALONE = Team(without=frozenset({"checker", "reflection"}))
WORD = "Xylophone"
"""Said by user, tool and model; must not be found where no content is asked for."""


class Seen:
    """Providers of the SDK that export into memory."""

    def __init__(self, kind: type[Telemetry] = Telemetry, **options: Any) -> None:
        self.spans_of = InMemorySpanExporter()
        self.tracing = trace.TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self.spans_of))
        self.reader = InMemoryMetricReader()
        meters = MeterProvider(metric_readers=[self.reader])
        self.observer = kind(tracer_provider=self.tracing, meter_provider=meters, **options)

    @property
    def spans(self) -> Sequence[Any]:
        """Finished spans, in the order in which they ended."""
        return self.spans_of.get_finished_spans()

    def named(self, beginning: str) -> list[Any]:
        """The spans whose name begins like this."""
        return [span for span in self.spans if span.name.startswith(beginning)]

    def points(self, name: str) -> list[Any]:
        """The data points of a metric."""
        data: Any = self.reader.get_metrics_data()
        metrics = [one for part in data.resource_metrics for scope in part.scope_metrics for one in scope.metrics]
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]

    def strays(self) -> list[str]:
        """Names of the spans of calls that are not within the span of a run."""
        runs = {span.context.span_id for span in self.named("invoke_agent")}
        calls = [*self.named("chat"), *self.named("execute_tool")]
        assert calls
        return [span.name for span in calls if span.parent is None or span.parent.span_id not in runs]

    def everything(self) -> str:
        """All that was exported, as text."""
        spans = "".join(span.to_json() for span in self.spans)
        data: Any = self.reader.get_metrics_data()
        return spans + str(data.to_json() if data is not None else "")


def weather(town: str) -> str:
    """Return the weather of a town."""
    return f"Sun over {town} and {WORD}"


def told(messages: Any) -> Step | str:
    """Ask for the weather, then say what came."""
    last = messages[-1]
    if last.type == "tool":
        return Step(text=f"It is: {last.content}", tokens=(30, 7))
    return Step(tool_calls=(("weather", {"town": f"Oslo {WORD}"}),), tokens=(20, 5))


def url_of(kept: bool, folder: Path) -> str:
    """A memory whose runs are kept, or are not."""
    return f"sqlite:///{folder / 'life.db'}" if kept else "memory:"


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "passing"])
async def test_a_run_is_a_span_with_its_calls_within(kept: bool, tmp_path: Path) -> None:
    """invoke_agent, chat and execute_tool: names, kinds, attributes and parents are those of the conventions."""
    seen = Seen()
    tools, model = [StructuredTool.from_function(weather)], ScriptedModel(told)
    async with Mars.open(
        url_of(kept, tmp_path), model=model, tools=tools, team=ALONE, observers=[seen.observer]
    ) as mars:
        with seen.tracing.get_tracer("test").start_as_current_span("caller") as caller:
            result = await mars.run(f"What is the weather, {WORD}?", conversation="c")
    (run,) = seen.named("invoke_agent")
    assert (run.name, run.kind, run.parent.span_id) == (
        "invoke_agent mars",
        SpanKind.INTERNAL,
        caller.get_span_context().span_id,
    )
    assert run.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert run.attributes["gen_ai.conversation.id"] == "c"
    assert run.attributes["mars.status"] == "completed"
    assert (run.attributes["gen_ai.usage.input_tokens"], run.attributes["gen_ai.usage.output_tokens"]) == (50, 12)
    chats = seen.named("chat")
    assert [span.name for span in chats] == ["chat mars-scripted"] * 2
    assert {span.kind for span in chats} == {SpanKind.CLIENT}
    assert [span.attributes["gen_ai.usage.input_tokens"] for span in chats] == [20, 30]
    assert [span.attributes["gen_ai.usage.output_tokens"] for span in chats] == [5, 7]
    assert {span.attributes["gen_ai.agent.name"] for span in chats} == {"assistant"}
    assert {span.attributes["gen_ai.request.model"] for span in chats} == {"mars-scripted"}
    (tool,) = seen.named("execute_tool")
    assert (tool.name, tool.kind) == ("execute_tool weather", SpanKind.INTERNAL)
    assert tool.attributes["gen_ai.tool.name"] == "weather"
    assert seen.strays() == []
    assert len({span.context.trace_id for span in seen.spans}) == 1
    assert {event.name for event in run.events} >= {"mars.memory_read", "mars.draft", "mars.memory_write"}
    assert WORD in result.answer
    assert WORD not in seen.everything()


async def test_tokens_and_durations_are_counted(tmp_path: Path) -> None:
    """The histograms have a point for each kind of tokens, and for each operation, with their sums."""
    seen = Seen()
    tools, model = [StructuredTool.from_function(weather)], ScriptedModel(told)
    async with Mars.open("memory:", model=model, tools=tools, team=ALONE, observers=[seen.observer]) as mars:
        await mars.run("What is the weather?")
    tokens = {
        point.attributes["gen_ai.token.type"]: (point.sum, point.count)
        for point in seen.points("gen_ai.client.token.usage")
    }
    assert tokens == {"input": (50, 2), "output": (12, 2)}
    durations = {
        point.attributes["gen_ai.operation.name"]: point for point in seen.points("gen_ai.client.operation.duration")
    }
    assert {name: point.count for name, point in durations.items()} == {"chat": 2, "execute_tool": 1, "invoke_agent": 1}
    assert tuple(durations["chat"].explicit_bounds)[:3] == (0.01, 0.02, 0.04)
    assert durations["invoke_agent"].sum >= durations["chat"].sum


class Unattached(Telemetry):
    """Sabotaged: tasks that a run begins do not inherit its span."""

    def begin(self, began: Began) -> _TracedRun:
        """Return what attaches nothing."""

        class Run(_TracedRun):
            def step(self) -> AbstractContextManager[None]:  # type: ignore[override]
                return nullcontext()

        return Run(self, began)


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "passing"])
async def test_a_span_that_is_not_attached_is_noticed(kept: bool, tmp_path: Path) -> None:
    """Without the context across tasks, calls are outside of the run's span."""
    seen = Seen(Unattached)
    async with Mars.open(
        url_of(kept, tmp_path), model=ScriptedModel(["Hm."]), team=ALONE, observers=[seen.observer]
    ) as mars:
        await mars.run("Who?")
    assert seen.strays() == ["chat mars-scripted"]


async def test_runs_at_once_keep_their_calls_apart(tmp_path: Path) -> None:
    """Each call of two turns that run at the same time is within the span of its own."""
    seen, both = Seen(), anyio.Event()

    async def meet(town: str) -> str:
        """Wait until both are here."""
        nonlocal both
        if town == "Rome":
            both.set()
        await both.wait()
        return town

    def calls(messages: Any) -> Step | str:
        towns = [town for town in ("Oslo", "Rome") if town in str(messages)]
        return "Done." if messages[-1].type == "tool" else Step(tool_calls=(("meet", {"town": towns[0]}),))

    tool = StructuredTool.from_function(coroutine=meet, name="meet")
    async with (
        Mars.open(
            url_of(True, tmp_path), model=ScriptedModel(calls), tools=[tool], team=ALONE, observers=[seen.observer]
        ) as mars,
        anyio.create_task_group() as group,
    ):
        for town in ("Oslo", "Rome"):
            group.start_soon(partial(mars.run, f"Meet in {town}.", conversation=town))
    runs = {span.context.span_id: span.attributes["gen_ai.conversation.id"] for span in seen.named("invoke_agent")}
    calls_seen = [*seen.named("chat"), *seen.named("execute_tool")]
    assert [runs[span.parent.span_id] for span in calls_seen] == [
        span.attributes["gen_ai.conversation.id"] for span in calls_seen
    ]
    assert len(calls_seen) == 6


async def test_an_agent_within_an_agent_is_within_its_tool(tmp_path: Path) -> None:
    """A Mars that another one calls as a tool has its run within the span of that tool."""
    seen = Seen()
    async with (
        Mars.open("memory:", model=ScriptedModel(["In Oslo."]), team=ALONE, observers=[seen.observer]) as inner,
        Mars.open(
            "memory:",
            model=ScriptedModel([Step(tool_calls=(("ask_memory", {"question": "Where?"}),)), "In Oslo, it says."]),
            tools=[agent_tool(inner)],
            team=ALONE,
            observers=[seen.observer],
        ) as outer,
    ):
        await outer.run("Where is she?")
    (tool,) = seen.named("execute_tool")
    first, last = seen.named("invoke_agent")
    assert first.parent.span_id == tool.context.span_id
    assert last.parent is None
    assert len(seen.named("chat")) == 3
    assert len({span.context.trace_id for span in seen.spans}) == 1


def test_the_blocking_twin_takes_its_callers_span(tmp_path: Path) -> None:
    """A run by `open_sync`, which works in a thread of its own, is within the span that the caller is in."""
    seen = Seen()
    with (
        Mars.open_sync("memory:", model=ScriptedModel(["Hm."]), team=ALONE, observers=[seen.observer]) as mars,
        seen.tracing.get_tracer("test").start_as_current_span("caller") as caller,
    ):
        mars.run("Who?")
    (run,) = seen.named("invoke_agent")
    assert run.parent.span_id == caller.get_span_context().span_id
    assert seen.strays() == []


async def test_what_fails_says_what_kind_of_error_it_was(tmp_path: Path) -> None:
    """Each attempt is a span; one that failed has its error's type, and not its words."""
    seen = Seen()
    script = [Step(error=ConnectionError(f"down {WORD}")), Step(error=ValueError(f"no {WORD}"))]
    policy = CallPolicy(first_wait=0.0)
    async with Mars.open(
        "memory:", model=ScriptedModel(script), team=ALONE, policy=policy, observers=[seen.observer]
    ) as mars:
        result = await mars.run("Who?")
    assert result.status.value == "task_error"
    spans = seen.named("chat")
    assert [span.attributes["error.type"] for span in spans] == ["ConnectionError", "ValueError"]
    assert [span.attributes["mars.state"] for span in spans] == ["retry", "failed"]
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}
    (run,) = seen.named("invoke_agent")
    assert (run.status.status_code, run.attributes["error.type"]) == (StatusCode.ERROR, "task_error")
    assert WORD not in seen.everything()


async def test_words_are_told_where_they_are_asked_for() -> None:
    """With `content`, the run's span has the task and the answer by the conventions."""
    seen = Seen(content=True)
    async with Mars.open("memory:", model=ScriptedModel(["In Oslo."]), team=ALONE, observers=[seen.observer]) as mars:
        await mars.run("Where?")
    (run,) = seen.named("invoke_agent")
    (asked,) = json.loads(run.attributes["gen_ai.input.messages"])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": "Where?"}]}
    assert "In Oslo." in run.attributes["gen_ai.output.messages"]


def test_without_an_sdk_nothing_happens_and_without_the_api_a_hint() -> None:
    """Where the program has set up nothing, a run goes as ever; where the API is missing, the extra is named."""
    code = (
        "import sys\n"
        "from mars import Mars\n"
        "from mars.errors import MissingExtra\n"
        "from mars.observability import Telemetry\n"
        "with Mars.open_sync('memory:', observers=[Telemetry()]) as mars:\n"
        "    print(mars.run('My cat is called Miso.').status)\n"
        "from opentelemetry.trace import NonRecordingSpan\n"
        "assert isinstance(Telemetry().tracer.start_span('x'), NonRecordingSpan)\n"
        "for name in [name for name in sys.modules if name.startswith('opentelemetry')]:\n"
        "    del sys.modules[name]\n"
        "sys.modules['opentelemetry'] = None\n"
        "try:\n"
        "    Telemetry()\n"
        "except MissingExtra as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[0] == "completed"
    assert "mars-runtime[otel]" in done.stdout
