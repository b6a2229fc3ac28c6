"""What people were asked, and what they decided.

Revision: 0007, after 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table; all others stay as they are."""
    op.create_table(
        "mars_asks",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("conversation", LABEL, nullable=False),
        sa.Column("turn", LABEL, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("default_choice", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("conversation", "turn", "number", name="pk_mars_asks"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Forget what people decided."""
    op.drop_table("mars_asks")
