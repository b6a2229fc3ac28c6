"""The report of a simulation as one page that opens from a disk: no script, no request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from mars.evaluation.reports import memories, sections
from mars.evaluation.reports.measures import Played, best_of, measured
from mars.evaluation.reports.words import Origin, verdict
from mars.pages import page, text
from mars.pages.charts import style

PARTS = (
    ("success", "Success"),
    ("time", "Over time"),
    ("truth", "Forgotten"),
    ("lapses", "Why wrong"),
    ("curves", "Curves"),
    ("calibration", "Calibration"),
    ("cost", "Tokens"),
    ("grid", "Grid"),
    ("parts", "Ablations"),
    ("failures", "Failures"),
    ("origin", "Origin"),
)
"""Ids of the sections with their short names, in order."""


def report_page(values: Mapping[str, Any], episodes: Sequence[Played], origin: Origin) -> str:
    """Return the page of finished episodes; `values` is what `mars.evaluation.simulations.simulation_report` gives."""
    numbers = measured(episodes, best_of(values))
    body = (
        _head(values, origin),
        _contents(),
        sections.success(values),
        sections.over_time(values, numbers),
        memories.truth(values, numbers),
        memories.lapses(values, numbers),
        memories.curves(numbers),
        memories.calibration(values, numbers),
        sections.tokens_and_latency(values),
        sections.grid(values, numbers),
        sections.ablations(values),
        memories.failures(numbers),
        _origin(values, origin, len(episodes)),
    )
    sheet = files("mars.evaluation.reports").joinpath("report.css").read_text(encoding="utf-8")
    return page(f"{origin.name}: {values['world']}", "\n".join(body), style(), sheet)


def _head(values: Mapping[str, Any], origin: Origin) -> str:
    told = verdict(values, origin)
    state = {True: "holds", False: "fails", None: "untested"}[told.holds]
    warnings = "".join(f'<p class="warning" role="alert">{text(one)}</p>' for one in told.warnings)
    lines = "".join(f"<p>{text(one)}</p>" for one in told.lines)
    best = best_of(values)
    tiles = [("oracle", f"{values['oracle']:.3f}"), ("floor", f"{values['floor']:.3f}")]
    tiles += [
        (name, f"{values['variants'][name]['success']:.3f}")
        for name in ("mars", best)
        if name and name in values["variants"]
    ]
    count = len(origin.config.get("cells", ()))
    tiles += [("cells", str(count)), ("seeds", str(len(origin.config.get("seeds", ()))))]
    drawn = "".join(f"<div><dt>{text(name)}</dt><dd>{value}</dd></div>" for name, value in tiles)
    return (
        f'<header><p class="brand">MARS <span>simulation {text(origin.name)} · world {text(values["world"])}</span></p>'
        f'{warnings}<div class="verdict {state}"><h1>{text(told.title)}</h1>{lines}</div>'
        f'<dl class="tiles">{drawn}</dl></header>'
    )


def _contents() -> str:
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in PARTS)
    return f'<nav aria-label="Parts of this report"><ul>{links}</ul></nav>'


def _origin(values: Mapping[str, Any], origin: Origin, episodes: int) -> str:
    rows = [(name, text(told)) for name, told in facts(origin, episodes)]
    listed = "".join(f"<div><dt>{name}</dt><dd>{told}</dd></div>" for name, told in rows)
    config = text(json.dumps(origin.config, indent=1, ensure_ascii=False))
    told = (
        "A unit is an episode, a cell and a seed, played by every variant. Intervals are percentile bootstraps over "
        "episodes, those of a difference over paired differences. All answers here come from the named model or, where "
        "none is named, from the world's keyless policy: what a language model would make of the same memories this "
        "does not say."
    )
    body = f'<dl class="facts">{listed}</dl><details><summary>The configuration</summary><pre>{config}</pre></details>'
    return sections.section("origin", "How this was made", told, body)


def facts(origin: Origin, episodes: int) -> list[tuple[str, str]]:
    """Return where the results come from, as (name, words)."""
    config = origin.config
    found = [
        ("commit", ", ".join(origin.commits) or "unknown: not played from a checkout"),
        ("version", f"MARS {origin.version}"),
        ("method", "unknown" if origin.method is None else str(origin.method)),
        ("model", str(config.get("model") or "the world's keyless policy")),
        ("episodes", f"{episodes:,}"),
        ("seeds", ", ".join(map(str, config.get("seeds", ())))),
        ("limits", ", ".join(f"{name} {value}" for name, value in dict(config.get("limits", {})).items())),
        ("oracle_feedback", "yes: no measure of the agent" if origin.oracle_feedback else "no"),
        ("sabotage", origin.sabotage or "none"),
    ]
    return [(name, told) for name, told in found if told]
