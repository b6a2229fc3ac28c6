"""Model providers on this machine: real HTTP servers that speak the wire formats of OpenAI, Anthropic and Ollama.

A test gives a server its script, points the provider's own client at it, and orders faults: too many requests, errors,
silence, broken connections, cut-off streams, malformed JSON. Nothing leaves the machine, and no key is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.testing.providers.server import ProviderServer
    from mars.testing.providers.wire import Fault, FaultKind, Received

__all__ = ["Fault", "FaultKind", "ProviderServer", "Received"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.testing.providers.server": ("ProviderServer",),
        "mars.testing.providers.wire": ("Fault", "FaultKind", "Received"),
    },
)
