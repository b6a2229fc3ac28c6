"""A langchain-core retriever over a memory."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from mars.integrations.caller import Caller
from mars.memory.engine import Memory
from mars.memory.records import Hit


class MemoryRetriever(BaseRetriever):
    """Recalls from one namespace of a live memory, as documents, best first. Nothing is strengthened.

    ``invoke`` needs a memory of `Memory.open_sync`, ``ainvoke`` takes one of either kind; `k` may be given with each
    call too. A document's id is the record's; its metadata are the record's own, and namespace, kind, speaker,
    event_time (ISO 8601), relevance and retention, both in [0, 1]. Raises what `Memory.recall` raises.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    memory: Any
    """A live memory; it stays the caller's to close."""
    namespace: tuple[str, ...]
    """Whose records are recalled."""
    k: int = 4
    """The most documents."""
    floor: float | None = None
    """The least relevance in [0, 1]; the preset's if None."""
    filter: dict[str, Any] | None = None
    """Conditions on the records' metadata."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        return _documents(Caller(self.memory).run(lambda memory: self._recall(memory, query, k)))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        return _documents(await Caller(self.memory).arun(lambda memory: self._recall(memory, query, k)))

    async def _recall(self, memory: Memory, query: str, k: int | None) -> list[Hit]:
        wanted = self.k if k is None else k
        return await memory.recall(query, namespace=self.namespace, k=wanted, floor=self.floor, filter=self.filter)


def _documents(hits: list[Hit]) -> list[Document]:
    return [
        Document(
            id=hit.record.id,
            page_content=hit.record.text,
            metadata={
                **hit.record.metadata,
                "namespace": hit.record.namespace,
                "kind": hit.record.kind.value,
                "speaker": hit.record.speaker,
                "event_time": hit.record.event_time.isoformat(),
                "relevance": hit.relevance,
                "retention": hit.retention,
            },
        )
        for hit in hits
    ]
