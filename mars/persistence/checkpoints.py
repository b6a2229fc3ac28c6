"""Checkpoints as rows: what one transaction reads and writes, in SQL that is made once for each kind of database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from mars.errors import InvalidInput
from mars.memory.backends.statements import as_list
from mars.memory.backends.wire import Wire

CHAIN = 64
"""So many ancestors are read at a time."""


class Place(NamedTuple):
    """Where checkpoints of one graph follow each other."""

    thread: str
    """The thread's id."""
    namespace: str
    """Empty for the graph itself; LangGraph's path of a subgraph."""


class Row(NamedTuple):
    """A checkpoint as it is stored; the fields are the columns of `mars.persistence.tables.checkpoints`."""

    thread: str
    namespace: str
    id: str
    parent: str | None
    run: str | None
    format: str
    body: bytes
    metadata: str

    @property
    def place(self) -> Place:
        """Where it belongs."""
        return Place(self.thread, self.namespace)


class Write(NamedTuple):
    """What a task wrote to a channel."""

    checkpoint: str
    task: str
    channel: str
    format: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Statements:
    """SQL text with positional parameters, ready for the driver."""

    put: str = (
        "INSERT INTO mars_checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id) DO UPDATE SET parent_id = excluded.parent_id, "
        "run_id = excluded.run_id, format = excluded.format, body = excluded.body, metadata = excluded.metadata"
    )
    """A whole row; replaces."""
    put_write: str = "INSERT INTO mars_checkpoint_writes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    """A whole row; the first one stays."""
    replace_write: str = (
        "INSERT INTO mars_checkpoint_writes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO UPDATE SET "
        "task_path = excluded.task_path, channel = excluded.channel, format = excluded.format, body = excluded.body"
    )
    """A whole row; replaces."""
    get: str = "SELECT * FROM mars_checkpoints WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
    """(thread, namespace, id) → a whole row."""
    newest: str = (
        "SELECT * FROM mars_checkpoints WHERE thread_id = ? AND checkpoint_ns = ? ORDER BY checkpoint_id DESC LIMIT 1"
    )
    """(thread, namespace) → a whole row."""
    newest_id: str = "SELECT MAX(checkpoint_id) FROM mars_checkpoints WHERE thread_id = ? AND checkpoint_ns = ?"
    """(thread, namespace) → its id."""
    writes: str = (
        "SELECT checkpoint_id, task_id, channel, format, body FROM mars_checkpoint_writes "
        "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ? ORDER BY task_path, task_id, idx"
    )
    """(thread, namespace, id) → the fields of `Write`, in LangGraph's `writes_sort_key` order."""
    many_writes: str = (
        "SELECT checkpoint_id, task_id, channel, format, body FROM mars_checkpoint_writes "
        "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id {among} ORDER BY task_path, task_id, idx"
    )
    """(thread, namespace, list of ids) → as above, of all of them."""
    chain: str = (  # CROSS JOIN keeps SQLite from scanning the thread at each step
        "WITH RECURSIVE chain(depth, checkpoint_id, parent_id, run_id, format, body, metadata) AS ("
        "SELECT 1, checkpoint_id, parent_id, run_id, format, body, metadata FROM mars_checkpoints "
        "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ? UNION ALL "
        "SELECT a.depth + 1, c.checkpoint_id, c.parent_id, c.run_id, c.format, c.body, c.metadata "
        "FROM chain a CROSS JOIN mars_checkpoints c WHERE c.checkpoint_id = a.parent_id "
        f"AND c.thread_id = ? AND c.checkpoint_ns = ? AND a.depth < {CHAIN}) "
        "SELECT checkpoint_id, parent_id, run_id, format, body, metadata FROM chain ORDER BY depth"
    )
    """(thread, namespace, id, thread, namespace) → the checkpoint, its parent, its parent's parent, …"""
    places: str = "SELECT DISTINCT checkpoint_ns FROM mars_checkpoints WHERE thread_id = ?"
    """(thread) → its namespaces."""
    ids: str = "SELECT checkpoint_id FROM mars_checkpoints WHERE thread_id = ? AND checkpoint_ns = ?"
    """(thread, namespace) → every id."""
    delete: str = "DELETE FROM mars_checkpoints WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id {among}"
    """(thread, namespace, list of ids)"""
    delete_writes: str = (
        "DELETE FROM mars_checkpoint_writes WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id {among}"
    )
    """(thread, namespace, list of ids)"""
    delete_thread: str = "DELETE FROM mars_checkpoints WHERE thread_id = ?"
    """(thread)"""
    delete_thread_writes: str = "DELETE FROM mars_checkpoint_writes WHERE thread_id = ?"
    """(thread)"""
    of_runs: str = (
        "SELECT thread_id, checkpoint_ns, checkpoint_id FROM mars_checkpoints WHERE run_id {among} ORDER BY 1, 2, 3"
    )
    """(list of runs) → thread, namespace, id."""
    copy: str = (
        "INSERT INTO mars_checkpoints SELECT ?, checkpoint_ns, checkpoint_id, parent_id, run_id, format, body, "
        "metadata FROM mars_checkpoints WHERE thread_id = ?"
    )
    """(target, source)"""
    copy_writes: str = (
        "INSERT INTO mars_checkpoint_writes SELECT ?, checkpoint_ns, checkpoint_id, task_id, idx, task_path, channel, "
        "format, body FROM mars_checkpoint_writes WHERE thread_id = ?"
    )
    """(target, source)"""
    copy_some: str = copy + " AND checkpoint_ns = '' AND checkpoint_id {among}"
    """(target, source, list of ids)"""
    copy_some_writes: str = copy_writes + " AND checkpoint_ns = '' AND checkpoint_id {among}"
    """(target, source, list of ids)"""


