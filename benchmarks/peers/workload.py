"""What every system is given: the same rows with the same vectors, and the same questions.

The vectors have 384 dimensions and cluster around 200 random centres; the words follow Zipf's law (the generators of
`benchmarks.memory_recall`). They are made once and written to a folder, so that the processes that are measured import
nothing of MARS to read them. Embedding is left out: every system looks the vector up by the text, in one step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

K = 10
"""So many results are asked for."""

PASS = 0
"""The value of `half` that the filter demands: one row in two has it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One memory to be stored."""

    number: int
    """Counts from 0."""
    text: str
    """Words, and one word of its own that tells the number."""
    vector: Vectors
    """Shape ``[384]``, of unit length."""

    @property
    def metadata(self) -> dict[str, int]:
        """Three numbers, of which `half` is filtered by."""
        return {"half": self.number % 2, "topic": self.number % 10, "n": self.number}


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to be found."""

    text: str
    """Words."""
    vector: Vectors
    """Shape ``[384]``, of unit length, near some row."""


def numbers(texts: Iterable[str]) -> list[int]:
    """Return the numbers of the rows that have these texts."""
    return [int(found.group(1)) for text in texts if (found := re.search(r"\brow(\d+)x$", text))]


def write_workload(folder: Path, rows: int, questions: int, near: int, seed: int = 7) -> None:
    """Make `rows` rows and some questions near the first `near` of them, and write them to a folder."""
    from benchmarks.memory_recall import directions, texts, unit

    rng = np.random.default_rng(seed)
    vectors = directions(rng, rows, clustered=True)
    words = [f"{text} row{number}x" for number, text in enumerate(texts(rng, rows, 12))]
    aims = vectors[rng.integers(near, size=questions)]
    aims = unit(aims + np.float32(0.3) * unit(rng.standard_normal(aims.shape, np.float32)))
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "texts.npy", np.array(words, dtype=np.bytes_))
    np.save(folder / "aims.npy", aims)
    asked = [f"{text} question{number}x" for number, text in enumerate(texts(rng, questions, 6))]
    (folder / "questions.json").write_text(json.dumps(asked))


def read_rows(folder: Path, start: int, stop: int) -> list[Row]:
    """Return the rows from `start` up to `stop`."""
    vectors = np.array(np.load(folder / "vectors.npy", mmap_mode="r")[start:stop])
    texts = np.load(folder / "texts.npy", mmap_mode="r")[start:stop].tolist()
    return [Row(start + at, text.decode(), vectors[at]) for at, text in enumerate(texts)]


def read_questions(folder: Path) -> list[Question]:
    """Return all questions."""
    texts = json.loads((folder / "questions.json").read_text())
    return [Question(text, aim) for text, aim in zip(texts, np.load(folder / "aims.npy"), strict=True)]


def nearest(folder: Path, rows: int, filtered: bool) -> list[list[int]]:
    """Return the numbers of the `K` rows of largest cosine for each question, by a full scan in double precision."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")[:rows].astype(np.float64)
    near = np.load(folder / "aims.npy").astype(np.float64) @ vectors.T
    if filtered:
        near[:, np.arange(rows) % 2 != PASS] = -np.inf
    return [[int(number) for number in row] for row in np.argsort(-near, axis=1, kind="stable")[:, :K]]


class Lookup:
    """The embedder of all systems: the vector of a text, looked up."""

    def __init__(self, questions: Sequence[Question], as_lists: bool) -> None:
        self._as_lists = as_lists
        self._always = self._table((each.text, each.vector) for each in questions)
        self._table_now = dict(self._always)

    def _table(self, pairs: Iterable[tuple[str, Vectors]]) -> dict[str, Any]:
        return {text: vector.tolist() if self._as_lists else vector for text, vector in pairs}

    def expect(self, rows: Sequence[Row]) -> None:
        """Know these rows and the questions, and nothing else."""
        self._table_now = self._always | self._table((row.text, row.vector) for row in rows)

    def __getitem__(self, text: str) -> Any:
        return self._table_now[text]
