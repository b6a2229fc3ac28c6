"""How recalled records, lessons and the task are rendered into a prompt: as data, never as instructions.

A prompt for the Assistant is a system message (its role) and one human message of blocks:

```
<memories>
{"id": "m1", "date": "2023-05-08", "speaker": "Caroline", "text": "I went … yesterday", "dates": {…}}
</memories>
<lessons>
{"text": "What Bob said on … is out of date: …", "avoid": ["m1"], "not_before": "2023-06-01", "abstain": true}
</lessons>
<conversation>
{"speaker": "user-1", "text": "…"}
</conversation>
<task>
{"user": "user-1", "asked_on": "2023-09-01", "text": "When did Caroline go to the support group?"}
</task>
```

A memory's keys are id, date, speaker, kind, text and dates ({"yesterday": "2023-05-07"}). One JSON object a line, ASCII
only, with ``<``, ``>`` and ``&`` written as JSON escapes: no text can close a block or open another. An empty block is
left out; keys without a value too. A ref in a lesson names a memory of the same prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mars.agents.interfaces import NOT_KNOWN, Evidence, Review, Task
from mars.agents.reflections import Reflection

CITATION = re.compile(r"\[([mw]\d+)\]")
"""A citation in a draft: ``[m1]``."""


MAX_SHOWN = 4_000
"""The most characters of one record's or lesson's text that enter a prompt; checks of the evidence see all of it."""


def shown(text: str) -> str:
    """Return as much of a text as a prompt takes; what is cut says so."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} … (cut: {len(text):,} characters in all)"


def as_line(values: Mapping[str, Any]) -> str:
    """Return one JSON object on one line that can stand inside a block."""
    line = json.dumps({key: value for key, value in values.items() if value not in (None, "", [], {}, ())})
    return line.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def block(name: str, lines: Iterable[str]) -> str:
    """Return a block of lines between tags, or nothing if there are none."""
    body = "\n".join(lines)
    return f"<{name}>\n{body}\n</{name}>\n" if body else ""


def render_memories(evidence: Sequence[Evidence]) -> str:
    """Return the block of recalled records."""
    return block(
        "memories",
        (
            as_line(
                {
                    "id": item.ref,
                    "date": item.said_at.date().isoformat(),
                    "speaker": item.speaker,
                    "kind": item.kind,
                    "text": shown(item.text),
                    "dates": dict(item.resolved),
                }
            )
            for item in evidence
        ),
    )


def render_lessons(reflections: Sequence[Reflection], evidence: Sequence[Evidence]) -> str:
    """Return the block of lessons; record ids become the refs of this prompt, those not in it are dropped."""
    refs = {item.record: item.ref for item in evidence}
    lines = []
    for reflection in reflections:
        plan = reflection.plan
        lines.append(
            as_line(
                {
                    "text": shown(reflection.text),
                    "avoid": [refs[record] for record in plan.avoid if record in refs],
                    "not_before": plan.not_before.date().isoformat() if plan.not_before else None,
                    "speaker": plan.speaker,
                    "abstain": plan.abstain or None,
                }
            )
        )
    return block("lessons", lines)


def render_conversation(summary: str, window: Sequence[Mapping[str, Any]]) -> str:
    """Return the newest turns of a conversation, after what was said before them in a few lines."""
    earlier = block("earlier", (as_line({"summary": line}) for line in summary.splitlines()))
    return earlier + block("conversation", map(as_line, window))


def render_task(task: Task) -> str:
    """Return the block of the task."""
    return block(
        "task",
        [
            as_line(
                {
                    "user": task.user,
                    "asked_on": task.asked_at.date().isoformat(),
                    "text": task.text,
                    "constraints": list(task.constraints),
                }
            )
        ],
    )


def render_tools(review: Review) -> str:
    """Return the block of what tools returned, and of how they failed."""
    lines = [as_line({"text": text}) for text in review.tool_results]
    return block("tool_results", (*lines, *(as_line({"error": text}) for text in review.tool_errors)))


def citations(draft: str) -> tuple[str, ...]:
    """Return the refs that a draft cites, each once, in order."""
    return tuple(dict.fromkeys(CITATION.findall(draft)))


def says_not_known(draft: str) -> bool:
    """Return whether a draft says that the answer is not known, and nothing else."""
    return without_citations(draft).rstrip(" .").casefold() == NOT_KNOWN.rstrip(".").casefold()


def without_refs(text: str, evidence: Iterable[Evidence], cited: Iterable[str] = ()) -> tuple[str, tuple[str, ...]]:
    """Return a text in which refs are told in words that stay true, and the ids of the records that they stand for.

    ``m1`` becomes "what Caroline said on 2023-05-08". Of refs that stand for nothing only those of `cited` are known to
    be refs; other words that look like one stay.
    """
    known = {item.ref: item for item in evidence}
    refs = dict.fromkeys((*known, *cited))
    named = [ref for ref in refs if re.search(rf"\b{ref}\b", text)]
    for ref in named:
        text = _in_words(known.get(ref)).join(re.split(rf"\[{ref}\]|\b{ref}\b", text))
    return text, tuple(dict.fromkeys(known[ref].record for ref in named if ref in known))


def _in_words(item: Evidence | None) -> str:
    if item is None:
        return "an unknown memory"
    who = f"what {item.speaker} said on" if item.speaker else f"the {item.kind} of"
    return f"{who} {item.said_at.date().isoformat()}"


def without_citations(draft: str) -> str:
    """Return a draft as the user sees it."""
    return re.sub(r"\s+([.,;!?])", r"\1", re.sub(r"\s{2,}", " ", CITATION.sub("", draft))).strip()
