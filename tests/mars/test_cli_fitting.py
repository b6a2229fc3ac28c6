"""`mars memory fit`: what a user types, what comes back, and that nothing is changed unasked."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mars.cli import main
from mars.memory.curves import EXPONENTIAL, retention
from mars.memory.engine import Memory
from mars.memory.presets import preset
from mars.memory.records import Grade, Kind, NewRecord

START = datetime(2025, 1, 1, tzinfo=UTC)
TRUE = 20.0
"""By so much every strength is more than the preset says."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of 60 records with four uses each, which go well more often than its preset says."""
    for name in ("DB", "NAMESPACE", "EMBEDDER", "PRESET", "SYNCHRONOUS"):
        monkeypatch.delenv(f"MARS_{name}", raising=False)
    monkeypatch.setenv("MARS_PRESET", "memorybank")
    draw, path = random.Random(1), tmp_path / "life.db"
    with Memory.open_sync(f"sqlite:///{path}", preset="memorybank") as memory:
        news = [NewRecord(text=f"Note {number}.", namespace=("ann",), kind=Kind.PROCEDURE) for number in range(60)]
        for record in memory.add_many(news, now=START):
            day = last = 0.0
            strength = TRUE
            for turn in range(4):
                day += 10.0 ** draw.uniform(0.3, 2.0)
                served = draw.random() < retention(EXPONENTIAL, day - last, strength)
                grade = Grade.GOOD if served else Grade.AGAIN
                memory.used(record.id, grade, f"turn {turn}", now=START + timedelta(days=day))
                strength, last = (strength + TRUE, day) if served else (strength / 2.0, last)
    return path


def test_fit(store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A fit says what it gains, prints a preset that opens a memory, and writes nothing unless asked."""
    before = store.read_bytes()
    assert main(["memory", "fit", "--db", str(store)]) == 0
    told = capfd.readouterr()
    assert "surely predicts better" in told.out
    assert "[base_strength]" in told.out
    assert "nothing was written" in told.err
    saved = tmp_path / "fitted.toml"
    assert main(["memory", "fit", "--db", str(store), "--save", str(saved), "--json"]) == 0
    values = json.loads(capfd.readouterr().out)
    assert (values["uses"], values["records"], values["better"]) == (240, 60, True)
    assert values["scale"] > 5.0
    assert values["log_loss"]["ci95"][0] > 0.0
    assert values["log_loss_over_constant"].keys() == {"constant", "fitted", "gain", "ci95"}
    assert values["toml"] == saved.read_text(encoding="utf-8")
    assert preset(str(saved)).base_strength[Kind.FACT] == values["base_strength"]["fact"]
    assert store.read_bytes() == before


def test_what_cannot_be_is_refused(store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file that is there, one of another ending, an unknown namespace, and a log that is too short."""
    there = tmp_path / "there.toml"
    there.write_text("")
    assert main(["memory", "fit", "--db", str(store), "--save", str(there)]) == 2
    assert "is there already" in capfd.readouterr().err
    assert main(["memory", "fit", "--db", str(store), "--save", str(tmp_path / "x.json")]) == 2
    assert "must end in .toml" in capfd.readouterr().err
    assert main(["memory", "fit", "--db", str(store), "-n", "bob"]) == 2
    assert "nothing is stored for bob" in capfd.readouterr().err
    small = tmp_path / "small.db"
    with Memory.open_sync(f"sqlite:///{small}") as memory:
        memory.add("I like tea.", ("ann",))
    assert main(["memory", "fit", "--db", str(small)]) == 2
    assert "a fit needs 200 graded uses" in capfd.readouterr().err
    assert there.read_text() == ""
