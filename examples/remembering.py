"""An agent that remembers: tell it something today, ask for it in a later run.

    python examples/remembering.py

The built-in reader needs no key: it answers from what was recalled, with its sources, or says that it does not know.
"""

from __future__ import annotations

import asyncio
import sys

from mars import Mars


async def main(url: str) -> None:
    """Tell a fact, ask for it, and ask for one that was never told."""
    async with Mars.open(url) as mars:
        await mars.run("My sister Ana lives in Porto.", user="ann")
        for question in ("Where does Ana live?", "What is Ana's shoe size?"):
            result = await mars.run(question, user="ann")
            print(f"{question}\n  {result.answer}  ({result.status}, approved: {result.approved})")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///:memory:"))
