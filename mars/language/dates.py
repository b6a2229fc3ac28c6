"""Dates in free text, absolute and relative, resolved against the moment at which the text was said.

Pure functions; none raises on any text. What English leaves open is decided once, here:

* Days are those of `said_at`'s own clock; its time of day and zone are not looked at.
* A calendar week runs from Monday to Sunday, a weekend is its Saturday and Sunday, a season is meteorological and
  northern (winter is December to February and named after the year in which it ends).
* "last Friday" is the latest Friday before the day of saying, "next Friday" the first one after it, "this Friday"
  the first one on or after it. A bare "Friday" or "June" is the latest past one, unless its sentence speaks of the
  future ("will", "going to", "plan", "soon", …): then it is the next one. The same rule picks the year of "May 7".
* "two weeks ago" is the calendar week that holds the day 14 days back, "two months ago" the calendar month, and so on.
  "a couple of" counts two, "a few" and "several" three.
* "the week before" alone is the week before that of saying; before a date it is the week before that date's.
* `5/7/2023` is month first, unless that is no date; two-digit years are not read.
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

_YEAR_OF_MONTHS = "january february march april may june july august september october november december"
MONTHS = tuple(_YEAR_OF_MONTHS.split())
"""The English month names, lower-cased, January first."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
"""The English weekday names, lower-cased, in the order of `date.weekday`."""


class Granularity(StrEnum):
    """How much time a resolved phrase covers."""

    DAY = "day"
    WEEKEND = "weekend"
    WEEK = "week"
    MONTH = "month"
    SEASON = "season"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class ResolvedDate:
    """A phrase of a text and the days that it names."""

    phrase: str
    """The words as they stand in the text."""

    start: date
    """The first day covered."""

    end: date
    """The last day covered, inclusive; equal to `start` for a single day."""

    granularity: Granularity
    """The unit in which the phrase speaks; "two weeks ago" is a week, though a day could be computed."""

    span: tuple[int, int]
    """Character offsets of the phrase in the text, end exclusive."""


Days = tuple[date, date, Granularity]
_Rule = Callable[[re.Match[str], date, bool], Days | None]

