"""The timeline of a run: what it shows, that nobody's text becomes markup, and how a real browser sees it."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anyio
import pytest

from mars.events import EventKind
from mars.observability import LoggedRun, read_runs, timeline
from mars.observability.cards import CARDS
from mars.pages import POLICY

page_module = pytest.importorskip("benchmarks.timeline_page", reason="needs the repository")
ATTACK: str = page_module.ATTACK
ALLOWED = frozenset(
    "html head meta title style body main header p span h1 h2 h3 h4 div blockquote dl dt dd section i b ul li code "
    "small article aside time pre footer".split()
)
"""Elements that a page is made of; no script, no link, no image."""


class Elements(HTMLParser):
    """What elements and attributes a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note them."""
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}


def elements(page: str) -> Elements:
    """Parse a page."""
    found = Elements()
    found.feed(page)
    return found


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> list[LoggedRun]:
    """The runs of a turn in which everything happens."""
    return read_runs(anyio.run(page_module.scenario, tmp_path_factory.mktemp("life")))


def words(page: str) -> str:
    """The text of a page, as a person reads it."""
    return unescape(re.sub(r"<[^>]+>", " ", page.partition("</style>")[2]))


def test_all_that_happened_is_shown(turn: list[LoggedRun]) -> None:
    """Roles, drafts, issues, the reflection, records with retention, tool, decision, retry, usage and cost."""
    page = timeline(turn)
    shown, result = words(page), turn[-1].result
    assert result is not None
    lines = [line for run in turn for line in run.lines]
    for role in ("user", "memory", "assistant", "checker", "reflector", "tools", "person", "runtime"):
        assert f'<div class="lane of-{role}"><h3>{role}</h3>' in page
    for line in lines:
        if line["kind"] in ("draft", "reflection", "tool", "header", "final"):
            assert line["text"] in shown
        for issue in line["data"].get("verdict", {}).get("issues", []):
            assert issue["evidence"] in shown
            assert issue["directive"] in shown
        for record in line["data"].get("records", []):
            assert record["text"] in shown
            assert f'title="retention {record["retention"]:.0%}"' in page
    assert "It is the right amount." in shown
    assert "ConnectionError: the provider closed the connection" in shown
    assert 'pay(amount=950, to="Bo Berg")' in shown
    usage = result["usage"]
    assert f"<dt>tokens in</dt><dd>{usage['input_tokens']:,}</dd>" in page
    assert f"<dt>tokens out</dt><dd>{usage['output_tokens']:,}</dd>" in page
    assert f"${usage['cost']:.4f}" in shown
    assert "completed" in shown
    assert len(turn) == 2
    assert "then it was resumed" in shown


def test_the_page_is_its_own(turn: list[LoggedRun]) -> None:
    """It has no element that loads or runs anything, no handler, and a policy that forbids both."""
    found = elements(timeline(turn))
    assert found.elements <= ALLOWED
    assert found.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "style", "title"}
    assert "default-src 'none'" in POLICY
    assert f'content="{POLICY}"' in timeline(turn)
    assert "url(" not in timeline(turn)
    assert "@import" not in timeline(turn)


def line(kind: str, **values: Any) -> dict[str, Any]:
    """A line of a log."""
    base = {"run": "a", "kind": kind, "at": "2026-01-01T00:00:00+00:00", "offset": 0.5, "role": "memory", "text": ""}
    return {**base, "conversation": None, "turn": "t", "iteration": 1, "data": {}, **values}


def poisoned(value: Any) -> Any:
    """The same value with every text and every name replaced by an attack."""
    if isinstance(value, dict):
        return {name: poisoned(inner) for name, inner in value.items()} | {ATTACK: ATTACK}
    if isinstance(value, list):
        return [*map(poisoned, value), ATTACK]
    return ATTACK if isinstance(value, str) else value


def test_no_text_becomes_markup(turn: list[LoggedRun]) -> None:
    """Whatever field an attack stands in, it is shown as it is: no element is added, on any kind of line."""
    for kind in ("kind", "offset", "at", "format"):
        assert kind in turn[0].lines[0]
    kept = ("kind", "at", "run")
    lines = [
        {name: value if name in kept else poisoned(value) for name, value in one.items()}
        for run in turn
        for one in run.lines
    ]
    assert {one["kind"] for one in lines} >= {
        "memory_read",
        "verdict",
        "tool",
        "decision",
        "interrupt",
        "final",
        "call",
    }
    lines[0]["data"]["operation"] = "run"
    page = timeline([LoggedRun(id=ATTACK, lines=lines)])
    assert elements(page).elements <= ALLOWED
    assert "onerror" not in elements(page).attributes
    assert "&lt;/script&gt;" in page
    assert ATTACK in words(page)
    raw = page.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&#x27;", "'")
    assert "script" in elements(raw).elements, "unescaped, the same page would run it"


@pytest.mark.parametrize("value", [None, 1, -1.5, "x", [], [1, "x", None], {}, {"x": [{}]}, True, float("nan")])
def test_any_value_can_be_drawn(value: Any) -> None:
    """A log may hold anything where a record, a verdict or a number should be; the page is drawn all the same."""
    names = (
        "records",
        "lessons",
        "verdict",
        "action",
        "reflection",
        "asked",
        "decision",
        "usage",
        "sources",
        "latency",
    )
    data = dict.fromkeys(names, value)
    lines = [line("header", format=1, data=data), *(line(kind, data=data, text=value) for kind in CARDS)]
    data = {**data, "records": [dict.fromkeys(("ref", "text", "retention", "relevance", "said_at"), value)]}
    lines += [line("memory_read", data=data), line("call", data={"sort": "model", **data}, role=value)]
    assert "<footer>" in timeline([LoggedRun(id="a", lines=lines)])


def test_every_kind_of_event_is_drawn_or_left_out_on_purpose() -> None:
    """A new kind of event needs a card, or a word here."""
    assert {kind.value for kind in EventKind} - set(CARDS) == {"token"}


def test_a_run_without_an_end_is_drawn(turn: list[LoggedRun]) -> None:
    """What a killed process left is a timeline too."""
    run = LoggedRun(id="a", lines=turn[0].lines[:3])
    assert "unfinished" in words(timeline([run]))
    assert run.summary()["status"] == "unfinished"


# In a browser


@pytest.mark.skipif(page_module.browser() is None, reason="no Chromium on this machine: apt-get install chromium")
def test_a_real_browser_shows_it(turn: list[LoggedRun], tmp_path: Path) -> None:
    """Headless Chromium lays it out: cards, bars as wide as retention says, colours on the picture, no script run."""
    pytest.importorskip("matplotlib")
    import matplotlib.image
    import numpy as np

    page = tmp_path / "timeline.html"
    page.write_text(timeline(turn), encoding="utf-8")
    shown, picture = page_module.opened(page, height=1400)
    assert "<title>How much rent" in shown
    assert elements(shown).elements <= ALLOWED
    pixels = np.asarray(matplotlib.image.imread(picture))[..., :3]
    assert pixels.shape[1] == 1120
    colours = {tuple(one) for one in (pixels[::3, ::3].reshape(-1, 3) * 255).astype(int).tolist()}
    assert (246, 245, 241) in colours, "the ground of the page: its style was applied"
    assert (47, 125, 107) in colours, "the edge of a card of memory"
    assert len(colours) > 50
    record = json.loads(json.dumps(turn[0].lines[1]["data"]["records"][0]))
    assert f'style="width:{100 * record["retention"]:.1f}%"' in shown


CRAMPED = """[...document.querySelectorAll('.tiles div')].filter(one => one.scrollWidth > one.clientWidth)
    .map(one => one.innerText)"""
"""Tiles whose words stand out of them."""

OVERLAPPING = """[...document.querySelectorAll('.axis b')].map(one => one.getBoundingClientRect())
    .filter(one => one.width > 0).filter((one, place, all) => place > 0 && all[place - 1].right > one.left).length"""
"""How many labels of the axis lie on the one before."""


@pytest.mark.skipif(page_module.browser() is None, reason="no Chromium on this machine: apt-get install chromium")
@pytest.mark.parametrize("width", [360, 1120])
def test_nothing_stands_out_of_its_place(turn: list[LoggedRun], tmp_path: Path, width: int) -> None:
    """Neither on a telephone nor on a screen, also where a turn has cost many tokens."""
    browsing = pytest.importorskip("benchmarks.browsing")
    end = turn[-1].lines[-1]
    spent = {**end["data"]["usage"], "input_tokens": 987_654, "output_tokens": 123_456}
    last = {**end, "data": {**end["data"], "usage": spent}}
    runs = [*turn[:-1], LoggedRun(id=turn[-1].id, lines=[*turn[-1].lines[:-1], last])]
    page = tmp_path / "timeline.html"
    page.write_text(timeline(runs), encoding="utf-8")
    with browsing.running() as chromium:
        tab = chromium.open(page.as_uri())
        tab.tell("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        tab.wait(f"innerWidth === {width}")
        assert tab.value("document.querySelectorAll('.tiles div').length") >= 7
        assert tab.value(CRAMPED) == []
        assert tab.value(OVERLAPPING) == 0
        assert tab.value("document.documentElement.scrollWidth") <= width
        tab.close()
