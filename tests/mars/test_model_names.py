"""Models by name: what a provider needs of the environment is told before anything is opened or asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mars import Assistant, Checker, Mars, Reflector, Team
from mars.agents.roles import Summariser
from mars.cli import main
from mars.errors import ModelUnavailable
from mars.models.resolve import resolve_model
from mars.testing.providers import ProviderServer

pytest.importorskip("langchain_openai")
ChatAnthropic = pytest.importorskip("langchain_anthropic").ChatAnthropic
pytest.importorskip("langchain_ollama")

KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}

MODELLED = """
world = "assistant"
seeds = [201]
variants = ["none"]
model = "anthropic:some-model"

[grid]
noise = [2]
change = [0.0]
repeat = [0]
gap = [7]
"""
"""A simulation whose questions a model answers."""


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any provider's key."""
    for name in (*KEYS.values(), "OPENAI_ADMIN_KEY", "ANTHROPIC_CUSTOM_HEADERS", "MARS_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("key", [None, "", " "])
@pytest.mark.parametrize("provider", KEYS)
def test_a_missing_key_is_told_when_the_model_is_made(
    provider: str, key: str | None, no_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the first call, where it would be a failed turn; the error names what to set."""
    if key is not None:
        monkeypatch.setenv(KEYS[provider], key)
    with pytest.raises(ModelUnavailable, match=f"needs a key: set {KEYS[provider]} in the environment"):
        resolve_model(f"{provider}:some-model")


@pytest.mark.parametrize("provider", KEYS)
def test_a_server_of_ones_own_takes_any_key(provider: str, no_keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the error says; without one the clients ask nobody. Ollama has no keys, and an object is the caller's."""
    with ProviderServer(["Hello."]) as server:
        monkeypatch.setenv(f"{provider.upper()}_BASE_URL", server.openai_url if provider == "openai" else server.url)
        with pytest.raises(ModelUnavailable, match=f"any value where {provider.upper()}_BASE_URL names a server of"):
            resolve_model(f"{provider}:some-model")
        monkeypatch.setenv(KEYS[provider], "none")
        assert resolve_model(f"{provider}:some-model").invoke("Hi.").text == "Hello."
    assert resolve_model("ollama:some-model")
    assert resolve_model(ChatAnthropic(model="claude-test"))


@pytest.mark.parametrize("role", ["default", "assistant", "checker", "reflector", "summariser"])
async def test_without_a_key_nothing_is_written(role: str, tmp_path: Path, no_keys: None) -> None:
    """Whichever role the model is for, also in a team by name."""
    file = tmp_path / "life.db"
    model: Any = "anthropic:some-model"
    kinds = {"assistant": Assistant, "checker": Checker, "reflector": Reflector, "summariser": Summariser}
    options: dict[str, Any] = {"model": model}
    if role != "default":
        options = {"teams": {"others": Team(**{role: kinds[role](model=model)})}}
    with pytest.raises(ModelUnavailable, match="ANTHROPIC_API_KEY"):
        async with Mars.open(f"sqlite:///{file}", **options):
            pass
    assert not file.exists()


def test_commands_without_a_key_write_nothing(
    tmp_path: Path, no_keys: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line and exit code 2, before a question is read from anybody."""
    monkeypatch.chdir(tmp_path)
    Path("world.toml").write_text(MODELLED, encoding="utf-8")
    for words in (
        ["chat", "--db", "life.db"],
        ["ask", "Who?", "-n", "ann", "--db", "life.db"],
        ["simulate", "world.toml", "--out", "out"],
    ):
        model = [] if words[0] == "simulate" else ["--model", "anthropic:some-model"]
        assert main([*words, *model]) == 2
        assert "set ANTHROPIC_API_KEY in the environment" in capsys.readouterr().err
        assert [one.name for one in tmp_path.iterdir()] == ["world.toml"]
