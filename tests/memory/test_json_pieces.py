"""Large values are encoded and decoded piece by piece: the same, and no single call that lasts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput
from mars.memory.checks import check_json
from mars.memory.json_pieces import CHARACTERS, LARGE, decoded, encoded, is_large

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


LARGE_VALUES = [
    {"rows": [{"id": number, "name": f"name {number}", "value": number / 7} for number in range(20_000)]},
    {str(number): {"of": [number, None, True]} for number in range(20_000)},
    {"text": 'x é\ud800\U0001f600"\\' * 100_000, "": [[], {}, "", 0]},
    [[[[list(range(50_000))]]], ["a" * (LARGE * CHARACTERS // 4 - 1), 1, "b" * 70_000], {"k": [{"z": [1e300] * 9000}]}],
]


@pytest.mark.parametrize("value", LARGE_VALUES)
@pytest.mark.parametrize("ascii", [True, False])
def test_reading_in_pieces_gives_the_whole(value: Any, ascii: bool) -> None:
    """Whatever is large in it and wherever a window ends; white space is read by one call."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii)
    assert decoded(text) == value
    assert decoded(json.dumps(value, ensure_ascii=ascii)) == value


@given(value=st.one_of(nested, wide, deep, st.lists(deep, max_size=2)))
@settings(max_examples=25, deadline=None)
def test_what_is_read_is_what_one_call_reads(value: Any) -> None:
    """Of any text that is made here."""
    text = ENCODER.encode([value, "x" * 70_000, value])
    assert decoded(text) == json.loads(text)


def test_no_call_reads_for_long() -> None:
    """However large a text is, the decoder sees a small part of it at a time."""
    seen: list[int] = []
    decoder: Any = json.JSONDecoder()

    def scanned(text: str, at: int) -> tuple[Any, int]:
        seen.append(len(text))
        value, end = decoder.scan_once(text, at)
        return value, end

    text = json.dumps(LARGE_VALUES[0], separators=(",", ":"))
    assert decoded(text, scanned) == LARGE_VALUES[0]
    assert 0 < max(seen) < MOST < len(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" + "1," * 40_000 + "]",
        '{"a":1,' * 20_000,
        "[" * 50 + "1" * 90_000,
        '"' + "x" * 100_000,
        "[" + "1," * 40_000 + "1]x",
        "{" + '"a":1,' * 20_000 + "a:1}",
        "[" + '"a" ' * 40_000 + "]",
        '{"a"' + " " * 70_000 + ":}",
    ],
)
def test_what_is_broken_is_refused(text: str) -> None:
    """As by `json.loads`, wherever it breaks."""
    with pytest.raises(ValueError, match=r"Exp|Extra|Unterm|Exceeds|Invalid"):
        decoded(text)
