"""How one fact takes another's place, and how that is taken back.

Nothing is overwritten: the older fact's validity ends, in the world (``valid_to``) where the newer one's begins and in
the store (``known_to``) at the time of writing. An older fact that is told after a newer one is superseded on arrival,
so that the order in which conversations are read does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from mars.memory.facts import contradicts, normalised
from mars.memory.presets import Preset
from mars.memory.records import NewRecord, Record, Status
from mars.memory.views import is_expired, is_forgotten, unswept


def repeated(new: NewRecord, now: datetime, others: Sequence[Record], preset: Preset) -> Record | None:
    """Return the live fact that `new` tells again, its τ restarted; None if there is none.

    To be told again is a new storing of the same thing, so retention is 1 again. The strength stays as it is: only a
    graded use changes it.
    """
    for other in others:
        if (
            other.status is Status.ACTIVE
            and not is_expired(other, now)
            and not is_forgotten(other, preset, now)
            and new.source.trusted
            and new.key is None
            and new.idempotency_key is None
            and normalised(other.value or "") == normalised(new.value or "")
        ):
            return replace(other, last_strengthened=max(other.last_strengthened, now))
    return None


def settle(new: Record, others: Sequence[Record], now: datetime) -> Iterator[Record]:
    """Yield each record that changes because `new` was stored.

    That is an older fact that `new` takes the place of, and `new` itself where a fact that is valid from a later time
    on is already known.
    """
    live = [unswept(other) for other in others]
    live = [other for other in live if other.status is Status.ACTIVE and not is_expired(other, now)]
    later = [other for other in live if other.valid_from > new.valid_from and contradicts(other, new)]
    if later:
        successor = min(later, key=lambda other: (other.valid_from, other.id))
        yield superseded(new, successor, now)
    for other in live:
        if contradicts(new, other):
            yield superseded(other, new, now)


def superseded(old: Record, new: Record, now: datetime) -> Record:
    """Return `old` with `new` in its place."""
    return replace(
        old, status=Status.SUPERSEDED, valid_to=new.valid_from, known_to=max(now, old.known_from), superseded_by=new.id
    )


def reinstated(old: Record) -> Record:
    """Return a superseded fact as it was before."""
    return replace(old, status=Status.ACTIVE, valid_to=None, known_to=None, superseded_by=None)
