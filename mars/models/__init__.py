"""Chat models: the built-in reader, and names such as ``openai:gpt-…`` resolved to a langchain-core model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.models.reader import ReaderModel
    from mars.models.resolve import resolve_model

__all__ = ["ReaderModel", "resolve_model"]

__getattr__, __dir__ = lazy_exports(
    __name__, {"mars.models.reader": ("ReaderModel",), "mars.models.resolve": ("resolve_model",)}
)
