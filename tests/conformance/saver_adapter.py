"""What stands in for `langgraph.checkpoint.sqlite` while its tests of delta channels run: `CheckpointSaver`.

Only what those tests use to make a saver is adapted: `from_conn_string` and `setup`. They run on the database at
MARS_CONFORMANCE_URL, emptied at each opening.

`test_conformance_delta.py` asks for a capability, ``delta_channel_history``, that langgraph-checkpoint-conformance
0.0.2 does not know yet (there the stock saver fails with ValueError too): it is added here, with the checks of
`delta_spec`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import Any

from mars import CheckpointSaver


def database() -> str:
    """Return the URL that the tests run on."""
    return os.environ["MARS_CONFORMANCE_URL"]


class SqliteSaver(CheckpointSaver):
    """`CheckpointSaver`, made as SqliteSaver is made."""

    @classmethod
    @contextmanager
    def from_conn_string(cls, conn_string: str) -> Iterator[SqliteSaver]:
        """Open the saver, and empty it."""
        with cls.open(database()) as saver:
            for thread in {one.config["configurable"]["thread_id"] for one in saver.list(None)}:
                saver.delete_thread(thread)
            yield saver

    def setup(self) -> None:
        """Do nothing: opening makes the schema."""


class AsyncSqliteSaver(CheckpointSaver):
    """`CheckpointSaver`, made as AsyncSqliteSaver is made."""

    @classmethod
    @asynccontextmanager
    async def from_conn_string(cls, conn_string: str) -> AsyncIterator[AsyncSqliteSaver]:
        """Open the saver, and empty it."""
        async with cls.open(database()) as saver:
            for thread in {one.config["configurable"]["thread_id"] async for one in saver.alist(None)}:
                await saver.adelete_thread(thread)
            yield saver

    async def setup(self) -> None:
        """Do nothing: opening makes the schema."""


def install() -> None:
    """Let `langgraph.checkpoint.sqlite` and what the tests import from it be this module."""
    package, aio, delta = (ModuleType(f"langgraph.checkpoint.sqlite{end}") for end in ("", ".aio", "._delta"))
    for module in (package, aio, delta):
        sys.modules[module.__name__] = module
    vars(package).update(SqliteSaver=SqliteSaver)
    vars(aio).update(AsyncSqliteSaver=AsyncSqliteSaver)
    vars(delta).update(DELTA_STAGE1_SQL="")
    add_capability()


def add_capability() -> None:
    """Teach the released conformance suite the capability that it does not know; do nothing once it does."""
    delta_spec: Any = import_module("delta_spec")
    known: Any = import_module("langgraph.checkpoint.conformance.capabilities")
    runner: Any = import_module("langgraph.checkpoint.conformance.validate")
    names = {one.name: one.value for one in known.Capability}
    if delta_spec.CAPABILITY in names.values():
        return
    make: Any = Enum
    wider = make("Capability", {**names, "DELTA_CHANNEL_HISTORY": delta_spec.CAPABILITY}, type=str)
    methods = {wider[one.name]: method for one, method in known._CAPABILITY_METHOD_MAP.items()}
    known._CAPABILITY_METHOD_MAP = {**methods, wider.DELTA_CHANNEL_HISTORY: "aget_delta_channel_history"}
    runner._RUNNERS = {wider[one.name]: run for one, run in runner._RUNNERS.items()}
    runner._RUNNERS[wider.DELTA_CHANNEL_HISTORY] = delta_spec.run
    known.Capability = runner.Capability = wider
