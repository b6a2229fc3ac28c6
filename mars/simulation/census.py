"""What the scorer notes beside an episode: what an arm still held of the truth, what it used, and why it was wrong.

It looks into an arm's memory after an answer and never before, writes nothing to it, and tells nobody: no prompt, no
variant and no Checker reads any of this. What is noted:

``census``
    At the first question of every 30 days, after its answer: of the claims that the user has made, how many are still
    held. A claim is a matter with a value; it is *needed* if it is true now and a later question rests on it, *spare*
    if it is true and no question does, *stale* if it is no longer true. It is held if a record says it that recall can
    still find; what is forgotten, archived, superseded or purged is not held.
``lapses``
    Why each wrong answer was wrong: see `Lapse`.
``calibration``
    Of the records that stood in a prompt, by tenths of their predicted retention R: how many, ΣR, how many the answer
    cites, and the same for those that were true of the question.
``curves``
    Some memories with every change of their strength, from the history that the memory keeps by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from mars.agents.interfaces import Evidence
from mars.agents.rendering import citations
from mars.environments import Score
from mars.memory.engine import Memory
from mars.memory.interfaces import Change, Grade, Kind, Record, Status
from mars.memory.presets import Preset
from mars.simulation.arms import NAMESPACE, Arm, Reply
from mars.simulation.worlds import START, Claim, Episode, Question, Statement

MONTH = 30
"""Days between two looks at what is held."""
BINS = 10
"""Bins of retention, of equal width."""
SHOWN_FAILURES = 5
"""So many wrong answers of an episode are kept to be read."""
SHOWN_RECORDS, LONGEST_TEXT = 8, 300
"""So many records are kept with each, and so many characters of a text."""


class Lapse(StrEnum):
    """Why an answer is wrong; exactly one."""

    NEVER_TOLD = "never told"
    """What is true had not been said: the agent could not know it."""
    FORGOTTEN = "forgotten"
    """It had been said, and nothing that recall can find says it any more."""
    NOT_RECALLED = "not recalled"
    """It was held, and did not stand in the prompt."""
    NOT_USED = "not used"
    """It stood in the prompt, and the answer says something else."""
    SHOULD_ABSTAIN = "should abstain"
    """There is nothing true to say, and the answer says something."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at what is held."""

    at: datetime
    told: frozenset[Claim]
    held: frozenset[Claim]
    records: int