_TO_TWELVE = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBERS = {word: value for value, word in enumerate(_TO_TWELVE, start=1)} | {
    "a": 1,
    "an": 1,
    "a couple of": 2,
    "a couple": 2,
    "couple of": 2,
    "a few": 3,
    "few": 3,
    "several": 3,
}
_COUNT = r"(?P<n>\d{1,4}|a\s+couple(?:\s+of)?|couple\s+of|a\s+few|few|several|an?|" + "|".join(_TO_TWELVE) + ")"
_MONTH_PATTERN = (
    "(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY_PATTERN = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?\b"
_YEAR_PATTERN = r"(?P<year>[12]\d{3})\b"
_WEEKDAY_PATTERN = "(?P<weekday>" + "|".join(WEEKDAYS) + r")\b(?!s)"
_SEASON_PATTERN = r"(?P<season>spring|summer|autumn|fall|winter)\b"
_UNIT = r"(?P<unit>day|week(?!end)|weekend|fortnight|month|year)s?\b"
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_FUTURE = re.compile(
    r"\b(?:will|won't|shall|gonna|going\s+to|(?:am|are|i'm|we're|they're|you're)\s+going|plan(?:s|ning)?|upcoming|coming|soon|tomorrow|can't\s+wait"
    r"|look(?:ing)?\s+forward|hop(?:e|ing)\s+to|next|schedul(?:e|ed|ing))\b|\b\w+'ll\b",
    re.IGNORECASE,
)
_SUBJECT = re.compile(r"\b(?:i|you|we|they|he|she|it|that|this|who|to)\s+$", re.IGNORECASE)
_HINT = re.compile(
    r"\d|day|night|week|month|year|fortnight|morning|afternoon|evening|tomorrow|spring|summer|autumn|fall|winter"
    "|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec",
    re.IGNORECASE,
)


def _shift(day: date, days: int) -> date | None:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return None


def _one_day(day: date | None) -> Days | None:
    return None if day is None else (day, day, Granularity.DAY)


def _calendar_day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _week(day: date | None) -> Days | None:
    monday = None if day is None else _shift(day, -day.weekday())
    sunday = None if monday is None else _shift(monday, 6)
    return None if monday is None or sunday is None else (monday, sunday, Granularity.WEEK)


def _weekend(day: date | None) -> Days | None:
    whole = _week(day)
    return None if whole is None else (whole[1] - timedelta(days=1), whole[1], Granularity.WEEKEND)


def _months(year: int, month: int, count: int, granularity: Granularity) -> Days | None:
    """The days of `count` months from `month` (which may lie outside 1 to 12) of `year` on."""
    first, after = year * 12 + month - 1, year * 12 + month - 1 + count
    start = _calendar_day(first // 12, first % 12 + 1, 1)
    if after == 10_000 * 12:
        end: date | None = date.max
    else:
        beyond = _calendar_day(after // 12, after % 12 + 1, 1)
        end = None if beyond is None else _shift(beyond, -1)
    return None if start is None or end is None else (start, end, granularity)


def _units_away(said: date, unit: str, count: int) -> Days | None:
    """The calendar unit that lies `count` units after (before, if negative) the one of `said`."""
    if unit == "day":
        return _one_day(_shift(said, count))
    if unit in ("week", "fortnight"):
        return _week(_shift(said, count * (14 if unit == "fortnight" else 7)))
    if unit == "weekend":
        return _weekend(_shift(said, count * 7))
    if unit == "month":
        return _months(said.year, said.month + count, 1, Granularity.MONTH)
    return _months(said.year + count, 1, 12, Granularity.YEAR)


def _number(words: str) -> int:
    plain = " ".join(words.lower().split())
    return int(plain) if plain.isdecimal() else _NUMBERS[plain]


def _month_number(name: str) -> int:
    return next(number for number, full in enumerate(MONTHS, start=1) if full.startswith(name.lower()[:3]))


def _nearby_year(said: date, month: int, day: int, *, future: bool) -> int:
    """The year that puts a month and day at or before `said`, or at or after it for the future."""
    if future:
        return said.year + ((month, day) < (said.month, said.day))
    return said.year - ((month, day) > (said.month, said.day))


def _day_of_month(found: re.Match[str], said: date, future: bool) -> Days | None:
    month, day = _month_number(found["month"]), int(found["day"])
    stated = found["year"]
    if found["month"] in ("may", "march") and _SUBJECT.search(found.string, max(0, found.start() - 12), found.start()):
        return None
    return _one_day(_calendar_day(int(stated) if stated else _nearby_year(said, month, day, future=future), month, day))


def _numeric_day(found: re.Match[str], said: date, future: bool) -> Days | None:
    year, first, second = int(found["year"]), int(found["first"]), int(found["second"])
    day = _calendar_day(year, first, second)
    if day is None and "/" in found.group():
        day = _calendar_day(year, second, first)
    return _one_day(day)


def _named_month(found: re.Match[str], said: date, future: bool) -> Days | None:
    month, which = _month_number(found["month"]), (found["which"] or "").lower()
    groups = found.groupdict()
    if groups.get("year"):
        year = int(found["year"])
    elif which == "next":
        year = said.year + (month <= said.month)
    elif which.endswith("last"):
        year = said.year - (month >= said.month)
    elif which == "this":
        year = said.year
    else:
        year = _nearby_year(said, month, said.day, future=future)
    return _months(year, month, 1, Granularity.MONTH)


def _season(found: re.Match[str], said: date, future: bool) -> Days | None:
    month, which = _SEASONS[found["season"].lower()], (found["which"] or "").lower()
    year = int(found["year"]) if found["year"] else said.year
    this = _months(year - (month == 12), month, 3, Granularity.SEASON)
    if this is None or found["year"] or which == "this":
        return this
    if which == "next":
        return this if this[0] > said else _months(year + 1 - (month == 12), month, 3, Granularity.SEASON)
    if which.endswith("last"):
        return this if this[1] < said else _months(year - 1 - (month == 12), month, 3, Granularity.SEASON)
    return None


def _weekday(found: re.Match[str], said: date, future: bool) -> Days | None:
    which = " ".join((found["which"] or "").lower().split())
    ahead = (WEEKDAYS.index(found["weekday"].lower()) - said.weekday()) % 7
    if which == "next":
        return _one_day(_shift(said, ahead or 7))
    if which == "this" or (future and not which.endswith("last")):
        return _one_day(_shift(said, ahead))
    return _one_day(_shift(said, ahead - 7))


def _this_last_next(found: re.Match[str], said: date, future: bool) -> Days | None:
    which, unit = " ".join(found["which"].lower().split()), found["unit"].lower()
    if which in ("this", "over the", "at the"):
        step = 0 if which == "this" or future else -1
    else:
        step = 1 if which in ("next", "the following", "the coming", "this coming") else -1
    if unit == "weekend" and which in ("this past", "over the", "at the", "last") and said.weekday() == 6:
        step = -1
    return _units_away(said, unit, step)


def _ago(found: re.Match[str], said: date, future: bool) -> Days | None:
    return _units_away(said, found["unit"].lower(), -_number(found["n"]))


def _ahead(found: re.Match[str], said: date, future: bool) -> Days | None:
    return _units_away(said, found["unit"].lower(), _number(found["n"]))


def _before_last(found: re.Match[str], said: date, future: bool) -> Days | None:
    return _units_away(said, found["unit"].lower(), -2 if found["side"].lower() == "last" else 2)


def _days_from(offset: int) -> _Rule:
    return lambda found, said, future: _one_day(_shift(said, offset))


def _year(found: re.Match[str], said: date, future: bool) -> Days | None:
    return _months(int(found["year"]), 1, 12, Granularity.YEAR)


_WHICH = r"(?P<which>this\s+past|this\s+coming|the\s+following|the\s+coming|the\s+last|past|last|next|this)"
_RULES: tuple[tuple[re.Pattern[str], _Rule], ...] = tuple(
    (re.compile(r"(?<![\w-])" + pattern, re.IGNORECASE), rule)
    for pattern, rule in (
        (r"(?P<year>\d{4})-(?P<first>\d{1,2})-(?P<second>\d{1,2})(?!\d)", _numeric_day),
        (r"(?P<first>\d{1,2})/(?P<second>\d{1,2})/(?P<year>\d{4})(?!\d)", _numeric_day),
        (rf"{_DAY_PATTERN}\s+(?:of\s+)?{_MONTH_PATTERN}(?:,?\s+{_YEAR_PATTERN})?", _day_of_month),
        (rf"{_MONTH_PATTERN}\s*(?:the\s+)?{_DAY_PATTERN}(?:,?\s+{_YEAR_PATTERN})?", _day_of_month),
        (rf"(?P<which>){_MONTH_PATTERN},?\s+(?:of\s+)?{_YEAR_PATTERN}", _named_month),
        (
            rf"(?:(?P<which>this\s+past|last|next|this)|(?:back\s+)?in|during|since|until|by|early|late|mid)\s+"
            rf"{_MONTH_PATTERN}(?!\s*\d)",
            _named_month,
        ),
        (rf"(?:{_WHICH}\s+)?{_SEASON_PATTERN}(?:(?:\s+of)?\s+{_YEAR_PATTERN})?", _season),
        (rf"(?:(?P<which>this\s+past|this\s+coming|past|last|next|this)\s+|on\s+)?{_WEEKDAY_PATTERN}", _weekday),
        (rf"{_WHICH}\s+(?P<unit>weekend|week|fortnight|month|year)\b(?!-)", _this_last_next),
        (r"(?P<which>over\s+the|at\s+the)\s+(?P<unit>weekend)\b", _this_last_next),
        (rf"{_COUNT}\s+{_UNIT}\s+(?:ago|back)\b", _ago),
        (rf"in\s+(?:about\s+)?{_COUNT}\s+{_UNIT}(?!')", _ahead),
        (rf"{_COUNT}\s+{_UNIT}\s+from\s+(?:now|today)\b", _ahead),
        (r"the\s+(?P<unit>week|weekend|month|year)\s+(?:before|after)\s+(?P<side>last|next)\b", _before_last),
        (r"the\s+day\s+before\s+yesterday\b", _days_from(-2)),
        (r"the\s+day\s+after\s+tomorrow\b", _days_from(2)),
        (r"(?:yesterday|last\s+night)\b", _days_from(-1)),
        (r"(?:today|tonight|this\s+(?:morning|afternoon|evening))\b", _days_from(0)),
        (r"tomorrow\b", _days_from(1)),
        (rf"(?:in|since|during|until|by|of|from|before|after|early|late)\s+{_YEAR_PATTERN}(?![-/:,.]?\d)", _year),
    )
)
_BEFORE_A_DATE = re.compile(
    r"\bthe\s+(?P<unit>day|weekend|week|month|year)\s+(?P<side>before|after)\b(?P<that>\s+(?=\S))?", re.IGNORECASE
)


def _found_by_rules(text: str, said: date) -> list[ResolvedDate]:
    found: list[ResolvedDate] = []
    futures = _future_spans(text)
    for pattern, rule in _RULES:
        for match in pattern.finditer(text):
            past = bisect_right(futures, (match.start(), len(text)))
            days = rule(match, said, past > 0 and match.start() < futures[past - 1][1])
            if days is not None:
                found.append(ResolvedDate(match.group(), *days, match.span()))
    return found


def _future_spans(text: str) -> list[tuple[int, int]]:
    """The stretches between sentence ends that speak of the future."""
    ends = [0, *(match.end() for match in re.finditer(r"[.!?\n]+", text)), len(text)]
    return [(start, end) for start, end in pairwise(ends) if _FUTURE.search(text, start, end)]


def _found_beside(text: str, said: date, others: list[ResolvedDate]) -> list[ResolvedDate]:
    """Phrases such as "the week before", counted from the date that follows them, or from `said` if none does."""
    starts = {other.span[0]: other for other in others}
    found = []
    for match in _BEFORE_A_DATE.finditer(text):
        that = starts.get(match.end()) if match["that"] else None
        if that is None and match["unit"].lower() == "day":
            continue
        step = -1 if match["side"].lower() == "before" else 1
        days = _units_away(that.start if that else said, match["unit"].lower(), step)
        if days is not None:
            end = that.span[1] if that else match.end() - len(match["that"] or "")
            found.append(ResolvedDate(text[match.start() : end], *days, (match.start(), end)))
    return found


def resolve_dates(text: str, said_at: datetime) -> tuple[ResolvedDate, ...]:
    """Return the dates that a text names, in order of appearance, never overlapping (the longer phrase wins).

    Covers absolute dates ("7 May 2023", "May 7", "2023-05-07", "March 14th", "June 2023", "in 2022") and relative
    ones ("yesterday", "two days ago", "last Friday", "next month", "this weekend", "in June", "the week before").
    The module's docstring states how ambiguous phrases are read. Dates outside the years 1 to 9999 are left out.
    """
    if not _HINT.search(text):
        return ()
    said = said_at.date()
    simple = _found_by_rules(text, said)
    candidates = simple + _found_beside(text, said, simple)
    candidates.sort(key=lambda each: (each.span[0] - each.span[1], each.span[0]))
    chosen: list[ResolvedDate] = []
    taken = bytearray(len(text))
    for candidate in candidates:
        start, end = candidate.span
        if not any(taken[start:end]):
            taken[start:end] = b"\x01" * (end - start)
            chosen.append(candidate)
    return tuple(sorted(chosen, key=lambda each: each.span))


def lexical_date_terms(moment: datetime) -> tuple[str, str, str, str]:
    """Return the words by which a day is searched for: year, month name, day of the month, weekday, lower-cased.

    For 8 May 2023: `("2023", "may", "8", "monday")`. Stem them with `mars.language.stem` before indexing.
    """
    return str(moment.year), MONTHS[moment.month - 1], str(moment.day), WEEKDAYS[moment.weekday()]


def dates_said(text: str, said: datetime | None) -> dict[str, Any]:
    """Return the metadata for the dates that a text names relative to the day it was said; empty if there is none.

    ``{"dates": [{"phrase": "last week", "start": "2023-05-01", "end": "2023-05-07", "granularity": "week"}]}``, days
    inclusive. The text itself stays verbatim.
    """
    if said is None:
        return {}
    found = [
        {
            "phrase": one.phrase,
            "start": one.start.isoformat(),
            "end": one.end.isoformat(),
            "granularity": one.granularity.value,
        }
        for one in resolve_dates(text, said)
    ]
    return {"dates": found} if found else {}
