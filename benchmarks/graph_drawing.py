"""Draw the graph that runs a turn, as LangGraph tells it of the compiled graph, for the documentation.

    python -m benchmarks.graph_drawing            # writes docs/images/graph.svg
    python -m benchmarks.graph_drawing --check    # only says whether that is the graph of this code

Where a node stands is chosen here, so that no line crosses another; what there is, and what leads where, is not. An
edge that a node may take or not is dashed. The last line on stdout is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from html import escape
from pathlib import Path
from typing import Any

from mars import Mars
from mars.subgraph import agent_graph

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "graph.svg"
PLACES = {
    "__start__": (210, 34),
    "begin": (210, 104),
    "recall": (210, 178),
    "assistant": (210, 264),
    "checker": (210, 412),
    "reflect": (76, 330),
    "person": (404, 330),
    "review_action": (376, 412),
    "tools": (540, 376),
    "consolidate": (210, 522),
    "__end__": (210, 592),
}
"""The middle of each node, in pixels."""

BENDS = {
    ("assistant", "consolidate"): -44,
    ("tools", "assistant"): 62,
    ("person", "assistant"): 16,
    ("assistant", "review_action"): -13,
    ("review_action", "assistant"): -5,
    ("reflect", "recall"): -24,
    ("reflect", "consolidate"): 40,
    ("checker", "reflect"): 0,
    ("tools", "consolidate"): -70,
    ("review_action", "consolidate"): -16,
}
"""How far the middle of an edge is moved aside, to the right of its direction, in pixels."""

CLASSES = {True: "maybe", False: "always"}
WIDTH, HEIGHT, NODE = 600, 626, 15
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1f2430; text-anchor: middle; dominant-baseline: central; }
  rect { fill: #fff3ee; stroke: #d9532c; stroke-width: 1.2; }
  .end { fill: #d9532c; } .end + text { fill: #fff; }
  path { fill: none; stroke: #5b6272; stroke-width: 1.3; } .maybe { stroke-dasharray: 5 4; }
  marker path { fill: #5b6272; stroke: none; }
  .paper { fill: #fff; stroke: none; }
"""


async def compiled() -> Any:
    """The graph of an agent as LangGraph tells it, the loop within its node included."""
    async with Mars.open("memory:") as mars:
        return agent_graph(mars).compile().get_graph(xray=True)


def bare(name: str) -> str:
    """The name of a node without the graphs that it is in."""
    return name.rpartition(":")[2]


def half_width(name: str) -> float:
    """Half the width of a node, by the length of its name."""
    return 12 + 4.1 * len(name.strip("_"))


def border(name: str, towards: tuple[float, float]) -> tuple[float, float]:
    """Where a line from a point to the middle of a node meets its box."""
    x, y = PLACES[name]
    dx, dy = towards[0] - x, towards[1] - y
    shrink = min(half_width(name) / abs(dx) if dx else math.inf, NODE / abs(dy) if dy else math.inf)
    return x + dx * shrink, y + dy * shrink


def line(source: str, target: str) -> str:
    """The path of an edge, from box to box."""
    (x1, y1), (x2, y2) = PLACES[source], PLACES[target]
    if source == target:
        right = x1 + half_width(source)
        curve = f"C {right - 6:.1f} {y1 - 44} {right + 30:.1f} {y1 - 30} {right:.1f} {y1 - 4}"
        return f"M {right - 14:.1f} {y1 - NODE} {curve}"
    away = BENDS.get((source, target), 0) * 2
    length = math.hypot(x2 - x1, y2 - y1)
    middle = ((x1 + x2) / 2 - (y2 - y1) / length * away, (y1 + y2) / 2 + (x2 - x1) / length * away)
    (ax, ay), (bx, by) = border(source, middle), border(target, middle)
    return f"M {ax:.1f} {ay:.1f} Q {middle[0]:.1f} {middle[1]:.1f} {bx:.1f} {by:.1f}"


def node(name: str) -> str:
    """The box of a node, with its name."""
    x, y = PLACES[name]
    half, kind = half_width(name), ' class="end"' if name.startswith("__") else ""
    box = f'<rect{kind} x="{x - half:.1f}" y="{y - NODE}" width="{2 * half:.1f}" height="{2 * NODE}" rx="8"/>'
    return f'{box}<text x="{x}" y="{y}">{escape(name.strip("_"))}</text>'


def drawing(graph: Any) -> str:
    """The graph as SVG; raises ValueError for a node that has no place here."""
    names = {bare(name) for name in graph.nodes}
    if strange := names ^ set(PLACES):
        raise ValueError(f"{', '.join(sorted(strange))}: give each node of the graph a place in {Path(__file__).name}")
    edges = sorted({(bare(one.source), bare(one.target), one.conditional) for one in graph.edges})
    told = "; ".join(f"{source} to {target}{', maybe' if maybe else ''}" for source, target, maybe in edges)
    paths = [
        f'<path class="{CLASSES[maybe]}" marker-end="url(#head)" d="{line(source, target)}"/>'
        for source, target, maybe in edges
    ]
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M 0 0 L 8 4 L 0 8 z"/></marker>'
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">',
        "<title>The graph of a turn</title>",
        f"<desc>{escape(told)}</desc>",
        f"<style>{STYLE}</style><defs>{head}</defs>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        *paths,
        *(node(name) for name in PLACES),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write the drawing, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    graph = asyncio.run(compiled())
    drawn = drawing(graph)
    if not check:
        PICTURE.write_text(drawn, encoding="utf-8")
    same = PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == drawn
    print(json.dumps({"same": same, "nodes": len(graph.nodes), "edges": len(graph.edges), "picture": PICTURE.name}))


if __name__ == "__main__":
    main()
