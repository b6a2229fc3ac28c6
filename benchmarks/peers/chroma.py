"""Chroma by itself in the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chromadb
from chromadb.config import Settings

from benchmarks.peers.system import SPACE, System
from benchmarks.peers.workload import PASS, K, Lookup, Question, Row


class Chroma(System):
    """One collection of a persistent client; cosine."""

    def __init__(self, folder: Path, durability: str, lookup: Lookup) -> None:
        super().__init__(folder, durability, lookup)
        self._settings = Settings(anonymized_telemetry=False)

    def open(self) -> None:
        """Open the collection."""
        self._client = chromadb.PersistentClient(str(self.folder), self._settings)
        self._collection = self._client.get_or_create_collection(
            SPACE, metadata={"hnsw:space": "cosine"}, embedding_function=None
        )

    def close(self) -> None:
        """Release the client; what it holds goes with the process."""
        del self._collection, self._client

    def add(self, row: Row) -> None:
        """Add one document."""
        self.add_many([row])

    def add_many(self, rows: Sequence[Row]) -> None:
        """Add documents in one call."""
        self._collection.add(
            ids=[str(row.number) for row in rows],
            embeddings=[self.lookup[row.text] for row in rows],
            documents=[row.text for row in rows],
            metadatas=[row.metadata for row in rows],
        )

    def recall(self, question: Question, filtered: bool) -> Any:
        """Query by the vector."""
        return self._collection.query(
            query_embeddings=[self.lookup[question.text]],
            n_results=K,
            where={"half": PASS} if filtered else None,
            include=["documents", "metadatas", "distances"],
        )

    def texts(self, answer: Any) -> list[str]:
        """Return the documents."""
        return list(answer["documents"][0])
