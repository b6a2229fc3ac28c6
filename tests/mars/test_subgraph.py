"""MARS in somebody else's graph: as a node, a Runnable and a tool, with their checkpointer and their store."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from anyio import to_thread
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.prebuilt import ToolNode
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, StreamMode, interrupt

from mars import Assistant, Checker, CheckpointSaver, Mars, MarsError, Memory, Reflector, Team
from mars.errors import InvalidInput, InvalidSetting
from mars.events import HEARD, EventKind
from mars.people import ask_user
from mars.subgraph import Asker, agent_graph, agent_tool
from mars.testing import FixedClock, ScriptedModel, Step

ASKED: Any = {"messages": [{"role": "user", "content": "What is the cat called?"}]}
ANN = Asker(user="ann")
SECRET = "SECRET-OF-THE-CHECKER"
LESSON = "SECRET-OF-THE-REFLECTOR"
MODES: list[StreamMode] = ["values", "updates", "custom", "messages", "checkpoints", "tasks", "debug"]


@pytest.fixture
async def memory(clock: FixedClock) -> AsyncIterator[Memory]:
    """A memory that knows one thing of Ann's."""
    async with Memory.open("memory:", clock=clock) as memory:
        await memory.add("The cat is called Miso.", ("ann",))
        yield memory


def config(thread: str = "one") -> RunnableConfig:
    """Return the configuration of a host's thread."""
    return {"configurable": {"thread_id": thread}}


