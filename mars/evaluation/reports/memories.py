"""The parts of a report that look into memories: what was held of the truth, how single ones went, and what failed."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from mars.evaluation.reports.measures import LAPSES, MONTH, Measured, Share
from mars.evaluation.reports.sections import SHARES, ends, key, month_ticks, section
from mars.evaluation.reports.words import NONE, ranked, shared
from mars.memory.curves import Curve, Shape, retention
from mars.pages import text
from mars.pages.charts import Axis, Line, Mark, Panel, behind, stack_track, table

RETENTION = Axis(low=0, high=1, ticks=[(0, "0"), (0.5, ".5"), (1, "1")], label="R")
"""Retention."""
LAPSE_COLOURS = dict(zip(LAPSES, ("grey", "bad", "orange", "purple", "sky"), strict=True))
"""The class of each reason."""
SAMPLES = 160
"""Points of a drawn curve."""


def truth(values: Mapping[str, Any], numbers: Measured) -> str:
    """Show what was retained, rightly forgotten and wrongly forgotten, against the truth."""
    names = [name for name in ranked(values) if name in numbers.standing]
    rows = [[text(name), *_standing(numbers.standing[name])] for name in names]
    heads = ["variant", "true and needed later", "wrongly forgotten", "no longer true", "rightly forgotten"]
    bars = table(heads, rows, caption="Shares over all looks, with 95 % intervals.", kind="strips")
    months = max((len(numbers.needed[name]) for name in names), default=1)
    lossy = [name for name in names if _loses(numbers, name)]
    panels = "".join(_forgetting(name, numbers, months) for name in lossy)
    heads = ["variant", *(f"month {place + 1}" for place in range(months))]
    rows = [
        [f"{text(name)}<small>{sort}</small>", *(shared(one) for one in _padded(kept[name], months))]
        for name in names
        for sort, kept in (("needed, still held", numbers.needed), ("no longer true, still held", numbers.stale))
    ]
    numbered = table(heads, rows, caption="Share that is still held, by month.")
    told = (
        "At the first question of every 30 days the scorer looks into each memory and compares it with the truth, "
        "which no variant is told. A claim of the user that is true and needed by a later question should still be "
        "there: what is not is <b>wrongly forgotten</b>. A claim that is no longer true is <b>rightly forgotten</b> if "
        "no record says it any more; one that still does is no mistake by itself, and can lead to one."
    )
    marks = [("good", "as it should be"), ("bad", "wrongly forgotten"), ("fair", "no longer true, and still there")]
    lines = key([("blue", "true and needed, still held"), ("fair", "no longer true, still held")])
    rest = (
        "" if len(lossy) == len(names) else '<p class="none">In every other variant all of it was held to the end.</p>'
    )
    drawn = behind(f'<div class="panels">{panels}</div>{rest}', numbered)
    return section("truth", "Retained, forgotten, wrongly forgotten", told, key(marks) + bars + lines + drawn)


def _standing(shares: Mapping[str, Share | None]) -> list[str]:
    needed, stale = shares["needed"], shares["stale"]
    cells = []
    for one, lost, names in ((needed, True, ("good", "bad")), (stale, False, ("fair", "good"))):
        if one is None:
            cells += ['<span class="none">none came up</span>', NONE]
            continue
        parts = [
            (one.value, names[0], f"held: {shared(one)}"),
            (1 - one.value, names[1], f"not held: {1 - one.value:.2f}"),
        ]
        bad = ' class="bad"' if lost and one.value < 1 else ""
        gone = f"<span{bad}>{1 - one.value:.2f}</span> <small>({1 - one.high:.2f} to {1 - one.low:.2f})</small>"
        cells += [stack_track(parts if lost else parts[::-1]), gone]
    return cells


def _loses(numbers: Measured, name: str) -> bool:
    return any(one is not None and one.value < 1 for one in (*numbers.needed[name], *numbers.stale[name]))


def _padded(shares: Sequence[Share | None], length: int) -> list[Share | None]:
    return [*shares, *[None] * (length - len(shares))]


def _forgetting(name: str, numbers: Measured, months: int) -> str:
    drawn, marks, said = [], [], []
    for sort, kept, shade in (("no longer true", numbers.stale, "fair"), ("needed", numbers.needed, "blue")):
        there = [(place + 1, one) for place, one in enumerate(kept[name]) if one is not None]
        band = [(x, one.low, one.high) for x, one in there]
        drawn.append(Line(points=[(x, one.value) for x, one in there], band=band, colour=shade))
        marks += [
            Mark(x=x, y=one.value, colour=shade, radius=3, title=f"month {x}, {sort}: {shared(one)} of {one.of} held")
            for x, one in there
        ]
        said += [f"{sort}, month {x}: {one.value:.2f} held" for x, one in there]
    panel = Panel(
        title=f"What {name} still holds",
        description="; ".join(said),
        x=Axis(low=0.5, high=max(2, months) + 0.5, ticks=month_ticks(months)),
        y=SHARES,
        lines=drawn,
        marks=marks,
        height=130,
    )
    return f"<div><h3>{text(name)}</h3>{panel.svg()}</div>"


def lapses(values: Mapping[str, Any], numbers: Measured) -> str:
    """Show why answers were wrong."""
    names = [name for name in ranked(values) if name in numbers.lapses]
    whole = max((sum(one.value for one in numbers.lapses[name].values()) for name in names), default=1.0) or 1.0
    rows = []
    for name in names:
        reasons = numbers.lapses[name]
        parts = [
            (one.value, LAPSE_COLOURS[reason], f"{reason}: {shared(one)}")
            for reason, one in ((reason, reasons[reason]) for reason in LAPSES if reason in reasons)
        ]
        shares = [f"{reasons[reason].value:.3f}" if reason in reasons else "0" for reason in LAPSES]
        rows.append([text(name), stack_track(parts, whole), *shares])
    told = (
        "Every wrong answer has one reason. <b>Never told</b>: it could not be known. <b>Forgotten</b>: nothing that "
        "recall can find says it any more. <b>Not recalled</b>: it was there, and did not come into the prompt. "
        "<b>Not used</b>: it stood in the prompt, and the answer says otherwise. <b>Should abstain</b>: there was "
        "nothing true to say."
    )
    marks = key([(LAPSE_COLOURS[reason], reason) for reason in LAPSES])
    heads = ["variant", ends("0", f"{whole:.2f} of all answers"), *LAPSES]
    caption = "Wrong answers by reason, as shares of all answers."
    return section("lapses", "Why answers were wrong", told, marks + table(heads, rows, caption=caption, kind="strips"))


def curves(numbers: Measured) -> str:
    """Show how chosen memories went: retention over time, with every use."""
    parts = ""
    for name, chosen in numbers.curves.items():
        panels = "".join(_curve(one, chosen["end"]) for one in chosen["curves"])
        rows = [
            [
                f"{text(one['role'])}<small>{text(one['text'], 120)}</small>",
                str(one["uses"]),
                ", ".join(
                    f"{step['event']} on day {step['day']:.0f}, S {step['strength']:.1f}" for step in one["steps"]
                ),
            ]
            for one in chosen["curves"]
        ]
        numbered = table(["memory", "uses", "changes of strength S (days)"], rows, caption=f"Memories of {text(name)}.")
        where = f"{text(chosen['cell'])}, seed {chosen['seed']}"
        drawn = behind(f'<div class="panels">{panels}</div>', f'<div class="wraps">{numbered}</div>')
        parts += f'<h3 class="sub">{text(name)} <small>{where}</small></h3>{drawn}'
    told = (
        "Some memories of one episode of each variant, chosen by the part that they play: the one in which most was "
        "used. Retention falls with time; a use makes it 1 again and the curve flatter."
    )
    marks = key(
        [
            ("blue ring", "told"),
            ("blue dot", "used"),
            ("bad cross", "blamed"),
            ("ink cross", "superseded or archived"),
            ("fair", "no longer true"),
        ]
    )
    return section("curves", "Memories over time", told, marks + (parts or _nothing()))


def _nothing() -> str:
    return '<p class="none">No variant was played in which something fades.</p>'


def _curve(one: Mapping[str, Any], end: float) -> str:
    curve, steps = Curve(Shape(one["shape"]), one["decay"]), _restarts(one["steps"])
    last = min(end, one["gone"]) if one["gone"] is not None else end
    begin = steps[0]["day"] if steps else 0.0
    sampled = [begin + (last - begin) * place / SAMPLES for place in range(SAMPLES + 1)]
    days = sorted({*sampled, *(step["day"] for step in steps), *(step["day"] - 1e-6 for step in steps[1:])})
    days = [day for day in days if begin <= day <= last]
    points = [(day, _retained(curve, steps, day)) for day in days]
    marks = []
    for step in steps:
        before = 1.0 if step is steps[0] else _retained(curve, steps, step["day"] - 1e-6)
        shape = {"told": "ring", "used": "dot", "blamed": "cross"}.get(step["event"], "ring")
        said = f"{step['event']} on day {step['day']:.0f}: R was {before:.2f}, S is {step['strength']:.1f} days"
        shade = "bad" if shape == "cross" else "blue"
        marks.append(Mark(x=step["day"], y=before, title=said, shape=shape, colour=shade, radius=4.5))
    if one["gone"] is not None:
        said, left = f"{one['fate']} on day {last:.0f}: recall finds it no more", _retained(curve, steps, last)
        marks.append(Mark(x=last, y=left, title=said, shape="cross", colour="ink", radius=4.5))
    shaded = [] if one["until"] is None or one["until"] >= end else [(one["until"], end, "no longer true")]
    panel = Panel(
        title=f"Retention of a memory: {one['role']}",
        description="; ".join(mark.title for mark in marks),
        x=Axis(low=0, high=max(end, 1), ticks=_days(end)),
        y=RETENTION,
        lines=[Line(points=points, band=[(x, 0.0, y) for x, y in points])],
        marks=marks,
        rules=[] if one["theta2"] is None else [(one["theta2"], "")],
        shaded=shaded,
        height=132,
    )
    uses = {0: "never used", 1: "used once"}.get(one["uses"], f"used {one['uses']} times")
    said = f'<p class="said quote">“{text(one["text"], 140)}”</p>'
    return f"<div><h3>{text(one['role'])}<small>{uses}</small></h3>{said}{panel.svg()}</div>"


def _restarts(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return steps with the day from which τ counts: blame leaves it where it was."""
    found: list[dict[str, Any]] = []
    for step in steps:
        since = found[-1]["since"] if found and step["event"] == "blamed" else step["day"]
        found.append({**step, "since": since})
    return found


