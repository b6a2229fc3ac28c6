"""When going on is of no use: the same draft again, drafts that go back and forth, a score that does not move, an
action that fails twice alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mars.agents.rendering import without_citations
from mars.agents.verdicts import Verdict

_NOT_RUN = ("Rejected by the Checker", "Not run:")
"""How the reply to an action begins that never ran; so many rejections in a row end as `invalid_action`."""
FLAT = 3
"""So many rejections in a row with one score and the same kinds of issues are no progress."""


def normalised(draft: str) -> str:
    """Return a draft so that two that differ in citations, case or spaces only are equal."""
    return " ".join(without_citations(draft).casefold().split())


def no_progress(drafts: Sequence[str], verdicts: Sequence[Verdict]) -> str | None:
    """Return why the newest draft is no progress over the earlier ones, or None. Oldest first, of equal length."""
    if len(drafts) < 2:
        return None
    newest, earlier = normalised(drafts[-1]), [normalised(draft) for draft in drafts[:-1]]
    if newest == earlier[-1]:
        return "the same draft again"
    if newest in earlier:
        return "drafts go back and forth"
    tail = verdicts[-FLAT:]
    if len(tail) == FLAT and len({(v.score, tuple(issue.kind for issue in v.issues)) for v in tail}) == 1:
        return f"{FLAT} drafts with the same score and the same issues"
    return None


def repeated_failure(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why the newest failed action is no progress, or None: the same call failed before in the same words.

    Takes the turn's messages with a tool as `langchain_core.messages.message_to_dict` gives them, oldest first.
    """
    calls: dict[str, str] = {}
    failed: list[tuple[str, str]] = []
    for message in messages:
        data = message["data"]
        for call in data.get("tool_calls") or ():
            calls[str(call["id"])] = json.dumps([call["name"], call["args"]], sort_keys=True, default=str)
        if message["type"] == "tool":
            own = calls.get(str(data["tool_call_id"]), "")
            if str(data["content"]).startswith(_NOT_RUN):
                continue
            if data.get("status") == "error":
                failed.append((own, str(data["content"])))
            elif failed and failed[-1][0] == own:
                failed.clear()
    if len(failed) > 1 and failed[-1] in failed[:-1]:
        return "the same action again, with the same error"
    return None
