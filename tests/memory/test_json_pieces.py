"""Large values are encoded piece by piece: the same text, and no single call that lasts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput
from mars.memory.checks import check_json
from mars.memory.json_pieces import CHARACTERS, LARGE, encoded, is_large

ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
MOST = 4 * LARGE * CHARACTERS
"""Characters that one call of the encoder may return here."""

small = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())
keys = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none())
nested = st.recursive(small, lambda of: st.lists(of, max_size=4) | st.dictionaries(keys, of, max_size=4), max_leaves=8)
wide = st.builds(lambda one, size: [one, {}] * size, nested, st.sampled_from([1, 128, 1200]))
deep = st.builds(lambda one, size: {f"k{number}": one for number in range(size)}, wide, st.sampled_from([1, 3]))


@given(value=st.one_of(nested, wide, deep, st.lists(deep, max_size=2)))
@settings(max_examples=25, deadline=None)
def test_the_pieces_are_the_whole(value: Any) -> None:
    """What is encoded in pieces is, to the letter, what one call makes of it."""
    assert encoded(value, ENCODER.encode) == ENCODER.encode(value)


@pytest.mark.parametrize(
    "value",
    [
        {"rows": [{"id": number, "name": f"name {number}", "value": number / 7} for number in range(20_000)]},
        {number: {"of": [number] * 3} for number in range(20_000)},
        {"text": "x é\ud800\U0001f600" * 300_000},
        [["a" * 100_000] * 20, ("b",) * 20_000],
    ],
)
def test_no_call_lasts(value: Any) -> None:
    """However large a value is, no call of the encoder makes more than a small part of it."""
    made: list[int] = []

    def encode(one: object) -> str:
        text = ENCODER.encode(one)
        made.append(len(text))
        return text

    assert is_large(value)
    whole = encoded(value, encode)
    assert whole == ENCODER.encode(value)
    assert max(made) < min(MOST, len(whole) / 2)


def test_small_values_are_made_by_one_call() -> None:
    """What is small is neither cut nor looked at for long."""
    made: list[object] = []
    value = {"topic": "tea", "tags": ["a", "b"]}

    def encode(one: object) -> str:
        made.append(one)
        return ENCODER.encode(one)

    assert encoded(value, encode) == ENCODER.encode(value)
    assert made == [value]


def test_what_is_no_json_is_refused_wherever_it_is() -> None:
    """NaN, an object or a value within itself at the end of large metadata is `InvalidInput`."""
    endless: list[object] = [0] * 2100
    endless.append(endless)
    for wrong in (float("nan"), object(), b"bytes", endless):
        with pytest.raises(InvalidInput):
            check_json({"rows": [{"n": number} for number in range(5000)], "wrong": wrong})
