"""Conversations from files into memory.

A reader per format, each a function `read(path, namespace, *, strict)` that yields `NewRecord` and `BrokenLine` values
(see `mars.ingest.reading.Read` for what it promises); `mars.ingest.formats` names them; `ingest` writes what they
yield, in batches, so that a second run adds nothing and a killed one can be repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.ingest.formats import FORMATS, reader
    from mars.ingest.reading import BrokenLine, Read
    from mars.ingest.writing import IngestReport, ingest

__all__ = ["FORMATS", "BrokenLine", "IngestReport", "Read", "ingest", "reader"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.ingest.formats": ("FORMATS", "reader"),
        "mars.ingest.reading": ("BrokenLine", "Read"),
        "mars.ingest.writing": ("IngestReport", "ingest"),
    },
)
