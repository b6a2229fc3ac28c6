"""When going on is of no use: the same draft again, drafts that go back and forth, a score that does not move."""

from __future__ import annotations

from collections.abc import Sequence

from mars.agents.rendering import without_citations
from mars.agents.verdicts import Verdict

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
