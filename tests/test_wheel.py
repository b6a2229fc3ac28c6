"""The installed package: fast checks that also run against the built wheel."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mars

pytestmark = pytest.mark.wheel


def test_the_wheel_is_what_runs() -> None:
    """In the wheel's environment `mars` comes from site-packages and not from a working tree."""
    if "MARS_WHEEL" not in os.environ:
        pytest.skip("only in the wheel's environment")
    assert "site-packages" in Path(mars.__file__).parts


def test_it_is_typed() -> None:
    """The package tells type checkers that it is typed."""
    assert Path(mars.__file__).with_name("py.typed").exists()


def test_nothing_takes_a_name_of_others() -> None:
    """The distribution installs no top-level package but `mars`."""
    if "MARS_WHEEL" not in os.environ:
        pytest.skip("only in the wheel's environment")
    files = importlib.metadata.files("mars-runtime") or []
    top = {file.parts[0] for file in files if file.suffix == ".py"}
    assert top == {"mars"}


def test_the_command_starts() -> None:
    """`mars --help` lists the commands."""
    program = [str(Path(sys.executable).with_name("mars")), "--help"]
    result = subprocess.run(program, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    for command in ("ingest", "ask", "demo", "chat", "eval"):
        assert command in result.stdout
