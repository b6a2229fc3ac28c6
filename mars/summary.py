"""The running summary of a conversation by a rule: what left the window, in a few lines.

Keyless and deterministic: each turn that leaves gives one line, the first sentence of what was told, or a question with
its answer. When there are too many characters, the line goes whose words the other lines say best anyway; of two, the
older one. So the summary's size is bounded however long the conversation is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from mars.language import tells, words
from mars.persistence.transcript import Utterance

LIMIT = 2000
"""The most characters of a summary."""

LINE = 200
"""The most characters of one of its lines."""

SENTENCE = re.compile(r"(?<=[.!?])\s")


def summarise(summary: str, leaving: Sequence[Utterance]) -> str:
    """Return a summary that also covers a turn that leaves the window."""
    lines = [line for line in summary.split("\n") if line]
    line = line_of(leaving)
    if line and line not in lines:
        lines.append(line)
    return _fitting(lines)


def bounded(text: str) -> str:
    """Return somebody else's summary within the bounds of ours: lines of `LINE` characters, `LIMIT` in all."""
    return _fitting([_cut(" ".join(line.split()), LINE) for line in text.splitlines() if line.strip()])


def _fitting(lines: list[str]) -> str:
    while sum(map(len, lines)) + len(lines) > LIMIT:
        del lines[_least_missed(lines)]
    return "\n".join(lines)


def line_of(turn: Sequence[Utterance]) -> str:
    """Return a turn in one line of at most `LINE` characters; empty for a turn without words."""
    asked = next((one for one in turn if one.source == "user"), None)
    answered = next((one for one in turn if one.source == "assistant"), None)
    if asked is None:
        return ""
    first = _first_sentence(asked.text)
    said = f"{asked.speaker}: {_cut(first, LINE // 2)}"
    if answered is None or tells(asked.text):
        return _cut(f"{asked.speaker}: {first}", LINE)
    return _cut(f"{said} → {_first_sentence(answered.text)}", LINE)


def _first_sentence(text: str) -> str:
    return SENTENCE.split(" ".join(text.split()), maxsplit=1)[0]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _least_missed(lines: Sequence[str]) -> int:
    """Return the place of the line with the smallest share of words that no other line has; the oldest of several."""
    said = [frozenset(words(line)) for line in lines]
    count = Counter(word for line in said for word in line)
    shares = [sum(count[word] == 1 for word in line) / max(1, len(line)) for line in said]
    return min(range(len(lines)), key=lambda place: (shares[place], place))
