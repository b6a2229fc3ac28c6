"""What stands in for `langgraph.store.sqlite` while its own tests run: the same constructors over `MemoryStore`.

Only what those tests use to make a store is adapted: `from_conn_string`, `setup`, the sweeper. TTL needs no sweeper
here, so starting one does nothing. Their option `text_fields`, which SqliteStore reads instead of LangGraph's `fields`,
is passed on as `fields`; and their embeddings decide alone (no lexical arm), as in SqliteStore.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import ModuleType
from typing import Any

from mars import MemoryStore
from mars.memory import LangchainEmbedder


class SqliteStore(MemoryStore):
    """`MemoryStore`, made as SqliteStore is made."""

    @classmethod
    @contextmanager
    def from_conn_string(cls, conn_string: str, *, index: Any = None, ttl: Any = None) -> Iterator[SqliteStore]:
        """Open the store on a file or in memory."""
        with cls.open(f"sqlite:///{conn_string}", index=adapted(index), ttl=ttl) as store:
            yield store

    def setup(self) -> None:
        """Do nothing: opening makes the schema."""

    def start_ttl_sweeper(self) -> None:
        """Do nothing: no read shows what has expired."""

    def stop_ttl_sweeper(self) -> None:
        """Do nothing."""


class AsyncSqliteStore(MemoryStore):
    """`MemoryStore`, made as AsyncSqliteStore is made."""

    @classmethod
    @asynccontextmanager
    async def from_conn_string(
        cls, conn_string: str, *, index: Any = None, ttl: Any = None
    ) -> AsyncIterator[AsyncSqliteStore]:
        """Open the store on a file or in memory."""
        async with cls.open(f"sqlite:///{conn_string}", index=adapted(index), ttl=ttl) as store:
            yield store

    async def setup(self) -> None:
        """Do nothing: opening makes the schema."""

    async def start_ttl_sweeper(self) -> None:
        """Do nothing: no read shows what has expired."""

    async def stop_ttl_sweeper(self) -> None:
        """Do nothing."""

    def sweep_ttl(self) -> Any:
        """Return what can be awaited, as AsyncSqliteStore does."""
        return self.asweep_ttl()


def adapted(index: Any) -> Any:
    """Return LangGraph's index configuration for one of SqliteStore's."""
    if index is None:
        return None
    embeddings, size = index["embed"], index["dims"]
    embedder = LangchainEmbedder(embeddings, id=f"characters-{size}", dimension=size, lexical_weight=0.0)
    return {**index, "embed": embedder, "fields": index.get("text_fields")}


def _unused(*_: object) -> None:
    """Stand in for a private function of SqliteStore; the tests of it are deselected."""
    raise NotImplementedError("private to SqliteStore")


def install() -> None:
    """Let `langgraph.store.sqlite` and what the tests import from it be this module."""
    package, base, aio = (ModuleType(f"langgraph.store.sqlite{end}") for end in ("", ".base", ".aio"))
    for module in (package, base, aio):
        sys.modules[module.__name__] = module
        vars(module).update(SqliteStore=SqliteStore, AsyncSqliteStore=AsyncSqliteStore)
    vars(base).update(
        NS_MATCH_FUNCTION="",
        BaseSqliteStore=_unused,
        SqliteIndexConfig=dict,
        _escape_glob_literal=_unused,
        _namespace_match_pattern=_unused,
    )
