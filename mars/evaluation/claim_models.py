"""Fits the models of a claim (`mars.agents.evidence.support`): right answers against swapped ones, and against those
about somebody else.

Only claims that the rules let through are examples: the models have the rest to tell apart. A threshold is set where
rules and model together reject a share of the wrong drafts that were fitted on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mars.agents.evidence import ClaimModels, Survey, shipped_claim_models, survey
from mars.agents.evidence.answer_types import FIRM
from mars.agents.evidence.logistic import Logistic
from mars.agents.evidence.support import OwnershipFeatures, SupportFeatures
from mars.errors import InvalidInput
from mars.evaluation.checker_drafts import GOLD, Progress, made_drafts
from mars.evaluation.logistic import fit_logistic
from mars.ingest.locomo import conversations

PENALTY = 5.0
"""L2 penalty on the coefficients of standardised features."""
SWAPS_REJECTED = 0.983
"""Share of swapped answers that the threshold of the support rejects where it is fitted."""
SPEAKERS_REJECTED = 0.93
"""Share of answers about somebody else that both thresholds together reject where they are fitted."""

_SUPPORT = tuple(field.name for field in fields(SupportFeatures))
_OWNERSHIP = tuple(field.name for field in fields(OwnershipFeatures))


@dataclass(frozen=True, slots=True)
class Example:
    """What a fit sees of a draft."""

    kind: str
    """`GOLD`, or what was changed."""
    support: tuple[float, ...]
    """Values of `SupportFeatures`; empty where the rules decide."""
    ownership: tuple[float, ...]
    """Values of `OwnershipFeatures`."""

    @classmethod
    def of(cls, kind: str, surveyed: Survey) -> Example:
        """Return the example of a surveyed draft."""
        composed = surveyed.composed
        if composed is None or surveyed.issues or composed.support.mismatch >= FIRM:
            return cls(kind, (), ())
        return cls(kind, astuple(composed.support), astuple(composed.ownership))


def fit_claims(
    examples: Sequence[Example], *, swaps: float = SWAPS_REJECTED, speakers: float = SPEAKERS_REJECTED
) -> ClaimModels:
    """Return both models with their thresholds; `InvalidInput` if one of the three kinds of drafts is missing."""
    weighed = [one for one in examples if one.support]
    support = _fitted(_SUPPORT, [(one.support, one.kind == GOLD) for one in weighed if one.kind in (GOLD, "swap")])
    chances = {one: support.chance(one.support) for one in weighed}
    wrong = [chances.get(one, 0.0) for one in examples if one.kind == "swap"]
    support = replace(support, threshold=_threshold(wrong, swaps))
    told = [(one.ownership, one.kind == GOLD) for one in weighed if one.kind in (GOLD, "speaker")]
    ownership = _fitted(_OWNERSHIP, told)
    theirs = [
        ownership.chance(one.ownership) if chances.get(one, 0.0) >= support.threshold else 0.0
        for one in examples
        if one.kind == "speaker"
    ]
    return ClaimModels(support=support, ownership=replace(ownership, threshold=_threshold(theirs, speakers)))


def held_out_claim_models(
    examples: Mapping[str, Sequence[Example]], *, swaps: float = SWAPS_REJECTED, speakers: float = SPEAKERS_REJECTED
) -> dict[str, ClaimModels]:
    """Return for each conversation the models fitted on the others; the shipped ones where those do not suffice."""
    models = {}
    for name in examples:
        others = [one for other, found in examples.items() if other != name for one in found]
        try:
            models[name] = fit_claims(others, swaps=swaps, speakers=speakers)
        except InvalidInput:
            models[name] = shipped_claim_models()
    return models


def fit_file(path: str | Path, progress: Progress | None = None) -> ClaimModels:
    """Return the models fitted on all conversations of a LoCoMo file: what is shipped."""
    drafts = made_drafts(conversations(path), progress=progress)
    return fit_claims([Example.of(draft.kind, survey(draft.review)) for draft in drafts])


def save_claim_models(models: ClaimModels, path: Path, source: str) -> None:
    """Write the models as the data that ships with the package, with the file's name that they were fitted on."""
    rounded: Any = json.loads(json.dumps(asdict(models)), parse_float=lambda text: round(float(text), 6))
    path.write_text(json.dumps({"fitted_on": source, **rounded}, indent=2) + "\n", "utf-8")


def _fitted(names: Sequence[str], told: Iterable[tuple[tuple[float, ...], bool]]) -> Logistic:
    rows = list(told)
    return fit_logistic(Logistic, names, [row for row, _ in rows], [right for _, right in rows], PENALTY)


def _threshold(wrong: Sequence[float], rejected: float) -> float:
    """Return a score below which at least the share `rejected` of the wrong drafts lies."""
    ranked = sorted(wrong)
    last = min(len(ranked) - 1, int(rejected * len(ranked)))
    return ranked[last] + 1e-9 if ranked else 0.0


if __name__ == "__main__":
    import argparse

    import mars.agents.evidence as shipped

    parser = argparse.ArgumentParser(description="Fit the models of a claim anew and replace the shipped ones.")
    parser.add_argument("file", type=Path, help="a LoCoMo file")
    options = parser.parse_args()
    target = Path(str(shipped.__file__)).with_name("claims.json")
    save_claim_models(fit_file(options.file), target, options.file.name)
    print(f"wrote {target}")
