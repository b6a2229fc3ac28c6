"""The lives that the demo draws, and the files that bring a user's own facts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mars.errors import InvalidFile, InvalidInput
from mars.simulation.facts_file import read_facts
from mars.simulation.life import DAYS, Act, Fact, Life, Part, draw_life
from mars.simulation.topics import POOLS, TOPICS

SEEDS = range(1, 41)
FACTS = (
    Fact(
        topic="a", ask="Where is a?", tell=("My a is in {value}.",), first="Rome", new="Oslo", change=("Now {value}.",)
    ),
    Fact(topic="b", ask="Where is b?", tell=("My b is in {value}.",), first="Kiel"),
    Fact(topic="c", ask="Where is c?", tell=("My c is in {value}.",), first="Bonn"),
)


def of_part(life: Life, part: Part) -> list[str]:
    """Return the topics that play a part."""
    return [topic for topic, played in life.parts.items() if played is part]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_life_has_each_part_within_60_days(seed: int) -> None:
    """Every seed tells, repeats, changes, keeps and lets fade, in order of time and within the days of a life."""
    life = draw_life(seed)
    assert set(life.parts.values()) == set(Part)
    assert [turn.at for turn in life.turns] == sorted({turn.at for turn in life.turns})
    assert {turn.day for turn in life.turns} <= set(range(1, DAYS + 1))
    (changed,) = of_part(life, Part.CHANGED)
    acts = [turn.act for turn in life.turns if turn.topic == changed]
    assert acts == [Act.TELLS, Act.REPEATS, Act.REPEATS, Act.CHANGES, Act.ASKS, Act.ASKS, Act.ASKS]
    (kept,), (faded,) = of_part(life, Part.KEPT), of_part(life, Part.FADED)
    assert life.told(kept)[0].day == life.told(faded)[0].day
    assert [turn.act for turn in life.turns if turn.topic == faded] == [Act.TELLS, Act.ASKS]


def test_the_same_seed_draws_the_same_life_and_another_one_another() -> None:
    """A life depends on its seed only."""
    assert draw_life(3) == draw_life(3)
    assert len({draw_life(seed).turns for seed in SEEDS}) == len(SEEDS)


def test_seeds_differ_in_people_topics_and_order() -> None:
    """Over some seeds many users, changed topics and days of change occur."""
    lives = [draw_life(seed) for seed in SEEDS]
    assert len({life.user for life in lives}) > 5
    assert len({of_part(life, Part.CHANGED)[0] for life in lives}) > 8
    assert len({next(turn.day for turn in life.turns if turn.act is Act.CHANGES) for life in lives}) > 10


def test_no_words_are_left_unfilled_and_no_value_is_used_twice() -> None:
    """No turn shows a placeholder, and no two facts of a life share a value."""
    for seed in SEEDS:
        life = draw_life(seed)
        assert not any("{" in turn.text for turn in life.turns)
        values = [value for fact in life.facts.values() for value in (fact.first, fact.new) if value]
        assert len(values) == len(set(values))


def test_every_topic_can_be_told_and_changed() -> None:
    """Each topic has three clear statements, three announcements of a change, and values to draw from."""
    for topic in TOPICS:
        assert len(topic.tell) == len(topic.change) == 3
        assert all("{value}" in words for words in (*topic.tell, *topic.change, *topic.others))
        assert topic.values == "day" or len(POOLS[topic.values]) >= 5


@pytest.mark.parametrize(
    "facts",
    [FACTS[1:], FACTS[:2], (*FACTS, FACTS[1]), (FACTS[0], replace(FACTS[0], topic="d"))],
    ids=["nothing changes", "one is steady", "a topic twice", "all change"],
)
def test_a_life_without_all_its_parts_is_refused(facts: tuple[Fact, ...]) -> None:
    """Facts of which no life can be made are refused."""
    with pytest.raises(InvalidInput):
        draw_life(1, facts)


def written(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Write a good facts file, changed, and return its path."""
    values: dict[str, Any] = {
        "user": "Mara",
        "start": "2026-02-02",
        "facts": [
            {"topic": "a", "ask": "Where is a?", "tell": ["My a is in {value}."], "first": "Rome", "new": "Oslo"},
            {"topic": "b", "ask": "Where is b?", "tell": ["My b is in {value}."], "first": "Kiel"},
            {"topic": "c", "ask": "Where is c?", "tell": ["My c is in {value}."], "first": "Bonn"},
        ],
    }
    change(values)
    file = path / "facts.json"
    file.write_text(json.dumps(values), "utf-8")
    return file


def test_own_facts_make_a_life(tmp_path: Path) -> None:
    """A user's file decides the name, the topics and the values; the seed decides parts and days."""
    own = read_facts(written(tmp_path, lambda values: None))
    life = draw_life(1, own.facts, own.user, own.small_talk, own.start)
    assert life.start.date().isoformat() == "2026-02-02"
    assert life.user == "Mara"
    assert set(life.facts) == {"a", "b", "c"}
    assert life.parts["a"] is Part.CORRECTED
    assert {life.parts["b"], life.parts["c"]} == {Part.KEPT, Part.FADED}
    assert {turn.value for turn in life.told("a")} == {"Rome", "Oslo"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda values: values["facts"][1].pop("ask"), "facts.1.ask"),
        (lambda values: values["facts"][0].update(tell=["My a is in Rome."]), "facts.0.tell.0"),
        (lambda values: values["facts"][0].update(tell=["My {thing} is {value}."]), "facts.0.tell.0"),
        (lambda values: values["facts"][1].update(change=["Now {value}."]), "facts.1"),
        (lambda values: values["facts"][0].update(new="Rome"), "facts.0"),
        (lambda values: values["facts"][2].update(first=7), "facts.2.first"),
        (lambda values: values["facts"][2].update(colour="red"), "facts.2.colour"),
        (lambda values: values["facts"][2].update(topic="b"), "facts.2.topic"),
        (lambda values: values["facts"][0].pop("new"), "facts: a life needs"),
        (lambda values: values["facts"].pop(), "facts"),
        (lambda values: values.update(start="spring"), "start"),
        (lambda values: values["facts"][0].update(topic=" "), "facts.0.topic"),
    ],
)
def test_a_broken_facts_file_names_the_field(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], named: str
) -> None:
    """Each mistake in a facts file is an `InvalidFile` that names the field."""
    with pytest.raises(InvalidFile) as caught:
        read_facts(written(tmp_path, change))
    assert named in str(caught.value)


def test_broken_json_names_the_line(tmp_path: Path) -> None:
    """Broken JSON is an `InvalidFile` that names line and column; a missing or a binary file is one, too."""
    file = tmp_path / "facts.json"
    file.write_text('{\n  "facts": [,]\n}', "utf-8")
    with pytest.raises(InvalidFile, match="line 2, column 13"):
        read_facts(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidFile, match="UTF-8"):
        read_facts(file)
    with pytest.raises(InvalidFile, match="there is no file"):
        read_facts(tmp_path / "none.json")
