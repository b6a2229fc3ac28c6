"""Simulated lives and simulated users, through the real runtime.

`dialogue` lets a user who is a script or a model (`mars.agents.users`) talk to a `Mars` for a bounded number of turns.

`mars simulate` compares variants over months: `worlds` says what an episode is and where its truth lies, `world_*` are
the worlds, `policies` who plays them without a key, `arms` the variants, `episodes` how one plays one; `config`,
`running` and `results` are the whole simulation, and `mars.evaluation.paired` compares what came of it.

The rest is what `mars demo` shows. `life` draws a life of 60 days from a seed: who, which facts, in which words, told
when, asked when. `story` lives it: every turn goes through `Mars`, every memory into a real store, under a clock that
is moved day by day. `picture` draws the forgetting curves that came of it. Nothing of the demo compares an answer
with anything: the world knows what was told, and whoever wants to know whether an answer was right compares the two
afterwards (`benchmarks/demo_seeds.py` does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.simulation.config import SimulationConfig, read_config
    from mars.simulation.dialogue import Dialogue, DialogueEnd, simulate_dialogue
    from mars.simulation.facts_file import read_facts
    from mars.simulation.life import Fact, Life, draw_life
    from mars.simulation.picture import draw_picture
    from mars.simulation.running import simulate
    from mars.simulation.story import Story, live
    from mars.simulation.worlds import Cell, Episode, WorldEnvironment

__all__ = [
    "Cell",
    "Dialogue",
    "DialogueEnd",
    "Episode",
    "Fact",
    "Life",
    "SimulationConfig",
    "Story",
    "WorldEnvironment",
    "draw_life",
    "draw_picture",
    "live",
    "read_config",
    "read_facts",
    "simulate",
    "simulate_dialogue",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.simulation.config": ("SimulationConfig", "read_config"),
        "mars.simulation.dialogue": ("Dialogue", "DialogueEnd", "simulate_dialogue"),
        "mars.simulation.facts_file": ("read_facts",),
        "mars.simulation.life": ("Fact", "Life", "draw_life"),
        "mars.simulation.picture": ("draw_picture",),
        "mars.simulation.running": ("simulate",),
        "mars.simulation.story": ("Story", "live"),
        "mars.simulation.worlds": ("Cell", "Episode", "WorldEnvironment"),
    },
)
