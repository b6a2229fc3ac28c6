"""Simulated users: who is shown what, when a dialogue ends, and what is never said to anybody."""

from __future__ import annotations

import json

import pytest

from mars import Assistant, Checker, Mars, Reflector, Review, RunStatus, Team, User
from mars.agents.users import Exchange, ModelUser, Satisfaction, ScriptedUser, SimulatedUser
from mars.agents.verifiers import CallableVerifier
from mars.errors import InvalidSetting
from mars.simulation import DialogueEnd, simulate_dialogue
from mars.testing import FixedClock, InMemoryBackend, ScriptedModel, Step

pytestmark = pytest.mark.anyio

PERSONA, GOAL, REFERENCE = "CANARY-persona-19", "CANARY-goal-73", "CANARY-reference-42"
ANN = User(name="ann", persona=f"A sailor {PERSONA}", goal=f"Learn where the boat is {GOAL}")


def says(text: str = "", satisfaction: str = "continue") -> str:
    """Return a usable reply of a model that plays a user."""
    return json.dumps({"satisfaction": satisfaction, "text": text})


DONE = says(satisfaction="satisfied")


def echoing() -> Team:
    """Return a team whose Assistant always says the same, and whose Checker takes no part."""
    return Team(assistant=Assistant(model=ScriptedModel(lambda _: "In Oslo.")), without=frozenset({"checker"}))


async def test_a_scripted_user_needs_no_key(clock: FixedClock) -> None:
    """The built-in reader answers a script; every turn's result is returned, and what was told is remembered."""
    user = ScriptedUser("ann", ["My dog is called Rex.", "What is my dog called?"])
    assert isinstance(user, SimulatedUser)
    async with Mars.open(InMemoryBackend(), clock=clock) as mars:
        dialogue = await simulate_dialogue(mars, user)
    assert dialogue.ended is DialogueEnd.SATISFIED
    assert [one.answered for one in dialogue.exchanges] == [result.answer for result in dialogue.results]
    assert "Rex" in dialogue.exchanges[1].answered
    assert len({result.conversation for result in dialogue.results}) == 1
    assert json.loads(json.dumps(dialogue.plain()))["ended"] == "satisfied"


async def test_a_script_may_end_early() -> None:
    """A condition over what was said stands for the user's satisfaction."""

    def found(dialogue: tuple[Exchange, ...] | list[Exchange]) -> bool:
        return "Oslo" in dialogue[-1].answered

    user = ScriptedUser("ann", ["Where is it?"] * 5, satisfied=lambda dialogue: found(list(dialogue)))
    async with Mars.open(InMemoryBackend(), team=echoing()) as mars:
        dialogue = await simulate_dialogue(mars, user)
    assert (dialogue.ended, len(dialogue.results)) == (DialogueEnd.SATISFIED, 1)


@pytest.mark.parametrize("limit", [1, 3])
async def test_turns_are_bounded(limit: int) -> None:
    """A user who is never satisfied is stopped, and no turn beyond the limit is run."""
    model = ScriptedModel(lambda _: says("Tell me more."))
    async with Mars.open(InMemoryBackend(), team=echoing()) as mars:
        dialogue = await simulate_dialogue(mars, ModelUser(ANN, model), limit)
    assert (dialogue.ended, len(dialogue.results)) == (DialogueEnd.TURN_LIMIT, limit)


async def test_satisfied_after_the_last_turn_counts() -> None:
    """The user is heard once more when the turns are used up."""
    model = ScriptedModel([says("Where is it?"), DONE])
    async with Mars.open(InMemoryBackend(), team=echoing()) as mars:
        dialogue = await simulate_dialogue(mars, ModelUser(ANN, model), 1)
    assert dialogue.ended is DialogueEnd.SATISFIED


async def test_persona_and_goal_are_the_users_alone() -> None:
    """They are in every prompt of the model that plays the user, and in no other model's."""
    model = ScriptedModel([says("Where is the boat?"), says("And whose is it?"), DONE])
    drafts, words = ScriptedModel(lambda _: "In Oslo."), ScriptedModel(lambda _: "Look again.")
    judge = ScriptedModel(lambda _: '{"approved": false, "score": 0.1, "issues": []}', structured=False)
    team = Team(
        assistant=Assistant(model=drafts), checker=Checker(model=judge), reflector=Reflector(model=words), iterations=2
    )
    async with Mars.open(InMemoryBackend(), team=team) as mars:
        dialogue = await simulate_dialogue(mars, ModelUser(ANN, model))
        stored = [record.text for record in await mars.memory.list(namespace_prefix=("ann",))]
    assert len(dialogue.results) == 2
    assert all(PERSONA in call.prompt and GOAL in call.prompt for call in model.calls)
    others = [call.prompt for call in (*drafts.calls, *words.calls, *judge.calls)]
    assert len(others) >= 6
    assert not [text for text in (*others, *stored) if PERSONA in text or GOAL in text]


