"""An operations desk: procedures learned by failing; rules change; repeated mistakes are counted.

*Distribution.* The seed draws 8 of 12 faults; each comes 6 times, the first on a day of 0..29, each next one `gap` days
later, times a factor drawn from [.75, 1.25]. One of 5 procedures fixes a fault: drawn uniformly, and before each
incident but the first drawn anew among the other four with chance `change`. The agent names one procedure. Then the
desk's log says whether it fixed the fault, and nothing about the others; the same line is logged again `repeat` times,
1 to 3 days apart. For each incident there are `noise` lines of other sites' logs (rounded), in almost the same words,
on drawn days.

*Truth.* Which procedure fixes a fault now. A log line of another site says nothing about this one.

*Policy.* `mars.simulation.policies.DeskPolicy`: of the newest lines about the fault in its prompt, the procedure that
fixed it; else one drawn uniformly among those that have not failed since.

*Oracle.* The same policy, with one line as its memory: that the right procedure fixed this fault, today.

*Memoryless.* Without lines the policy draws one of 5 uniformly and independently of the truth: .2 in expectation, with
a standard deviation of (.2·.8/48)^½ = .058 an episode.

*Repeated mistakes.* Answers with a procedure that has failed on this fault already under the rule of now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from mars.environments import Score
from mars.simulation.policies import PROCEDURES, DeskPolicy, chosen_procedure
from mars.simulation.worlds import START, USER, Cell, Claim, Episode, Question, Reference, Statement, Step

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

FAULTS = (
    "pump leak",
    "valve jam",
    "belt slip",
    "fan noise",
    "motor stall",
    "sensor drift",
    "filter clog",
    "boiler trip",
    "chiller frost",
    "gate fault",
    "crane sway",
    "press misfeed",
)
"""What can go wrong."""
SITES = ("Porto", "Ghent", "Lyon", "Turin", "Bergen", "Graz")
"""Other sites, whose logs are noise."""
CHOSEN, INCIDENTS = 8, 6
"""Faults of an episode, and how often each comes."""

_FIXED = re.compile(r"Procedure (\w+) fixed the (.+)\.$")


class OperationsEpisode(Episode):
    """Months at an operations desk; see this module's first lines."""

    world = "operations"
    version = 1
    exact_floor = False
    telling_decides = False

    def __init__(self, seed: int, cell: Cell) -> None:
        super().__init__(seed, cell)
        self._queue: list[tuple[datetime, int, Step]] = []
        self._incidents: dict[str, tuple[str, str]] = {}
        self._failed: dict[str, tuple[str, set[str]]] = {}
        self._plan()

    @staticmethod
    def policy(seed: int) -> BaseChatModel:
        """Return the rules of the desk."""
        return DeskPolicy(seed=seed)

    @staticmethod
    def claim(speaker: str, text: str) -> Claim | None:
        """Return the fault and the procedure of a line that says what fixed it at this site."""
        found = _FIXED.match(text) if speaker == USER else None
        return None if found is None else (found[2], found[1])

    def floor(self) -> float:
        """Return 1/5: see the docstring of the module."""
        return 1 / len(PROCEDURES)

    def steps(self) -> Iterator[Step]:
        """Yield incidents, what came of each, and what other sites log."""
        while self._queue:
            yield heappop(self._queue)[2]

    def mark(self, question: Question, answer: str) -> Score:
        """Mark an answer, and log what came of the procedure that it names."""
        score = super().mark(question, answer)
        fault, right = self._incidents[question.id]
        named = chosen_procedure(answer)
        rule, failed = self._failed.get(fault, ("", set()))
        if rule != right:
            failed = set()
        repeated = named in failed
        if named is not None:
            outcome = "fixed" if named == right else "did not fix"
            if named != right:
                failed.add(named)
            at = question.at + timedelta(hours=1)
            self._log(at, USER, f"Procedure {named} {outcome} the {fault}.")
            for _ in range(self.cell.repeat):
                at += timedelta(days=self.random.randint(1, 3))
                self._log(at, USER, f"Procedure {named} {outcome} the {fault}.")
        self._failed[fault] = (right, failed)
        return Score(value=score.value, details={"repeated_mistake": repeated})

    def _plan(self) -> None:
        draw = self.random
        last = START
        for fault in draw.sample(FAULTS, CHOSEN):
            right, day = draw.choice(PROCEDURES), float(draw.randrange(30))
            for number in range(INCIDENTS):
                if number and draw.random() < self.cell.change:
                    right = draw.choice([one for one in PROCEDURES if one != right])
                at = self.moment(day)
                self._incident(at, fault, right)
                last, day = max(last, at), day + max(1.0, self.cell.gap * draw.uniform(0.75, 1.25))
        for _ in range(round(self.cell.noise * CHOSEN * INCIDENTS)):
            fault, outcome = draw.choice(FAULTS), draw.choice(("fixed", "did not fix"))
            text = f"At the {draw.choice(SITES)} site procedure {draw.choice(PROCEDURES)} {outcome} the {fault}."
            self._log(self.moment(draw.randrange((last - START).days + 1)), "Elsa", text)

    def _incident(self, at: datetime, fault: str, right: str) -> None:
        true = Statement(at=at, speaker=USER, text=f"Procedure {right} fixed the {fault}.")
        place = len(self._incidents) + 1
        text = f"Incident {place}: Which procedure fixes the {fault}? Choose among {', '.join(PROCEDURES)}."
        wrong = frozenset(PROCEDURES) - {right}
        question = self.ask(at, text, Reference(values=(right,), wrong=wrong, records=(true,)))
        self._incidents[question.id] = (fault, right)
        self._push(question)

    def _log(self, at: datetime, speaker: str, text: str) -> None:
        self._push(Statement(at=at, speaker=speaker, text=text))

    def _push(self, step: Step) -> None:
        heappush(self._queue, (step.at, next(self._numbers), step))
