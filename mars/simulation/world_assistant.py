"""A personal assistant: facts and preferences told once, repeated, changed, contradicted by others, amid noise.

*Distribution.* Of 24 matters ("my dentist", "my favourite tea") the seed draws 12 that the user tells and 4 that the
user never tells. Each told matter is told on a day of 0..29 (uniform), said again `repeat` times within 10 days, and
with chance `change` told anew with another value 12 to 40 days after the first telling, and that said again `repeat`
times. With chance 1/4 somebody else then says another value about the user, within `gap` days. `gap` days after the
user's last telling it is asked for; half of the told matters, drawn, are also asked for at one third and two thirds
of the gap. Each untold matter is asked for twice, on days drawn from the whole span. For each statement of the user
there are `noise` statements of others (rounded), on days drawn from the whole span: with chance 1/2 about a matter of
their own, in the same words ("My dentist is …", by somebody else; also about matters that the user never tells), else
talk.

*Truth.* What the user has said last of a matter. Hearsay and others' own matters are never true of the user.

*Oracle.* The reader, with the user's newest statement of the matter as its only memory; none where none was told.

*Memoryless.* Without memories the reader says "Not known.", which is right for untold matters and no other. There are
12 + 6·2 = 24 questions for told matters and 4·2 = 8 for untold ones, in every episode: 8/32 = .25 exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mars.simulation.topics import PEOPLE, SMALL_TALK
from mars.simulation.worlds import START, USER, Cell, Claim, Episode, Reference, Statement, Step, in_order

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

TOLD, UNTOLD, UNTOLD_ASKS = 12, 4, 2
"""Matters that the user tells, matters that the user never tells, and how often each of these is asked for."""
CONTRADICTED = 0.25
"""Chance that somebody else says another value."""
LOOKALIKE = 0.5
"""Share of the noise that is about others' own matters."""

NAMES = (
    "Anna Keller",
    "Jonas Brandt",
    "Mira Novak",
    "Tomas Silva",
    "Ingrid Dahl",
    "Omar Haddad",
    "Ruth Ferrari",
    "Pavel Orlov",
)
PLACES = (
    "the Blue Door",
    "the Old Mill",
    "the Corner House",
    "the Green Lantern",
    "the Red Barn",
    "the Stone Bridge",
    "the White Horse",
    "the Iron Gate",
)
THINGS = ("oolong", "sencha", "rooibos", "peppermint", "darjeeling", "lapsang", "hibiscus", "verbena")
CODES = ("4812", "9037", "2264", "7150", "3389", "6901", "1745", "5528")
MATTERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("dentist", "accountant", "landlord", "piano teacher", "lawyer", "physiotherapist"), NAMES),
    **dict.fromkeys(("gym", "bakery", "bookshop", "barber shop", "meeting room", "lunch place"), PLACES),
    **dict.fromkeys(
        ("favourite tea", "usual drink", "cat food flavour", "bath salt", "office tea", "gift for guests"), THINGS
    ),
    **dict.fromkeys(
        ("locker code", "bike lock code", "phone extension", "membership number", "alarm code", "desk number"), CODES
    ),
}
"""Matters with their values; a matter's values in an episode are drawn from its pool without replacement."""

_CLAIM = re.compile(rf"(?:My|{USER}'s) (.+?) is (?:now )?(.+)\.$")


class AssistantEpisode(Episode):
    """Half a year with a personal assistant; see this module's first lines."""

    world = "assistant"
    version = 1

    def __init__(self, seed: int, cell: Cell) -> None:
        super().__init__(seed, cell)
        drawn = self.random.sample(sorted(MATTERS), TOLD + UNTOLD)
        self._told, self._untold = drawn[:TOLD], drawn[TOLD:]
        self._hot = set(self.random.sample(self._told, TOLD // 2))

    @staticmethod
    def policy(seed: int) -> BaseChatModel:
        """Return the built-in reader."""
        from mars.models.reader import ReaderModel

        return ReaderModel()

    @staticmethod
    def claim(speaker: str, text: str) -> Claim | None:
        """Return the matter and the value of what the user says; hearsay claims nothing."""
        found = _CLAIM.match(text) if speaker == USER else None
        return None if found is None else (found[1], found[2])

    def floor(self) -> float:
        """Return .25: see the docstring of the module."""
        asked = TOLD + 2 * (TOLD // 2)
        return UNTOLD * UNTOLD_ASKS / (asked + UNTOLD * UNTOLD_ASKS)

    def steps(self) -> Iterator[Step]:
        """Yield all that is said and asked."""
        told: list[Statement] = []
        steps: list[Step] = []
        for matter in self._told:
            steps += self._life_of(matter, told)
        span = (max(step.at for step in steps) - START).days + 1
        for matter in self._untold:
            for _ in range(UNTOLD_ASKS):
                reference = Reference(values=(), wrong=frozenset(MATTERS[matter]))
                steps.append(self.ask(self.moment(self.random.randrange(span)), _question(matter), reference))
        steps += [self._noise(span) for _ in range(round(self.cell.noise * len(told)))]
        yield from in_order(steps)

    def _life_of(self, matter: str, told: list[Statement]) -> Iterator[Step]:
        draw = self.random
        first, second, other = draw.sample(MATTERS[matter], 3)
        day = draw.randrange(30)
        said = [self._tell(day, f"My {matter} is {first}.")]
        said += [self._tell(day + draw.randint(1, 10), f"My {matter} is {first}.") for _ in range(self.cell.repeat)]
        value = first
        if draw.random() < self.cell.change:
            value, day = second, day + draw.randint(12, 40)
            said.append(self._tell(day, f"My {matter} is now {second}."))
            said += [
                self._tell(day + draw.randint(1, 10), f"My {matter} is {second}.") for _ in range(self.cell.repeat)
            ]
        told += said
        yield from said
        last = max(said, key=lambda one: one.at)
        last_day = (last.at - START).days
        if draw.random() < CONTRADICTED:
            yield Statement(
                at=self.moment(last_day + draw.uniform(0, self.cell.gap)),
                speaker=draw.choice(PEOPLE),
                text=f"{USER}'s {matter} is {other}.",
            )
        reference = Reference(values=(value,), wrong=frozenset(MATTERS[matter]) - {value}, records=(last,))
        for part in (1 / 3, 2 / 3, 1) if matter in self._hot else (1,):
            at = self.moment(last_day + max(1, self.cell.gap * part))
            yield self.ask(at, _question(matter), reference)

    def _tell(self, day: float, text: str) -> Statement:
        return Statement(at=self.moment(day), speaker=USER, text=text)

    def _noise(self, span: int) -> Statement:
        draw = self.random
        at, speaker = self.moment(draw.randrange(span)), draw.choice(PEOPLE)
        if draw.random() >= LOOKALIKE:
            return Statement(at=at, speaker=speaker, text=draw.choice(SMALL_TALK))
        matter = draw.choice(sorted(MATTERS))
        return Statement(at=at, speaker=speaker, text=f"My {matter} is {draw.choice(MATTERS[matter])}.")


def _question(matter: str) -> str:
    return f"What is my {matter}?"
