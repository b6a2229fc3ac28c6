"""One budget of words for the memories of all drafts of a turn: what is shown, what is left out, when a turn ends."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mars import Assistant, Checker, Mars, Memory, Team
from mars.agents.interfaces import Evidence
from mars.agents.reflections import Plan
from mars.agents.verdicts import Check, Issue, IssueKind
from mars.agents.verifiers import CallableVerifier
from mars.errors import InvalidSetting
from mars.language import words
from mars.memory.interfaces import NewRecord
from mars.prompting import affordable, once, within, words_left
from mars.results import RunStatus
from mars.testing import FixedClock, InMemoryBackend, ScriptedModel

DAY = datetime(2025, 1, 1, tzinfo=UTC)
BUDGET = 40


def memory_of(place: int, text: str, speaker: str = "ann", day: int = 1, **more: object) -> Evidence:
    values: dict[str, object] = {
        "ref": f"m{place}",
        "record": f"r{place}",
        "text": text,
        "kind": "episode",
        "speaker": speaker,
        "said_at": DAY.replace(day=day),
        "relevance": 0.5,
        "retention": 1.0,
    }
    return Evidence(**{**values, **more})  # type: ignore[arg-type]


ROWS = (
    memory_of(1, "one two three"),
    memory_of(2, "four five", "bob", 5),
    memory_of(3, "one two three", day=9),
    memory_of(4, "six seven eight nine", day=7),
)


def test_the_first_that_fit_are_taken_in_order() -> None:
    """Nothing smaller from further back slips in before a longer one, and the names count from one."""
    assert [one.record for one in within(ROWS, 9)] == ["r1", "r2", "r3"]
    assert [one.record for one in within(ROWS[2:], 6)] == ["r3"]
    assert [one.ref for one in within(ROWS[1:], 9)] == ["m1", "m2", "m3"]
    assert within(ROWS, 0) == []


def test_the_same_is_not_said_twice() -> None:
    """Of the same words of one speaker the newest stays, at the first one's place; a fact gives way to its sentence."""
    assert [one.record for one in once(ROWS)] == ["r3", "r2", "r4"]
    assert len(once([ROWS[0], replace(ROWS[0], record="r9", speaker="bob")])) == 2
    sentence = memory_of(5, "I moved to Rome.")
    drawn = memory_of(6, "ann lives in Rome.", kind="fact", subject="ann", relation="lives in", value="Rome")
    assert once([drawn, sentence]) == [sentence]
    assert once([replace(drawn, value="Oslo"), sentence]) == [replace(drawn, value="Oslo"), sentence]
    assert once([drawn]) == [drawn]


def test_a_plan_decides_what_the_words_are_spent_on() -> None:
    """What is to be avoided costs nothing; who and what is preferred goes first."""
    assert [one.record for one in affordable(ROWS, Plan(avoid=("r3",)), 99)] == ["r1", "r2", "r4"]
    assert [one.record for one in affordable(ROWS, Plan(speaker="bob"), 2)] == ["r2"]
    assert [one.record for one in affordable(ROWS, Plan(not_before=DAY.replace(day=6)), 7)] == ["r3", "r4"]


def test_what_a_first_draft_leaves_is_for_the_next() -> None:
    """Three quarters at first where there may be a second draft, then all that is left."""
    assert words_left(40, 0, may_retry=True) == 30
    assert words_left(40, 0, may_retry=False) == 40
    assert words_left(40, 25, may_retry=True) == 15
    with pytest.raises(InvalidSetting, match="memory_words"):
        Team(memory_words=0)
    assert Team.from_plain(Team(memory_words=96).plain()).memory_words == 96


def shown(prompt: str) -> int:
    """Words of the memories in a prompt."""
    block = re.search(r"<memories>(.*?)</memories>", prompt, re.DOTALL)
    return sum(len(words(text)) for text in re.findall(r'"text": "([^"]*)"', block[1] if block else ""))


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [IssueKind.STALE, IssueKind.FORMAT])
async def test_all_drafts_of_a_turn_share_the_budget(kind: IssueKind) -> None:
    """A retry is shown what the first draft left; one that would be shown less of the same is not made."""
    clock = FixedClock(DAY)
    issue = Issue(
        kind=kind, evidence="no", directive="again", records=("m2",), blame=("m1",) if kind == "stale" else ()
    )
    rejects = CallableVerifier(lambda review: Check.failed("never", issue), name="never")
    team = Team(
        assistant=Assistant(model=ScriptedModel([f"Heron {n} [m1]" for n in range(3)])),
        checker=Checker(verifiers=(rejects,), evidence_rules=False),
        memory_words=BUDGET,
        k=12,
        keep_prompts=True,
        remember=False,
    )
    async with Memory.open(InMemoryBackend(), clock=clock) as memory, Mars.open(memory, team=team) as mars:
        news = [NewRecord(text=f"The heron stood at the weir {n} times.", namespace=("ann",)) for n in range(20)]
        await memory.add_many(news)
        result = await mars.run("Where did the heron stand?", user="ann")
    counts = [shown(str(attempt.prompt[1]["data"]["content"])) for attempt in result.attempts]
    assert counts[0] == 24
    assert sum(counts) <= BUDGET
    if kind is IssueKind.STALE:
        assert counts[1:2] == [16]
    else:
        assert (counts, result.status) == ([24], RunStatus.NO_PROGRESS)
