"""LangGraph's checkpoints, and what tasks wrote since.

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables; those of memory stay as they are."""
    op.create_table(
        "mars_checkpoints",
        sa.Column("thread_id", LABEL, nullable=False),
        sa.Column("checkpoint_ns", LABEL, nullable=False),
        sa.Column("checkpoint_id", LABEL, nullable=False),
        sa.Column("parent_id", LABEL),
        sa.Column("run_id", LABEL),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("thread_id", "checkpoint_ns", "checkpoint_id", name="pk_mars_checkpoints"),
    )
    known = sa.text("run_id IS NOT NULL")
    op.create_index(
        "ix_mars_checkpoints_run", "mars_checkpoints", ["run_id"], sqlite_where=known, postgresql_where=known
    )
    op.create_table(
        "mars_checkpoint_writes",
        sa.Column("thread_id", LABEL, nullable=False),
        sa.Column("checkpoint_ns", LABEL, nullable=False),
        sa.Column("checkpoint_id", LABEL, nullable=False),
        sa.Column("task_id", LABEL, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task_path", LABEL, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx", name="pk_mars_checkpoint_writes"
        ),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop all checkpoints."""
    op.drop_table("mars_checkpoint_writes")
    op.drop_table("mars_checkpoints")
