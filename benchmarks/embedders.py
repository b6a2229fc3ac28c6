"""What embedders are worth on LoCoMo: R@10 of each beside words alone, over the same questions.

    python -m benchmarks.embedders [locomo5.json] [--minilm FOLDER]

The worthless ones must not cost anything: `random-…` and `constant` know nothing and claim half of the fusion,
`hashing` is the built-in one as it is, and `hashing-claiming-half` the same vectors under an embedder that claims half
too. With a folder of MiniLM-class weights (or MARS_EMBEDDER) a real one is measured as well. `difference` is the mean
over the paired questions of the embedder's R@10 minus that of words alone, `low` and `high` its 95 % bootstrap interval
by conversation, `weights` the lexical weights that the store's rows led to, one for each conversation. `--fixed`
switches that off and fuses by the embedder's word: the sabotaged variant, in which the random ones cost.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.commands import LOCOMO
from mars.evaluation.locomo import LocomoReport, evaluate_locomo, paired
from mars.memory.embedding import HashingEmbedder
from mars.memory.interfaces import Embedder
from mars.memory.presets import DEFAULT
from mars.memory.records import Vector
from mars.testing import ConstantEmbedder, RandomEmbedder


class HashingClaimingHalf:
    """The built-in hashed n-grams, with a claim to half of the fusion."""

    id, lexical_weight = "hashing-claiming-half", 0.5

    def __init__(self) -> None:
        self._inner = HashingEmbedder()
        self.dimension = self._inner.dimension

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return what the built-in one returns."""
        return self._inner.embed(texts)


def main() -> None:
    """Print the report as one line of JSON, after a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=LOCOMO)
    parser.add_argument("--minilm", default=os.environ.get("MARS_EMBEDDER"), help="a folder of MiniLM-class weights")
    parser.add_argument("--fixed", action="store_true", help="fuse by the embedder's word alone")
    chosen = parser.parse_args()
    embedders: dict[str, Embedder] = {
        "random-32": RandomEmbedder(32),
        "random-384": RandomEmbedder(384, seed=1),
        "hashing": HashingEmbedder(),
        "hashing-claiming-half": HashingClaimingHalf(),
        "constant": ConstantEmbedder(),
    }
    if chosen.minilm:
        from mars.memory.minilm import MiniLMEmbedder

        embedders["minilm"] = MiniLMEmbedder(chosen.minilm)
    words = evaluate_locomo(chosen.file, preset=DEFAULT.but(lexical_weight=1.0))
    report: dict[str, Any] = {"questions": len(words.answered), "words": _figures(words), "embedders": {}}
    for name, embedder in embedders.items():
        preset = DEFAULT.but(lexical_weight=embedder.lexical_weight) if chosen.fixed else DEFAULT
        found = evaluate_locomo(chosen.file, embedder=embedder, preset=preset)
        difference = paired(found.answered, words.answered)
        report["embedders"][name] = {**_figures(found), "difference": difference["mean"], **difference}
        print(f"{name:24} R@10 {found.as_dict()['recall']['10']:.4f}  difference {difference['mean']:+.4f}")
    keyless = [each["difference"] for name, each in report["embedders"].items() if name != "minilm"]
    print(json.dumps(report | {"worst_of_worthless": min(keyless)}))


def _figures(report: LocomoReport) -> dict[str, Any]:
    found = report.as_dict()
    return {
        "10": found["recall"]["10"],
        "multi_hop": found["by_category"]["multi_hop"]["10"],
        "weights": report.weights,
    }


if __name__ == "__main__":
    main()
