"""Real clients of OpenAI, Anthropic and Ollama against servers on this machine that answer, and fail, as ordered."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import certifi
import pytest

from mars import Assistant, Checker, Mars, Memory, Reflector, RunResult, RunStatus, Team
from mars.errors import InvalidSetting, ScriptError
from mars.events import EVERYTHING, EventKind
from mars.models.resolve import resolve_model
from mars.persistence.budgets import Budget, Budgets, Scope, Spending
from mars.retrying import CallPolicy
from mars.testing import FixedClock, InMemoryBackend, Step
from mars.testing.providers import Fault, FaultKind, ProviderServer, Received
from mars.testing.providers.server import Answer, Plan

ChatOpenAI = pytest.importorskip("langchain_openai").ChatOpenAI
ChatAnthropic = pytest.importorskip("langchain_anthropic").ChatAnthropic
ChatOllama = pytest.importorskip("langchain_ollama").ChatOllama

pytestmark = pytest.mark.anyio

QUESTION = "Where does my sister live?"
ANSWER = "In Oslo [m1]."
JUDGEMENT = {"approved": True, "score": 0.9, "issues": [], "used": ["m1"]}
ISSUE = {"kind": "unsupported", "evidence": "no source", "directive": "Find a source.", "records": [], "blame": []}
REJECTED = {"approved": False, "score": 0.1, "issues": [ISSUE], "used": []}
PROVIDERS = ("openai", "responses", "anthropic", "ollama")
DEADLINE = 60.0
"""Seconds within which everything here must have ended, whatever fails and however slow the machine."""


_opened: list[Any] = []


def client(provider: str, server: ProviderServer, **options: Any) -> Any:
    """The real client of a provider, at a server on this machine."""
    if provider == "ollama":
        return opened(ChatOllama(model="llama-test", base_url=server.url, **options))
    if provider == "anthropic":
        return opened(ChatAnthropic(model="claude-test", base_url=server.url, api_key="none", **options))
    options = {"stream_usage": True, "use_responses_api": provider == "responses", **options}
    return opened(ChatOpenAI(model="gpt-test", base_url=server.openai_url, api_key="none", **options))


def opened(model: Any) -> Any:
    """A model whose connections are closed when the test is over."""
    _opened.append(model)
    return model


@pytest.fixture(autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients read one certificate and not all of the world's, which takes more time than all else here."""
    bundle = Path(certifi.where()).read_text("utf-8")
    file = tmp_path_factory.getbasetemp() / "authority.pem"
    file.write_text(bundle[: bundle.index("-----END CERTIFICATE-----") + 26], "utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """Close the connections of every client: langchain's models cannot be closed, and keep those that broke."""
    yield
    while _opened:
        model = _opened.pop()
        if isinstance(model, ChatOpenAI):
            await model.root_async_client.close()
        elif isinstance(model, ChatAnthropic):
            await model._async_client.close()
        else:
            await model._async_client._client.aclose()


@pytest.fixture
async def memory(clock: FixedClock) -> AsyncIterator[Memory]:
    """A store in memory."""
    async with Memory.open(InMemoryBackend(), clock=clock) as opened:
        yield opened


def team(model: Any, **options: Any) -> Team:
    """A team whose Assistant and judge are a model, and whose Reflector works by rules."""
    return Team(assistant=Assistant(model=model), checker=Checker(model=model), reflector=Reflector(), **options)


def role_of(received: Received) -> str:
    """Which role asks."""
    if "You check an assistant's draft" in received.prompt:
        return "checker"
    return "reflector" if "You look at a rejected attempt" in received.prompt else "assistant"


def usual(received: Received) -> Answer:
    """What a provider answers when nothing is wrong: a draft, or a judgement in whatever form is asked for."""
    return Step(structured=JUDGEMENT) if role_of(received) == "checker" else ANSWER


class Faulty:
    """A plan that fails the first so many requests of a role, for each task that names a fault; it answers others."""

    def __init__(self, faults: Mapping[str, Fault], times: int, role: str = "assistant") -> None:
        self.faults, self.role = faults, role
        self.left = dict.fromkeys(faults, times)

    def __call__(self, received: Received) -> Answer:
        """Return the fault while it is due."""
        for name, fault in self.faults.items():
            if role_of(received) == self.role and named(name) in received.prompt and self.left[name]:
                self.left[name] -= 1
                return fault
        return usual(received)


def named(fault: str) -> str:
    """The question of a task that is to meet a fault."""
    return f"{QUESTION} ({fault})"


async def ask(memory: Memory, people: Team, task: str = QUESTION, **options: Any) -> tuple[RunResult, Spending]:
    """Ask the question as ann; return the result and all that was spent."""
    opening = {name: options.pop(name) for name in ("policy", "tools") if name in options}
    await memory.add("My sister lives in Oslo.", namespace=("ann",), speaker="ann")
    async with Mars.open(memory, team=people, **opening) as mars:
        with anyio.fail_after(DEADLINE):
            result = await mars.run(task, user="ann", **options)
        return result, await mars.calls.ledger.spent(Scope("user", "ann"))


def reconcile(received: Sequence[Received], result: RunResult, spent: Spending) -> None:
    """Assert that the ledger and the provider agree on every request, and that no intent is without an outcome."""
    assert result.usage.calls == spent.calls == len(received)
    assert (spent.held_calls, spent.maybe_paid) == (0, 0)
    assert result.usage == spent.usage


# Answers


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_turn_with_an_action_and_a_judge(memory: Memory, provider: str) -> None:
    """Tokens stream, the tool's words come back to the model, the judgement is structured, and the tokens agree."""

    def look(where: str) -> str:
        """Look somewhere."""
        return f"a letter from {where}"

    plan: Plan = [
        Step(text="Let me look.", tool_calls=(("look", {"where": "Oslo"}),), tokens=(70, 7)),
        Step(structured=JUDGEMENT, tokens=(20, 2)),
        Step(text=ANSWER, tokens=(300, 30)),
        Step(structured=JUDGEMENT, tokens=(1000, 100)),
    ]
    with ProviderServer(plan) as server:
        await memory.add("My sister lives in Oslo.", namespace=("ann",), speaker="ann")
        async with Mars.open(memory, team=team(client(provider, server)), tools=[look]) as mars:
            events = [event async for event in mars.stream(QUESTION, user="ann", heard=EVERYTHING)]
            spent = await mars.calls.ledger.spent(Scope("user", "ann"))
    server.assert_finished()
    result = events[-1].result
    assert result is not None
    assert (result.answer, result.approved, result.status) == ("In Oslo.", True, RunStatus.COMPLETED)
    tokens = [event.text for event in events if event.kind is EventKind.TOKEN]
    assert "".join(tokens) == f"Let me look.{ANSWER}"
    assert len(tokens) == 6
    assert "a letter from Oslo" in server.received[2].prompt
    assert [received.tools for received in server.received][::2] == [("look",), ("look",)]
    assert all(server.received[place].form for place in (1, 3))
    assert result.verdict is not None
    assert result.verdict.origin == "judge:structured"
    reconcile(server.received, result, spent)
    assert (result.usage.input_tokens, result.usage.output_tokens, result.usage.tool_calls) == (1390, 139, 1)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_whole_loop(memory: Memory, provider: str) -> None:
    """Draft, rejection, a reflection in the model's words, a second draft: each role on the same provider."""
    plan: Plan = ["In Rome [m1].", Step(structured=REJECTED), "Read the record.", ANSWER, Step(structured=JUDGEMENT)]
    with ProviderServer(plan) as server:
        model = client(provider, server)
        people = Team(assistant=Assistant(model=model), checker=Checker(model=model), reflector=Reflector(model=model))
        result, spent = await ask(memory, people)
    server.assert_finished()
    assert (result.answer, result.iterations, result.reflections[0].text) == ("In Oslo.", 2, "Read the record.")
    assert [role_of(one) for one in server.received] == ["assistant", "checker", "reflector", "assistant", "checker"]
    reconcile(server.received, result, spent)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_blocking_client(provider: str) -> None:
    """The server answers clients that block, streamed or not."""
    with ProviderServer([ANSWER, ANSWER]) as server:
        model = client(provider, server)
        assert model.invoke("hi").text == ANSWER
        assert "".join(chunk.text for chunk in model.stream("hi")) == ANSWER


# Faults

ONCE = {
    "status 500": Fault(kind=FaultKind.STATUS, status=500),
    "status 529": Fault(kind=FaultKind.STATUS, status=529),
    "status 429": Fault.rate_limit(0.01),
    **{kind.value: Fault(kind=kind) for kind in FaultKind if kind is not FaultKind.STATUS},
}
"""Every fault that another attempt may not meet."""


HANGS = ("silent", "stalled")
"""Faults that only a time limit ends."""

PATIENCE = 8.0
"""Seconds that an attempt may take where the next one must come through, on a busy machine too."""


async def through_faults(
    memory: Memory, times: int, limit: float, look: Callable[..., None], role: str = "assistant", names: Any = ONCE
) -> None:
    """Ask each provider through each fault, all at once, each each for a user of its own."""

    async def one(mars: Mars, server: ProviderServer, provider: str, name: str) -> None:
        user = f"{provider}, {name}"
        await memory.add("My sister lives in Oslo.", namespace=(user,), speaker=user)
        result = await mars.run(named(name), user=user)
        spent = await mars.calls.ledger.spent(Scope("user", user))
        asked = [one for one in server.received if named(name) in one.prompt]
        if name in HANGS and times > 1:
            assert len(asked) <= result.usage.calls == spent.calls  # one may be given up before it is on its way
            with anyio.fail_after(30):  # called off: nothing is paid for unread; the server notices when it can
                while sum(named(name) in one.prompt for one in server.left) < len(asked):
                    await anyio.sleep(0.01)
            assert (user, spent.held_calls) == (user, 0)
        else:
            reconcile(asked, result, spent)
        look(user, name, result)

    async with AsyncExitStack() as stack:
        stack.enter_context(anyio.fail_after(DEADLINE))
        found = []
        for provider in PROVIDERS:
            server = stack.enter_context(ProviderServer(Faulty({name: ONCE[name] for name in names}, times, role)))
            people = team(client(provider, server))
            for hangs in (True, False):
                policy = CallPolicy(timeout=limit if hangs else DEADLINE, first_wait=0.0, attempts=2)
                mars = await stack.enter_async_context(Mars.open(memory, team=people, policy=policy))
                found += [(mars, server, provider, name) for name in names if (name in HANGS) is hangs]
        for hangs in (False, True):  # what has a limit of time has the machine for itself
            async with anyio.create_task_group() as group:
                for each in found:
                    if (each[-1] in HANGS) is hangs:
                        group.start_soon(one, *each)


async def test_each_fault_is_survived_once(memory: Memory) -> None:
    """Whatever fails the first attempt at a draft, the second one is the answer, and both are on the books."""

    def look(user: str, name: str, result: RunResult) -> None:
        assert (user, result.status, result.answer, result.error) == (user, RunStatus.COMPLETED, "In Oslo.", None)
        assert (user, result.usage.calls, result.usage.retries, result.usage.failures) == (user, 3, 1, 1)

    await through_faults(memory, 1, PATIENCE, look)


async def test_each_fault_that_stays_ends_the_turn(memory: Memory) -> None:
    """After the policy's attempts the turn ends with the error's type and words, in time, and each attempt counted."""

    def look(user: str, name: str, result: RunResult) -> None:
        assert (user, result.status, result.usage.calls) == (user, RunStatus.TASK_ERROR, 2)
        assert result.error is not None
        assert result.error.partition(":")[0].endswith("Error"), (user, result.error)
        if name in HANGS:
            assert "did not reply within 1 s" in result.error

    await through_faults(memory, 99, 1.0, look)


async def test_faults_of_a_judge(memory: Memory) -> None:
    """A judge that fails is asked again, and one that stays down approves nothing."""

    def survived(user: str, name: str, result: RunResult) -> None:
        assert (user, result.status, result.approved) == (user, RunStatus.COMPLETED, True)

    def down(user: str, name: str, result: RunResult) -> None:
        assert (user, result.status, result.approved) == (user, RunStatus.TASK_ERROR, False)
        assert result.answer == "In Oslo."  # the draft is not lost

    names = ("status 529", "silent", "truncated", "malformed")
    await through_faults(memory, 1, PATIENCE, survived, "checker", names)
    await through_faults(memory, 99, DEADLINE, down, "checker", ("status 529", "truncated", "malformed"))


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_would_fail_again_is_not_tried_again(memory: Memory, provider: str) -> None:
    """The user's own mistakes cost one call each."""
    statuses = (400, 401, 403, 404)
    with ProviderServer([Fault(kind=FaultKind.STATUS, status=status) for status in statuses]) as server:
        async with Mars.open(memory, team=team(client(provider, server))) as mars:
            results = [await mars.run(QUESTION, user="ann") for _ in statuses]
            spent = await mars.calls.ledger.spent(Scope("user", "ann"))
    assert [result.status for result in results] == [RunStatus.TASK_ERROR] * 4
    assert (spent.calls, spent.failures, spent.retries, spent.held_calls) == (4, 4, 0, 0)
    server.assert_finished()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_page_instead_of_a_whole_reply_is_tried_again(memory: Memory, provider: str) -> None:
    """Where nothing is streamed, clients take a proxy's page for an object, and say so in words of theirs."""
    plan: Plan = [Fault(kind=FaultKind.NOT_JSON), Fault(kind=FaultKind.EMPTY), ANSWER, Step(structured=JUDGEMENT)]
    with ProviderServer(plan) as server:
        model = client(provider, server, disable_streaming=True)
        result, spent = await ask(memory, team(model), policy=CallPolicy(first_wait=0.0))
    assert (result.status, result.answer, result.usage.retries) == (RunStatus.COMPLETED, "In Oslo.", 2)
    reconcile(server.received, result, spent)


@pytest.mark.parametrize(
    ("provider", "message"), [("openai", "context_length_exceeded"), ("anthropic", "prompt is too long: 1 token")]
)
async def test_a_prompt_that_is_too_long(memory: Memory, provider: str, message: str) -> None:
    """A prompt that does not fit the model has a status of its own."""
    with ProviderServer([Fault(kind=FaultKind.STATUS, status=400, message=message)]) as server:
        result, spent = await ask(memory, team(client(provider, server)))
    assert result.status is RunStatus.CONTEXT_LIMIT
    assert message in (result.error or "")
    reconcile(server.received, result, spent)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_the_wait_that_a_provider_asks_for(memory: Memory, provider: str) -> None:
    """It is kept, on the monotonic clock, within the policy's limit; Ollama's client does not tell of it."""
    plan: Plan = [Fault.rate_limit(0.4), Fault.rate_limit(3600), ANSWER, Step(structured=JUDGEMENT)]
    with ProviderServer(plan) as server:
        policy = CallPolicy(first_wait=0.0, longest_wait=0.5)
        result, spent = await ask(memory, team(client(provider, server)), policy=policy)
    first, second, third, _ = (received.at for received in server.received)
    assert second - first >= 0.4
    assert third - second >= 0.5
    assert result.approved
    reconcile(server.received, result, spent)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_cancelling_reaches_the_provider(memory: Memory, provider: str) -> None:
    """A run that is cancelled within a call calls its request off, and counts it as cancelled."""
    with ProviderServer([Fault(kind=FaultKind.STALLED)]) as server:
        async with Mars.open(memory, team=team(client(provider, server))) as mars:
            task = asyncio.ensure_future(mars.run(QUESTION, user="ann"))
            with anyio.fail_after(DEADLINE):
                while not server.received:
                    await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                while not server.left:
                    await asyncio.sleep(0.01)
            spent = await mars.calls.ledger.spent(Scope("user", "ann"))
    assert (spent.calls, spent.cancelled, spent.failures, spent.held_calls) == (1, 1, 0, 0)


async def test_a_client_that_leaves_while_it_is_written_to_is_seen() -> None:
    """Whoever breaks off is counted, also where the server learns it from what it could not send any more."""
    body = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
    with ProviderServer([Step(text="word " * 20_000)]) as server:
        at = urlsplit(server.openai_url)
        with socket.create_connection((at.hostname or "", at.port or 0)) as leaver:
            leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leave without a word
            head = f"POST {at.path}/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
            leaver.sendall(head.encode() + body)
            assert await anyio.to_thread.run_sync(leaver.recv, 1)
        with anyio.fail_after(DEADLINE):
            while not server.left:
                await anyio.sleep(0.01)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_budgets_hold_against_faults(memory: Memory, provider: str) -> None:
    """Retries cannot pass a budget of calls, nor silence one of time."""
    down = Fault(kind=FaultKind.STATUS, status=503)
    with ProviderServer([down, down]) as server:
        people = team(client(provider, server), budget=Budget(calls=2))
        result, spent = await ask(memory, people, policy=CallPolicy(first_wait=0.0, attempts=5))
        assert (result.status, result.stop_reason) == (
            RunStatus.BUDGET_EXHAUSTED,
            "the turn's budget of calls (2) is used up",
        )
        reconcile(server.received, result, spent)
    with ProviderServer([Fault(kind=FaultKind.SILENT)]) as server:
        started = time.monotonic()
        result, _ = await ask(memory, team(client(provider, server)), budget=Budget(wall=0.3))
        assert (result.status, len(server.received)) == (RunStatus.BUDGET_EXHAUSTED, 1)
        assert time.monotonic() - started < DEADLINE


async def test_a_budget_of_tokens_holds_for_a_provider_that_tells_none(memory: Memory) -> None:
    """Without usage in its streams, as OpenAI's client asks for where a base URL is given, the reservation counts."""
    alone = frozenset({"checker", "reflection"})
    with ProviderServer(lambda received: "In Oslo [m1].") as server:
        model = client("openai", server, stream_usage=None)
        people = Team(assistant=Assistant(model=model), without=alone, budget=Budgets(conversation=Budget(tokens=2000)))
        async with Mars.open(memory, team=people) as mars:
            found = [await mars.run(QUESTION, user="ann", conversation="talk") for _ in range(9)]
            spent = await mars.calls.ledger.spent(Scope("user", "ann"))
        asked = len(server.received)
    assert found[0].status is RunStatus.COMPLETED
    assert found[-1].status is RunStatus.BUDGET_EXHAUSTED
    assert (spent.calls, spent.cancelled, spent.held_calls, spent.usage.input_tokens) == (asked, 0, 0, 0)
    assert 256 * asked < spent.held_tokens <= 2000


# The client's own retries


@pytest.mark.parametrize("provider", ["openai", "responses", "anthropic"])
async def test_a_client_tries_nothing_again_by_itself(memory: Memory, provider: str) -> None:
    """A client that would retry unseen is copied without it; the caller's own object keeps its settings."""
    with ProviderServer(Faulty({"down": Fault(kind=FaultKind.STATUS, status=500)}, 2)) as server:
        model = client(provider, server, max_retries=2)
        result, spent = await ask(memory, team(model), named("down"), policy=CallPolicy(first_wait=0.0))
        assert model.max_retries == 2
        twin: Any = resolve_model(model)
        assert twin.max_retries == 0
        assert resolve_model(twin) is twin
    assert [received.retried for received in server.received] == [0] * 4
    assert (result.usage.retries, result.usage.failures) == (2, 2)
    reconcile(server.received, result, spent)


async def test_retries_of_a_client_would_be_missed(memory: Memory) -> None:
    """What this file calls reconciled is not where a client of an unknown kind retries: the check can fail."""

    class Unknown(ChatOpenAI):  # type: ignore[misc, valid-type]
        @property
        def _llm_type(self) -> str:
            return "somebody-elses"

    down = Fault(kind=FaultKind.STATUS, status=500, headers=(("retry-after-ms", "1"),))
    with ProviderServer(Faulty({"down": down}, 1)) as server:
        model = opened(Unknown(model="gpt-test", base_url=server.openai_url, api_key="none", max_retries=2))
        result, spent = await ask(memory, team(model), named("down"))
    assert result.approved
    assert [received.retried for received in server.received][:2] == [0, 1]
    with pytest.raises(AssertionError):
        reconcile(server.received, result, spent)


# The server itself


async def test_a_plan_that_is_used_up() -> None:
    """One request too many, one too few, and a step that only a scripted model can take are told as such."""

    async def asked(times: int, *plan: Answer) -> ProviderServer:
        with ProviderServer(plan) as server:
            for _ in range(times):
                await client("ollama", server).ainvoke("hi")
        return server

    with pytest.raises(Exception, match="used up; request 2, to /server-"):
        await asked(2, ANSWER)
    with pytest.raises(Exception, match="plan a Fault"):
        await asked(1, Step(error=ValueError()))
    server = await asked(0, ANSWER)
    with pytest.raises(ScriptError, match="1 of 1"):
        server.assert_finished()
    server = ProviderServer([])
    with pytest.raises(ScriptError, match="used up"), server:
        assert (await asyncio.to_thread(client("ollama", server)._client._client.post, "/api/chat", json={})).is_error


async def test_faults_are_checked() -> None:
    """A fault is an error, and breaks off something."""
    with pytest.raises(InvalidSetting, match="400 to 599"):
        Fault(kind=FaultKind.STATUS, status=200)
    with pytest.raises(InvalidSetting, match="three words"):
        Fault(kind=FaultKind.TRUNCATED, text="in Rome")


async def test_no_key_is_kept() -> None:
    """What a server remembers of a request has no headers, so a key in one cannot leak from it."""
    with ProviderServer([ANSWER]) as server:
        await opened(ChatOpenAI(model="gpt-test", base_url=server.openai_url, api_key="sk-secret")).ainvoke("hi")
    assert "sk-secret" not in repr(server.received)
