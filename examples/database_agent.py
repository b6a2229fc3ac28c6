"""An agent on a real SQL database: it looks up a table once, remembers its columns, and does no harm.

    python examples/database_agent.py

SQLite in memory here; any URL of SQLite or PostgreSQL will do. Needs no key: the built-in rules propose the SQL. Give
`Assistant(model="openai:gpt-…")` instead for a language model. The Checker sees every statement before it runs: one
that names another table, has no WHERE, or changes more rows than the policy allows, never does.
"""

from __future__ import annotations

import asyncio

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


async def main() -> None:
    """Change a row, ask for it, and ask for a change of two rows, where one is all that the policy allows."""
    database = Database("sqlite:///:memory:", SQLPolicy(tables=frozenset({"Orders"}), writes=True, max_rows=1))
    with database.engine.begin() as connection:
        connection.execute(text('CREATE TABLE "Orders" ("Item" TEXT, "Price" TEXT, "Shelf" TEXT)'))
        for row in ("'tea', '3', 'A'", "'cup', '9', 'B'", "'pot', '20', 'B'"):
            connection.execute(text(f'INSERT INTO "Orders" VALUES ({row})'))
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
    asyncio.run(main())
