"""Named sets of every value that decides what is kept, what fades and what ranks first (memory.md §3).

``default``
    FSRS's power curve; strengths of 7, 30 and 90 days; use strengthens; forgotten below .5, which is 90·S days.
``paper``
    MARS and SAGE: exponential, one day. Taken literally everything unused is gone in 29 hours. The papers published
    no thresholds; .7 and .3 are placeholders.
``memorybank``
    MemoryBank: exponential, one day, each recall adds a day; nothing is hidden.
``generative-agents``
    Hits by the sum of recency, importance and relevance (see `mars.memory.weights`); nothing is hidden.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from mars.errors import InvalidSetting
from mars.memory.curves import EXPONENTIAL, POWER, Curve, Shape
from mars.memory.records import Duplicates, Kind, check_share
from mars.memory.strength import Policy, check_positive, initial_strength
from mars.memory.tiers import TierRule
from mars.memory.weights import Weights, check_weights


def _bases(episode: float, fact: float, reflection: float, procedure: float) -> Mapping[Kind, float]:
    days = {Kind.EPISODE: episode, Kind.FACT: fact, Kind.REFLECTION: reflection, Kind.PROCEDURE: procedure}
    return MappingProxyType(days)


FLATTEST = Curve(Shape.POWER, 0.01)
"""R stays above .5 for 10^25 strengths."""

_DUPLICATES = {
    Kind.EPISODE: Duplicates.KEEP,
    Kind.FACT: Duplicates.EXACT,
    Kind.REFLECTION: Duplicates.EXACT,
    Kind.PROCEDURE: Duplicates.EXACT,
}


def check_duplicates(mode: str) -> Duplicates:
    """Return what is to become of near-duplicates, else raise `InvalidSetting`."""
    try:
        return Duplicates(mode)
    except ValueError as error:
        raise InvalidSetting(f"duplicates must be one of {', '.join(Duplicates)}; got {mode!r}") from error


def _checked_duplicates(given: Mapping[Kind, Duplicates] | str) -> Mapping[Kind, Duplicates]:
    """Return what becomes of each kind; one word counts for every kind, and what is not named stays as by default."""
    if not isinstance(given, Mapping):
        given = dict.fromkeys(Kind, check_duplicates(given))
    try:
        named = {Kind(kind): check_duplicates(mode) for kind, mode in given.items()}
    except ValueError as error:
        raise InvalidSetting(f"duplicates: {error}") from error
    return MappingProxyType({**_DUPLICATES, **named})


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Everything that can be set about remembering and forgetting. Raises `InvalidSetting` for a value out of range."""

    name: str = "custom"
    """What it is called in `stats` and in explanations."""
    curve: Curve = POWER
    """The forgetting curve."""
    base_strength: Mapping[Kind, float] = field(default_factory=lambda: _bases(7.0, 30.0, 90.0, 90.0))
    """Strength of a new record of each kind, in days."""
    policy: Policy = Policy.FSRS
    """What a graded use does to the strength."""
    tiers: TierRule = field(default_factory=TierRule)
    """The thresholds θ1 and θ2, and which strength counts between them."""
    w_importance: float = 0.0
    """Weight of the importance in the initial strength; not negative."""
    w_entropy: float = 0.0
    """Weight of the normalised token entropy in the initial strength; not negative."""
    retention_floor: float = 0.7
    """f of the rank's factor ``f + (1 - f)·R``, in [0, 1]; 1 switches decay off in the ranking."""
    importance_floor: float = 1.0
    """g of the rank's factor ``g + (1 - g)·importance``, in [0, 1]; 1 switches it off."""
    relevance_floor: float = 0.05
    """Hits of a lower `relevance` are not returned, unless the call says otherwise; in [0, 1]."""
    weights: Weights | None = None
    """Orders hits by a weighted sum of recency, importance and relevance instead; None for the rank's product."""
    diversity: float = 0.0
    """How much hits shall differ from those before them, in [0, 1]; 0 for the order by rank."""
    lexical_weight: float | None = None
    """Share w of the lexical arm in the fusion, in [0, 1]; None leaves it to the embedder and the store's rows."""
    untrusted_trust: float = 0.5
    """Trust of a record from an untrusted source: a factor of its rank; in [0, 1]."""
    untrusted_strength: float = 0.5
    """Share of the usual initial strength that such a record gets; in (0, 1]."""
    capacity: int | None = None
    """C: the most active, unpinned records of a namespace (SAGE eq. 13 to 16); None for no limit."""
    audit_days: float = 30.0
    """How long an archived record is kept before `purge` without ids may delete it; not negative."""

    duplicates: Mapping[Kind, Duplicates] = field(default_factory=lambda: MappingProxyType(_DUPLICATES))
    """What becomes of what is said again, by kind, unless the call says otherwise. Episodes are evidence: kept; of the
    other kinds only the very same text is merged (``exact``). Near-duplicates (`mars.memory.duplicates`) are merged
    or skipped where ``merge`` or ``skip`` is asked for; that reads all live records of the kind at each write."""

    def __post_init__(self) -> None:
        self._check_curve()
        object.__setattr__(self, "base_strength", self._checked_bases())
        try:
            object.__setattr__(self, "policy", Policy(self.policy))
        except ValueError as error:
            names = ", ".join(policy.value for policy in Policy)
            raise InvalidSetting(f"there is no policy {self.policy!r}; choose one of {names}") from error
        shares = ("retention_floor", "importance_floor", "relevance_floor", "untrusted_trust", "untrusted_strength")
        for name in (*shares, "diversity"):
            object.__setattr__(self, name, check_share(getattr(self, name), name))
        check_positive(self.untrusted_strength, "untrusted_strength")
        object.__setattr__(self, "duplicates", _checked_duplicates(self.duplicates))
        if self.weights is not None:
            check_weights(self.weights)
        if self.lexical_weight is not None:
            object.__setattr__(self, "lexical_weight", check_share(self.lexical_weight, "lexical_weight"))
        for name in ("w_importance", "w_entropy", "audit_days"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
                raise InvalidSetting(f"{name} must be finite and not negative; got {value!r}")
        if self.capacity is not None and (type(self.capacity) is not int or self.capacity < 1):
            raise InvalidSetting(f"capacity must be a whole number of at least 1, or None; got {self.capacity!r}")

    def _check_curve(self) -> None:
        if not isinstance(self.curve, Curve):
            raise InvalidSetting(f"curve must be a mars.memory.curves.Curve; got {self.curve!r}")
        if self.curve.shape is Shape.EBBINGHAUS1885:
            raise InvalidSetting("ebbinghaus1885 has no strength: it is for plots; a memory needs one of the others")

    def _checked_bases(self) -> Mapping[Kind, float]:
        given = self.base_strength
        if not isinstance(given, Mapping):
            given = dict.fromkeys(Kind, given)
        try:
            days = {Kind(kind): check_positive(base, f"the base strength of {kind}") for kind, base in given.items()}
        except ValueError as error:
            raise InvalidSetting(f"base_strength: {error}") from error
        missing = [kind.value for kind in Kind if kind not in days]
        if missing:
            raise InvalidSetting(f"base_strength lacks {', '.join(missing)}; give days for every kind")
        return MappingProxyType(days)

    def initial_strength(
        self, kind: Kind, importance: float = 0.0, entropy: float = 0.0, trusted: bool = True
    ) -> float:
        """Return S0 in days of a new record; importance and the normalised entropy in [0, 1]."""
        days = initial_strength(
            self.base_strength[kind], importance, entropy, w_importance=self.w_importance, w_entropy=self.w_entropy
        )
        return days if trusted else days * self.untrusted_strength

    def but(self, **values: Any) -> Preset:
        """Return a copy with these values changed: ``preset("paper").but(base_strength=7.0)``.

        A number for `base_strength` counts for every kind. The name becomes "custom" unless one is given. Raises
        `InvalidSetting` for an unknown name or a value out of range.
        """
        try:
            return replace(self, **{"name": "custom", **values})
        except TypeError as error:
            raise InvalidSetting(f"a preset has no such value: {error}") from error

    def without_decay(self) -> Preset:
        """Return a copy by which age decides nothing: not what is found, not its order, not what makes room.

        The curve is the flattest there is, so that every record of years is short-term; for ablations.
        """
        weights = self.weights
        if weights is not None:
            weights = replace(weights, recency=0.0, relevance=weights.relevance or float(not weights.importance))
        return self.but(
            name=f"{self.name}, decay off",
            curve=FLATTEST,
            tiers=TierRule(theta1=0.2, theta2=0.1, forgets=False),
            retention_floor=1.0,
            weights=weights,
            capacity=None,
        )


DEFAULT = Preset(name="default")
"""The long tail of the power law, FSRS's strengthening, tiers that forget."""

PAPER = Preset(
    name="paper",
    curve=EXPONENTIAL,
    base_strength=_bases(1.0, 1.0, 1.0, 1.0),
    policy=Policy.MEMORYBANK,
    tiers=TierRule(theta1=0.7, theta2=0.3),
    retention_floor=0.0,
)
"""The paper's own (arXiv 2503.19271): exponential with a base of one day, tiers at .7 and .3, each use adds a base."""

MEMORYBANK = Preset(
    name="memorybank",
    curve=EXPONENTIAL,
    base_strength=_bases(1.0, 1.0, 1.0, 1.0),
    policy=Policy.MEMORYBANK,
    tiers=TierRule(theta1=0.7, theta2=0.3, forgets=False),
)
"""MemoryBank's (arXiv 2305.10250) curve and strengthening; what has faded is ranked lower, and never put away."""

GENERATIVE_AGENTS = Preset(
    name="generative-agents", tiers=TierRule(forgets=False), relevance_floor=0.0, weights=Weights()
)
"""Generative Agents' (arXiv 2304.03442) sum of recency, importance and relevance, each scaled to [0, 1]."""

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {preset.name: preset for preset in (DEFAULT, PAPER, MEMORYBANK, GENERATIVE_AGENTS)}
)
"""The presets by name."""


def preset(name: str | Preset) -> Preset:
    """Return the preset of this name, the one in this TOML file (`mars.memory.preset_files`), or the one given.

    Raises `InvalidSetting` with the names that exist, `InvalidFile` for a file that cannot be read.
    """
    if isinstance(name, Preset):
        return name
    if isinstance(name, str) and name.endswith(".toml"):
        from mars.memory.preset_files import read_preset

        return read_preset(name)
    if name not in PRESETS:
        raise InvalidSetting(f"there is no preset {name!r}; the presets are {', '.join(PRESETS)}")
    return PRESETS[name]
