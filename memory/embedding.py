"""Embedders: hashed n-grams without a model, any `langchain-core` embeddings, and the check that all pass through.

`HashingEmbedder` is for "a vector must exist": it finds near-duplicates and misspellings, but adds nothing to the
lexical arm, so its `lexical_weight` is 1. `mars.memory.minilm` reads a folder of real weights.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mars.errors import InvalidSetting, InvalidVector
from mars.language import STOP_WORDS, stem, words
from mars.memory.records import Vector, check_share

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

CHARACTERS = 3
"""Length of the character n-grams of the hashed vectors."""

STOP_WORD_WEIGHT = 0.2
"""Weight of a stop word beside another word, in the hashed vectors."""

GRAM_WEIGHT = 0.3
"""Weight of all character n-grams of a word together, beside the word itself."""

UNIT = 1e-6
"""A vector whose squared length is so near to 1, which is what float32 can tell, is of unit length."""


def check_vectors(values: object, count: int, dimension: int, embedder: str) -> Vector:
    """Return an embedder's output as float32 of shape ``[count, dimension]``, each row of unit length or zero.

    Raises `InvalidVector`, naming the embedder, for NaN, infinity, a wrong shape, or what is no array of numbers.
    """
    try:
        with np.errstate(over="ignore"):
            rows = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidVector(f"embedder {embedder!r} returned what is no array of numbers: {error}") from error
    if rows.size == 0 and count == 0:
        return np.zeros((0, dimension), np.float32)
    if rows.shape != (count, dimension):
        raise InvalidVector(
            f"embedder {embedder!r} returned shape {rows.shape} for {count} texts; expected {(count, dimension)}: "
            "set its dimension, or open the store with the embedder that it was made with"
        )
    if not np.isfinite(rows).all():
        raise InvalidVector(f"embedder {embedder!r} returned NaN or infinity; nothing was stored")
    return normalised(rows)


def normalised(rows: Vector) -> Vector:
    """Return vectors (shape ``[n, d]``) scaled to unit length; a zero vector, which has no direction, stays zero."""
    wide = rows.astype(np.float64)
    lengths = np.sqrt(np.add.reduce(wide * wide, axis=1, keepdims=True))
    lengths[lengths == 0.0] = 1.0
    wide /= lengths
    return wide.astype(np.float32)


def unit(row: Vector) -> Vector:
    """Return a copy of a vector (shape ``[d]``) of unit length; one that has it already keeps every bit."""
    if abs(float(row.dot(row)) - 1.0) <= UNIT:
        return row.copy()
    (scaled,) = normalised(row[None])
    return np.asarray(scaled)


class HashingEmbedder:
    """Hashed stems and character n-grams: keyless, deterministic on every platform, some 10,000 short texts a second.

    Signed feature hashing (Weinberger et al. 2009) with CRC-32, term counts damped by a square root. Raises
    `InvalidSetting` for a dimension below 8.
    """

    def __init__(self, dimension: int = 256) -> None:
        if dimension < 8:
            raise InvalidSetting(f"a hashed vector needs at least 8 dimensions; got {dimension}")
        self._dimension = dimension

    @property
    def id(self) -> str:
        """Name, version and dimension."""
        return f"hashing-1-{self._dimension}"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def lexical_weight(self) -> float:
        """Always 1: measured, hashed vectors add nothing to the words that they are made of."""
        return 1.0

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return unit vectors of shape ``[len(texts), dimension]``, float32; zero for a text without any word."""
        rows = np.zeros((len(texts), self._dimension), np.float64)
        for row, text in zip(rows, texts, strict=True):
            pairs = [_features(word, self._dimension) for word in words(text)]
            if pairs:
                np.add.at(row, np.concatenate([at for at, _ in pairs]), np.concatenate([value for _, value in pairs]))
        return normalised((np.sign(rows) * np.sqrt(np.abs(rows))).astype(np.float32))


@lru_cache(maxsize=1 << 16)
def _features(word: str, dimension: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Vector]:
    """Return where a word's features lie, and with which values; kept for all stores of the process."""
    weight = STOP_WORD_WEIGHT if word in STOP_WORDS else 1.0
    framed = f"<{word[:64]}>"
    grams = [framed[start : start + CHARACTERS] for start in range(len(framed) - CHARACTERS + 1)]
    codes = [zlib.crc32(b"w" + stem(word).encode("utf-8", "surrogatepass"))]
    codes += [zlib.crc32(b"c" + gram.encode("utf-8", "surrogatepass")) for gram in grams]
    values = np.full(len(codes), weight * GRAM_WEIGHT / max(1, len(grams)), np.float32)
    values[0] = weight
    signs = np.array([1.0 if code & 1 else -1.0 for code in codes], np.float32)
    return np.array([(code >> 1) % dimension for code in codes], np.int64), values * signs


class LangchainEmbedder:
    """Any `langchain_core.embeddings.Embeddings`, checked, with an id of its own.

    The id names what made a store's vectors: give one that changes with the model. The dimension is asked for by
    embedding one word, unless it is given.
    """

    def __init__(
        self, embeddings: Embeddings, *, id: str, dimension: int | None = None, lexical_weight: float = 0.5
    ) -> None:
        self._embeddings = embeddings
        self._id = id
        self._lexical_weight = check_share(lexical_weight, "lexical_weight")
        self._dimension = len(embeddings.embed_query("dimension")) if dimension is None else dimension
        if self._dimension < 1:
            raise InvalidVector(f"embedder {id!r} gives vectors of no dimension")

    @property
    def id(self) -> str:
        """The id given when it was made."""
        return self._id

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def lexical_weight(self) -> float:
        """Share of the lexical arm, in [0, 1]."""
        return self._lexical_weight

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return unit vectors of shape ``[len(texts), dimension]``; raises `InvalidVector` for anything else."""
        made = self._embeddings.embed_documents(list(texts)) if texts else []
        return check_vectors(made, len(texts), self._dimension, self._id)

    async def aembed(self, texts: Sequence[str]) -> Vector:
        """Do the same without blocking the event loop, if the embeddings can."""
        made = await self._embeddings.aembed_documents(list(texts)) if texts else []
        return check_vectors(made, len(texts), self._dimension, self._id)