@dataclass(slots=True)
class Notebook:
    """Notes of one episode. `rules` is the preset of the arm's memory, None where nothing of it fades."""

    episode: Episode
    rules: Preset | None = None
    lapses: dict[str, int] = field(default_factory=dict)
    """How often each `Lapse` came."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """The first wrong answers, with what was asked, what is true and what stood in the prompt."""
    bins: list[list[float]] = field(default_factory=lambda: [[0, 0.0, 0, 0, 0] for _ in range(BINS)])
    """For each tenth of R: records in prompts, ΣR, cited ones, true ones, true ones cited."""
    _told: dict[Claim, datetime] = field(default_factory=dict)
    _truths: list[tuple[datetime, Claim]] = field(default_factory=list)
    _asked: list[tuple[datetime, frozenset[Claim]]] = field(default_factory=list)
    _looks: list[_Look] = field(default_factory=list)

    def tell(self, statements: Iterable[Statement]) -> None:
        """Note what was said."""
        for one in statements:
            claim = self.episode.claim(one.speaker, one.text)
            if claim is not None:
                self._told.setdefault(claim, one.at)
                if self.episode.telling_decides:
                    self._truths.append((one.at, claim))

    async def answered(self, arm: Arm, question: Question, reply: Reply, score: Score) -> None:
        """Note an answer that was marked, before anything else happens."""
        true = self._claims((one.speaker, one.text) for one in self.episode.truth(question))
        self._asked.append((question.at, true))
        if not self.episode.telling_decides:
            self._truths += [(question.at, claim) for claim in true]
        cited = frozenset(citations(reply.text))
        if self.rules is not None:
            self._count(reply.shown, cited, true)
        month = (question.at - START).days // MONTH
        due = month > ((self._looks[-1].at - START).days // MONTH if self._looks else 0)
        if due:
            records = await arm.held(question.at)
            held = self._claims((one.speaker, one.text) for one in records)
            self._looks.append(_Look(question.at, frozenset(self._told), held, len(records)))
        if not score.passed:
            await self._failed(arm, question, reply, true, cited)

    def _claims(self, said: Iterable[tuple[str | None, str]]) -> frozenset[Claim]:
        claims = (self.episode.claim(speaker or "", text) for speaker, text in said)
        return frozenset(claim for claim in claims if claim is not None)

    def _count(self, shown: Sequence[Evidence], cited: frozenset[str], true: frozenset[Claim]) -> None:
        for one in shown:
            place = self.bins[min(BINS - 1, int(one.retention * BINS))]
            used, right = one.ref in cited, self.episode.claim(one.speaker or "", one.text) in true
            for index, value in enumerate((1, one.retention, used, right, used and right)):
                place[index] += value

    async def _failed(
        self, arm: Arm, question: Question, reply: Reply, true: frozenset[Claim], cited: frozenset[str]
    ) -> None:
        lapse = await self._lapse(arm, question, reply, true)
        self.lapses[lapse.value] = self.lapses.get(lapse.value, 0) + 1
        if len(self.failures) == SHOWN_FAILURES:
            return
        reference = " and ".join(self.episode.key_of(question).values) or "Not known."
        recalled = [
            {
                "text": one.text[:LONGEST_TEXT],
                "speaker": one.speaker,
                "said": one.said_at.date().isoformat(),
                "retention": round(one.retention, 4),
                "cited": one.ref in cited,
                "true": self.episode.claim(one.speaker or "", one.text) in true,
            }
            for one in reply.shown[:SHOWN_RECORDS]
        ]
        self.failures.append(
            {
                "at": question.at.date().isoformat(),
                "question": question.text[:LONGEST_TEXT],
                "reference": reference,
                "answer": (reply.text if reply.error is None else f"[failed: {reply.error}]")[:LONGEST_TEXT],
                "lapse": lapse.value,
                "shown": len(reply.shown),
                "recalled": recalled,
            }
        )

    async def _lapse(self, arm: Arm, question: Question, reply: Reply, true: frozenset[Claim]) -> Lapse:
        if not true:
            return Lapse.SHOULD_ABSTAIN
        if not true <= self._told.keys():
            return Lapse.NEVER_TOLD
        if true <= self._claims((one.speaker, one.text) for one in reply.shown):
            return Lapse.NOT_USED
        held = self._claims((one.speaker, one.text) for one in await arm.held(question.at))
        return Lapse.NOT_RECALLED if true <= held else Lapse.FORGOTTEN

    def census(self) -> list[dict[str, Any]]:
        """Return every look, now that it is known what was asked later."""
        return [self._counted(look) for look in self._looks]

    def _counted(self, look: _Look) -> dict[str, Any]:
        later = frozenset(claim for at, claims in self._asked if at > look.at for claim in claims)
        counts = dict.fromkeys(("needed", "needed_held", "spare", "spare_held", "stale", "stale_held"), 0)
        for claim in look.told:
            sort = "stale" if not self._true_at(claim, look.at) else "needed" if claim in later else "spare"
            counts[sort] += 1
            counts[f"{sort}_held"] += claim in look.held
        return {"day": (look.at - START).days, **counts, "records": look.records}

    def _true_at(self, claim: Claim, at: datetime) -> bool:
        known = [(when, value) for when, (matter, value) in self._truths if matter == claim[0] and when <= at]
        return bool(known) and max(known, key=lambda one: one[0])[1] == claim[1]

    async def curves(self, memory: Memory | None, end: datetime) -> list[dict[str, Any]]:
        """Return some memories as they went; none where nothing fades."""
        if memory is None or self.rules is None:
            return []
        rows = await memory.list(NAMESPACE, statuses=frozenset(Status), now=end)
        return [
            _curve(role, row, await memory.history(row.id), self._until(row), self.rules)
            for role, row in self._chosen(rows, end).items()
        ]

    def _chosen(self, rows: Sequence[Record], end: datetime) -> Mapping[str, Record]:
        """Return a memory for each part that a memory can play; the same rows, the same choice."""
        claims = {row.id: self.episode.claim(row.speaker or "", row.text) for row in rows}

        def sort(row: Record) -> str:
            claim = claims[row.id]
            if claim is None:
                return "lesson" if row.kind is Kind.REFLECTION else "noise"
            return "true" if self._true_at(claim, end) else "stale"

        def best(wanted: str, order: Callable[[Record], Any]) -> Record | None:
            return min((row for row in rows if sort(row) == wanted), key=order, default=None)

        often = best("true", lambda row: (-row.uses, row.event_time, row.text))
        other = None if often is None else often.text
        found = {
            "true, used most": often,
            "true, used least": best("true", lambda row: (row.text == other, row.uses, row.event_time, row.text)),
            "no longer true": best("stale", lambda row: (-row.uses, row.event_time, row.text)),
            "of no use": best("noise", lambda row: (-row.uses, row.event_time, row.text)),
            "a lesson": best("lesson", lambda row: (-row.uses, row.event_time, row.text)),
        }
        return {role: row for role, row in found.items() if row is not None}

    def _until(self, row: Record) -> datetime | None:
        """Return when what a record says ceased to be true; None if it did not, or says nothing of the user."""
        claim = self.episode.claim(row.speaker or "", row.text)
        if claim is None:
            return None
        later = [at for at, (matter, value) in self._truths if matter == claim[0] and value != claim[1]]
        return min((at for at in later if at > row.event_time), default=None)


GONE = ("superseded", "archived", "merged", "purged")
"""Events after which recall finds a record no more."""


def _curve(role: str, row: Record, history: Sequence[Change], until: datetime | None, rules: Preset) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    for change in history:
        strength = change.detail.get("strength")
        if change.event == "used" and isinstance(strength, Sequence):
            good = change.detail.get("grade") != Grade.AGAIN.value
            steps.append({"day": _day(change.at), "event": "used" if good else "blamed", "strength": strength[1]})
        elif change.event == "added":
            steps.append({"day": _day(change.at), "event": "told", "strength": strength})
        elif change.event in ("repeated", "restored") and steps:
            steps.append({"day": _day(change.at), "event": "repeated", "strength": steps[-1]["strength"]})
    gone = next((change for change in history if change.event in GONE), None)
    return {
        "role": role,
        "text": row.text[:LONGEST_TEXT],
        "kind": row.kind.value,
        "uses": row.uses,
        "steps": steps,
        "until": None if until is None else _day(until),
        "gone": None if gone is None else _day(gone.at),
        "fate": None if gone is None else gone.event,
        "shape": rules.curve.shape.value,
        "decay": rules.curve.decay,
        "theta2": rules.tiers.theta2 if rules.tiers.forgets else None,
    }


def _day(at: datetime) -> float:
    """Return a time in days since the episode began."""
    return round((at - START) / timedelta(days=1), 3)
