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

HEAVY = ("langgraph", "langchain_core", "chromadb", "sqlalchemy", "numpy", "pydantic")
"""What `import mars` leaves alone; its packages leave the first four alone."""


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


@pytest.mark.parametrize("package", ["mars", "mars.testing", "mars.agents", "mars.memory", "mars.models"])
def test_importing_is_light(package: str) -> None:
    """Importing a package brings in nothing heavy; that comes with first use."""
    heavy = HEAVY if package == "mars" else HEAVY[:4]
    code = f"import sys, {package}; print(*sorted(set(sys.modules) & set({heavy!r})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == ""


def test_exports_resolve() -> None:
    """Every name that `mars` promises exists, and the list is sorted and short."""
    assert list(mars.__all__) == sorted(mars.__all__)
    assert len(mars.__all__) <= 26
    for name in mars.__all__:
        assert getattr(mars, name) is not None
    assert set(mars.__all__) <= set(dir(mars))


def test_unknown_exports_are_refused() -> None:
    """A name that does not exist is an AttributeError, as with any module."""
    with pytest.raises(AttributeError, match="no_such_name"):
        mars.no_such_name  # noqa: B018
