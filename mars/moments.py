"""Places in the past of a conversation, and what differs between two of them: `Moment`, `Difference`, `Replay`.

Everything here is read from saved states; `mars.past` finds them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from mars.memory.interfaces import Namespace
from mars.persistence.budgets import Usage
from mars.persistence.transcript import Utterance
from mars.results import RunResult

__all__ = ["Difference", "Moment", "Replay", "Sides", "Step", "ToolRun", "difference", "first_difference", "steps_of"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A turn of a conversation, or a checkpoint within one: what `fork`, `replay` and `diff` take as ``at``."""

    id: str
    """Of the turn, or of the checkpoint."""
    kind: Literal["turn", "checkpoint"]
    """Which of the two."""
    namespace: Namespace
    """Whose conversation it is."""
    conversation: str
    """Its name."""
    number: int
    """Number of the turn in the conversation, from 1."""
    turn: str
    """Id of the turn."""
    name: str | None
    """Name of the turn (`Mars.name_turn`)."""
    at: datetime | None
    """When the task was asked, by the clock of the memory; None where nothing says so any more."""
    task: str
    """What was asked."""
    draft: str
    """The newest draft until then; empty without one."""
    answer: str
    """The answer; empty until there is one."""
    status: str
    """How the turn ended, or why it rests (waiting, cancelled, interrupted), or running."""
    decision: str
    """The newest verdict until then: approved, rejected or abstained; empty without one."""
    next: str
    """The node that runs next; empty where the turn is over."""
    waiting: bool
    """Whether a person has to decide something before it goes on."""
    usage: Usage | None
    """What the turn has cost by then; None where that is not known."""
    parent: str | None
    """Id of the turn or checkpoint before it."""
    kept: bool
    """Whether its state is kept; of others there are only the words."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            **asdict(self),
            "namespace": list(self.namespace),
            "at": self.at.isoformat() if self.at else None,
            "usage": self.usage.plain() if self.usage else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides(Generic[Item]):
    """What two sides have of a sort of things."""

    a: tuple[Item, ...]
    """Only the first has these."""
    b: tuple[Item, ...]
    """Only the second has these."""
    both: int
    """How many both have."""

    def __bool__(self) -> bool:
        return bool(self.a or self.b)

    @classmethod
    def of(cls, a: Iterable[Item], b: Iterable[Item], key: Callable[[Item], object]) -> Sides[Item]:
        """Return what differs, each as often as one side has it more; in the order of the sides."""
        first, second = list(a), list(b)
        left = Counter(map(key, second))
        only_a = [item for item in first if not _taken(left, key(item))]
        left = Counter(map(key, first))
        only_b = [item for item in second if not _taken(left, key(item))]
        return cls(a=tuple(only_a), b=tuple(only_b), both=len(first) - len(only_a))

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"a": list(map(_plain, self.a)), "b": list(map(_plain, self.b)), "both": self.both}


class ToolRun(NamedTuple):
    """A tool that was run, as the ledger or the state has it."""

    tool: str
    """Its name."""
    arguments: str
    """What it was called with, as JSON; empty where that is not on record."""
    result: str
    """What it returned."""

    @classmethod
    def of(cls, tool: str, body: str) -> ToolRun:
        """Return what the ledger has of an action."""
        told = json.loads(body)
        arguments = _text(told["arguments"]) if "arguments" in told else ""
        return cls(tool, arguments, str(told.get("content", "")))


class Draft(NamedTuple):
    """A draft and what the Checker said of it."""

    iteration: int
    """From 1."""
    draft: str
    """As drafted, with citations."""
    decision: str
    """approved, rejected or abstained."""
    score: float
    """In [0, 1]."""
    issues: tuple[str, ...]
    """Kind and evidence of each."""


class Recalled(NamedTuple):
    """A record in the Assistant's prompt."""

    record: str
    """Its id."""
    text: str
    """Its verbatim text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between two moments, each with all that was said until then."""

    a: Moment
    b: Moment
    changed: Mapping[str, tuple[str, str]]
    """Of task, answer, status, approved and team, those that differ: what each side has."""
    said: Sides[Utterance]
    """What was said in finished turns."""
    drafts: Sides[Draft]
    """Drafts with their verdicts."""
    records: Sides[Recalled]
    """Records that were recalled last."""
    lessons: Sides[str]
    """Lessons of earlier turns, and those drawn in it."""
    tools: Sides[ToolRun]
    """Tools that were run."""
    usage: tuple[Usage | None, Usage | None]
    """What the turn of each side has cost."""

    @property
    def same(self) -> bool:
        """Whether nothing differs but, perhaps, the cost."""
        return not (self.changed or self.said or self.drafts or self.records or self.lessons or self.tools)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "a": self.a.plain(),
            "b": self.b.plain(),
            "same": self.same,
            "changed": {name: list(pair) for name, pair in self.changed.items()},
            **{name: getattr(self, name).plain() for name in ("said", "drafts", "records", "lessons", "tools")},
            "usage": [usage.plain() if usage else None for usage in self.usage],
        }


