"""How long the first token takes from the model to whoever reads `mars.stream`, within one process.

    python -m benchmarks.streaming [--turns 200] [--at-once 32]

A model notes the monotonic clock right before it hands its first piece to LangChain; the consumer of ``mars.stream``,
with what it hears by default, notes it when the token event is there. Turn after turn of whole turns: on SQLite with
checkpoints, ledger and lease (`kept`), and over a store in memory that leaves nothing, whose events come through
LangGraph's stream (`passing`). `at_once`: so many conversations at once on SQLite, whose model takes 0.2 s; there it
depends on what the other turns compute. Milliseconds. Prints a table for people, then one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from mars import Assistant, Mars, Team
from mars.events import TokenEvent

PIECES = ("The ", "item is ", "in room 7 ", "[m1].")


class TimedModel(BaseChatModel):
    """Says the same each time, and when its first piece was said to each task."""

    latency: float = 0.0
    """Seconds before the first piece."""
    _said: dict[str, float] = PrivateAttr(default_factory=dict)

    @property
    def said(self) -> dict[str, float]:
        """When the first piece of the newest reply was said, by the mark in its prompt, on the monotonic clock."""
        return self._said

    @property
    def _llm_type(self) -> str:
        return "timed"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError("it is streamed")

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        await asyncio.sleep(self.latency)
        prompt = str(messages[-1].content)
        mark = prompt[prompt.rindex("item ") + 5 :].partition("?")[0]
        for number, piece in enumerate(PIECES):
            message = AIMessageChunk(content=piece, chunk_position="last" if number == len(PIECES) - 1 else None)
            if number == 0:
                self._said[mark] = time.perf_counter()
            yield ChatGenerationChunk(message=message)


async def first_token(mars: Mars, model: TimedModel, mark: str, conversation: str | None) -> float:
    """Run a turn; return how many milliseconds its first token took."""
    took = None
    async for event in mars.stream(f"Where is item {mark}?", user="ann", conversation=conversation):
        if took is None and isinstance(event, TokenEvent):
            took = 1000 * (time.perf_counter() - model.said[mark])
    assert took is not None
    return took


def summed(times: list[float]) -> dict[str, float]:
    """Return the quantiles that count."""
    cuts = statistics.quantiles(times, n=100)
    return {"turns": len(times), "p50": round(cuts[49], 3), "p95": round(cuts[94], 3), "worst": round(max(times), 3)}


async def measured(url: str, turns: int, at_once: int, latency: float) -> dict[str, float]:
    """Return the times of so many turns, so many of them at once, each in a conversation of its own."""
    model = TimedModel(latency=latency)
    async with Mars.open(url, team=Team(assistant=Assistant(model=model), iterations=1)) as mars:
        for number in range(100):
            await mars.memory.add(f"Item {number} is in room {number}.", namespace=("ann",), speaker="ann")
        kept = not url.startswith("memory")
        await first_token(mars, model, "warm", "warm" if kept else None)
        times: list[float] = []

        async def turn_after_turn(worker: int) -> None:
            for number in range(turns // at_once):
                mark = f"{worker}-{number}"
                times.append(await first_token(mars, model, mark, f"c{worker}" if kept else None))

        await asyncio.gather(*(turn_after_turn(worker) for worker in range(at_once)))
    return summed(times)


async def run(turns: int, at_once: int) -> dict[str, Any]:
    """Measure all three."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            "kept": await measured(f"sqlite:///{Path(folder) / 'one.db'}", turns, 1, 0.0),
            "passing": await measured("memory:", turns, 1, 0.0),
            "at_once": await measured(f"sqlite:///{Path(folder) / 'many.db'}", turns, at_once, 0.2),
        }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=32)
    options = parser.parse_args()
    found = asyncio.run(run(options.turns, options.at_once))
    for name, one in found.items():
        cuts = "   ".join(f"{cut} {one[cut]:7.3f}" for cut in ("p50", "p95", "worst"))
        print(f"{name:10}{one['turns']:6.0f} turns   {cuts}")
    print(json.dumps({"first_token_ms": found, "conversations_at_once": options.at_once}))


if __name__ == "__main__":
    main()
