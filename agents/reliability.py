"""How reliable an agent is, as far as its finished tasks tell, and whom a task is given to.

The weight of an agent with a model is ``(successes + 1) / (tasks + 2)`` (CMAT, 2404.01663; the mean of a Beta(1, 1)
prior after so many trials, Laplace's rule of succession). It is a prior for routing and nothing else: no verdict
depends on it.

=========== ======================================================================================================
agent       what counts
=========== ======================================================================================================
assistant   each turn that a Checker decided: an approved answer is a success; a turn that ended at a limit, without
            progress, in a wrong format, with rejected actions or with a failed model is none
reflector   each such turn in which it reflected; a success if the answer was approved in the end
checker     nothing: whether it was right is known to nobody in the loop
=========== ======================================================================================================

An acknowledgement ("Noted."), an honest "Not known.", and turns that a person, a budget or an ablation ended say
nothing about an agent, and count for nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from mars.agents.interfaces import NOTED

FAILURES = frozenset({"iteration_limit", "no_progress", "invalid_format", "invalid_action", "task_error"})
"""Ends of a turn that count as a failed task."""


def reliability(successes: int, tasks: int) -> float:
    """Return the weight of an agent, in (0, 1); 1/2 before its first task."""
    if not 0 <= successes <= tasks:
        raise ValueError(f"0 <= successes <= tasks must hold; got {successes} of {tasks}")
    return (successes + 1) / (tasks + 2)


def succeeded(status: str, approved: bool, answer: str) -> bool | None:
    """Return whether a turn counts as a success, by how it ended; None if it says nothing about who worked on it."""
    if approved:
        return None if answer.strip() == NOTED else True
    return False if status in FAILURES else None


def choose(candidates: Sequence[str], weights: Mapping[str, float], seed: int | str, turn: str) -> str:
    """Return one of the candidates, drawn in proportion to its weight; the same arguments give the same one.

    The draw keeps a weak candidate in the game, so that a run of bad luck can be made up for.
    """
    if not candidates:
        raise ValueError("there is nobody to choose from")
    digest = hashlib.blake2b(f"{seed}\0{turn}".encode(), digest_size=8, person=b"mars-route").digest()
    left = int.from_bytes(digest, "big") / 2**64 * sum(weights[name] for name in candidates)
    for name in candidates:
        left -= weights[name]
        if left < 0.0:
            return name
    return candidates[-1]
