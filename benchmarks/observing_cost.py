"""What observers cost a turn: none, the run log, OpenTelemetry with its SDK in memory.

python -m benchmarks.observing_cost [--turns 40]

A turn of the built-in reader over a memory in RAM, CPU time of the process (the log's thread counts), in rounds that
take turns; the median of the rounds. Without observers the hooks are asked and say no: their share is the time of one
such question, measured by itself, times how many a turn asks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import anyio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mars import Mars
from mars.observability import Observer, RunLog, Telemetry, read_runs
from mars.observability.observing import observations

ROUNDS = 5
"""How often each is measured; the order is the same in every round."""

ASKS = 2
"""How often a hook asks who observes, for one line of a log: a call is asked about before and after."""


def telemetry() -> Telemetry:
    """Return an observer whose spans and metrics stay in memory."""
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    return Telemetry(tracer_provider=tracing, meter_provider=MeterProvider(metric_readers=[InMemoryMetricReader()]))


async def seconds(observers: Sequence[Observer], turns: int) -> float:
    """Return the CPU time of one turn."""
    async with Mars.open("memory:", observers=observers) as mars:
        await mars.run("My sister lives in Oslo.", user="ann")
        began = time.process_time()
        for _ in range(turns):
            await mars.run("Where does my sister live?", user="ann")
        for one in observers:
            await one.flush()
        return (time.process_time() - began) / turns


def question() -> float:
    """Return the CPU time of asking who observes, where nobody does."""
    times = 200_000
    began = time.process_time()
    for _ in range(times):
        observations()
    return (time.process_time() - began) / times


def main() -> None:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=40, help="turns of each round")
    turns = parser.parse_args().turns
    found: dict[str, list[float]] = {"off": [], "log": [], "telemetry": []}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "runs.jsonl")
        for _ in range(ROUNDS):
            found["off"].append(anyio.run(seconds, [], turns))
            found["log"].append(anyio.run(seconds, [RunLog(path)], turns))
            found["telemetry"].append(anyio.run(seconds, [telemetry()], turns))
        runs = read_runs(path)
        lines, size = sum(len(run.lines) for run in runs) / len(runs), path.stat().st_size / len(runs)
    middle = {name: median(times) for name, times in found.items()}
    report: dict[str, Any] = {
        "turns": turns * ROUNDS,
        "cpu_ms": {name: round(1000 * one, 3) for name, one in middle.items()},
        "log_ratio": round(middle["log"] / middle["off"], 3),
        "telemetry_ratio": round(middle["telemetry"] / middle["off"], 3),
        "lines_a_turn": round(lines, 1),
        "bytes_a_turn": round(size),
        "off_share": round(ASKS * lines * question() / middle["off"], 6),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
