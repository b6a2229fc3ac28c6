"""LangGraph's stores in the comparison: in memory, on SQLite, and on pgvector as PyPI's `pgserver` brings it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langgraph.store.base import BaseStore, IndexConfig, PutOp
from langgraph.store.memory import InMemoryStore

from benchmarks.peers.system import SPACE, System, Unsupported
from benchmarks.peers.workload import PASS, K, Lookup, Question, Row

HOME = (SPACE,)
DIMENSIONS = 384
FIELDS = ["text"]
"""Given with each item, too, because `SqliteStore` ignores the fields of its index."""


class Stored(System):
    """Any store of LangGraph; the subclasses open it."""

    _store: BaseStore

    def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self.lookup[text] for text in texts]

    @property
    def _index(self) -> IndexConfig:
        return {"dims": DIMENSIONS, "embed": self._embed, "fields": ["text"]}

    def add(self, row: Row) -> None:
        """Put one item."""
        self._store.put(HOME, str(row.number), {"text": row.text, **row.metadata}, index=FIELDS)

    def add_many(self, rows: Sequence[Row]) -> None:
        """Put items in one batch."""
        items = [PutOp(HOME, str(row.number), {"text": row.text, **row.metadata}, index=FIELDS) for row in rows]
        self._store.batch(items)

    def recall(self, question: Question, filtered: bool) -> Any:
        """Search by the vector of the query."""
        return self._store.search(HOME, query=question.text, limit=K, filter={"half": PASS} if filtered else None)

    def texts(self, answer: Any) -> list[str]:
        """Return the texts of the items."""
        return [item.value["text"] for item in answer]


class InMemory(Stored):
    """`InMemoryStore`."""

    def open(self) -> None:
        """Make an empty store."""
        self._store = InMemoryStore(index=self._index)

    def close(self) -> None:
        """Forget it."""
        del self._store


def loading_sqlite3() -> Any:
    """Return a sqlite3 that loads extensions: Python's own, or pysqlite3. Raises `Unsupported` if there is none."""
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        return sqlite3
    try:
        from pysqlite3 import dbapi2
    except ImportError as error:
        raise Unsupported("this Python's sqlite3 loads no extensions, and pysqlite3 is not there") from error
    return dbapi2


class Sqlite(Stored):
    """`SqliteStore`."""

    def __init__(self, folder: Path, durability: str, lookup: Lookup) -> None:
        super().__init__(folder, durability, lookup)
        self._driver = loading_sqlite3()
        import langgraph.store.sqlite  # noqa: F401 - imports are not timed

    def open(self) -> None:
        """Open the database as `from_conn_string` does."""
        from langgraph.store.sqlite import SqliteStore

        file = self.folder / "store.db"
        self._connection = self._driver.connect(file, check_same_thread=False, isolation_level=None)
        if self.durability in ("normal", "full"):
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA synchronous = {self.durability}")
        store = SqliteStore(self._connection, index=self._index)
        store.setup()
        self._store = store

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


class Pgvector(Stored):
    """`PostgresStore` over a private server that listens on a socket in the folder."""

    def __init__(self, folder: Path, durability: str, lookup: Lookup) -> None:
        super().__init__(folder, durability, lookup)
        try:
            import pgserver
        except ImportError as error:
            raise Unsupported(f"PyPI's pgserver has no wheel for this Python or machine: {error}") from error
        import langgraph.store.postgres  # noqa: F401 - imports are not timed

        self._start = pgserver.get_server

    def open(self) -> None:
        """Start the server and open the store."""
        from langgraph.store.postgres import PostgresStore
        from psycopg import Connection
        from psycopg.rows import dict_row

        self._server = self._start(str(self.folder))
        uri = self._server.get_uri()
        self._connection = Connection.connect(uri, autocommit=True, prepare_threshold=0, row_factory=dict_row)
        if self.durability == "async":
            self._connection.execute("SET synchronous_commit = off")
        store = PostgresStore(self._connection, index=self._index)
        store.setup()
        self._store = store

    def close(self) -> None:
        """Stop the server."""
        self._connection.close()
        self._server.cleanup()

    def reindex(self) -> None:
        """Rebuild the HNSW index."""
        self._connection.execute("REINDEX INDEX store_vectors_embedding_idx")

    def processes(self) -> list[int]:
        """Return the server and its children."""
        parent = int(self._server.get_pid())
        children = Path(f"/proc/{parent}/task/{parent}/children")
        return [parent, *map(int, children.read_text().split())] if children.exists() else [parent]