def _retained(curve: Curve, steps: Sequence[Mapping[str, Any]], day: float) -> float:
    place = bisect.bisect_right([step["day"] for step in steps], day) - 1
    step = steps[max(0, place)]
    tau, strength = float(day - step["since"]), float(step["strength"])
    return retention(curve, max(0.0, tau), strength)


def _days(end: float) -> list[tuple[float, str]]:
    step = MONTH if end <= 8 * MONTH else 3 * MONTH if end <= 24 * MONTH else 12 * MONTH
    return [(day, f"day {day}" if day == 0 else str(day)) for day in range(0, int(end) + 1, step)]


def calibration(values: Mapping[str, Any], numbers: Measured) -> str:
    """Show whether records of high retention are used more often than others."""
    names = [name for name in ranked(values) if name in numbers.calibration]
    panels, rows = "", []
    for name in names:
        everything, true = numbers.calibration[name]
        marks, drawn = [], [Line(points=[(0, 0), (1, 1)], kind="dashed", colour="grey")]
        for sort, bins, shade in (("all", everything, "grey"), ("true", true, "blue")):
            most = max((one.used.of for one in bins), default=1)
            drawn.append(Line(points=[(one.retention, one.used.value) for one in bins], colour=shade, kind="thin"))
            for one in bins:
                said = f"R {one.retention:.2f}, {sort}: {shared(one.used)} of {one.used.of} are cited"
                size = 2.5 + 4.5 * (one.used.of / most) ** 0.5
                spread = (one.used.low, one.used.high)
                mark = Mark(x=one.retention, y=one.used.value, title=said, colour=shade, radius=size, spread=spread)
                marks.append(mark)
                rows.append(
                    [f"{text(name)}<small>{sort}</small>", f"{one.retention:.2f}", str(one.used.of), shared(one.used)]
                )
        panel = Panel(
            title=f"Retention against use for {name}",
            description="; ".join(mark.title for mark in marks),
            x=Axis(low=0, high=1, ticks=[(0, "R 0"), (0.5, ".5"), (1, "1")]),
            y=SHARES,
            lines=drawn,
            marks=marks,
            height=190,
        )
        panels += f"<div><h3>{text(name)}</h3>{panel.svg()}</div>"
    told = (
        "What a curve predicts against what happens: the records that stood in prompts, by tenths of their retention "
        "R (left to right), and the share of them that the answer cites (upwards). Blue are the records that were true "
        "of the question. On the dashed line R would be the chance of use itself; a curve that rises ranks what is "
        "used above what is not. What did not come into a prompt does not count here."
    )
    marks_key = key(
        [("blue dot", "true of the question"), ("grey dot", "all records in prompts"), ("dashed", "R = share")]
    )
    numbered = table(["variant", "mean R", "records", "cited (95 %)"], rows, caption="Bins with records in them.")
    body = behind(f'<div class="panels">{panels}</div>', numbered) if names else _nothing()
    return section("calibration", "Retention against use", told, marks_key + body)


