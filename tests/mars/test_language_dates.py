"""Dates in free text."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mars.language import Granularity, lexical_date_terms, resolve_dates

pytestmark = pytest.mark.wheel

MONDAY = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "phrase", "start", "end", "granularity"),
    [
        ("I went yesterday.", "yesterday", "2023-05-07", "2023-05-07", "day"),
        ("see you tomorrow", "tomorrow", "2023-05-09", "2023-05-09", "day"),
        ("tonight!", "tonight", "2023-05-08", "2023-05-08", "day"),
        ("last night", "last night", "2023-05-07", "2023-05-07", "day"),
        ("the day before yesterday", "the day before yesterday", "2023-05-06", "2023-05-06", "day"),
        ("two days ago", "two days ago", "2023-05-06", "2023-05-06", "day"),
        ("a couple of weeks ago", "a couple of weeks ago", "2023-04-24", "2023-04-30", "week"),
        ("a few years ago", "a few years ago", "2020-01-01", "2020-12-31", "year"),
        ("3 months back", "3 months back", "2023-02-01", "2023-02-28", "month"),
        ("in two weeks", "in two weeks", "2023-05-22", "2023-05-28", "week"),
        ("last week", "last week", "2023-05-01", "2023-05-07", "week"),
        ("the week before", "the week before", "2023-05-01", "2023-05-07", "week"),
        ("the week before last", "the week before last", "2023-04-24", "2023-04-30", "week"),
        ("the week before 9 June 2023", "the week before 9 June 2023", "2023-05-29", "2023-06-04", "week"),
        ("this weekend", "this weekend", "2023-05-13", "2023-05-14", "weekend"),
        ("over the weekend", "over the weekend", "2023-05-06", "2023-05-07", "weekend"),
        ("next month", "next month", "2023-06-01", "2023-06-30", "month"),
        ("last year", "last year", "2022-01-01", "2022-12-31", "year"),
        ("last Friday", "last Friday", "2023-05-05", "2023-05-05", "day"),
        ("last Monday", "last Monday", "2023-05-01", "2023-05-01", "day"),
        ("next Friday", "next Friday", "2023-05-12", "2023-05-12", "day"),
        ("we met on Friday", "on Friday", "2023-05-05", "2023-05-05", "day"),
        ("we will meet on Friday", "on Friday", "2023-05-12", "2023-05-12", "day"),
        ("in June", "in June", "2022-06-01", "2022-06-30", "month"),
        ("I'm going to move in June", "in June", "2023-06-01", "2023-06-30", "month"),
        ("last summer", "last summer", "2022-06-01", "2022-08-31", "season"),
        ("this winter", "this winter", "2022-12-01", "2023-02-28", "season"),
        ("7 May 2023", "7 May 2023", "2023-05-07", "2023-05-07", "day"),
        ("on 8 May, 2023", "8 May, 2023", "2023-05-08", "2023-05-08", "day"),
        ("May 7", "May 7", "2023-05-07", "2023-05-07", "day"),
        ("on March 14th", "March 14th", "2023-03-14", "2023-03-14", "day"),
        ("2023-05-07", "2023-05-07", "2023-05-07", "2023-05-07", "day"),
        ("5/7/2023", "5/7/2023", "2023-05-07", "2023-05-07", "day"),
        ("31/12/2022", "31/12/2022", "2022-12-31", "2022-12-31", "day"),
        ("June 2022", "June 2022", "2022-06-01", "2022-06-30", "month"),
        ("since 2016.", "since 2016", "2016-01-01", "2016-12-31", "year"),
    ],
)
def test_resolved(text: str, phrase: str, start: str, end: str, granularity: str) -> None:
    """Each phrase names the days that the module's docstring says, said on Monday, 8 May 2023."""
    (found,) = resolve_dates(text, MONDAY)
    assert (found.phrase, found.start.isoformat(), found.end.isoformat()) == (phrase, start, end)
    assert found.granularity is Granularity(granularity)
    assert text[slice(*found.span)] == phrase


@pytest.mark.parametrize("text", ["I may 3 times", "nothing", "13/13/2023", "9999 years ago", "30 February", "1,000"])
def test_no_date(text: str) -> None:
    """What names no day of the calendar resolves to nothing."""
    assert resolve_dates(text, MONDAY) == ()


def test_several() -> None:
    """Several phrases come in order and never overlap; the longer reading wins."""
    found = resolve_dates("Last week, not the day before yesterday, and again on 7 May 2023.", MONDAY)
    assert [one.phrase for one in found] == ["Last week", "the day before yesterday", "7 May 2023"]


@given(
    st.lists(
        st.sampled_from(
            "last next this two a few days weeks months years ago in before after week weekend June May 31 "
            "2023 - / , . the day yesterday tomorrow Friday summer 0 9999 will".split(" ")
        ),
        max_size=14,
    ).map(" ".join)
    | st.text(max_size=60),
    st.datetimes(timezones=st.just(UTC)),
)
def test_any_text(text: str, said_at: datetime) -> None:
    """No text and no time of saying raises; spans are ordered, disjoint and hold the phrase; ranges run forwards."""
    found = resolve_dates(text, said_at)
    edges = [edge for one in found for edge in one.span]
    assert edges == sorted(edges)
    for one in found:
        assert text[slice(*one.span)] == one.phrase
        assert date.min <= one.start <= one.end <= date.max


@given(st.integers(1, 3000), st.datetimes(timezones=st.just(UTC)).filter(lambda each: each.year > 20))
def test_days_ago(days: int, said_at: datetime) -> None:
    """N days ago is the calendar day N days back, whatever the time of day."""
    (found,) = resolve_dates(f"{days} days ago", said_at)
    assert found.start == found.end == said_at.date() - timedelta(days=days)


def test_many_dates() -> None:
    """Thirty thousand dated sentences are resolved in linear time."""
    assert len(resolve_dates("I will go on Friday. " * 30_000, MONDAY)) == 30_000


def test_lexical_terms() -> None:
    """A day is searched for by its year, month, day and weekday."""
    assert lexical_date_terms(MONDAY) == ("2023", "may", "8", "monday")
