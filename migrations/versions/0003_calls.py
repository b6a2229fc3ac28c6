"""The ledger of calls, and what was spent.

Revision: 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COUNTED = (
    "calls",
    "tool_calls",
    "retries",
    "failures",
    "cancelled",
    "cached",
    "maybe_paid",
    "unpriced",
    "last_calls",
    "input_tokens",
    "output_tokens",
)


def counts(*names: str) -> list[sa.Column[int]]:
    """Columns of whole numbers."""
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def measures(*names: str) -> list[sa.Column[float]]:
    """Columns of measured values."""
    return [sa.Column(name, sa.Double(), nullable=False) for name in names]


def upgrade() -> None:
    """Create the tables; all others stay as they are."""
    op.create_table(
        "mars_calls",
        sa.Column("conversation", LABEL, nullable=False),
        sa.Column("turn", LABEL, nullable=False),
        sa.Column("iteration", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("role", LABEL, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        *counts("held_tokens"),
        *measures("held_cost"),
        *counts("input_tokens", "output_tokens"),
        sa.Column("cost", sa.Double()),
        *measures("latency"),
        sa.PrimaryKeyConstraint(
            "conversation", "turn", "iteration", "role", "ordinal", "attempt", name="pk_mars_calls"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "mars_spending",
        sa.Column("scope", LABEL, nullable=False),
        sa.Column("name", LABEL, nullable=False),
        *counts(*COUNTED),
        *measures("cost", "wall", "working"),
        *counts("held_calls", "held_tokens"),
        *measures("held_cost"),
        sa.PrimaryKeyConstraint("scope", "name", name="pk_mars_spending"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the ledger and the totals."""
    op.drop_table("mars_spending")
    op.drop_table("mars_calls")
