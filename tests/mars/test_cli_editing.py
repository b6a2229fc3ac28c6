"""`mars memory` edit, delete, purge, undo, as-of and duplicates: what a user types, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mars.cli import main
from mars.memory.engine import Memory
from mars.memory.records import Kind, Record

HOME = ("ann", "notes")
EARLY = datetime.now(UTC) - timedelta(days=20)
Type = Callable[..., Any]


@pytest.fixture
def told(tmp_path: Path) -> dict[str, Record]:
    """Return the records of a small memory by names."""
    with Memory.open_sync(f"sqlite:///{tmp_path / 'life.db'}") as memory:
        about: dict[str, Any] = {"kind": Kind.FACT, "subject": "Ann", "relation": "lives in"}
        return {
            "heron": memory.add("The heron nests by the weir.", HOME),
            "rome": memory.add("Ann lives in Rome.", HOME, value="Rome", valid_from=EARLY, **about),
            "oslo": memory.add("Ann lives in Oslo.", HOME, value="Oslo", **about),
            "one": memory.add("Ask at the weir.", HOME, kind=Kind.REFLECTION, duplicates="keep"),
            "two": memory.add("Ask uh at the weir!", HOME, kind=Kind.REFLECTION, duplicates="keep"),
        }


@pytest.fixture
def typed(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Type:
    """Return a function that types a command and returns what it printed, as a value with ``--json``."""
    for name in ("DB", "NAMESPACE", "EMBEDDER", "PRESET", "SYNCHRONOUS"):
        monkeypatch.delenv(f"MARS_{name}", raising=False)

    def type(*words: str, code: int = 0) -> Any:
        ended = main(["memory", *words, "--db", str(tmp_path / "life.db")])
        told = capfd.readouterr()
        assert ended == code, told
        if code:
            return told.err
        return json.loads(told.out) if "--json" in words else told.out

    return type


def test_edit(told: dict[str, Record], typed: Type) -> None:
    """An edit changes what is named and nothing else; without anything to change it says what there is."""
    (edited,) = typed("edit", told["heron"].id, "--text", "The heron moved.", "--importance", "0.5", "--json")
    assert (edited["text"], edited["importance"], edited["id"]) == ("The heron moved.", 0.5, told["heron"].id)
    assert "The heron moved." in typed("edit", told["heron"].id, "--short", "moved")
    assert "--text" in typed("edit", told["heron"].id, code=2)
    assert "no time" in typed("edit", told["heron"].id, "--expires", "soon", code=2)
    assert "nobody" in typed("edit", "nobody", "--text", "x", code=2)
    assert "past" in typed("edit", told["heron"].id, "--expires", "2020-01-01", code=2)
    assert typed("purge", "--namespace", "ann/notes", "--json") == {"dry_run": False, "deleted": []}


def test_purge(told: dict[str, Record], typed: Type, tmp_path: Path) -> None:
    """A purge deletes for good what has expired: once a person was asked, or with `--yes`; a dry run only says what."""
    with Memory.open_sync(f"sqlite:///{tmp_path / 'life.db'}") as memory:
        memory.edit(told["heron"].id, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    before = (tmp_path / "life.db").read_bytes()
    assert typed("purge", "--dry-run", "--json") == {"dry_run": True, "deleted": [told["heron"].id]}
    assert "1 would be deleted" in typed("purge", "--dry-run", "--yes")
    assert "nobody is there to ask" in typed("purge", code=2)
    assert (tmp_path / "life.db").read_bytes() == before
    deleted = typed("purge", "--namespace", "ann/notes", "--yes", "--json")
    assert deleted == {"dry_run": False, "deleted": [told["heron"].id]}
    assert "0 would be deleted" in typed("purge", "--dry-run")


def test_delete(told: dict[str, Record], typed: Type) -> None:
    """Deleted is gone for good, all or nothing; what others were derived from needs `--force`."""
    assert "nobody" in typed("delete", told["heron"].id, "nobody", "--yes", code=2)
    assert typed("delete", told["heron"].id, "--yes", "--json") == {"deleted": [told["heron"].id]}
    assert "no record" in typed("show", told["heron"].id, code=2)
    assert "purged" in typed("history", told["heron"].id)
    assert "0 deleted" in typed("purge")


def test_as_of_and_undo(told: dict[str, Record], typed: Type) -> None:
    """What held at a time is told; a supersession taken back, the older fact holds again."""
    then, now = (EARLY + timedelta(days=1)).date().isoformat(), datetime.now(UTC).isoformat()
    assert [one["value"] for one in typed("as-of", then, "-n", "ann/notes", "--json")] == ["Rome"]
    assert [one["value"] for one in typed("as-of", now, "-n", "ann/notes", "--subject", "ann", "--json")] == ["Oslo"]
    assert typed("as-of", then, "-n", "ann/notes", "--known", "2020-01-01", "--json") == []
    assert {one["id"]: one["status"] for one in typed("undo", told["oslo"].id, "--json")} == {
        told["rome"].id: "active",
        told["oslo"].id: "archived",
    }
    assert [one["value"] for one in typed("as-of", now, "-n", "ann/notes", "--json")] == ["Rome"]
    assert "nothing to undo" in typed("undo", told["heron"].id, code=2)
    assert "no time" in typed("as-of", "yesterday", "-n", "ann/notes", code=2)


def test_duplicates(told: dict[str, Record], typed: Type) -> None:
    """Groups are shown first, and merged when asked; merged, they are in the archive."""
    (group,) = typed("duplicates", "-n", "ann/notes", "--json")
    keep, other = group["keep"]["id"], group["others"][0]["id"]
    assert {keep, other} == {told["one"].id, told["two"].id}
    assert group["merged"] is False
    shown = typed("duplicates", "-n", "ann/notes")
    assert keep in shown
    assert other in shown
    typed("duplicates", "-n", "ann/notes", "--merge")
    assert typed("duplicates", "-n", "ann/notes", "--json") == []
    assert typed("show", other, "--json")["archived_because"] == "merged"
