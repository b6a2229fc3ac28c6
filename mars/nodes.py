"""The nodes of the loop; `mars.graph` wires them (runtime.md §2).

Each node reads the state, does one thing, and returns only what it changes. What they need (memory, roles, models,
tools, limits) is in `Loop`, so that the state stays plain and a compiled graph is complete without any context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import ToolMessage, message_to_dict, messages_from_dict
from langgraph.types import Command

from mars.actions import act
from mars.agents.checking import review_action, review_output
from mars.agents.interfaces import NOT_KNOWN, Action, Evidence, Review
from mars.agents.progress import no_progress, repeated_failure
from mars.agents.reflecting import reflect
from mars.agents.reflections import Plan, Reflection, combined_plan
from mars.agents.reliability import succeeded
from mars.agents.rendering import citations, says_not_known, without_citations
from mars.agents.roles import Assistant, Checker, Reflector
from mars.agents.strategy import strategy_note
from mars.agents.verdicts import Check, Decision, IssueKind, Verdict, best, combine
from mars.agents.verifiers import ArgumentsVerifier
from mars.calls import Calls, here, placed
from mars.consolidation import Turn, consolidate_turn, earlier_lessons, fitted, recent_turns
from mars.errors import BudgetExhausted
from mars.events import EventKind
from mars.memory.interfaces import Kind
from mars.people import People, said_by_people
from mars.persistence.reliability import Reliability, Task
from mars.prompting import affordable, assistant_prompt, count_words, plain_prompt, words_left
from mars.results import RunStatus
from mars.role_models import RoleModel
from mars.state import State, evidence_of, fresh, namespace_of, remembered, task_of, told_until
from mars.summarising import Summarising
from mars.telling import emit, failure
from mars.tools import Toolbox, read_calls

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from mars.memory.engine import Memory

REMEMBERED = frozenset({Kind.EPISODE, Kind.FACT, Kind.PROCEDURE})
"""Kinds of records that answer questions; reflections are lessons."""

REJECTED_ACTIONS = 3
"""So many rejected actions in a row end the turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """What the nodes work with, and the nodes themselves."""

    memory: Memory | None
    """The store; None answers without any memory."""
    assistant: Assistant
    """The role that drafts."""
    assistant_model: RoleModel
    """Its model, with its tools bound."""
    checker: Checker | None
    """The role that checks; None lets every draft leave unchecked."""
    judge: RoleModel | None = None
    """The Checker's model; None: the evidence rules."""
    reflector: Reflector | None
    """The role that reflects; None tries again without a lesson."""
    reflector_model: RoleModel | None = None
    """Its model; None: the rules."""
    calls: Calls = field(default_factory=Calls)
    """How models and tools are called; the models above call by it."""
    toolbox: Toolbox = field(default_factory=Toolbox)
    """The Assistant's tools."""
    people: People = field(default_factory=People)
    """Who decides on actions that need a person."""
    iterations: int = 3
    """The most drafts of one turn, N."""
    k: int = 8
    """How many records the first recall of a turn brings."""
    floor: float = 0.1
    """Least relevance of a recalled record, in [0, 1]."""
    memory_words: int | None = None
    """The most words of memories in all prompts of a turn; see `mars.team.Team`."""
    lesson_floor: float = 0.6
    """Least relevance of an earlier lesson, in [0, 1]."""
    window: int = 6
    """How many of the conversation's newest turns the prompt holds."""
    remember: bool = True
    """Whether what the user tells, and the turn itself, is stored."""
    grades: bool = True
    """Whether records are strengthened and weakened; not where decay is off."""
    keep_prompts: bool = False
    """Whether each attempt keeps the Assistant's prompt."""
    reliability: Reliability | None = None
    """Where it is kept how tasks went; None: nowhere."""
    summarising: Summarising | None = None
    """Who rewrites the running summary; None: the rule's stays."""

    @property
    def steps(self) -> tuple[int, int]:
        """The most iterations, and the most actions in one of them."""
        return self.iterations, self.assistant.max_actions

    @placed
    async def begin(self, state: State) -> dict[str, Any]:
        """Reset what belongs to one turn."""
        window = state.get("window", [])
        if "summary" not in state:
            asked_at = task_of(state).asked_at
            window = await recent_turns(self.memory, namespace_of(state), state["conversation"], self.window, asked_at)
        knows = self.checker is not None and self.checker.oracle_feedback
        told = await self.summarising.rewritten(state) if self.summarising and state.get("leaving") else {}
        return {**fresh(), "window": window, "oracle_feedback": knows, **told}

    @placed
    async def recall(self, state: State) -> dict[str, Any]:
        """Bring records and earlier lessons into the turn, as wide as the lessons say."""
        told: dict[str, Any] = {"scratch": said_by_people(state["scratch"]), "actions": 0}
        if self.memory is None:
            return {"evidence": [], **told}
        task = task_of(state)
        lessons = [Reflection.from_plain(values) for values in state["lessons"]]
        if not lessons and self.reflector is not None and self.reflector.reflects:
            lessons = await earlier_lessons(
                self.memory, task, namespace_of(state), self.reflector.keep, self.lesson_floor, told_until(state)
            )
        plan = self._plan({**state, "lessons": [lesson.plain() for lesson in lessons]})
        query = " ".join((task.text, *plan.terms))
        hits = await self.memory.recall(
            query,
            namespace=namespace_of(state),
            k=self.k * plan.widen,
            now=task.asked_at,
            kinds=REMEMBERED,
            until=told_until(state),
            floor=self.floor,
        )
        evidence = [Evidence.of(hit, f"m{place}") for place, hit in enumerate(hits, 1)]
        fitting = [fitted(lesson, task, evidence).plain() for lesson in lessons]
        spent = state.get("memory_words", 0)
        if self.memory_words is not None:
            left = words_left(self.memory_words, spent, may_retry=self.checker is not None and self.iterations > 1)
            evidence = affordable(evidence, self._plan({**state, "lessons": fitting}), left)
        spent += sum(count_words(item) for item in evidence)
        records = [item.plain() for item in evidence]
        emit(
            EventKind.MEMORY_READ,
            "memory",
            f"recalled {len(records)} records and {len(lessons)} lessons",
            records=records,
            lessons=fitting,
            widened=plan.widen,
        )
        return {"evidence": records, "lessons": fitting, "memory_words": spent, **told}

    def _plan(self, state: State) -> Plan:
        return combined_plan([Reflection.from_plain(values) for values in state["lessons"] + state["reflections"]])

    @placed
    async def draft(self, state: State) -> Command[Literal["review_action", "checker", "consolidate"]]:
        """Let the Assistant act or draft."""
        if repeated_failure(state["scratch"]):
            return Command(goto="consolidate", update={"status": RunStatus.NO_PROGRESS.value})
        try:
            reply, ended = await self.assistant_model.stream(self._prompt(state), may_end=not state["attempts"])
        except Exception as error:  # noqa: BLE001 - a provider may raise anything
            return Command(goto="consolidate", update=failure(error))
        left = self.assistant.max_actions - state["actions"]
        calls = read_calls(reply, f"{state['turn']}-{state['iteration']}-{len(state['scratch'])}")
        if (calls.proposed or calls.unreadable) and left > 0:
            over = f"Not run: at most {self.assistant.max_actions} actions"
            for message in calls.unreadable:
                emit(EventKind.TOOL, "tools", str(message.content), action={"tool": message.name}, failed=True)
            unrun = [self.toolbox.reply(Action(**values), over, failed=True) for values in calls.proposed[left:]]
            told = map(message_to_dict, (calls.reply, *calls.unreadable, *unrun))
            update = {
                "scratch": [*state["scratch"], *told],
                "pending": list(calls.proposed[:left]),
                "actions": state["actions"] + len(calls.proposed[:left]) + len(calls.unreadable),
                "rejected_actions": state["rejected_actions"] + len(calls.unreadable),
            }
            return Command(goto="review_action", update=update)
        draft = reply.text.strip() or NOT_KNOWN
        emit(EventKind.DRAFT, self.assistant.name, draft, iteration=state["iteration"])
        return Command(goto="checker", update={"draft": draft, "stop_reason": ended})

    def _prompt(self, state: State) -> list[BaseMessage]:
        return assistant_prompt(self.assistant, self.reflector, state)

    @placed
    async def review_action(self, state: State) -> Command[Literal["person", "tools", "assistant", "consolidate"]]:
        """Let the Checker see each proposed action before anything happens; a rejected one never runs."""
        passed: list[dict[str, Any]] = []
        scratch = list(state["scratch"])
        rejected = state["rejected_actions"]
        for values in state["pending"]:
            action = Action(**values)
            try:
                verdict = await self._verdict_on(action, state)
            except Exception as error:  # noqa: BLE001 - a provider may raise anything
                return Command(goto="consolidate", update=failure(error))
            judge = self.checker.name if self.checker else "runtime"
            emit(EventKind.VERDICT, judge, verdict.decision.value, action=values, verdict=verdict.plain())
            if verdict.approved:
                passed.append(values)
                rejected = 0
                continue
            rejected += 1
            reasons = "; ".join(f"{i.evidence} -> {i.directive}" for i in verdict.issues) or "no check allows it"
            scratch.append(
                message_to_dict(self.toolbox.reply(action, f"Rejected by the Checker: {reasons}", failed=True))
            )
        update: dict[str, Any] = {"scratch": scratch, "pending": passed, "rejected_actions": rejected}
        if rejected >= REJECTED_ACTIONS and not passed:
            return Command(goto="consolidate", update={**update, "status": RunStatus.INVALID_ACTION.value})
        return Command(goto=self.people.within(state).next(self.toolbox, passed), update=update)

    @placed
    async def person(self, state: State) -> Command[Literal["person", "tools", "assistant"]]:
        """Have a person decide on one action; then on the next one, if that needs it too."""
        return await self.people.within(state).decide(self.toolbox, state)

    async def _verdict_on(self, action: Action, state: State) -> Verdict:
        if self.checker is None or self.toolbox.read_only(action.tool):
            return combine([Check.passed("read_only" if self.checker else "unchecked", decisive=True)])
        review = Review(task=task_of(state), draft="", evidence=tuple(evidence_of(state)), action=action)
        return await review_action(self.checker, self.judge, review, ArgumentsVerifier(self.toolbox.schemas))

    @placed
    async def tools(self, state: State) -> Command[Literal["assistant", "consolidate"]]:
        """Run the approved actions; what fails says so in its own words."""
        scratch = list(state["scratch"])
        for values in state["pending"]:
            action = Action(**values)
            try:
                message = await act(self.calls, self.toolbox, action)
            except BudgetExhausted as error:
                return Command(goto="consolidate", update={"scratch": scratch, "pending": [], **failure(error)})
            emit(EventKind.TOOL, "tools", str(message.content), action=values, failed=message.status == "error")
            scratch.append(message_to_dict(message))
        return Command(goto="assistant", update={"scratch": scratch, "pending": []})

    @placed
    async def check(self, state: State) -> Command[Literal["reflect", "consolidate"]]:
        """Let the Checker judge the draft, and decide whether the turn goes on."""
        wider: list[Evidence] = []
        failed: dict[str, Any] = {}
        verdict = Verdict(decision=Decision.ABSTAINED, score=0.0, origin="unchecked")
        if self.checker is not None:
            wider = await self._wider(state)
            try:
                verdict = await review_output(self.checker, self.judge, self._review(state, wider))
            except Exception as error:  # noqa: BLE001 - a provider may raise anything
                failed = failure(error)
        told = verdict.plain()
        if self.checker is not None:
            role, decision = self.checker.name, verdict.decision.value
            emit(EventKind.VERDICT, role, decision, verdict=told, iteration=state["iteration"])
        by_ref = {item.ref: item for item in (*wider, *evidence_of(state))}
        cited = () if says_not_known(state["draft"]) else citations(state["draft"])
        attempt = {
            "iteration": state["iteration"],
            "draft": state["draft"],
            "verdict": told,
            "sources": [by_ref[ref].plain() for ref in cited if ref in by_ref],
            "blamed": [by_ref[ref].record for ref in verdict.blame if ref in by_ref],
            "prompt": plain_prompt(self._prompt(state)) if self.keep_prompts else [],
        }
        attempts = [*state["attempts"], attempt]
        status = self._status(state, attempts)
        over = verdict.approved or self.checker is None or status in (RunStatus.COMPLETED, RunStatus.BUDGET_EXHAUSTED)
        ends = bool(over or failed)
        if not (ends or status):
            emit(EventKind.WITHDRAWN, "runtime", "this draft is not the answer", iteration=state["iteration"])
        update = {
            "attempts": attempts,
            "wider": [] if ends else [item.plain() for item in wider],  # for the reflection; each checkpoint has it
            "status": status.value if status else "",
            **failed,
        }
        return Command(goto="consolidate" if ends else "reflect", update=update)

    async def _wider(self, state: State) -> list[Evidence]:
        """Return what the Checker's own search finds: the question and the draft together, three times as wide."""
        if self.memory is None:
            return []
        seen = {item.record: item.ref for item in evidence_of(state)}
        task = task_of(state)
        query = f"{task.text} {without_citations(state['draft'])}"
        scope: dict[str, Any] = {"namespace": namespace_of(state), "until": told_until(state)}
        hits = await self.memory.recall(query, k=self.k * 3, now=task.asked_at, kinds=REMEMBERED, **scope)
        return [Evidence.of(hit, seen.get(hit.record.id, f"w{place}")) for place, hit in enumerate(hits, 1)]

    def _review(self, state: State, wider: Sequence[Evidence]) -> Review:
        results = [m for m in messages_from_dict(state["scratch"]) if isinstance(m, ToolMessage)]
        return Review(
            task=task_of(state),
            draft=state["draft"],
            evidence=tuple(evidence_of(state)),
            wider=tuple(wider),
            tool_results=tuple(str(m.content) for m in results if m.status != "error"),
            tool_errors=tuple(str(m.content) for m in results if m.status == "error"),
            iteration=state["iteration"],
            recall_widened=self._plan(state).widen > 1,
        )

    def _status(self, state: State, attempts: list[dict[str, Any]]) -> RunStatus | None:
        """Return how the turn ends with the newest attempt, or None if it goes on."""
        verdicts = [Verdict.model_validate(attempt["verdict"]) for attempt in attempts]
        newest = verdicts[-1]
        if newest.approved or self.checker is None:
            return RunStatus.COMPLETED
        if state["stop_reason"]:
            return RunStatus.BUDGET_EXHAUSTED
        if says_not_known(attempts[-1]["draft"]) and newest.decision is Decision.ABSTAINED:
            return RunStatus.COMPLETED
        if state["iteration"] >= self.iterations:
            formal = newest.issues and all(issue.kind is IssueKind.FORMAT for issue in newest.issues)
            return RunStatus.INVALID_FORMAT if formal else RunStatus.ITERATION_LIMIT
        if no_progress([attempt["draft"] for attempt in attempts], verdicts):
            return RunStatus.NO_PROGRESS
        return None

    @placed
    async def reflect(self, state: State) -> Command[Literal["recall", "consolidate"]]:
        """Draw a lesson from the rejected draft, and try again if the turn is not over."""
        goto: Literal["recall", "consolidate"] = "consolidate" if state["status"] else "recall"
        update: dict[str, Any] = {"iteration": state["iteration"] + (goto == "recall")}
        if self.reflector is not None and self.reflector.reflects:
            verdict = Verdict.model_validate(state["attempts"][-1]["verdict"])
            wider = [Evidence.from_plain(values) for values in state["wider"]]
            earlier = [Reflection.from_plain(values) for values in state["reflections"]][-self.reflector.keep :]
            review = self._review(state, wider)
            try:
                lesson = await reflect(self.reflector, self.reflector_model, review, verdict, earlier)
            except Exception as error:  # noqa: BLE001 - a provider may raise anything
                return Command(goto="consolidate", update=failure(error))
            emit(EventKind.REFLECTION, self.reflector.name, lesson.text, reflection=lesson.plain())
            update["reflections"] = [*state["reflections"], lesson.plain()][-self.reflector.keep :]
        plan = self._plan({**state, "reflections": update.get("reflections", state["reflections"])})
        if "reflections" in update:
            verdicts = [Verdict.model_validate(attempt["verdict"]) for attempt in state["attempts"]]
            update["strategy"] = strategy_note(plan, verdicts, self.iterations - state["iteration"])
        if goto == "recall" and self.memory_words is not None and not plan.redirects:
            return Command(goto="consolidate", update={**update, "status": RunStatus.NO_PROGRESS.value})
        return Command(goto=goto, update=update)

    @placed
    async def consolidate(self, state: State) -> dict[str, Any]:
        """Choose the answer, strengthen what it rests on, and remember the turn and its lessons."""
        attempts = state["attempts"]
        update: dict[str, Any] = {"answer": "", "approved": False, "sources": []}
        if attempts:
            chosen = attempts[best([Verdict.model_validate(attempt["verdict"]) for attempt in attempts])]
            newest = attempts[-1]["iteration"]
            if chosen["iteration"] != newest:
                emit(EventKind.WITHDRAWN, "runtime", "an earlier draft is the answer", iteration=newest)
            update = {
                "answer": without_citations(chosen["draft"]),
                "approved": chosen["verdict"]["decision"] == Decision.APPROVED.value,
                "sources": chosen["sources"],
            }
        if self.memory is not None and remembered(state):
            turn = Turn(
                id=state["turn"],
                task=task_of(state),
                namespace=namespace_of(state),
                conversation=state["conversation"],
                answer=str(update["answer"]),
                approved=bool(update["approved"]),
                status=state["status"],
                used=tuple(source["record"] for source in update["sources"] if self.grades),
                blamed=tuple(dict.fromkeys(one for attempt in attempts for one in attempt["blamed"] if self.grades)),
                reflections=tuple(Reflection.from_plain(values) for values in state["reflections"]),
                answers=await self.people.answers(self.toolbox, state) if self.remember else (),
            )
            written = await consolidate_turn(self.memory, turn, remember=self.remember, turns="summary" not in state)
            emit(EventKind.MEMORY_WRITE, "memory", f"wrote {sum(written.values())} changes", **written)
        await self._count(state, bool(update["approved"]), str(update["answer"]))
        spent = await self.calls.close_turn()
        return {**update, "usage": spent.usage.plain(), "latency": spent.wall}

    async def _count(self, state: State, approved: bool, answer: str) -> None:
        """Count the turn for those who worked on it, if it says something about them; repeated, it counts once."""
        success = succeeded(state["status"], approved, answer)
        if self.reliability is None or success is None or not remembered(state):
            return
        tasks = [Task(state["turn"], "assistant", self.assistant.name, self.assistant_model.model_name, success)]
        if self.reflector is not None and state["reflections"]:
            words = self.reflector_model.model_name if self.reflector_model else "rules"
            tasks.append(Task(state["turn"], "reflector", self.reflector.name, words, success))
        await self.reliability.note(tasks, here().fence)
