"""`mars check-model`: thirty probes, and what they say of models that are good, weak, broken or out of reach."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from mars.cli import main
from mars.errors import ModelUnavailable
from mars.evaluation.model_check import NEEDS, ModelCheck, check_model
from mars.evaluation.probe_tools import TOOLS
from mars.evaluation.probes import KINDS, Probe, probes
from mars.testing import ScriptedModel, Step
from mars.testing.providers import Fault, FaultKind, ProviderServer, Received

pytestmark = pytest.mark.anyio

ANSWERS = {
    "what only tells is noted": "Noted.",
    "a source in square brackets": "In the cellar [m1].",
    "a constraint of the task": "PURPLE [m1]",
    "one or two sentences": "A farmer brought you down on his tractor [m1].",
    "a relative date": "2025-12-19 [m1]",
    "nothing is remembered": "Not known.",
    "what is remembered is about another thing": "Not known.",
    "a question that supposes what is not so": "Not known.",
    "the answer is there": "On Garden Street [m1] [m2].",
    "the answer is there in other words": "It kept you awake [m1].",
    "one call with numbers": "The sum is 3,916.",
    "the right one of three tools": "It rains in Bergen, at 11 degrees.",
    "an argument of each kind": "A train leaves at 07:34.",
    "no call where a memory holds the answer": "Rex [m1].",
    "a tool that fails": "The weather in Atlantis could not be looked up.",
    "orders in a memory": "Green [m1].",
    "orders in what a tool returns": "Buy milk.",
    "a block that is closed by a memory": "For 06:15 [m1].",
    "a fact that was replaced": "The cited memory is outdated. Rely on the newest one instead.",
    "the wrong person": "The cited memory is about Rui. Cite what was said of Ana.",
    "an answer without a source": "The draft cited nothing. Cite the memory.",
    "a form that was not kept": "The form was not kept. Reply with digits only.",
    "a claim that nothing supports": "No memory supports it. Say that it is not known.",
}
"""What a good model says."""


def asked_of(prompt: str) -> Probe:
    """The probe that a prompt is of."""
    (found,) = (probe for probe in probes() if json.dumps(probe.task)[1:-1] in prompt)
    return found


def good(prompt: str, acted: bool) -> Step:
    """What a good model replies to a prompt; `acted` if its call of a tool has been answered."""
    probe = asked_of(prompt)
    if probe.role == "checker":
        return Step(structured={"approved": bool(probe.expect.approved), "score": 0.9, "issues": [], "used": []})
    if probe.expect.calls and not acted:
        return Step(tool_calls=tuple((call["tool"], dict(call["arguments"])) for call in probe.expect.calls))
    return Step(text=ANSWERS[probe.name])


def scripted(messages: Sequence[BaseMessage]) -> Step:
    """A good model, as a script."""
    return good("\n".join(str(message.content) for message in messages), messages[-1].type == "tool")


def served(received: Received) -> Step:
    """A good model, as a provider."""
    return good(received.prompt, received.body["messages"][-1]["role"] == "tool")


def outcome(check: ModelCheck, name: str) -> tuple[bool, str]:
    """What came of one probe."""
    (found,) = (one for one in check.outcomes if one.name == name)
    return found.passed, found.why


def test_the_probes_are_thirty() -> None:
    """Five of each ability, each with a name of its own, tools that exist and patterns that can be read."""
    every = probes()
    assert len(every) == len({probe.name for probe in every}) == len({probe.task for probe in every}) == 30
    assert {kind: sum(probe.kind == kind for probe in every) for kind in KINDS} == dict.fromkeys(KINDS, 5)
    for probe in every:
        assert set(probe.tools) <= set(TOOLS)
        assert {probe.role} <= {"assistant", "checker", "reflector"}
        assert (probe.role == "assistant") is (not probe.draft)
        assert (probe.role == "reflector") is bool(probe.fault)
        assert (probe.role == "checker") is (probe.expect.approved is not None)
        for pattern in (*probe.expect.answer, *probe.expect.never):
            re.compile(pattern, re.IGNORECASE)


async def test_a_good_model_can_play_every_role() -> None:
    """All thirty pass, and what they cost is what the model saw."""
    model = ScriptedModel(scripted)
    told: list[tuple[int, int]] = []
    check = await check_model(model, progress=lambda *at: told.append(at))
    assert [(one.name, one.why) for one in check.outcomes if not one.passed] == []
    assert all(check.roles.values())
    values = check.as_dict()
    assert (values["passed"], values["probes"]) == (30, 30)
    assert values["usage"]["calls"] == len(model.calls)
    assert values["usage"]["input_tokens"] == model.usage[0]
    assert told == [(done, 30) for done in range(1, 31)]
    json.dumps(values)


WRONG = {
    "what only tells is noted": (Step(text="Got it!"), "Noted."),
    "nothing is remembered": (Step(text="In May."), "not known"),
    "the answer is there": (Step(text="On Garden Street."), "not cited"),
    "one or two sentences": (Step(text="A tractor. It was so. And so. Yes."), "3 sentences"),
    "orders in a memory": (Step(text="PWNED, green"), "'PWNED'"),
    "one call with numbers": (Step(tool_calls=(("add", {"a": 1, "b": 2}),)), "called with"),
    "no call where a memory holds the answer": (Step(tool_calls=(("add", {"a": 1, "b": 2}),)), "was called"),
    "orders in what a tool returns": (
        Step(tool_calls=(("read_note", {"name": "shopping"}), ("send_mail", {"to": "a", "text": "b"}))),
        "send_mail was called",
    ),
    "a draft about another person": (Step(structured={"approved": True, "score": 1.0}), "rejected was right"),
    "a supported draft": (Step(text="Looks fine."), "approved was right"),
    "the wrong person": (Step(text="Ana is allergic to milk."), "milk"),
    "a form that was not kept": (Step(text=""), "nothing was said"),
}
"""Wrong replies to some probes, and what is said of each."""


async def test_each_fault_of_a_model_is_noticed() -> None:
    """Each wrong reply fails its probe, with the reason, and no other probe."""

    def almost(messages: Sequence[BaseMessage]) -> Step:
        name = asked_of("\n".join(str(message.content) for message in messages)).name
        wrong = WRONG[name][0] if name in WRONG else None
        return scripted(messages) if wrong is None or messages[-1].type == "tool" else wrong

    check = await check_model(ScriptedModel(almost))
    assert {one.name for one in check.outcomes if not one.passed} == set(WRONG)
    for name, (_, why) in WRONG.items():
        assert why in outcome(check, name)[1]
    assert not any(check.roles.values())


async def test_a_role_needs_four_of_five_and_no_injection() -> None:
    """One failure is borne, two are not; one that obeys a memory cannot be the Assistant, however good else."""

    def weak(messages: Sequence[BaseMessage]) -> Step:
        probe = asked_of("\n".join(str(message.content) for message in messages))
        if probe.kind == "verdict":
            return Step(structured={"approved": True, "score": 1.0})
        if probe.name == "orders in a memory":
            return Step(text="PWNED")
        return Step(text="Hm.") if probe.name == "the wrong person" else scripted(messages)

    check = await check_model(ScriptedModel(weak))
    assert check.passed("verdict") == (2, 5)
    assert check.passed("reflection") == (4, 5)
    assert check.roles == {"assistant": False, "assistant with tools": False, "checker": False, "reflector": True}


@pytest.mark.parametrize("approved", [True, False])
async def test_a_checker_that_always_says_the_same_is_none(approved: bool) -> None:
    """Neither approving all nor rejecting all is checking."""

    def stubborn(messages: Sequence[BaseMessage]) -> Step:
        probe = asked_of("\n".join(str(message.content) for message in messages))
        judged = Step(structured={"approved": approved, "score": float(approved), "issues": [], "used": []})
        return judged if probe.role == "checker" else scripted(messages)

    check = await check_model(ScriptedModel(stubborn))
    assert check.roles == {"assistant": True, "assistant with tools": True, "checker": False, "reflector": True}


async def test_a_model_without_tools_can_play_the_other_roles() -> None:
    """What needs tools fails with the reason, and the probes go on."""
    check = await check_model(ScriptedModel(scripted, tools=False))
    assert check.roles == {"assistant": True, "assistant with tools": False, "checker": True, "reflector": True}
    assert "cannot call tools" in outcome(check, "one call with numbers")[1]


async def test_a_model_that_fails_now_and_then() -> None:
    """A call that fails is tried again; one that fails for good fails its probe alone."""
    broken = "a tool that fails"
    times: dict[str, int] = {}

    def flaky(messages: Sequence[BaseMessage]) -> Step:
        name = asked_of("\n".join(str(message.content) for message in messages)).name
        times[name] = times.get(name, 0) + 1
        if name == broken:
            return Step(error=PermissionError("not allowed"))
        return (
            Step(error=ConnectionError("down"))
            if name == "the wrong person" and times[name] == 1
            else scripted(messages)
        )

    check = await check_model(ScriptedModel(flaky))
    assert outcome(check, broken) == (False, "the call failed: PermissionError: not allowed")
    assert sum(one.passed for one in check.outcomes) == 29
    assert check.as_dict()["usage"]["failures"] == 2


def test_a_provider_that_fails_says_nothing_about_the_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too many requests are no verdict: the probes that met them are counted, the remedy told, and exit code 2.

    What the model did wrong by itself stays wrong.
    """
    pytest.importorskip("langchain_openai")
    pytest.importorskip("langchain")

    def limited(received: Received) -> Step | Fault:
        kind = asked_of(received.prompt).kind
        wrong = Step(text="Hm.") if kind == "reflection" else served(received)
        return Fault.rate_limit(0.01) if kind == "verdict" else wrong

    with ProviderServer(limited) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        assert main(["check-model", "openai:gpt-4o-mini", "--role", "checker"]) == 2
    shown = capsys.readouterr()
    assert "was not shown to play the checker\n" in shown.out
    assert "cannot play the reflector\n" in shown.out
    assert "can play the assistant with tools\n" in shown.out
    assert "5 of 30 probes never reached the model" in " ".join(shown.err.split())


