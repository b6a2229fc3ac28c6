"""langchain-tests' standard tests of a retriever, on ours; run by `make conformance`, which installs them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from mars import Memory
from mars.integrations import MemoryRetriever

Standard: Any = import_module("langchain_tests.integration_tests").RetrieversIntegrationTests


class TestMemoryRetriever(Standard):  # type: ignore[misc]
    """The standard tests over a memory of five records."""

    @pytest.fixture(autouse=True)
    def fill(self) -> Iterator[None]:
        """Open a memory for each test."""
        with Memory.open_sync("memory:") as memory:
            for place in range(5):
                memory.add(f"Heron number {place} nests by the weir.", ("user-1",))
            self.memory = memory
            yield

    @property
    def retriever_constructor(self) -> type[MemoryRetriever]:
        """What is tested."""
        return MemoryRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        """What it is made with."""
        return {"memory": self.memory, "namespace": ("user-1",)}

    @property
    def retriever_query_example(self) -> str:
        """A question that all five records answer."""
        return "Where do herons nest?"
