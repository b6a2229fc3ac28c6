"""A backend that confuses namespaces, so that a test of their isolation can show that it would notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Literal, TypeVar, cast

from mars.memory.backends.rows import life_row
from mars.memory.interfaces import Backend, Reader, Selection, Transaction
from mars.memory.lives import Lives
from mars.memory.records import Record

Result = TypeVar("Result")

Flaw = Literal["ignored", "dotted"]
"""``ignored``: every selection is of the whole store; ``dotted``: labels are joined by dots, so that some collide."""


class LeakingBackend(Backend):
    """Another backend with a flaw in what its selections restrict; it keeps everything else right."""

    def __init__(self, inner: Backend, flaw: Flaw) -> None:
        """Spoil the selections of `inner`, which is closed with this one."""
        self._inner = inner
        self._flaw = flaw

    @property
    def url(self) -> str:
        """Where the other one is."""
        return self._inner.url

    def transact(self, work: Callable[[Transaction], Result]) -> Result:
        """See `Backend.transact`."""
        return self._inner.transact(lambda tx: work(cast(Transaction, _Leaking(tx, self._flaw))))

    def read(self, work: Callable[[Reader], Result]) -> Result:
        """See `Backend.read`."""
        return self._inner.read(lambda reader: work(cast(Reader, _Leaking(reader, self._flaw))))

    def close(self) -> None:
        """See `Backend.close`."""
        self._inner.close()


class _Leaking:
    """A reader or transaction whose selections find too much."""

    def __init__(self, inner: Reader, flaw: Flaw) -> None:
        self._inner = inner
        self._flaw = flaw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def each(self, selection: Selection) -> Iterator[Record]:
        wanted = selection.namespace
        found = iter(self._inner.select(replace(selection, namespace=None, limit=None)))
        if wanted is not None and self._flaw == "dotted":
            found = (record for record in found if ".".join(record.namespace) == ".".join(wanted))
        return islice(found, None if selection.limit is None else max(0, selection.limit))

    def select(self, selection: Selection) -> list[Record]:
        return list(self.each(selection))

    def lives(self, selection: Selection) -> Lives:
        return Lives.of(life_row(record) for record in self.each(selection))

    def count(self, selection: Selection) -> int:
        return len(self.select(replace(selection, limit=None)))
