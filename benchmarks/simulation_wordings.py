"""The worlds of the assistant and the scheduler told in other words: does what the Checker adds hang on a wording?

    python -m benchmarks.simulation_wordings

What happens is drawn as ever; only the sentences differ, and for the scheduler the question and the rule of the policy
that reads them. Four cells, two seeds. The oracle must reach 1 in every wording, else the wording itself is broken.
``adds`` is ``mars`` less the better of ``mars-no-checker`` and ``vector``; ``least`` the least of a world's wordings.
``seen`` says whether somebody had read failures in a wording before the rules were last changed. Prints a table, and
one JSON object as its last line; takes two minutes of processor time, in two processes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime
from statistics import fmean
from typing import Any

import anyio
from langchain_core.language_models import BaseChatModel

from benchmarks.perfect_memory import played
from mars.models.prompt_parts import Prompt
from mars.models.reader import NOT_KNOWN
from mars.simulation.arms import Limits, OracleArm, open_arm
from mars.simulation.episodes import ORACLE
from mars.simulation.policies import RulePolicy
from mars.simulation.world_assistant import AssistantEpisode
from mars.simulation.world_scheduler import SchedulerEpisode
from mars.simulation.worlds import Cell, Question, Reference, Statement, Step

ARMS = (ORACLE, "mars", "mars-no-checker", "vector")
CELLS = [Cell(noise=n, change=0.5, repeat=r, gap=g) for n, r, g in ((2, 0, 7), (8, 0, 60), (2, 2, 60), (8, 2, 7))]
SEEDS = (79001, 79002)


@dataclass(frozen=True)
class Wording:
    """How one world is told."""

    world: str
    """assistant or scheduler."""
    told: str
    """What the user says, of ``who``, ``the`` matter and ``value``, or of ``person``, ``thing`` and ``day``."""
    asked: str = ""
    """The scheduler's question, of ``day``."""
    changed: str = ""
    """What the assistant's user says where a value is another now; `told` if empty."""
    seen: bool = True
    """Whether it was read before the rules were last changed."""


WORDINGS = (
    Wording("assistant", "{whose} {matter} is {value}.", changed="{whose} {matter} is now {value}."),
    Wording("assistant", "{value} is {whose} {matter}.", changed="{value} is now {whose} {matter}."),
    Wording(
        "assistant", "As {whose} {matter} {who} have {value}.", changed="As {whose} {matter} {who} now have {value}."
    ),
    Wording(
        "assistant",
        "For {whose} {matter} {who} go with {value}.",
        changed="For {whose} {matter} {who} switched to {value}.",
    ),
    Wording("scheduler", "I promised {person} the {thing} by {day}.", "What did I promise by {day}?"),
    Wording("scheduler", "I promised {person} the {thing} until {day}.", "What did I promise until {day}?"),
    Wording("scheduler", "I owe {person} the {thing}, due on {day}.", "What do I owe, due on {day}?"),
    Wording(
        "scheduler",
        "I promised {person} the {thing}; the deadline is {day}.",
        "For which promise is {day} the deadline?",
    ),
    Wording("scheduler", "{person} will have the {thing} from me by {day}.", "What will who have from me by {day}?"),
    Wording("scheduler", "{person} gets the {thing} from me on {day}.", "What does who get from me on {day}?"),
    Wording(
        "scheduler",
        "I promised {person} the {thing}, to be delivered on {day}.",
        "What did I promise to be delivered on {day}?",
    ),
    Wording("scheduler", "I promised {person} the {thing} for {day}.", "What did I promise for {day}?"),
    Wording("scheduler", "I promised to give {person} the {thing} on {day}.", "What did I promise to give on {day}?"),
    Wording("scheduler", "On {day} I must hand {person} the {thing}.", "What must I hand over on {day}?", seen=False),
    Wording("scheduler", "By {day} the {thing} has to be with {person}.", "What has to be where by {day}?", seen=False),
)

_TELLS = re.compile(r"(?P<whose>My|Mara's) (?P<matter>.+?) is (?P<now>now )?(?P<value>.+)\.$")
_PROMISES = re.compile(r"I promised (?P<person>\w+) the (?P<thing>\w+) by (?P<day>\d+ \w+)\.$")
_DAY = re.compile(r"\d+ (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\w*")


def reworded(statement: Statement, wording: Wording) -> Statement:
    """Return a statement of a world in other words; small talk, and what no wording fits, as it is."""
    found = (_TELLS if wording.world == "assistant" else _PROMISES).match(statement.text)
    if found is None:
        return statement
    parts = found.groupdict()
    template = wording.told
    if wording.world == "assistant":
        own = parts["whose"] == "My"
        template = wording.changed if parts.pop("now") else template
        parts |= {"who": "I" if own else "they", "whose": "my" if own else parts["whose"]}
    text = template.format(**parts)
    return replace(statement, text=text[0].upper() + text[1:])


