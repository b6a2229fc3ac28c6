"""How the tasks of agents went.

Revision: 0006, after 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

LABEL = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table; all others stay as they are."""
    op.create_table(
        "mars_tasks",
        sa.Column("turn", LABEL, nullable=False),
        sa.Column("role", LABEL, nullable=False),
        sa.Column("agent", LABEL, nullable=False),
        sa.Column("model", LABEL, nullable=False),
        sa.Column("success", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("turn", "role", name="pk_mars_tasks"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Forget how tasks went."""
    op.drop_table("mars_tasks")
