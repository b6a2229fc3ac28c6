"""What models cost: a table per million tokens, in the package, to be replaced or added to."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mars.errors import InvalidFile, InvalidSetting

_VERSION = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2}|latest)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of one model, in US dollars per million tokens."""

    input: float
    """For what it reads."""
    output: float
    """For what it writes."""
    cached_input: float | None = None
    """For what it reads out of the provider's own cache; as `input` if None."""
    as_of: date | None = None
    """When the provider said so."""

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InvalidSetting(f"a price's {name} must be 0 or more; got {value!r}")

    def of(self, read: int, written: int, from_cache: int = 0) -> float:
        """Return the cost of so many tokens; `from_cache` are among those read."""
        cheaper = self.input if self.cached_input is None else self.cached_input
        return ((read - from_cache) * self.input + from_cache * cheaper + written * self.output) / 1e6


Prices = Mapping[str, Price]
"""Model name to price."""


@cache
def built_in() -> Prices:
    """Return the table of the package."""
    return read_prices(files("mars.models").joinpath("prices.toml").read_text(encoding="utf-8"), "prices.toml")


def load_prices(prices: Prices | str | Path | None = None) -> Prices:
    """Return the package's table with the caller's entries before it: a mapping, or a TOML file of the same form.

    Raises `InvalidFile` where the file is missing or is no such table.
    """
    if prices is None or isinstance(prices, Mapping):
        return {**built_in(), **(prices or {})}
    try:
        text = Path(prices).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFile(f"the price table {prices} cannot be read: {error}") from error
    return {**built_in(), **read_prices(text, str(prices))}


def read_prices(text: str, name: str) -> Prices:
    """Return the table in a TOML text: one section per model with input, output, cached_input and as_of."""
    try:
        sections: dict[str, dict[str, Any]] = tomllib.loads(text)
        return {model: Price(**values) for model, values in sections.items()}
    except (tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        raise InvalidFile(
            f"{name} is no price table ({error}): each section is a model with input, output and, if you like, "
            "cached_input and as_of, in dollars per million tokens"
        ) from error


def price_of(model: str, prices: Prices) -> Price | None:
    """Return the price of a model, or of what it is a dated version of; None where the table has neither."""
    return prices.get(model) or prices.get(_VERSION.sub("", model))
