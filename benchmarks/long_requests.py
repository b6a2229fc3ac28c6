"""Is a short record found by a long request that needs it in one of its sentences, and how much else is?

    python -m benchmarks.long_requests [rows ...] [--locomo FILE] [--sabotage passages]

Stores of 10, 100 and 1,000 records (or of so many as are named), 25 of which are needed; each is asked for in a request
of 12 to 150 words, in a sentence that stands anywhere among others, and as many requests need what nobody stored. A
needed record has some 5, 18 or 40 words and no neighbours. Each request is judged as a whole, as it was before, and by
its passages too. ``found``: share of the needed records among the first five hits. ``noise``: share of the requests
without a needed record that find anything; ``noise_hits``: how many of ten. All by the preset's floor, and by the
loop's (``loop``). ``held_out`` takes the sentences that were written when the rule stood.

``summary`` has the means over all stores: of requests of 60 words and more, ``long``; of 100 words without a stop or a
comma, ``dictated``; of 12 words, ``short``. ``short_differ`` counts the requests of up to 30 words whose hits are not
the same both ways. With ``--locomo`` its questions are asked as they are, and among 60 and more words of another
conversation's; ``noise`` is then what one conversation says to another's question. ``--sabotage passages`` judges as a
whole both times. Keyless, by words; prints a table, and one JSON object as its last line. Takes a minute.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from random import Random
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.long_request_sentences import (
    CHOSEN,
    DID,
    HELD_OUT,
    MATTERS,
    PEOPLE,
    TAILS,
    TALK,
    THINGS,
    VALUES,
    WHENS,
)
from mars.ingest.locomo import conversations
from mars.memory.engine import Memory
from mars.memory.presets import DEFAULT
from mars.memory.records import NewRecord
from mars.memory.sync import SyncMemory
from mars.team import Team

ROWS = (10, 100, 1_000)
WORDS = (12, 30, 60, 100, 150)
LENGTHS = ("short", "medium", "long")
FLOORS = {"preset": DEFAULT.relevance_floor, "loop": Team().floor}
SPACE = ("user",)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
FIRST, ALL = 5, 10
"""So many hits are looked through for what is needed, and counted where nothing is."""
LONG, SHORT = 60, 12
DICTATED = -100
"""So many words, and neither stop nor comma."""
ASKED = 60
"""So many of each conversation's questions are asked, evenly spread."""

