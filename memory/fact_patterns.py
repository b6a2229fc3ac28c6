"""The patterns behind `mars.memory.facts`: what begins a fact, what ends one, and what is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_IGNORE = re.IGNORECASE

STATE = "is"
"""The relation of "the X is Y now": the subject is the thing itself."""

VERBAL = frozenset(
    "lives in|comes from|works at|works as|studies|studies at|likes|loves|hates|prefers|is allergic to|is married to|"
    "speaks|was born in".split("|")
)
"""Relations that read as a verb between subject and value; all others read as the subject's attribute."""

SINGLE = frozenset(
    "lives in|comes from|works at|works as|is married to|was born in|age|birthday|year of birth|name|preferred name|"
    "diet|is".split("|")
)
"""Relations with one value at a time, beside every favourite and what "my X is Y" names."""

MANY = frozenset(
    "friend friends brother brothers sister sisters son sons daughter daughters child children kid kids pet pets dog "
    "dogs cat cats hobby hobbies language languages allergy allergies interest interests colleague cousin aunt uncle "
    "neighbour neighbor roommate flatmate book song idea thing problem point question favourites".split()
)
"""Nouns of which somebody may have several: another value takes nobody's place."""

PLAIN = frozenset(
    "name nickname surname job profession occupation title hobby colour color password passcode code pin address email "
    "e-mail phone number size hometown city country nationality religion diet type major subject school university "
    "college employer company team club car bike dog cat pet partner husband wife boyfriend girlfriend sister brother "
    "son daughter mother father mom mum dad boss manager doctor dentist therapist teacher landlord language goal dream "
    "plan budget room seat locker gate flight birthday anniversary username handle pronouns timezone zone shift "
    "instrument sport".split()
)
"""Last words of an X whose "my X is Y" is a fact also where Y is a lower-case word."""

NO_NAMES = frozenset(
    "i he she it they we you this that these those there here what who where when why how my your his her its our "
    "their the a an and but so or yes no well oh hey hi hello thanks ok okay today tomorrow yesterday now everyone "
    "everybody someone somebody nobody anyone all both god let please maybe perhaps also just then monday tuesday "
    "wednesday thursday friday saturday sunday".split()
)
"""Words with a capital that begin a sentence and name nobody."""

UNREAL = re.compile(
    r"\b(?:if|unless|whether|would|'d|could|might|may be|maybe|perhaps|possibly|probably|wish|hope|hoping|imagine|"
    r"suppose|supposing|pretend|assume|dream(?:ed|t)? (?:of|that|about)|guess|used to|going to|gonna|want to|wanted to|"
    r"wanna|plan(?:ning)? to|thinking (?:of|about)|considering|was about to|almost|nearly|as though|as if|what about|"
    r"let's say|say that|hypothetically|for example|e\.g|joking|kidding|sarcasm)\b|^\s*(?:should|were|had) ",
    _IGNORE,
)
"""A sentence with one of these states no fact."""

NEGATED = re.compile(
    r"\b(?:not|never|no longer|no|none|neither|nor|without|hardly|barely|cannot|isnt|dont|doesnt|didnt|cant|wont|"
    r"anymore|any more|except|instead of)\b|n't\b",
    _IGNORE,
)
"""A clause with one of these states no fact."""

REPORTED = re.compile(
    r"\b(?:said|says|saying|told|tells|claims?|claimed|thinks?|thought|believes?|believed|heard|reads?|wrote|asked|asks|"
    r"wonders?|wondered|quote|according to|seems?|pretends?)\b|^\s*[\"\u201c]",
    _IGNORE,
)
"""A clause with one of these says what somebody else holds to be so."""

JOINT = re.compile(
    r"\s{0,3}(?:[;\u2014]|\s-\s|,?\s{1,3}(?:but|and|so|though|although|because|while|whereas)(?=\s{1,3}(?:I|I'm|I've|my|we|our|the|"
    r"[A-Z][a-z]+(?:'s| lives| works| moved))\b)|,(?=\s{1,3}(?:I|I'm|I've|my|we|our)\b))\s{0,3}"
)
"""Where one clause ends and the next begins."""