@lru_cache(maxsize=2)
def statements(dialect: str) -> Statements:
    """Return the statements for ``sqlite`` or ``postgresql``."""
    if dialect == "sqlite":
        among = "IN (SELECT value FROM json_each(?))"
        return Statements(**{one.name: str(one.default).replace("{among}", among) for one in fields(Statements)})
    return Statements(**{one.name: in_postgresql(str(one.default)) for one in fields(Statements)})


def in_postgresql(statement: str) -> str:
    """Return a statement in PostgreSQL's words."""
    return statement.replace("{among}", "= ANY(?)").replace("SELECT ?,", "SELECT ?::text,").replace("?", "%s")


class Checkpoints:
    """The rows, within one transaction or snapshot of a connection."""

    def __init__(self, wire: Wire) -> None:
        """Read and write on a connection whose transaction the caller begins and ends."""
        self._wire = wire
        self._sql = statements(wire.dialect)

    def get(self, place: Place, id: str | None) -> Row | None:
        """Return a checkpoint, the newest where no id is given; None where there is none."""
        statement, wanted = (self._sql.get, (*place, id)) if id else (self._sql.newest, tuple(place))
        found = self._wire.run(statement, wanted).fetchone()
        return Row(*found) if found else None

    def newest(self, place: Place) -> str | None:
        """Return the id of the newest checkpoint; None where there is none."""
        found: str | None = self._wire.run(self._sql.newest_id, tuple(place)).fetchone()[0]
        return found

    def writes(self, place: Place, id: str) -> list[Write]:
        """Return what tasks wrote since a checkpoint, in the order of its replay."""
        return [Write(*row) for row in self._wire.run(self._sql.writes, (*place, id)).fetchall()]

    def writes_of(self, place: Place, ids: Sequence[str]) -> dict[str, list[Write]]:
        """Return what tasks wrote since each of several checkpoints."""
        found: dict[str, list[Write]] = {id: [] for id in ids}
        for row in self._wire.run(self._sql.many_writes, (*place, self._listed(ids))).fetchall():
            found[row[0]].append(Write(*row))
        return found

    def put(self, row: Row) -> None:
        """Store a checkpoint; replaces one of the same id."""
        self._wire.run(self._sql.put, tuple(row))

    def put_writes(self, rows: list[tuple[object, ...]], replace: bool) -> None:
        """Store what a task wrote; what it wrote before stays, or is replaced."""
        self._wire.run(self._sql.replace_write if replace else self._sql.put_write, rows)

    def line(self, place: Place, id: str) -> Iterator[Row]:
        """Yield a checkpoint, its parent, its parent's parent, …; ends at the root, a gap, or one seen before."""
        seen: set[str] = set()
        wanted: str | None = id
        while wanted is not None:
            rows = self._wire.run(self._sql.chain, (*place, wanted, *place)).fetchall()
            wanted = None
            for found in rows:
                row = Row(*place, *found)
                if row.id in seen:
                    return
                seen.add(row.id)
                yield row
                wanted = row.parent if len(rows) == CHAIN else None

    def page(
        self, thread: str | None, namespace: str | None, id: str | None, below: Sequence[str], before: str, count: int
    ) -> list[Row]:
        """Return so many checkpoints, the newest id first, that match what is given (None: any).

        `below` is (id, thread, namespace) of the last one of the page before; `before` is an id that all are older
        than; both may be empty.
        """
        given = {"thread_id = ?": thread, "checkpoint_ns = ?": namespace, "checkpoint_id = ?": id or None}
        conditions: dict[str, tuple[str, ...]] = {text: (value,) for text, value in given.items() if value is not None}
        if before:
            conditions["checkpoint_id < ?"] = (before,)
        if below:
            conditions["(checkpoint_id, thread_id, checkpoint_ns) < (?, ?, ?)"] = tuple(below)
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        statement = (
            f"SELECT * FROM mars_checkpoints {where}"
            "ORDER BY checkpoint_id DESC, thread_id DESC, checkpoint_ns DESC LIMIT ?"
        )
        if self._wire.dialect != "sqlite":
            statement = in_postgresql(statement)
        parameters = (*(value for values in conditions.values() for value in values), count)
        return [Row(*found) for found in self._wire.run(statement, parameters).fetchall()]

    def namespaces(self, thread: str) -> list[str]:
        """Return the namespaces of a thread."""
        return [row[0] for row in self._wire.run(self._sql.places, (thread,)).fetchall()]

    def retain(self, place: Place, keep: Collection[str]) -> None:
        """Delete every checkpoint of a place but these, with what tasks wrote since."""
        every = [row[0] for row in self._wire.run(self._sql.ids, tuple(place)).fetchall()]
        self._delete(place, [id for id in every if id not in keep])

    def delete_thread(self, thread: str) -> None:
        """Delete a thread's checkpoints and writes."""
        self._wire.run(self._sql.delete_thread_writes, (thread,))
        self._wire.run(self._sql.delete_thread, (thread,))

    def delete_runs(self, runs: Sequence[str]) -> None:
        """Delete the checkpoints that runs made, with what tasks wrote since."""
        found = self._wire.run(self._sql.of_runs, (self._listed(runs),)).fetchall()
        for place, rows in groupby(found, key=lambda row: Place(row[0], row[1])):
            self._delete(place, [row[2] for row in rows])

    def copy(self, source: str, target: str) -> None:
        """Copy a thread with all of its checkpoints and writes; `InvalidInput` where the target has some."""
        if self.namespaces(target):
            raise InvalidInput("the target thread has checkpoints: delete it first, or copy to another id")
        self._wire.run(self._sql.copy, (target, source))
        self._wire.run(self._sql.copy_writes, (target, source))

    def copy_some(self, source: str, target: str, ids: Sequence[str]) -> None:
        """Copy checkpoints of a thread's own graph, with what tasks wrote since, to a thread that has none of them."""
        self._wire.run(self._sql.copy_some, (target, source, self._listed(ids)))
        self._wire.run(self._sql.copy_some_writes, (target, source, self._listed(ids)))

    def _delete(self, place: Place, ids: Sequence[str]) -> None:
        if ids:
            self._wire.run(self._sql.delete_writes, (*place, self._listed(ids)))
            self._wire.run(self._sql.delete, (*place, self._listed(ids)))

    def _listed(self, ids: Sequence[str]) -> str | list[str]:
        return as_list(ids, self._wire.dialect)
