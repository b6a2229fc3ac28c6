"""What must hold of `aget_delta_channel_history`, by the contract in `langgraph.checkpoint.base.DeltaChannelHistory`.

In the form of a capability of langgraph-checkpoint-conformance. Each check builds a line of checkpoints and compares
the answer with what the contract says, and with LangGraph's own slow implementation in `BaseCheckpointSaver`.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.serde.types import _DeltaSnapshot

CAPABILITY = "delta_channel_history"
FIRST, LAST = "0" * 8, "f" * 8
Config = dict[str, Any]
OnResult = Callable[[str, str, bool, str | None], None]


class Line:
    """Checkpoints on a new thread, each the parent of the next."""

    def __init__(self, saver: Any) -> None:
        self.saver = saver
        self.head: Config = {"configurable": {"thread_id": str(uuid4()), "checkpoint_ns": ""}}

    async def step(self, values: dict[str, Any], *writes: tuple[str, Any], task: str = LAST, path: str = "") -> Config:
        """Add a checkpoint with these channel values, and then writes of one task; return its config."""
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = values
        checkpoint["channel_versions"] = dict.fromkeys(values, 1)
        self.head = await self.saver.aput(self.head, checkpoint, {"step": 0}, checkpoint["channel_versions"])
        await self.saver.aput_writes(self.head, writes, task, path)
        return self.head

    async def history(self, *channels: str, at: Config | None = None) -> dict[str, tuple[list[Any], Any]]:
        """Return each channel's written values and its seed, "absent" where it has none."""
        asked: Any = {"config": at or self.head, "channels": list(channels)}
        found = await self.saver.aget_delta_channel_history(**asked)
        reference = await BaseCheckpointSaver.aget_delta_channel_history(self.saver, **asked)
        assert found == reference, f"{found} differs from LangGraph's own walk {reference}"
        return {one: ([write[2] for write in got["writes"]], got.get("seed", "absent")) for one, got in found.items()}


async def writes_are_oldest_first(saver: Any) -> None:
    """From the nearest stored value, with what was written at it, to the parent of the target."""
    line = Line(saver)
    await line.step({"ch": ["old"]}, ("ch", "before"))
    await line.step({"ch": _DeltaSnapshot(["seed"])}, ("ch", 1))
    for number in (2, 3):
        await line.step({}, ("ch", number), ("other", -number))
    await line.step({}, ("ch", "pending"))
    assert await line.history("ch") == {"ch": ([1, 2, 3], _DeltaSnapshot(["seed"]))}


async def a_plain_value_is_a_seed(saver: Any) -> None:
    """A thread from before the channel was a delta channel."""
    line = Line(saver)
    await line.step({"ch": [10, 20]}, ("ch", 1))
    await line.step({})
    assert await line.history("ch") == {"ch": ([1], [10, 20])}


async def without_a_value_there_is_no_seed(saver: Any) -> None:
    """To the root."""
    line = Line(saver)
    for number in range(3):
        await line.step({}, ("ch", number))
    assert await line.history("ch") == {"ch": ([0, 1], "absent")}


async def channels_end_apart(saver: Any) -> None:
    """Each channel has its own nearest value; no channels, no answer."""
    line = Line(saver)
    for number in range(5):
        await line.step({"a": "A"} if number == 1 else {"b": "B"} if number == 3 else {}, ("a", number), ("b", number))
    assert await line.history("a", "b") == {"a": ([1, 2, 3], "A"), "b": ([3], "B")}
    assert await saver.aget_delta_channel_history(config=line.head, channels=[]) == {}


async def tasks_are_in_the_order_of_their_paths(saver: Any) -> None:
    """Not of their ids; what has no path comes first."""
    line = Line(saver)
    at = await line.step({"ch": 0}, ("ch", "second"), task=FIRST, path="~pull, 02")
    await saver.aput_writes(at, [("ch", "first"), ("ch", "then")], LAST, "~pull, 01")
    await saver.aput_writes(at, [("ch", "input")], LAST[:-1])
    await line.step({})
    assert await line.history("ch") == {"ch": (["input", "first", "then", "second"], 0)}


async def only_ancestors_count(saver: Any) -> None:
    """A fork does not see its sibling."""
    line = Line(saver)
    fork = await line.step({"ch": 0}, ("ch", "both"))
    await line.step({}, ("ch", "left"))
    left = await line.step({})
    line.head = fork
    await line.step({}, ("ch", "right"))
    right = await line.step({})
    assert await line.history("ch", at=left) == {"ch": (["both", "left"], 0)}
    assert await line.history("ch", at=right) == {"ch": (["both", "right"], 0)}


async def a_long_line_is_walked_to_its_end(saver: Any) -> None:
    """However many ancestors a saver reads at a time."""
    line = Line(saver)
    await line.step({"ch": "seed"}, ("ch", 0))
    for number in range(1, 150):
        await line.step({}, ("ch", number))
    await line.step({})
    assert await line.history("ch") == {"ch": (list(range(150)), "seed")}


CHECKS: list[Callable[[Any], Awaitable[None]]] = [
    writes_are_oldest_first,
    a_plain_value_is_a_seed,
    without_a_value_there_is_no_seed,
    channels_end_apart,
    tasks_are_in_the_order_of_their_paths,
    only_ancestors_count,
    a_long_line_is_walked_to_its_end,
]


async def run(saver: Any, on_test_result: OnResult | None = None) -> tuple[int, int, list[str]]:
    """Run every check; return how many passed, how many failed, and what they said."""
    failures: list[str] = []
    for check in CHECKS:
        words: str | None = None
        try:
            await check(saver)
        except Exception:  # noqa: BLE001 - as the suite's own runners do: the next check runs all the same
            words = f"{check.__name__}: {traceback.format_exc()}"
            failures.append(words)
        if on_test_result:
            on_test_result(CAPABILITY, check.__name__, words is None, words)
    return len(CHECKS) - len(failures), len(failures), failures
