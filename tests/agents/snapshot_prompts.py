"""Keep the words of each prompt's version: ``python tests/agents/snapshot_prompts.py`` writes those that are new.

What is there is never written again. Whoever changes a prompt raises its version, runs this, and commits the file.
"""

from __future__ import annotations

from pathlib import Path

from mars.agents.judge import system_text
from mars.agents.prompts import PROMPTS, Prompt

FOLDER = Path(__file__).resolve().parent / "prompts"
"""One file for each version of each prompt."""


def words(prompt: Prompt) -> str:
    """What a model reads: the text, with the kinds of issues filled in where they belong."""
    return system_text(prompt) + "\n"


def complaint(prompt: Prompt, folder: Path = FOLDER) -> str | None:
    """Say what is wrong with a prompt's snapshot, and what helps; None if nothing is."""
    file = folder / f"{prompt.id}.txt"
    if not file.exists():
        return f"{prompt.id} has no snapshot: run python tests/agents/snapshot_prompts.py and commit {file.name}"
    if file.read_text("utf-8") != words(prompt):
        return f"the words of {prompt.id} have changed: raise its version in agents/prompts.py, and snapshot that"
    return None


def main() -> None:
    """Write the snapshots that are missing."""
    for prompt in PROMPTS:
        file = FOLDER / f"{prompt.id}.txt"
        if not file.exists():
            file.write_text(words(prompt), "utf-8")
            print(f"written: {file.name}")


if __name__ == "__main__":
    main()
