"""Delta channels: what a checkpoint without their values is rebuilt from.

A `DeltaChannel` stores its value only now and then; in between, a checkpoint has nothing of it, and the value is that
of the nearest ancestor that has one, with all that tasks wrote since (see `BaseCheckpointSaver`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from langgraph.checkpoint.base import DeltaChannelHistory
from langgraph.checkpoint.serde.base import SerializerProtocol

from mars.persistence.checkpoints import Checkpoints, Row, Write
from mars.persistence.encoding import checkpoint_of

COUNTERS = "counters_since_delta_snapshot"
"""The key of the metadata where LangGraph names the delta channels whose value is not in the checkpoint."""


@dataclass(slots=True)
class Ancestry:
    """The ancestors of a checkpoint, nearest first, as far as the values of some channels need them."""

    ids: list[str] = field(default_factory=list)
    """The ancestors that were visited."""
    reach: dict[str, int] = field(default_factory=dict)
    """Of each channel that has a value among them, how many of `ids` it takes to get there."""
    values: dict[str, Any] = field(default_factory=dict)
    """That value."""

    def history(
        self, channel: str, writes: Mapping[str, Sequence[Write]], serde: SerializerProtocol
    ) -> DeltaChannelHistory:
        """Return a channel's stored value and, oldest first, what was written to it since."""
        line = self.ids[: self.reach.get(channel)]
        found: DeltaChannelHistory = {
            "writes": [
                (write.task, channel, serde.loads_typed((write.format, write.body)))
                for id in reversed(line)
                for write in writes[id]
                if write.channel == channel
            ]
        }
        if channel in self.values:
            found["seed"] = self.values[channel]
        return found


def ancestry(above: Iterable[Row], channels: Iterable[str], serde: SerializerProtocol) -> Ancestry:
    """Walk up until every channel has a value, or to the root."""
    found, open_channels = Ancestry(), set(channels)
    if not open_channels:
        return found
    for row in above:
        found.ids.append(row.id)
        values = checkpoint_of(serde, row).get("channel_values") or {}
        for channel in open_channels & values.keys():
            found.reach[channel], found.values[channel] = len(found.ids), values[channel]
        open_channels -= values.keys()
        if not open_channels:
            break
    return found


def needed(rows: Checkpoints, head: Row, serde: SerializerProtocol) -> set[str]:
    """Return the ids of a checkpoint and of all ancestors that its delta channels are rebuilt from."""
    channels = set(json.loads(head.metadata).get(COUNTERS) or ())
    if channels:
        channels -= (checkpoint_of(serde, head).get("channel_values") or {}).keys()
    above = islice(rows.line(head.place, head.id), 1, None)
    return {head.id, *ancestry(above, channels, serde).ids}
