"""Cassettes: what a model said once is said again, and what was never asked is not made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

from mars import Assistant, Checker, Mars, Reflector, RunResult, Team
from mars.errors import CassetteMismatch, InvalidFile, InvalidSetting, ScriptError
from mars.testing import Cassette, FixedClock, InMemoryBackend, ScriptedModel, Step
from mars.testing.providers import ProviderServer

pytestmark = pytest.mark.anyio


class Verdict(BaseModel):
    """A judgement."""

    good: bool


def look(where: str) -> str:
    """Look somewhere."""
    return f"a pen in {where}"


async def each_way(model: BaseChatModel) -> list[Any]:
    """Use a model in every way that there is; return what came of each."""
    tooled = model.bind_tools([look])
    structured = model.with_structured_output(Verdict)
    streamed = [chunk.text async for chunk in model.astream("four words, please")]
    whole: Any = None
    for chunk in tooled.stream("call"):
        whole = chunk if whole is None else whole + chunk
    raw: Any = await model.with_structured_output(Verdict, include_raw=True).ainvoke("judge badly")
    return [
        model.invoke("hi").text,
        (await model.ainvoke([HumanMessage("hi again")], stop=["."])).usage_metadata,
        streamed,
        [chunk.text for chunk in model.stream("two words")],
        [(call["name"], call["args"]) for call in (await tooled.ainvoke("call")).tool_calls],
        [(call["name"], call["args"]) for call in whole.tool_calls],
        whole.usage_metadata,
        structured.invoke("judge"),
        (raw["parsed"], type(raw["parsing_error"])),
    ]


SCRIPT: list[Step | str] = [
    "one two three four",
    Step(tool_calls=(("look", {"where": "here"}),), tokens=(5, 6)),
    "no verdict",
    "hello",
    Step(text="hello again", tokens=(7, 8)),
    "one two",
    Step(text="", tool_calls=(("look", {"where": "there"}),)),
    Step(structured={"good": True}),
]


async def test_every_way_to_use_a_model_is_replayed(tmp_path: Path) -> None:
    """Whole and streamed, blocking and not, with tools and with structured output: the same comes of it."""
    path = tmp_path / "talk.jsonl"
    scripted = ScriptedModel(SCRIPT)
    recorded = await each_way(Cassette(path, "record").wrap(scripted))
    scripted.assert_finished()
    assert recorded[2] == ["one ", "two ", "three ", "four"]
    assert recorded[5] == [("look", {"where": "here"})]
    assert recorded[7] == Verdict(good=True)
    assert recorded[8][0] is None
    cassette = Cassette(path)
    model = cassette.wrap()
    assert model.model_name == "mars-scripted"
    replayed = await each_way(model)
    assert replayed[:8] == recorded[:8]
    assert replayed[8] == (None, OutputParserException)
    cassette.assert_finished()


async def test_a_reply_may_be_taken_whole_or_in_pieces(tmp_path: Path) -> None:
    """What was streamed can be asked for as a whole, and the other way round."""
    path = tmp_path / "talk.jsonl"
    model = Cassette(path, "record").wrap(ScriptedModel(["one two", "three four"]))
    assert len(list(model.stream("first"))) == 2
    model.invoke("second")
    model = Cassette(path).wrap()
    assert model.invoke("first").text == "one two"
    pieces = [chunk async for chunk in model.astream("second")]
    assert "".join(chunk.text for chunk in pieces) == "three four"
    assert isinstance(pieces[0], AIMessageChunk)


async def loop(model: BaseChatModel) -> RunResult:
    """Run a turn with an action, a judge and a Reflector on one model."""
    people = Team(assistant=Assistant(model=model), checker=Checker(model=model), reflector=Reflector(model=model))
    async with Mars.open(InMemoryBackend(), team=people, tools=[look], clock=FixedClock()) as mars:
        return await mars.run("Where is the pen?", user="ann")


async def test_a_whole_loop_is_replayed(tmp_path: Path) -> None:
    """Draft, action, verdict, reflection, second draft: the same result and the same tokens, without the model.

    Ids of turns and calls differ from run to run; they are no part of a request.
    """
    rejected = {"approved": False, "score": 0.1, "issues": []}
    plan: list[Step | str] = [
        Step(tool_calls=(("look", {"where": "drawer"}),)),
        Step(structured={"approved": True, "score": 0.9}),
        "In the box.",
        Step(structured=rejected),
        "Look again.",
        "In the drawer.",
        Step(structured={"approved": True, "score": 0.9}),
    ]
    path = tmp_path / "loop.jsonl"
    recorded = await loop(Cassette(path, "record").wrap(ScriptedModel(plan)))
    assert (recorded.answer, recorded.approved) == ("In the drawer.", True)
    cassette = Cassette(path)
    replayed = await loop(cassette.wrap())
    cassette.assert_finished()
    assert (replayed.answer, replayed.usage) == (recorded.answer, recorded.usage)
    assert [attempt.verdict for attempt in replayed.attempts] == [attempt.verdict for attempt in recorded.attempts]


async def test_what_was_never_asked_shows_the_nearest(tmp_path: Path) -> None:
    """The error says what differs from which line; a request once too often is told apart."""
    path = tmp_path / "talk.jsonl"
    model = Cassette(path, "record").wrap(ScriptedModel(["Oslo", "Rome"]))
    model.invoke("Where does Ann live now, in which city?")
    model.invoke("What is for dinner?")
    model = Cassette(path).wrap()
    with pytest.raises(CassetteMismatch) as raised:
        await model.ainvoke("Where does Bob live now, in which city?")
    assert "recorded, line 2" in str(raised.value)
    assert '-   "content": "Where does Ann live' in str(raised.value)
    assert '+   "content": "Where does Bob live' in str(raised.value)
    assert model.invoke("What is for dinner?").text == "Rome"
    with pytest.raises(CassetteMismatch, match="holds this request 1 time"):
        model.invoke("What is for dinner?")
    with pytest.raises(ScriptError, match="1 of 2 recorded calls"):
        model.cassette.assert_finished()
    again = Cassette(path, repeat=True).wrap()
    assert [again.invoke("What is for dinner?").text for _ in range(3)] == ["Rome"] * 3


async def test_a_mismatch_is_not_taken_for_a_fault_of_the_model(tmp_path: Path) -> None:
    """In a run it fails the test, and does not end the turn as an error of the provider would."""
    path = tmp_path / "talk.jsonl"
    Cassette(path, "record").wrap(ScriptedModel(["Oslo"])).invoke("Where?")
    with pytest.raises(CassetteMismatch):
        await loop(Cassette(path).wrap())


async def test_the_same_request_twice_gets_both_replies_in_order(tmp_path: Path) -> None:
    """A model that was asked the same again and answered otherwise does so again."""
    path = tmp_path / "talk.jsonl"
    model = Cassette(path, "record").wrap(ScriptedModel(["heads", "tails"]))
    assert [model.invoke("toss").text for _ in range(2)] == ["heads", "tails"]
    model = Cassette(path).wrap()
    assert [model.invoke("toss").text for _ in range(2)] == ["heads", "tails"]


SECRET = "sk-live0123456789abcdef"
"""What must not be found in a file."""


async def test_no_secret_is_kept(tmp_path: Path) -> None:
    """Not the key of a client, nor what looks like one in a text, in the settings or in a reply; replay still works."""
    openai = pytest.importorskip("langchain_openai")
    path = tmp_path / "talk.jsonl"
    prompt = (
        f"My key is {SECRET}, Authorization: Bearer {SECRET}xyz, password: hunter2222, and my cat is called Tom-77."
    )
    said = f"Then use {SECRET} for Tom-77."
    with ProviderServer([said, said]) as server:
        client = openai.ChatOpenAI(model="gpt-test", base_url=server.openai_url, api_key=SECRET)
        cassette = Cassette(path, "record", redact=[r"Tom-\d+"])
        assert cassette.wrap(client).invoke(prompt, extra_headers={"authorization": SECRET}).text == said
        list(cassette.wrap(client).stream(prompt))
        await client.root_async_client.close()
        client.root_client.close()
    text = path.read_text("utf-8")
    for secret in (SECRET, "hunter2222", "Tom-77", "headers", server.url):
        assert secret not in text
    model = Cassette(path, redact=[r"Tom-\d+"]).wrap()
    assert model.invoke(prompt).text == "Then use [redacted] for [redacted]."


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic YW5uOmh1bnRlcjIyMjI=",
        '{"api_key": "hunter2222-hunter"}',
        "postgresql://ann:hunter2222-hunter@host/db",
        "github_pat_11ABCDEFG0hunter2222",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyMjIyIn0.aaaabbbbcccc",
        "gsk_hunter2222hunter2222",
        "the value of the environment is vault-9931-9931",
    ],
)
async def test_what_looks_like_a_secret_is_blotted_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Whole or streamed word by word, in the prompt and in the reply; replay finds the call all the same."""
    monkeypatch.setenv("VAULT_TOKEN", "vault-9931-9931")
    path = tmp_path / "talk.jsonl"
    model = Cassette(path, "record").wrap(ScriptedModel([f"So: {text}", f"So: {text}"]))
    model.invoke(text)
    list(model.stream(text))
    kept = path.read_text("utf-8")
    for secret in ("hunter", "YW5uO", "eyJ", "vault-9931"):
        assert secret not in kept
    assert "redacted" in kept
    again = Cassette(path).wrap()
    assert again.invoke(text).text.startswith("So: ")
    assert "".join(chunk.text for chunk in again.stream(text)).startswith("So: ")


