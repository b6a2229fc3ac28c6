"""The doubles of mars.testing: they do what their script says, and complain otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from mars.errors import InvalidSetting, InvalidTime, ScriptError
from mars.testing import AcceleratedClock, ConstantEmbedder, FixedClock, RandomEmbedder, ScriptedModel, Step


class Colour(BaseModel):
    """A colour."""

    name: str


@tool
def count(n: int) -> int:
    """Count."""
    return n


async def test_replies_come_in_order_and_calls_are_logged() -> None:
    """The script is followed, sync and async, and the log says what was asked."""
    model = ScriptedModel(["one", Step(text="two")])
    assert model.invoke("a").content == "one"
    assert (await model.ainvoke([HumanMessage("b")])).content == "two"
    assert [call.prompt for call in model.calls] == ["a", "b"]
    model.assert_finished()


def test_a_call_too_many_and_a_step_too_many_are_errors() -> None:
    """Drift between script and code is seen at once."""
    with pytest.raises(ScriptError, match="used up"):
        ScriptedModel([]).invoke("a")
    with pytest.raises(ScriptError, match="1 of 1"):
        ScriptedModel(["never"]).assert_finished()


def test_an_unexpected_prompt_is_an_error() -> None:
    """A step can demand what the prompt must contain."""
    with pytest.raises(ScriptError, match="blue"):
        ScriptedModel([Step(text="x", expect="blue")]).invoke("red")


async def test_streams_words_tool_calls_and_usage() -> None:
    """A streamed reply adds up to the whole one."""
    script = [Step(text="a b c", tool_calls=(("count", {"n": 2}),), tokens=(5, 3))]
    chunks = [chunk async for chunk in ScriptedModel(script).astream("x")]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    assert [chunk.text for chunk in chunks][:3] == ["a ", "b ", "c"]
    assert whole.text == "a b c"
    assert whole.tool_calls[0]["args"] == {"n": 2}
    assert whole.usage_metadata == {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}


def test_tools_and_structured_output_can_be_missing() -> None:
    """A model without an ability says so as a real one does."""
    with pytest.raises(NotImplementedError):
        ScriptedModel([], tools=False).bind_tools([count])
    with pytest.raises(NotImplementedError):
        ScriptedModel([], structured=False).with_structured_output(Colour)


def test_bound_models_share_script_and_log() -> None:
    """What a bound copy is asked is in the log of the model that was given."""
    model = ScriptedModel(["x", Step(structured={"name": "red"})])
    model.bind_tools([count]).invoke("a")
    assert model.calls[0].tools == ("count",)
    assert model.with_structured_output(Colour).invoke("b") == Colour(name="red")
    assert model.usage == (2, 2)


def test_errors_are_raised_and_a_function_can_be_the_script() -> None:
    """Failures are part of a script, and a script may look at the prompt."""
    with pytest.raises(TimeoutError):
        ScriptedModel([Step(error=TimeoutError("slow"))]).invoke("x")
    assert ScriptedModel(lambda messages: str(messages[0].content).upper()).invoke("abc").content == "ABC"


def test_a_fixed_clock_stands_until_it_is_moved() -> None:
    """Time passes only when a test says so, backwards too."""
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock.now() == clock.now()
    assert clock.advance(days=1.5) == datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert clock.advance(hours=-36) == clock.set(datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidTime):
        FixedClock(datetime(2026, 1, 1))  # noqa: DTZ001


def test_an_accelerated_clock_runs_forward() -> None:
    """A day of clock time passes in far less of real time."""
    clock = AcceleratedClock(factor=1e9)
    first = clock.now()
    while clock.now() - first < timedelta(days=1):
        pass
    assert clock.now() > first
    with pytest.raises(InvalidSetting):
        AcceleratedClock(factor=0)


def test_embedders_are_deterministic_and_of_unit_length() -> None:
    """The same text has the same vector, in any instance."""
    for make in (RandomEmbedder, ConstantEmbedder):
        first, second = make().embed(["a", "b"]), make().embed(["a", "b"])
        assert np.array_equal(first, second)
        assert np.allclose(np.linalg.norm(first, axis=1), 1.0)
    assert not np.array_equal(RandomEmbedder().embed(["a"]), RandomEmbedder(seed=1).embed(["a"]))
