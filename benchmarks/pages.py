"""The code blocks of the documentation's pages, and a shell that they are typed into."""

from __future__ import annotations

import re
import subprocess
import textwrap
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?"
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
NAME = re.compile(r'title="([^"]+)"')
FORMS = {
    r"\d{4}-\d\d-\d\d": "DATE",
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": "ID",
    r"\d+\.\d+ s\b": "SECONDS",
}
"""What is another one each time: it is compared by its form."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    line: int
    """Where it begins, from 1."""
    language: str
    """The first word behind the fence; empty if there is none."""
    body: str
    """Its lines, without the indentation of the fence."""
    file: str | None
    """The file that it is to be saved as: ``title="first.py"``."""
    why_not: str | None
    """Why it cannot be run, from a comment before it: ``<!-- not run: needs a key -->``."""
    before: str
    """The text between the block before it and this one."""

    def steps(self) -> Iterator[tuple[str, str]]:
        """The commands of a ``console`` block, each with what is shown below it."""
        for part in re.split(r"^\$ ", self.body, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            while command.endswith("\\"):
                more, _, shown = shown.partition("\n")
                command = f"{command}\n{more}"
            yield command, shown


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block of a page, from top to bottom."""
    text, found, end = page.read_text(encoding="utf-8"), list[Block](), 0
    for match in FENCE.finditer(text):
        language, _, rest = match["info"].partition(" ")
        name = NAME.search(rest)
        found.append(
            Block(
                text.count("\n", 0, match.start("indent")) + 1,
                language,
                textwrap.dedent(match["body"]),
                name[1] if name else None,
                match["why"],
                text[end : match.start()],
            )
        )
        end = match.end()
    return found


def formed(text: str) -> list[str]:
    """The lines of an output as they are compared: forms for what changes, no space at the ends, no empty lines."""
    for pattern, form in FORMS.items():
        text = re.sub(pattern, form, text)
    return [line.rstrip() for line in text.splitlines() if line.strip()]


class Shell:
    """A shell that keeps its folder and its variables from one command to the next, for a `with` statement."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=60)

    def run(self, command: str) -> tuple[str, int]:
        """Type a command; what it printed, errors among it, and its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        mark = f"done-{uuid.uuid4().hex}"
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n%s %s\\n' {mark} $?\n")
        self._process.stdin.flush()
        printed = list[str]()
        for line in self._process.stdout:
            if line.startswith(mark):
                return "".join(printed).removesuffix("\n"), int(line.split()[1])
            printed.append(line)
        return "".join(printed), -1
