"""The comparison with other memories: run at a tiny size, with what the project has anyway."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("benchmarks.peers", reason="needs the repository")

from benchmarks.peers import ratios as measured_ratios
from benchmarks.peers.floor import Floor
from benchmarks.peers.report import about_file, digest, tables, write
from benchmarks.peers.rounds import OPERATIONS, QUESTIONS, Cell, share
from benchmarks.peers.system import ENTRIES, entry
from benchmarks.peers.worker import Measured
from benchmarks.peers.workload import Lookup, Row, nearest, read_questions, write_workload

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("system", "rows", "operation", "durability", "median_ms", "p95_ms", "per_second", "recall", "rss_mb", "disk_mb")
ABOUT = {"date": "2026-01-01", "commit": "c", "machine": {"processor": "p", "cpus": 2}, "python": "3", "seconds": 1}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run of two systems."""
    file = tmp_path_factory.mktemp("results") / "memory.json"
    command = [sys.executable, "-m", "benchmarks.peers", "--rows", "60", "--systems", "mars,numpy"]
    done = subprocess.run(
        [*command, "--output", str(file)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return file


def test_every_operation_is_measured(results: Path) -> None:
    """Each system has a row with figures for each operation, under the names that the issue fixes."""
    rows = json.loads(results.read_text())
    assert all(tuple(row)[: len(KEYS)] == KEYS for row in rows)
    assert [row for row in rows if row["median_ms"] is None] == []
    leads = {(row["system"], row["operation"]) for row in rows if row["durability"] == "normal"}
    assert leads == {(system, operation) for system in ("mars", "numpy") for operation in OPERATIONS}
    assert {row["operation"] for row in rows if row["durability"] == "full"} == {"add", "bulk_add"}
    assert all(row["per_second"] > 0 and row["disk_mb"] > 0 for row in rows)


def test_what_is_exact_finds_everything(results: Path) -> None:
    """The floor finds all that is nearest, and MARS all that is best by its own definition, filtered or not."""
    rows = [row for row in json.loads(results.read_text()) if row["operation"].startswith("recall")]
    assert len(rows) == 4
    assert {row["recall"] for row in rows} == {1.0}


def test_results_say_where_they_come_from(results: Path) -> None:
    """The description names the very file, the versions and the machine; the table shows every row."""
    about = json.loads(about_file(results).read_text())
    assert about["sha256"] == digest(results)
    assert about["versions"]["numpy"]
    assert about["machine"]["cpus"]
    table = results.with_suffix(".md").read_text()
    assert table.count("\n| mars | ") + table.count("\n| numpy | ") == len(json.loads(results.read_text()))


class Forgetful(Floor):
    """Loses every other row."""

    def add_many(self, rows: Sequence[Row]) -> None:
        """Insert half of the rows."""
        super().add_many(rows[::2])


@pytest.mark.parametrize(("kind", "least", "most"), [(Floor, 1.0, 1.0), (Forgetful, 0.2, 0.8)])
def test_rows_that_are_lost_cost_recall(tmp_path: Path, kind: type[Floor], least: float, most: float) -> None:
    """The measured recall falls when a system loses rows, and only then."""
    write_workload(tmp_path, 200, QUESTIONS, 200)
    questions = read_questions(tmp_path)
    system = Measured(kind(tmp_path, "normal", Lookup(questions, kind.as_lists)), tmp_path, questions)
    system.do({"do": "open"})
    system.do({"do": "fill", "start": 0, "stop": 200, "by_batch": True})
    asked = list(range(QUESTIONS))
    answer = system.do({"do": "recalls", "asked": asked, "filtered": False, "seconds": 60.0})
    truth = nearest(tmp_path, 200, filtered=False)
    shares = [share(found, expected) for found, expected in zip(answer["found"], truth, strict=True)]
    assert least <= sum(shares) / len(shares) <= most


def test_what_was_not_measured_says_why() -> None:
    """A row without figures has nulls and a reason, and the table tells it."""
    row = Cell(why="too slow").row(entry("chroma"), 10, "add", "full")
    assert [row[key] for key in KEYS[4:]] == [None] * 6
    assert row["why"] == "too slow"
    versions = dict.fromkeys((package for each in ENTRIES for package in each.packages), "1")
    assert "* chroma has no add: too slow" in tables([row], ABOUT | {"versions": versions}, [entry("chroma")])


def test_an_unknown_system_is_refused() -> None:
    """The refusal names the systems that there are."""
    with pytest.raises(SystemExit, match="there are: mars, numpy, chroma"):
        entry("redis")


def complete() -> list[dict[str, Any]]:
    """Results in which MARS takes 1 ms for everything at NORMAL, 2 ms at FULL, and everybody else 40 ms."""
    rows = []
    for each in ENTRIES:
        for durability in each.durabilities:
            for operation in ("add", "recall", "recall_filtered"):
                ours = 2.0 if durability == "full" else 1.0
                spent = ours if each.name == "mars" else 40.0
                rows.append(Cell(times=[spent / 1e3]).row(each, 10_000, operation, durability))
    return rows


def test_ratios_are_theirs_by_ours() -> None:
    """Adds are held against both durabilities, questions against the one that they are measured with."""
    found = measured_ratios.ratios(complete())
    assert found["add"]["mem0-chroma"] == {"normal": 40.0, "full": 20.0}
    assert found["add"]["langgraph-sqlite-wal"] == {"normal": 40.0, "full": 20.0}
    assert found["recall_filtered"]["chroma"] == 40.0
    assert set(found["add"]) == {each.name for each in ENTRIES[2:]} | set(measured_ratios.ALIKE)


@pytest.mark.parametrize(("system", "operation"), [("mars", "add"), ("mem0-chroma", "recall"), ("chroma", "add")])
def test_results_that_lack_a_row_are_refused(system: str, operation: str) -> None:
    """What a bar needs must have been measured; what none needs may be missing."""
    rows = [row for row in complete() if (row["system"], row["operation"]) != (system, operation)]
    if (system, operation) == ("chroma", "add"):
        assert measured_ratios.ratios(rows)["add"]["chroma"] == {"normal": None, "full": None}
        return
    with pytest.raises(SystemExit, match=r"the results lack at 10,000 rows.*make bench-memory"):
        measured_ratios.ratios(rows)


def test_results_that_were_changed_are_refused(tmp_path: Path) -> None:
    """A file that is not the one described, or that is not there, gives no ratios."""
    file = tmp_path / "memory.json"
    with pytest.raises(SystemExit, match=r"there is no memory.json"):
        measured_ratios.read(file)
    versions = dict.fromkeys((package for each in ENTRIES for package in each.packages), "1")
    write(file, complete(), ABOUT | {"versions": versions}, list(ENTRIES))
    assert measured_ratios.read(file)[0] == complete()
    file.write_text(file.read_text().replace("40.0", "80.0", 1))
    with pytest.raises(SystemExit, match="is not the file"):
        measured_ratios.read(file)
