"""The formats that can be ingested, by name."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from mars.errors import InvalidSetting
from mars.ingest.reading import Read

FORMATS = {
    "locomo": "mars.ingest.locomo",
    "longmemeval": "mars.ingest.longmemeval",
    "jsonl": "mars.ingest.jsonl",
    "text": "mars.ingest.text",
    "langchain-messages": "mars.ingest.messages",
}
"""Format names and the modules whose `read` reads them."""


def reader(name: str) -> Read:
    """Return the reader of a format; raises `InvalidSetting` with the known names for another."""
    if name not in FORMATS:
        raise InvalidSetting(f"unknown format {name!r}; known are {', '.join(FORMATS)}")
    return cast(Read, import_module(FORMATS[name]).read)
