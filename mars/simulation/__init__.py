"""A simulated life, lived through the real runtime: what `mars demo` shows.

`life` draws a life of 60 days from a seed: who, which facts, in which words, told when, asked when. `story` lives it:
every turn goes through `Mars`, every memory into a real store, under a clock that is moved day by day. `picture` draws
the forgetting curves that came of it. Nothing in here compares an answer with anything: the world knows what was told,
and whoever wants to know whether an answer was right compares the two afterwards (`benchmarks/demo_seeds.py` does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.simulation.facts_file import read_facts
    from mars.simulation.life import Fact, Life, draw_life
    from mars.simulation.picture import draw_picture
    from mars.simulation.story import Story, live

__all__ = ["Fact", "Life", "Story", "draw_life", "draw_picture", "live", "read_facts"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.simulation.facts_file": ("read_facts",),
        "mars.simulation.life": ("Fact", "Life", "draw_life"),
        "mars.simulation.picture": ("draw_picture",),
        "mars.simulation.story": ("Story", "live"),
    },
)
