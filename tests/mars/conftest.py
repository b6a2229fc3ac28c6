"""What the lobby's tests share: a clock that stands until a test moves it."""

from __future__ import annotations

import pytest

from mars.testing import FixedClock


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands at the beginning of 2026."""
    return FixedClock()
