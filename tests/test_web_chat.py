"""The web chat among the examples: typed into in headless Chromium, left, reloaded, opened twice, and restarted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the group examples is not here")
pytest.importorskip("benchmarks.examples", reason="needs the repository")

import httpx
import uvicorn
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import PrivateAttr

from benchmarks.browsing import Browser, Tab, running
from benchmarks.examples import heard
from benchmarks.timeline_page import ATTACK, browser
from examples.web_chat import PAGE, create_app
from mars import Mars, Team
from mars.persistence.approvals import Approval
from mars.testing import ScriptedModel, Step

SAYING = "document.querySelector('main').innerText"
UNCHECKED = Team(without=frozenset({"checker"}))


class Gated(ScriptedModel):
    """A scripted model that stops after its first word until its gate is open."""

    _gate: threading.Event = PrivateAttr(default_factory=threading.Event)

    def open(self) -> None:
        """Let it speak on."""
        self._gate.set()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for place, chunk in enumerate(super()._stream(messages, stop, run_manager, **kwargs)):
            if place == 1:
                assert self._gate.wait(60)
            yield chunk


@contextmanager
def serving(db: Path, **options: Any) -> Iterator[str]:
    """Run the web chat in a thread of this process; yield its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(f"sqlite:///{db}", **options), log_level="warning", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    if browser() is None:
        pytest.skip("no Chromium here")
    with running() as found:
        yield found


def clicked(tab: Tab, words: str) -> None:
    """Click the button with these words, once it is there."""
    button = f"[...document.querySelectorAll('button')].find(one => one.textContent === '{words}')"
    tab.wait(button)
    tab.value(f"{button}.click()")


def test_words_appear_before_the_end(chromium: Browser, tmp_path: Path) -> None:
    """The first word is there while the model still speaks; a tab that is closed then loses nothing, nor another."""
    model = Gated(script=lambda messages: "Four." if "My next" in str(messages[-1].content) else "One two three.")
    with serving(tmp_path / "life.db", model=model, team=UNCHECKED) as address:
        first, second = chromium.open(f"{address}/#talk"), chromium.open(f"{address}/#talk")
        first.type("My first.")
        first.wait(f"{SAYING} === 'My first.\\nOne'")
        first.close()  # in the midst of the answer: the run ends, saved, and the lease is given back
        third = chromium.open(f"{address}/#talk")  # finds the message in the browser, and asks for the same turn again
        model.open()
        third.wait(f"{SAYING} === 'My first.\\nOne two three.'")
        second.wait(f"{SAYING} === 'My first.\\nOne two three.'")  # was told that another tab has the answer
        second.type("My next.")
        second.wait(f"{SAYING}.endsWith('My next.\\nFour.')")
        third.wait(f"{SAYING}.endsWith('My next.\\nFour.')")
        said = httpx.get(f"{address}/talks/talk").json()
        assert [text for _, text in said["said"]] == ["My first.", "One two three.", "My next.", "Four."]
        assert said["unfinished"] is None
        second.close()
        third.close()


def test_what_somebody_wrote_is_text(chromium: Browser, tmp_path: Path) -> None:
    """Markup in a message, an answer or a source is shown and never run; the page cannot set any."""
    with serving(tmp_path / "life.db") as address:
        tab = chromium.open(f"{address}/#talk")
        tab.type(f"My sister wrote {ATTACK}.")
        tab.wait(f"{SAYING}.includes('Noted.')")
        tab.type("What did my sister write?")
        tab.wait("document.querySelector('.sources')")
        assert tab.value(SAYING).count(ATTACK) == 3
        assert tab.value("document.title") == "Chat · MARS"
        assert tab.value("document.querySelectorAll('main *').length") == tab.value(
            "document.querySelectorAll('main > div').length"
        )
        careless = "try { document.querySelector('main').innerHTML = '<b>'; 'done' } catch (error) { error.name }"
        assert tab.value(careless) == "TypeError"
        tab.close()


