"""Built-in, keyless rules that work on a table by SQL: a baseline for database agents, and what shows the loop offline.

They are **no language model**, and like the reader they look at nothing but the strings of their messages: the task,
the memories, what the tools returned. They know a handful of forms of requests and give up on all others ("Not
known."). Where neither the task nor a memory tells the columns of a table that the task names, they ask
``list_tables``; then they propose a statement by ``run_sql``.

================= ==============================================================================================
request           what they do
================= ==============================================================================================
insert, record    the pairs of column and value that the sentence puts side by side: `'v' for 'c'`, `c as 'v'`,
                  `c = 'v'`, `c 'v'`, `c of 3`; or as many quoted values as there are columns, in their order;
                  not where that leaves more than half of the columns empty
update, set, ...  such pairs are what is set, and those behind "where", "whose", "for the" are the condition
a question        all rows are read; those that hold the most of the question's words are looked at. "How many" counts
                  them, "highest", "lowest" and their like choose among them by the column that is named; else
                  the cells of these rows in the column that shares most words with the question
================= ==============================================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from mars.language import STOP_WORDS, asks, stem, words
from mars.models.prompt_parts import read_prompt

NOT_KNOWN = "Not known."
"""What they say when no rule fits."""
DONE = "Done."
"""What they say when the change is made."""

_INSERT = re.compile(r"\b(?:insert|add|record(?:ed)?|new row|new record)\b", re.IGNORECASE)
_UPDATE = re.compile(r"\b(?:update|set|change|alter|modify|replace)\b", re.IGNORECASE)
_CONDITION = re.compile(r"\b(?:where|whose|when|for the)\b", re.IGNORECASE)
_LOW = ("lowest", "smallest", "least", "fewest", "earliest")
_SUPERLATIVE = re.compile(rf"\b(?:highest|largest|biggest|most|latest|{'|'.join(_LOW)})\b")
_QUOTED = re.compile(r"(?<!\w)'(?P<single>.*?)'(?!\w)|\"(?P<double>[^\"]*)\"|`(?P<back>[^`]*)`")
_NUMBER = re.compile(r"(?<!\w)[-+]?\d(?:[\d.,:-]*\d)?%?(?!\w)")
_EQUALS = re.compile(
    r"\s*(?:column\b)?\s*(?:value\b)?\s*(?:(?:is|are|as|to|of|equals?|equal to)\b|=)?\s*", re.IGNORECASE
)
_FOR = re.compile(r"\s*(?:for|as|in|into)\s+(?:the\s+)?(?:column\s+)?", re.IGNORECASE)
_IN_TASK = re.compile(
    r"The name of this table is (?P<table>.+?), and the headers of this table are (?P<columns>.+)\.\s*$"
)
_IN_MEMORY = re.compile(r'^Table "(?P<table>.+?)" has \d+ columns: (?P<columns>".*")\.$')


@dataclass(frozen=True, slots=True)
class Schema:
    """A table that the rules know of."""

    table: str
    """Its name."""
    columns: tuple[str, ...]
    """Names of its columns."""


class SQLRulesModel(BaseChatModel):
    """Proposes SQL by rules; see this module's first lines for what it can and cannot do."""

    model_name: str = "mars-sql-rules-1"
    """Name in results and usage; raised when the rules change."""

    @property
    def _llm_type(self) -> str:
        return "mars-sql-rules"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the rules themselves: they know the tools of a database by their names."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text, call = _decided(messages)
        calls = []
        if call is not None:
            mark = blake2b(json.dumps([call, len(messages)]).encode(), digest_size=8).hexdigest()
            calls = [tool_call(name=call[0], args=call[1], id=f"call_{mark}")]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text, tool_calls=calls))])


Call = tuple[str, dict[str, Any]]
"""A tool's name and its arguments."""


