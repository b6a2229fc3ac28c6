"""From what a user writes to a chat model: an object, ``reader``, or ``provider:name``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mars.errors import MissingExtra, ModelUnavailable

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

BUILT_IN = "reader"
"""Name of the built-in, keyless reader."""

_OPENAI = frozenset({"openai-chat", "azure-openai-chat"})

_KEYED = ("openai", "anthropic")
"""Providers that answer nobody without a key; each reads ``<PROVIDER>_API_KEY`` and ``<PROVIDER>_BASE_URL``."""


def resolve_model(model: BaseChatModel | str | None) -> BaseChatModel:
    """Return a chat model.

    `model` may be a langchain-core chat model, ``"reader"`` or None for the built-in extractive reader, or a string
    such as ``"openai:gpt-…"`` or ``"ollama:…"``, which langchain's `init_chat_model` resolves. Keys come from the
    environment. Its client tries nothing again by itself (`single_attempts`). Raises `MissingExtra` if langchain is not
    installed and `ModelUnavailable` if it cannot make the model, or OpenAI's or Anthropic's key is missing.
    """
    if model is None or model == BUILT_IN:
        from mars.models.reader import ReaderModel

        return ReaderModel()
    if not isinstance(model, str):
        return single_attempts(model)
    provider, _, name = model.partition(":")
    if not (provider and name):
        raise ModelUnavailable(
            f"{model!r} names no model; write provider:name, such as openai:gpt-4o-mini, or {BUILT_IN!r}"
        )
    # Without stream_usage, OpenAI's client leaves out the tokens of streams where a base URL is given.
    options: dict[str, Any] = {"stream_usage": True} if provider == "openai" else {}
    made = single_attempts(_made(name, provider, **options))
    return made if not getattr(made, "max_retries", 0) else _made(name, provider, max_retries=0, **options)


def single_attempts(model: BaseChatModel) -> BaseChatModel:
    """Return the model with a client that makes each request once; the model itself where it does so already.

    Retries are the runtime's: each is an attempt on record, counted and limited by the budgets, with the wait that the
    provider asks for. Those of a client happen unseen. OpenAI's and Anthropic's clients are copied, with all that
    they were given; a client of somebody else that retries is left as it is, and what it does again is not counted.
    OpenAI's loses its time limit between two pieces of a stream, too, because the call has one of the runtime's, and
    its own is by `asyncio.wait_for`, which before Python 3.12 may lose a cancellation.
    """
    if model._llm_type in _OPENAI and (
        getattr(model, "max_retries", 0) != 0 or getattr(model, "stream_chunk_timeout", None) is not None
    ):
        return _openai_once(model)
    if model._llm_type == "anthropic-chat" and getattr(model, "max_retries", 0) != 0:
        return _anthropic_once(model)
    return model


def _openai_once(model: Any) -> BaseChatModel:
    changes: dict[str, Any] = {"max_retries": 0, "stream_chunk_timeout": None}
    for root, chat in (("root_client", "client"), ("root_async_client", "async_client")):
        client = getattr(model, root)
        if client is not None:
            changes[root] = client.with_options(max_retries=0)
            changes[chat] = changes[root].chat.completions
    twin: BaseChatModel = model.model_copy(update=changes)
    return twin


def _anthropic_once(model: BaseChatModel) -> BaseChatModel:
    twin = model.model_copy(update={"max_retries": 0})
    twin.__dict__.pop("_client_params", None)  # these three are made of the settings when they are asked for
    for name in ("_client", "_async_client"):
        if name in twin.__dict__:
            twin.__dict__[name] = twin.__dict__[name].with_options(max_retries=0)
    return twin


def _made(name: str, provider: str, **options: Any) -> BaseChatModel:
    model = f"{provider}:{name}"
    _check_installed(provider, model)  # first: its extra brings langchain, too
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingExtra(f"the model {model!r}", "models") from error
    try:
        resolved: BaseChatModel = init_chat_model(name, model_provider=provider, **options)
    except ImportError as error:
        raise ModelUnavailable(
            f"the model {model!r} needs its provider's package: pip install langchain-{provider.replace('_', '-')}"
        ) from error
    except Exception as error:  # each package says in its own way that a key is missing
        if type(error).__name__ == "OpenAIError" and not os.environ.get("OPENAI_API_KEY", "").strip():
            raise _without_key(provider, model) from error
        why = " ".join(str(error).split())
        raise ModelUnavailable(f"the model {model!r} cannot be made: {why}") from error
    _check_key(resolved, provider, model)
    return resolved


def _check_key(made: BaseChatModel, provider: str, model: str) -> None:
    """Raise `ModelUnavailable` where a client was made with an empty key: Anthropic's fails at its first call only."""
    from pydantic import SecretStr

    given = getattr(made, f"{provider}_api_key", None) if provider in _KEYED else None
    empty = isinstance(given, SecretStr) and not given.get_secret_value().strip()
    if empty and not (provider == "anthropic" and os.environ.get("ANTHROPIC_CUSTOM_HEADERS")):
        raise _without_key(provider, model)


def _without_key(provider: str, model: str) -> ModelUnavailable:
    name = provider.upper()
    return ModelUnavailable(
        f"the model {model!r} needs a key: set {name}_API_KEY in the environment (to any value where {name}_BASE_URL "
        f"names a server of your own that asks for none), or take {BUILT_IN!r}, which is built in"
    )


def _check_installed(provider: str, model: str) -> None:
    """Raise `MissingExtra` where the package of a provider that has an extra is not installed."""
    if provider == "openai":
        try:
            import langchain_openai  # noqa: F401
        except ImportError as error:
            raise MissingExtra(f"the model {model!r}", "openai") from error
    elif provider == "anthropic":
        try:
            import langchain_anthropic  # noqa: F401
        except ImportError as error:
            raise MissingExtra(f"the model {model!r}", "anthropic") from error
    elif provider == "ollama":
        try:
            import langchain_ollama  # noqa: F401
        except ImportError as error:
            raise MissingExtra(f"the model {model!r}", "ollama") from error
