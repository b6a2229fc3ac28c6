"""Whether a record is what a selection asks for, told without a database."""

from __future__ import annotations

from mars.memory.interfaces import Selection
from mars.memory.records import Record

__all__ = ["matches"]


def matches(record: Record, wanted: Selection) -> bool:
    """Return whether a record is among those of a selection, whatever its limit and order."""
    return (
        (wanted.namespace is None or record.namespace == wanted.namespace)
        and record.seq > wanted.after_seq
        and (wanted.before_seq is None or record.seq < wanted.before_seq)
        and (not wanted.prefix or record.namespace[: len(wanted.prefix)] == wanted.prefix)
        and (not wanted.kinds or record.kind in wanted.kinds)
        and (not wanted.statuses or record.status in wanted.statuses)
        and (wanted.conversation is None or record.conversation == wanted.conversation)
        and (wanted.subject is None or (record.subject or "").casefold() == wanted.subject.casefold())
        and (wanted.relation is None or record.relation == wanted.relation)
        and (not wanted.keys or record.key in wanted.keys)
        and (not wanted.idempotency_keys or record.idempotency_key in wanted.idempotency_keys)
        and (not wanted.content_hashes or record.content_hash in wanted.content_hashes)
        and _in_time(record, wanted)
    )


def _in_time(record: Record, wanted: Selection) -> bool:
    ends, gone, at = record.expires_at, record.archived_at, record.event_time
    return (
        (wanted.alive_at is None or ends is None or ends > wanted.alive_at)
        and (wanted.expired_at is None or (ends is not None and ends <= wanted.expired_at))
        and (wanted.archived_before is None or (gone is not None and gone < wanted.archived_before))
        and (wanted.strengthened_before is None or record.last_strengthened < wanted.strengthened_before)
        and (wanted.since is None or at >= wanted.since)
        and (wanted.until is None or at < wanted.until)
    )
