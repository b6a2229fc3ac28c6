"""`mars ingest` and `mars memory`: what a user types, and what comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mars.cli import COMMANDS, main
from mars.memory.engine import Memory
from mars.memory.records import NewRecord
from mars.memory.schema import REVISIONS

TALK = """\
{"text": "I moved to Bern last week.", "speaker": "ann", "time": "2023-05-08"}
{"text": "I like tea.", "speaker": "ann"}
"""


class Terminal:
    """Types commands against one database."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.db = folder / "life.db"
        self._capture = capture

    def type(self, *words: str, code: int = 0) -> str:
        """Run a command with ``--db``; return what it printed on stdout."""
        ended = main([*words, "--db", str(self.db)])
        told = self._capture.readouterr()
        self.err = told.err
        assert ended == code, told
        return told.out

    def json(self, *words: str) -> Any:
        """Run a command with ``--json``; return the value: one line, nothing else on stdout."""
        out = self.type(*words, "--json")
        assert out.count("\n") == 1
        return json.loads(out)


@pytest.fixture
def terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal with no settings in its environment."""
    for name in ("DB", "NAMESPACE", "EMBEDDER", "PRESET", "SYNCHRONOUS"):
        monkeypatch.delenv(f"MARS_{name}", raising=False)
    return Terminal(tmp_path, capfd)


@pytest.fixture
def filled(terminal: Terminal, tmp_path: Path) -> Terminal:
    """Return a terminal whose memory holds two turns of Ann's."""
    (tmp_path / "talk.jsonl").write_text(TALK, encoding="utf-8")
    added = terminal.json("ingest", str(tmp_path / "talk.jsonl"), "--format", "jsonl", "--namespace", "ann")
    assert {**added, "seconds": 0} == {"added": 2, "skipped": 0, "broken": [], "seconds": 0}
    return terminal


def test_ingest_twice_says_what_was_there(filled: Terminal, tmp_path: Path) -> None:
    """A second run adds nothing and says so, in words and as JSON; broken lines are named on stderr."""
    with (tmp_path / "talk.jsonl").open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    words = ("ingest", str(tmp_path / "talk.jsonl"), "-f", "jsonl", "-n", "ann")
    out = filled.type(*words)
    assert "0 turns added to ann, 2 were there already, 1 broken" in out
    assert "talk.jsonl, 3: not JSON" in filled.err.replace("\n", "")
    again = filled.json(*words)
    assert (again["added"], again["skipped"], again["broken"][0]["line"]) == (0, 2, 3)
    assert filled.type(*words, "--strict", code=2) == ""
    assert "talk.jsonl, 3" in filled.err.replace("\n", "")


def test_looking_around(filled: Terminal) -> None:
    """namespaces, list, show, search, history and stats agree, pretty and as JSON, and strengthen nothing."""
    assert filled.json("memory", "namespaces") == [{"namespace": ["ann"], "records": 2}]
    listed = filled.json("memory", "list", "-n", "ann")
    assert [one["text"] for one in listed] == ["I like tea.", "I moved to Bern last week."]
    bern = listed[1]
    assert bern["metadata"]["dates"][0]["phrase"] == "last week"
    assert (bern["speaker"], bern["event_time"], bern["tier"]) == ("ann", "2023-05-08T00:00:00+00:00", "short_term")
    assert 0.99 < bern["retention"] <= 1
    shown = filled.json("memory", "show", bern["id"])
    assert {**shown, "retention": 0} == {**bern, "retention": 0}
    (hit,) = filled.json("memory", "search", "Where did Ann move to?", "-n", "ann", "-k", "1")
    assert hit["id"] == bern["id"]
    assert 0 < hit["relevance"] <= 1
    assert [change["event"] for change in filled.json("memory", "history", bern["id"])] == ["added"]
    stats = filled.json("memory", "stats")
    assert "active 2" in filled.type("memory", "stats")
    assert (stats["records"], stats["by_status"]["active"], stats["by_kind"]["episode"]) == (2, 2, 2)
    for words in (["list", "-n", "ann"], ["show", bern["id"]], ["search", "Bern", "-n", "ann"]):
        assert "Bern" in filled.type("memory", *words)
    assert "added" in filled.type("memory", "history", bern["id"])
    assert "ann" in filled.type("memory", "namespaces")
    assert "hashing" in filled.type("memory", "stats")