class Step(NamedTuple):
    """A step of a turn, as a recorded run and its replay have it."""

    role: str
    """Who did it: user, memory, tools, assistant, checker, reflector, runtime."""
    what: str
    """recall, tools, draft, verdict, lesson, end; call, where there is no outcome on record."""
    iteration: int
    """From 1."""
    recorded: str
    """What is on record; empty for nothing."""
    replayed: str
    """What the replay came to; empty for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of a replay."""

    of: Moment
    """What was replayed."""
    recorded: bool
    """Whether it was answered from the records alone."""
    conversation: str | None
    """The conversation that it went into; None for one from the records, which leaves nothing."""
    result: RunResult | None
    """What came of the replay; None where the records did not reach to its end."""
    first_difference: Step | None
    """The first step that differs from the recorded run; None where all of it was reproduced."""
    same_steps: int
    """How many steps were the same before that."""

    @property
    def reproduced(self) -> bool:
        """Whether every step was the same."""
        return self.first_difference is None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "of": self.of.plain(),
            "recorded": self.recorded,
            "reproduced": self.reproduced,
            "first_difference": self.first_difference._asdict() if self.first_difference else None,
            "same_steps": self.same_steps,
            "conversation": self.conversation,
            "result": self.result.plain() if self.result else None,
        }


class Side(NamedTuple):
    """One side of a difference."""

    moment: Moment
    state: Mapping[str, Any]
    """The saved state; empty where it has not begun."""
    said: Sequence[Utterance]
    tools: Sequence[ToolRun]


def difference(a: Side, b: Side) -> Difference:
    """Return what differs between two sides."""
    told = [_told(side) for side in (a, b)]
    records = [[Recalled(one["record"], one["text"]) for one in side.state.get("evidence", ())] for side in (a, b)]
    lessons = [
        [one["text"] for name in ("lessons", "reflections") for one in side.state.get(name, ())] for side in (a, b)
    ]
    return Difference(
        a=a.moment,
        b=b.moment,
        changed={name: (told[0][name], told[1][name]) for name in told[0] if told[0][name] != told[1][name]},
        said=Sides.of(a.said, b.said, lambda one: (one.turn, one.source, one.text)),
        drafts=Sides.of(_drafts(a.state), _drafts(b.state), lambda one: one),
        records=Sides.of(records[0], records[1], lambda one: one.record),
        lessons=Sides.of(lessons[0], lessons[1], lambda one: one),
        tools=Sides.of(a.tools, b.tools, lambda one: one),
        usage=(a.moment.usage, b.moment.usage),
    )


def tools_in(scratch: Sequence[Mapping[str, Any]]) -> Iterator[ToolRun]:
    """Yield the tools of a state's messages, as LangChain writes them, with what came of each."""
    asked: dict[str, Mapping[str, Any]] = {}
    for message in scratch:
        data = message["data"]
        asked |= {call["id"]: call for call in data.get("tool_calls") or ()}
        if message["type"] == "tool":
            call = asked.get(data["tool_call_id"], {"name": data.get("name") or "", "args": {}})
            yield ToolRun(str(call["name"]), _text(call["args"]), str(data["content"]))