def failures(numbers: Measured) -> str:
    """Show wrong answers to read."""
    cards = "".join(_failure(one) for one in numbers.failures) or '<p class="none">Nothing was answered wrongly.</p>'
    told = (
        "Wrong answers of MARS complete and of the best baseline, other reasons and other cells first. The words are "
        "the world's and the model's own. What is true stood in no prompt; it is shown here by the scorer."
    )
    return section("failures", "Failures to read", told, f'<div class="cards">{cards}</div>')


def _failure(one: Mapping[str, Any]) -> str:
    rows = "".join(_recalled(record) for record in one.get("recalled", ()))
    shown = one.get("shown", 0)
    some = f"{shown} record{'' if shown == 1 else 's'} stood in the prompt"
    records = (
        f'<details><summary>{some}</summary><ul class="records">{rows}</ul></details>'
        if rows
        else f"<p class='none'>{some}.</p>"
    )
    where = f"{text(one['at'])} · {text(one['cell'])} · seed {text(one['seed'])}"
    return (
        f'<article class="failure"><header><b>{text(one["variant"])}</b>'
        f'<span class="chip">{text(one.get("lapse"))}</span><small>{where}</small></header>'
        f'<dl><dt>asked</dt><dd class="said">{text(one["question"])}</dd>'
        f'<dt>true</dt><dd class="said good">{text(one.get("reference"))}</dd>'
        f'<dt>answered</dt><dd class="said bad">{text(one["answer"])}</dd></dl>{records}</article>'
    )


def _recalled(record: Mapping[str, Any]) -> str:
    marks = ("<b class='good'>true</b> " if record["true"] else "") + ("<b>cited</b> " if record["cited"] else "")
    about = f"{text(record['speaker'])}, {text(record['said'])} · R {record['retention']:.2f}"
    return f'<li><span class="said">{text(record["text"], 300)}</span><small>{marks}{about}</small></li>'