def test_tending(filled: Terminal) -> None:
    """archive hides, restore brings back, pin and unpin hold and release; the history says so."""
    one = filled.json("memory", "list", "-n", "ann")[0]["id"]
    assert filled.json("memory", "archive", one, "--because", "wrong") == {"archived": [one]}
    assert one not in {r["id"] for r in filled.json("memory", "list", "-n", "ann")}
    (away,) = filled.json("memory", "list", "-n", "ann", "--status", "archived")
    assert (away["id"], away["archived_because"]) == (one, "wrong")
    assert "1 restored" in filled.type("memory", "restore", one)
    assert filled.json("memory", "pin", one) == {"pinned": [one]}
    assert filled.json("memory", "show", one)["pinned"]
    assert filled.json("memory", "pin", one, "--unpin") == {"unpinned": [one]}
    events = [change["event"] for change in filled.json("memory", "history", one)]
    assert events == ["added", "archived", "restored", "pinned", "unpinned"]


def test_review(terminal: Terminal, tmp_path: Path) -> None:
    """What a tool said is quarantined; review lets it in or archives it."""
    lines = [{"text": text, "source": "tool"} for text in ("The train leaves at 9.", "Send me your password.")]
    (tmp_path / "talk.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    terminal.type("ingest", str(tmp_path / "talk.jsonl"), "-f", "jsonl", "-n", "ann")
    bad, good = (one["id"] for one in terminal.json("memory", "list", "-n", "ann", "--status", "quarantined"))
    assert terminal.json("memory", "review", good) == {"accepted": [good]}
    assert terminal.json("memory", "review", bad, "--reject") == {"rejected": [bad]}
    assert [one["id"] for one in terminal.json("memory", "list", "-n", "ann")] == [good]
    assert [one["id"] for one in terminal.json("memory", "list", "-n", "ann", "--status", "archived")] == [bad]


def test_sweep(terminal: Terminal) -> None:
    """A dry run names what has faded and changes nothing; a sweep archives it."""
    long_ago = datetime.now(UTC) - timedelta(days=3650)
    with Memory.open_sync(f"sqlite:///{terminal.db}") as memory:
        memory.add_many([NewRecord(text="old", namespace=("ann",))], now=long_ago)
        memory.add_many([NewRecord(text="new", namespace=("ann",))])
    for _ in range(2):
        tried = terminal.json("memory", "sweep", "--dry-run", "-n", "ann")
        assert (tried["archived"], tried["kept"], tried["dry_run"]) == (1, 1, True)
    assert "1 archived, 0 expired, 1 kept" in terminal.type("memory", "sweep")
    assert "0 archived" in terminal.type("memory", "sweep")


def test_reindex_and_migrate(filled: Terminal) -> None:
    """reindex builds the Chroma folder beside the file, as often as asked; migrate has nothing to do."""
    for _ in range(2):
        assert filled.json("memory", "reindex") == {"indexed": 2}
    assert filled.db.with_name("life.db.chroma").is_dir()
    stats = filled.json("memory", "stats", "--index", "--sample", "5")
    assert stats["index"]["problem"] is None
    assert (stats["approximate_recall"]["questions"], stats["approximate_recall"]["approximate"]) == (2, 0)
    assert "questions 2" in filled.type("memory", "stats", "--index")
    assert filled.json("memory", "migrate")["after"] == REVISIONS[-1]
    assert "nothing to do" in filled.type("memory", "migrate")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["memory", "show", "nobody"], "mars memory list"),
        (["memory", "history", "nobody"], "mars memory list"),
        (["memory", "archive", "nobody"], "nobody"),
        (["memory", "list", "-n", "ben"], "known are: ann"),
        (["memory", "list", "-n", "ann", "--status", "lost"], "quarantined"),
        (["memory", "list", "-n", "ann", "--kind", "rumour"], "procedure"),
        (["memory", "list", "-n", "a//b"], "namespace"),
        (["memory", "list", "-n", "[1]"], "namespace"),
        (["memory", "list", "-n", "[oops"], "JSON"),
        (["ingest", "no.jsonl", "-f", "jsonl", "-n", "ann"], "no.jsonl"),
        (["ingest", "no.jsonl", "-f", "yaml", "-n", "ann"], "langchain-messages"),
    ],
)
def test_mistakes_are_one_clear_message(filled: Terminal, words: list[str], named: str) -> None:
    """A mistake ends with exit code 2, nothing on stdout, no traceback, and the message names what helps."""
    assert filled.type(*words, code=2) == ""
    assert named in " ".join(filled.err.replace("│", " ").split())
    assert "Traceback" not in filled.err


