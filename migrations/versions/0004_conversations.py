"""Conversations: who writes to one, its turns, and what was said.

Revision: 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables; all others stay as they are."""
    op.create_table(
        "mars_conversations",
        sa.Column("thread_id", LABEL, nullable=False),
        sa.Column("conversation", LABEL, nullable=False),
        sa.Column("turns", sa.BigInteger(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("holder", LABEL),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("thread_id", name="pk_mars_conversations"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_mars_conversations_conversation", "mars_conversations", ["conversation"])
    op.create_table(
        "mars_turns",
        sa.Column("thread_id", LABEL, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("turn", LABEL, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("checkpoint_id", LABEL),
        sa.Column("name", LABEL),
        sa.PrimaryKeyConstraint("thread_id", "number", name="pk_mars_turns"),
        sqlite_with_rowid=False,
    )
    unfinished = sa.text("input <> ''")
    op.create_index(
        "ix_mars_turns_unfinished",
        "mars_turns",
        ["thread_id"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    op.create_table(
        "mars_transcript",
        sa.Column("thread_id", LABEL, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("speaker", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("said_at", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("thread_id", "number", "place", name="pk_mars_transcript"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop what was said, the turns and the leases."""
    op.drop_table("mars_transcript")
    op.drop_table("mars_turns")
    op.drop_table("mars_conversations")
