"""Whether the page of a simulation is complete, right about its own intervals, and opens in a browser.

python -m benchmarks.simulation_page [CONFIG] [--keep FOLDER]

Plays ``examples/quick.toml``, or CONFIG, by the command, looks at the page that it leaves, and then at four pages that
are broken on purpose: each must be found out. `seconds` is the whole command, playing and drawing.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.timeline_page import browser

ROOT = Path(__file__).resolve().parent.parent
NARROW = 390
"""Width of a phone, in pixels."""
SECTIONS = (
    "success",
    "time",
    "truth",
    "lapses",
    "curves",
    "calibration",
    "cost",
    "grid",
    "parts",
    "failures",
    "origin",
)
"""What a page must have."""
_ESTIMATE = re.compile(r"([-+]?\d*\.\d+)(?:</\w+>| |<small>)*\(([-+]?\d*\.\d+) to ([-+]?\d*\.\d+)\)")
_FRAME = """<!doctype html><body style="margin:0">
<iframe id="page" style="border:0;width:{width}px;height:900px" src="{src}"></iframe><pre id="seen"></pre><script>
page.onload = () => {{
  const inner = page.contentDocument;
  const tall = one => one.getBoundingClientRect().height > 60;
  const ids = [...inner.querySelectorAll("section")].filter(tall).map(one => one.id);
  const panels = [...inner.querySelectorAll("svg.panel")].map(one => one.getBoundingClientRect().width);
  seen.textContent = JSON.stringify({{
    width: inner.documentElement.scrollWidth, sections: ids, title: inner.title,
    panels: panels.length, narrowest: Math.min(...panels)}});
}};
</script>"""


def problems(page: str) -> list[str]:
    """Return what is wrong with a page, as it is written."""
    found = [f"there is no section {name}" for name in SECTIONS if f'<section id="{name}"' not in page]
    plain = page.replace("\N{MINUS SIGN}", "-").partition("</style>")[2]
    estimates = [tuple(map(float, one)) for one in _ESTIMATE.findall(plain)]
    found += [f"{value} lies outside of {low} to {high}" for value, low, high in estimates if not low <= value <= high]
    if not estimates:
        found.append("no number has an interval")
    for panel in re.findall(r'<svg class="panel".*?</svg>', page, re.DOTALL):
        if not re.search(r"<title>[^<]+</title><desc>[^<]*</desc>", panel):
            found.append("a panel has no words for those who do not see it")
    figures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    found += ["a chart has no table behind it" for one in figures if "<table" not in one]
    lost = page.count('<span class="mark-of lost">')
    told = re.search(r"(\d+) of \d+ cells are lost", page)
    if told is None or int(told[1]) != lost:
        found.append(f"{lost} cells are marked as lost, and the words say otherwise")
    if re.search(r"<(script|link|iframe|img|object|embed)\b|\son\w+=|url\(|@import", page):
        found.append("the page loads or runs something")
    return found


def looked(page: Path, picture: Path | None = None) -> list[str]:
    """Return what a headless browser finds wrong with a page on a phone; with a `picture`, also take one of it wide."""
    seen, console = _opened(page)
    found = [f"the console says: {line}" for line in console]
    if seen["width"] > NARROW:
        found.append(f"it is {seen['width']} pixels wide on a phone of {NARROW}")
    found += [f"section {name} is not to be seen" for name in SECTIONS if name not in seen["sections"]]
    if not seen["panels"] or seen["narrowest"] < 240:
        found.append("its charts are not to be seen")
    if picture is not None:
        _run([f"--screenshot={picture}", "--window-size=1200,1500", page.as_uri()])
        if picture.stat().st_size < 40_000:
            found.append("the picture of it is empty")
    return found


def _opened(page: Path) -> tuple[Mapping[str, Any], list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.html"
        frame.write_text(_FRAME.format(width=NARROW, src=page.as_uri()), encoding="utf-8")
        done = _run(["--allow-file-access-from-files", "--enable-logging=stderr", "--dump-dom", frame.as_uri()])
    told = re.search(r'<pre id="seen">(.+?)</pre>', done.stdout, re.DOTALL)
    if told is None:
        return {"width": 0, "sections": [], "panels": 0, "narrowest": 0}, ["the page was not loaded"]
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(html.unescape(told[1])), console


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    program = browser()
    assert program is not None
    quiet = ("background-networking", "component-update", "default-apps", "extensions", "gpu", "sync")
    command = [program, "--headless", "--no-sandbox", "--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command += [*(f"--disable-{one}" for one in quiet), "--virtual-time-budget=2000"]
    with tempfile.TemporaryDirectory() as profile:
        return subprocess.run(
            [*command, f"--user-data-dir={profile}", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )


def swapped(page: str) -> str:
    """Return a page whose intervals lie beside their numbers."""
    return re.sub(r"\((\d\.\d+) to (\d\.\d+)\)", lambda one: f"({float(one[1]) + 2:.2f} to {one[2]})", page)


BROKEN: Mapping[str, Callable[[str], str]] = {
    "intervals": swapped,
    "section": lambda page: re.sub(r'<section id="grid".*?</section>', "", page, flags=re.DOTALL),
    "script": lambda page: page.replace("</header>", "<script>document.title = 'owned'</script></header>", 1),
    "wide": lambda page: page.replace("</header>", '<div style="width:900px">wide</div></header>', 1),
}
"""Pages that are broken on purpose."""


def main() -> None:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", type=Path, default=ROOT / "examples" / "quick.toml")
    parser.add_argument("--keep", type=Path, help="where results, page and picture stay")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch) / arguments.config.stem
        program = "import sys; from mars.cli import main; sys.exit(main())"
        began = time.perf_counter()
        command = [sys.executable, "-c", program, "simulate", str(arguments.config), "--out", str(folder), "--json"]
        values = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        seconds = time.perf_counter() - began
        page, shown = Path(values["page"]), browser() is not None
        told = page.read_text(encoding="utf-8")
        found = problems(told) + (looked(page.resolve(), folder.resolve() / "report.png") if shown else [])
        caught = {}
        for name, breaks in BROKEN.items():
            broken = Path(scratch) / f"{name}.html"
            broken.write_text(breaks(told), encoding="utf-8")
            caught[name] = bool(problems(breaks(told)) or (shown and looked(broken)))
        report = {
            "seconds": round(seconds, 2),
            "episodes": values["episodes"],
            "bytes": len(told.encode()),
            "problems": found,
            "browser": shown,
            "opens": shown and not found,
            "broken_found": caught,
            "all_broken_found": all(caught.values()),
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
