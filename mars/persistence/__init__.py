"""What a run leaves behind, in the database of its memory: LangGraph's checkpoints, on SQLite and PostgreSQL.

`saver` is what a graph is given; `checkpoints` reads and writes the rows of `tables`; `database` commits them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.persistence.database import Database
    from mars.persistence.saver import CheckpointSaver

__all__ = ["CheckpointSaver", "Database"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"mars.persistence.database": ("Database",), "mars.persistence.saver": ("CheckpointSaver",)},
)
