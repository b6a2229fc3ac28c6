"""Freeze what a store holds, as rows for the test of the migrations.

    python tests/memory/freeze_rows.py STORE.db [TABLE …] > tests/memory/rows/REVISION.json

Run it with the code of that revision, before the next one is written; name the tables that the revision adds or
changes. Bytes become ``{"hex": "…"}``.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from typing import Any


def plain(value: Any) -> Any:
    """Return a value of a row as JSON holds it."""
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def frozen(path: str, tables: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of these tables, or of every table of ours but the one that names the revision."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        found = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'mars!_%' ESCAPE '!'"
        )
        names = tables or sorted(row["name"] for row in found if row["name"] != "mars_version")
        return {
            name: [{key: plain(row[key]) for key in row.keys()} for row in database.execute(f"SELECT * FROM {name}")]  # noqa: SIM118
            for name in names
        }


if __name__ == "__main__":
    print(json.dumps(frozen(sys.argv[1], sys.argv[2:]), indent=1))
