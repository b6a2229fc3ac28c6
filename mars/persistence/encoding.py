"""Between LangGraph's values and rows: what cannot be stored is refused here, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from mars.errors import InvalidInput
from mars.persistence.checkpoints import Place, Row, Write

PLAIN = "keep plain values in the state (dict, list, str, int, float, bool, None)"


def place_of(config: RunnableConfig | None) -> Place:
    """Return where the checkpoints of a config are; `InvalidInput` where it names no thread."""
    configurable = (config or {}).get("configurable") or {}
    thread = configurable.get("thread_id")
    if thread is None:
        raise InvalidInput('the config names no thread: pass {"configurable": {"thread_id": "…"}}')
    return Place(text(thread, "thread_id"), text(configurable.get("checkpoint_ns") or "", "checkpoint_ns"))


def id_of(config: RunnableConfig | None) -> str | None:
    """Return the id of the checkpoint that a config names; None where it means the newest."""
    if not config or "configurable" not in config:
        return None
    id = get_checkpoint_id(config)
    return text(id, "checkpoint_id") if id else None


def text(value: object, name: str) -> str:
    """Return an id as text that every database stores; raises `InvalidInput`."""
    plain = value if isinstance(value, str) else str(value)
    if "\0" in plain or not (plain.isascii() or _is_utf8(plain)):
        raise InvalidInput(f"{name} holds a character that no database stores; nothing was written")
    return plain


def _is_utf8(plain: str) -> bool:
    try:
        plain.encode()
    except UnicodeEncodeError:
        return False
    return True


def config_of(place: Place, id: str) -> RunnableConfig:
    """Return the config that names a checkpoint."""
    return {
        "configurable": {"thread_id": place.thread, "checkpoint_ns": place.namespace, "checkpoint_id": id},
    }


def row_of(
    serde: SerializerProtocol, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
) -> Row:
    """Return the row of a checkpoint; the one that the config names is its parent. Raises `InvalidInput`."""
    place = place_of(config)
    try:
        format, body = serde.dumps_typed(checkpoint)
    except Exception as error:  # noqa: BLE001 - whatever a serializer raises, its text may hold the value
        raise InvalidInput(_complaint(serde, checkpoint["channel_values"], error)) from None
    facts = get_checkpoint_metadata(config, metadata)
    run = facts.get("run_id")
    return Row(
        *place,
        text(checkpoint["id"], "checkpoint['id']"),
        id_of(config),
        None if run is None else text(run, "run_id"),
        format,
        body,
        _json(facts),
    )


def write_rows(
    serde: SerializerProtocol, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task: str, path: str
) -> list[tuple[object, ...]]:
    """Return the rows of a task's writes to the checkpoint that the config names. Raises `InvalidInput`."""
    place, id = place_of(config), id_of(config)
    if id is None:
        raise InvalidInput("put_writes needs the checkpoint_id that the writes follow; nothing was written")
    rows: list[tuple[object, ...]] = []
    for number, (channel, value) in enumerate(writes):
        try:
            stored = serde.dumps_typed(value)
        except Exception as error:  # noqa: BLE001 - whatever a serializer raises, its text may hold the value
            raise InvalidInput(_complaint(serde, {channel: value}, error)) from None
        rows.append((*place, id, task, WRITES_IDX_MAP.get(channel, number), path, channel, *stored))
    return rows


def tuple_of(serde: SerializerProtocol, row: Row, writes: Sequence[Write]) -> CheckpointTuple:
    """Return a checkpoint as LangGraph wants it."""
    return CheckpointTuple(
        config_of(row.place, row.id),
        checkpoint_of(serde, row),
        cast(CheckpointMetadata, json.loads(row.metadata)),
        config_of(row.place, row.parent) if row.parent else None,
        [(write.task, write.channel, serde.loads_typed((write.format, write.body))) for write in writes],
    )


def checkpoint_of(serde: SerializerProtocol, row: Row) -> Checkpoint:
    """Return the checkpoint that a row holds."""
    return cast(Checkpoint, serde.loads_typed((row.format, row.body)))


def matches(row: Row, filter: Mapping[str, Any]) -> bool:
    """Whether the metadata of a row has every value of a filter."""
    facts = json.loads(row.metadata)
    return all(facts.get(key) == value for key, value in filter.items())


def _json(facts: CheckpointMetadata) -> str:
    try:
        return json.dumps(facts)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"the metadata is no JSON ({type(error).__name__}); nothing was written: keep plain values in it"
        ) from None


def _complaint(serde: SerializerProtocol, values: Mapping[str, Any], error: Exception) -> str:
    """Say which channel cannot be stored and which type is to blame, but nothing of the value."""
    for channel, value in values.items():
        if not _storable(serde, value):
            kind = type(_culprit(serde, value)).__name__
            return f"channel {channel!r} holds a {kind}, which cannot be stored; nothing was written: {PLAIN}"
    return f"the checkpoint cannot be stored ({type(error).__name__}); nothing was written: {PLAIN}"


def _storable(serde: SerializerProtocol, value: Any) -> bool:
    try:
        serde.dumps_typed(value)
    except Exception:  # noqa: BLE001 - the first failure is being reported already
        return False
    return True


def _culprit(serde: SerializerProtocol, value: Any, depth: int = 8) -> Any:
    """Return the part of a value that cannot be stored, as deep as it can be told."""
    parts: Sequence[Any] = ()
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple):
        parts = value
    for part in parts if depth else ():
        if not _storable(serde, part):
            return _culprit(serde, part, depth - 1)
    return value