def test_an_approval_outlives_the_server(chromium: Browser, tmp_path: Path) -> None:
    """What waits for a person is a card with buttons, in the new server's page as in the old one's, and runs once."""
    paid: list[int] = []

    def pay(amount: int) -> str:
        """Pay an amount."""
        paid.append(amount)
        return f"paid {amount}"

    def replies(messages: Sequence[BaseMessage]) -> Step | str:
        return "Done." if messages[-1].type == "tool" else Step(tool_calls=(("pay", {"amount": 5}),))

    team = Team(without=frozenset({"checker"}), approval=Approval())
    options: Any = {"model": ScriptedModel(replies), "tools": [pay], "team": team}
    with serving(tmp_path / "life.db", **options) as address:
        tab = chromium.open(f"{address}/#talk")
        tab.type("Pay what I owe.")
        tab.wait("document.querySelector('.ask')")
        tab.close()
    with serving(tmp_path / "life.db", **options) as address:
        tab = chromium.open(f"{address}/#talk")
        tab.wait("document.querySelector('.ask')")
        assert "May pay run?\namount: 5" in tab.value(SAYING)
        assert paid == []
        clicked(tab, "Approve")
        tab.wait(f"{SAYING} === 'Pay what I owe.\\nDone.'")
        assert paid == [5]
        assert httpx.post(f"{address}/talks/talk/decision", json={"choice": "approve"}).status_code == 409
        tab.close()


def test_a_connection_that_is_left(tmp_path: Path) -> None:
    """Who leaves in the midst of an answer leaves a turn that the same key finishes, and nothing that runs."""
    model = Gated(script=["One two three.", "One two three.", "Four."])
    first = {"text": "My first.", "key": "1"}
    with serving(tmp_path / "life.db", model=model, team=UNCHECKED) as address:
        with httpx.stream("POST", f"{address}/talks/talk", json=first, timeout=60) as reply:
            assert heard(next(line for line in reply.iter_lines() if line))[0]["text"] == "One"
        model.open()
        for _ in range(2):
            ended = heard(httpx.post(f"{address}/talks/talk", json=first, timeout=60).text)[-1]
            assert (ended["text"], ended["status"]) == ("One two three.", "completed")
        other = heard(httpx.post(f"{address}/talks/talk", json={"text": "Else.", "key": "1"}, timeout=60).text)
        assert "key" in other[-1]["error"]
    with serving(tmp_path / "life.db", model=model, team=UNCHECKED) as address:
        again = heard(httpx.post(f"{address}/talks/talk", json={"text": "Next.", "key": "2"}, timeout=60).text)
        assert again[-1]["text"] == "Four."
    with Mars.open_sync(f"sqlite:///{tmp_path}/life.db", model=model) as mars:
        assert [one.text for one in mars.transcript("talk")] == ["My first.", "One two three.", "Next.", "Four."]
        assert not any(one.running for one in mars.conversations())


def test_two_tabs_that_speak_at_once(tmp_path: Path) -> None:
    """Their messages are answered one after the other, and none is lost."""
    with serving(tmp_path / "life.db") as address, ThreadPoolExecutor(2) as tabs:
        messages = [{"text": f"My cat is called {name}.", "key": name} for name in ("Miso", "Soba")]
        replies = tabs.map(lambda one: httpx.post(f"{address}/talks/talk", json=one, timeout=60).text, messages)
        assert [heard(reply)[-1]["text"] for reply in replies] == ["Noted.", "Noted."]
        said = [text for _, text in httpx.get(f"{address}/talks/talk").json()["said"]]
    assert sorted(said) == sorted([*(one["text"] for one in messages), "Noted.", "Noted."])


def test_the_page_is_its_own() -> None:
    """Nothing is fetched but the talk: no address of another host is in the page, and its policy forbids any."""
    page = PAGE.read_text("utf-8")
    assert "://" not in page
    assert "default-src 'none'" in page
    assert "innerHTML" not in page
