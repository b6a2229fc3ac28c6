"""Memory: records, forgetting curves, recall, stores and indexes. Read `mars.memory.interfaces` first.

`Memory` is what most programs need. Nothing is imported before it is asked for, so that the curves do not bring a
database with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.memory.curves import Curve, crossing, retention
    from mars.memory.embedding import HashingEmbedder, LangchainEmbedder
    from mars.memory.engine import Memory
    from mars.memory.facts import Fact, contradicts, extract_facts
    from mars.memory.interfaces import Backend, Clock, Embedder
    from mars.memory.presets import Preset
    from mars.memory.records import (
        Change,
        Explanation,
        Grade,
        Hit,
        Kind,
        Namespace,
        NewRecord,
        Provenance,
        Record,
        Source,
        Status,
        Sweep,
        Tier,
    )
    from mars.memory.strength import Policy
    from mars.memory.sync import SyncMemory
    from mars.memory.tiers import TierRule, TierStrength
    from mars.memory.weights import Weights

__all__ = [
    "Backend",
    "Change",
    "Clock",
    "Curve",
    "Embedder",
    "Explanation",
    "Fact",
    "Grade",
    "HashingEmbedder",
    "Hit",
    "Kind",
    "LangchainEmbedder",
    "Memory",
    "Namespace",
    "NewRecord",
    "Policy",
    "Preset",
    "Provenance",
    "Record",
    "Source",
    "Status",
    "Sweep",
    "SyncMemory",
    "Tier",
    "TierRule",
    "TierStrength",
    "Weights",
    "contradicts",
    "crossing",
    "extract_facts",
    "retention",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.memory.curves": ("Curve", "crossing", "retention"),
        "mars.memory.embedding": ("HashingEmbedder", "LangchainEmbedder"),
        "mars.memory.engine": ("Memory",),
        "mars.memory.facts": ("Fact", "contradicts", "extract_facts"),
        "mars.memory.interfaces": ("Backend", "Clock", "Embedder"),
        "mars.memory.presets": ("Preset",),
        "mars.memory.records": (
            "Change",
            "Explanation",
            "Grade",
            "Hit",
            "Kind",
            "Namespace",
            "NewRecord",
            "Provenance",
            "Record",
            "Source",
            "Status",
            "Sweep",
            "Tier",
        ),
        "mars.memory.strength": ("Policy",),
        "mars.memory.sync": ("SyncMemory",),
        "mars.memory.tiers": ("TierRule", "TierStrength"),
        "mars.memory.weights": ("Weights",),
    },
)
