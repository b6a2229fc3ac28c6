"""The keyless Reflector: each kind of issue has a plan, and the plan mends the answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from langchain_core.messages import HumanMessage

from mars.agents.evidence import examine
from mars.agents.interfaces import NOT_KNOWN, Evidence, Review, Task
from mars.agents.reflection_rules import RULES, WIDER, reflect_by_rules
from mars.agents.reflections import Plan, Reflection
from mars.agents.rendering import render_lessons, render_memories, render_task
from mars.agents.verdicts import Check, Decision, Issue, IssueKind, Verdict, combine
from mars.models.reader import ReaderModel

START = datetime(2023, 3, 1, 12, tzinfo=UTC)
NOISE = (
    "Rice and beans for dinner again.",
    "The train was late, as always.",
    "I finished a long novel about whales.",
    "It rained the whole day.",
    "My neighbour plays the trumpet at night.",
)


def told(*texts: str, speaker: str = "user-1", every: int = 2) -> tuple[Evidence, ...]:
    """Return what somebody said, a few days apart, as it is recalled: refs and positions in the order of the texts."""
    return tuple(
        Evidence(
            ref=f"m{place}",
            record=f"record-{place}",
            text=text,
            kind="episode",
            speaker=speaker,
            said_at=START + timedelta(days=every * place),
            relevance=0.7,
            retention=1.0,
            conversation=f"day-{place}",
            position=0,
        )
        for place, text in enumerate(texts, start=1)
    )


def task(text: str) -> Task:
    return Task(id="t", text=text, user="user-1", asked_at=START + timedelta(days=60))


def draft(asked: Task, evidence: tuple[Evidence, ...], *lessons: Reflection) -> str:
    prompt = render_memories(evidence) + render_lessons(lessons, evidence) + render_task(asked)
    return str(ReaderModel().invoke([HumanMessage(prompt)]).text)


def verdict_on(asked: Task, text: str, evidence: tuple[Evidence, ...], *, widened: bool = False) -> Verdict:
    return combine([examine(Review(task=asked, draft=text, evidence=evidence, recall_widened=widened))])


CHANGES = [
    (
        "My dentist appointment is on Tuesday 14 March.",
        "The clinic called, they moved my dentist appointment to 21 March instead.",
        "When is my dentist appointment?",
        "21 March",
    ),
    (
        "My dentist appointment is on 14 March.",
        "The dentist appointment was moved to 21 March instead.",
        "",
        "21 March",
    ),
    ("My favourite colour is blue.", "My favourite colour is green now.", "What is my favourite colour?", "green"),
    ("My sister's name is Hanna.", "Correction: my sister's name is Anna.", "What is my sister's name?", "Anna"),
    ("My locker code is 4711.", "My locker code was changed to 1234.", "What is my locker code?", "1234"),
    (
        "The book club meets at the library.",
        "The book club now meets at the cafe.",
        "Where does the book club meet?",
        "cafe",
    ),
    (
        "My flight leaves at 9:40.",
        "My flight was rescheduled, it leaves at 11:15.",
        "When does my flight leave?",
        "11:15",
    ),
    ("The rent is 900 euros.", "The rent is 950 euros from now on.", "How much is the rent?", "950"),
    ("My doctor is Dr. Hill.", "I switched doctors: my doctor is Dr. Moss.", "Who is my doctor?", "Moss"),
    ("My gym is Fit24.", "I changed my gym to PureGym.", "What is my gym?", "PureGym"),
    (
        "My piano teacher is Mira Novak.",
        "I changed teachers, Ruth Ferrari is my piano teacher now.",
        "Who is my piano teacher?",
        "Ruth",
    ),
    ("My front door is green.", "We have repainted the door, it is blue now.", "What colour is my front door?", "blue"),
    (
        "My yoga class starts at 18:00.",
        "The studio has shifted yoga, it begins at 19:15 from now on.",
        "When does my yoga class start?",
        "19:15",
    ),
    (
        "The shoe size of my son Emil is 31.",
        "The feet of Emil have grown, he takes 33 now.",
        "What is the shoe size of my son Emil?",
        "33",
    ),
    (
        "I keep my spare key under the flower pot.",
        "I have moved the key; it is in the shed now.",
        "Where is my spare key?",
        "shed",
    ),
    ("I live in Oslo.", "I no longer live in Oslo, I live in Bergen.", "Where do I live?", "Bergen"),
    ("My car is a red Volvo.", "I replaced my car, it is a white Skoda.", "What is my car?", "Skoda"),
    (
        "The team meeting is in room 12.",
        "Actually, the team meeting is in room 30 now.",
        "In which room is the team meeting?",
        "30",
    ),
    (
        "My train ticket is for seat 22.",
        "My train ticket was changed to seat 61.",
        "Which seat is on my train ticket?",
        "61",
    ),
    (
        "Mia's birthday party is on 3 May.",
        "Mia's birthday party was postponed to 10 May.",
        "When is Mia's party?",
        "10 May",
    ),
]


@pytest.mark.parametrize(("old", "new", "question", "value"), CHANGES)
def test_a_stale_answer_is_corrected_by_the_plan(old: str, new: str, question: str, value: str) -> None:
    """Told several times, then changed: the old answer is rejected as stale, and the plan leads to the new one."""
    asked = task(question or "When is my dentist appointment?")
    evidence = told(old, NOISE[0], f"As I said: {old[0].lower()}{old[1:]}", *NOISE[1:3], old, NOISE[3], new, NOISE[4])
    (latest,) = (item for item in evidence if item.text == new)
    stale = [item for item in evidence if item.text != new and old[1:] in item.text]
    first = draft(asked, tuple(stale) + tuple(item for item in evidence if item not in stale))
    assert value not in first
    rejected = verdict_on(asked, first, evidence)
    assert rejected.decision is Decision.REJECTED
    assert rejected.issues[0].kind is IssueKind.STALE
    review = Review(task=asked, draft=first, evidence=evidence)
    lesson = reflect_by_rules(review, rejected, ())
    assert lesson.plan.not_before == latest.said_at
    assert lesson.plan.widen == WIDER
    assert lesson.plan.avoid
    second = draft(asked, evidence, lesson)
    assert value in second
    assert f"[{latest.ref}]" in second
    assert verdict_on(asked, second, evidence, widened=True).approved


@pytest.mark.parametrize(("old", "new", "question", "value"), CHANGES)
def test_before_the_change_the_answer_is_approved(old: str, new: str, question: str, value: str) -> None:
    """While nothing contradicts it, the same answer is right, and approved at once."""
    asked = task(question or "When is my dentist appointment?")
    evidence = told(old, *NOISE)
    first = draft(asked, evidence)
    assert "[m1]" in first
    assert verdict_on(asked, first, evidence).approved, verdict_on(asked, first, evidence).issues


def test_what_was_never_told_is_not_known() -> None:
    """A question on which memory holds nothing ends as not known, with or without a first attempt."""
    asked = task("What is the name of my piano teacher?")
    evidence = told(*NOISE)
    first = draft(asked, evidence)
    rejected = verdict_on(asked, first, evidence)
    assert not rejected.approved
    if first != NOT_KNOWN:
        lesson = reflect_by_rules(Review(task=asked, draft=first, evidence=evidence), rejected, ())
        assert draft(asked, evidence, lesson) == NOT_KNOWN


def test_somebody_elses_words_end_as_not_known() -> None:
    """An answer about the wrong person is rejected, and the plan asks for that person's own words or abstains."""
    asked = task("What did Caroline paint for her mother?")
    evidence = told(
        "I painted a sunrise over the lake for my mother.", "The lake was calm.", speaker="Melanie"
    ) + tuple(
        item
        for item in told("x", "x", "I am off to choir practice.", "Choir was fun!", speaker="Caroline")
        if item.text != "x"
    )
    first = draft(asked, evidence)
    rejected = verdict_on(asked, first, evidence)
    assert IssueKind.SPEAKER in [issue.kind for issue in rejected.issues]
    lesson = reflect_by_rules(Review(task=asked, draft=first, evidence=evidence), rejected, ())
    assert (lesson.plan.speaker, lesson.plan.abstain) == ("Caroline", True)
    second = draft(asked, evidence, lesson)
    assert second == NOT_KNOWN
    assert verdict_on(asked, second, evidence, widened=True).decision is Decision.ABSTAINED


