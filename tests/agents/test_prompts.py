"""Prompts are data with versions: no words change without one."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mars.agents import prompts
from mars.agents.prompts import ASSISTANT, PROMPTS, Prompt

SNAPSHOTS: dict[str, Any] = runpy.run_path(str(Path(__file__).parent / "snapshot_prompts.py"))


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.id)
def test_words_are_those_of_the_version(prompt: Prompt) -> None:
    """Each prompt says what its version said when it was written."""
    assert SNAPSHOTS["complaint"](prompt) is None


def test_every_prompt_is_kept() -> None:
    """Each prompt of the module is in the list, with an id of its own, and no snapshot is of a version yet to come."""
    found = {value for value in vars(prompts).values() if isinstance(value, Prompt)}
    assert found == set(PROMPTS)
    assert len({prompt.id for prompt in PROMPTS}) == len(PROMPTS)
    newest = {prompt.name: prompt.version for prompt in PROMPTS}
    for file in SNAPSHOTS["FOLDER"].glob("*.txt"):
        name, _, version = file.stem.rpartition("-v")
        assert int(version) <= newest[name], f"{file.name} is newer than its prompt"


def test_a_change_of_words_is_noticed() -> None:
    """New words under an old version are refused, and so is a new version without a snapshot."""
    assert "raise its version" in SNAPSHOTS["complaint"](replace(ASSISTANT, text=ASSISTANT.text + " Be kind."))
    assert "has no snapshot" in SNAPSHOTS["complaint"](replace(ASSISTANT, version=ASSISTANT.version + 1))
