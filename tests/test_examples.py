"""Each example is run as its docstring says, and a spoilt one is found out; `make examples` runs the slow ones too."""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from mars import Mars

examples_module: ModuleType = pytest.importorskip("benchmarks.examples", reason="needs the repository")
Example = examples_module.Example
EXAMPLES: Path = examples_module.EXAMPLES
ELSEWHERE = ("web_chat.py",)
"""What other tests try more closely: tests/test_web_chat.py."""
BY_NAME = {one.name: one for one in examples_module.ALL}


def needed(example: Example) -> None:  # type: ignore[valid-type]
    """Skip where a package of the group `examples` is missing."""
    for package in example.needs:  # type: ignore[attr-defined]
        pytest.importorskip(package)


@pytest.mark.parametrize(
    "name", [one.name for one in examples_module.ALL if not one.slow and one.name not in ELSEWHERE]
)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    """It runs from an empty folder, keyless, and what comes of it is right."""
    needed(BY_NAME[name])
    BY_NAME[name].try_it(EXAMPLES / name, tmp_path)


def test_a_spoilt_example_is_noticed(tmp_path: Path) -> None:
    """Where the fact is not stored, the first example fails."""
    spoilt = tmp_path / "remembering.py"
    text = (EXAMPLES / spoilt.name).read_text("utf-8")
    assert 'await mars.run("My' in text
    spoilt.write_text(text.replace('await mars.run("My', 'str("My').replace('.", user="ann")', '.")'))
    outcome, _ = examples_module.tried(BY_NAME[spoilt.name], tmp_path)
    assert outcome.startswith("failed: AssertionError: 'lives in Porto.' is missing"), outcome


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


SLOW_CHAT = """
import sys, time
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from chat import talk
from mars import Mars, Team
from mars.testing import ScriptedModel

def replies(messages):
    if "slow" in str(messages[-1].content):
        Path("called").touch()
        while not Path("go").exists():
            time.sleep(0.01)
    return "Here you are."

model, team = ScriptedModel(replies), Team(without={"checker"})
with Mars.open_sync("sqlite:///chat.db", model=model, team=team, lease=1) as mars:
    talk(mars)
"""


def appears(path: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_chat_that_is_interrupted_and_killed(tmp_path: Path) -> None:
    """Ctrl-C stops an answer and not the chat, which goes on; a chat that is killed finishes its answer afterwards."""
    called, go = tmp_path / "called", tmp_path / "go"
    command = [sys.executable, "-c", SLOW_CHAT, str(EXAMPLES)]
    begin = functools.partial(subprocess.Popen, command, cwd=tmp_path, stdin=-1, stdout=-1, text=True, bufsize=1)
    with begin() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("A slow one.\n")
        appears(called)
        process.send_signal(signal.SIGINT)
        assert "(stopped)" in process.stdout.readline()
        go.touch()
        process.stdin.write("A quick one.\n")
        assert "Here you are." in process.stdout.readline()
        called.unlink()
        go.unlink()
        process.stdin.write("Another slow one.\n")
        appears(called)
        process.kill()
    go.touch()
    with begin() as process:
        said, _ = process.communicate("", timeout=60)
    examples_module.in_order(said, "You had asked: Another slow one.", "Here you are.", "you>")
    assert process.returncode == 0
    with Mars.open_sync(f"sqlite:///{tmp_path}/chat.db") as mars:
        answered = ["A quick one.", "Here you are.", "Another slow one.", "Here you are."]
        assert [one.text for one in mars.transcript("me")] == answered
        assert mars.unfinished() == []


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
