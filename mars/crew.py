"""From teams to loops: each role gets its model, its tools and the memory that its team works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mars.agents.interfaces import Verifier
from mars.agents.roles import Checker, Summariser
from mars.calls import Calls
from mars.keeping import Kept
from mars.memory.engine import Memory
from mars.models.resolve import resolve_model
from mars.nodes import Loop
from mars.people import People
from mars.persistence.asks import Desk
from mars.persistence.budgets import Budgets
from mars.persistence.reliability import Reliability
from mars.role_models import RoleModel
from mars.roster import Roster
from mars.summarising import Summarising
from mars.team import Team
from mars.tools import Toolbox

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


@dataclass(frozen=True, slots=True)
class Crew:
    """What `Mars.open` was given of who works."""

    usual: Team
    """The team that works where none is named."""
    named: Mapping[str, Team]
    """The others, by name."""
    seed: int | str
    """Decides whom `run(team=[…])` draws."""
    model: BaseChatModel | str | None
    """The model of every role without one of its own."""
    toolbox: Toolbox
    """All tools; a team's Assistant may be given fewer."""
    verifiers: tuple[Verifier, ...]
    """Added to those of each Checker."""
    calls: Calls
    """How models and tools are called."""

    def resolved(self) -> Crew:
        """Return the same with a model in the place of each name; raises what `resolve_model` raises.

        Nothing is opened by then, so that a model that cannot be made leaves nothing behind.
        """
        model = resolve_model(self.model) if isinstance(self.model, str) else self.model
        named = {name: _resolved(team) for name, team in self.named.items()}
        return replace(self, model=model, usual=_resolved(self.usual), named=named)

    async def roster(self, stack: AsyncExitStack, memory: Memory, kept: Kept | None) -> Roster:
        """Return the loops of all teams over an open memory; what is opened for them is closed with `stack`."""
        calls = kept.calls(self.calls) if kept else self.calls
        reliability = Reliability(kept.database if kept else None)
        undecayed = memory
        if any("decay" in team.without for team in (self.usual, *self.named.values())):
            undecayed = await stack.enter_async_context(memory.under(memory.preset.without_decay()))

        desk = Desk(kept.database if kept else None)

        def loop(team: Team) -> Loop:
            own = undecayed if "decay" in team.without else memory
            made = make_loop(own, team, self.model, self.toolbox, self.verifiers, calls)
            made = replace(made, people=People(approval=team.approval, desk=desk))
            return made if team.without else replace(made, reliability=reliability)  # an ablation tells of nobody

        return Roster(loop(self.usual), {name: loop(team) for name, team in self.named.items()}, reliability, self.seed)


def _resolved(team: Team) -> Team:
    roles: dict[str, Any] = {}
    for name in ("assistant", "checker", "reflector", "summariser"):
        role = getattr(team, name)
        if isinstance(role.model, str):
            roles[name] = replace(role, model=resolve_model(role.model))
    return replace(team, **roles) if roles else team


def make_loop(
    memory: Memory,
    team: Team,
    model: BaseChatModel | str | None = None,
    toolbox: Toolbox | None = None,
    verifiers: Sequence[Verifier] = (),
    calls: Calls | None = None,
) -> Loop:
    """Return the loop of a team: each role with its own model, or the default, or the rules where there is no model."""
    default = resolve_model(model)
    keyless = model is None or getattr(default, "_llm_type", "") == "mars-reader"
    checker = _with_verifiers(team.checker, verifiers)
    judge = checker.model if checker.model is not None else None if keyless else default
    words = team.reflector.model if team.reflector.model is not None else None if keyless else default
    drafting = resolve_model(team.assistant.model) if team.assistant.model is not None else default
    tools = (toolbox or Toolbox()).only(team.assistant.tools)
    made = replace(calls or Calls(), budgets=Budgets.of(team.budget), models=set())
    return Loop(
        memory=None if "memory" in team.without else memory,
        assistant=team.assistant,
        assistant_model=RoleModel(made, team.assistant.name, drafting, tools.bind(drafting)),
        checker=None if "checker" in team.without else _judged(checker, judge is not None),
        judge=RoleModel(made, checker.name, resolve_model(judge)) if judge is not None else None,
        reflector=None if "reflection" in team.without else team.reflector,
        reflector_model=RoleModel(made, team.reflector.name, resolve_model(words)) if words is not None else None,
        calls=made,
        toolbox=tools,
        iterations=team.iterations,
        k=team.k,
        floor=team.floor,
        memory_words=team.memory_words,
        window=team.window,
        remember=team.remember,
        grades="decay" not in team.without,
        keep_prompts=team.keep_prompts,
        summarising=_summarising(made, team.summariser),
    )


def _summarising(calls: Calls, role: Summariser) -> Summarising | None:
    if role.model is None:
        return None
    return Summarising(role, RoleModel(calls, role.name, resolve_model(role.model)))


def _with_verifiers(checker: Checker, verifiers: Sequence[Verifier]) -> Checker:
    return replace(checker, verifiers=(*checker.verifiers, *verifiers)) if verifiers else checker


def _judged(checker: Checker, judged: bool) -> Checker:
    rules = checker.evidence_rules
    return replace(checker, evidence_rules=not judged if rules is None else rules)