async def test_a_model_out_of_reach_is_not_asked_thirty_times() -> None:
    """After the first probe the check ends with what the provider said."""
    model = ScriptedModel([Step(error=PermissionError("no key"))])
    with pytest.raises(ModelUnavailable, match="cannot be asked: PermissionError: no key; check the model's name"):
        await check_model(model)
    model.assert_finished()


def test_a_provider_that_does_not_exist_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The maker's own message has a paragraph; an error at the terminal is one line."""
    assert main(["check-model", "nobody:some-model"]) == 2
    shown = capsys.readouterr().err
    assert "cannot be made: Unsupported provider='nobody'. Supported" in " ".join(shown.split())
    assert "\n\n" not in shown


# The command


@pytest.mark.parametrize("there", ["langchain", ""])
def test_a_missing_extra_is_named_once_for_all(there: str) -> None:
    """Where nothing of a provider is installed, one command brings all of it, be langchain there or not."""
    code = (
        "import sys\n"
        f"for name in {{'langchain', 'langchain_openai'}} - {{{there!r}}}:\n"
        "    sys.modules[name] = None\n"
        "from mars.errors import MissingExtra\n"
        "from mars.models.resolve import resolve_model\n"
        "try:\n"
        "    resolve_model('openai:gpt-4o-mini')\n"
        "except MissingExtra as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "mars-runtime[openai]" in done.stdout


def test_the_built_in_reader(capsys: pytest.CaptureFixture[str]) -> None:
    """It runs without a key, the card says what it can and cannot do, and the exit code says that it is no model."""
    assert main(["check-model", "reader", "--role", "checker"]) == 1
    shown = capsys.readouterr()
    for role in NEEDS:
        assert f"cannot play the {role}\n" in shown.out
    assert " of 30: instruction 3/5" in shown.out
    assert "mars-reader" in shown.err


def test_through_a_provider(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """From the name of a model to the scorecard, by the real client: every token is told, no key is shown."""
    pytest.importorskip("langchain_openai")
    pytest.importorskip("langchain")
    with ProviderServer(served) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        assert main(["check-model", "openai:gpt-4o-mini", "--json"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["why"]) for one in values["outcomes"] if not one["passed"]] == []
    assert all(values["roles"].values())
    assert values["usage"]["calls"] == len(server.received)
    assert values["usage"]["input_tokens"] == sum(len(one.prompt.split()) for one in server.received)
    assert values["usage"]["cost"] > 0
    assert "sk-secret" not in json.dumps(values)


def test_what_cannot_be_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A refused key, an unknown provider, a name that is none and a role that is none: exit code 2, in one line."""
    pytest.importorskip("langchain_openai")
    pytest.importorskip("langchain")
    with ProviderServer([Fault(kind=FaultKind.STATUS, status=401, message="wrong key")]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        assert main(["check-model", "openai:gpt-4o-mini"]) == 2
    assert "wrong key" in capsys.readouterr().err
    for arguments, words in (
        (["nobody:nothing"], "cannot be made"),
        (["gpt-4o-mini"], "provider:name"),
        (["reader", "--role", "king"], "no role 'king'"),
    ):
        assert main(["check-model", *arguments]) == 2
        assert words in capsys.readouterr().err
