"""An environment of your own, in some 50 lines: a cloakroom that tells where coats hang, moves some, and asks.

    python examples/own_environment.py

An environment needs `tools`, `verifiers`, `requests` and `score` (mars/environments/interfaces.py). Only `score` looks
at the hooks; the agent has what it was told. With `without={"memory"}` it knows nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from mars import RunResult, Team
from mars.environments import Request, Score, open_in, play

GUESTS = ("Ann", "Bob", "Cleo", "Dan")


class Cloakroom:
    """Tells on which hook each coat hangs, moves one coat, then asks for all."""

    tools = ()
    verifiers = ()

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self.hooks = dict(zip(GUESTS, draw.sample(range(10, 99), len(GUESTS)), strict=True))
        self.moved = draw.choice(GUESTS)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def _request(self, text: str) -> Request:
        self.now += timedelta(minutes=5)
        return Request(id=self.now.isoformat(), text=text, user="porter", at=self.now)

    async def requests(self) -> AsyncIterator[Request]:
        """Tell, move, ask; the hooks are as the newest request says."""
        for guest, hook in self.hooks.items():
            yield self._request(f"The coat of {guest} hangs on hook {hook}.")
        self.hooks[self.moved] += 100
        yield self._request(f"The coat of {self.moved} hangs on hook {self.hooks[self.moved]}.")
        for guest in GUESTS:
            yield self._request(f"On which hook hangs the coat of {guest}?")

    async def score(self, request: Request, result: RunResult) -> Score:
        """Return 1 for the right hook, and for an acknowledgement of what was told."""
        asked = request.text.endswith("?")
        guest = next(name for name in GUESTS if name in request.text)
        right = f"hook {self.hooks[guest]}" in result.answer if asked else result.answer == "Noted."
        return Score(value=float(right), details={"asked": asked})


async def main() -> None:
    """Play it with memory and without."""
    for name, team in (("with memory", Team()), ("without", Team(without=frozenset({"memory"})))):
        room = Cloakroom(seed=1)
        async with open_in(room, team=team) as mars:
            played = [one async for one in play(mars, room)]
        answers = [one.score.passed for one in played if one.score.details["asked"]]
        print(f"{name}: {sum(answers)} of {len(answers)} coats found")


if __name__ == "__main__":
    asyncio.run(main())
