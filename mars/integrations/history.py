"""A langchain-core chat message history over a memory."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from mars.integrations.caller import Caller
from mars.memory.engine import Memory
from mars.memory.records import Namespace, NewRecord, Record, Source, Status, check_namespace, check_text
from mars.memory.sync import SyncMemory

MESSAGE = "langchain_message"
"""Key of a record's metadata under which the whole message is kept."""

NO_TEXT = "(no text)"
"""Text of a message that only calls tools, or holds no text."""

_SOURCES = {"human": Source.USER, "ai": Source.ASSISTANT, "system": Source.OPERATOR, "tool": Source.TOOL}
_KEPT = (Status.ACTIVE, Status.QUARANTINED)


class MemoryChatHistory(BaseChatMessageHistory):
    """The messages of one conversation, kept as episodes, so that what was said can be recalled by any other means.

    `memory` is a live one, of `Memory.open_sync` for the blocking methods. Messages come back as they were added, in
    order. They are pinned unless `decay` lets them fade by the preset. A message with an id is kept once, however often
    it is added. What tools said is in the history but quarantined: no recall brings it into a prompt unreviewed.
    """

    def __init__(
        self, memory: Memory | SyncMemory, namespace: Namespace, conversation: str, *, decay: bool = False
    ) -> None:
        """Keep the messages under a namespace and the name of the conversation; `InvalidInput` for empty ones."""
        self._caller = Caller(memory)
        self._namespace = check_namespace(namespace)
        self._conversation = check_text(conversation, "conversation")
        self._decay = decay

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        """The messages, oldest first."""
        return _messages(self._caller.run(self._rows))

    async def aget_messages(self) -> list[BaseMessage]:
        """Return the messages, oldest first."""
        return _messages(await self._caller.arun(self._rows))

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Add messages at the end, all or none. Raises `InvalidInput` for a message that is no JSON."""
        self._caller.run(lambda memory: self._add(memory, messages))

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Add messages at the end, all or none. Raises `InvalidInput` for a message that is no JSON."""
        await self._caller.arun(lambda memory: self._add(memory, messages))

    def clear(self) -> None:
        """Delete the messages for good."""
        self._caller.run(self._clear)

    async def aclear(self) -> None:
        """Delete the messages for good."""
        await self._caller.arun(self._clear)

    async def _rows(self, memory: Memory) -> list[Record]:
        return await self._in_order(memory, _KEPT)

    async def _in_order(self, memory: Memory, statuses: Sequence[Status]) -> list[Record]:
        rows = await memory.list(self._namespace, conversation=self._conversation, statuses=statuses)
        return sorted((row for row in rows if MESSAGE in row.metadata), key=lambda row: (row.position or 0, row.id))

    async def _add(self, memory: Memory, messages: Sequence[BaseMessage]) -> None:
        there = await self._in_order(memory, tuple(Status))
        start = 1 + max((row.position or 0 for row in there), default=-1)
        await memory.add_many(
            NewRecord(
                text=message.text if message.text.strip() else NO_TEXT,
                namespace=self._namespace,
                conversation=self._conversation,
                position=start + place,
                speaker=message.name or message.type,
                pinned=not self._decay,
                source=_SOURCES.get(message.type, Source.TOOL),
                idempotency_key=f"message:{self._conversation}:{message.id}" if message.id else None,
                metadata={MESSAGE: message_to_dict(message)},
            )
            for place, message in enumerate(messages)
        )

    async def _clear(self, memory: Memory) -> None:
        rows = await self._in_order(memory, tuple(Status))
        if rows:
            await memory.purge([row.id for row in rows], force=True)


def _messages(rows: Sequence[Record]) -> list[BaseMessage]:
    return messages_from_dict([row.metadata[MESSAGE] for row in rows])
