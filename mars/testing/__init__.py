"""Doubles that are part of the product: clocks, models, an embedder, a store in memory, kill points, a watchdog.

MARS's own tests use these and no mocks. All are deterministic, and all complain when they are used otherwise than
their script says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.memory.backends.inmemory import InMemoryBackend
    from mars.testing.cassettes import Cassette
    from mars.testing.clocks import AcceleratedClock, FixedClock
    from mars.testing.embedders import ConstantEmbedder, RandomEmbedder
    from mars.testing.kills import KillPoint
    from mars.testing.recorded_models import CassetteModel
    from mars.testing.scripted import Call, ScriptedModel, Step
    from mars.testing.watchdog import LoopWatchdog, Stall

__all__ = [
    "AcceleratedClock",
    "Call",
    "Cassette",
    "CassetteModel",
    "ConstantEmbedder",
    "FixedClock",
    "InMemoryBackend",
    "KillPoint",
    "LoopWatchdog",
    "RandomEmbedder",
    "ScriptedModel",
    "Stall",
    "Step",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.memory.backends.inmemory": ("InMemoryBackend",),
        "mars.testing.cassettes": ("Cassette",),
        "mars.testing.clocks": ("AcceleratedClock", "FixedClock"),
        "mars.testing.embedders": ("ConstantEmbedder", "RandomEmbedder"),
        "mars.testing.kills": ("KillPoint",),
        "mars.testing.recorded_models": ("CassetteModel",),
        "mars.testing.scripted": ("Call", "ScriptedModel", "Step"),
        "mars.testing.watchdog": ("LoopWatchdog", "Stall"),
    },
)