async def test_a_secret_that_is_cut_into_pieces_is_found(tmp_path: Path) -> None:
    """A stream that gives it bit by bit, in its text and in the arguments of a call, which stay arguments."""

    class Cutting(ScriptedModel):
        def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
            pieces = (
                ("Take sk-li", "look", '{"pass'),
                ("ve01234567", None, 'word": "hunt'),
                ("89abcdef.", None, 'er2222"}'),
            )
            for text, name, call in pieces:
                of: Any = [{"name": name, "args": call, "id": name and "1", "index": 0, "type": "tool_call_chunk"}]
                yield ChatGenerationChunk(message=AIMessageChunk(content=text, tool_call_chunks=of))

    path = tmp_path / "talk.jsonl"
    list(Cassette(path, "record").wrap(Cutting(script="")).stream("hi"))
    kept = path.read_text("utf-8")
    for secret in ("sk-li", "ve0123", "89abc", "hunt", "er2222"):
        assert secret not in kept
    first, *rest = Cassette(path).wrap().stream("hi")
    whole = first
    for piece in rest:
        whole = whole + piece
    assert whole.text == "Take [redacted]."
    assert [call["args"] for call in whole.tool_calls] == [{"password": "[redacted]"}]


async def test_a_call_that_failed_leaves_nothing(tmp_path: Path) -> None:
    """Neither an error nor a stream that nobody read to its end."""
    path = tmp_path / "talk.jsonl"
    scripted = ScriptedModel([Step(error=ConnectionError("down")), "one two three", "four"])
    model = Cassette(path, "record").wrap(scripted)
    with pytest.raises(ConnectionError):
        model.invoke("hi")
    for _ in model.stream("hi"):
        break
    model.invoke("hi")
    assert [entry["reply"]["message"]["content"] for entry in Cassette(path).entries] == ["four"]


