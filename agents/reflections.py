"""Reflections: what went wrong, and the plan for the next attempt.

A reflection is text for people and models, and a `Plan` that the runtime carries out: how wide to recall, what to
avoid, what to prefer. It is stored as a record, so that the lesson serves the next time (MARS §3.2, Reflexion).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

WIDEST = 8
"""The most by which plans may multiply the number of recalled records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the next attempt does differently; the default changes nothing."""

    widen: int = 1
    """Multiply the number of recalled records by this, at least 1."""
    avoid: tuple[str, ...] = ()
    """Ids of records not to rely on."""
    not_before: datetime | None = None
    """Prefer records said at or after this time."""
    speaker: str | None = None
    """Prefer this person's own words."""
    terms: tuple[str, ...] = ()
    """Words to add to the query of the next recall."""
    abstain: bool = False
    """Answer that it is not known unless the evidence is clear."""

    @property
    def redirects(self) -> bool:
        """Whether other records go first in the next recall, or are left out of it; widening only adds to its end."""
        return bool(self.avoid or self.not_before or self.speaker or self.terms)

    def merged(self, other: Plan) -> Plan:
        """Return this plan followed by `other`, which wins where they disagree; widening multiplies, capped."""
        return Plan(
            widen=min(self.widen * other.widen, WIDEST),
            avoid=tuple(dict.fromkeys(self.avoid + other.avoid)),
            not_before=other.not_before or self.not_before,
            speaker=other.speaker or self.speaker,
            terms=tuple(dict.fromkeys(self.terms + other.terms)),
            abstain=other.abstain,
        )

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values, defaults left out."""
        values: dict[str, Any] = {}
        if self.widen != 1:
            values["widen"] = self.widen
        if self.avoid:
            values["avoid"] = list(self.avoid)
        if self.not_before:
            values["not_before"] = self.not_before.isoformat()
        if self.speaker:
            values["speaker"] = self.speaker
        if self.terms:
            values["terms"] = list(self.terms)
        if self.abstain:
            values["abstain"] = True
        return values

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Plan:
        """Rebuild it from `plain`; unknown keys are ignored, so that newer plans can be read."""
        moment = values.get("not_before")
        return cls(
            widen=max(1, min(int(values.get("widen", 1)), WIDEST)),
            avoid=tuple(map(str, values.get("avoid", ()))),
            not_before=datetime.fromisoformat(moment) if moment else None,
            speaker=values.get("speaker"),
            terms=tuple(map(str, values.get("terms", ()))),
            abstain=bool(values.get("abstain", False)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflection:
    """What went wrong, and what to do about it."""

    text: str
    """For people and models: the fault, its evidence, the new plan. Without refs: they name other records later."""
    plan: Plan = Plan()
    """For the runtime."""
    causes: tuple[str, ...] = ()
    """Kinds of the issues that led to it."""
    origin: str = "rules"
    """Who reflected: rules, or the model's name."""
    records: tuple[str, ...] = ()
    """Ids of the records that the text speaks of."""
    task: str | None = None
    """The words of the task that it was drawn from."""
    from_tools: bool = False
    """Whether words of tools may stand in the text; then it is as little trusted as they are."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values, for the state and for a record's metadata."""
        return {
            "text": self.text,
            "plan": self.plan.plain(),
            "causes": list(self.causes),
            "origin": self.origin,
            "records": list(self.records),
            "task": self.task,
            "from_tools": self.from_tools,
        }

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Reflection:
        """Rebuild it from `plain`."""
        return cls(
            text=str(values["text"]),
            plan=Plan.from_plain(values.get("plan", {})),
            causes=tuple(values.get("causes", ())),
            origin=str(values.get("origin", "rules")),
            records=tuple(map(str, values.get("records", ()))),
            task=values.get("task"),
            from_tools=bool(values.get("from_tools", False)),
        )


def combined_plan(reflections: Sequence[Reflection]) -> Plan:
    """Return the plan of several reflections, oldest first."""
    plan = Plan()
    for reflection in reflections:
        plan = plan.merged(reflection.plan)
    return replace(plan, widen=min(plan.widen, WIDEST))