def _decided(messages: Sequence[BaseMessage]) -> tuple[str, Call | None]:
    """Return what to say, or which tool to call."""
    prompt = read_prompt(messages)
    asked = max((place for place, one in enumerate(messages) if isinstance(one, HumanMessage)), default=-1)
    results = [one for one in messages[asked + 1 :] if isinstance(one, ToolMessage)]
    listed = [one for one in results if one.name == "list_tables"]
    known = [*_of_task(prompt.question), *_of_memories(one.text for one in prompt.passages if one.ref), *_of(listed)]
    schema = _named(prompt.question, known)
    if schema is None:
        return (NOT_KNOWN, None) if listed else ("", ("list_tables", {}))
    request = _IN_TASK.sub("", prompt.question).strip()
    ran = [one for one in results if one.name == "run_sql"]
    if ran and ran[-1].status == "error":
        return NOT_KNOWN, None
    if not asks(request):
        sql = None if ran else _change(request, schema)
        return (DONE, None) if ran else (NOT_KNOWN, None) if sql is None else ("", ("run_sql", {"sql": sql}))
    if not ran:
        return "", ("run_sql", {"sql": f"SELECT * FROM {_name(schema.table)}"})
    found = _looked_up(request, json.loads(str(ran[-1].text)))
    return (NOT_KNOWN if found is None else json.dumps(found, ensure_ascii=False)), None


def _of_task(text: str) -> Iterator[Schema]:
    found = _IN_TASK.search(text)
    if found:
        yield Schema(found["table"], tuple(found["columns"].split(",")))


def _of_memories(texts: Iterator[str]) -> Iterator[Schema]:
    for text in texts:
        if found := _IN_MEMORY.match(text):
            yield Schema(found["table"], tuple(json.loads(f"[{found['columns']}]")))


def _of(listed: Sequence[ToolMessage]) -> Iterator[Schema]:
    for line in (line for one in listed for line in str(one.text).splitlines()):
        values = json.loads(line)
        yield Schema(values["table"], tuple(values["columns"]))


def _named(question: str, known: Sequence[Schema]) -> Schema | None:
    """Return the table that the task names; the only one that is known, if it names none."""
    named = [one for one in known if one.table.lower() in question.lower()]
    return max(named, key=lambda one: len(one.table)) if named else known[0] if len(known) == 1 else None


def _change(request: str, schema: Schema) -> str | None:
    """Return the statement that a request asks for, or None where no rule reads it."""
    if _INSERT.search(request):
        pairs, values = _pairs(request, schema)
        if len(pairs) < len(schema.columns) == len(values):
            pairs = dict(zip(schema.columns, values, strict=True))
        if len(pairs) * 2 < len(schema.columns):
            return None
        names, said = ", ".join(map(_name, pairs)), ", ".join(map(_text, pairs.values()))
        return f"INSERT INTO {_name(schema.table)} ({names}) VALUES ({said})"
    if not _UPDATE.search(request):
        return None
    for cut in reversed(list(_CONDITION.finditer(request))):
        made, held = _pairs(request[: cut.start()], schema)[0], _pairs(request[cut.start() :], schema)[0]
        if made and held:
            settings = ", ".join(f"{_name(name)} = {_text(value)}" for name, value in made.items())
            condition = " AND ".join(f"{_name(name)} = {_text(value)}" for name, value in held.items())
            return f"UPDATE {_name(schema.table)} SET {settings} WHERE {condition}"
    return None


@dataclass(frozen=True, slots=True, order=True)
class _Mark:
    """A column or a value that a text names."""

    start: int
    end: int
    said: str
    column: bool
    quoted: bool


