"""How an item of LangGraph's store becomes records of the memory, and a record an item again.

An item is one record under the item's namespace and key. Its value is kept as JSON in the record's metadata; the
record's text is what search reads:

* For the field ``$``, the default, the text has one line for each leaf of the value, keys sorted, in the form
  ``path: leaf``, and ``null`` and empty leaves left out: ``{"food": {"likes": ["figs", "rye"]}}`` reads
  ``food.likes: figs`` and ``food.likes: rye``.
* For any other field it is what LangGraph's path syntax finds: ``title``, ``a.b``, ``authors[0].name``, ``tags[*]``.
* One text is the record's own. Several are records of their own, parts of the item, each with its vector; an item is as
  near to a query as the nearest of them.
* With ``index=False``, or where the fields hold no text, the record has a vector without a direction and a text that
  says nothing of the value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from langgraph.store.base import Item, PutOp, SearchItem
from langgraph.store.base.embed import get_text_at_path, tokenize_path

from mars.errors import InvalidInput
from mars.memory.conditions import microseconds
from mars.memory.keyed import PARTS, Keyed
from mars.memory.records import NewRecord, Record, Source, check_json

ITEM = "langgraph"
"""Key of a record's metadata under which the item is kept: its value, TTL in minutes and time of the last put."""

FOUND = "langgraph_text"
"""Key of the metadata of every record by whose text an item is found; true."""

NOT_INDEXED = "(not indexed)"
"""Text of an item that search must not find."""

WHOLE = "$"
"""The field that stands for the whole value."""


def render(value: object) -> str:
    """Return the text of a JSON value, one line for each leaf; the same for equal values."""
    return "\n".join(_lines(value, ""))


def _lines(value: object, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _lines(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _lines(each, path)
    elif isinstance(value, str):
        if value.strip():
            yield f"{path}: {value}"
    elif value is not None:
        yield f"{path}: {json.dumps(value)}"


def texts_of(value: Mapping[str, Any], fields: Sequence[str]) -> list[str]:
    """Return the texts by which a value is found, in the order of the fields; those without a word are left out."""
    found: list[str] = []
    for field in fields:
        found += [render(value)] if field == WHOLE else get_text_at_path(dict(value), tokenize_path(field))
    clean = (text.replace("\x00", " ").encode("utf-8", "replace").decode() for text in found)
    return list(dict.fromkeys(text for text in clean if text.strip()))


@dataclass(frozen=True, slots=True)
class Layout:
    """How the items of one store are written."""

    fields: tuple[str, ...]
    """What is indexed where a put does not say."""
    dimension: int
    """Length of the embedder's vectors."""
    decay: bool
    """Whether items fade; pinned if not."""

    def keyed(self, op: PutOp, now: datetime) -> Keyed:
        """Return what a put writes. Raises `InvalidInput` for a value that is no JSON, or a TTL that is no time."""
        namespace, key = tuple(op.namespace), str(op.key)
        if op.value is None:
            return Keyed(namespace=namespace, key=key, record=None)
        value = self._checked(op.value)
        texts = [] if op.index is False else texts_of(value, self.fields if op.index is None else list(op.index))
        expires_at = None if op.ttl is None else until(op.ttl, now)
        common: dict[str, Any] = {
            "namespace": namespace,
            "pinned": not self.decay,
            "source": Source.OPERATOR,
            "expires_at": expires_at,
        }
        item = {"value": value, "updated_at": now.isoformat(), "ttl": op.ttl}
        single = len(texts) == 1
        return Keyed(
            namespace=namespace,
            key=key,
            record=NewRecord(
                text="\n".join(texts) or NOT_INDEXED,
                key=key,
                metadata={ITEM: item, FOUND: True} if single else {ITEM: item},
                embedding=None if single else np.zeros(self.dimension, np.float32),
                **common,
            ),
            parts=() if single else tuple(NewRecord(text=text, metadata={FOUND: True}, **common) for text in texts),
        )

    @staticmethod
    def _checked(value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise InvalidInput(f"an item's value is a mapping with string keys; got {type(value).__name__}")
        plain = dict(value)
        check_json(plain, "an item's value")
        copied: dict[str, Any] = json.loads(json.dumps(plain))
        return copied


def until(ttl: object, now: datetime) -> datetime:
    """Return when a time to live of so many minutes ends. Raises `InvalidInput` unless it is finite and above 0."""
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0.0 < ttl < math.inf:
        raise InvalidInput(f"a TTL is a number of minutes above 0, or None for no end; got {ttl!r}")
    try:
        return now + timedelta(minutes=ttl)
    except OverflowError as error:
        raise InvalidInput(f"a TTL of {ttl!r} minutes ends beyond the calendar; use None for no end") from error


def is_item(record: Record) -> bool:
    """Return whether a record is an item of a store; a memory may hold other records beside them."""
    return record.key is not None and isinstance(record.metadata.get(ITEM), Mapping)


def is_indexed(record: Record) -> bool:
    """Return whether search may find an item."""
    return bool(record.metadata.get(FOUND) or record.metadata.get(PARTS))


def value_of(record: Record) -> dict[str, Any]:
    """Return an item's value; do not change it."""
    value: dict[str, Any] = record.metadata[ITEM]["value"]
    return value


def value_in(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the value in the metadata of an item, None of another record; do not change it."""
    held = metadata.get(ITEM)
    value: dict[str, Any] | None = held["value"] if isinstance(held, Mapping) else None
    return value


def ttl_of(record: Record) -> float | None:
    """Return an item's time to live in minutes; None for no end."""
    ttl: float | None = record.metadata[ITEM]["ttl"]
    return ttl


def age(record: Record) -> tuple[int, str]:
    """Return what items are ordered by: the time of their last put in microseconds since 1970 UTC, then their id."""
    return microseconds(datetime.fromisoformat(record.metadata[ITEM]["updated_at"])), record.id


def item_of(record: Record) -> Item:
    """Return the item that a record holds."""
    return Item(
        value=json.loads(json.dumps(value_of(record))),  # a store in plain dictionaries would share it
        key=str(record.key),
        namespace=record.namespace,
        created_at=record.created_at,
        updated_at=datetime.fromisoformat(record.metadata[ITEM]["updated_at"]),
    )


def search_item_of(record: Record, score: float | None) -> SearchItem:
    """Return the item that a record holds, with its score."""
    item = item_of(record)
    return SearchItem(item.namespace, item.key, item.value, item.created_at, item.updated_at, score)
