"""What every test shares: asyncio as the event loop, no network, and a private PostgreSQL for those that ask."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How fast a busy machine draws examples proves nothing. `--hypothesis-profile` takes another.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

runpy.run_path(str(Path(__file__).parent / "guard" / "sitecustomize.py"))  # also when pytest is called by hand


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio; trio is refused by the runtime."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> dict[str, Any]:
    """The functions of `tests/postgres.py`."""
    return runpy.run_path(str(Path(__file__).parent / "postgres.py"))


@pytest.fixture(scope="session")
def postgres_server(postgres: dict[str, Any]) -> Iterator[str]:
    """Run a private PostgreSQL cluster for the session; yield the URL of its database ``postgres``."""
    missing = postgres["missing"]()
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    with postgres["cluster"]() as url:
        yield url


@pytest.fixture
def fresh_database(postgres: dict[str, Any], postgres_server: str) -> Iterator[Callable[[], str]]:
    """Return a maker of empty PostgreSQL databases, dropped afterwards."""
    with ExitStack() as stack:
        numbers = count(1)
        yield lambda: stack.enter_context(postgres["database"](postgres_server, f"fresh{next(numbers)}"))
