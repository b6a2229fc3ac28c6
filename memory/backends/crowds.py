"""The columns of a namespace's active records, kept from one write to the next: so that making room reads only changes.

Immutable, like the head and the facts of a store that a transaction begins with: what a transaction has seen becomes
the backend's only when it is committed. So nothing of a transaction that was rolled back is ever kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mars.memory.backends.rows import life_row
from mars.memory.interfaces import Reader, Selection
from mars.memory.lives import Lives
from mars.memory.records import Namespace, Status

CAP = 200_000
"""So many rows are kept in all, about 150 bytes each; of the namespace asked last all are."""


@dataclass(frozen=True, slots=True)
class Crowds:
    """What is known of some namespaces, the one asked longest ago first."""

    known: Mapping[Namespace, tuple[int, Lives]] = field(default_factory=lambda: MappingProxyType({}))
    """The columns of each, as of a `seq`."""

    def look(self, reader: Reader, namespace: Namespace) -> tuple[Crowds, Lives]:
        """Return the active records of a namespace as the reader sees them, and this with what it took to know."""
        head = reader.head()
        at, lives = self.known.get(namespace, (0, None))
        if lives is None or at > head or head - at > 64 + len(lives.ids) // 4:
            lives = reader.lives(Selection(namespace=namespace, statuses=frozenset({Status.ACTIVE})))
        elif head > at:
            lives = _followed(reader, namespace, at, lives)
        known = {name: one for name, one in self.known.items() if name != namespace}
        rows = len(lives.ids) + sum(len(one.ids) for _, one in known.values())
        while known and rows > CAP:
            rows -= len(known.pop(next(iter(known)))[1].ids)
        return Crowds(MappingProxyType({**known, namespace: (head, lives)})), lives


def _followed(reader: Reader, namespace: Namespace, at: int, lives: Lives) -> Lives:
    """Return the columns with what changed since."""
    changed = [record for record in reader.select(Selection(after_seq=at)) if record.namespace == namespace]
    gone = {one for _, one, name in reader.removed(at) if name == namespace}
    active = Lives.of(life_row(record) for record in changed if record.status is Status.ACTIVE)
    return lives.without({*gone, *(record.id for record in changed)}).joined(active)
