"""Cassettes: calls of a real model, kept in a file, so that tests can ask them again without the model.

A cassette is JSONL: a line that says what it is, then one line a call, with the request (messages, tools, the form that
was asked for, settings) and the reply (text, calls of tools, tokens, or the pieces of a stream). It holds no key and no
header, because it is made above the provider's client, and what looks like a secret in a text is blotted out. What
differs from run to run and says nothing (ids of messages and of calls) is left out. A call that failed leaves nothing.
"""

from __future__ import annotations

import difflib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mars.errors import CassetteMismatch, InvalidFile, InvalidSetting, ScriptError
from mars.role_models import name_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from mars.testing.recorded_models import CassetteModel

VERSION = 1
"""Of the file's form."""

REDACTED = "[redacted]"
"""What stands for a secret."""

SECRETS = (
    r"\b(?:sk|pk|rk|xox[abp]|gh[opsu]|glpat|hf|AKIA|AIza)[-_A-Za-z0-9]{12,}",
    r"(?i)\bbearer\s+[-._~+/=A-Za-z0-9]{8,}",
    r"(?i)(?<=api[_-]key[=:])\s*\S{6,}|(?<=password[=:])\s*\S{6,}|(?<=secret[=:])\s*\S{6,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----",
)
"""Regular expressions of what is blotted out wherever it stands."""

Mode = Literal["replay", "record"]
"""``replay`` answers from the file alone; ``record`` asks the model, and begins the file anew."""


class Cassette:
    """A file of calls. `wrap` gives a chat model that records into it, or that answers from it."""

    def __init__(
        self, path: str | Path, mode: Mode = "replay", *, redact: Iterable[str] = (), repeat: bool = False
    ) -> None:
        """Open a file to replay, or begin one to record.

        `redact` are regular expressions of more secrets, the same for both modes. With `repeat`, a request that is made
        more often than it was recorded gets its last reply again; else it is a `CassetteMismatch`. Raises `InvalidFile`
        for a file that is missing or is no cassette, and `InvalidSetting` for an expression that cannot be read.
        """
        self.path = Path(path)
        """The file."""
        self.mode = mode
        """Whether it is replayed or recorded."""
        self.entries: list[dict[str, Any]] = []
        """The calls so far, oldest first: request and reply."""
        self._repeat = repeat
        self._used: set[int] = set()
        self._lock = threading.Lock()
        try:
            self._secrets = re.compile("|".join(f"(?:{one})" for one in (*_plain(SECRETS), *redact)))
        except re.error as error:
            raise InvalidSetting(f"redact takes regular expressions: {error}") from None
        if mode == "record":
            self.path.write_text(json.dumps({"cassette": VERSION}) + "\n", "utf-8")
        else:
            self._load()

    def wrap(self, model: BaseChatModel | None = None) -> CassetteModel:
        """Return a chat model over this cassette; recording needs the `model` to ask, replaying none."""
        if self.mode == "record" and model is None:
            raise InvalidSetting("recording needs a model: cassette.wrap(model)")
        known = str(self.entries[0]["request"]["model"]) if self.entries else "mars-cassette"
        from mars.testing.recorded_models import CassetteModel

        name = name_of(model) if model is not None else known
        return CassetteModel(cassette=self, inner=model if self.mode == "record" else None, model_name=name)

    def assert_finished(self) -> None:
        """Raise `ScriptError` if recorded calls were never asked for."""
        left = len(self.entries) - len(self._used)
        if self.mode == "replay" and left:
            raise ScriptError(f"{left} of {len(self.entries)} recorded calls were never asked for")

    def keep(self, request: Mapping[str, Any], reply: Mapping[str, Any]) -> None:
        """Add a call to the end of the file."""
        entry = {"request": self.redacted(request), "reply": self.redacted(reply)}
        with self._lock:
            self.entries.append(entry)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n")

    def find(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the recorded reply to a request: of several, the first that was not given yet."""
        asked = self.redacted(request)
        with self._lock:
            same = [place for place, entry in enumerate(self.entries) if entry["request"] == asked]
            free = [place for place in same if place not in self._used]
            if not free and not (same and self._repeat):
                raise CassetteMismatch(self._difference(asked, len(same)))
            place = free[0] if free else same[-1]
            self._used.add(place)
            reply: dict[str, Any] = self.entries[place]["reply"]
            return reply

    def redacted(self, value: Any) -> Any:
        """Return JSON values with every secret blotted out."""
        if isinstance(value, str):
            return self._secrets.sub(REDACTED, value)
        if isinstance(value, Mapping):
            return {str(key): self.redacted(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redacted(item) for item in value]
        return value

    def _difference(self, asked: Mapping[str, Any], times: int) -> str:
        if times:
            return f"{self.path.name} holds this request {times} time(s), and it is made once more: record it again"
        if not self.entries:
            return f"{self.path.name} holds no calls: record it again"
        wanted = _lines(asked)
        ratios = [difflib.SequenceMatcher(None, wanted, _lines(one["request"])).ratio() for one in self.entries]
        nearest = max(range(len(ratios)), key=ratios.__getitem__)
        recorded = _lines(self.entries[nearest]["request"])
        changes = list(difflib.unified_diff(recorded, wanted, f"recorded, line {nearest + 2}", "asked", "", "", 2, ""))
        more = [f"… {len(changes) - 40} more lines"] if len(changes) > 40 else []
        words = "\n".join([*(line[:200] for line in changes[:40]), *more])
        return f"{self.path.name} does not hold this request; record it again if it is right. The nearest:\n{words}"

    def _load(self) -> None:
        try:
            lines = self.path.read_text("utf-8").splitlines()
        except OSError as error:
            raise InvalidFile(f"the cassette {self.path} cannot be read ({error}); record it: mode='record'") from None
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if number == 1:
                    right = entry["cassette"] == VERSION
                else:
                    right = {"request", "reply"} == set(entry) and "model" in entry["request"]
            except (ValueError, KeyError, TypeError):
                right = False
            if not right:
                raise InvalidFile(f"line {number} of {self.path} is no line of a cassette of version {VERSION}")
            if number > 1:
                self.entries.append(entry)
        if not lines:
            raise InvalidFile(f"the cassette {self.path} is empty: record it with mode='record'")


def _plain(patterns: Iterable[str]) -> Iterator[str]:
    """Yield patterns whose flags hold for them alone, so that they can be joined."""
    for one in patterns:
        yield f"(?i:{one.removeprefix('(?i)')})" if one.startswith("(?i)") else one


def _lines(request: Mapping[str, Any]) -> list[str]:
    return json.dumps(request, indent=1, ensure_ascii=False, sort_keys=True).splitlines()