def _pairs(text: str, schema: Schema) -> tuple[dict[str, str], list[str]]:
    """Return the values that a text puts beside names of columns, and all values that it quotes."""
    marks = sorted(_marks(text, schema))
    found: dict[str, str] = {}
    taken: set[int] = set()
    for column_first, joined in ((False, _FOR), (True, _EQUALS)):
        for place, (one, other) in enumerate(pairwise(marks)):
            fits = one.column is column_first and other.column is not column_first
            if fits and not {place, place + 1} & taken and joined.fullmatch(text[one.end : other.start]):
                column, value = (one, other) if column_first else (other, one)
                found.setdefault(column.said, value.said)
                taken |= {place, place + 1}
    return found, [mark.said for mark in marks if mark.quoted and not mark.column]


def _marks(text: str, schema: Schema) -> Iterator[_Mark]:
    """Yield what a text names: quoted texts first, then names of columns among the rest, then numbers."""
    columns = {name.lower(): name for name in schema.columns}
    for found in _QUOTED.finditer(text):
        said = next(one for one in found.groups() if one is not None)
        named = columns.get(said.lower())
        if said.lower() != schema.table.lower():
            yield _Mark(found.start(), found.end(), named or said, named is not None, True)
    plain = _QUOTED.sub(lambda found: "\0" * len(found[0]), text)
    for name in sorted(filter(None, schema.columns), key=len, reverse=True):
        pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
        for found in pattern.finditer(plain):
            yield _Mark(found.start(), found.end(), name, True, False)
        plain = pattern.sub(lambda found: "\0" * len(found[0]), plain)
    for found in _NUMBER.finditer(plain):
        yield _Mark(found.start(), found.end(), found[0], False, False)


def _looked_up(question: str, result: Mapping[str, Any]) -> list[str] | None:
    """Return the cells that answer a question, from all rows of its table."""
    columns = [str(name) for name in result["columns"]]
    rows = [[str(cell or "") for cell in row] for row in result["rows"]]
    asked = _terms(question)
    scores = [max((_share(cell, asked, question) for cell in row), default=0.0) for row in rows]
    best = max(scores, default=0.0)
    chosen = [row for row, score in zip(rows, scores, strict=True) if score == best and best > 0]
    lowered = question.lower()
    if re.search(r"\bhow many\b|\bnumber of\b", lowered) and not _column(columns, chosen, asked, numeric=True):
        return [str(len(chosen))] if chosen else None
    superlative = _SUPERLATIVE.search(lowered)
    place = _column(columns, chosen or rows, asked, numeric=False)
    if place is None:
        return None
    if superlative:
        numbers = [(number, row) for row in (chosen or rows) if (number := _number(row[place])) is not None]
        choose = min if superlative[0] in _LOW else max
        return [choose(numbers, key=lambda one: one[0])[1][place]] if numbers else None
    return list(dict.fromkeys(row[place] for row in chosen)) or None


def _column(columns: Sequence[str], rows: Sequence[Sequence[str]], asked: set[str], *, numeric: bool) -> int | None:
    """Return the place of the column whose name shares most words with the question, of those that do not hold them."""
    ranked = []
    for place, name in enumerate(columns):
        own = _terms(name)
        shared = len(own & asked) / len(own) if own else 0.0
        held = all(_terms(row[place]) <= asked for row in rows) if rows else False
        if shared and not held and (not numeric or all(_number(row[place]) is not None for row in rows)):
            ranked.append((shared, -place))
    return -max(ranked)[1] if ranked else None


def _share(cell: str, asked: set[str], question: str) -> float:
    """Return how much of a cell's words the question holds; one that stands in it as a whole counts by its length."""
    own = _terms(cell)
    if not own:
        return 0.0
    if re.search(rf"(?<!\w){re.escape(cell.lower())}(?!\w)", question.lower()):
        return 1.0 + len(own)
    return len(own & asked) / len(own) if own & asked else 0.0


def _terms(text: str) -> set[str]:
    return {stem(word) for word in words(text) if word not in STOP_WORDS}


def _number(text: str) -> float | None:
    found = re.match(r"\s*[-+]?\d[\d,]*\.?\d*", text)
    return float(found[0].replace(",", "")) if found else None


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
