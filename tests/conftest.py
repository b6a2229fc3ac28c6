"""What every test shares: asyncio as the event loop, and no network."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

runpy.run_path(str(Path(__file__).parent / "guard" / "sitecustomize.py"))  # also when pytest is called by hand


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio; trio is refused by the runtime."""
    return "asyncio"
