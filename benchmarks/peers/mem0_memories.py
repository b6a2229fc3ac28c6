"""mem0 in the comparison, over three vector stores: inference and telemetry off, no model is ever called."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from langchain_core.embeddings import Embeddings

from benchmarks.peers.system import SPACE, System
from benchmarks.peers.workload import PASS, K, Lookup, Question, Row

DIMENSIONS = 384


class Looked(Embeddings):
    """The embedder that mem0 is given."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a text."""
        vector: list[float] = self._lookup[text]
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts."""
        return [self._lookup[text] for text in texts]


class Mem0(System):
    """`mem0.Memory`; the subclasses name the vector store."""

    provider: ClassVar[str]

    def __init__(self, folder: Path, durability: str, lookup: Lookup) -> None:
        super().__init__(folder, durability, lookup)
        os.environ["MEM0_TELEMETRY"] = "False"
        os.environ["MEM0_DIR"] = str(folder)
        import mem0

        self._make = mem0.Memory.from_config

    def _vector_store(self) -> dict[str, Any]:
        """Return the vector store's settings."""
        return {"collection_name": SPACE, "path": str(self.folder / self.provider)}

    def open(self) -> None:
        """Open the vector store and the history."""
        self._memory = self._make(
            {
                "vector_store": {"provider": self.provider, "config": self._vector_store()},
                "embedder": {"provider": "langchain", "config": {"model": Looked(self.lookup)}},
                "llm": {"provider": "openai", "config": {"api_key": "never used: inference is off"}},
                "history_db_path": str(self.folder / "history.db"),
            }
        )

    def close(self) -> None:
        """Close the history; the rest goes with the process."""
        self._memory.close()

    def add(self, row: Row) -> None:
        """Add one message as it is."""
        self._memory.add(row.text, user_id=SPACE, metadata=row.metadata, infer=False)

    def add_many(self, rows: Sequence[Row]) -> None:
        """Add messages in one call; they share the first one's metadata, as mem0 has it."""
        messages = [{"role": "user", "content": row.text} for row in rows]
        self._memory.add(messages, user_id=SPACE, metadata=rows[0].metadata, infer=False)

    def load(self, rows: Sequence[Row]) -> None:
        """Put rows into the vector store with the payloads that `add` makes; the history stays empty."""
        now = datetime.now(UTC).isoformat()
        payloads = [
            {
                "user_id": SPACE,
                **row.metadata,
                "role": "user",
                "data": row.text,
                "hash": hashlib.md5(row.text.encode()).hexdigest(),
                "created_at": now,
                "updated_at": now,
                "text_lemmatized": row.text,
            }
            for row in rows
        ]
        vectors = [self.lookup[row.text] for row in rows]
        self._memory.vector_store.insert(vectors, payloads, [str(uuid.uuid4()) for _ in rows])

    def recall(self, question: Question, filtered: bool) -> Any:
        """Search one user's memories."""
        wanted = {"user_id": SPACE} | ({"half": PASS} if filtered else {})
        return self._memory.search(question.text, top_k=K, filters=wanted)

    def texts(self, answer: Any) -> list[str]:
        """Return the memories."""
        return [found["memory"] for found in answer["results"]]


class Mem0Chroma(Mem0):
    """mem0 over Chroma."""

    provider: ClassVar[str] = "chroma"


class Mem0Qdrant(Mem0):
    """mem0 over Qdrant's local mode."""

    provider: ClassVar[str] = "qdrant"

    def _vector_store(self) -> dict[str, Any]:
        return {**super()._vector_store(), "embedding_model_dims": DIMENSIONS, "on_disk": True}


class Mem0Faiss(Mem0):
    """mem0 over FAISS."""

    provider: ClassVar[str] = "faiss"

    def _vector_store(self) -> dict[str, Any]:
        return {**super()._vector_store(), "embedding_model_dims": DIMENSIONS, "distance_strategy": "cosine"}
