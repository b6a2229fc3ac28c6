"""The worlds of months: what they hold, what their two ends reach, and what must turn them red."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult

from mars import Mars, Memory, Team
from mars.agents.roles import Assistant
from mars.environments import play
from mars.errors import InvalidSetting
from mars.evaluation.simulations import simulation_report
from mars.language import words
from mars.simulation.arms import DIRECT, LONGEST, Limits, open_arm
from mars.simulation.episodes import ORACLE, WORLDS, EpisodeTask, Outcome, played
from mars.simulation.policies import PROCEDURES
from mars.simulation.results import canonical
from mars.simulation.worlds import START, USER, Cell, Episode, Question, Reference, Statement, Step, WorldEnvironment
from mars.testing import FixedClock, ScriptedModel
from mars.testing import Step as Scripted

pytestmark = pytest.mark.anyio

CALM = Cell(noise=1, change=0.0, repeat=0, gap=2)
RESTLESS = Cell(noise=4, change=1.0, repeat=2, gap=90)
CELLS = (CALM, RESTLESS, Cell(noise=0, change=0.5, repeat=1, gap=30))


def lived(episode: Episode, answer: str = "Procedure Kilo.") -> list[Step]:
    """All steps of an episode whose questions all get the same answer."""
    steps = []
    for step in episode.steps():
        steps.append(step)
        if isinstance(step, Question):
            episode.mark(step, answer)
    return steps


async def outcome(world: str, variant: str, cell: Cell, seed: int = 0, **fields: Any) -> Outcome:
    """What comes of an episode."""
    return await played(EpisodeTask(world=world, variant=variant, cell=cell, seed=seed, **fields))


class Prompts(BaseCallbackHandler):
    """Keeps every prompt that a model gets."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.answers: list[str] = []

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """Keep the answer."""
        self.answers.append(response.generations[0][0].text)

    def on_chat_model_start(self, serialized: Any, messages: list[list[BaseMessage]], **kwargs: Any) -> None:
        """Keep the words."""
        self.texts += ["\n".join(str(one.text) for one in each) for each in messages]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("world", WORLDS)
async def test_the_two_ends_are_where_the_docs_say(world: str, cell: Cell) -> None:
    """The oracle answers everything; without memory the derived floor is reached, exactly or within 4 deviations."""
    kind = WORLDS[world]
    asked = right = 0
    for seed in range(2):
        assert (await outcome(world, ORACLE, cell, seed)).success == 1.0
        without = await outcome(world, "none", cell, seed)
        asked, right = asked + without.asked, right + without.right
        if kind.exact_floor:
            assert without.success == without.floor
    floor = kind(0, cell).floor()
    assert floor == {"assistant": 8 / 32, "operations": 1 / 5, "scheduler": 8 / 24}[world]
    assert abs(right / asked - floor) <= 4 * math.sqrt(floor * (1 - floor) / asked)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("world", WORLDS)
def test_an_episode_is_drawn_from_its_seed_and_spans_what_it_says(world: str, cell: Cell) -> None:
    """The same seed gives the same months, another gives others; time only goes on; no statement is over-long."""
    steps = lived(WORLDS[world](7, cell))
    assert steps == lived(WORLDS[world](7, cell))
    assert steps != lived(WORLDS[world](8, cell))
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    assert steps[0].at >= START
    assert max(len(words(step.text)) for step in steps if isinstance(step, Statement)) <= LONGEST
    ids = [step.id for step in steps if isinstance(step, Question)]
    assert len(ids) == len(set(ids)) == {"assistant": 32, "operations": 48, "scheduler": 24}[world]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_the_assistants_truth_is_what_the_user_said_last(cell: Cell) -> None:
    """Every reference follows from the user's own words before the question, read here by another rule."""
    episode = WORLDS["assistant"](3, cell)
    said: dict[str, str] = {}
    known = 0
    for step in lived(episode):
        if isinstance(step, Question):
            matter = step.text.removeprefix("What is my ").removesuffix("?")
            assert episode.key_of(step).values == ((said[matter],) if matter in said else ())
            known += matter in said
        elif step.speaker == USER:
            matter, value = step.text.removeprefix("My ").removesuffix(".").replace(" is now ", " is ").split(" is ")
            said[matter] = value
    assert known == 24


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_the_schedulers_truth_is_the_newest_promise_for_the_day(cell: Cell) -> None:
    """What is due on a day follows from the newest words about each promise, read here by another rule."""
    episode = WORLDS["scheduler"](3, cell)
    due: dict[str, str] = {}
    for step in lived(episode):
        if isinstance(step, Question):
            day = step.text.removeprefix("What did I promise by ").removesuffix("?")
            assert episode.key_of(step).values == tuple(what for what, when in due.items() if when == day)
        elif step.speaker == USER:
            what, _, day = step.text.removeprefix("I promised ").removesuffix(".").partition(" by ")
            due[what] = day
    assert len(due) == 16


