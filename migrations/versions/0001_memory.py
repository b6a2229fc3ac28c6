"""Records, vectors, history, tombstones, the store's own facts and its clock.

Revision: 0001, the first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def partial_index(name: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    """Index the records that meet a condition."""
    where = sa.text(condition)
    op.create_index(name, "mars_records", columns, unique=unique, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    """Create the tables of a fresh store, and start its clock."""
    clock = op.create_table(
        "mars_clock",
        sa.Column("id", sa.Integer(), autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_mars_clock_single"),
        sa.PrimaryKeyConstraint("id", name="pk_mars_clock"),
    )
    op.create_table(
        "mars_history",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("record", LABEL, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_mars_history"),
    )
    op.create_index("ix_mars_history_record", "mars_history", ["record"], unique=False)

    op.create_table(
        "mars_meta",
        sa.Column("key", LABEL, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_mars_meta"),
    )
    op.create_table(
        "mars_records",
        sa.Column("number", NUMBER, autoincrement=False),
        sa.Column("id", LABEL, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("namespace", LABEL, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("short_text", sa.Text()),
        sa.Column("key", LABEL),
        sa.Column("conversation", LABEL),
        sa.Column("position", sa.BigInteger()),
        sa.Column("speaker", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("event_time", sa.BigInteger(), nullable=False),
        sa.Column("last_strengthened", sa.BigInteger(), nullable=False),
        sa.Column("strength", sa.Double(), nullable=False),
        sa.Column("boost", sa.Double(), nullable=False),
        sa.Column("difficulty", sa.Double(), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("last_turn", sa.Text()),
        sa.Column("importance", sa.Double(), nullable=False),
        sa.Column("entropy", sa.Double(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("subject_folded", LABEL),
        sa.Column("relation", LABEL),
        sa.Column("value", sa.Text()),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger()),
        sa.Column("known_from", sa.BigInteger(), nullable=False),
        sa.Column("known_to", sa.BigInteger()),
        sa.Column("superseded_by", sa.Text()),
        sa.Column("archived_at", sa.BigInteger()),
        sa.Column("archived_because", sa.Text()),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("trust", sa.Double(), nullable=False),
        sa.Column("task", sa.Text()),
        sa.Column("iteration", sa.BigInteger()),
        sa.Column("role", sa.Text()),
        sa.Column("sources", sa.Text(), nullable=False),
        sa.Column("idempotency_key", LABEL),
        sa.Column("content_hash", LABEL, nullable=False),
        sa.Column("embedder", sa.Text()),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_mars_records"),
    )
    partial_index("ix_mars_records_expiry", ["expires_at"], "expires_at IS NOT NULL")
    partial_index("ix_mars_records_fact", ["namespace", "subject_folded", "relation"], "subject_folded IS NOT NULL")
    op.create_index("ix_mars_records_hash", "mars_records", ["content_hash"], unique=False)
    op.create_index("ix_mars_records_id", "mars_records", ["id"], unique=True)
    partial_index(
        "ix_mars_records_idempotency", ["namespace", "idempotency_key"], "idempotency_key IS NOT NULL", unique=True
    )
    partial_index("ix_mars_records_key", ["namespace", "key"], "key IS NOT NULL", unique=True)
    op.create_index("ix_mars_records_place", "mars_records", ["namespace", "conversation", "position"], unique=False)
    op.create_index("ix_mars_records_seq", "mars_records", ["seq"], unique=True)

    op.create_table(
        "mars_tombstones",
        sa.Column("seq", NUMBER, autoincrement=False),
        sa.Column("id", LABEL, nullable=False),
        sa.Column("namespace", LABEL, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_mars_tombstones"),
    )
    op.create_table(
        "mars_vectors",
        sa.Column("number", NUMBER, autoincrement=False),
        sa.Column("embedder", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_mars_vectors"),
    )
    op.bulk_insert(clock, [{"id": 1, "seq": 0}])


def downgrade() -> None:
    """Drop the store with everything in it."""
    for name in ("vectors", "tombstones", "records", "meta", "history", "clock"):
        op.drop_table(f"mars_{name}")