def said(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return type and text of each message."""
    return [(message.type, message.text) for message in values["messages"]]


async def test_as_a_runnable(memory: Memory) -> None:
    """Compiled, it has no checkpointer and no store of its own; messages go in, and one more comes out."""
    async with Mars.open(memory) as mars:
        graph = agent_graph(mars).compile()
        assert isinstance(graph, Runnable)
        assert (graph.checkpointer, graph.store) == (None, None)
        values = await graph.ainvoke(ASKED, context=ANN)
    assert said(values) == [("human", "What is the cat called?"), ("ai", "The cat is called Miso.")]
    about = values["messages"][-1].response_metadata["mars"]
    assert (about["status"], about["approved"]) == ("completed", True)
    assert [source["text"] for source in about["sources"]] == ["The cat is called Miso."]


class Host(TypedDict):
    """The state of somebody else's graph."""

    messages: Annotated[list[AnyMessage], add_messages]
    visits: int


async def test_as_a_node(memory: Memory) -> None:
    """In a host with a state, a checkpointer and a store of its own: turns follow one another, and nothing is mixed."""
    store, saver = InMemoryStore(), InMemorySaver()

    async def count(state: Host, store: BaseStore) -> dict[str, Any]:
        await store.aput(("host",), "last", {"text": state["messages"][-1].text})
        return {"visits": state.get("visits", 0) + 1}

    async with Mars.open(memory) as mars:
        builder = StateGraph(Host, context_schema=Asker)
        builder.add_node("count", count)
        builder.add_node("mars", agent_graph(mars).compile())
        builder.add_edge(START, "count")
        builder.add_edge("count", "mars")
        builder.add_edge("mars", END)
        graph = builder.compile(checkpointer=saver, store=store)
        await graph.ainvoke(ASKED, config(), context=ANN)
        values = await graph.ainvoke(ASKED, config(), context=ANN)
        assert said(values) == [("human", "What is the cat called?"), ("ai", "The cat is called Miso.")] * 2
        assert values["visits"] == 2
        assert set((await graph.aget_state(config())).values) == {"messages", "visits"}
    found = await store.aget(("host",), "last")
    assert found is not None
    assert found.value == {"text": "What is the cat called?"}
    assert store.list_namespaces() == [("host",)]


async def test_earlier_turns_are_the_hosts_messages(memory: Memory) -> None:
    """The Assistant's prompt holds what was said before, and who said it."""
    model = ScriptedModel(["You are the Commander."])
    async with Mars.open(memory, team=Team(without=frozenset({"checker"})), model=model) as mars:
        messages = [("user", "Call me Commander."), ("ai", "Yes, Commander."), ("user", "Who am I?")]
        await agent_graph(mars).compile().ainvoke({"messages": messages}, context=ANN)
    prompt = model.calls[0].prompt
    assert "Call me Commander." in prompt
    assert "Yes, Commander." in prompt


async def test_as_a_tool(memory: Memory) -> None:
    """Somebody else's agent asks it; what an end user may see of the result comes as the artifact."""
    async with Mars.open(memory) as mars:
        tools = ToolNode([agent_tool(mars, user="ann")])
        builder = StateGraph(Host)
        builder.add_node("tools", tools)
        builder.add_edge(START, "tools")
        call: Any = {"name": "ask_memory", "args": {"question": "What is the cat called?"}, "id": "1"}
        asked: Any = {"messages": [AIMessage("", tool_calls=[call])]}
        values = await builder.compile().ainvoke(asked)
    reply = values["messages"][-1]
    assert reply.text == "The cat is called Miso."
    assert (reply.artifact["status"], reply.artifact["approved"]) == ("completed", True)
    assert "attempts" not in reply.artifact


def quarrel() -> Team:
    """Return a team whose Checker and Reflector say what nobody else may hear, and whose every second draft passes."""
    issue = {"kind": "unsupported", "evidence": SECRET, "directive": SECRET}
    rejects = Step(structured={"approved": False, "score": 0.2, "issues": [issue]}, text=SECRET)
    approves = Step(structured={"approved": True, "score": 0.9, "used": ["m1"]}, text=SECRET)
    judge = ScriptedModel([rejects, approves] * 2)
    lesson = {"what_failed": LESSON, "cause": LESSON, "change": LESSON, "preferences": []}
    words = ScriptedModel(lambda _: Step(structured=lesson, text=LESSON))
    return Team(checker=Checker(model=judge), reflector=Reflector(model=words, strategy="reflexion"))


@pytest.mark.parametrize("leaking", [False, True])
async def test_nothing_of_the_checker_leaks(memory: Memory, leaking: bool) -> None:
    """In every mode of LangGraph's stream only the Assistant's words are seen; a host that asks for more is told."""
    model = ScriptedModel(["It is called Rex [m1].", "It is called Miso [m1]."])
    async with Mars.open(memory, team=quarrel(), model=model) as mars:
        heard = {*HEARD, EventKind.VERDICT} if leaking else HEARD
        if leaking:
            graph = agent_graph(mars, heard=heard).compile(checkpointer=InMemorySaver())
        else:
            graph = agent_graph(mars).compile(checkpointer=InMemorySaver())
        seen = [part async for part in graph.astream(ASKED, config(), context=ANN, stream_mode=MODES)]
        state = await graph.aget_state(config())
    assert {mode for mode, _ in seen} >= set(MODES) - {"debug"}
    assert any("Miso" in str(part) for mode, part in seen if mode == "custom")
    assert (SECRET in str(seen) or "rejected" in str(seen)) is leaking
    assert LESSON not in str(seen)
    assert SECRET not in str(state)


async def test_the_checkers_tokens_are_never_messages(memory: Memory) -> None:
    """Also not where the host asks for the messages of every graph within: those are the Assistant's."""
    model = ScriptedModel(["It is called Rex [m1].", "It is called Miso [m1]."])
    async with Mars.open(memory, team=quarrel(), model=model) as mars:
        graph = agent_graph(mars).compile()
        parts = [part async for part in graph.astream(ASKED, context=ANN, stream_mode="messages", subgraphs=True)]
    assert "Miso" in str(parts)
    assert SECRET not in str(parts)
    assert LESSON not in str(parts)


async def test_langchains_events_have_nothing_of_the_checker(memory: Memory) -> None:
    """Each event of a model has its prompt whole, so that they are not told; what happens in the host's graph is."""
    model = ScriptedModel(["It is called Rex [m1].", "It is called Miso [m1]."])
    async with Mars.open(memory, team=quarrel(), model=model) as mars:
        graph = agent_graph(mars).compile()
        events = [one async for one in graph.astream_events(ASKED, context=ANN, version="v2")]
    assert any(one["event"] == "on_chain_end" and "Miso" in str(one["data"]) for one in events)
    assert SECRET not in str(events)
    assert LESSON not in str(events)


@pytest.mark.parametrize("way", ["tool", "node"])
@pytest.mark.parametrize("kept", [True, False])
async def test_a_run_within_a_host_is_no_part_of_it(tmp_path: Path, way: str, kept: bool) -> None:
    """As a tool, and in code of a host's node: whatever the host streams and saves, of subgraphs too."""
    url = f"sqlite:///{tmp_path / 'life.db'}" if kept else "memory:"
    model = ScriptedModel(["It is called Rex [m1].", "It is called Miso [m1]."] * 2)
    team, saver = replace(quarrel(), assistant=Assistant(model=model)), InMemorySaver()
    async with Mars.open(url, team=team) as mars:
        await mars.memory.add("The cat is called Miso.", ("ann",))

        async def run(state: Host) -> dict[str, Any]:
            result = await mars.run("What is the cat called?", user="ann")
            return {"messages": [AIMessage(result.answer)]}

        builder = StateGraph(Host)
        builder.add_node("mars", ToolNode([agent_tool(mars, user="ann")]) if way == "tool" else run)
        builder.add_edge(START, "mars")
        graph = builder.compile(checkpointer=saver)
        call: Any = {"name": "ask_memory", "args": {"question": "What is the cat called?"}, "id": "1"}
        asked: Any = {"messages": [AIMessage("", tool_calls=[call])]}
        parts = [part async for part in graph.astream(asked, config(), stream_mode=MODES, subgraphs=True)]
        events = [one async for one in graph.astream_events(asked, config("two"), version="v2")]
    for seen in (parts, events):
        assert "Miso" in str(seen)
        assert SECRET not in str(seen)
        assert LESSON not in str(seen)
    assert {namespace for thread in saver.storage.values() for namespace in thread} == {""}


async def test_a_tool_that_asks_reaches_the_hosts_user(memory: Memory) -> None:
    """`interrupt` within a tool stops the host; the answer goes on with the same turn, and nothing is done twice."""
    asked: list[str] = []

    def book(place: str) -> str:
        """Book a table."""
        day = interrupt({"question": "Which day?"})
        asked.append(f"{place} on {day}")
        return f"Booked {place} on {day}."

    model = ScriptedModel([Step(tool_calls=(("book", {"place": "Aldo's"}),)), "Booked."])
    async with Mars.open(memory, model=model, tools=[book], team=Team(without=frozenset({"checker"}))) as mars:
        graph = agent_graph(mars).compile(checkpointer=InMemorySaver())
        first = await graph.ainvoke(ASKED, config(), context=ANN)
        (question,) = first["__interrupt__"]
        assert question.value == {"question": "Which day?"}
        second = await graph.ainvoke(Command(resume="Tuesday"), config(), context=ANN)
    assert asked == ["Aldo's on Tuesday"]
    assert said(second)[-1] == ("ai", "Booked.")
    model.assert_finished()


@pytest.mark.parametrize("thread", [None, "one"])
async def test_a_turn_that_fails_leaves_no_records(tmp_path: Path, thread: str | None) -> None:
    """Without a thread they go at once; in one they stay for whoever goes on, and go when its next turn ends."""

    def reply(_: Any) -> str:
        asked.append(1)
        if len(asked) == 1:
            raise AssertionError("a defect")
        return "It is Miso."

    def records() -> int:
        with sqlite3.connect(tmp_path / "life.db") as database:
            return int(database.execute("SELECT COUNT(*) FROM mars_calls").fetchone()[0])

    asked: list[int] = []
    model = ScriptedModel(reply)
    team = Team(assistant=Assistant(model=model), without=frozenset({"checker"}))
    place: Any = config(thread) if thread else {}
    async with Mars.open(f"sqlite:///{tmp_path / 'life.db'}", team=team) as mars:
        graph = agent_graph(mars).compile(checkpointer=InMemorySaver() if thread else None)
        with pytest.raises(AssertionError, match="a defect"):
            await graph.ainvoke(ASKED, place, context=ANN)
        assert records() == (1 if thread else 0)
        await graph.ainvoke(ASKED, place, context=ANN)
        assert records() == 0


@pytest.fixture
def url(tmp_path: Path, clock: FixedClock) -> str:
    """A file that knows one thing of Ann's."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    with Memory.open_sync(url, clock=clock) as memory:
        memory.add("The cat is called Miso.", ("ann",))
    return url


def visited(state: Host) -> dict[str, Any]:
    """Count the visits, in plain code."""
    return {"visits": state.get("visits", 0) + 1}


@pytest.mark.parametrize("saver", ["memory", "ours"])
def test_plain_code_invokes_it_over_the_blocking_twin(url: str, saver: str) -> None:
    """A host without an event loop: as a node of its own graph, with its checkpointer; streamed, and asked again."""
    with Mars.open_sync(url) as mars, CheckpointSaver.open(url) as ours:
        builder = StateGraph(Host, context_schema=Asker)
        builder.add_node("count", visited)
        builder.add_node("mars", agent_graph(mars).compile())
        builder.add_edge(START, "count")
        builder.add_edge("count", "mars")
        graph = builder.compile(checkpointer=ours if saver == "ours" else InMemorySaver())
        values = graph.invoke(ASKED, config(), context=ANN)
        told: Any = list(graph.stream(ASKED, config(), context=ANN, stream_mode="custom", subgraphs=True))
        assert said(values) == [("human", "What is the cat called?"), ("ai", "The cat is called Miso.")]
        assert "".join(part["text"] for _, part in told if part["kind"] == "token") == "The cat is called Miso. [m1]"
        assert graph.get_state(config()).values["visits"] == 2
        reply = agent_tool(mars, user="ann").invoke({"question": "What is the cat called?"})
    assert reply == "The cat is called Miso."


async def test_the_blocking_twin_serves_a_running_event_loop_too(url: str) -> None:
    """In a cell of a notebook `invoke` works, and in a thread of a server; `ainvoke` keeps no loop waiting."""
    with Mars.open_sync(url) as mars:
        graph = agent_graph(mars).compile()
        here = graph.invoke(ASKED, context=ANN)
        there = await to_thread.run_sync(lambda: graph.invoke(ASKED, context=ANN))
        awaited = await graph.ainvoke(ASKED, context=ANN)
        tool = agent_tool(mars, user="ann")
        replies = tool.invoke({"question": "The cat?"}), await tool.ainvoke({"question": "The cat?"})
    assert said(here) == said(there) == said(awaited)
    assert len(set(replies)) == 1


def test_a_question_reaches_the_user_of_plain_code(url: str) -> None:
    """`interrupt` passes through the twin, and `Command(resume=…)` goes on with the same turn."""
    model = ScriptedModel([Step(tool_calls=(("ask_user", {"question": "Which cat?"}),)), "Miso, then."])
    with Mars.open_sync(url, model=model, tools=[ask_user], team=Team(without=frozenset({"checker"}))) as mars:
        graph = agent_graph(mars).compile(checkpointer=InMemorySaver())
        first = graph.invoke(ASKED, config(), context=ANN)
        assert first["__interrupt__"][0].value["arguments"] == {"question": "Which cat?"}
        last = graph.invoke(Command(resume={"choice": "answer", "text": "Miso"}), config(), context=ANN)
    assert said(last)[-1] == ("ai", "Miso, then.")
    model.assert_finished()


def test_a_child_of_a_fork_is_told_to_open_its_own(url: str) -> None:
    """A forked child has none of its parent's threads; a graph over a twin of its own works."""
    with Mars.open_sync(url) as mars:
        graph = agent_graph(mars).compile()
        assert said(graph.invoke(ASKED, context=ANN))[-1] == ("ai", "The cat is called Miso.")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                graph.invoke(ASKED, context=ANN)
            except (RuntimeError, MarsError):
                with Mars.open_sync(url) as own:
                    values = agent_graph(own).compile().invoke(ASKED, context=ANN)
                    status = 0 if values["messages"][-1].text == "The cat is called Miso." else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_blocking_calls_over_a_mars_of_a_loop_say_what_to_use(memory: Memory) -> None:
    """`invoke`, `stream` and a tool's `invoke` name `ainvoke` and the twin, wherever they are called."""
    async with Mars.open(memory) as mars:
        graph, tool = agent_graph(mars).compile(), agent_tool(mars, user="ann")
        with pytest.raises(InvalidSetting, match=r"ainvoke.*open_sync"):
            graph.invoke(ASKED, context=ANN)
        with pytest.raises(InvalidSetting, match="open_sync"):
            await to_thread.run_sync(lambda: list(graph.stream(ASKED, context=ANN)))
        with pytest.raises(InvalidSetting, match="open_sync"):
            tool.invoke({"question": "The cat?"})


@pytest.mark.parametrize("messages", [[], [("ai", "Hello.")], [("user", " ")]])
async def test_nothing_to_answer_is_refused(memory: Memory, messages: list[tuple[str, str]]) -> None:
    """The last message is a user's and has text."""
    async with Mars.open(memory) as mars:
        with pytest.raises(InvalidInput, match=r"^the last message "):
            await agent_graph(mars).compile().ainvoke({"messages": messages}, context=ANN)


async def test_the_hosts_limit_of_steps_is_the_hosts(memory: Memory) -> None:
    """A host that allows few steps of its own graph does not break a turn off in the middle."""
    async with Mars.open(memory) as mars:
        config: RunnableConfig = {"recursion_limit": 2}
        values = await agent_graph(mars).compile().ainvoke(ASKED, config, context=ANN)
    assert said(values)[-1] == ("ai", "The cat is called Miso.")


async def test_an_unknown_team_is_refused(memory: Memory) -> None:
    """A context that names a team which is not there says which are."""
    async with Mars.open(memory) as mars:
        with pytest.raises(InvalidSetting, match="no team"):
            await agent_graph(mars).compile().ainvoke(ASKED, context=Asker(team="night shift"))


async def test_the_drawing_shows_the_loop(memory: Memory) -> None:
    """LangGraph finds the loop within the node, for its drawings and its Studio."""
    async with Mars.open(memory) as mars:
        drawn = agent_graph(mars).compile().get_graph(xray=True).draw_mermaid()
    assert {"recall", "assistant", "review_action", "checker", "reflect"} <= {
        name for name in mars.graph.nodes if name in drawn
    }


async def test_the_served_agent_opens_what_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The factory for `langgraph.json` reads `MARS_DB`."""
    from mars.subgraph import served_agent

    monkeypatch.setenv("MARS_DB", str(tmp_path / "life.db"))
    async with Memory.open(f"sqlite:///{tmp_path / 'life.db'}") as memory:
        await memory.add("The cat is called Miso.", ("ann",))
    async with served_agent() as graph:
        values = await graph.ainvoke(ASKED, context=ANN)
    assert said(values)[-1] == ("ai", "The cat is called Miso.")
