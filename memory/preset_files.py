"""Presets as TOML files: what a fit writes, and what ``Memory.open(preset="mine.toml")`` and ``MARS_PRESET`` read.

```toml
name = "mine"
policy = "fsrs"
capacity = 5000            # any value of `Preset`; what is left out is the default's

[curve]
shape = "power"
decay = 0.31

[base_strength]            # days
episode = 9.5
fact = 40.7
reflection = 122.0
procedure = 122.0

[tiers]
theta1 = 0.9
theta2 = 0.5
```
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from mars.errors import InvalidFile, InvalidSetting
from mars.memory.curves import Curve
from mars.memory.presets import Preset
from mars.memory.tiers import TierRule
from mars.memory.weights import Weights

SUFFIX = ".toml"
"""By it the name of a preset is that of a file."""

_TABLES: Mapping[str, type] = {"curve": Curve, "tiers": TierRule, "weights": Weights}


def preset_text(preset: Preset) -> str:
    """Return a preset as TOML, every value of it; those that are None are left out."""
    plain: list[str] = []
    tables: list[str] = []
    for name in (one.name for one in fields(preset)):
        value = getattr(preset, name)
        inner = _inner(value)
        if inner is not None:
            lines = [f"{key} = {_shown(one)}" for key, one in inner.items()]
            tables.append("\n".join([f"[{name}]", *lines]))
        elif value is not None:
            plain.append(f"{name} = {_shown(value)}")
    return "\n\n".join(["\n".join(plain), *tables]) + "\n"


def _inner(value: Any) -> dict[str, Any] | None:
    """Return what a table holds; None for what is no table."""
    if isinstance(value, Mapping):
        return {str(key): one for key, one in value.items()}
    if is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and not isinstance(value, Enum):
        return repr(value)
    written = str(value.value if isinstance(value, Enum) else value).translate(_ESCAPES)
    return f'"{written}"'


_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\"} | {code: f"\\u{code:04x}" for code in (*range(0x20), 0x7F)}


def read_preset(path: str | Path) -> Preset:
    """Return the preset of a TOML file; what it leaves out is the default's.

    Raises `InvalidFile` for a file that cannot be read as TOML, `InvalidSetting` for an unknown value or one out of
    range.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidFile(f"the preset {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"{path} is no TOML: {error}") from None
    try:
        for name, kind in _TABLES.items():
            if name in values:
                values[name] = kind(**values[name])
        return Preset(**{"name": Path(path).stem, **values})
    except (TypeError, InvalidSetting) as error:
        raise InvalidSetting(f"{path}: {error}") from None
