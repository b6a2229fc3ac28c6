"""Run tests and say as JSON how many passed: for rows of `bars.toml` whose proof is a test.

    python -m benchmarks.suite tests/mars/test_leases.py
    python -m benchmarks.suite tests/mars/test_conversations.py -k blocking

Arguments are pytest's. What pytest prints goes to standard error; the last line is JSON with ``passed``, ``failed``
(errors too) and ``skipped``. The exit status is pytest's.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import redirect_stdout

import pytest


class Counted:
    """A plugin of pytest that counts how tests ended."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter({"passed": 0, "failed": 0, "skipped": 0})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the call of a test, and a set-up or a clean-up that did not pass."""
        if report.when == "call" or not report.passed:
            self.ended[report.outcome] += 1


def main(arguments: list[str]) -> int:
    """Run, and print the counts."""
    counted = Counted()
    with redirect_stdout(sys.stderr):
        status = pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[counted])
    print(json.dumps(counted.ended))
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
