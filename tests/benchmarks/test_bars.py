"""The runner of the bars: it passes what holds, fails what does not, and says why a row was not run."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "benchmarks" / "bars.py"

pytestmark = pytest.mark.skipif(not RUNNER.exists(), reason="needs the repository")


def row(name: str = "row", expect: str = "== 1", output: Any = None, **more: Any) -> dict[str, Any]:
    """A row of bars.toml whose command prints some JSON."""
    line = json.dumps({"a": {"b": [1, 2.5, None, True]}} if output is None else output)
    values = {"name": name, "issue": 2, "key": "a.b.0", "expect": expect, "minutes": 0.1}
    return {**values, "command": f"echo noise; echo '{line}'", **more}


def run_bars(tmp_path: Path, rows: list[dict[str, Any]], *options: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Run the runner over rows; return exit status, the rows of its JSON by name, and all that it printed."""
    file = tmp_path / "bars.toml"
    lines = ["[[bar]]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in row.items()) for row in rows]
    file.write_text("\n\n".join(lines))
    command = [sys.executable, str(RUNNER), "--file", str(file), "--json", *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    try:
        report = json.loads(result.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return result.returncode, {}, result.stdout + result.stderr
    return result.returncode, {entry["name"]: entry for entry in report["bars"]}, result.stdout


def test_a_promise_that_holds_passes(tmp_path: Path) -> None:
    """A figure that is as expected passes, in each direction."""
    rows = [
        row("equal"),
        row("least", ">= 0.5"),
        row("most", "<= 2.5", key="a.b.1"),
        row("true", "== true", key="a.b.3"),
    ]
    status, results, text = run_bars(tmp_path, rows)
    assert status == 0
    assert {entry["outcome"] for entry in results.values()} == {"pass"}
    assert results["most"]["figure"] == 2.5
    assert "4 pass, 0 fail, 0 not run" in text


@pytest.mark.parametrize(
    ("sabotage", "note"),
    [
        ({"expect": "== 2"}, ""),
        ({"expect": ">= 1.01"}, ""),
        ({"expect": "<= 0.99"}, ""),
        ({"expect": "== true"}, ""),
        ({"expect": ">= 0", "key": "a.b.2"}, ""),
        ({"expect": ">= 0", "key": "a.b.3"}, ""),
        ({"expect": ">= 0", "output": {"a": {"b": [float("nan")]}}}, ""),
        ({"key": "a.c"}, "no 'c'"),
        ({"key": "a.b.9"}, "no '9'"),
        ({"command": "echo '{}'; echo broken >&2; exit 3"}, "exit status 3: broken"),
        ({"command": "echo not json"}, "no JSON"),
        ({"command": "true"}, "no JSON"),
        ({"command": "sleep 30", "minutes": 0.001}, "stopped"),
    ],
)
def test_a_broken_promise_fails(tmp_path: Path, sabotage: dict[str, Any], note: str) -> None:
    """A figure that is not as expected, or none, fails the row and the run."""
    status, results, _ = run_bars(tmp_path, [row("good"), row("bad", **sabotage)])
    assert status == 1
    assert results["good"]["outcome"] == "pass"
    assert results["bad"]["outcome"] == "fail"
    assert note in results["bad"]["note"]


def test_rows_share_a_command(tmp_path: Path) -> None:
    """A command that several rows name runs once."""
    log = tmp_path / "log"
    command = f'echo ran >> {log}; echo \'{{"a": 1, "b": 2}}\''
    status, _, _ = run_bars(
        tmp_path, [row("a", "== 1", command=command, key="a"), row("b", "== 2", command=command, key="b")]
    )
    assert status == 0
    assert log.read_text() == "ran\n"


def test_what_is_not_run_is_said(tmp_path: Path) -> None:
    """A slow row and a row without its file are not run, which is no failure; a named row runs, slow or not."""
    rows = [row("quick"), row("slow", slow=True), row("fileless", needs=["no/such/file"], hint="ask Ann")]
    status, results, text = run_bars(tmp_path, rows)
    assert status == 0
    assert [results[name]["outcome"] for name in ("quick", "slow", "fileless")] == ["pass", "not run", "not run"]
    assert results["fileless"]["note"] == "missing: no/such/file (ask Ann)"
    assert "1 pass, 0 fail, 2 not run" in text
    assert run_bars(tmp_path, rows, "--all")[1]["slow"]["outcome"] == "pass"
    assert run_bars(tmp_path, rows, "--only", "slow")[1].keys() == {"slow"}


def test_one_issue_can_be_asked_for(tmp_path: Path) -> None:
    """Only the rows of the named issue run; an issue without rows is exit status 2."""
    rows = [row("ours"), row("theirs", issue=99)]
    assert run_bars(tmp_path, rows, "--issue", "99")[1].keys() == {"theirs"}
    assert run_bars(tmp_path, rows, "--issue", "98")[0] == 2


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    """A name that no row has is exit status 2, with the names there are."""
    status, _, text = run_bars(tmp_path, [row("known")], "--only", "unknown")
    assert status == 2
    assert "known" in text


@pytest.mark.parametrize("wrong", [[row(expect="> 1")], [row(expect="== one")], [row(), row()]])
def test_wrong_rows_are_refused(tmp_path: Path, wrong: list[dict[str, Any]]) -> None:
    """A threshold that is none, and a name given twice, stop the run before anything is measured."""
    status, _, text = run_bars(tmp_path, wrong)
    assert status == 1
    assert "ValueError" in text


def test_the_rows_of_this_repository_are_well_formed() -> None:
    """Every row of bars.toml can be read, and what it runs exists."""
    bars = runpy.run_path(str(RUNNER))["read_bars"]()
    assert len(bars) >= 20
    for bar in bars:
        words = bar.command.split()
        if words[0] == "python":
            script = f"{words[2].replace('.', '/')}.py" if words[1] == "-m" else words[1]
            assert (ROOT / script).exists(), bar.command
        else:
            assert words[0] in {"mars", "make"}, bar.command
