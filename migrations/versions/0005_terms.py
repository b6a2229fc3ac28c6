"""The terms of each record, from which shards are filled, and an index over what was drawn from episodes.

Revision: 0005, after 0004. The terms of the records that are there are written, a few microseconds each.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mars.memory.terms import encode

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PART = 1000

RECORDS = sa.table(
    "mars_records",
    sa.column("number", sa.BigInteger),
    sa.column("text", sa.Text),
    sa.column("speaker", sa.Text),
    sa.column("terms", sa.LargeBinary),
)


def upgrade() -> None:
    """Add the column and fill it; every other value stays."""
    op.add_column("mars_records", sa.Column("terms", sa.LargeBinary()))
    distilled = sa.text("kind <> 'episode'")
    op.create_index(
        "ix_mars_records_distilled",
        "mars_records",
        ["namespace", "kind"],
        sqlite_where=distilled,
        postgresql_where=distilled,
    )
    connection, row, after = op.get_bind(), RECORDS.c, -(1 << 63)
    told = sa.select(row.number, row.text, row.speaker).order_by(row.number).limit(PART)
    write = sa.update(RECORDS).where(row.number == sa.bindparam("same")).values(terms=sa.bindparam("blob"))
    while found := connection.execute(told.where(row.number > after)).all():
        blobs = [{"same": number, "blob": encode(text, speaker)} for number, text, speaker in found]
        connection.execute(write, blobs)
        after = found[-1].number


def downgrade() -> None:
    """Drop both; they are made from the text again."""
    op.drop_index("ix_mars_records_distilled", "mars_records")
    op.drop_column("mars_records", "terms")
