"""What a transaction of the SQL backend can read and write."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np

from mars.errors import NotFound
from mars.memory import points
from mars.memory.backends.crowds import Crowds
from mars.memory.backends.doom import Doom
from mars.memory.backends.inspection import audit, inspection, stored
from mars.memory.backends.rows import (
    change_of,
    change_row,
    json_text,
    namespace_of,
    namespace_text,
    record_of,
    stored_row,
)
from mars.memory.backends.selections import selection_query
from mars.memory.backends.statements import Statements, as_list
from mars.memory.backends.wire import Parameters, Wire
from mars.memory.findings import Audit, Stored
from mars.memory.interfaces import Reader, Selection, Transaction
from mars.memory.json_pieces import decoded
from mars.memory.lives import Lives
from mars.memory.loading import PART, Loaded
from mars.memory.records import Change, Namespace, Record, Vector, check_vector

_FLOAT = np.dtype("<f4")

SCANNED = 2_000
"""When so many rows are loaded, SQLite keeps `FEW_PAGES` meanwhile: nobody reads them again."""

FEW_PAGES = 100
"""So many pages are kept of such a load, besides those in use."""


class SqlReader(Reader):
    """Reads within the snapshot of one connection."""

    def __init__(self, wire: Wire, statements: Statements) -> None:
        """Read on a connection whose transaction the caller begins and ends."""
        self._wire = wire
        self._sql = statements
        self._dialect = wire.dialect
        self._doom = Doom()

    def head(self) -> int:
        """See `Reader.head`."""
        return int(self._rows(self._sql.head)[0][0])

    def get(self, ids: Sequence[str]) -> list[Record | None]:
        """See `Reader.get`."""
        found = {row[1]: record_of(row) for row in self._rows(self._sql.get, self._listed(ids))}
        return [found.get(one) for one in ids]

    def select(self, selection: Selection) -> list[Record]:
        """See `Reader.select`."""
        return [record_of(row) for row in self._rows(*selection_query(selection, self._dialect))]

    def lives(self, selection: Selection) -> Lives:
        """See `Reader.lives`."""
        return Lives.of(self._rows(*selection_query(selection, self._dialect, "lives")))

    def count(self, selection: Selection) -> int:
        """See `Reader.count`."""
        return int(self._rows(*selection_query(selection, self._dialect, "count"))[0][0])

    def citing(self, ids: Collection[str]) -> list[Record]:
        """See `Reader.citing`."""
        wanted = set(ids)
        derived = self._rows(self._sql.derived) if wanted else ()
        found = self.get([one for one, sources in derived if wanted.intersection(json.loads(sources))])
        return [record for record in found if record is not None]

    def vectors(self, ids: Sequence[str]) -> dict[str, Vector]:
        """See `Reader.vectors`; the arrays are read-only."""
        rows = self._rows(self._sql.vectors, self._listed(ids))
        return {row[0]: np.frombuffer(row[1], dtype=_FLOAT) for row in rows}

    def metadata(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """See `Reader.metadata`."""
        return {one: decoded(text) for one, text in self._rows(self._sql.metadata, self._listed(ids))}

    def load(self, namespace: Namespace) -> Iterator[Loaded]:
        """See `Reader.load`."""
        numbers = sorted(row[0] for row in self._rows(self._sql.places, (namespace_text(namespace),)))
        with self._scanning(len(numbers)):
            yield from self._parts(numbers)

    @contextmanager
    def _scanning(self, rows: int) -> Iterator[None]:
        """While many rows are read once, SQLite keeps few pages: it reuses them instead of taking new memory."""
        if self._dialect != "sqlite" or rows < SCANNED:
            yield
            return
        held = self._rows("PRAGMA cache_size")[0][0]
        self._run(f"PRAGMA cache_size = {FEW_PAGES}", ())
        try:
            yield
        finally:
            self._run(f"PRAGMA cache_size = {held}", ())

    def _parts(self, numbers: Sequence[int]) -> Iterator[Loaded]:
        for start in range(0, len(numbers), PART):
            part = numbers[start : start + PART]
            if part[-1] - part[0] < 2 * len(part):
                rows = self._rows(self._sql.load_run, (part[0], part[-1]))
            else:
                rows = self._rows(self._sql.load, (as_list(part, self._dialect),))
            if len(rows) != len(part):
                wanted = frozenset(part)
                rows = [row for row in rows if row[0] in wanted]
            yield Loaded.of(rows, max(0, len(numbers) - start - PART))

    def removed(self, after_seq: int) -> list[tuple[int, str, Namespace]]:
        """See `Reader.removed`."""
        return [(seq, one, namespace_of(text)) for seq, one, text in self._rows(self._sql.removed, (after_seq,))]

    def namespaces(self) -> dict[Namespace, int]:
        """See `Reader.namespaces`."""
        return {namespace_of(text): count for text, count in self._rows(self._sql.namespaces)}

    def history(self, record: str) -> list[Change]:
        """See `Reader.history`."""
        return [change_of(row) for row in self._rows(self._sql.history, (record,))]

    def graded(self, record: str, turn: str) -> bool:
        """See `Reader.graded`; the turn is looked for in the JSON text, where no other value can hold it unescaped."""
        return bool(self._rows(self._sql.graded, (record, f'"turn":{json_text(turn)}'))[0][0])

    def meta(self) -> Mapping[str, str]:
        """See `Reader.meta`."""
        return {key: value for key, value in self._rows(self._sql.meta)}

    def stored(self, after: int, limit: int) -> list[Stored]:
        """See `Reader.stored`."""
        return stored(self._rows, self._dialect, after, limit)

    def audit(self) -> Audit:
        """See `Reader.audit`."""
        return audit(self._rows, self._dialect)

    def _listed(self, ids: Iterable[str]) -> tuple[Any, ...]:
        return (as_list(ids, self._dialect),)

    def _rows(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        try:
            rows: list[Any] = self._wire.run(statement, parameters).fetchall()
        except BaseException as error:
            self._doom.note(error)
            raise
        return rows

    def _run(self, statement: str, parameters: Parameters) -> int:
        """Run a statement and return how many rows it changed."""
        try:
            return int(self._wire.run(statement, parameters).rowcount)
        except BaseException as error:
            self._doom.note(error)
            raise


class SqlTransaction(SqlReader, Transaction):
    """Reads and writes within one write transaction, which a failed statement dooms."""

    def __init__(self, wire: Wire, statements: Statements, head: int, meta: Mapping[str, str], crowds: Crowds) -> None:
        """Write on a connection that holds the store's write lock; `head` is the newest `seq`."""
        super().__init__(wire, statements)
        self.crowds = crowds
        self._head = head
        self._meta = meta

    def head(self) -> int:
        """Return the newest `seq`, those taken here included."""
        return self._head

    def meta(self) -> Mapping[str, str]:
        """Return the store's own facts, those set here included."""
        return self._meta

    def crowd(self, namespace: Namespace) -> Lives:
        """See `Transaction.crowd`."""
        self.crowds, lives = self.crowds.look(self, namespace)
        return lives

    def next_seq(self) -> int:
        """See `Transaction.next_seq`."""
        self._head += 1
        return self._head

    def insert(self, records: Sequence[Record], vectors: Mapping[str, Vector]) -> None:
        """See `Transaction.insert`; `InvalidInput` where an id or a key is already there."""
        if not records:
            return
        with self._doom:
            rows = [stored_row(record) for record in records]
            vector_rows = [
                _vector_row(record.seq, record.embedder, vectors[record.id])
                for record in records
                if record.id in vectors
            ]
        self._run(self._sql.insert, rows)
        points.reach("record_inserted")
        if vector_rows:
            self._run(self._sql.put_vector, vector_rows)

    def update(self, records: Sequence[Record]) -> None:
        """See `Transaction.update`; `NotFound` where there is no such record."""
        if not records:
            return
        with self._doom:
            count = self._run(self._sql.update, [(*stored_row(record)[2:], record.id) for record in records])
            if count != len(records):
                raise NotFound("an updated record is not in the store; nothing was written")
        points.reach("record_updated")

    def set_vectors(self, embedder: str, vectors: Mapping[str, Vector]) -> None:
        """See `Transaction.set_vectors`; `NotFound` where there is no such record."""
        if not vectors:
            return
        with self._doom:
            numbers = {row[0]: row[1] for row in self._rows(self._sql.numbers, self._listed(vectors))}
            if len(numbers) != len(vectors):
                raise NotFound("a vector was given for a record that is not in the store; nothing was written")
            rows = [_vector_row(numbers[one], embedder, vectors[one]) for one in vectors]
        self._run(self._sql.put_vector, rows)
        points.reach("vector_replaced")
        self._run(self._sql.touch, [(self.next_seq(), embedder, one) for one in vectors])

    def remove(self, records: Iterable[Record]) -> None:
        """See `Transaction.remove`."""
        gone = list(records)
        if not gone:
            return
        ids = self._listed(record.id for record in gone)
        self._run(self._sql.delete_vectors, ids)
        points.reach("vector_deleted")
        self._run(self._sql.delete, ids)
        points.reach("record_deleted")
        graves = [(self.next_seq(), record.id, namespace_text(record.namespace)) for record in gone]
        self._run(self._sql.bury, graves)

    def log(self, changes: Sequence[Change]) -> None:
        """See `Transaction.log`."""
        if not changes:
            return
        with self._doom:
            self._run(self._sql.log, [change_row(change) for change in changes])

    def set_meta(self, values: Mapping[str, str]) -> None:
        """See `Transaction.set_meta`."""
        if values:
            self._run(self._sql.put_meta, list(values.items()))
            self._meta = MappingProxyType({**self._meta, **values})

    def advance(self, seq: int) -> None:
        """See `Transaction.advance`."""
        self._head, self.crowds = max(self._head, seq), Crowds()

    def rewrite(self, rows: Mapping[int, Record]) -> None:
        """See `Transaction.rewrite`; `NotFound` where there is no such row."""
        if not rows:
            return
        self.crowds = Crowds()
        with self._doom:
            values = [(*stored_row(record, number)[1:], number) for number, record in rows.items()]
            if self._run(inspection(self._dialect).rewrite, values) != len(rows):
                raise NotFound("a row to rewrite is not in the store; nothing was written")

    def exhume(self, ids: Sequence[str]) -> None:
        """See `Transaction.exhume`."""
        self._run(inspection(self._dialect).exhume, self._listed(ids))

    def bury(self, graves: Sequence[tuple[int, str, Namespace]]) -> None:
        """See `Transaction.bury`."""
        if graves:
            self._run(self._sql.bury, [(seq, one, namespace_text(namespace)) for seq, one, namespace in graves])

    def clear(self) -> None:
        """See `Transaction.clear`."""
        gone = self._rows(inspection(self._dialect).inhabitants)
        for statement in inspection(self._dialect).clear:
            self._run(statement, ())
        if gone:
            self._run(self._sql.bury, [(self.next_seq(), one, namespace) for one, namespace in gone])

    def drop_orphans(self) -> int:
        """See `Transaction.drop_orphans`."""
        return self._run(inspection(self._dialect).drop_orphans, ())

    def rebuild_indexes(self) -> None:
        """See `Transaction.rebuild_indexes`; `InvalidInput` where rows share what must be unique."""
        for statement in inspection(self._dialect).create:
            self._run(statement, ())
        if self._dialect == "sqlite":
            self._run("REINDEX", ())

    def finish(self) -> None:
        """Raise what a call failed with, even if `work` swallowed it."""
        self._doom.check()


def _vector_row(number: int, embedder: str | None, vector: Vector) -> tuple[int, str, int, bytes]:
    values = check_vector(vector)
    return number, embedder or "", int(values.size), values.astype(_FLOAT, copy=False).tobytes()