LEAD = re.compile(
    r"\s*(?:(?:well|oh|hey|hi|hello|yes|yeah|yep|so|and|but|also|actually|anyway|btw|by the way|fyi|ok|okay|right|sure|"
    r"thanks|thank you|nice|great|wow|haha|ah|um|uh|just so you know|for the record|as you know|you know|i mean|"
    r"to be honest|honestly|note that|note|(?:please )?remember(?: that)?|please note(?: that)?|keep in mind that|"
    r"update|correction|news|good news|big news|now|today|currently|nowadays|these days|at the moment|"
    r"since (?:last )?\w+|last \w+|this \w+|yesterday|in \d{4}|(?:hi|hey|hello) [A-Z]\w+)\b[\s,:!.\u2026-]*)*",
    _IGNORE,
)
"""What may stand before a fact."""

STOP = re.compile(
    r"[,.!](?=\s{1,3}(?:I|we|he|she|it|they|which|who|where|and|but|so|because|since|thanks|lol|haha|you|what|how|that|this|"
    r"not|just|my|our)\b)|"
    r"\s{1,3}(?:because|since|so that|although|though|but|while|when|until|till|which|who|where|that|if|as long|"
    r"for (?:work|now|a|the|my|about|almost|over|\d)|with (?:my|our|her|his|the)|and (?:I|we|he|she|it|they|my|our|the|"
    r"am|was|will|have|want|love|like|hate|it's)|to be)\b|\s{1,3}[(\u2014]|\s-\s|[;:]\s",
    _IGNORE,
)
"""Where a value ends at the latest."""

TAIL = re.compile(
    r"\s{0,3},?\s{1,3}(?:now|today|tonight|yesterday|too|again|as well|already|actually|anyway|lately|recently|"
    r"currently|these days|nowadays|right now|at the moment|at present|so much|a lot|very much|the most|"
    r"most of all|of course|though|lol|haha|by the way|btw|instead|these|finally|please|thanks|thank you|"
    r"(?:since|in) (?:(?:early|late|mid) )?(?:January|February|March|April|May|June|July|August|September|October|"
    r"November|December|\d{4}|last \w+)(?: \d{4})?|"
    r"(?:last|this|next|earlier this) (?:week|month|year|summer|spring|autumn|fall|winter|weekend|"
    r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|January|February|March|April|May|June|July|August|September|October|"
    r"November|December)|(?:a|an|one|two|three|four|five|six|seven|eight|nine|ten|a few|several|some|\d+) "
    r"(?:days?|weeks?|months?|years?) ago|on (?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)$",
    _IGNORE,
)
"""Words of time and emphasis that end a clause without belonging to the value."""

LISTED = re.compile(r"\s{0,3},\s{0,3}(?:and\s{1,3}|or\s{1,3})?|\s{1,3}(?:and|or|&)\s{1,3}", _IGNORE)
"""What separates the values of a list."""

