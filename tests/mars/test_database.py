"""A database as tools of an agent: proposed, checked, run, and what was found out is remembered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from sqlalchemy import Engine, text

from mars import RunResult, Team
from mars.agents.interfaces import Action, Review, Task
from mars.agents.roles import Assistant
from mars.agents.verdicts import IssueKind, Outcome
from mars.environments import Database, Played, Request, ResultVerifier, Score, open_in, play
from mars.environments.database import DONE, MAX_ROWS, PROMPT, database_team
from mars.environments.mysql import from_mysql
from mars.errors import InvalidInput, InvalidSetting
from mars.evaluation.dbbench import empty_database
from mars.memory.interfaces import Kind, Status
from mars.models.sql_rules import SQLRulesModel
from mars.testing import FixedClock, ScriptedModel, Step
from mars.verifiers import SQLPolicy

pytestmark = pytest.mark.anyio

BOOKS = ("Shelf", "Title of book", "Year")
POLICY = SQLPolicy(tables=frozenset(("Books",)), writes=True, max_rows=3)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database with five books and a table that is none of the agent's, of either sort."""
    url = "sqlite:///:memory:" if request.param == "sqlite" else request.getfixturevalue("postgres_server")
    with empty_database(url) as made:
        with made.begin() as connection:
            connection.execute(text('CREATE TABLE "Books" ("Shelf" TEXT, "Title of book" TEXT, "Year" TEXT)'))
            connection.execute(text("CREATE TABLE secrets (word TEXT)"))
            for place in range(1, 6):
                connection.execute(text(f"INSERT INTO \"Books\" VALUES ('A{place}', 'Book {place}', '190{place}')"))
        yield made


class Library:
    """An environment of a few requests about the books."""

    def __init__(self, engine: Engine, *texts: str) -> None:
        self.database = Database(engine, POLICY)
        self.texts = texts

    @property
    def tools(self) -> Sequence[Any]:
        """Those of the database."""
        return self.database.tools

    @property
    def verifiers(self) -> Sequence[Any]:
        """Those of the database."""
        return self.database.verifiers

    def discoveries(self, namespace: tuple[str, ...]) -> Sequence[Any]:
        """Those of the database."""
        return self.database.discoveries(namespace)

    async def requests(self) -> AsyncIterator[Request]:
        """Ask one thing after another."""
        for place, words in enumerate(self.texts):
            yield Request(id=str(place), text=words)

    async def score(self, request: Request, result: RunResult) -> Score:
        """Count what was approved."""
        return Score(value=float(result.approved))


async def played(library: Library, model: Any, **limits: Any) -> list[Played]:
    """Play the library with a model as its Assistant."""
    team = database_team(assistant=Assistant(prompt=PROMPT, model=model), **limits)
    async with open_in(library, team=team, clock=FixedClock()) as mars:
        return [one async for one in play(mars, library)]


def sql(statement: str) -> Step:
    """Return a reply that proposes a statement."""
    return Step(tool_calls=(("run_sql", {"sql": statement}),))


def shelves(engine: Engine) -> list[str]:
    """Return the shelves of all books, in the order of the books."""
    with engine.connect() as connection:
        rows = connection.execute(text('SELECT "Shelf" FROM "Books" ORDER BY "Title of book"'))
        return [row[0] for row in rows]


async def test_a_statement_is_checked_before_it_runs_and_an_error_feeds_reflection(engine: Engine) -> None:
    """A wrong column never reaches the database; why not, and what a rejected draft lacked, is in the next prompts."""
    library = Library(engine, "Put Book 2 on shelf C9.")
    model = ScriptedModel(
        [
            sql('UPDATE "Books" SET "Shelve" = \'C9\' WHERE "Title of book" = \'Book 2\''),
            Step(text=DONE, expect="Shelve"),
            sql('UPDATE "Books" SET "Shelf" = \'C9\' WHERE "Title of book" = \'Book 2\''),
            DONE,
        ]
    )
    (one,) = await played(library, model)
    assert [proposal.approved for proposal in one.proposals] == [False, True]
    assert [executed.rows for executed in library.database.executed] == [1]
    assert (one.result.approved, one.answer, one.result.iterations) == (True, DONE, 2)
    assert "no statement changed a row" in one.result.reflections[0].text
    assert "no statement changed a row" in model.calls[2].prompt
    told = str(model.calls[1].messages[-1].content)
    assert all(column in told for column in BOOKS)  # the columns that there are
    assert shelves(engine) == ["A1", "C9", "A3", "A4", "A5"]


