"""Each example is run as its docstring says, and a spoilt one is found out; `make examples` runs the slow ones too."""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

examples_module: ModuleType = pytest.importorskip("benchmarks.examples", reason="needs the repository")
Example = examples_module.Example
EXAMPLES: Path = examples_module.EXAMPLES
BY_NAME = {one.name: one for one in examples_module.ALL}


def needed(example: Example) -> None:  # type: ignore[valid-type]
    """Skip where a package of the group `examples` is missing."""
    for package in example.needs:  # type: ignore[attr-defined]
        pytest.importorskip(package)


@pytest.mark.parametrize("name", [one.name for one in examples_module.ALL if not one.slow])
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    """It runs from an empty folder, keyless, and what comes of it is right."""
    needed(BY_NAME[name])
    BY_NAME[name].try_it(EXAMPLES / name, tmp_path)


@pytest.mark.parametrize(("told", "instead"), [("Porto", "Paris"), ('mars.run("My', 'print("My')])
def test_a_spoilt_example_is_noticed(told: str, instead: str, tmp_path: Path) -> None:
    """With another fact, or one that is not stored, the first example fails."""
    spoilt = tmp_path / "remembering.py"
    text = (EXAMPLES / spoilt.name).read_text("utf-8")
    assert told in text
    spoilt.write_text(text.replace(told, instead, 1).replace('await print("My', 'print("My'))
    outcome, _ = examples_module.tried(BY_NAME[spoilt.name], tmp_path)
    assert outcome.startswith("failed: AssertionError")


def test_every_example_is_tried_and_told_of() -> None:
    """Each file of the folder is run, or is part of one that is; the index tells of each; none is long."""
    parts = {"web_chat.html": "web_chat.py", "gunicorn_conf.py": "gunicorn_app.py", "simulations": "quick.toml"}
    files = {path.name for path in EXAMPLES.iterdir() if not path.name.startswith(("__", "."))} - {"README.md"}
    assert files == {*BY_NAME, *parts}
    index = (EXAMPLES / "README.md").read_text("utf-8")
    assert [name for name in BY_NAME if f"]({name}" not in index] == []
    long = {path.name: path.read_text("utf-8").count("\n") for path in EXAMPLES.glob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 100} == {}
    assert all(ast.get_docstring(ast.parse(path.read_text("utf-8"))) for path in EXAMPLES.glob("*.py"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn forks")
def test_mars_that_was_opened_before_the_fork_says_so(tmp_path: Path) -> None:
    """A worker whose Mars was opened in the parent gets a typed error that names the remedy, and hangs nowhere."""
    needed(BY_NAME["gunicorn_app.py"])
    import httpx

    for name in ("gunicorn_app.py", "gunicorn_conf.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    config = tmp_path / "gunicorn_conf.py"
    late = re.search(r"^def post_fork.*?\n\n\n", config.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert late
    config.write_text(config.read_text("utf-8").replace(late[0], "gunicorn_app.mars.open()\n\n\n"))
    port = examples_module.free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", str(config), "-b", f"127.0.0.1:{port}"]
    serving = examples_module.serving([*command, "gunicorn_app:application"], tmp_path, tmp_path, port)
    with serving as address:
        said = examples_module.heard(httpx.post(f"{address}/ann", content="Hello.", timeout=60).text)
    assert said == [{"error": said[0]["error"], "final": True}]
    assert "opened in the parent of this process: open another after the fork" in said[0]["error"]
