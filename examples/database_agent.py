"""An agent on a real SQL database: it looks up a table once, remembers its columns, and does no harm.

    python examples/database_agent.py [sqlite:///shop.db | postgresql://…]

Needs no key: the built-in rules propose the SQL. Give `Assistant(model="openai:gpt-…")` instead for a language model.
The Checker sees every statement before it runs: one that names another table, or has no WHERE, never does.
"""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import text

from mars import Assistant, Mars
from mars.environments import Database
from mars.environments.database import PROMPT, database_team
from mars.models.sql_rules import SQLRulesModel
from mars.verifiers import SQLPolicy

REQUESTS = (
    "Set the Price to '12' in the table Orders where the Item is 'tea'.",
    "What is the Price of the tea in Orders?",
    "Set the Price to '0' in the table Orders where the Shelf is 'B'.",
)
NAMESPACE = ("shop",)


async def main(url: str) -> None:
    """Change a row, ask for it, and ask for a change of two rows, where one is all that the policy allows."""
    database = Database(url, SQLPolicy(tables=frozenset({"Orders"}), writes=True, max_rows=1))
    with database.engine.begin() as connection:
        connection.execute(text('CREATE TABLE IF NOT EXISTS "Orders" ("Item" TEXT, "Price" TEXT, "Shelf" TEXT)'))
        connection.execute(text('DELETE FROM "Orders"'))
        connection.execute(
            text("INSERT INTO \"Orders\" VALUES ('tea', '3', 'A'), ('cup', '9', 'B'), ('pot', '20', 'B')")
        )
    team = database_team(database.verifiers, assistant=Assistant(prompt=PROMPT, model=SQLRulesModel()))
    async with Mars.open("memory:", team=team, tools=database.tools) as mars:
        for request in REQUESTS:
            result = await mars.run(request, namespace=NAMESPACE)
            await mars.memory.add_many(database.discoveries(NAMESPACE))
            print(f"{request}\n  {result.answer}  ({result.status}, approved: {result.approved})")
        print([record.text for record in await mars.memory.list(NAMESPACE)])
    print([executed.sql for executed in database.executed])
    database.engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///:memory:"))
