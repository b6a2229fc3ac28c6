"""`mars simulate`: its file, what a kill leaves, what it says; and the statistics of the comparison."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mars.cli import main
from mars.errors import InvalidFile, InvalidInput, InvalidSetting, StoreCorrupt
from mars.evaluation.paired import Row, compared, holm
from mars.evaluation.simulations import simulation_report
from mars.memory.index.folder_lock import FolderLock
from mars.simulation.config import read_config
from mars.simulation.episodes import play_episode
from mars.simulation.results import METHOD, Results, canonical, key_of
from mars.simulation.worlds import Cell

CONFIG = """
world = "scheduler"
seeds = [1, 2]
episodes = 2
variants = ["none", "window", "fsrs"]
concurrency = 1

[grid]
noise = [1]
change = [0.5]
repeat = [0]
gap = [5, 20]
"""
EPISODES = 2 * 2 * 2 * 4


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A small simulation."""
    path = tmp_path / "small.toml"
    path.write_text(CONFIG)
    return path


def begun(config: Path, out: Path) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    program = "import sys; from mars.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "simulate", str(config), "--out", str(out), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def kept(out: Path) -> int:
    """How many episodes lie in a folder."""
    if not (out / "results.db").exists():
        return 0
    with sqlite3.connect(out / "results.db", timeout=30) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'episodes'").fetchone()[0]
        return int(connection.execute("SELECT count(*) FROM episodes").fetchone()[0]) if tables else 0


