"""Embedders that know nothing: for tests of what must not depend on an embedder's quality."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from mars.memory.interfaces import Vector


class _Shape:
    def __init__(self, dimension: int, lexical_weight: float) -> None:
        self._dimension = dimension
        self._lexical_weight = lexical_weight

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def lexical_weight(self) -> float:
        """Share of the lexical arm."""
        return self._lexical_weight


class RandomEmbedder(_Shape):
    """A vector drawn from the text's hash: deterministic, of unit length, without any meaning."""

    def __init__(self, dimension: int = 32, *, seed: int = 0, lexical_weight: float = 0.5) -> None:
        super().__init__(dimension, lexical_weight)
        self._seed = seed

    @property
    def id(self) -> str:
        """Name, dimension and seed."""
        return f"random-{self._dimension}-{self._seed}"

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return unit vectors of shape ``[len(texts), dimension]``, float32."""
        rows = np.empty((len(texts), self._dimension), np.float32)
        for place, text in enumerate(texts):
            digest = hashlib.blake2b(text.encode(), digest_size=8, key=str(self._seed).encode()).digest()
            row = np.random.default_rng(int.from_bytes(digest, "big")).standard_normal(self._dimension)
            rows[place] = row / np.linalg.norm(row)
        return rows


class ConstantEmbedder(_Shape):
    """The same vector for every text: the worst embedder there is."""

    def __init__(self, dimension: int = 8, *, lexical_weight: float = 0.5) -> None:
        super().__init__(dimension, lexical_weight)

    @property
    def id(self) -> str:
        """Name and dimension."""
        return f"constant-{self._dimension}"

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return equal unit vectors of shape ``[len(texts), dimension]``, float32."""
        return np.full((len(texts), self._dimension), self._dimension**-0.5, np.float32)
