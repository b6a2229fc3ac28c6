"""A story as JSON values: what was told, what was asked and answered, what was kept and what was forgotten."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mars.memory.interfaces import Status, Tier
from mars.simulation.life import DAYS, Life, Part, draw_life
from mars.simulation.story import Answered, Story, live


def lived(seed: int, without: Collection[str] = (), store: str = "memory:") -> dict[str, Any]:
    """Live the life of a seed from start to end and return its report; what processes of a pool are given to do."""
    import anyio

    return report(anyio.run(lambda: live(draw_life(seed), without=without, store=store)))


def report(story: Story, picture: str | None = None) -> dict[str, Any]:
    """Return a story as JSON values; the keys are stable."""
    life = story.life
    return {
        "seed": life.seed,
        "user": life.user,
        "preset": story.rules.name,
        "without": sorted(story.without),
        "days": DAYS,
        "start": life.start.date().isoformat(),
        "told": [_told(life, topic, part) for topic, part in life.parts.items()],
        "asked": [_asked(answered) for answered in story.answered],
        "forgotten": _standing(story, Tier.FORGOTTEN),
        "kept": _standing(story, Tier.SHORT_TERM, Tier.LONG_TERM),
        "memories": len(story.traces),
        "seconds": round(story.seconds, 2),
        "picture": picture,
    }


def _told(life: Life, topic: str, part: Part) -> dict[str, Any]:
    values: dict[str, list[int]] = {}
    for turn in life.told(topic):
        values.setdefault(str(turn.value), []).append(turn.day)
    return {
        "topic": topic,
        "part": part.value,
        "values": [{"value": value, "days": days} for value, days in values.items()],
        "turns": [{"day": turn.day, "act": turn.act.value, "text": turn.text} for turn in life.told(topic)],
    }


def _asked(answered: Answered) -> dict[str, Any]:
    turn, result = answered.turn, answered.result
    return {
        "topic": turn.topic,
        "question": turn.text,
        "day": turn.day,
        "lessons_recalled": len(answered.lessons),
        "attempts": [
            {
                "draft": attempt.draft,
                "verdict": attempt.verdict.decision.value,
                "issues": [issue.kind.value for issue in attempt.verdict.issues],
            }
            for attempt in result.attempts
        ],
        "reflections": [reflection.text for reflection in result.reflections],
        "answer": result.answer,
        "approved": result.approved,
        "status": result.status.value,
        "sources": [{"text": source.text, "retention": round(source.retention, 4)} for source in result.sources],
    }


def _standing(story: Story, *tiers: Tier) -> list[dict[str, Any]]:
    """Return the told facts whose strongest memory ends in one of these tiers."""
    found = []
    for topic in story.life.parts:
        live = [trace for trace in story.of_topic(topic) if trace.record.status is not Status.SUPERSEDED]
        best = max(live, key=lambda trace: trace.retention, default=None)
        if best is not None and best.tier in tiers:
            found.append(
                {
                    "topic": topic,
                    "text": best.record.text,
                    "retention": round(best.retention, 4),
                    "uses": best.record.uses,
                }
            )
    return found
