"""Fusion, relevance, bounded factors and the exact top k."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mars.errors import InvalidSetting, InvalidVector
from mars.memory.fusion import Floats, bounded, cosines, fusion, relevance, top

shares = st.floats(0, 1)
columns = st.integers(1, 20).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, n, elements=st.floats(0, 50)), hnp.arrays(np.float64, n, elements=st.floats(-1, 1))
    )
)


@given(columns, shares)
def test_fusion_stays_in_bounds(arrays: tuple[Floats, Floats], weight: float) -> None:
    """Fusion and relevance lie in [0, 1] and rise with each arm."""
    lexical, cosine = arrays
    best = float(lexical.max())
    fused = fusion(lexical, cosine, weight, best)
    assert ((fused >= 0.0) & (fused <= 1.0 + 1e-12)).all()
    assert (fusion(lexical, np.minimum(cosine + 0.1, 1.0), weight, best) >= fused - 1e-12).all()
    near = relevance(np.minimum(lexical / 50, 1.0), cosine, weight)
    assert ((near >= 0.0) & (near <= 1.0)).all()


@given(columns)
def test_words_alone(arrays: tuple[Floats, Floats]) -> None:
    """Without vectors, or with a lexical weight of 1, the order is that of the words, whatever the weight says."""
    lexical, cosine = arrays
    best = float(lexical.max())
    alone = fusion(lexical, None, 0.3, best)
    assert (alone == fusion(lexical, cosine, 1.0, best)).all()
    assert alone.max() == (1.0 if best > 0.0 else 0.0)


@given(hnp.arrays(np.float64, 9, elements=shares), shares)
def test_bounded(share: Floats, floor: float) -> None:
    """A factor lies between its floor and 1, so that decay can cost no more than the floor allows."""
    factors = bounded(share, floor)
    assert ((factors >= floor - 1e-12) & (factors <= 1.0 + 1e-12)).all()
    assert (bounded(share, 1.0) == 1.0).all()
    assert (bounded(share, 0.0) == share).all()


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), max_size=30),
    st.integers(0, 35),
    st.data(),
)
def test_top_equals_sorting(rows: list[tuple[float, bool]], k: int, data: st.DataObject) -> None:
    """The k best are those of a full sort by rank and name, ties and ineligible rows included."""
    names = data.draw(st.permutations([f"{row:03}" for row in range(len(rows))]))
    rank = np.array([each for each, _ in rows], np.float64)
    eligible = np.array([each for _, each in rows], np.bool_)
    expected = sorted((row for row in range(len(rows)) if eligible[row]), key=lambda row: (-rank[row], names[row]))[:k]
    assert top(rank, eligible, names, k) == expected


def test_refusals() -> None:
    """Weights and floors outside [0, 1], a negative k and another dimension are refused with the remedy's error."""
    ones = np.ones(2)
    for call in (
        lambda: fusion(ones, ones, 1.5, 1.0),
        lambda: relevance(ones, ones, float("nan")),
        lambda: bounded(ones, -0.1),
        lambda: top(ones, np.ones(2, np.bool_), ["a", "b"], -1),
    ):
        with pytest.raises(InvalidSetting):
            call()
    with pytest.raises(InvalidVector, match="3 dimensions"):
        cosines(np.zeros((2, 3), np.float32), np.zeros(4, np.float32))
