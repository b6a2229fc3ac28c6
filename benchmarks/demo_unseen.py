"""How often a change is caught that is announced in words with which neither the demo nor the Checker was made.

Each fact below is lived as the one that changes, in a life of its own, beside two facts that do not. What is printed is
how many were corrected: a measure of how far the keyless Checker reaches, with no bar to pass. Do not tune towards it.

    python -m benchmarks.demo_unseen
"""

from __future__ import annotations

import json
from typing import Any

import anyio

from benchmarks.demo_seeds import corrected, right, wrong_stands
from mars.simulation.life import Fact, draw_life
from mars.simulation.report import report
from mars.simulation.story import live

STEADY = (
    Fact(topic="locker", ask="What is my locker number?", tell=("My locker number is {value}.",), first="112"),
    Fact(
        topic="allotment",
        ask="Where is my allotment?",
        tell=("My allotment is behind the {value}.",),
        first="brickworks",
    ),
)
"""What does not change in any of these lives."""

UNSEEN = (
    (
        "What is the number of my insurance policy?",
        "The number of my insurance policy is {value}.",
        "Heads up, the insurer issued a fresh policy: {value}.",
        ("4471", "9920"),
    ),
    (
        "Where does the team lunch take place?",
        "The team lunch takes place at {value}.",
        "They were fully booked, so the team lunch ended up at {value}.",
        ("Mario's", "Lucia's"),
    ),
    (
        "On which day does my cleaner come?",
        "My cleaner comes on {value}.",
        "Starting next week my cleaner can only do {value}.",
        ("Tuesday", "Friday"),
    ),
    (
        "When is the cat's vet appointment?",
        "The cat's vet appointment is on {value}.",
        "The vet had an emergency, the cat can come on {value}.",
        ("12 May", "19 May"),
    ),
    (
        "Which bus do I take to work?",
        "I take bus {value} to work.",
        "My old bus was discontinued, these days bus {value} brings me to work.",
        ("14", "31"),
    ),
    (
        "Where does my nephew Ole study?",
        "My nephew Ole studies in {value}.",
        "Ole transferred to another university, he sits in {value}.",
        ("Aarhus", "Odense"),
    ),
    (
        "In which room is the seminar?",
        "The seminar is in room {value}.",
        "Our room is needed for exams, the seminar goes to {value}.",
        ("B12", "C07"),
    ),
    (
        "Who is my landlord?",
        "My landlord is {value}.",
        "The building has been sold, my landlord is a certain {value}.",
        ("Georg Vogt", "Dana Simon"),
    ),
    (
        "How much is the rent of my garage?",
        "The rent of my garage is {value} euros.",
        "They raised the garage to {value} euros.",
        ("85", "95"),
    ),
    (
        "What time does my swimming lesson start?",
        "My swimming lesson starts at {value}.",
        "The pool opens later in winter, so swimming is at {value}.",
        ("7:30", "8:15"),
    ),
    (
        "What is the code of the yard gate?",
        "The code of the yard gate is {value}.",
        "The old code does nothing any more, the gate wants {value}.",
        ("3344", "7788"),
    ),
    (
        "What is my favourite lunch place?",
        "My favourite lunch place is {value}.",
        "Sadly it closed down, I have lunch at {value} these days.",
        ("Tasty Wok", "Green Spoon"),
    ),
)
"""Question, clear words, announcement of the change, first and new value."""


def lived(place: int) -> dict[str, Any]:
    """Live a life in which one of these facts changes, and return its report."""
    ask, tell, change, (first, new) = UNSEEN[place]
    told = (tell, f"Remember: {tell[0].lower() + tell[1:] if not tell.startswith('I ') else tell}")
    fact = Fact(topic="unseen", ask=ask, tell=told, change=(change,), first=first, new=new)
    return report(anyio.run(lambda: live(draw_life(place + 1, (fact, *STEADY)), store="memory:")))


def main() -> None:
    """Print one line for each fact and the counts; the last line is JSON."""
    reports = [lived(place) for place in range(len(UNSEEN))]
    for (question, _, change, _), found in zip(UNSEEN, reports, strict=True):
        outcome = "corrected" if corrected(found) else "wrong stands" if wrong_stands(found) else "neither"
        print(f"{outcome:<13} {question}  <-  {change}")
    first = [(found, next(one for one in found["asked"] if one["topic"] == "unseen")) for found in reports]
    counts = {
        "facts": len(UNSEEN),
        "corrected": sum(map(corrected, reports)),
        "right": sum(right(found, one, one["answer"]) for found, one in first),
        "wrong_stands": sum(map(wrong_stands, reports)),
    }
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
