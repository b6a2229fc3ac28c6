"""A chat at the terminal that still knows tomorrow what it is told today.

    python examples/chat.py [--model openai:gpt-…] [--db chat.db]

The words appear as they come, and go again where the Checker does not let them pass. Ctrl-C stops an answer, Ctrl-D
ends the chat. Killed in the midst of an answer, or while it waits for your decision, it goes on with that when it is
started again. Without `--model` the built-in reader answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from rich.live import Live
from rich.text import Text

from mars import Event, Mars, RunResult, RunStatus
from mars.events import Preview
from mars.people import ask_user
from mars.runtime import SyncMars

USER = TALK = "me"


def show(events: Iterator[Event]) -> RunResult:
    """Show a turn while it runs; return its result."""
    seen, result = Preview(), None
    with Live(auto_refresh=False) as screen:
        for event in events:
            seen.add(event)
            screen.update(Text(seen.text and f"{seen.text}\n"), refresh=True)
            result = event.result or result
    assert result is not None
    return result


def decided(asked: Mapping[str, Any]) -> dict[str, str]:
    """Return what a person decides about a question or an action."""
    if asked["kind"] == "question":
        said = input(f"It asks you: {asked['arguments']['question']}\n(Enter: go on without) ")
        return {"choice": "answer", "text": said} if said.strip() else {"choice": "reject"}
    said = input(f"May {asked['tool']} run with {dict(asked['arguments'])}? [y/N] ")
    return {"choice": "approve" if said.lower().startswith("y") else "reject"}


def finish(mars: SyncMars, result: RunResult) -> None:
    """Have a person decide what a turn waits for, until it is over; say so where it has no answer."""
    while result.status is RunStatus.WAITING:
        mars.decide(TALK, {**decided(result.asks[0]), "by": USER})
        result = show(mars.stream_resume(TALK))
    if not result.answer:
        print(f"({result.error or result.stop_reason})")


def talk(mars: SyncMars) -> None:
    """Finish what an earlier process left, then chat until there are no more lines."""
    try:
        for left in mars.unfinished():
            print(f"You had asked: {left.task}")
            finish(mars, show(mars.stream_resume(TALK, on_busy="queue")))  # a killed process holds it for 15 s more
        while True:
            line = input("you> ").strip()
            try:
                if line:
                    finish(mars, show(mars.stream(line, user=USER, conversation=TALK, on_unfinished="abandon")))
            except KeyboardInterrupt:
                print("(stopped)")
    except (EOFError, KeyboardInterrupt):
        print()


def main() -> None:
    """Open the memory, and talk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="such as openai:gpt-…; the built-in reader if left out")
    parser.add_argument("--db", default="chat.db", help="the file that remembers")
    options = parser.parse_args()
    with Mars.open_sync(f"sqlite:///{options.db}", model=options.model, tools=[ask_user]) as mars:
        talk(mars)


if __name__ == "__main__":
    main()