class DiaryPolicy(RulePolicy):
    """The scheduler's policy for another wording: of each promise's newest line, the one of the day asked for."""

    told: str
    """The wording."""

    def answer(self, prompt: Prompt) -> str:
        """Return a line with its citation, or "Not known."."""
        pattern = re.escape(self.told)
        for name, form in (("person", r"\w+"), ("thing", r"\w+"), ("day", r"\d+ \w+")):
            pattern = pattern.replace(rf"\{{{name}\}}", f"(?P<{name}>{form})")
        asked = _DAY.search(prompt.question)
        lines = [line for line in prompt.passages if line.ref not in prompt.lessons.avoid]
        seen: set[tuple[str, str]] = set()
        for line in sorted(lines, key=lambda line: line.day or date.min, reverse=True):
            found = re.fullmatch(pattern, line.text)
            if asked is None or found is None or line.speaker != prompt.user:
                continue
            promise = (found["person"], found["thing"])
            if promise not in seen and found["day"] == asked[0]:
                return f"{line.text} [{line.ref}]"
            seen.add(promise)
        return NOT_KNOWN


def retold(steps: Iterator[Step], wording: Wording) -> Iterator[Step]:
    """Yield the same, said otherwise."""
    for step in steps:
        yield reworded(step, wording) if isinstance(step, Statement) else step


class Assistant(AssistantEpisode):
    """The assistant's world in other words."""

    wording: Wording

    def steps(self) -> Iterator[Step]:
        """Yield the world's steps as they are worded here."""
        yield from retold(super().steps(), self.wording)

    def truth(self, question: Question) -> tuple[Statement, ...]:
        """Return the true records as they were said."""
        return tuple(reworded(one, self.wording) for one in super().truth(question))


class Scheduler(SchedulerEpisode):
    """The scheduler's world in other words. An answer must say the person and the thing."""

    wording: Wording

    def steps(self) -> Iterator[Step]:
        """Yield the world's steps as they are worded here."""
        yield from retold(super().steps(), self.wording)

    def truth(self, question: Question) -> tuple[Statement, ...]:
        """Return the true records as they were said."""
        return tuple(reworded(one, self.wording) for one in super().truth(question))

    def ask(self, at: datetime, text: str, reference: Reference) -> Question:
        """Ask in the wording's words."""
        day = _DAY.search(text)
        assert day is not None
        values = tuple(word for value in reference.values for word in value.split(" the "))
        wanted = replace(reference, values=values, wrong=frozenset())
        return super().ask(at, self.wording.asked.format(day=day[0]), wanted)


async def success(place: int, variant: str, cell: Cell, seed: int) -> float:
    """Play an episode in a wording and return the share of right answers."""
    wording = WORDINGS[place]
    episode: Assistant | Scheduler = (Assistant if wording.world == "assistant" else Scheduler)(seed, cell)
    episode.wording = wording
    policy: BaseChatModel = DiaryPolicy(told=wording.told) if isinstance(episode, Scheduler) else episode.policy(seed)
    if variant == ORACLE:
        return await played(episode, OracleArm(policy, Limits(), episode.truth))
    async with open_arm(variant, policy, Limits(), seed=seed) as arm:
        return await played(episode, arm)


def measured(place: int) -> dict[str, Any]:
    """Return the success of each arm in a wording."""
    reached = {
        arm: round(fmean(anyio.run(success, place, arm, cell, seed) for cell in CELLS for seed in SEEDS), 4)
        for arm in ARMS
    }
    adds = round(reached["mars"] - max(reached["mars-no-checker"], reached["vector"]), 4)
    return {"told": WORDINGS[place].told, "seen": WORDINGS[place].seen, **reached, "adds": adds}


def main() -> int:
    """Measure every wording."""
    with ProcessPoolExecutor(2) as pool:
        rows = list(pool.map(measured, range(len(WORDINGS))))
    report: dict[str, dict[str, Any]] = {}
    for world in dict.fromkeys(wording.world for wording in WORDINGS):
        of = [row for row, wording in zip(rows, WORDINGS, strict=True) if wording.world == world]
        report[world] = {
            "oracle": min(row[ORACLE] for row in of),
            "least": min(row["adds"] for row in of),
            "wordings": of,
        }
        print(f"{world:58} " + " ".join(f"{arm:>15}" for arm in (*ARMS, "adds")), file=sys.stderr)
        for row in of:
            figures = " ".join(f"{row[arm]:15.3f}" for arm in (*ARMS, "adds"))
            print(f"{row['told'] + ('' if row['seen'] else ' (unseen)'):58} {figures}", file=sys.stderr)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
