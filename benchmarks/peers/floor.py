"""The floor: what numpy and bare sqlite3 need for the same, with nothing around them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.peers.system import System
from benchmarks.peers.workload import PASS, K, Lookup, Question, Row, Vectors


class Floor(System):
    """One table of rows, and a matrix of their vectors."""

    as_lists: ClassVar[bool] = False

    def __init__(self, folder: Path, durability: str, lookup: Lookup) -> None:
        super().__init__(folder, durability, lookup)
        self._texts: list[str] = []
        self._half = np.zeros(0, np.int64)
        self._matrix: Vectors = np.zeros((0, 0), np.float32)
        self._stale = True

    def open(self) -> None:
        """Open the table; the matrix is read at the first question."""
        self._database = sqlite3.connect(self.folder / "floor.db", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(f"PRAGMA synchronous = {self.durability}")
        self._database.execute("CREATE TABLE IF NOT EXISTS row (text TEXT, metadata TEXT, vector BLOB)")

    def close(self) -> None:
        """Close the table."""
        self._database.close()

    def _insert(self, rows: Sequence[Row]) -> None:
        values = [(row.text, json.dumps(row.metadata), row.vector.tobytes()) for row in rows]
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT INTO row VALUES (?, ?, ?)", values)
        self._database.execute("COMMIT")
        self._stale = True

    def add(self, row: Row) -> None:
        """Insert a row in a transaction of its own."""
        self._insert([row])

    def add_many(self, rows: Sequence[Row]) -> None:
        """Insert rows in one transaction."""
        self._insert(rows)

    def reindex(self) -> None:
        """Read the matrix from the table."""
        rows = self._database.execute("SELECT text, metadata, vector FROM row ORDER BY rowid").fetchall()
        self._texts = [row[0] for row in rows]
        self._half = np.array([json.loads(row[1])["half"] for row in rows])
        self._matrix = np.frombuffer(b"".join(row[2] for row in rows), np.float32).reshape(len(rows), -1)
        self._stale = False

    def recall(self, question: Question, filtered: bool) -> Any:
        """Scan every row."""
        if self._stale:
            self.reindex()
        scores = self._matrix @ question.vector
        if filtered:
            scores = np.where(self._half == PASS, scores, np.float32(-2.0))
        best = np.argpartition(scores, -K)[-K:]
        return best[np.argsort(-scores[best])]

    def texts(self, answer: Any) -> list[str]:
        """Return the texts of the rows."""
        return [self._texts[row] for row in answer]
