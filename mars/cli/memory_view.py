"""How records, hits and changes look: as JSON values and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from mars.memory.records import Change, Explanation, Hit, Provenance, Record
from mars.memory.views import standing_at

if TYPE_CHECKING:
    from mars.memory.presets import Preset

WIDTH = 80
"""Characters of a text that a table shows."""


def record_values(record: Record, preset: Preset, now: datetime) -> dict[str, Any]:
    """Return every field of a record as JSON values, with its retention and tier at `now`."""
    values = {one.name: _plain(getattr(record, one.name)) for one in fields(record)}
    standing = standing_at(record, preset, now)
    return values | {"retention": standing.retention, "tier": standing.tier.value}


def hit_values(hit: Hit, preset: Preset, now: datetime) -> dict[str, Any]:
    """Return a hit as JSON values: its record's, its numbers, whether it is exact, and the explanation if asked for."""
    values = record_values(hit.record, preset, now)
    values |= {"rank": hit.rank, "relevance": hit.relevance, "exact": hit.exact}
    if hit.explanation is not None:
        values["explanation"] = {one.name: _plain(getattr(hit.explanation, one.name)) for one in fields(Explanation)}
    return values


def change_values(change: Change) -> dict[str, Any]:
    """Return a change as JSON values."""
    return {one.name: _plain(getattr(change, one.name)) for one in fields(change)}


def record_lines(records: Sequence[Record], preset: Preset, now: datetime) -> Text:
    """Return two lines for each record: day, retention at `now` and words, then its id and what it is."""
    lines = Text(overflow="fold")
    for record in records:
        left = standing_at(record, preset, now).retention
        who = f"{record.speaker}: " if record.speaker else ""
        lines.append(f"{record.event_time.date().isoformat()} {left:>4.0%}  ", style="bold")
        lines.append(f"{who}{shortened(record.text)}\n")
        what = [record.id, record.kind.value, record.status.value, *(["pinned"] if record.pinned else [])]
        lines.append(f"    {' '.join(what)}\n", style="dim")
    lines.rstrip()
    return lines


def hit_table(hits: Sequence[Hit]) -> Table:
    """Return hits as a table, best first."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("rank", "relevance", "retention"):
        table.add_column(name, justify="right")
    for name in ("said on", "by", "text"):
        table.add_column(name, overflow="fold")
    for hit in hits:
        day, who = hit.record.event_time.date().isoformat(), Text(hit.record.speaker or "")
        figures = (f"{hit.rank:.3f}", f"{hit.relevance:.2f}", f"{hit.retention:.0%}")
        text = Text(shortened(hit.record.text))
        if hit.explanation is not None:
            text.append(f"\n{_in_short(hit.explanation)}", style="dim")
        table.add_row(*figures, day, who, text)
    return table


def _in_short(parts: Explanation) -> str:
    """Return in one line how a rank came about."""
    if parts.weighed:
        line = f"trust {parts.trust:.2f} · weighted ({in_words(dict(parts.weighed))})"
    else:
        factors = f"{parts.retention_factor:.3f} · importance {parts.importance_factor:.2f} · trust {parts.trust:.2f}"
        line = f"fusion {parts.fusion:.3f} · retention {factors}"
    words = ", ".join(parts.terms) or "none"
    line += f"; words {parts.lexical_weight:.2f} ({words}), cosine {parts.cosine:.2f}"
    return f"{line}; alike {parts.likeness:.2f}" if parts.likeness else line


def details(values: dict[str, Any]) -> Table:
    """Return the fields that have a value as two columns."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        if value not in (None, [], {}, ""):
            table.add_row(name, Text(in_words(value)))
    return table


def in_words(value: Any) -> str:
    """Return a value as a table shows it: fractions with three digits, a mapping as "name value, name value"."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(one)}" for name, one in value.items() if one is not None)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def shortened(text: str) -> str:
    """Return one line of at most `WIDTH` characters."""
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Provenance):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "keys"):
        return dict(value)
    return getattr(value, "value", value)
