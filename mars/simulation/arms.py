"""What is compared: ways to remember, behind one interface, with the same policy and the same budget of words.

==================== ==========================================================================================
variant              what its prompt holds
==================== ==========================================================================================
none                 nothing
window               the newest statements, as many as fit
fifo                 the most relevant of the newest `capacity` statements
vector               the nearest by vector alone, of all statements; no decay, no strengthening (mem0-style stores)
decay                hits of preset ``default``; nothing strengthens
memorybank           hits of preset ``memorybank``; what an answer cites is strengthened
fsrs                 hits of preset ``default``; what an answer cites is strengthened
mars                 the whole loop: facts that supersede, Checker, reflections, preset ``default``
mars-no-checker      the same without the Checker (and so without anything to reflect on)
mars-no-reflection   the same without reflections
mars-no-decay        the same without decay
oracle               the true records of the moment; for the upper end only
==================== ==========================================================================================

*Budget.* An arm's memories have at most `budget` words together for each question, in the order of the arm's rank. The
loop has the same for all its drafts of a question together (`mars.team.Team.memory_words`): a retry is shown what
the first draft left. What the prompts and lessons cost beside is reported as tokens.

*What the loop does not see.* What is told goes to its memory directly, as an episode with its speaker; only questions
are turns. An answer strengthens what it cites: in the loop if the Checker approved it, else always. No arm is told
whether an answer was right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from langchain_core.messages import HumanMessage, SystemMessage

from mars.agents.interfaces import Evidence, Task
from mars.agents.prompts import ASSISTANT
from mars.agents.rendering import citations, render_memories, render_task
from mars.agents.roles import Assistant, Checker
from mars.agents.verifiers import CallableVerifier
from mars.environments.playing import drafted_answer
from mars.errors import InvalidSetting
from mars.events import EventKind
from mars.memory.engine import Memory
from mars.memory.interfaces import Grade, Hit, NewRecord
from mars.memory.presets import Preset, preset
from mars.models.prices import Price, load_prices, price_of
from mars.prompting import within
from mars.runtime import Mars
from mars.simulation.databases import IN_MEMORY
from mars.simulation.worlds import START, USER, Question, Statement
from mars.team import Team
from mars.testing.clocks import FixedClock

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from mars.results import RunResult

NAMESPACE = (USER,)
"""Where an arm's memory lies."""
LONGEST = 12
"""Words of the longest statement of the worlds; a test compares."""
RECALLED = 16
"""Records that the loop recalls for a first draft, before the budget cuts them."""
FREE = ("mars-reader-1", "mars-rules")
"""Models that cost nothing."""
_NOTHING = Price(input=0.0, output=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an arm answered, and what that took."""

    text: str
    """The answer."""
    tokens: int
    """Tokens read and written; of keyless models, words."""
    cost: float | None
    """US dollars; None where a price is not known."""
    shown: tuple[Evidence, ...] = ()
    """The memories in the prompt that the answer was drafted from, by the names that it cites them by."""
    error: str | None = None
    """What failed, if the turn broke off; the text is then what was drafted before, or nothing."""


class Arm(Protocol):
    """Something that is told, and asked."""

    memory: Memory | None
    """What it remembers in; None for what keeps no records."""

    async def tell(self, statements: Sequence[Statement]) -> None:
        """Take in what was said since the last question, oldest first."""

    async def ask(self, question: Question) -> Reply:
        """Return an answer."""

    async def held(self, at: datetime) -> Sequence[Evidence]:
        """Return all that could still come into a prompt; for the scorer, and changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What every arm gets alike."""

    budget: int = 96
    """Words of memories in a prompt, at most."""
    capacity: int = 64
    """Statements that ``fifo`` keeps."""

    def __post_init__(self) -> None:
        for name, least in (("budget", LONGEST), ("capacity", 1)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= 100_000:
                raise InvalidSetting(f"{name} must be a whole number from {least} to 100,000; got {value!r}")


Ranked = Callable[[Sequence[Hit]], Sequence[Hit]]
"""Puts hits into another order; for sabotage."""


class PromptArm:
    """An arm that chooses memories, and asks the policy once."""

    memory: Memory | None = None

    def __init__(self, model: BaseChatModel, limits: Limits) -> None:
        self.model = model
        self.limits = limits

    async def tell(self, statements: Sequence[Statement]) -> None:
        """Take nothing in."""

    async def ask(self, question: Question) -> Reply:
        """Answer from what `chosen` gives, as far as the budget goes."""
        evidence = within(await self.chosen(question), self.limits.budget)
        task = Task(id=question.id, text=question.text, user=question.user, asked_at=question.at)
        prompt = [SystemMessage(ASSISTANT.text), HumanMessage(render_memories(evidence) + render_task(task))]
        message = await self.model.ainvoke(prompt)
        text = str(message.text)
        cited = [one.record for one in evidence if one.ref in citations(text)]
        await self.cited(question, cited)
        usage = message.usage_metadata
        read, wrote = (usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0)
        named = str(message.response_metadata.get("model_name", ""))
        price = None if named in FREE else price_of(named, load_prices())
        cost = 0.0 if named in FREE else price.of(read, wrote) if price else None
        return Reply(text=text, tokens=read + wrote, cost=cost, shown=tuple(evidence))

    async def held(self, at: datetime) -> Sequence[Evidence]:
        """Return the active records of its memory, if it has one."""
        return await active_records(self.memory, at)

    async def chosen(self, question: Question) -> Sequence[Evidence]:
        """Return memories, best first."""
        return ()

    async def cited(self, question: Question, records: Sequence[str]) -> None:
        """Learn which memories an answer cites."""


class WindowArm(PromptArm):
    """The newest statements."""

    def __init__(self, model: BaseChatModel, limits: Limits) -> None:
        super().__init__(model, limits)
        self._said: list[Statement] = []

    async def tell(self, statements: Sequence[Statement]) -> None:
        """Keep as much as could ever fit."""
        self._said = [*self._said, *statements][-self.limits.budget :]

    async def chosen(self, question: Question) -> Sequence[Evidence]:
        """Return the newest first."""
        return spoken(self._said[::-1])

    async def held(self, at: datetime) -> Sequence[Evidence]:
        """Return what fits."""
        return within(spoken(self._said[::-1]), self.limits.budget)


class OracleArm(PromptArm):
    """The true records; `truth` is the episode's."""

    def __init__(self, model: BaseChatModel, limits: Limits, truth: Callable[[Question], Sequence[Statement]]) -> None:
        super().__init__(model, limits)
        self._truth = truth

    async def chosen(self, question: Question) -> Sequence[Evidence]:
        """Return what is true of the question at this moment."""
        return spoken(self._truth(question))


class MemoryArm(PromptArm):
    """Hits of a memory."""

    def __init__(
        self,
        model: BaseChatModel,
        limits: Limits,
        memory: Memory,
        *,
        strengthens: bool = False,
        capacity: int | None = None,
        ranked: Ranked = tuple,
    ) -> None:
        super().__init__(model, limits)
        self.memory = self._memory = memory
        self._strengthens = strengthens
        self._capacity = capacity
        self._ranked = ranked
        self._ids: list[str] = []

    async def tell(self, statements: Sequence[Statement]) -> None:
        """Store; beyond the capacity the oldest are purged."""
        added = await remember(self._memory, statements)
        if self._capacity is not None:
            self._ids += added
            old, self._ids = self._ids[: -self._capacity], self._ids[-self._capacity :]
            if old:
                await self._memory.purge(ids=old, now=statements[-1].at)

    async def chosen(self, question: Question) -> Sequence[Evidence]:
        """Return what is recalled for the question's words."""
        k = self.limits.budget // 2
        hits = await self._memory.recall(question.text, namespace=NAMESPACE, k=k, now=question.at)
        return [Evidence.of(hit, f"m{place}") for place, hit in enumerate(self._ranked(hits), start=1)]

    async def cited(self, question: Question, records: Sequence[str]) -> None:
        """Strengthen what the answer cites, where this arm does so."""
        if self._strengthens and records:
            await self._memory.used(records, Grade.GOOD, question.id, now=question.at)


class LoopArm:
    """The whole loop of MARS."""

    def __init__(self, mars: Mars, clock: FixedClock) -> None:
        self.memory: Memory | None = mars.memory
        self._mars = mars
        self._clock = clock

    async def tell(self, statements: Sequence[Statement]) -> None:
        """Store what was said."""
        if statements:
            self._clock.set(statements[-1].at)
        await remember(self._mars.memory, statements)

    async def ask(self, question: Question) -> Reply:
        """Let the team answer; what the Checker did not approve counts as answered too, as its draft."""
        self._clock.set(question.at)
        read: list[tuple[Evidence, ...]] = []
        result: RunResult | None = None
        stream = self._mars.stream(
            question.text,
            user=question.user,
            namespace=NAMESPACE,
            conversation=question.id,
            now=question.at,
            heard={EventKind.MEMORY_READ},
        )
        async for event in stream:
            if event.kind is EventKind.MEMORY_READ:
                read.append(tuple(Evidence.from_plain(values) for values in event.data["records"]))
            result = event.result or result
        assert result is not None
        text, usage = drafted_answer(result), result.usage
        drafts = [attempt.draft for attempt in result.attempts]
        shown = read[drafts.index(text)] if len(read) == len(drafts) and text in drafts else (read or [()])[-1]
        tokens = usage.input_tokens + usage.output_tokens
        return Reply(text=text, tokens=tokens, cost=usage.cost, shown=shown, error=result.error)

    async def held(self, at: datetime) -> Sequence[Evidence]:
        """Return the active records of its memory."""
        return await active_records(self.memory, at)


DIRECT = ("none", "window", "fifo", "vector", "decay", "memorybank", "fsrs")
"""Variants that ask the policy once."""
LOOPS: dict[str, frozenset[str]] = {
    "mars": frozenset(),
    "mars-no-checker": frozenset({"checker"}),
    "mars-no-reflection": frozenset({"reflection"}),
    "mars-no-decay": frozenset({"decay"}),
}
"""Variants of the loop, and what each goes without."""
VARIANTS = (*DIRECT, *LOOPS)
"""All variants; ``oracle`` is none, for it knows the truth."""
SABOTAGES = ("memory", "decay", "scorer", "checker")
"""What can be broken on purpose: the memory is emptied, the least retained come first, answers are marked by other
references, the Checker of the loop approves whatever it is shown."""


_APPROVES = Checker(
    verifiers=(CallableVerifier(lambda review: True, name="approves", decisive=True),), evidence_rules=False
)


@asynccontextmanager
async def open_arm(
    variant: str,
    model: BaseChatModel,
    limits: Limits,
    *,
    seed: int = 0,
    sabotage: str | None = None,
    database: AbstractAsyncContextManager[str] | None = None,
) -> AsyncIterator[Arm]:
    """Open an arm with a memory of its own: in this process, or in the database that is lent.

    Raises `InvalidSetting` for an unknown variant.
    """
    if variant not in VARIANTS:
        raise InvalidSetting(f"there is no variant {variant!r}; choose among {', '.join(VARIANTS)}")
    if variant == "none" or sabotage == "memory":
        yield PromptArm(model, limits)
        return
    if variant == "window":
        yield WindowArm(model, limits)
        return
    clock = FixedClock(START)
    async with AsyncExitStack() as stack:
        url = IN_MEMORY if database is None else await stack.enter_async_context(database)
        opened = Memory.open(url, preset=preset_of(variant), clock=clock, seed=seed, extract_facts=variant in LOOPS)
        memory = await stack.enter_async_context(opened)
        if variant not in LOOPS:
            yield MemoryArm(
                model,
                limits,
                memory,
                strengthens=variant in ("memorybank", "fsrs"),
                capacity=limits.capacity if variant == "fifo" else None,
                ranked=_faded_first if sabotage == "decay" else tuple,
            )
            return
        team = Team(
            assistant=Assistant(model=model),
            checker=_APPROVES if sabotage == "checker" else Checker(),
            k=RECALLED,
            memory_words=limits.budget,
            without=LOOPS[variant],
            remember=False,
        )
        mars = await stack.enter_async_context(Mars.open(memory, team=team, prices=dict.fromkeys(FREE, _NOTHING)))
        yield LoopArm(mars, clock)


def preset_of(variant: str) -> Preset:
    """Return the preset of a variant's memory."""
    if variant == "memorybank":
        return preset("memorybank")
    if variant == "vector":
        return preset("default").but(lexical_weight=0.0).without_decay()
    return preset("default").without_decay() if variant in ("fifo", "mars-no-decay") else preset("default")


def fading(variant: str) -> Preset | None:
    """Return the preset of a variant in whose memory something fades; None for the others."""
    rules = None if variant in ("none", "window") else preset_of(variant)
    return rules if rules is not None and rules.retention_floor < 1.0 else None


def _faded_first(hits: Sequence[Hit]) -> Sequence[Hit]:
    return sorted(hits, key=lambda hit: hit.retention)


async def remember(memory: Memory, statements: Sequence[Statement]) -> list[str]:
    """Store statements as episodes, each at its own time; return the ids of their records."""
    news = [NewRecord(text=one.text, namespace=NAMESPACE, speaker=one.speaker, event_time=one.at) for one in statements]
    if not news:
        return []
    return [record.id for record in await memory.add_many(news, now=[one.at for one in statements])]


async def active_records(memory: Memory | None, at: datetime) -> list[Evidence]:
    """Return what recall could find at a time: neither forgotten nor archived nor superseded."""
    records = [] if memory is None else await memory.list(NAMESPACE, now=at)
    return [Evidence.of_record(record, f"m{place}") for place, record in enumerate(records, start=1)]


def spoken(statements: Sequence[Statement]) -> list[Evidence]:
    """Return statements as the agents see memories."""
    return [
        Evidence(
            ref=f"m{place}",
            record="",
            text=one.text,
            kind="episode",
            speaker=one.speaker,
            said_at=one.at,
            relevance=1.0,
            retention=1.0,
        )
        for place, one in enumerate(statements, start=1)
    ]
