"""Hold a draft of Python code against unit tests, in a process with limits."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from anyio import to_thread

from mars.agents.interfaces import Review
from mars.agents.rendering import without_citations
from mars.agents.verdicts import Check, Issue, IssueKind
from mars.errors import InvalidSetting
from mars.verifiers.processes import Limits, Ran, run_python

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)\n?```", re.DOTALL)
_RUNNER = """
import os, sys, unittest
sys.path.insert(0, os.getcwd())
token = "__TOKEN__"
result = unittest.TextTestRunner(stream=sys.stdout, buffer=True).run(
    unittest.defaultTestLoader.loadTestsFromName("test_answer")
)
sys.__stdout__.write(f"\\n{token} {result.testsRun} {int(result.wasSuccessful())}\\n")
sys.__stdout__.flush()
os._exit(0 if result.wasSuccessful() else 1)
"""
MAX_SHOWN = 2_000
"""Characters of the output that enter the verdict."""


@dataclass(frozen=True, slots=True)
class PythonTestsVerifier:
    """Demands that the code of a draft passes unit tests; decisive, as executing it shows that it works.

    The code is the draft's fenced blocks, or all of it. The tests import it as ``answer``. It runs as
    `mars.verifiers.processes` says, which bounds what it can do and is no sandbox against an attacker: code that
    sets out to forge the result of its own tests can.
    """

    tests: str
    """Source of a module of `unittest` test cases, which imports ``answer``."""
    limits: Limits = field(default_factory=Limits)
    """How much the run may use."""
    name: str = "python_tests"
    """Name in the verdict."""

    def __post_init__(self) -> None:
        try:
            compile(self.tests, "test_answer.py", "exec")
        except (SyntaxError, ValueError) as error:
            raise InvalidSetting(f"the tests are no Python: {error}") from error
        if "answer" not in self.tests:
            raise InvalidSetting("the tests never import answer, so they would say nothing about the draft")

    async def verify(self, review: Review) -> Check:
        """Return whether all tests pass; a run without any test fails."""
        token = secrets.token_hex(16)
        files = {
            "answer.py": code_of(review.draft),
            "test_answer.py": self.tests,
            "run_tests.py": _RUNNER.replace("__TOKEN__", token),
        }
        ran = await to_thread.run_sync(run_python, files, "run_tests.py", self.limits)
        fault = _fault(ran, token)
        if fault is None:
            return Check.passed(self.name, decisive=True, score=1.0)
        return Check.failed(
            self.name,
            Issue(kind=IssueKind.TOOL_ERROR, evidence=fault, directive="Correct the code so that its tests pass."),
            score=0.0,
        )


def code_of(draft: str) -> str:
    """Return the code of a draft: its fenced blocks, or all of it."""
    blocks = _FENCED.findall(draft)
    return "\n\n".join(blocks) if blocks else without_citations(draft)


def _fault(ran: Ran, token: str) -> str | None:
    """Return what went wrong, or None. Only a last line with the run's own token says that tests passed."""
    lines = ran.output.strip().splitlines()
    said = lines[-1].split() if lines else []
    told = "\n".join(line for line in lines if token not in line)[-MAX_SHOWN:]
    if ran.stopped:
        return f"{ran.stopped}: {told[-500:]}"
    if len(said) == 3 and said[0] == token:
        if said[1] == "0":
            return "no test ran"
        if said[2] == "1" and ran.code == 0:
            return None
    return told or f"the process ended with {ran.code} and said nothing"