@pytest.mark.parametrize("change", [0.0, 1.0])
def test_the_desk_logs_what_came_of_the_procedure_and_counts_repeated_mistakes(change: float) -> None:
    """Each answer is logged `repeat` + 1 times with its outcome; a failure under the same rule again is a repeat."""
    episode = WORLDS["operations"](5, Cell(noise=0, change=change, repeat=1, gap=10))
    logged, repeats = [], 0
    rules: dict[str, list[str]] = {}
    for step in episode.steps():
        if isinstance(step, Statement):
            logged.append(step.text)
            continue
        fault = step.text.partition("fixes the ")[2].partition("?")[0]
        (right,) = episode.key_of(step).values
        rules.setdefault(fault, []).append(right)
        score = episode.mark(step, "Procedure Kilo.")
        assert score.passed == (right == "Kilo")
        repeats += bool(score.details["repeated_mistake"])
    assert len(logged) == 2 * 48
    assert {line.split(" the ")[0] for line in logged} <= {"Procedure Kilo fixed", "Procedure Kilo did not fix"}
    expected = sum(before == now != "Kilo" for rule in rules.values() for before, now in itertools.pairwise(rule))
    assert repeats == expected
    assert (expected == 0) == (change == 1.0)
    assert {right for rule in rules.values() for right in rule} <= set(PROCEDURES)


@pytest.mark.parametrize("world", WORLDS)
async def test_no_prompt_of_any_variant_holds_a_reference(world: str) -> None:
    """A canary stands in every reference and in no prompt; the prompts keep to the budget."""
    cell, limits = Cell(noise=1, change=0.5, repeat=0, gap=5), Limits(budget=48)
    twin = WORLDS[world](1, cell)
    lived(twin)
    assert all(re.fullmatch(rf"canary-{world}-1-\d+", one) for one in twin.canaries())
    for variant in (*(DIRECT if world == "assistant" else ("window", "vector")), "mars"):
        heard = Prompts()
        model = twin.policy(1).model_copy(update={"callbacks": [heard]})
        await played(EpisodeTask(world=world, variant=variant, cell=cell, seed=1, limits=limits), model)
        assert len(heard.texts) >= len(twin.canaries())
        assert "canary" not in "".join(heard.texts)
        assert max(words_of_each_question(heard.texts).values()) <= limits.budget


async def test_no_prompt_of_operations_holds_what_was_not_logged() -> None:
    """Each memory in a prompt is a line that was logged before; of the oracle, which is told the truth, hardly one is.

    The canaries see a reference that is written into a prompt; this sees the records behind it, which bear none.
    """
    shares = {}
    for variant in ("vector", "fsrs", "mars", ORACLE):
        heard = Prompts()
        model = WORLDS["operations"].policy(1).model_copy(update={"callbacks": [heard]})
        await played(EpisodeTask(world="operations", variant=variant, cell=RESTLESS, seed=1), model)
        assert len(heard.answers) == len(heard.texts)
        answers = dict(zip(map(incident, heard.texts), heard.answers, strict=True))
        twin, logged, before = WORLDS["operations"](1, RESTLESS), set[str](), {}
        for step in twin.steps():
            if isinstance(step, Statement):
                logged.add(step.text)
                continue
            before[incident(step.text)] = set(logged)
            twin.mark(step, answers[incident(step.text)])
        shown = [(line, before[incident(text)]) for text in heard.texts for line in memories(text)]
        assert len(shown) >= 40
        shares[variant] = sum(line in known for line, known in shown) / len(shown)
    assert shares.pop(ORACLE) < 0.5
    assert set(shares.values()) == {1.0}