async def test_the_user_never_sees_the_reference() -> None:
    """What a verifier compares with, the verdict and the sources stay away from the user: a canary shows it."""

    def scorer(review: Review) -> bool | str:
        return REFERENCE in review.draft or f"the answer should hold {REFERENCE}"

    model = ScriptedModel([says("Where is the boat?"), says("Are you sure?"), DONE])
    team = Team(assistant=Assistant(model=ScriptedModel(lambda _: "In Rome.")), iterations=1)
    async with Mars.open(InMemoryBackend(), team=team, verifiers=[CallableVerifier(scorer)]) as mars:
        dialogue = await simulate_dialogue(mars, ModelUser(ANN, model))
    verdict = dialogue.results[0].verdict
    assert verdict is not None
    assert REFERENCE in verdict.issues[0].evidence + verdict.issues[0].directive
    assert "In Rome." in model.calls[1].prompt
    assert not [call for call in model.calls if REFERENCE in call.prompt]


@pytest.mark.parametrize(
    "reply",
    [
        "I am happy now.",
        "",
        '{"satisfaction": "happy", "text": "x"}',
        '{"satisfaction": "Satisfied"}',
        '{"satisfaction": "continue", "text": "  "}',
        '{"satisfaction": "continue", "text": "a"} {"satisfaction": "satisfied"}',
        '{"satisfaction": "continue", "text": "a", "score": 1}',
        '{"satisfaction": ["satisfied"]}',
        '{"a":' * 5_000,
    ],
)
async def test_the_vocabulary_is_closed(reply: str) -> None:
    """What is not exactly one of the two words, with what it needs, is asked for again and never means satisfied."""
    mended = ScriptedModel([says("Where is it?"), reply, says("And now?"), DONE])
    broken = ScriptedModel([says("Where is it?"), reply, reply])
    async with Mars.open(InMemoryBackend(), team=echoing()) as mars:
        well = await simulate_dialogue(mars, ModelUser(ANN, mended))
        ill = await simulate_dialogue(mars, ModelUser(ANN, broken))
    assert (well.ended, len(well.results)) == (DialogueEnd.SATISFIED, 2)
    assert (ill.ended, len(ill.results)) == (DialogueEnd.UNUSABLE, 1)
    assert ill.error is not None
    broken.assert_finished()


async def test_nobody_is_satisfied_before_anything_was_said() -> None:
    """A model that ends the dialogue at once has not played its part."""
    async with Mars.open(InMemoryBackend(), team=echoing()) as mars:
        dialogue = await simulate_dialogue(mars, ModelUser(ANN, ScriptedModel([DONE, DONE])))
    assert (dialogue.ended, dialogue.results) == (DialogueEnd.UNUSABLE, ())


async def test_a_failed_turn_ends_the_dialogue() -> None:
    """With an Assistant that is down there is nobody to talk to; the turn that failed is in the results."""
    down = Team(assistant=Assistant(model=ScriptedModel([Step(error=ValueError("down"))])))
    async with Mars.open(InMemoryBackend(), team=down) as mars:
        dialogue = await simulate_dialogue(mars, ScriptedUser("ann", ["Where?", "Where?"]))
    assert dialogue.ended is DialogueEnd.BROKEN
    assert [result.status for result in dialogue.results] == [RunStatus.TASK_ERROR]


async def test_bad_users_are_refused() -> None:
    """No lines, no goal, no turns: each mistake is said before anything is run."""
    for lines in ([], [" "]):
        with pytest.raises(InvalidSetting, match="line"):
            ScriptedUser("ann", lines)
    with pytest.raises(InvalidSetting, match="goal"):
        ModelUser(User(name="ann"), ScriptedModel([]))
    async with Mars.open(InMemoryBackend()) as mars:
        with pytest.raises(InvalidSetting, match="max_turns"):
            await simulate_dialogue(mars, ScriptedUser("ann", ["Hi."]), 0)


async def test_the_first_words_come_without_a_dialogue() -> None:
    """A user's first prompt holds no conversation, and its later ones hold all of it."""
    model = ScriptedModel([says("Where?"), DONE])
    user = ModelUser(ANN, model)
    first = await user.reply([])
    assert (first.satisfaction, first.text) == (Satisfaction.CONTINUE, "Where?")
    await user.reply([Exchange("Where?", "There.")])
    assert ["<conversation>" in str(call.messages[1].content) for call in model.calls] == [False, True]
