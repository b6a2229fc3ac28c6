"""Assistants of DBBench that know the references: what they measure is everything but an agent."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from mars.agents.interfaces import NOT_KNOWN
from mars.environments.database import DONE
from mars.environments.dbbench import DBBench, DBBenchTask, near_answer, quoted
from mars.environments.mysql import from_mysql
from mars.errors import InvalidInput
from mars.evaluation.sql_mutations import Mutant
from mars.testing import ScriptedModel, Step


def oracle(bench: DBBench, answer: Callable[[DBBenchTask], Sequence[str]]) -> ScriptedModel:
    """Return an Assistant that makes the gold change, or runs the gold query and answers what `answer` says.

    Where the gold query does not run, it looks at the whole table instead.
    """

    def reply(messages: Sequence[BaseMessage]) -> Step:
        task, tried = _current(bench), _results(messages)
        if task.changes:
            gold = _gold(task, bench.database.dialect)
            if tried or gold is None:
                return Step(text=DONE if tried and tried[-1].status != "error" else NOT_KNOWN)
            return _propose(gold)
        if not tried and (gold := _gold(task, bench.database.dialect)) is not None:
            return _propose(gold)
        if not tried or (tried[-1].status == "error" and len(tried) < 2):
            return _propose(f"SELECT * FROM {quoted(task.table)}")
        return Step(text=json.dumps(list(answer(task)), ensure_ascii=False))

    return ScriptedModel(reply)


def mutated(bench: DBBench, chosen: Mapping[str, Mutant]) -> ScriptedModel:
    """Return an Assistant that proposes a mutant first, and what is right once it was told no."""

    def reply(messages: Sequence[BaseMessage]) -> Step:
        task, tried = _current(bench), _results(messages)
        if not tried:
            return _propose(chosen[task.id].sql)
        if len(tried) == 1:
            return _propose(from_mysql(task.reference.sql, bench.database.dialect))
        return Step(text=NOT_KNOWN if tried[-1].status == "error" else DONE)

    return ScriptedModel(reply)


def label_of(task: DBBenchTask) -> Sequence[str]:
    """Return the right values."""
    return task.reference.values


def perturbed(task: DBBenchTask, seed: int | str = 0) -> Sequence[str]:
    """Return a wrong answer to a question, drawn from the seed: a value less, another cell, another number."""
    draw = random.Random(f"{seed}/{task.id}/answer")
    label = list(task.reference.values)
    place = draw.randrange(len(label))
    cells = [cell for row in task.rows for cell in row if cell]
    wrong = [
        label[:place] + label[place + 1 :],
        [*label[:place], draw.choice(cells), *label[place + 1 :]],
        [*label, draw.choice(cells)],
        [*label[:place], _other(label[place]), *label[place + 1 :]],
    ]
    far = [one for one in wrong if one and not near_answer(json.dumps(one), task.reference.values)]
    return draw.choice(far)


def _other(value: str) -> str:
    try:
        return str(float(value) + 1)
    except ValueError:
        return f"{value} II"


def _gold(task: DBBenchTask, dialect: str) -> str | None:
    try:
        return from_mysql(task.reference.sql, dialect)
    except InvalidInput:
        return None


def _current(bench: DBBench) -> DBBenchTask:
    assert bench.current is not None
    return bench.current


def _results(messages: Sequence[BaseMessage]) -> list[ToolMessage]:
    """Return what the tools said in this attempt."""
    asked = max(place for place, message in enumerate(messages) if isinstance(message, HumanMessage))
    return [message for message in messages[asked:] if isinstance(message, ToolMessage)]


def _propose(sql: str) -> Step:
    return Step(tool_calls=(("run_sql", {"sql": sql}),))