async def test_a_change_is_made_once_in_a_turn(engine: Engine) -> None:
    """The very same change is refused the second time, and taken again in another turn."""
    insert = "INSERT INTO \"Books\" VALUES ('B1', 'Book 6', '1906')"
    library = Library(engine, "Add Book 6.", "Add another Book 6.")
    model = ScriptedModel([sql(insert), sql(insert), DONE, sql(insert), DONE])
    both = await played(library, model)
    assert [[proposal.approved for proposal in one.proposals] for one in both] == [[True, False], [True]]
    assert len(shelves(engine)) == 7


async def test_what_the_policy_forbids_never_reaches_the_database(engine: Engine) -> None:
    """Other tables, too many rows and other commands are stopped; without a Checker they are not."""
    forbidden = ['DROP TABLE "Books"', "SELECT * FROM secrets", 'UPDATE "Books" SET "Shelf" = \'x\' WHERE 1 = 1']
    library = Library(engine, "Tidy up.")
    (one,) = await played(library, ScriptedModel([*map(sql, forbidden)]))
    assert one.result.status.value == "invalid_action"
    assert library.database.executed == []
    broken = Library(engine, "Tidy up.")
    await played(broken, ScriptedModel([sql(forbidden[2]), DONE]), without=frozenset(("checker",)))
    assert [executed.rows for executed in broken.database.executed] == [5]


@pytest.mark.parametrize("without", [frozenset[str](), frozenset(("memory",))], ids=["remembers", "forgets"])
async def test_the_schema_is_discovered_once_and_remembered(engine: Engine, without: frozenset[str]) -> None:
    """With memory the second task knows the columns and looks them up no more; without, each looks again."""
    library = Library(
        engine,
        'Set the Shelf to "C9" in the table Books where the Year is "1902".',
        'Set the Shelf to "D9" in the table Books where the Year is "1903".',
        "On which Shelf of Books is Book 4?",
    )
    found = await played(library, SQLRulesModel(), without=without)
    assert [one.answer for one in found] == [DONE, DONE, '["A4"]']
    assert all(one.result.approved for one in found)
    lookups = [sum(proposal.tool == "list_tables" for proposal in one.proposals) for one in found]
    assert lookups == ([1, 0, 0] if not without else [1, 1, 1])
    assert shelves(engine) == ["A1", "C9", "D9", "A4", "A5"]


async def test_a_changed_schema_supersedes_the_old_one(engine: Engine) -> None:
    """What is remembered of a table is what its catalogue says now; the older fact is kept, and out of date."""
    library = Library(engine, "Which books are there?")
    clock = FixedClock()
    async with open_in(library, team=Team(), clock=clock) as mars:
        library.database.describe()
        await mars.memory.add_many(library.discoveries(("agent",)))
        with engine.begin() as connection:
            connection.execute(text('ALTER TABLE "Books" ADD COLUMN "Colour" TEXT'))
        clock.advance(days=1)
        library.database.run('SELECT * FROM "Books"')
        await mars.memory.add_many(library.discoveries(("agent",)))
        assert library.discoveries(("agent",)) == []
        facts = await mars.memory.list(
            ("agent",), kinds=(Kind.FACT,), statuses=(Status.ACTIVE, Status.SUPERSEDED), now=clock.now()
        )
    assert {fact.status: "Colour" in fact.text for fact in facts} == {Status.SUPERSEDED: False, Status.ACTIVE: True}
    assert len(facts) == 2


async def test_a_result_is_cut_and_an_error_is_the_databases_own(engine: Engine) -> None:
    """Long results say that there is more; what fails raises the driver's error and is noted."""
    database = Database(engine, POLICY)
    many = ", ".join(f"('S', 'T{place}', '1')" for place in range(MAX_ROWS))
    with engine.begin() as connection:
        connection.execute(text(f'INSERT INTO "Books" VALUES {many}'))
    reply = json.loads(database.run('SELECT * FROM "Books"'))
    assert (len(reply["rows"]), reply["more"], reply["columns"]) == (MAX_ROWS, True, list(BOOKS))
    with pytest.raises(Exception, match="nothing_here") as raised:
        database.run("SELECT * FROM nothing_here")
    assert "sqlalche.me" not in str(raised.value)
    assert database.executed[-1].error


async def test_an_endless_statement_is_ended(engine: Engine) -> None:
    """A statement runs no longer than it may."""
    database = Database(engine, POLICY, seconds=0.2)
    with pytest.raises(Exception, match=r"interrupted|timeout"):
        database.run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n")


def review(draft: str, *results: str) -> Review:
    """Return a review of a draft after these results."""
    task = Task(id="t", text="How many?", user="ann", asked_at=FixedClock().now())
    return Review(task=task, draft=draft, tool_results=results)