def test_a_killed_simulation_plays_only_what_is_missing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL in the middle; the same command plays the rest, and all of it is as if nothing had happened."""
    out = tmp_path / "out"
    killed = begun(config, out)
    deadline = time.monotonic() + 120
    try:
        while kept(out) < 5:
            assert killed.poll() is None, "it was over before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not FolderLock(out).attempt(), "another could play, too"
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
    before = kept(out)
    assert 5 <= before < EPISODES
    assert not (out / "results.jsonl").exists()

    assert main(["simulate", str(config), "--out", str(out), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["episodes"], values["played"]) == (EPISODES, EPISODES - before)

    tasks = read_config(config).tasks()
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == [key_of(task) for task in tasks]
    for task, line in list(zip(tasks, lines, strict=True))[:: EPISODES // 8]:
        undisturbed = json.loads(json.dumps(canonical(play_episode(task))))
        assert {name: line[name] for name in undisturbed} == undisturbed


def test_only_one_process_plays_a_simulation(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second one is refused, with what helps and nothing written; where all is done there is nothing to refuse."""
    out, tasks = tmp_path / "out", read_config(config).tasks()
    results = Results(out)
    with results.alone(tasks):
        assert main(["simulate", str(config), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "another process plays it" in told
    assert "the same command plays what is missing" in told
    assert (results.noted(), len(results.missing(tasks))) == (None, EPISODES)
    for task in tasks:
        results.add(task, _outcome(task))
    with results.alone(tasks):
        assert main(["simulate", str(config), "--out", str(out)]) == 0
    results.close()


def test_what_is_done_is_shown_and_not_played_again(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With every episode there nothing is played; keys, table and ends are as documented."""
    results = Results(tmp_path / "out")
    for task in (tasks := read_config(config).tasks()):
        results.add(task, play_episode(task) if task.cell == tasks[0].cell else {**_outcome(task), "right": 12})
    results.close()
    assert main(["simulate", str(config), "--out", str(tmp_path / "out"), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["played"] == 0
    assert (values["world"], values["cells"], values["floor"]) == ("scheduler", 2, 0.3333)
    assert set(values["variants"]) == {"none", "window", "fsrs"}
    assert {"success", "ci95", "tokens", "ms", "cost"} <= set(values["variants"]["fsrs"])
    assert values["oracle"] < 0.98
    assert any("oracle" in problem for problem in values["problems"])
    assert main(["simulate", str(config), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "predicted without memory" in shown.out
    assert "oracle reaches" in shown.err


def test_a_folder_of_a_killed_simulation_is_shown_where_a_pair_has_no_episode_in_common(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `fsrs` and `decay` one seed each is finished: the pair is left out, and what is missing is said."""
    config.write_text(CONFIG.replace('"window", "fsrs"', '"decay", "fsrs"'))
    read, results = read_config(config), Results(tmp_path / "out")
    results.note(read.plain(), None, read.tasks())
    for task in read.tasks():
        if task.seed == {"decay": 1000, "fsrs": 2000}.get(task.variant, task.seed):
            results.add(task, _outcome(task))
    results.close()
    assert main(["simulate", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "fsrs" in shown
    assert "fsrs vs decay" not in shown
    assert "Unfinished: 12 episodes" in (tmp_path / "out" / "report.html").read_text()


def _outcome(task: Any) -> dict[str, Any]:
    return {
        "asked": 24,
        "right": 8,
        "floor": 1 / 3,
        "tokens": 1,
        "cost": 0.0,
        "ms": 1.0,
        "months": [[24, 8]],
        "counts": {},
        "failures": [],
    }


def test_a_result_belongs_to_all_that_decides_it(config: Path) -> None:
    """Another seed, cell, variant, budget, sabotage or model is another episode; processes at once are not."""
    tasks = read_config(config).tasks()
    assert len({key_of(task) for task in tasks}) == EPISODES == len(tasks)
    keys = {key_of(task) for task in tasks}
    assert not keys & {key_of(task) for task in read_config(config).tasks("decay")}
    config.write_text(CONFIG + "[limits]\nbudget = 50\n")
    assert not keys & {key_of(task) for task in read_config(config).tasks()}
    config.write_text(CONFIG.replace("concurrency = 1", "concurrency = 7"))
    assert keys == {key_of(task) for task in read_config(config).tasks()}
    assert METHOD >= 1


def test_the_files_in_the_examples_hold_the_committed_grids() -> None:
    """Every world has its whole grid of 16 cells; the quick one a part of it."""
    examples = Path(__file__).parents[2] / "examples"
    worlds = [read_config(path) for path in sorted((examples / "simulations").glob("*.toml"))]
    assert [one.world for one in worlds] == ["assistant", "operations", "scheduler"]
    assert [len(one.cells) for one in worlds] == [16, 16, 16]
    assert len(read_config(examples / "quick.toml").cells) == 4
    assert worlds[0].cells[0] == Cell(noise=2, change=0.0, repeat=0, gap=7)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"scheduler"', '"moon"', "assistant"),
        ("seeds = [1, 2]", "", "seeds"),
        ("seeds = [1, 2]", "seeds = [1, 1]", "seeds"),
        ("seeds = [1, 2]", "seeds = [1.5]", "whole"),
        ("seeds = [1, 2]", "seeds = 3", "list"),
        ("episodes = 2", "episodes = 0", "episodes"),
        ("episodes = 2", "episods = 2", "episods"),
        ('"window"', '"elephant"', "elephant"),
        ("concurrency = 1", "concurrency = true", "concurrency"),
        ("gap = [5, 20]", "", "gap"),
        ("gap = [5, 20]", "gap = [0]", "gap"),
        ("gap = [5, 20]", 'gap = ["x"]', "numbers"),
        ("episodes = 2", "episodes = 1000000", "episodes"),
        ("gap = [5, 20]", "gap = [5, 20]\n[limits]\nbudget = 1", "budget"),
        ("repeat = [0]", "repeat = [0.0]", "repeat"),
        ("seeds = [1, 2]", "seeds = [99999999999999999999]", "seeds"),
        ('"scheduler"', '["scheduler"]', "no world"),
        ("seeds = [1, 2]", "seeds = [[1], [2]]", "whole"),
        ("noise = [1]", "noise = [1, 1.0000001]", "noise=1 "),
        ("concurrency = 1", "model = 3", "model"),
        ("concurrency = 1", 'model = ""', "model"),
    ],
)
def test_a_file_that_cannot_be_is_refused(config: Path, old: str, new: str, named: str) -> None:
    """The error names what is wrong, before anything is played."""
    assert old in CONFIG
    config.write_text(CONFIG.replace(old, new))
    with pytest.raises(InvalidSetting, match=named):
        read_config(config)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """A missing file and one that is no TOML."""
    with pytest.raises(InvalidFile, match="cannot be read"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("world = ")
    with pytest.raises(InvalidFile, match="no TOML"):
        read_config(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ('model = "nobody:x"', "nobody"),
        ('database = "sqlite:////nowhere/at/all.db"', "mkdir"),
    ],
)
def test_what_fails_while_it_is_played_is_said_in_one_sentence(
    config: Path, capsys: pytest.CaptureFixture[str], added: str, told: str
) -> None:
    """An error of an episode, played in another process among others, comes out as what it is."""
    config.write_text(added + CONFIG.replace("concurrency = 1", "concurrency = 2"))
    assert main(["simulate", str(config), "--fresh"]) not in (0, 1)
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said


def test_a_model_that_cannot_be_made_is_told_before_anything_is_written(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No folder, no results: the model is made once before the first process begins."""
    config.write_text('model = "nobody:x"' + CONFIG)
    assert main(["simulate", str(config), "--out", str(tmp_path / "out")]) == 2
    assert "nobody" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_damaged_results_are_left_as_they_are(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no database, and one with pages that are not what they were, are named, and nothing is written."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "results.db").write_bytes(b"no database " * 400)
    with pytest.raises(StoreCorrupt, match="move this one away"):
        Results(broken)
    assert main(["simulate", str(broken)]) == main(["simulate", str(config), "--out", str(broken)]) != 1
    assert "results.db" in capsys.readouterr().err
    assert (broken / "results.db").read_bytes() == b"no database " * 400

    torn = tmp_path / "torn"
    Results(torn).close()
    whole = (torn / "results.db").read_bytes()
    (torn / "results.db").write_bytes(whole[:4096] + b"\x55" * (len(whole) - 4096))
    with pytest.raises(StoreCorrupt, match="damaged"):
        Results(torn).missing(read_config(config).tasks())


# The statistics


def rows(variant: str, means: dict[str, float], seeds: int = 12, spread: float = 0.05) -> list[Row]:
    """Episodes around a mean in each cell."""
    draw = np.random.default_rng(len(variant))
    return [
        Row(variant=variant, cell=cell, seed=seed, success=mean + spread * draw.normal(), tokens=10, ms=1, cost=0.0)
        for cell, mean in means.items()
        for seed in range(seeds)
    ]


def test_holm_corrects_step_by_step() -> None:
    """Holm's own scheme: sorted, multiplied by how many are left, never falling, at most 1."""
    assert holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_difference_and_a_null_are_told_apart() -> None:
    """What wins everywhere has an interval above 0; what does not differ has one around it; a lost cell is named."""
    cells = {"a": 0.5, "b": 0.5, "c": 0.5}
    better = {"a": 0.7, "b": 0.7, "c": 0.4}
    report = compared([*rows("mars", better), *rows("vector", cells), *rows("decay", better)])
    won, null = report["pairs"]["mars vs vector"], report["pairs"]["mars vs decay"]
    assert won["ci95"][0] > 0.03
    assert won["ci95"][0] < won["delta"] < won["ci95"][1]
    assert (won["cells_won"], won["cells_lost"], won["lost"]) == (2, 1, ["c"])
    assert won["p_holm"] < 0.05 < null["p_holm"]
    assert null["ci95"][0] < 0 < null["ci95"][1]
    assert report["claim"]["best_baseline"] == "vector"
    assert report["claim"]["holds"]
    assert compared([*rows("mars", better), *rows("vector", cells), *rows("decay", better)]) == report


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Of 200 samples of 40 episodes whose true difference is 0, about 95 % have an interval with 0 in it."""
    draw, covered = np.random.default_rng(7), 0
    for _ in range(200):
        pairs = {name: draw.normal(0.5, 0.1, 40) for name in ("mars", "vector")}
        made = [
            Row(variant=name, cell="a", seed=seed, success=value, tokens=1, ms=1, cost=None)
            for name, values in pairs.items()
            for seed, value in enumerate(values)
        ]
        low, high = compared(made, resamples=400)["pairs"]["mars vs vector"]["ci95"]
        covered += low <= 0 <= high
    assert 178 <= covered <= 199


@pytest.mark.parametrize("episodes", [1, 2, 3])
def test_of_fewer_than_four_episodes_nothing_is_sure(episodes: int) -> None:
    """One resample in 27 is all of one episode: no 95 % can be had, so the interval is all that could be."""
    report = compared([*rows("mars", {"a": 0.9}, episodes, 0.01), *rows("none", {"a": 0.1}, episodes, 0.01)])
    pair = report["pairs"]["mars vs none"]
    assert (pair["ci95"], report["claim"]["ci95"], report["claim"]["holds"]) == ([-1.0, 1.0], [-1.0, 1.0], False)
    assert report["variants"]["mars"]["ci95"] == [0.0, 1.0]
    assert pair["p"] == pytest.approx(min(1.0, 2 / episodes**episodes))
    enough = compared([*rows("mars", {"a": 0.9}, 6, 0.01), *rows("none", {"a": 0.1}, 6, 0.01)])
    assert enough["claim"]["holds"]
    assert enough["pairs"]["mars vs none"]["p"] < 0.001


def test_flipped_signs_are_exact_for_few_and_agree_for_many() -> None:
    """Of five that differ, all one way, 2 of 32 signs are as far; 40 draws around 0 are below .05 about as often."""
    made = {name: [(1.0 if name == "mars" and seed < 5 else 0.5) for seed in range(48)] for name in ("mars", "none")}

    def p_signs(of: dict[str, list[float]]) -> float:
        told = [
            Row(variant=name, cell="a", seed=seed, success=value, tokens=1, ms=1, cost=None)
            for name, values in of.items()
            for seed, value in enumerate(values)
        ]
        return float(compared(told, resamples=400)["pairs"]["mars vs none"]["p_signs"])

    assert p_signs(made) == 2 / 32
    assert p_signs({"mars": [0.5] * 9, "none": [0.5] * 9}) == 1.0
    draw = np.random.default_rng(3)
    small = [p_signs({name: list(draw.normal(0.5, 0.1, 40)) for name in ("mars", "none")}) < 0.05 for _ in range(100)]
    assert sum(small) <= 12


def test_where_a_cell_has_one_episode_cells_are_drawn() -> None:
    """Within it nothing can be resampled: a claim of one seed takes its interval from the spread of the cells."""
    means = {name: 0.5 + 0.1 * place for place, name in enumerate("abcdefg")}
    claim = compared([*rows("mars", means, 1, 0), *rows("none", dict.fromkeys(means, 0.5), 1, 0)])["claim"]
    assert claim["median_cell"] == pytest.approx(0.3)
    assert claim["ci95"][0] < 0.2 < 0.4 < claim["ci95"][1]
    low, high = compared([*rows("mars", means, 2, 0), *rows("none", dict.fromkeys(means, 0.5), 2, 0)])["claim"]["ci95"]
    assert low == high == pytest.approx(0.3), "within cells that have two alike"


def test_only_common_episodes_are_paired_and_none_twice() -> None:
    """A pair counts the episodes that both have; one that stands there twice is refused."""
    report = compared([*rows("mars", {"a": 0.5}, seeds=9), *rows("none", {"a": 0.4}, seeds=5)])
    assert report["pairs"]["mars vs none"]["episodes"] == 5
    with pytest.raises(InvalidInput, match="twice"):
        compared([*rows("mars", {"a": 0.5}), *rows("mars", {"a": 0.5})])


def test_a_report_says_why_it_cannot_be_believed() -> None:
    """A weak oracle and a memoryless score off its floor are problems; where all is well there are none."""

    def problems(oracle: int, without: int, exact: bool) -> list[str]:
        told = [("oracle", oracle), ("none", without)]
        episodes = [
            ({"variant": name, "cell": "a", "seed": 1}, {**_outcome(None), "right": right}) for name, right in told
        ]
        found: list[str] = simulation_report("scheduler", episodes, exact_floor=exact)["problems"]
        return found

    assert problems(24, 8, True) == []
    assert "predicted" in problems(24, 9, True)[0]
    assert problems(24, 9, False) == []
    assert len(problems(20, 24, False)) == 2


def test_a_fresh_simulation_leaves_nothing(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All is played in a temporary folder; with `--out` beside it nothing is."""
    monkeypatch.chdir(tmp_path)
    small = CONFIG.replace("[1, 2]", "[1]").replace("episodes = 2", "").replace("[5, 20]", "[5]")
    config.write_text(small.replace('"none", "window", "fsrs"', '"none"'))
    assert main(["simulate", str(config), "--fresh", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["played"], values["oracle"], values["problems"], values["folder"]) == (2, 1.0, [], None)
    assert list(tmp_path.iterdir()) == [config]
    assert main(["simulate", str(config), "--fresh", "--out", str(tmp_path / "out")]) == 2
    assert "--fresh" in capsys.readouterr().err