@pytest.mark.parametrize("world", WORLDS)
async def test_whoever_is_told_the_steps_alone_is_asked_and_answers_the_same(world: str) -> None:
    """Handed its statements and questions by hand, with no episode behind them, the loop sees the same prompts.

    A Checker, verifier or reflection that read a reference would leave no canary in a prompt: it would reject what is
    wrong, and so ask for other drafts than here.
    """
    cell = Cell(noise=1, change=0.5, repeat=0, gap=20)
    alone, scored = Prompts(), Prompts()
    twin = WORLDS[world](1, cell)
    model = twin.policy(1).model_copy(update={"callbacks": [alone]})
    async with open_arm("mars", model, Limits(), seed=1) as arm:
        told: list[Statement] = []
        for step in twin.steps():
            if isinstance(step, Statement):
                told.append(step)
                continue
            await arm.tell(told)
            twin.mark(step, (await arm.ask(step)).text)
            told = []
    task = EpisodeTask(world=world, variant="mars", cell=cell, seed=1)
    await played(task, twin.policy(1).model_copy(update={"callbacks": [scored]}))
    assert len(alone.texts) >= len(twin.canaries()) + (world != "operations")  # no draft is rejected there
    assert list(zip(alone.texts, alone.answers, strict=True)) == list(zip(scored.texts, scored.answers, strict=True))


def incident(text: str) -> str:
    """The number of the incident that is asked about."""
    return str(re.findall(r"Incident (\d+):", text)[-1])


def memories(prompt: str) -> list[str]:
    """The texts of the memories in a prompt."""
    block = re.search(r"<memories>(.*?)</memories>", prompt, re.DOTALL)
    return re.findall(r'"text": "((?:[^"\\]|\\.)*)"', block[1] if block else "")


def words_of_each_question(prompts: list[str]) -> dict[str, int]:
    """Words of the memories in all prompts of each question together."""
    counts: dict[str, int] = {}
    for prompt in prompts:
        before, _, asked = prompt.rpartition("<task>")
        counts[asked] = counts.get(asked, 0) + remembered_words(before.partition("<lessons>")[0] + "<task>")
    return counts


def remembered_words(prompt: str) -> int:
    """Words of the memories in a prompt."""
    return sum(len(words(text)) for text in re.findall(r'"text": "((?:[^"\\]|\\.)*)"', prompt.rpartition("<task>")[0]))


async def test_memories_stand_in_the_prompts_of_all_but_the_memoryless() -> None:
    """The budget's test above would pass on empty prompts."""
    for variant, least in (("none", 0), ("window", 30), ("fifo", 4), ("vector", 30), ("fsrs", 4)):
        heard = Prompts()
        model = WORLDS["assistant"].policy(1).model_copy(update={"callbacks": [heard]})
        await played(EpisodeTask(world="assistant", variant=variant, cell=RESTLESS, seed=1), model)
        assert max(map(remembered_words, heard.texts)) >= least
        assert (least > 0) == ("<memories>\n{" in heard.texts[-1])


@pytest.mark.parametrize("world", WORLDS)
async def test_an_emptied_memory_turns_red(world: str) -> None:
    """With its memory emptied a variant reaches what none reaches, and above it before."""
    cell = Cell(noise=0, change=0.0, repeat=1, gap=5)
    healthy, emptied = [await outcome(world, "fsrs", cell, sabotage=one) for one in (None, "memory")]
    assert emptied.right == (await outcome(world, "none", cell)).right
    assert healthy.success > emptied.success + 0.2


async def test_a_checker_that_always_approves_turns_red() -> None:
    """It leaves the loop no better than one without a Checker, where the real one wards off others' answers."""
    cell = Cell(noise=3, change=0.5, repeat=0, gap=20)
    healthy, approved = [await outcome("assistant", "mars", cell, sabotage=one) for one in (None, "checker")]
    unchecked = await outcome("assistant", "mars-no-checker", cell)
    assert healthy.success >= unchecked.success + 0.1
    assert abs(approved.success - unchecked.success) <= 0.05


async def test_an_inverted_decay_turns_red() -> None:
    """Where everything changes, to prefer what is most forgotten costs a third of the answers."""
    cell = Cell(noise=0, change=1.0, repeat=0, gap=30)
    right = {
        sabotage: [(await outcome("assistant", "fsrs", cell, seed, sabotage=sabotage)).success for seed in range(2)]
        for sabotage in (None, "decay")
    }
    assert sum(right["decay"]) < sum(right[None]) - 2 / 3


