"""Writes that are joined give the store, the answers and the errors that they give one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput, StoreUnavailable
from mars.memory.backends import open_backend
from mars.memory.embedding import HashingEmbedder
from mars.memory.grouping import Adding, Commit, grouped
from mars.memory.interfaces import Backend, Failed, Selection, Transaction
from mars.memory.outcomes import Added
from mars.memory.preparing import Rules, prepare
from mars.memory.presets import DEFAULT
from mars.memory.records import Kind, NewRecord, Provenance, Source

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = Rules(DEFAULT, HashingEmbedder(8), "store")
SPACE = ("user-1",)

news = st.builds(
    NewRecord,
    text=st.sampled_from(["a dog", "a cat", "rome"]),
    namespace=st.sampled_from([SPACE, ("user-2",)]),
    kind=st.sampled_from([Kind.EPISODE, Kind.EPISODE, Kind.REFLECTION]),
    key=st.sampled_from([None, None, None, "k"]),
    idempotency_key=st.sampled_from([None, None, None, "i"]),
    source=st.sampled_from([Source.USER, Source.WEB]),
    position=st.sampled_from([None, 3]),
    metadata=st.sampled_from([{}, {"x": 1}]),
    embedding=st.none() | st.just(np.arange(8.0)),
)


def adding(values: Sequence[NewRecord], minutes: int = 0, rules: Rules = RULES) -> Adding:
    """The work of one `add_many`."""
    return Adding(prepare(values, [NOW + timedelta(minutes=minutes)] * len(values), rules), rules)


def contents(backend: Backend) -> Any:
    """All that a store holds."""
    records = backend.read(lambda reader: reader.select(Selection()))
    ids = [record.id for record in records]
    held = backend.read(lambda reader: {one: vector.tobytes() for one, vector in reader.vectors(ids).items()})
    return records, held, [backend.read(lambda reader, one=one: reader.history(one)) for one in ids]  # type: ignore[misc]


def told(outcomes: Sequence[Any]) -> list[Any]:
    """What came of works, in comparable form."""
    return [
        str(one.error) if isinstance(one, Failed) else (list(one), one.added) if isinstance(one, Added) else one
        for one in outcomes
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(news, min_size=1, max_size=3), min_size=1, max_size=6), st.integers(0, 6))
def test_equals_one_after_the_other(batches: list[list[NewRecord]], other: int) -> None:
    """Whatever waits together, with other work in between, and with works that fail."""
    found = []
    for how in (lambda commit: commit, grouped):
        backend = open_backend("sqlite://")
        try:
            works: list[Any] = [adding(batch, minutes) for minutes, batch in enumerate(batches)]
            works.insert(other, lambda tx: tx.head())
            found.append((told(how(backend.transact_all)(works)), contents(backend)))
        finally:
            backend.close()
    assert found[0] == found[1]


class Noting:
    """A backend's `transact_all` that notes how many works it was given."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.sizes: list[int] = []

    def __call__(self, works: Sequence[Any]) -> list[Any]:
        """Commit them."""
        self.sizes.append(len(works))
        return self.backend.transact_all(works)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({}, 1),
        ({"key": "k"}, 3),
        ({"idempotency_key": "i"}, 3),
        ({"kind": Kind.FACT, "subject": "Ann", "relation": "lives in"}, 3),
        ({"provenance": Provenance(sources=("one",))}, 3),
        ({"provenance": Provenance(task="one"), "position": 1 << 53}, 1),
    ],
)
def test_only_what_stands_alone_is_joined(values: dict[str, Any], size: int) -> None:
    """What reads the store, or can fail by itself, has a savepoint of its own."""
    backend = open_backend("memory:")
    commit = Noting(backend)
    grouped(commit)([adding([NewRecord(text="a dog", namespace=SPACE, **values)]) for _ in range(3)])
    assert commit.sizes == [size]


@pytest.mark.parametrize("preset", [DEFAULT.but(capacity=2)])
def test_a_capacity_is_kept_write_by_write(preset: Any) -> None:
    """The write that exceeds it decides what goes."""
    backend = open_backend("memory:")
    commit = Noting(backend)
    rules = replace(RULES, preset=preset)
    grouped(commit)([adding([NewRecord(text=text, namespace=SPACE)], rules=rules) for text in ("a", "b c", "d")])
    assert commit.sizes == [3]


def test_the_database_s_error_is_everyone_s() -> None:
    """If nothing can be written, nobody is told that it was stored, and other work goes on."""
    backend = open_backend("memory:")

    def failing(works: Sequence[Any]) -> list[Any]:
        def full(work: Any) -> Any:
            def run(tx: Transaction) -> None:
                work(tx)
                raise InvalidInput("no room")

            return run if isinstance(work, Adding) else work

        return backend.transact_all([full(work) for work in works])

    commit: Commit = grouped(failing)
    outcomes = commit([*(adding([NewRecord(text="a dog", namespace=SPACE)]) for _ in range(3)), lambda tx: tx.head()])
    assert told(outcomes) == ["no room"] * 3 + [0]
    assert backend.read(lambda reader: reader.count(Selection())) == 0


class Picky:
    """A backend's `transact_all` on a database that refuses a text; after `last` calls it is lost."""

    def __init__(self, backend: Backend, refused: str, last: int) -> None:
        self.backend, self.refused, self.left = backend, refused, last

    def __call__(self, works: Sequence[Any]) -> list[Any]:
        """Commit them."""
        if not self.left:
            raise StoreUnavailable("lost")
        self.left -= 1
        return self.backend.transact_all([self._picky(work) for work in works])

    def _picky(self, work: Any) -> Any:
        def run(tx: Transaction) -> Any:
            done = work(tx)
            if self.refused in (one.text for one in tx.select(Selection())):
                raise InvalidInput("refused")
            return done

        return run


@pytest.mark.parametrize("url", ["memory:", "sqlite://"])
def test_one_that_is_refused_fails_alone(url: str) -> None:
    """Its neighbours are stored; if the database is lost before they are, they are told so, and nobody else is."""
    for last, ours in ((2, ["added", "refused", "added"]), (1, ["lost"] * 3)):
        backend = open_backend(url)
        commit = grouped(Picky(backend, "a cat", last))
        works = [adding([NewRecord(text=text, namespace=SPACE)]) for text in ("a dog", "a cat", "rome")]
        outcomes = commit([lambda tx: tx.head(), *works])
        assert [str(one.error) if isinstance(one, Failed) else "added" for one in outcomes[1:]] == ours
        assert outcomes[0] == 0
        assert backend.read(lambda reader: reader.count(Selection())) == ours.count("added")
        backend.close()
