"""The cards of a timeline: each line of a log as HTML, with every text escaped."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from mars.pages import text

LANES = ("user", "memory", "assistant", "checker", "reflector", "tools", "person", "runtime")
"""Roles with a colour, in the order of their lanes; others come after them."""

NONE = "\N{EN DASH}"
"""Stands where nothing is known."""


def dictionary(value: object) -> dict[str, Any]:
    """Return a value if it is a dictionary, else an empty one."""
    return dict(value) if isinstance(value, Mapping) else {}


def entries(value: object) -> list[dict[str, Any]]:
    """Return the dictionaries of a list."""
    return [dict(one) for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def number(value: object) -> float:
    """Return a finite number, else 0."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else 0.0  # type: ignore[arg-type]


def count(value: object) -> str:
    """Return a whole number for people; a dash where there is none."""
    return f"{int(number(value)):,}" if isinstance(value, int | float) else NONE


def money(value: object) -> str:
    """Return a cost in US dollars; a dash where the price is not known."""
    if not isinstance(value, int | float):
        return NONE
    return "$0" if not value else f"${number(value):.4f}" if number(value) >= 0.0001 else "&lt; $0.0001"


def seconds(value: float) -> str:
    """Return a time for people."""
    if value < 1:
        return f"{1000 * value:.1f} ms" if value < 0.1 else f"{1000 * value:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def chip(name: object) -> str:
    """Return a word on a coloured ground; its colour goes by its name."""
    told = text(name, 40)
    return f'<span class="chip {told.replace(" ", "-")}">{told.replace("_", " ")}</span>'


def quoted(value: object) -> str:
    """Return what somebody said."""
    return f'<blockquote class="said">{text(value)}</blockquote>'


def shade(role: object) -> str:
    """Return the class that colours what a role did."""
    return f"of-{role}" if role in LANES else "of-runtime"


def card(line: Mapping[str, Any], at: float) -> str:
    """Return a line as a card, `at` seconds from the start; empty for what the lanes show well enough."""
    kind, data = str(line.get("kind")), dictionary(line.get("data"))
    if kind not in CARDS or (kind == "call" and data.get("sort") == "tool" and line.get("text") == "done"):
        return ""
    title, body = CARDS[kind](line, data)
    asked = kind == "header" and data.get("operation") == "run"
    role = "user" if asked else "person" if kind == "interrupt" else line.get("role") or "runtime"
    return (
        f'<article class="{kind} {shade(role)}"><aside><b>{text(role, 40)}</b>'
        f"<time>{seconds(at)}</time></aside><div><h3>{title}</h3>{body}</div></article>"
    )


Parts = tuple[str, str]
"""Title and body of a card."""


