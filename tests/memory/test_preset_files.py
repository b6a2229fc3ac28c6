"""Presets in TOML files: what is written is read, and what cannot be is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mars.errors import InvalidFile, InvalidSetting
from mars.memory.engine import Memory
from mars.memory.preset_files import preset_text, read_preset
from mars.memory.presets import DEFAULT, PRESETS, Preset, preset
from mars.memory.records import Kind


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives(name: str, tmp_path: Path) -> None:
    """Each named preset, and one with every unusual value, is read back equal."""
    path = tmp_path / "kept.toml"
    odd = 'a "quoted" \\ name\nof two lines\x7f'
    for one in (PRESETS[name], PRESETS[name].without_decay(), PRESETS[name].but(name=odd, capacity=7)):
        path.write_text(preset_text(one), encoding="utf-8")
        assert preset(str(path)) == one


def test_what_is_left_out_is_the_default(tmp_path: Path) -> None:
    """A file of one value is the default but for it, named after the file."""
    path = tmp_path / "small.toml"
    path.write_text("capacity = 5000\n", encoding="utf-8")
    assert read_preset(path) == DEFAULT.but(name="small", capacity=5000)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("capacity = 0", InvalidSetting),
        ("colour = 1", InvalidSetting),
        ("[curve]\nshape = 'line'", InvalidSetting),
        ("[curve]\nslope = 2", InvalidSetting),
        ("curve = 3", InvalidSetting),
        ("[tiers]\ntheta1 = 2.0", InvalidSetting),
        ("[base_strength]\nepisode = 3", InvalidSetting),
        ("capacity", InvalidFile),
    ],
)
def test_what_cannot_be_is_refused(text: str, error: type[Exception], tmp_path: Path) -> None:
    """An unknown value, one out of range, and what is no TOML name the file."""
    path = tmp_path / "odd.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=r"odd\.toml"):
        preset(str(path))
    with pytest.raises(InvalidFile, match=r"missing\.toml"):
        preset(str(tmp_path / "missing.toml"))


@pytest.mark.anyio
async def test_a_memory_opens_by_a_file(tmp_path: Path) -> None:
    """The name of a file stands wherever that of a preset does."""
    path = tmp_path / "mine.toml"
    path.write_text(preset_text(Preset(name="mine", base_strength=3.0)), encoding="utf-8")  # type: ignore[arg-type]
    async with Memory.open("memory:", preset=str(path)) as memory:
        record = await memory.add("I like tea.", ("ann",))
        assert memory.preset.name == "mine"
        assert record.strength == memory.preset.base_strength[Kind.EPISODE] == 3.0
