"""Run langgraph-checkpoint-conformance on `CheckpointSaver`, over the database at MARS_CONFORMANCE_URL.

Prints one line of JSON: {"capabilities", "passed", "failed", "skipped", "tests", "failures", "sabotage"}. `sabotage`
counts the capabilities that fail once each of the saver's methods is spoilt: all of them must.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from langgraph.checkpoint.conformance import checkpointer_test, validate

from mars import CheckpointSaver


class Spoilt(CheckpointSaver):
    """A saver whose every method is a little wrong."""

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        """Forget the parent and the values."""
        spoilt: Any = {**checkpoint, "channel_values": {}}
        configurable = {**config["configurable"], "checkpoint_id": None}
        return await super().aput({"configurable": configurable}, spoilt, metadata, {})

    async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        """Store the first write only."""
        await super().aput_writes(config, writes[:1], task_id, task_path)

    async def aget_tuple(self, config: Any) -> Any:
        """Ignore which checkpoint is asked for."""
        return await super().aget_tuple({"configurable": {**config["configurable"], "checkpoint_id": None}})

    async def alist(self, config: Any, **options: Any) -> Any:
        """Ignore the filter."""
        async for one in super().alist(config, **{**options, "filter": None}):
            yield one

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete nothing."""

    async def adelete_for_runs(self, run_ids: Any) -> None:
        """Delete nothing."""

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy nothing."""

    async def aprune(self, thread_ids: Any, *, strategy: str = "keep_latest") -> None:
        """Keep nothing."""
        await super().aprune(thread_ids, strategy="delete")


async def report(kind: type[CheckpointSaver]) -> dict[str, Any]:
    """Return what the suite found, by capability."""

    @checkpointer_test(name=kind.__name__)  # type: ignore[untyped-decorator, unused-ignore]
    async def saver() -> AsyncIterator[CheckpointSaver]:
        async with kind.open(os.environ["MARS_CONFORMANCE_URL"]) as opened:
            yield opened

    found = await validate(saver)
    results: dict[str, Any] = found.to_dict()["results"]
    return results


def main() -> None:
    """Run the suite on the saver and on a spoilt one."""
    right, wrong = (asyncio.run(report(kind)).values() for kind in (CheckpointSaver, Spoilt))
    result = {
        "capabilities": sum(one["detected"] for one in right),
        "passed": sum(one["passed"] is True for one in right),
        "failed": sum(one["tests_failed"] for one in right),
        "skipped": sum(one["tests_skipped"] for one in right),
        "tests": sum(one["tests_passed"] for one in right),
        "failures": [words for one in right for words in one["failures"]],
        "sabotage": sum(one["passed"] is False for one in wrong),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