def _header(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    if data.get("operation") == "resume":
        return "the turn is resumed", ""
    return f"{text(data.get('user'), 60) or 'somebody'} asked", quoted(line.get("text"))


def _memory_read(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    rows = "".join(_record(one) for one in entries(data.get("records")))
    lessons = "".join(f"<li>{text(one.get('text'))}</li>" for one in entries(data.get("lessons")))
    told = f'<ul class="records">{rows}</ul>' if rows else ""
    told += f'<h4>earlier lessons</h4><ul class="said">{lessons}</ul>' if lessons else ""
    return text(line.get("text")), told


def _record(one: Mapping[str, Any]) -> str:
    share = min(1.0, max(0.0, number(one.get("retention"))))
    level = "high" if share >= 0.66 else "middle" if share >= 0.33 else "low"
    about = " · ".join(filter(None, (text(one.get("speaker"), 40), text(one.get("said_at"), 10).rstrip("…"))))
    return (
        f'<li><code>{text(one.get("ref") or one.get("record"), 12)}</code><span class="said">{text(one.get("text"))}'
        f"<small>{about} · relevance {number(one.get('relevance')):.2f}</small></span>"
        f'<span class="retention {level}" title="retention {share:.0%}"><i style="width:{100 * share:.1f}%"></i>'
        f"<b>{share:.0%}</b></span></li>"
    )


def _draft(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    return "draft", quoted(line.get("text"))


def _verdict(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    verdict, action = dictionary(data.get("verdict")), dictionary(data.get("action"))
    about = f"<small>on</small> <code>{_call(action)}</code>" if action else ""
    score = number(verdict.get("score"))
    why = f"<small>score {score:.2f} · by {text(verdict.get('origin'), 40)}</small>"
    title = f"{chip(verdict.get('decision') or line.get('text'))}{about} {why}"
    issues = "".join(
        f'<li>{chip(one.get("kind"))}<p class="said">{text(one.get("evidence"))}</p>'
        f'<p class="directive said">{text(one.get("directive"))}</p></li>'
        for one in entries(verdict.get("issues"))
    )
    checks = "".join(
        f'<span class="check {text(one.get("outcome"), 20)}">{text(one.get("name"), 40).replace("_", " ")}</span>'
        for one in entries(verdict.get("checks"))
    )
    told = f'<ul class="issues">{issues}</ul>' if issues else ""
    return title, told + (f'<p class="checks">{checks}</p>' if checks else "")


def _reflection(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    plan = dictionary(dictionary(data.get("reflection")).get("plan"))
    told = ", ".join(f"{text(name, 40)}: {text(value, 120)}" for name, value in plan.items() if value)
    return "reflection", quoted(line.get("text")) + (f'<p class="plan">plan: {told}</p>' if told else "")


def _tool(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    action = dictionary(data.get("action"))
    failed = chip("failed") if data.get("failed") else ""
    return f"<code>{_call(action)}</code> {failed}", f'<pre class="said">{text(line.get("text"))}</pre>'


def _call(action: Mapping[str, Any]) -> str:
    arguments = dictionary(action.get("arguments"))
    told = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, default=str)}" for name, value in arguments.items()
    )
    return text(f"{action.get('tool')}({told})", 300)


def _interrupt(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    asked = dictionary(data.get("asked")) or data
    return "a person is asked", f"{quoted(line.get('text'))}<p><code>{_call(asked)}</code></p>"


def _decision(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    decision, action = dictionary(data.get("decision")), dictionary(data.get("action"))
    by = f" by {text(decision.get('by'), 60)}" if decision.get("by") else ""
    about = f"<p><code>{_call(action)}</code></p>" if action else ""
    return f"{chip(line.get('text'))} decided{by}", (quoted(decision["text"]) if decision.get("text") else "") + about


def _noted(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    return text(str(line.get("kind")).replace("_", " ")), f'<p class="said">{text(line.get("text"))}</p>'


def _memory_write(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    told = " ".join(
        f'<span class="check">{text(name, 40).replace("_", " ")} {count(value)}</span>'
        for name, value in data.items()
        if isinstance(value, int) and value
    )
    return text(line.get("text")), f'<p class="checks">{told}</p>' if told else ""


def _made(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    """Tell of a call: the model or the tool, what it took, and how it failed."""
    about = [seconds(number(data.get("latency")))]
    if data.get("sort") == "model" and line.get("text") == "done":
        about += [f"{count(data.get('input_tokens'))} → {count(data.get('output_tokens'))} tokens"]
        about += [money(data.get("cost"))] if data.get("cost") is not None else []
        about += ["out of a cache"] if data.get("cached") else []
    about += [f"attempt {count(data.get('attempt'))}"] if number(data.get("attempt")) > 1 else []
    state = chip(line.get("text")) if line.get("text") != "done" else ""
    wrong = f'<p class="wrong said">{text(data.get("error"))}</p>' if data.get("error") else ""
    return f"<code>{text(data.get('name'), 80)}</code> <small>{' · '.join(about)}</small> {state}", wrong


def _final(line: Mapping[str, Any], data: dict[str, Any]) -> Parts:
    sources = "".join(_record(one) for one in entries(data.get("sources")))
    told = f'<h4>it rests on</h4><ul class="records">{sources}</ul>' if sources else ""
    reason = data.get("stop_reason")
    why = f'<p class="said">{text(reason)}</p>' if reason and reason != data.get("status") else ""
    return chip(data.get("status")), (quoted(line.get("text")) if line.get("text") else "") + why + told


CARDS: dict[str, Callable[[Mapping[str, Any], dict[str, Any]], Parts]] = {
    "header": _header,
    "memory_read": _memory_read,
    "draft": _draft,
    "verdict": _verdict,
    "reflection": _reflection,
    "tool": _tool,
    "interrupt": _interrupt,
    "decision": _decision,
    "retry": _noted,
    "withdrawn": _noted,
    "budget": _noted,
    "memory_write": _memory_write,
    "call": _made,
    "final": _final,
    "broken": _noted,
    "interrupted": _noted,
}
"""How each kind of line is told."""