def verdict_of(*kinds: IssueKind) -> Verdict:
    found = [Issue(kind=kind, evidence="e", directive="d", records=("m2",), blame=("m1",)) for kind in kinds]
    return combine([Check.failed("test", *found)])


EVIDENCE = told("My favourite colour is blue.", "My favourite colour is green.")
REVIEW = Review(task=task("What is my favourite colour?"), draft="blue [m1]", evidence=EVIDENCE)


@pytest.mark.parametrize("kind", list(IssueKind))
def test_every_kind_of_issue_has_a_plan(kind: IssueKind) -> None:
    """The table is complete, and each reflection says the fault and the plan in words."""
    assert kind in RULES
    reflection = reflect_by_rules(REVIEW, verdict_of(kind), ())
    assert reflection.causes == (kind.value,)
    assert reflection.origin == "rules"
    assert kind.value in reflection.text
    assert "Next:" in reflection.text


def test_plans_name_records_not_refs() -> None:
    """What to avoid is named by record id, because refs change with the next recall; unknown refs are dropped."""
    plan = reflect_by_rules(REVIEW, verdict_of(IssueKind.STALE), ()).plan
    assert plan == Plan(widen=WIDER, avoid=("record-1",), not_before=EVIDENCE[1].said_at)
    odd = Issue(kind=IssueKind.STALE, evidence="e", directive="d", records=("w7",), blame=("m9",))
    assert reflect_by_rules(REVIEW, combine([Check.failed("test", odd)]), ()).plan == Plan(widen=WIDER)


