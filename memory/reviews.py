"""A store's own log of graded uses, read as a learner's log of reviews, and replayed under any curve.

A graded use is the outcome of a recall: Good and Easy say that the record served (1), Again that it was the cause of an
error (0). The history has each with its time, and every event by which τ restarts. From the first strength that was
logged, `replayed` follows a record under a curve and a scale of all strengths, by the preset's policy: what retention
would have been predicted at each use, had the store always worked so. What was recalled and neither cited nor blamed
is not logged, and says nothing here.

Uses within a day of the last strengthening (`mars.memory.strength.SAME_DAY`) are replayed and not scored, as FSRS's
own evaluation does: retention is near 1 there under every curve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mars.memory.curves import Curve, Floats, retention
from mars.memory.interfaces import Reader, Selection
from mars.memory.presets import Preset
from mars.memory.records import Change, Grade, Kind, Namespace, Record, days_between
from mars.memory.strength import FIRST_DIFFICULTY, SAME_DAY, strengthen

RESTARTS = frozenset({"repeated", "restored", "replaced"})
"""Events after which τ counts anew, beside a good use and a text that was told again."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a record."""

    day: float
    """Days since the record was stored."""
    grade: Grade | None
    """How a use went; None where τ restarted by another event."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A record and what happened to it, oldest first."""

    id: str
    """Its id."""
    kind: Kind
    """Its kind, on which the base strength depends."""
    strength: float
    """S in days when it was stored."""
    boost: float
    """S*/S."""
    steps: tuple[Step, ...]
    """Its uses and restarts, with at least one use."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """The scored uses of some records, all arrays of shape ``[uses]``."""

    retention: Floats
    """R that was predicted, in (0, 1]."""
    served: Floats
    """1 where the use went well, 0 where not."""
    record: Floats
    """Place of the record among those that were replayed."""


def reviewed(reader: Reader, namespace: Namespace | None = None) -> list[Reviewed]:
    """Return the records of a namespace, or of the whole store, that were used, in the order of their last change.

    Left out are pinned records, whose retention is 1, parts of keyed values, which follow their whole, and records
    whose history does not say when they were stored.
    """
    found = (record for record in reader.each(Selection(namespace=namespace)) if record.last_turn is not None)
    read = (_read(record, reader.history(record.id)) for record in found if not record.pinned)
    return [one for one in read if one is not None]


def _read(record: Record, history: Sequence[Change]) -> Reviewed | None:
    added = next((one for one in history if one.event == "added" and "strength" in one.detail), None)
    if added is None:
        return None
    steps = tuple(Step(days_between(added.at, one.at), grade) for one, grade in _steps(history))
    if not any(step.grade for step in steps):
        return None
    return Reviewed(record.id, record.kind, float(added.detail["strength"]), record.boost, steps)


def _steps(history: Sequence[Change]) -> Iterator[tuple[Change, Grade | None]]:
    for one in history:
        if one.event == "used" and "part_of" not in one.detail:
            yield one, Grade(one.detail["grade"])
        elif one.event in RESTARTS or (one.event == "merged" and "content_hash" in one.detail):
            yield one, None


def replayed(records: Sequence[Reviewed], preset: Preset, curve: Curve, scale: float) -> Predicted:
    """Return the retention predicted at each scored use, under a curve and with every strength times `scale`.

    The policy and the relations between the kinds are the preset's.
    """
    bases: Mapping[Kind, float] = {kind: days * scale for kind, days in preset.base_strength.items()}
    strength = np.array([one.strength * scale for one in records], dtype=np.float64)
    boost = np.array([one.boost for one in records], dtype=np.float64)
    difficulty = np.full(len(records), FIRST_DIFFICULTY)
    last = np.zeros(len(records))
    left, served, of = list[float](), list[float](), list[int]()
    for number in range(max((len(one.steps) for one in records), default=0)):
        places = [place for place, one in enumerate(records) if number < len(one.steps)]
        now = np.array([records[place].steps[number].day for place in places])
        tau = np.maximum(now - last[places], 0.0)
        predicted = retention(curve, tau, strength[places] * boost[places])
        for at, place in enumerate(places):
            grade = records[place].steps[number].grade
            if grade is None:
                last[place] = now[at]
                continue
            if tau[at] >= SAME_DAY:
                left.append(float(predicted[at]))
                served.append(float(grade is not Grade.AGAIN))
                of.append(place)
            after = strengthen(
                preset.policy,
                grade,
                strength=float(strength[place]),
                difficulty=float(difficulty[place]),
                retention=float(predicted[at]),
                tau_days=float(tau[at]),
                base=bases[records[place].kind],
            )
            strength[place], difficulty[place] = after.days, after.difficulty
            last[place] = now[at] if after.restarts else last[place]
    return Predicted(np.array(left), np.array(served), np.array(of, dtype=np.float64))
