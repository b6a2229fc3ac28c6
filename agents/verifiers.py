"""External verifiers that veto: callables, regular expressions, JSON schemas, numbers, citations, tool arguments."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from mars.agents.interfaces import Review
from mars.agents.rendering import says_not_known, without_citations
from mars.agents.verdicts import Check, Issue, IssueKind
from mars.errors import InvalidSetting

Answer = bool | str | None | Check
"""What a callable may say: True or None (holds), False or words (fails, with the words as evidence), or a check."""


@dataclass(frozen=True, slots=True)
class CallableVerifier:
    """Asks a function of the review, plain or async."""

    function: Callable[[Review], Answer | Awaitable[Answer]]
    """Returns True or None if the draft holds, False or an explanation if not, or a `Check`."""
    name: str = "callable"
    """Name in the verdict."""
    decisive: bool = False
    """Whether passing it is enough for an approval."""
    directive: str = "Give an answer that passes this check."
    """What would mend a failure."""
    oracle: bool = False
    """Whether the function knows a reference answer; verdicts are labelled `oracle_feedback` then."""

    async def verify(self, review: Review) -> Check:
        """Return the function's answer as a check."""
        answer = self.function(review)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Check):
            return answer
        if answer is True or answer is None:
            return Check.passed(self.name, decisive=self.decisive)
        words = answer if isinstance(answer, str) else f"{self.name} said no"
        return Check.failed(self.name, Issue(kind=IssueKind.CONSTRAINT, evidence=words, directive=self.directive))


@dataclass(frozen=True, slots=True)
class RegexVerifier:
    """Demands that the answer, without its citations, matches a pattern as a whole."""

    pattern: str
    """Regular expression, matched in full."""
    name: str = "regex"
    """Name in the verdict."""
    decisive: bool = False
    """Whether passing it is enough for an approval."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise InvalidSetting(f"the pattern {self.pattern!r} is no regular expression: {error}") from error

    async def verify(self, review: Review) -> Check:
        """Return whether the answer has the form asked for."""
        answer = without_citations(review.draft)
        if re.fullmatch(self.pattern, answer, re.DOTALL):
            return Check.passed(self.name, decisive=self.decisive)
        return Check.failed(
            self.name,
            Issue(
                kind=IssueKind.FORMAT,
                evidence=f"{answer[:200]!r} does not match {self.pattern!r}",
                directive=f"Answer in the form {self.pattern}.",
            ),
        )


@dataclass(frozen=True, slots=True)
class JSONSchemaVerifier:
    """Demands that the answer is one JSON value that a schema allows."""

    schema: Mapping[str, Any]
    """A JSON schema (draft 2020-12)."""
    name: str = "json_schema"
    """Name in the verdict."""
    decisive: bool = False
    """Whether passing it is enough for an approval."""

    def __post_init__(self) -> None:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError

        try:
            Draft202012Validator.check_schema(dict(self.schema))
        except SchemaError as error:
            raise InvalidSetting(f"this is no JSON schema: {error.message}") from error

    async def verify(self, review: Review) -> Check:
        """Return whether the answer is valid."""
        fault = schema_fault(self.schema, review.draft)
        if fault is None:
            return Check.passed(self.name, decisive=self.decisive)
        return Check.failed(
            self.name,
            Issue(
                kind=IssueKind.FORMAT, evidence=fault, directive="Answer with one JSON value that the schema allows."
            ),
        )


_QUANTITY = re.compile(
    r"(?P<before>[$\u20ac\u00a3])?\s*(?P<number>[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"\s*(?P<after>%|[A-Za-z\u00b5\u00b0]+)?"
)
_UNITS: Mapping[str, tuple[str, Decimal]] = {
    name: (dimension, Decimal(factor))
    for dimension, units in {
        "length": {
            "m": "1",
            "mm": "0.001",
            "cm": "0.01",
            "km": "1000",
            "in": "0.0254",
            "ft": "0.3048",
            "mi": "1609.344",
        },
        "mass": {"kg": "1", "g": "0.001", "mg": "0.000001", "t": "1000", "lb": "0.45359237"},
        "time": {"s": "1", "ms": "0.001", "min": "60", "h": "3600", "d": "86400"},
        "volume": {"l": "1", "ml": "0.001"},
        "share": {"": "1", "%": "0.01"},
    }.items()
    for name, factor in units.items()
}
"""Units that convert by an exact factor; any other unit equals only itself."""


@dataclass(frozen=True, slots=True)
class NumericVerifier:
    """Demands that the answer holds exactly one quantity, and that it is the expected one within a tolerance.

    The bound is ``max(absolute, relative * |expected|)``, inclusive, in exact decimal arithmetic. Units of length,
    mass, time, volume and percent convert where the factor is exact; any other unit must be the same. An expected value
    that was taken from a reference makes a run `oracle_feedback`: say ``oracle=True``.
    """

    expected: str
    """Number with its unit, if it has one: ``"12.5"``, ``"3 km"``, ``"5%"``, ``"$40"``."""
    absolute: str = "0"
    """The largest difference, in the expected value's unit."""
    relative: str = "0"
    """The largest difference as a share of the expected value."""
    name: str = "numeric"
    """Name in the verdict."""
    decisive: bool = True
    """Whether passing it is enough for an approval."""
    oracle: bool = False
    """Whether what it expects comes from a reference answer."""

    def __post_init__(self) -> None:
        if len(_quantities(self.expected)) != 1:
            raise InvalidSetting(
                f"the expected value must be one number, with or without a unit; got {self.expected!r}"
            )
        for name in ("absolute", "relative"):
            try:
                bound = Decimal(getattr(self, name))
            except InvalidOperation as error:
                raise InvalidSetting(f"{name} must be a number; got {getattr(self, name)!r}") from error
            if not bound.is_finite() or bound < 0:
                raise InvalidSetting(f"{name} must be 0 or more; got {bound}")

    async def verify(self, review: Review) -> Check:
        """Return whether the answer is near enough; an answer without one number, or in another unit, fails."""
        fault = self._fault(_quantities(without_citations(review.draft)))
        if fault is None:
            return Check.passed(self.name, decisive=self.decisive)
        directive = "State one number, in the unit asked for."  # never the expected value
        return Check.failed(self.name, Issue(kind=IssueKind.NUMBER, evidence=fault, directive=directive))

    def _fault(self, stated: Sequence[tuple[Decimal, str]]) -> str | None:
        if len(stated) != 1:
            return f"the answer holds {len(stated)} numbers, not one"
        ((wanted, unit),) = _quantities(self.expected)
        ((value, said),) = stated
        dimension, factor = _UNITS.get(unit, (unit, Decimal(1)))
        other, other_factor = _UNITS.get(said, (said, Decimal(1)))
        if dimension != other:
            return f"the answer is in {said or 'no unit'}, which is no unit of what was asked"
        bound = max(Decimal(self.absolute), Decimal(self.relative) * abs(wanted)) * factor
        near = abs(value * other_factor - wanted * factor) <= bound
        return None if near else f"{value}{said and ' ' + said} is not within the tolerance"


