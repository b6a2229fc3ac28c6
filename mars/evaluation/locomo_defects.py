"""Questions of LoCoMo whose answer in the file is known to be wrong, each checked against the file's own turns.

They are rows of ``locomo_defects.toml``, found by a digest of question and answer, so that nothing of the data set is
copied here and a mended file matches none. The list is not complete: an audit of all ten conversations counts 99.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from mars.ingest.locomo import LocomoQuestion


@dataclass(frozen=True, slots=True)
class Defect:
    """A question whose answer in the file is wrong."""

    sample: str
    """Id of its conversation."""
    why: Literal["date", "speaker", "unsaid"]
    """Another time than the turn's; somebody else's words; said nowhere."""
    note: str
    """Which turn shows it."""


def digest(sample: str, question: str, answer: str) -> str:
    """Return what a question and its answer are known by: BLAKE2b-64, hexadecimal."""
    return hashlib.blake2b("\0".join((sample, question, answer)).encode(), digest_size=8).hexdigest()


@cache
def known_defects() -> Mapping[str, Defect]:
    """Return the known wrong answers of LoCoMo by their `digest`."""
    text = resources.files("mars.evaluation").joinpath("locomo_defects.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["defect"]
    return {row["digest"]: Defect(row["sample"], row["why"], row["note"]) for row in rows}


def defect_of(sample: str, question: LocomoQuestion) -> Defect | None:
    """Return what is wrong with a question's answer in the file, as far as is known."""
    return None if question.answer is None else known_defects().get(digest(sample, question.text, question.answer))
