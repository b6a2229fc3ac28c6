"""The rules that draw facts from what somebody says: what they find, and above all what they leave alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mars.memory.facts import (
    MAX_VALUE_WORDS,
    UNKNOWN_SPEAKER,
    contradicts,
    differ,
    extract_facts,
    is_single_valued,
    normalised,
    repeats,
)
from mars.memory.records import Kind, Record

Build = Callable[..., Record]


def triples(text: str, speaker: str | None = "Kim") -> list[tuple[str, str, str]]:
    """Subject, relation and value of each fact in a text."""
    return [(fact.subject, fact.relation, fact.value) for fact in extract_facts(text, speaker)]


@pytest.mark.wheel
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My name is Ann.", [("name", "Ann")]),
        ("Call me Annie, please.", [("preferred name", "Annie")]),
        ("I live in Lisbon but I don't like it.", [("lives in", "Lisbon")]),
        ("Well, by the way, I just moved to Lisbon, Portugal last week!", [("lives in", "Lisbon, Portugal")]),
        ("We moved to Berlin for work in 2019.", [("lives in", "Berlin")]),
        ("I\u2019m living in Graz now", [("lives in", "Graz")]),
        ("I'm originally from Sweden.", [("comes from", "Sweden")]),
        ("I work at Acme Corp as a nurse.", [("works at", "Acme Corp"), ("works as", "nurse")]),
        ("I work as a nurse at St. Mary.", [("works as", "nurse"), ("works at", "St. Mary")]),
        ("I switched jobs, I work at Initech now.", [("works at", "Initech")]),
        ("I got a new job as a baker.", [("works as", "baker")]),
        ("I study law at Heidelberg.", [("studies", "law"), ("studies at", "Heidelberg")]),
        (
            "My favorite colour is green and my favourite tea is Earl Grey.",
            [("favourite colour", "green"), ("favourite tea", "Earl Grey")],
        ),
        ("Harry Potter is my favorite book.", [("favourite book", "Harry Potter")]),
        (
            "I am allergic to peanuts, cats and shellfish.",
            [("is allergic to", "peanuts"), ("is allergic to", "cats"), ("is allergic to", "shellfish")],
        ),
        ("My birthday is on the 3rd of March.", [("birthday", "3rd of March")]),
        ("I was born on 3 May 1987.", [("birthday", "3 May 1987")]),
        ("I was born in 1987.", [("year of birth", "1987")]),
        ("I was born in Porto.", [("was born in", "Porto")]),
        ("I'm 34 years old.", [("age", "34")]),
        ("I just turned 35!", [("age", "35")]),
        ("I'm vegan.", [("diet", "vegan")]),
        ("I speak Finnish and Swedish.", [("speaks", "Finnish"), ("speaks", "Swedish")]),
        ("I really love hiking and jazz!", [("loves", "hiking"), ("loves", "jazz")]),
        ("I enjoy chess.", [("likes", "chess")]),
        ("I hate mushrooms.", [("hates", "mushrooms")]),
        ("I prefer tea to coffee.", [("prefers", "tea to coffee")]),
        ("My dog's name is Rex.", [("dog", "Rex")]),
        ("I have a cat called Misty.", [("cat", "Misty")]),
        ("My sister is called Anna.", [("sister", "Anna")]),
        ("I'm married to Jo.", [("is married to", "Jo")]),
        ("My new phone number is 555 1234.", [("phone number", "555 1234")]),
        ("The number of my gym locker is 112.", [("gym locker number", "112")]),
        ("The name of my landlady is Greta Lindqvist.", [("landlady", "Greta Lindqvist")]),
        ("Remember that my dentist appointment is on Tuesday at 3pm.", [("dentist appointment", "on Tuesday at 3pm")]),
        ("I changed my password to swordfish.", [("password", "swordfish")]),
        ("Update: my locker is 214 now.", [("locker", "214")]),
    ],
)
def test_found(text: str, expected: list[tuple[str, str]]) -> None:
    """What somebody says of themself is about the speaker, in the words they used."""
    assert triples(text) == [("Kim", relation, value) for relation, value in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tom's birthday is on March 3rd.", ("Tom", "birthday", "March 3rd")),
        ("Anna Maria lives in Oslo.", ("Anna Maria", "lives in", "Oslo")),
        ("Bob works as a plumber.", ("Bob", "works as", "plumber")),
        ("Bob works for Initech now.", ("Bob", "works at", "Initech")),
        ("Eve is allergic to bees.", ("Eve", "is allergic to", "bees")),
        ("Eve likes chess.", ("Eve", "likes", "chess")),
        ("Eve's favourite opera is Tosca.", ("Eve", "favourite opera", "Tosca")),
        ("The meeting is on Friday now.", ("meeting", "is", "on Friday")),
        ("The wifi password is now tulip7.", ("wifi password", "is", "tulip7")),
    ],
)
def test_about_others(text: str, expected: tuple[str, str, str]) -> None:
    """A name or a thing can be the subject."""
    assert triples(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "I don't live in Rome.",
        "I no longer work at Acme.",
        "I never liked coffee.",
        "I'm not allergic to nuts.",
        "I live in Porto, not Lisbon.",
        "Do I live in Rome?",
        "My favourite tea is what?",
        "You live in Rome, my name is Ann, right?",
        "If I lived in Rome, my name would be Bob.",
        "I might move to Oslo, my favourite city is Oslo.",
        "I wish I worked at Acme.",
        "Maybe my locker is 214.",
        "I used to live in Rome.",
        "I want to live in Rome.",
        "I'm going to live in Rome.",
        "I'd love a coffee.",
        "I think my favourite film is Alien.",
        "Bob told me I live in Rome.",
        '"I live in Rome", he said.',
        "She lives in Rome.",
        "They love jazz.",
        "This lives in Rome.",
        "My boss is angry.",
        "My head is killing me.",
        "My mom is visiting us.",
        "My flight is delayed.",
        "My team is like my second family.",
        "My favourite is the banana split.",
        "My favourite one to jam to is a theme from a film.",
        "The weather is nice.",
        "The studio is on tenuous grounds right now.",
        "I love this!",
        "I like you.",
        "I love how you tell stories and teach people.",
        "I love his tech and that sarcastic humour.",
        "I like to swim.",
        "I hate it when it rains.",
        "I moved on to other things.",
        "I'm a bit tired.",
        "My plan is A B C D E F G H I.",
        "",
        "   \n",
        "\u2026",
    ],
)
def test_left_alone(text: str) -> None:
    """Questions, negations, hypotheses, plans, reports, past habits, moods and stories give no fact."""
    assert triples(text) == []


def test_speaker() -> None:
    """Where nobody is named as the speaker, the subject is the user."""
    assert triples("I live in Rome.", None) == [(UNKNOWN_SPEAKER, "lives in", "Rome")]


def test_each_fact_once() -> None:
    """A fact that a turn states twice is one fact, and each is found in its own sentence."""
    text = "I live in Rome. My name is Ann! I live in Rome, as I said. I live in rome."
    assert triples("I live in Rome. My name is Ann! I live in rome.") == [
        ("Kim", "lives in", "Rome"),
        ("Kim", "name", "Ann"),
    ]
    assert len(extract_facts(text, "Kim")) == 2


def test_confidence() -> None:
    """The rule decides how sure a fact is; what is said of somebody else is less so."""
    sure = {fact.relation: fact.confidence for fact in extract_facts("My name is Ann. I live in Rome. I like tea.")}
    assert sure == {"name": 0.95, "lives in": 0.9, "likes": 0.8}
    assert extract_facts("Bob lives in Rome.")[0].confidence == 0.8
    assert extract_facts("My locker is 214.")[0].confidence == 0.7


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("I live in Rome.", "Kim lives in Rome."),
        ("My favourite tea is Assam.", "Kim's favourite tea is Assam."),
        ("The meeting is on Friday now.", "The meeting is on Friday."),
        ("I'm allergic to nuts.", "Kim is allergic to nuts."),
    ],
)
def test_statement(text: str, statement: str) -> None:
    """A fact reads as a sentence."""
    assert [fact.statement for fact in extract_facts(text, "Kim")] == [statement]


def test_values_at_a_time() -> None:
    """Likes, allergies and pets may be many; a home, an employer and a favourite are one at a time."""
    text = "I live in Rome. I like tea. I'm allergic to nuts. My dog is Rex. My favourite song is Yesterday."
    single = {fact.relation: fact.single_valued for fact in extract_facts(text)}
    assert single == {
        "lives in": True,
        "likes": False,
        "is allergic to": False,
        "dog": False,
        "favourite song": True,
    }


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(min_size=1, max_size=9))
def test_any_text(text: str, speaker: str) -> None:
    """No text makes the rules fail, and every value stands in the text where its span says."""
    for fact in extract_facts(f"{text} I live in {text}. my favourite thing is {text}", speaker):
        start, end = fact.span
        assert f"{text} I live in {text}. my favourite thing is {text}"[start:end] == fact.value
        assert len(fact.value.split()) <= MAX_VALUE_WORDS


@pytest.mark.parametrize(
    "text",
    [
        "I live in " + " " * 500_000 + "Rome.",
        "hi " * 300_000,
        "I like " + "tea and " * 100_000,
        "my " + "x " * 300_000 + "is y",
        "- " * 300_000,
        ("I live in Rome" + " " * 400 + "and" + " " * 100) * 1000,
    ],
)
def test_long_text(text: str) -> None:
    """No text, however odd, takes the rules long."""
    start = time.process_time()
    extract_facts(text, "Kim")
    assert time.process_time() - start < 5.0


def test_guard(make_record: Build) -> None:
    """One fact contradicts another only for one subject, relation and value at a time, and not if it is older."""
    old = make_record(1, kind=Kind.FACT, subject="Ann", relation="lives in", value="Rome")
    new = replace(
        old, id="new", value="Oslo", subject="ANN", valid_from=old.valid_from + timedelta(days=1), metadata={}
    )
    assert contradicts(new, old)
    assert not contradicts(old, new)
    assert contradicts(replace(new, valid_from=old.valid_from), old)
    changes: tuple[dict[str, Any], ...] = (
        {"id": old.id},
        {"kind": Kind.EPISODE},
        {"subject": "Bob"},
        {"relation": "works at"},
        {"namespace": ("user-2",)},
        {"value": "the  rome"},
        {"value": "Rome, Italy"},
        {"value": None},
        {"metadata": {"single_valued": False}},
    )
    for change in changes:
        assert not contradicts(replace(new, **change), old)


@pytest.mark.parametrize(
    ("new", "old", "may"),
    [
        ("Ann", "Bob", True),
        ("Bob", "Ann", False),
        ("bob", "Bob", True),
        ("Bob", "Zoe", False),
        (None, "Ann", True),
        ("Bob", None, False),
    ],
)
def test_whose_word_replaces_whose(make_record: Build, new: str | None, old: str | None, may: bool) -> None:
    """A fact about Ann is replaced by Ann, by who said it, and by a caller who names no speaker."""
    fact = make_record(1, kind=Kind.FACT, subject="Ann", relation="lives in", value="Rome", speaker=old)
    later = replace(fact, id="new", value="Oslo", speaker=new, metadata={})
    assert contradicts(later, fact) == may


def test_unknown_relations_have_many_values(make_record: Build) -> None:
    """A relation that nobody has called single-valued supersedes nothing; a caller can say that it is."""
    fact = make_record(1, kind=Kind.FACT, subject="Ann", relation="visited", value="Rome")
    assert not is_single_valued(fact)
    assert is_single_valued(replace(fact, metadata={"single_valued": True}))
    assert is_single_valued(replace(fact, relation="favourite city"))
    assert not is_single_valued(replace(fact, relation="lives in", metadata={"single_valued": False}))


def test_normalised() -> None:
    """Values are compared without articles, runs of space and the case of an ordinary word."""
    assert normalised("The  Red-car") == normalised("red-car") == "red-car"
    assert normalised("Caf\u00e9") == normalised("cafe\u0301")
    assert normalised("the") == "the"
    assert not differ("a Volvo", "a red Volvo")
    assert not differ("Lisbon", "lisbon, Portugal")
    assert not differ("3 May", "3 May 1987")
    assert differ("Rome", "Oslo")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("O+", "O-"),
        ("5", "-5"),
        ("5", "- 5"),
        ("5", "+5"),
        (">5", "<5"),
        ("5 mg", "<5 mg"),
        ("$500", "€500"),
        ("500", "$500"),
        ("$500", "$500 000"),
        ("C", "C++"),
        ("C#", "C"),
        ("C", "C*"),
        ("5%", "5"),
        ("5'", '5"'),
        ("(5)", "5"),
        ("10⁵", "105"),
        ("50 m²", "50 m2"),
        ("½", "1/2"),
        ("US", "us"),
        ("IT", "it"),
        ("5 MB", "5 Mb"),
        ("5 Mg", "5 mg"),
        ("vitamin C", "vitamin c"),
        ("1,5", "15"),
        ("1.5", "15"),
        ("10:30", "1030"),
        ("a/b", "ab"),
        ("5 °C", "5 C"),
        ("x!", "x?"),
        ("?", "Rome"),
        ("A positive", "A negative"),
        ("Maße", "Masse"),
        ("vegan", "not vegan"),
        ("tea to coffee", "coffee to tea"),
        ("\uff34ea", "tea"),
    ],
)
def test_what_excludes(make_record: Build, one: str, other: str) -> None:
    """Signs, units, currencies, superscripts and acronyms make other values, one of which takes the other's place."""
    assert normalised(one) != normalised(other)
    assert differ(one, other)
    assert differ(other, one)
    old = make_record(1, kind=Kind.FACT, subject="Ann", relation="lives in", value=one)
    assert contradicts(replace(old, id="new", value=other), old)


@pytest.mark.parametrize(
    ("one", "other", "single", "many"),
    [
        ("Polish", "polish", True, False),
        ("Turkey", "turkey", True, False),
        ("The  Who", "Who", True, True),
        ("US", "us", False, False),
        ("Rome", "Oslo", False, False),
    ],
)
def test_what_is_said_again(one: str, other: str, single: bool, many: bool) -> None:
    """Case decides where both may be so; where only one may, a small letter is no contradiction."""
    assert repeats(one, other, single_valued=True) is single
    assert repeats(one, other, single_valued=False) is many
    assert repeats(other, one, single_valued=False) is many


@given(
    one=st.text(st.sampled_from("aAbBC 5⁵-+<>=$€%#'\"°.,()/²"), min_size=1, max_size=6),
    other=st.text(st.sampled_from("aAbBC 5⁵-+<>=$€%#'\"°.,()/²"), min_size=1, max_size=6),
)
def test_no_sign_is_lost(one: str, other: str) -> None:
    """Values are equal only if all but their spaces and letters is the same, in its order."""
    if normalised(one) == normalised(other):
        signs = [
            [letter for letter in value if not letter.isspace() and not letter.isalpha()] for value in (one, other)
        ]
        assert signs[0] == signs[1]
