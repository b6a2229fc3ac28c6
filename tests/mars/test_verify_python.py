"""Code is held against its tests in a process with limits; what it does there harms nothing here."""

from __future__ import annotations

import ast
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mars.agents.interfaces import Review, Task
from mars.agents.verdicts import Check, Outcome
from mars.errors import InvalidSetting
from mars.verifiers import Limits, PythonTestsVerifier
from mars.verifiers.processes import run_python

TESTS = """
import unittest, answer
class Add(unittest.TestCase):
    def test_add(self):
        self.assertEqual(answer.add(1, 2), 3)
"""
LIMITS = Limits(cpu_seconds=1, wall_seconds=3.0, memory_mib=256, file_mib=1, output_kib=16)


async def check(code: str, tests: str = TESTS, limits: Limits = LIMITS) -> Check:
    """Return the check of some code."""
    task = Task(id="t", text="Write add.", user="ann", asked_at=datetime(2024, 1, 1, tzinfo=UTC))
    return await PythonTestsVerifier(tests, limits).verify(Review(task=task, draft=code))


@pytest.mark.parametrize(
    "code", ["def add(a, b): return a + b", "Here:\n```python\ndef add(a, b):\n    return a + b\n```"]
)
async def test_right_code_passes(code: str) -> None:
    """Code whose tests pass is approved, decisively, fenced or bare."""
    checked = await check(code)
    assert (checked.outcome, checked.decisive) == (Outcome.PASSED, True), checked.issues


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def add(a, b): return a - b", "-1 != 3"),
        ("def add(a, b", "SyntaxError"),
        ("", "no attribute 'add'"),
        ("import sys; sys.exit(0)", "ended with 0"),
        ("import os; os._exit(0)", "ended with 0"),
    ],
)
async def test_wrong_code_fails_and_says_why(code: str, says: str) -> None:
    """A failing test, broken code and an early exit are no pass, whatever the exit status."""
    checked = await check(code)
    assert checked.outcome is Outcome.FAILED
    assert says in checked.issues[0].evidence


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("while True: pass", "ended with -"),
        ("import time; time.sleep(60)", "longer than"),
        ("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)", "longer than"),
        ("import os\nwhile True: os.fork()", "Error"),
        ("import threading\nwhile True: threading.Thread(target=input).start()", "Error"),
        ("import subprocess\nsubprocess.Popen(['sleep', '77'])", "Error"),
        ("x = bytearray(10 ** 9)", "MemoryError"),
        ("import sys\nwhile True: sys.__stdout__.write('x' * 1000)", "printed more than"),
        ("open('big', 'wb').write(b'x' * 10 ** 8)", "File too large"),
    ],
)
async def test_what_takes_too_much_is_stopped(code: str, says: str) -> None:
    """Endless loops, waiting, forks, threads, memory, output and files end by their limit, soon."""
    started = time.monotonic()
    checked = await check(code)
    assert checked.outcome is Outcome.FAILED
    assert says in checked.issues[0].evidence
    assert time.monotonic() - started < 20
    assert len(checked.issues[0].evidence) < 3_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="seccomp is Linux's")
async def test_there_is_no_network() -> None:
    """A socket cannot even be made."""
    checked = await check("import socket\nsocket.socket()")
    assert "PermissionError" in checked.issues[0].evidence


async def test_secrets_and_folders_stay_outside() -> None:
    """The environment is not inherited, and the run's folder is gone afterwards."""
    code = "import os, pathlib\nprint(sorted(os.environ))\ndef add(a, b): return os.getcwd()"
    ran = run_python({"answer.py": code + "\nprint(add(1, 2))"}, "answer.py", LIMITS)
    assert ast.literal_eval(ran.output.splitlines()[0]) == ["HOME", "LC_ALL", "PATH", "TMPDIR"]
    assert len(os.environ) > 4
    folder = Path(ran.output.strip().splitlines()[-1])
    assert "mars-run-" in folder.name
    assert not folder.exists()


async def test_sabotage_a_looser_limit_lets_it_through() -> None:
    """The limits are what stops it: with more memory the same code passes."""
    code = "x = bytearray(300 * 2 ** 20)\ndef add(a, b): return a + b"
    assert (await check(code)).outcome is Outcome.FAILED
    roomy = Limits(cpu_seconds=5, wall_seconds=20.0, memory_mib=2_048)
    assert (await check(code, limits=roomy)).outcome is Outcome.PASSED


async def test_no_test_is_no_pass() -> None:
    """Tests that test nothing say nothing good."""
    checked = await check("def add(a, b): return 3", "import unittest, answer")
    assert "no test ran" in checked.issues[0].evidence


def test_bad_settings_are_refused() -> None:
    """Broken tests, tests of nothing and limits of nothing are refused when they are made."""
    with pytest.raises(InvalidSetting, match="no Python"):
        PythonTestsVerifier("def")
    with pytest.raises(InvalidSetting, match="import answer"):
        PythonTestsVerifier("import unittest")
    with pytest.raises(InvalidSetting, match="memory_mib"):
        Limits(memory_mib=0)
    with pytest.raises(InvalidSetting, match="plain names"):
        run_python({"a/b.py": ""}, "a/b.py", LIMITS)
