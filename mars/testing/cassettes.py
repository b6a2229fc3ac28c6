"""Cassettes: calls of a real model, kept in a file, so that tests can ask them again without the model.

A cassette is JSONL: a line that says what it is, then one line a call, with the request (messages, tools, the form that
was asked for, settings) and the reply (text, calls of tools, tokens, or the pieces of a stream). It holds no key and no
header, because it is made above the provider's client. Blotted out are what looks like a secret in a text, also where
it is cut into the pieces of a stream, what stands under a name such as ``password``, and the values of variables of the
environment whose names end in KEY, TOKEN, SECRET or PASSWORD. What differs from run to run and says nothing (ids of
messages and of calls) is left out. A call that failed leaves nothing.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mars.errors import CassetteMismatch, InvalidFile, InvalidSetting, ScriptError
from mars.observability.appending import secrets_of
from mars.role_models import name_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from mars.testing.recorded_models import CassetteModel

VERSION = 1
"""Of the file's form."""

REDACTED = "[redacted]"
"""What stands for a secret."""

SECRETS = (
    r"\b(?:sk|pk|rk|gsk|xai|nvapi|npm|pypi|xox[abeprs]|gh[oprsu]|github_pat|glpat|hf|r8|AKIA|ASIA|AIza)[-_A-Za-z0-9]{12,}",
    r"\b(?:ya29|SG)\.[-._A-Za-z0-9]{16,}|\beyJ[-_A-Za-z0-9]{8,}\.[-_A-Za-z0-9]{8,}\.[-_A-Za-z0-9]*",
    r"(?i)\b(?:bearer|basic)\s+[-._~+/=A-Za-z0-9]{8,}",
    r"(?i)(?<=api[_-]key[=:])\s*\S{6,}|(?<=password[=:])\s*\S{6,}|(?<=secret[=:])\s*\S{6,}",
    r"(?i)[\"']?(?:api[_-]?key|passw(?:or)?d|secret|access[_-]?token)[\"']?\s*[=:]\s*[\"'](?!\[redacted)[^\"'\s]{6,}[\"']",
    r"(?<=://)[^\s/@:\"]+:[^\s/@\"]+(?=@)",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----",
)
"""Regular expressions of what is blotted out wherever it stands."""

PRIVATE = re.compile(
    r"api[_-]?key|passw(or)?d|secret|authorization|(access|auth|refresh|bearer)[_-]?token", re.IGNORECASE
)
"""Names under which a text is a secret, whatever it looks like."""

TEXTS = ("content", "text", "args", "partial_json")
"""Where the pieces of a stream hold text that goes on in the next piece."""

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
            known = (re.escape(value) for value in secrets_of(os.environ))
            self._secrets = re.compile("|".join(f"(?:{one})" for one in (*known, *_plain(SECRETS), *redact)))
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
        entry = {"request": self.redacted(request), "reply": self.redacted(self._joined(reply))}
        with self._lock:
            self.entries.append(entry)
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:  # a lone surrogate, escaped
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
            return {str(key): self._under(str(key), item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redacted(item) for item in value]
        return value

    def _under(self, name: str, value: Any) -> Any:
        secret = isinstance(value, str) and value and PRIVATE.search(name)
        return REDACTED if secret else self.redacted(value)

    def _joined(self, reply: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a reply whose pieces hold no secret that only the whole shows: its text then stands in the first."""
        if "chunks" not in reply:
            return reply
        copied: dict[str, Any] = json.loads(json.dumps(reply))
        for places in _texts(copied["chunks"]).values():
            cut = [holder[name] for holder, name in places]
            clean = self._clean("".join(cut))
            if clean != "".join(map(self.redacted, cut)):
                for place, (holder, name) in enumerate(places):
                    holder[name] = "" if place else clean
        return copied

    def _clean(self, text: str) -> str:
        """Return a text without its secrets; the arguments of a call stay JSON."""
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            return str(self.redacted(text))
        clean = self.redacted(values)
        return text if clean == values else json.dumps(clean)

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
            lines = self.path.read_text("utf-8").removesuffix("\n").split("\n")  # a text may hold other ends of lines
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidFile(f"the cassette {self.path} cannot be read ({error}); record it: mode='record'") from None
        if lines == [""]:
            raise InvalidFile(f"the cassette {self.path} is empty: record it with mode='record'")
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
                self.entries.append({**entry, "request": self.redacted(entry["request"])})


def _plain(patterns: Iterable[str]) -> Iterator[str]:
    """Yield patterns whose flags hold for them alone, so that they can be joined."""
    for one in patterns:
        yield f"(?i:{one.removeprefix('(?i)')})" if one.startswith("(?i)") else one


def _texts(chunks: Iterable[Mapping[str, Any]]) -> dict[tuple[str, Any], list[tuple[dict[str, Any], str]]]:
    """Return where the texts of a stream stand, piece by piece: of the answer, of each block, of each call."""
    found: dict[tuple[str, Any], list[tuple[dict[str, Any], str]]] = {}
    for chunk in chunks:
        blocks = chunk["content"] if isinstance(chunk["content"], list) else []
        for holder in (chunk, *blocks, *chunk["calls"]):
            for name in TEXTS:
                if isinstance(holder, dict) and isinstance(holder.get(name), str):
                    found.setdefault((name, holder.get("index")), []).append((holder, name))
    return found


def _lines(request: Mapping[str, Any]) -> list[str]:
    return json.dumps(request, indent=1, ensure_ascii=False, sort_keys=True).splitlines()
