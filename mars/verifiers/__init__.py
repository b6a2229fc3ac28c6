"""Verifiers that need a database or a process of their own: SQL statements, and Python code held against its tests.

Each keeps the protocol `mars.agents.interfaces.Verifier`, so it goes into `Checker(verifiers=…)` or
`Checker(action_verifiers=…)` like any other. What blocks runs on a worker thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.verifiers.processes import Limits
    from mars.verifiers.python_tests import PythonTestsVerifier
    from mars.verifiers.sql import SQLVerifier
    from mars.verifiers.sql_policy import SQLPolicy

__all__ = ["Limits", "PythonTestsVerifier", "SQLPolicy", "SQLVerifier"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.verifiers.processes": ("Limits",),
        "mars.verifiers.python_tests": ("PythonTestsVerifier",),
        "mars.verifiers.sql": ("SQLVerifier",),
        "mars.verifiers.sql_policy": ("SQLPolicy",),
    },
)
