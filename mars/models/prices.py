"""What models cost: a table per million tokens, in the package, to be replaced or added to.

Prices change and a table does not: each entry says who published it and when it was looked up, and a budget of cost
that rests on an old one says so (`StalePrice`).
"""

from __future__ import annotations

import re
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mars.errors import InvalidFile, InvalidSetting

_VERSION = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2}|latest)$")

STALE = timedelta(days=183)
"""A price that was looked up longer ago is to be looked up again: half a year."""


class StalePrice(UserWarning):
    """A budget of cost rests on a price that was looked up long ago; silence it with `warnings.filterwarnings`."""


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
    """When it was looked up; None: nobody says, and nobody is warned."""
    source: str = ""
    """Where: the provider's page of prices."""

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InvalidSetting(f"a price's {name} must be 0 or more; got {value!r}")

    def of(self, read: int, written: int, from_cache: int = 0) -> float:
        """Return the cost of so many tokens, in US dollars; `from_cache` are among those read."""
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
    """Return the table in a TOML text: one section per model with input, output, cached_input, as_of and source."""
    try:
        sections: dict[str, dict[str, Any]] = tomllib.loads(text)
        return {model: Price(**values) for model, values in sections.items()}
    except (tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        raise InvalidFile(
            f"{name} is no price table ({error}): each section is a model with input, output and, if you like, "
            "cached_input, as_of and source, in dollars per million tokens"
        ) from error


def price_of(model: str, prices: Prices) -> Price | None:
    """Return the price of a model, or of what it is a dated version of; None where the table has neither."""
    return prices.get(model) or prices.get(_VERSION.sub("", model))


def warn_of_stale(models: Iterable[str], prices: Prices, today: date) -> None:
    """Warn by `StalePrice` of each model whose price was looked up more than `STALE` ago."""
    for model in sorted(models):
        price = price_of(model, prices)
        if price is not None and price.as_of is not None and today - price.as_of > STALE:
            warnings.warn(
                f"a budget of cost rests on the price of {model!r} as of {price.as_of}: look it up at "
                f"{price.source or 'its provider'} and give it by Mars.open(prices=…) with the new date",
                StalePrice,
                stacklevel=2,
            )
