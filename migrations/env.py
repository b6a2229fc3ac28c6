"""Alembic's entry: runs on the connection that it is handed, or on ``sqlalchemy.url``.

`mars.memory.schema` hands over a connection that already holds the migration lock. For ``alembic revision
--autogenerate`` in a checkout: ``alembic -x url=sqlite:///some.db revision --autogenerate -m "…"``.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine

from mars.memory import tables as memory_tables
from mars.persistence import tables as persistence_tables

TARGET = [memory_tables.metadata, persistence_tables.metadata]


def ours(name: str | None, kind: str, parents: Any) -> bool:
    """Whether a table of the database is one of ours: others may live in the same database."""
    return kind != "table" or (name or "").startswith("mars_")


def run(connection: Connection) -> None:
    """Run the migrations on this connection."""
    context.configure(
        connection=connection,
        target_metadata=TARGET,
        version_table="mars_version",
        include_name=ours,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Take the connection that was handed over, or open one."""
    handed = context.config.attributes.get("connection")
    if handed is not None:
        run(handed)
        return
    url = context.get_x_argument(as_dictionary=True).get("url") or context.config.get_main_option("sqlalchemy.url")
    engine = create_engine(url or "sqlite:///mars.db")
    try:
        with engine.begin() as connection:
            run(connection)
    finally:
        engine.dispose()


main()