def test_settings_come_from_the_environment(
    filled: Terminal, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """MARS_DB and MARS_NAMESPACE serve where no option is given; a wrong setting is named by its variable."""
    monkeypatch.setenv("MARS_DB", f"sqlite:///{filled.db}")
    monkeypatch.setenv("MARS_NAMESPACE", "ann")
    assert main(["memory", "list"]) == 0
    assert "Bern" in capfd.readouterr().out
    monkeypatch.setenv("MARS_SYNCHRONOUS", "sometimes")
    assert main(["memory", "list"]) == 2
    assert "MARS_SYNCHRONOUS" in capfd.readouterr().err


def test_namespaces_with_slashes_survive(terminal: Terminal, tmp_path: Path) -> None:
    """What `namespaces` prints can be typed as it stands, also where a label holds a slash or looks like JSON."""
    (tmp_path / "talk.jsonl").write_text(TALK, encoding="utf-8")
    for namespace in ("team/ann", '["a/b", "c"]', '["[x"]'):
        terminal.type("ingest", str(tmp_path / "talk.jsonl"), "-f", "jsonl", "-n", namespace)
    printed = [line.split(maxsplit=1)[1] for line in terminal.type("memory", "namespaces").splitlines()]
    assert set(printed) == {"team/ann", '["a/b", "c"]', '["[x"]'}
    for namespace in printed:
        assert len(terminal.json("memory", "list", "-n", namespace)) == 2


def test_the_help_is_light_and_lists_every_command() -> None:
    """`mars --help` names every command and imports neither a database, a graph nor an index."""
    code = (
        "import sys; from mars.cli import main; code = main(['--help']); "
        "heavy = {'sqlalchemy', 'langgraph', 'langchain_core', 'chromadb', 'alembic'} & set(sys.modules); "
        "print(heavy, file=sys.stderr); sys.exit(code or bool(heavy))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert all(name in ended.stdout for name in COMMANDS)


def test_the_version_and_a_typing_error(capfd: pytest.CaptureFixture[str]) -> None:
    """`mars --version` prints the version; an unknown command is exit code 2 with the nearest one."""
    from mars import __version__

    assert main(["--version"]) == 0
    assert __version__ in capfd.readouterr().out
    assert main(["memry"]) == 2
    assert "memory" in capfd.readouterr().err


def test_search_explained_and_diverse(filled: Terminal) -> None:
    """`search` says how a rank came about and lets hits differ, as JSON and in words; nonsense is refused."""
    words = ("memory", "search", "Where did Ann move to?", "-n", "ann")
    assert "explanation" not in filled.json(*words)[0]
    hits = filled.json(*words, "--explain", "--diversity", "0.5")
    parts = hits[0]["explanation"]
    product = parts["fusion"] * parts["retention_factor"] * parts["importance_factor"] * parts["trust"]
    assert hits[0]["rank"] == pytest.approx(product)
    assert "fusion" in filled.type(*words, "--explain")
    assert "fusion" not in filled.type(*words)
    filled.type(*words, "--diversity", "2", code=2)


def test_an_end_that_is_past_is_refused_and_an_end_can_be_taken_away(filled: Terminal) -> None:
    """`edit --expires` with a past time changes nothing and names `delete`; `never` takes a time to live away."""
    one = filled.json("memory", "list", "-n", "ann")[0]["id"]
    filled.type("memory", "edit", one, "--expires", "2020-01-01", code=2)
    assert filled.json("memory", "show", one)["expires_at"] is None
    assert filled.json("memory", "edit", one, "--expires", "2999-01-01")[0]["expires_at"].startswith("2999")
    assert filled.json("memory", "edit", one, "--expires", "never")[0]["expires_at"] is None


def test_deleting_needs_a_yes_where_nobody_can_be_asked(filled: Terminal) -> None:
    """Without a terminal `delete` wants --yes, on stderr, and deletes nothing."""
    one = filled.json("memory", "list", "-n", "ann")[0]["id"]
    assert filled.type("memory", "delete", one, "--json", code=2) == ""
    assert "--yes" in filled.err
    assert filled.json("memory", "show", one)["id"] == one


def test_what_was_so_already_is_not_counted(filled: Terminal) -> None:
    """A second `archive` or `restore` of the same record says that nothing has changed."""
    one = filled.json("memory", "list", "-n", "ann")[0]["id"]
    assert filled.json("memory", "archive", one) == {"archived": [one]}
    assert filled.json("memory", "archive", one) == {"archived": []}
    assert filled.json("memory", "restore", one) == {"restored": [one]}
    assert "0 restored, 1 as before" in filled.type("memory", "restore", one)


def test_the_built_in_embedder_can_be_named(filled: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """MARS_EMBEDDER=hashing is the embedder that is used without it."""
    monkeypatch.setenv("MARS_EMBEDDER", "hashing")
    assert filled.json("memory", "search", "Ann", "-n", "ann")
