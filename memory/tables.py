"""The tables of memory: one SQL row per record is the truth, everything else is derived from it.

Values are kept so that SQLite and PostgreSQL hold the same thing: times as microseconds since 1970 UTC, structured
values as ASCII JSON text (which also carries NUL and lone surrogates, as no text column does), a namespace as the
canonical JSON list of its labels, so that ``('a', 'b.c')`` is not ``('a.b', 'c')``. Every name starts with ``mars_``,
so that a store can live in a database that others use too.

``mars_records.number`` is the ``seq`` of the record's insertion: it never changes and is never given again, so vectors
are joined by a small integer in the order of storing. ``mars_clock`` has one row; a writer locks it first, which makes
``seq`` gap-free and puts it in the order of commits.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

__all__ = [
    "DISTILLED",
    "NAMING",
    "clock",
    "history",
    "label",
    "meta",
    "metadata",
    "partial_index",
    "records",
    "row_number",
    "tombstones",
    "vectors",
]

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
}
"""How indexes and constraints are named, in every wing."""

metadata = MetaData(naming_convention=NAMING)
"""The tables of memory, for migrations and for the test that compares the two."""


def row_number() -> TypeEngine[int]:
    """A 64-bit integer that is SQLite's own row number when it is the primary key."""
    return BigInteger().with_variant(Integer(), "sqlite")


def label() -> TypeEngine[str]:
    """Text that compares by its bytes on both databases: ranges and indexes then mean the same."""
    return Text().with_variant(Text(collation="C"), "postgresql")


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index over the rows that have a value; the others cost nothing."""
    condition = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


DISTILLED = "kind <> 'episode'"
"""The condition of the index over all that was drawn from episodes; a query that is to use it says the same."""

records = Table(
    "mars_records",
    metadata,
    Column("number", row_number(), primary_key=True, autoincrement=False),
    Column("id", label(), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("namespace", label(), nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("short_text", Text),
    Column("key", label()),
    Column("conversation", label()),
    Column("position", BigInteger),
    Column("speaker", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("event_time", BigInteger, nullable=False),
    Column("last_strengthened", BigInteger, nullable=False),
    Column("strength", Double, nullable=False),
    Column("boost", Double, nullable=False),
    Column("difficulty", Double, nullable=False),
    Column("uses", BigInteger, nullable=False),
    Column("last_turn", Text),
    Column("importance", Double, nullable=False),
    Column("entropy", Double, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("subject", Text),
    Column("subject_folded", label()),
    Column("relation", label()),
    Column("value", Text),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_to", BigInteger),
    Column("known_from", BigInteger, nullable=False),
    Column("known_to", BigInteger),
    Column("superseded_by", Text),
    Column("archived_at", BigInteger),
    Column("archived_because", Text),
    Column("expires_at", BigInteger),
    Column("source", Text, nullable=False),
    Column("trust", Double, nullable=False),
    Column("task", Text),
    Column("iteration", BigInteger),
    Column("role", Text),
    Column("sources", Text, nullable=False),
    Column("idempotency_key", label()),
    Column("content_hash", label(), nullable=False),
    Column("embedder", Text),
    Column("metadata", Text, nullable=False),
    Column("terms", LargeBinary),
    Index("ix_mars_records_id", "id", unique=True),
    Index("ix_mars_records_seq", "seq", unique=True),
    Index("ix_mars_records_place", "namespace", "conversation", "position"),
    Index("ix_mars_records_hash", "content_hash"),
    partial_index("ix_mars_records_key", "namespace", "key", where="key IS NOT NULL", unique=True),
    partial_index(
        "ix_mars_records_idempotency",
        "namespace",
        "idempotency_key",
        where="idempotency_key IS NOT NULL",
        unique=True,
    ),
    partial_index(
        "ix_mars_records_fact", "namespace", "subject_folded", "relation", where="subject_folded IS NOT NULL"
    ),
    partial_index("ix_mars_records_expiry", "expires_at", where="expires_at IS NOT NULL"),
    partial_index("ix_mars_records_distilled", "namespace", "kind", where=DISTILLED),
)
"""One row per record, with every field of `mars.memory.records.Record`.

``subject_folded`` serves look-ups; ``terms`` is the blob of `mars.memory.terms`, from which shards are filled.
"""

vectors = Table(
    "mars_vectors",
    metadata,
    Column("number", row_number(), primary_key=True, autoincrement=False),
    Column("embedder", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("vector", LargeBinary, nullable=False),
)
"""The vector of a record as little-endian float32, beside the embedder that made it."""

history = Table(
    "mars_history",
    metadata,
    Column("number", row_number(), primary_key=True, autoincrement=True),
    Column("seq", BigInteger, nullable=False),
    Column("record", label(), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_mars_history_record", "record"),
)
"""What happened to each record, oldest first by ``number``; outlives the record."""

tombstones = Table(
    "mars_tombstones",
    metadata,
    Column("seq", row_number(), primary_key=True, autoincrement=False),
    Column("id", label(), nullable=False),
    Column("namespace", label(), nullable=False),
)
"""One row per purged record, so that whoever follows ``seq`` learns of it."""

meta = Table(
    "mars_meta",
    metadata,
    Column("key", label(), primary_key=True),
    Column("value", Text, nullable=False),
)
"""The store's own facts: ``store_id``, ``embedder``, ``dimension``, …"""

clock = Table(
    "mars_clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
)
"""One row with the newest ``seq``; locked by a writer for the length of its transaction."""