@pytest.mark.parametrize(
    ("draft", "results", "fault"),
    [
        ('["12"]', ['{"columns": ["n"], "rows": [[12.0]]}'], None),
        ('["12"]', ['{"columns": ["n"], "rows": [[13]]}'], IssueKind.UNSUPPORTED),
        ('["12"]', ["12"], IssueKind.UNSUPPORTED),
        ('["a", "b"]', ['{"rows": [["a"]]}', '{"rows": [["b"]]}'], None),
        ("[]", ['{"rows": []}'], None),
        ("[]", ['{"rows": [["a"]]}'], IssueKind.UNSUPPORTED),
        ("It is 12.", ['{"rows": [[12]]}'], IssueKind.FORMAT),
        ('{"a": 12}', ['{"rows": [[12]]}'], IssueKind.FORMAT),
        (DONE, ['{"changed": 1}'], None),
        (DONE, ['{"changed": 0}'], IssueKind.UNSUPPORTED),
        (DONE, [], IssueKind.UNSUPPORTED),
    ],
)
async def test_a_draft_is_held_against_what_the_database_said(
    draft: str, results: list[str], fault: IssueKind | None
) -> None:
    """Only values that a statement of the turn returned, and changes that were made, are approved."""
    checked = await ResultVerifier().verify(review(draft, *results))
    assert [issue.kind for issue in checked.issues] == ([fault] if fault else [])
    assert (checked.outcome is Outcome.PASSED and checked.decisive) is (fault is None)


async def test_what_is_no_claim_is_undecided() -> None:
    """ "Not known." and an action are none of its business."""
    action = Action(id="a", tool="run_sql", arguments={"sql": "SELECT 1"})
    assert (await ResultVerifier().verify(review("Not known."))).outcome is Outcome.UNDECIDED
    asked = Review(task=review("").task, draft="", action=action)
    assert (await ResultVerifier().verify(asked)).outcome is Outcome.UNDECIDED


@pytest.mark.parametrize(
    ("statement", "sqlite", "postgresql"),
    [
        ("SELECT `a b` FROM t WHERE c = 'don\\'t'", 'SELECT "a b" FROM "t" WHERE "c" = \'don\'\'t\'', None),
        ("SELECT a FROM t WHERE b < 3", 'SELECT "a" FROM "t" WHERE CAST("b" AS REAL) < 3', "SUBSTRING"),
        ("SELECT SUM(a) FROM t", 'SELECT SUM(CAST("a" AS REAL)) FROM "t"', "SUBSTRING"),
        ("SELECT a FROM t WHERE b LIKE 'x%'", 'SELECT "a" FROM "t" WHERE "b" LIKE \'x%\'', "ILIKE"),
    ],
)
def test_mysql_is_translated_with_its_meaning(statement: str, sqlite: str, postgresql: str | None) -> None:
    """Quotes and escapes are the other database's, and texts are numbers where MySQL takes them for such."""
    assert from_mysql(statement, "sqlite") == sqlite
    assert (postgresql or sqlite) in from_mysql(statement, "postgresql")


@pytest.mark.parametrize("statement", ["SELECT a FROM", "SELECT 1; SELECT 2", "", "SELECT a b c FROM t"])
def test_what_mysql_would_not_take_is_refused(statement: str) -> None:
    """One statement, and one that can be read."""
    with pytest.raises(InvalidInput):
        from_mysql(statement, "sqlite")


def test_the_rules_read_strings_only() -> None:
    """The keyless rules propose, answer and give up by what stands in their messages."""
    rules = SQLRulesModel()
    task = (
        "Insert 'Rex' as Name, age of 3 for the kennel.\n"
        "The name of this table is Dogs, and the headers of this table are Name,Age."
    )
    prompt = HumanMessage(f"<task>\n{json.dumps({'text': task})}\n</task>")
    (call,) = rules.invoke([prompt]).tool_calls
    assert call["args"]["sql"] == 'INSERT INTO "Dogs" ("Name", "Age") VALUES (\'Rex\', \'3\')'
    failed = ToolMessage("no", tool_call_id=call["id"], name="run_sql", status="error")
    assert rules.invoke([prompt, failed]).content == "Not known."
    (lookup,) = rules.invoke([HumanMessage("Feed the dogs.")]).tool_calls
    assert lookup["name"] == "list_tables"


def test_a_database_that_cannot_be_verified_is_refused() -> None:
    """A kind of database without a verifier is refused when it is named."""
    with pytest.raises(InvalidSetting):
        Database("mysql://host/name", POLICY)
