"""External verifiers that veto: callables, regular expressions, JSON schemas, tool arguments."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mars.agents.interfaces import Review
from mars.agents.rendering import without_citations
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