def _quantities(text: str) -> list[tuple[Decimal, str]]:
    found = []
    for each in _QUANTITY.finditer(text):
        unit = each["before"] or each["after"] or ""
        number = Decimal(each["number"].replace(",", ""))
        known = unit if unit in _UNITS or each["before"] or unit == "%" else _singular(unit)
        found.append((number, known))
    return found


def _singular(unit: str) -> str:
    lowered = unit.lower()
    return lowered[:-1] if len(lowered) > 2 and lowered.endswith("s") else lowered


@dataclass(frozen=True, slots=True)
class CitationVerifier:
    """Demands that the draft cites memories that exist and that hold its words, or says what a tool returned.

    A part of `mars.agents.evidence`, alone: it does not ask about dates, persons, negation or newer records.
    """

    name: str = "citations"
    """Name in the verdict."""
    decisive: bool = False
    """Whether passing it is enough for an approval."""

    async def verify(self, review: Review) -> Check:
        """Return whether the sources hold the draft; "Not known." claims nothing, and is undecided."""
        from mars.agents.evidence.case import Case
        from mars.agents.evidence.claims import citation_issues, support_issues

        if says_not_known(review.draft):
            return Check.undecided(self.name)
        case = Case(review)
        issues = [issue for check in (citation_issues, support_issues) for issue in check(case)]
        return Check.failed(self.name, *issues) if issues else Check.passed(self.name, decisive=self.decisive)


@dataclass(frozen=True, slots=True)
class ArgumentsVerifier:
    """Demands that a proposed action names a known tool and gives arguments that its schema allows; decisive."""

    schemas: Mapping[str, Mapping[str, Any]]
    """JSON schema of the arguments of each tool."""
    name: str = "arguments"
    """Name in the verdict."""

    async def verify(self, review: Review) -> Check:
        """Return whether the action can be carried out as written."""
        action = review.action
        if action is None:
            return Check.undecided(self.name)
        if action.tool not in self.schemas:
            known = ", ".join(sorted(self.schemas)) or "none"
            fault: str | None = f"there is no tool {action.tool!r}; known tools: {known}"
        else:
            fault = schema_fault(self.schemas[action.tool], dict(action.arguments))
        if fault is None:
            return Check.passed(self.name, decisive=True)
        return Check.failed(
            self.name,
            Issue(kind=IssueKind.UNSAFE_ACTION, evidence=fault, directive="Call a known tool with valid arguments."),
        )


def schema_fault(schema: Mapping[str, Any], value: object) -> str | None:
    """Return what `schema` finds wrong with a value, or with a JSON text; None if it is valid."""
    from jsonschema import Draft202012Validator

    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            return f"this is not JSON: {error.msg} at character {error.pos}"
    errors = sorted(Draft202012Validator(dict(schema)).iter_errors(value), key=lambda error: list(map(str, error.path)))
    if not errors:
        return None
    where = "/".join(map(str, errors[0].path)) or "the value"
    return f"{where}: {errors[0].message}"