def steps_of(state: Mapping[str, Any], *, recalled: bool = True) -> list[Step]:
    """Return what a state tells of its turn, step by step, each under `Step.recorded`.

    Of earlier iterations it has drafts, verdicts and what people answered; what was recalled and which tools were run,
    of the current one, unless that has not `recalled` yet.
    """
    if not state:
        return []
    now, attempts = int(state.get("iteration", 1)), list(state.get("attempts", ()))
    lessons = list(state.get("reflections", ()))
    missing = max(0, len(attempts) - len(lessons) - bool(attempts and not _rejected(attempts[-1])))
    steps = [Step("user", "task", 1, str(state["task"]["text"]), "")]
    for place in range(max(now, len(attempts))):
        turn = place + 1
        if turn == now and recalled:
            seen = ", ".join(f"{one['ref']}={one['record']}" for one in state.get("evidence", ()))
            steps.append(Step("memory", "recall", turn, seen or "nothing", ""))
            steps += [Step("tools", "tools", turn, _text(one), "") for one in tools_in(state.get("scratch", ()))]
        if place < len(attempts):
            judged = _draft(attempts[place])
            steps.append(Step("assistant", "draft", turn, judged.draft, ""))
            steps.append(Step("checker", "verdict", turn, _text(judged[2:]), ""))
            if missing <= place < missing + len(lessons):
                steps.append(Step("reflector", "lesson", turn, lessons[place - missing]["text"], ""))
        elif turn == now and state.get("draft"):
            steps.append(Step("assistant", "draft", turn, str(state["draft"]), ""))
    if state.get("status"):
        ended = {name: state.get(name) for name in ("status", "answer", "approved", "error", "stop_reason")}
        steps.append(Step("runtime", "end", now, _text(ended), ""))
    return steps


def first_difference(
    recorded: Sequence[Step], replayed: Sequence[Step], *, whole: bool, cut: Step | None = None
) -> tuple[int, Step | None]:
    """Return how many steps are the same, and the first one that differs; None where none does.

    A recorded run that is not `whole` says nothing of what comes after its last step. `cut` is the call at which the
    replay found nothing on record. What was recalled and run is compared where both sides still know it.
    """
    known = {one.iteration for one in recorded if one.what == "recall"}
    known &= {one.iteration for one in replayed if one.what == "recall"}
    recorded, replayed = (
        [one for one in steps if one.what not in ("recall", "tools") or one.iteration in known]
        for steps in (recorded, replayed)
    )
    for place, step in enumerate(recorded):
        if place >= len(replayed):
            return place, cut or step
        other = replayed[place]
        if step != other:
            alike = (step.what, step.iteration) == (other.what, other.iteration)
            return place, step._replace(
                replayed=other.recorded if alike else f"{other.what} {other.iteration}: {other.recorded}"
            )
    over = replayed[len(recorded) :] if whole else ()
    extra = over[0]._replace(recorded="", replayed=over[0].recorded) if over else None
    return len(recorded), extra or (cut if whole else None)


def _told(side: Side) -> dict[str, str]:
    state = side.state
    approved = ("yes" if state["approved"] else "no") if state.get("status") else ""
    return {
        "task": side.moment.task,
        "answer": side.moment.answer,
        "status": side.moment.status,
        "approved": approved,
        "team": str(state.get("team", "")),
    }


def _drafts(state: Mapping[str, Any]) -> list[Draft]:
    found = [_draft(attempt) for attempt in state.get("attempts", ())]
    return found


def _draft(attempt: Mapping[str, Any]) -> Draft:
    verdict = attempt["verdict"]
    issues = tuple(f"{issue['kind']}: {issue['evidence']}" for issue in verdict["issues"])
    return Draft(attempt["iteration"], attempt["draft"], verdict["decision"], verdict["score"], issues)


def _rejected(attempt: Mapping[str, Any]) -> bool:
    return bool(attempt["verdict"]["decision"] == "rejected")


def _taken(left: Counter[object], key: object) -> bool:
    """Take one of a key, if one is left."""
    left[key] -= 1
    return left[key] >= 0


def _plain(item: object) -> Any:
    if isinstance(item, Utterance):
        return item.plain()
    return item._asdict() if isinstance(item, ToolRun | Draft | Recalled) else item


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
