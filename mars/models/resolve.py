"""From what a user writes to a chat model: an object, ``reader``, or ``provider:name``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.errors import MissingExtra, ModelUnavailable

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

BUILT_IN = "reader"
"""Name of the built-in, keyless reader."""


def resolve_model(model: BaseChatModel | str | None) -> BaseChatModel:
    """Return a chat model.

    `model` may be a langchain-core chat model, ``"reader"`` or None for the built-in extractive reader, or a string
    such as ``"openai:gpt-…"`` or ``"ollama:…"``, which langchain's `init_chat_model` resolves. Keys come from the
    environment. Raises `MissingExtra` if langchain is not installed and `ModelUnavailable` if it cannot make the model.
    """
    if model is None or model == BUILT_IN:
        from mars.models.reader import ReaderModel

        return ReaderModel()
    if not isinstance(model, str):
        return model
    provider, _, name = model.partition(":")
    if not (provider and name):
        raise ModelUnavailable(
            f"{model!r} names no model; write provider:name, such as openai:gpt-4o-mini, or {BUILT_IN!r}"
        )
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingExtra(f"the model {model!r}", "models") from error
    try:
        resolved: BaseChatModel = init_chat_model(name, model_provider=provider)
    except ImportError as error:
        raise ModelUnavailable(
            f"the model {model!r} needs its provider's package: pip install langchain-{provider.replace('_', '-')}"
        ) from error
    except ValueError as error:
        raise ModelUnavailable(f"the model {model!r} cannot be made: {error}") from error
    return resolved