@pytest.mark.parametrize("world", WORLDS)
async def test_a_shuffled_scorer_turns_red(world: str) -> None:
    """Marked by the references of other questions, not even the oracle is right."""
    assert (await outcome(world, ORACLE, CALM, sabotage="scorer")).success < 0.6


@pytest.mark.parametrize("variant", ["fifo", "mars"])
async def test_the_same_task_ends_the_same(variant: str) -> None:
    """Two plays differ in their timings only."""
    first, second = [(await outcome("scheduler", variant, CALM)) for _ in range(2)]
    assert canonical(vars_of(first)) == canonical(vars_of(second))


def vars_of(one: Outcome) -> dict[str, Any]:
    """The fields of an outcome."""
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


async def test_a_world_is_an_environment() -> None:
    """`play` plays an episode turn by turn through the whole loop: what was told answers most questions."""
    episode = WORLDS["scheduler"](2, Cell(noise=0, change=0.0, repeat=0, gap=3))
    team = Team(assistant=Assistant(model=episode.policy(2)))
    async with Memory.open("memory:", clock=FixedClock(START)) as memory, Mars.open(memory, team=team) as mars:
        turns = [one async for one in play(mars, WorldEnvironment(episode), namespace=(USER,))]
    asked = [one.score.passed for one in turns if one.score.details["asked"]]
    assert (len(asked), len(turns)) == (24, 40)
    assert sum(asked) > 16


def test_what_a_reference_accepts() -> None:
    """All values and no wrong one, as whole words; an empty reference wants "Not known."."""
    reference = Reference(values=("the Red Barn",), wrong=frozenset({"the Old Mill"}))
    assert reference.accepts("My gym is the Red Barn. [m1]")
    assert not reference.accepts("the Red Barn, not the Old Mill")
    assert not reference.accepts("the Red Barns")
    assert Reference(values=()).accepts("Not known.")
    assert not Reference(values=()).accepts("the Red Barn")
    assert "Barn" not in repr(reference)


async def test_turns_that_fail_are_counted_and_told() -> None:
    """A model that raises in every third call: its turns are no wrong answers that nobody hears of."""
    cell = Cell(noise=0, change=0.0, repeat=0, gap=3)
    steps = (Scripted(text="Not known."), Scripted(text="Not known."), Scripted(error=ValueError("the model is away")))
    task = EpisodeTask(world="scheduler", variant="mars", cell=cell, seed=1)
    broken = await played(task, ScriptedModel(list(steps * 40)))
    failed = broken.counts["failed_turns"]
    assert 1 <= failed < broken.asked
    assert any("the model is away" in one["answer"] for one in broken.failures)
    assert "failed_turns" not in (await outcome("scheduler", "mars", cell, seed=1)).counts
    ends = [
        ({"variant": one, "cell": "a", "seed": 1}, vars_of(await outcome("scheduler", one, cell)))
        for one in (ORACLE, "none")
    ]
    told = [*ends, ({"variant": "mars", "cell": "a", "seed": 1}, vars_of(broken))]
    assert simulation_report("scheduler", ends, exact_floor=True)["problems"] == []
    (problem,) = simulation_report("scheduler", told, exact_floor=True)["problems"]
    assert problem.startswith(f"{failed} turns failed")
    assert problem.endswith(f"mars {failed}")


BAD: Sequence[dict[str, Any]] = (
    {"noise": -1},
    {"noise": math.nan},
    {"change": 1.5},
    {"repeat": 0.5},
    {"repeat": True},
    {"gap": 0},
    {"gap": 1000},
)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_cell_refuses_what_it_cannot_be(bad: dict[str, Any]) -> None:
    """The error names the number."""
    with pytest.raises(InvalidSetting, match=next(iter(bad))):
        Cell(**{"noise": 1, "change": 0.5, "repeat": 1, "gap": 5, **bad})


async def test_unknown_names_are_refused() -> None:
    """World, variant and sabotage each say what there is."""
    with pytest.raises(InvalidSetting, match="assistant"):
        EpisodeTask(world="moon", variant="none", cell=CALM, seed=1)
    with pytest.raises(InvalidSetting, match="scorer"):
        EpisodeTask(world="assistant", variant="none", cell=CALM, seed=1, sabotage="all")
    with pytest.raises(InvalidSetting, match="memorybank"):
        await outcome("assistant", "elephant", CALM)
    with pytest.raises(InvalidSetting, match="budget"):
        Limits(budget=3)