_VAGUE = re.compile(
    r"(?:it|that|this|these|those|you|your|him|her|them|me|us|how|what|when|where|why|who|to|the (?:way|fact|idea|"
    r"thought|sound)|being|having|one|everything|nothing|something|anything|all|so|more|in|at|as|here|there|someone|somewhere|"
    r"home|away|back|abroad|out|like)\b",
    _IGNORE,
)
_POINTING = re.compile(
    r"\b(?:you|your|yours|his|her|hers|him|them|their|theirs|this|that|these|those|it|its|me|us|someone|everyone)\b|"
    r"\b(?:to|of|with|for|in|on|at|about|from|by|and|or|the|a|an|my|our|is|are|was|right)$",
    _IGNORE,
)
_LOOSE = re.compile(r"(?:on|in|at|by|up|down|off|under|over|with|from|about|for|to) (?![A-Z\d]|(?:the|a|an) )")
_MOVING = re.compile(r"\w+ing\b(?! \w*(?:is|are)\b)", _IGNORE)
_DATE = re.compile(r"(?:the )?(?:\d|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\b)", _IGNORE)
_NAME = r"[A-Z][\w-]+(?: (?:[A-Z][\w-]+|(?:de|da|van|von|di|la) [A-Z][\w-]+)){0,2}"
_REST = r"(?P<value>[^\n]+)"
_MINE = r"(?:my|our)"
_ME = r"(?:I|we)"
_BE = r"(?:is|are|'s)"
_ADVERB = (
    r"(?:(?:also|really|just|absolutely|simply|truly|still|now|always|actually|especially|totally|currently|"
    r"both|recently|finally) )*"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One way in which people state a fact."""

    pattern: re.Pattern[str]
    """Matched at the beginning of a clause; groups ``value``, and perhaps ``subject``, ``what``, ``verb``, ``more``."""
    relation: str | Callable[[Mapping[str, str | None]], str | None]
    """The relation, or how it follows from the groups; None is no fact."""
    confidence: float
    """Of the facts it finds."""
    single: bool | None = None
    """Whether the relation has one value at a time; by `SINGLE` if None."""
    second: str | None = None
    """Relation of the group ``more``."""
    check: Callable[[str, Mapping[str, str | None]], bool] | None = None
    """Whether a value will do."""

    def relation_of(self, groups: Mapping[str, str | None]) -> str | None:
        """Return the relation that these groups state."""
        return self.relation if isinstance(self.relation, str) else self.relation(groups)

    def takes(self, value: str, groups: Mapping[str, str | None]) -> bool:
        """Return whether `value` can be one: it says what it means by itself, and it is what the rule asks for."""
        vague = _VAGUE.match(value) or _POINTING.search(value)
        return not vague and (self.check is None or self.check(value, groups))


def has_one_value(relation: str, stated: bool | None) -> bool:
    """Return whether a relation has one value at a time: as the rule says, else by the lists of this module."""
    if stated is None:
        return relation in SINGLE
    return stated and (relation.startswith("favourite ") or relation.split()[-1] not in MANY)


def _attribute(groups: Mapping[str, str | None]) -> str | None:
    """Return the X of "my X is Y" as a relation: lower case, without new and current."""
    words = [
        word for word in (groups["what"] or "").casefold().split() if word not in ("new", "current", "own", "actual")
    ]
    if words and words[-1] == "name" and len(words) > 1 and words[-2].endswith("'s"):
        words = [*words[:-2], words[-2].removesuffix("'s")]
    words = ["favourite" if word == "favorite" else word for word in words]
    if not words or any("'" in word for word in words) or (words[0] == "favourite" and not _names(words[1:])):
        return None
    return " ".join(words)


def _part(groups: Mapping[str, str | None]) -> str | None:
    """Return "the number of my gym locker" as ``gym locker number``, and a name as the thing itself."""
    thing, part = _attribute(groups), (groups["part"] or "").casefold()
    return thing if thing is None or part == "name" else f"{thing} {part}"


def _names(words: Sequence[str]) -> bool:
    """Return whether these words name something that one can have a favourite of."""
    return bool(words) and words[0] not in ("one", "ones", "thing", "things", "part", "parts", "way") and len(words) < 4


def _nominal(value: str, groups: Mapping[str, str | None]) -> bool:
    """Return whether a value names something rather than describing a passing state."""
    words = value.split()
    if _MOVING.match(value):
        return False
    named = words[0][0].isupper() or any(character.isdigit() for character in value) or words[0] in ("a", "an", "the")
    what = (groups.get("what") or "").casefold().split()
    plain = bool(what) and ("favourite" in what or "favorite" in what or what[-1] in PLAIN)
    return named or (plain and words[0].casefold() not in _STATES)


_STATES = frozenset(
    "so very too really quite pretty good bad great nice fine sick ill tired busy late early angry sad happy broken "
    "dead gone done ready full empty hard easy boring awesome amazing terrible sore killing such still always getting "
    "okay ok better worse delayed cancelled canceled lost stolen due over up down on off with from about".split()
)


def _born(groups: Mapping[str, str | None]) -> str | None:
    value = (groups["value"] or "").strip()
    if not _DATE.match(value):
        return "was born in"
    return "year of birth" if re.match(r"\d{4}\b", value) else "birthday"


def _changed(value: str, groups: Mapping[str, str | None]) -> bool:
    return not _MOVING.match(value) and not _LOOSE.match(value)


def _verb(groups: Mapping[str, str | None]) -> str | None:
    verb = (groups["verb"] or "").casefold()
    return {"like": "likes", "enjoy": "likes", "love": "loves", "adore": "loves", "prefer": "prefers"}.get(
        verb, "hates"
    )


def _capital(value: str, groups: Mapping[str, str | None]) -> bool:
    return value[0].isupper()


def _rule(pattern: str, *values: object, exact: bool = False, **more: object) -> Rule:
    return Rule(re.compile(pattern, 0 if exact else _IGNORE), *values, **more)  # type: ignore[arg-type]


RULES: tuple[Rule, ...] = (
    _rule(rf"(?:{_MINE} name {_BE}|I'm called|I am called|I go by) {_REST}", "name", 0.95, check=_capital),
    _rule(rf"(?:you can |please |just )*call me {_REST}", "preferred name", 0.95, check=_capital),
    _rule(rf"{_ME}(?:'m| am|'re| are) {_ADVERB}allergic to {_REST}", "is allergic to", 0.95),
    _rule(rf"{_MINE} (?P<what>favou?rite [\w -]{{2,30}}?) {_BE} {_ADVERB}{_REST}", _attribute, 0.95, single=True),
    _rule(
        rf"{_MINE} birthday {_BE} {_ADVERB}(?:on )?(?:the )?{_REST}",
        "birthday",
        0.95,
        check=lambda v, _: bool(_DATE.match(v)),
    ),
    _rule(rf"I was born (?:on|in) {_REST}", _born, 0.95),
    _rule(
        r"(?:I'm|I am|I(?: have|'ve)?(?: just)? turned) (?P<value>\d{1,3})(?: years? old\b| today\b|[\s.!]*$)",
        "age",
        0.95,
    ),
    _rule(r"I'm |I am (?!\S)", lambda _: None, 0.0),
    _rule(rf"{_ME}(?:'m| am|'re| are) {_ADVERB}(?:a )?(?P<value>vegan|vegetarian|pescatarian)\b", "diet", 0.95),
    _rule(rf"{_ME}(?:'m| am|'re| are) (?:originally )?from {_REST}", "comes from", 0.9, check=_capital),
    _rule(rf"{_ME}(?:'m| am) married to {_REST}", "is married to", 0.9, check=_capital),
    _rule(rf"{_ME}(?: {_ADVERB}live|(?:'m|'re| am| are) {_ADVERB}living) in {_ADVERB}{_REST}", "lives in", 0.9),
    _rule(
        rf"{_ME}(?: have|'ve)? {_ADVERB}(?:moved|relocated)(?: back)?(?: from [A-Z]\w+)? to {_REST}",
        "lives in",
        0.9,
        check=_capital,
    ),
    _rule(
        rf"I(?:'m| am)? {_ADVERB}work(?:ing)? as (?:an? )?(?P<value>[^\n]+?) (?:at|for) (?P<more>[^\n]+)",
        "works as",
        0.9,
        second="works at",
    ),
    _rule(rf"I(?:'m| am)? {_ADVERB}work(?:ing)? as (?:an? )?{_REST}", "works as", 0.9),
    _rule(
        rf"I(?:'m| am)? {_ADVERB}work(?:ing)? (?:at|for) (?P<value>[^\n]+?) as (?:an? )?(?P<more>[^\n]+)",
        "works at",
        0.9,
        second="works as",
    ),
    _rule(rf"I(?:'m| am)? {_ADVERB}work(?:ing)? (?:at|for) {_REST}", "works at", 0.9, check=_capital),
    _rule(
        rf"I(?: have|'ve)? {_ADVERB}(?:started(?: working)?|got a (?:new )?job|took a job) (?:at|with) {_REST}",
        "works at",
        0.9,
        check=_capital,
    ),
    _rule(rf"I(?: have|'ve)? {_ADVERB}got a (?:new )?job as (?:an? )?{_REST}", "works as", 0.9),
    _rule(rf"I {_ADVERB}speak {_REST}", "speaks", 0.9, check=_capital),
    _rule(
        rf"I(?:'m| am)? {_ADVERB}stud(?:y|ying) (?P<value>[^\n]+?) (?:at) (?P<more>[^\n]+)",
        "studies",
        0.9,
        second="studies at",
    ),
    _rule(rf"I(?:'m| am)? {_ADVERB}stud(?:y|ying) {_REST}", "studies", 0.9),
    _rule(rf"I {_ADVERB}(?P<verb>like|love|enjoy|adore|prefer|hate|dislike|detest) {_REST}", _verb, 0.8, single=False),
    _rule(
        rf"(?P<value>[\w' -]{{2,40}}?) {_BE} {_MINE} (?P<what>favou?rite [\w -]{{2,30}})", _attribute, 0.95, single=True
    ),
    _rule(
        rf"I(?: have|'ve got) (?:an? )(?P<what>[a-z]+) (?:named|called) (?P<value>{_NAME})",
        _attribute,
        0.9,
        single=True,
        exact=True,
    ),
    _rule(
        rf"{_MINE} (?P<what>[\w' -]{{2,30}}?) (?:{_BE} (?:named|called)|was named) {_REST}",
        _attribute,
        0.9,
        single=True,
        check=_capital,
    ),
    _rule(
        rf"{_MINE} (?P<what>[\w' -]{{2,30}}?) (?:is now|has changed to|changed to|{_BE} no?w) {_REST}",
        _attribute,
        0.7,
        single=True,
        check=_changed,
    ),
    _rule(
        rf"I(?: have|'ve)? {_ADVERB}changed my (?P<what>[\w -]{{2,30}}?) to {_REST}",
        _attribute,
        0.7,
        single=True,
        check=_changed,
    ),
    _rule(
        rf"{_MINE} (?P<what>[\w' -]{{2,30}}?) {_BE} (?P<value>[^\n]+?)(?: right)? now[.!\s]*$",
        _attribute,
        0.7,
        single=True,
        check=_changed,
    ),
    _rule(rf"{_MINE} (?P<what>[\w' -]{{2,30}}?) {_BE} {_REST}", _attribute, 0.7, single=True, check=_nominal),
    _rule(
        rf"the (?P<part>[\w -]{{2,20}}?) of (?:my|our) (?P<what>[\w -]{{2,30}}?) {_BE} (?:now )?{_REST}",
        _part,
        0.7,
        single=True,
        check=_changed,
    ),
    _rule(
        r"the (?P<subject>[\w -]{2,40}?) (?:is|are) (?P<value>[^\n]+?),?(?: right)? now[.!\s]*$",
        STATE,
        0.7,
        check=_changed,
    ),
    _rule(
        rf"the (?P<subject>[\w -]{{2,40}}?) (?:(?:is|are) now|has changed to|changed to|(?:has )?moved to) {_REST}",
        STATE,
        0.7,
        check=_changed,
    ),
    _rule(
        rf"(?P<subject>{_NAME})'s birthday (?:is|falls) (?:on )?(?:the )?{_REST}",
        "birthday",
        0.95,
        exact=True,
        check=lambda v, _: bool(_DATE.match(v)),
    ),
    _rule(
        rf"(?P<subject>{_NAME})'s (?P<what>[a-z][\w -]{{1,30}}?) is (?:now )?{_REST}",
        _attribute,
        0.8,
        single=True,
        exact=True,
        check=_nominal,
    ),
    _rule(
        rf"(?P<subject>{_NAME}) (?:(?:now )?lives in|(?:has )?(?:just )?moved to) {_REST}",
        "lives in",
        0.9,
        exact=True,
        check=_capital,
    ),
    _rule(rf"(?P<subject>{_NAME}) (?:now )?works (?:at|for) {_REST}", "works at", 0.9, exact=True, check=_capital),
    _rule(rf"(?P<subject>{_NAME}) (?:now )?works as (?:an? )?{_REST}", "works as", 0.9, exact=True),
    _rule(rf"(?P<subject>{_NAME}) is allergic to {_REST}", "is allergic to", 0.95, exact=True),
    _rule(rf"(?P<subject>{_NAME}) (?P<verb>like|love|hate)s {_REST}", _verb, 0.8, single=False, exact=True),
)
"""Tried in this order; the first that finds a fact wins its clause."""
