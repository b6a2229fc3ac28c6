"""Ids of records, and the hash of their text."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = (1 << 48) - 1


def new_store_id(seed: int | str | None = None) -> str:
    """Return 32 hexadecimal digits: drawn from `seed`, so that the same inputs give the same store, or at random."""
    if seed is None:
        return os.urandom(16).hex()
    return hashlib.blake2b(repr(seed).encode(), digest_size=16, person=b"mars-store").hexdigest()


def record_id(now: datetime, store_id: str, seq: int) -> str:
    """Return a UUID of version 7 (RFC 9562): the milliseconds of `now`, 32 bits of `seq`, 42 bits drawn from both.

    Ids sort by the time of storing, and within a millisecond by the order of storing. Nothing in them is random, so a
    replay of the same writes gives the same ids.
    """
    millis = _millis(now)
    counter = seq & 0xFFFFFFFF
    drawing = _drawing(store_id).copy()
    drawing.update(b"%d" % seq)
    drawn = int.from_bytes(drawing.digest())
    bits = millis << 80 | 0x7 << 76 | (counter >> 20) << 64 | 0x2 << 62 | (counter & 0xFFFFF) << 42 | drawn >> 22
    text = bits.to_bytes(16).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def was_changed(record: str, seq: int) -> bool:
    """Return whether a record of this id, whose last change has this `seq`, was changed since it was stored.

    A copy of a store that moves every `seq` up counts as a change, and so does an id that is not of `record_id`.
    """
    try:
        bits = int(record.replace("-", ""), 16)
    except ValueError:
        return True
    return seq & 0xFFFFFFFF != (bits >> 64 & 0xFFF) << 20 | bits >> 42 & 0xFFFFF


@lru_cache(maxsize=64)  # the records of a batch have one time
def _millis(now: datetime) -> int:
    age = now - _EPOCH
    return min(max((age.days * 86_400 + age.seconds) * 1000 + age.microseconds // 1000, 0), _MOST)


@lru_cache(maxsize=64)
def _drawing(store_id: str) -> hashlib.blake2b:
    return hashlib.blake2b(f"{store_id}/".encode(), digest_size=8, person=b"mars-record")


def content_hash(text: str) -> str:
    """Return the BLAKE2b-128 of a text, hexadecimal."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
