"""The README's example remembers, links lead somewhere, examples run; tests/test_docs.py runs the pages' blocks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

pytestmark = pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="needs the repository")


def relative(page: Path) -> str:
    """A page as seen from the root."""
    return page.relative_to(ROOT).as_posix()


def test_the_readme_example_remembers(tmp_path: Path) -> None:
    """The README's example answers from what it was told, approved, and names its source; a second run still does."""
    (code,) = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    for _ in range(2):
        result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert "Porto" in result.stdout, result.stderr
        assert "True" in result.stdout
    assert len(code.strip().splitlines()) <= 10


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of the repository leads to one that is there."""
    targets = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in targets if not (page.parent / link).exists()] == []


def test_every_decision_is_listed() -> None:
    """The index of docs/design names every note, once."""
    folder = ROOT / "docs" / "design"
    listed = [link for link in LINK.findall((folder / "README.md").read_text(encoding="utf-8")) if "/" not in link]
    assert sorted(listed) == sorted(page.name for page in folder.glob("*.md") if page.name != "README.md")
