"""`mars memory doctor`, `repair`, `reembed`, `backup` and `restore --from`: what a user types, and what comes back."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mars.cli import main


class Terminal:
    """Types `mars memory` commands against one database."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self.db = folder, folder / "life.db"
        self._capture = capture

    def type(self, *words: str, code: int = 0) -> str:
        """Run a command with ``--db``; return what it printed on stdout."""
        ended = main(["memory", *words, "--db", str(self.db)])
        told = self._capture.readouterr()
        self.err = told.err
        assert ended == code, told
        return told.out

    def json(self, *words: str, code: int = 0) -> Any:
        """Run a command with ``--json``; return the value: one line, nothing else on stdout."""
        out = self.type(*words, "--json", code=code)
        assert out.count("\n") == 1
        return json.loads(out)

    def sql(self, statement: str) -> list[Any]:
        """Run a statement behind the memory's back."""
        connection = sqlite3.connect(self.db)
        with connection:
            rows = connection.execute(statement).fetchall()
        connection.close()
        return rows


@pytest.fixture
def terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal whose memory holds two turns of Ann's, with no settings in its environment."""
    for name in ("DB", "NAMESPACE", "EMBEDDER", "PRESET", "SYNCHRONOUS"):
        monkeypatch.delenv(f"MARS_{name}", raising=False)
    terminal = Terminal(tmp_path, capfd)
    talk = tmp_path / "talk.jsonl"
    talk.write_text('{"text": "I moved to Bern."}\n{"text": "I like tea."}\n', encoding="utf-8")
    assert main(["ingest", str(talk), "-f", "jsonl", "-n", "ann", "--db", str(terminal.db)]) == 0
    capfd.readouterr()
    return terminal


def test_doctor_and_repair(terminal: Terminal) -> None:
    """doctor ends with 1 where something is wrong and names it; repair mends it, and a dry run does not."""
    sound = terminal.json("doctor")
    assert sound == {
        "clean": True,
        "records": 2,
        "vectors": 2,
        "head": 2,
        "index": {"state": "none", "mark": None, "vectors": None},
        "findings": [],
    }
    assert "nothing is wrong" in terminal.type("doctor")
    terminal.sql("DELETE FROM mars_vectors WHERE number = 1")
    (found,) = terminal.json("doctor", code=1)["findings"]
    assert (found["kind"], found["namespace"], found["remedy"]) == (
        "missing_vector",
        ["ann"],
        "run `mars memory repair`",
    )
    assert "missing_vector" in terminal.type("doctor", code=1)
    assert "1 would be mended, 0 left" in terminal.type("repair", "--dry-run")
    assert terminal.json("doctor", code=1)["clean"] is False
    done = terminal.json("repair")
    assert ([one["kind"] for one in done["mended"]], done["left"], done["clean"]) == (["missing_vector"], [], True)
    assert terminal.json("repair") == {"clean": True, "dry_run": False, "mended": [], "left": []}
    terminal.sql("UPDATE mars_records SET metadata = '{' WHERE number = 1")
    assert [one["kind"] for one in terminal.json("repair", code=1)["left"]] == ["unreadable"]


def test_doctor_of_an_index(terminal: Terminal) -> None:
    """The Chroma folder beside the file is looked at, where there is one."""
    terminal.type("reindex")
    assert terminal.json("doctor")["index"] == {"state": "in step", "mark": 2, "vectors": 2}


def test_reembed(terminal: Terminal) -> None:
    """A store of another embedder is refused with the command that helps, and that command changes it."""
    terminal.sql("UPDATE mars_meta SET value = 'gone-1' WHERE key = 'embedder'")
    terminal.sql("UPDATE mars_records SET embedder = 'gone-1'")
    terminal.sql("UPDATE mars_vectors SET embedder = 'gone-1'")
    assert terminal.type("stats", code=2) == ""
    assert "'gone-1'" in terminal.err
    assert "mars memory reembed" in terminal.err
    assert terminal.json("reembed", "--embedder", "hashing") == {"embedder": "hashing-1-256", "records": 2}
    assert terminal.json("doctor")["clean"] is True
    assert "0 records passed" in terminal.type("reembed", "--embedder", "hashing")


def test_backup_and_restore(terminal: Terminal) -> None:
    """A backup is written once, restored into a new memory, and over an old one only by force."""
    file = terminal.folder / "copy.jsonl"
    copied = terminal.json("backup", str(file))
    assert (copied["file"], copied["records"], copied["head"]) == (str(file), 2, 2)
    assert terminal.type("backup", str(file), code=2) == ""
    assert "is there already" in terminal.err.replace("\n", "")
    assert "2 records copied" in terminal.type("backup", str(file), "--overwrite")
    assert terminal.type("restore", "--from", str(file), code=2) == ""
    assert "--force" in terminal.err
    assert "2 records restored" in terminal.type("restore", "--from", str(file), "--force")
    texts = terminal.sql("SELECT text FROM mars_records ORDER BY seq")
    terminal.db = terminal.folder / "new.db"
    assert terminal.json("restore", "--from", str(file))["records"] == 2
    assert terminal.sql("SELECT text FROM mars_records ORDER BY seq") == texts
    file.write_bytes(file.read_bytes()[:-20])
    terminal.db = terminal.folder / "never.db"
    assert terminal.type("restore", "--from", str(file), code=2) == ""
    assert "copy.jsonl is" in terminal.err.replace("\n", "")
    assert not terminal.db.exists()
    assert terminal.type("restore", code=2) == ""
