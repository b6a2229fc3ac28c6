"""Whether `mars ask` answers from an ingested conversation, with its sources.

    python -m benchmarks.ask_locomo [locomo5.json]

Asks questions that the file answers, in one store that holds all its conversations, each in a process of its own.
`sourced` counts the answers that came with a source; `verbatim` those whose sources are turns of the file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.commands import LOCOMO, run, store_in

FIRST = "When did Caroline go to the LGBTQ support group?"


def turns(conversations: list[dict[str, Any]]) -> list[str]:
    """The text of every turn."""
    sessions = [talk for sample in conversations for talk in sample["conversation"].values() if isinstance(talk, list)]
    return [turn["text"] for session in sessions for turn in session]


def questions(conversations: list[dict[str, Any]], each: int = 2) -> list[str]:
    """The first question of the issue's own conversation, and the first single-hop ones of each."""
    found = [FIRST]
    for sample in conversations:
        found += [qa["question"] for qa in sample["qa"] if qa["category"] == 4][:each]
    return found


def main() -> None:
    """Print the report as one line of JSON."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else LOCOMO
    conversations = json.loads(file.read_text(encoding="utf-8"))
    said = turns(conversations)
    with tempfile.TemporaryDirectory() as scratch:
        store = store_in(scratch)
        added = run("ingest", file, "--format", "locomo", "--namespace", "bench", store=store)["added"]
        asked = questions(conversations)
        answers = [run("ask", question, "--namespace", "bench", store=store) for question in asked]
    texts = [[source["text"] for source in answer["sources"]] for answer in answers]
    report = {
        "added": added,
        "asked": len(asked),
        "sourced": sum(bool(answer["sources"]) and bool(answer["answer"]) for answer in answers),
        "approved": sum(answer["approved"] for answer in answers),
        "verbatim": sum(bool(found) and all(any(text in turn or turn in text for turn in said) for text in found)
                        for found in texts),
        "first": {key: answers[0][key] for key in ("answer", "status", "approved", "iterations")},
    }  # fmt: skip
    print(json.dumps(report))


if __name__ == "__main__":
    main()