def test_a_repeated_cause_ends_in_abstaining() -> None:
    """If the same fault comes back after a reflection on it, the next plan is to say that it is not known."""
    once = reflect_by_rules(REVIEW, verdict_of(IssueKind.DATE), ())
    assert not once.plan.abstain
    assert reflect_by_rules(REVIEW, verdict_of(IssueKind.DATE), (once,)).plan.abstain


def test_a_changed_value_may_change_again() -> None:
    """Stale twice is no reason to abstain: the next newer record may hold."""
    once = reflect_by_rules(REVIEW, verdict_of(IssueKind.STALE), ())
    assert not reflect_by_rules(REVIEW, verdict_of(IssueKind.STALE), (once,)).plan.abstain


def test_widening_does_not_multiply_within_one_reflection() -> None:
    """Several issues widen recall once."""
    several = verdict_of(IssueKind.STALE, IssueKind.NUMBER, IssueKind.UNANSWERED)
    assert reflect_by_rules(REVIEW, several, ()).plan.widen == WIDER


def test_an_abstention_without_issues_widens() -> None:
    """Where no check says why, the plan is to look further."""
    reflection = reflect_by_rules(REVIEW, combine([Check.undecided("test")]), ())
    assert reflection.plan == Plan(widen=WIDER)
    assert "no check says why" in reflection.text


def test_of_ones_own_matter_others_words_are_left_out() -> None:
    """After somebody else's words for "my …" the next draft is drawn from no other's, and says that it is not known."""
    asked = task("What is my dentist?")
    others = (
        *told("My dentist is Omar Haddad.", speaker="Zoe"),
        *(replace(one, ref="m2", record="record-b") for one in told("The dentist was late today.", speaker="Ben")),
        *(replace(one, ref="m3", record="record-c") for one in told("user-1 has a new car.", speaker="Ben")),
    )
    first = draft(asked, others)
    assert "Omar Haddad" in first
    lesson = reflect_by_rules(Review(task=asked, draft=first, evidence=others), verdict_on(asked, first, others), ())
    assert (lesson.plan.speaker, lesson.plan.avoid) == ("user-1", ("record-1", "record-b"))
    assert lesson.plan.redirects
    assert draft(asked, others, lesson) == NOT_KNOWN