async def test_a_model_without_abilities(tmp_path: Path) -> None:
    """What the recorded model cannot do, the cassette cannot do either."""
    path = tmp_path / "talk.jsonl"
    model = Cassette(path, "record").wrap(ScriptedModel(["hello"], tools=False, structured=False))
    for ability in (lambda: model.bind_tools([look]), lambda: model.with_structured_output(Verdict)):
        with pytest.raises(NotImplementedError):
            ability()
    model.invoke("hi")
    with pytest.raises(NotImplementedError, match="no structured output"):
        Cassette(path).wrap().with_structured_output(Verdict)


def test_what_a_model_may_write(tmp_path: Path) -> None:
    """Other ends of lines than the file's, and half a character, are replayed as they came."""
    said = "a\u2028b\x85c\x0cd\x1ee \ud83d"
    Cassette(tmp_path / "odd.jsonl", "record").wrap(ScriptedModel([said])).invoke(said)
    assert Cassette(tmp_path / "odd.jsonl").wrap().invoke(said).text == said


def test_bad_files_are_refused(tmp_path: Path) -> None:
    """A missing file, an empty one, and one that is no cassette, each with what helps."""
    with pytest.raises(InvalidFile, match="record it: mode='record'"):
        Cassette(tmp_path / "none.jsonl")
    path = tmp_path / "bad.jsonl"
    for text, words in (
        ("", "is empty"),
        ("{}", "line 1 of"),
        (json.dumps({"cassette": 2}), "line 1 of"),
        ('{"cassette": 1}\n{"request": {}}', "line 2 of"),
        ('{"cassette": 1}\nno', "line 2 of"),
    ):
        path.write_text(text)
        with pytest.raises(InvalidFile, match=words):
            Cassette(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidFile, match="cannot be read"):
        Cassette(path)
    with pytest.raises(InvalidSetting, match="regular expressions"):
        Cassette(path, "record", redact=["("])
    with pytest.raises(InvalidSetting, match=r"cassette\.wrap\(model\)"):
        Cassette(path, "record").wrap()