Need = tuple[str, str, str]
NEEDS: Sequence[Need] = (*CHOSEN, *HELD_OUT)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request found, judged in one way with one floor."""

    request: str
    """What is asked."""
    words: int
    """About so many words it has."""
    group: str
    """Length of the needed record, dictated or locomo."""
    floor: str
    """preset or loop."""
    way: str
    """whole or passages."""
    stored: bool
    """Whether what is needed is there."""
    held_out: bool
    """Whether the sentences were written when the rule stood."""
    rows: int
    """Records beside the needed ones."""
    hits: tuple[str, ...]
    """Ids of the hits."""
    found: bool
    """Whether what is needed is among the first five."""


def listed(text: str) -> list[str]:
    """The parts between bars."""
    return [" ".join(part.split()) for part in text.split("|")]


def others(draw: Random, count: int) -> list[str]:
    """Records that nobody needs."""
    who, did, what, when, matters, values = map(listed, (PEOPLE, DID, THINGS, WHENS, MATTERS, VALUES))
    found = []
    for _ in range(count):
        told = f"{draw.choice(who)} {draw.choice(did)} {draw.choice(what)}"
        kind = draw.random()
        if kind < 0.25:
            told = f"{draw.choice(who)}'s {draw.choice(matters)} is {draw.choice(values)}"
        elif kind < 0.5:
            told += f" and {draw.choice(did)} {draw.choice(what)}"
        found.append(f"{told} {draw.choice(when)}." if kind >= 0.25 else f"{told}.")
    return found


def record(need: Need, length: str, draw: Random) -> str:
    """The needed record."""
    told, _, more = need
    if length == "short":
        return f"{told}."
    return f"{told}; {more}." if length == "medium" else " ".join((f"{told}; {more}.", *draw.sample(TAILS, 3)))


def among(draw: Random, asked: str, words: int, talk: Sequence[str]) -> str:
    """A request of about so many words that asks for something in one of its sentences."""
    parts, left = list[str](), words - len(asked.split())
    for sentence in draw.sample(talk, min(len(talk), words)):
        if left < 6:
            break
        parts.append(sentence)
        left -= len(sentence.split())
    parts.insert(draw.randrange(len(parts) + 1), asked)
    return " ".join(parts)


def judged(memory: SyncMemory, request: str, space: tuple[str, ...], way: str, floor: str) -> list[Any]:
    """The hits of a request."""
    whole = way == "whole"
    return memory.recall(request, namespace=space, k=ALL, now=NOW, floor=FLOORS[floor], whole=whole)


def cells(rows: int, sabotaged: bool) -> Iterator[Outcome]:
    """All requests to stores of so many other records."""
    for length, half in product(LENGTHS, (0, 1)):
        draw = Random(f"{rows} {length} {half}")
        with Memory.open_sync("memory:") as memory:
            added = [NewRecord(text=text, namespace=SPACE) for text in others(draw, rows)]
            memory.add_many(added, now=NOW)
            ids = dict[Need, str]()
            for need in NEEDS[half::2]:
                ids[need] = memory.add(record(need, length, draw), namespace=SPACE, now=NOW).id
            for need, words in product(NEEDS, (*WORDS, DICTATED)):
                request = among(draw, need[1], abs(words), TALK)
                group = length if words > 0 else "dictated"
                request = request if words > 0 else re.sub("[.,?]", "", request)
                for floor, way in product(FLOORS, ("whole", "passages")):
                    hits = judged(memory, request, SPACE, "whole" if sabotaged else way, floor)
                    names = tuple(hit.record.id for hit in hits)
                    there, new = need in ids, need in HELD_OUT
                    at = ids.get(need) in names[:FIRST]
                    yield Outcome(request, words, group, floor, way, there, new, rows, names, at)


def locomo(path: str, sabotaged: bool) -> Iterator[Outcome]:
    """LoCoMo's questions, alone and among another conversation's words; each is put to its own conversation and to the
    next one's, which knows nothing of it.
    """
    samples = conversations(path)
    draw = Random("locomo")
    with Memory.open_sync("memory:") as memory:
        for sample in samples:
            memory.add_many(sample.turns, now=NOW)
        for place, sample in enumerate(samples):
            talk = [turn.text.splitlines()[0] for turn in samples[place - 2].turns]
            fit = [one for one in sample.questions if one.evidence and one.category != "adversarial"]
            for question in fit[:: max(1, len(fit) // ASKED)]:
                for words, stored in product((0, LONG, 100), (True, False)):
                    request = among(draw, question.text, words, talk) if words else question.text
                    space = (sample if stored else samples[place - 1]).turns[0].namespace
                    for floor, way in product(FLOORS, ("whole", "passages")):
                        hits = judged(memory, request, space, "whole" if sabotaged else way, floor)
                        said = [str(hit.record.metadata["dia_id"]) for hit in hits]
                        at = bool(set(question.evidence).intersection(said[:FIRST]))
                        yield Outcome(request, words, "locomo", floor, way, stored, True, 0, tuple(said), at)


def figures(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Found and noise of these requests, by floor and way."""
    chosen, report = list(outcomes), dict[str, Any]()
    for floor, way in product(FLOORS, ("whole", "passages")):
        ours = [one for one in chosen if (one.floor, one.way) == (floor, way)]
        noise = [len(one.hits) for one in ours if not one.stored]
        report.setdefault(floor, {})[way] = {
            "found": round(fmean(one.found for one in ours if one.stored), 3),
            "noise": round(fmean(count > 0 for count in noise), 3),
            "noise_hits": round(fmean(noise), 2),
        }
    return report


def differing(outcomes: Sequence[Outcome]) -> int:
    """How many requests find other records by their passages than as a whole; the two follow each other."""
    return sum(one.hits != two.hits for one, two in zip(outcomes[::2], outcomes[1::2], strict=True))


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the table comes to."""
    late = [one for one in outcomes if one.words >= LONG]
    return {
        "long": figures(late),
        "long_held_out": figures(one for one in late if one.held_out),
        "dictated": figures(one for one in outcomes if one.words == DICTATED),
        "short": figures(one for one in outcomes if one.words == SHORT),
        "short_differ": differing([one for one in outcomes if len(one.request.split()) <= 30]),
    }


def table(name: str, lines: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """The figures, as a whole -> by passages."""
    shown = Table(name, *(f"{floor}: {what}" for floor, what in product(FLOORS, ("found", "noise", "noise hits"))))
    for label, values in lines:
        pairs = [
            f"{values[floor]['whole'][key]} -> {values[floor]['passages'][key]}"
            for floor, key in product(FLOORS, ("found", "noise", "noise_hits"))
        ]
        shown.add_row(label, *pairs)
    return shown


def main() -> None:
    """Print the tables, then the report as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", type=int, default=ROWS)
    parser.add_argument("--locomo", metavar="FILE")
    parser.add_argument("--sabotage", choices=["passages"])
    options = parser.parse_args()
    outcomes = [one for rows in options.rows for one in cells(rows, bool(options.sabotage))]
    told = []
    for rows, length, words in product(options.rows, LENGTHS, WORDS):
        ours = [one for one in outcomes if (one.rows, one.group, one.words) == (rows, length, words)]
        told.append({"rows": rows, "record": length, "words": words, **figures(ours)})
    console = Console(width=150)
    report: dict[str, Any] = {"cells": told, "summary": summary(outcomes)}
    console.print(table("records, record, words", [(f"{c['rows']}, {c['record']}, {c['words']}", c) for c in told]))
    if options.locomo:
        real = list(locomo(options.locomo, bool(options.sabotage)))
        split = {str(words): figures(one for one in real if one.words == words) for words in (0, LONG, 100)}
        report["locomo"] = {**split, "short_differ": differing([one for one in real if not one.words])}
        console.print(table("LoCoMo, words", list(split.items())))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
