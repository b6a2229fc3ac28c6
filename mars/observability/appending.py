"""Appending whole lines to a file from a thread, together with other processes."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue

from mars.errors import InvalidFile

log = logging.getLogger(__name__)

Lines = SimpleQueue[str | threading.Event | None]
"""What is to be written, who waits until it is, and None at the end."""

MOST = 1024
"""So many lines are written at once."""

LINGER = 0.01
"""Seconds in which lines gather: opening, locking and writing costs more than a line."""

LEAST = 8
"""Shorter values of the environment are no keys: hiding "test" would hide words."""

SECRET = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
"""Names of variables whose values are hidden."""

KEYS = re.compile(
    r"(?:\b|(?<=\\[bfnrt]))(?:"  # at the beginning of a word, or behind the end of a line as JSON writes it
    r"(?:sk|pk|rk|gsk|xai|nvapi|lsv2|gh[oprsu]|github_pat|glpat|hf|r8|npm|pypi|xox[abeprs])[-_][A-Za-z0-9_-]{16,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}\b|AIza[A-Za-z0-9_-]{30,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{12,}"
    r"|(?<=://)[^\s/@\"]+:[^\s/@\"]+(?=@)"
)
"""What looks like a key: those of providers of models, clouds and code, JSON web tokens, bearer tokens, and user and
password in a URL."""

HIDDEN = "***"


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values to hide, as they stand in JSON, longest first."""
    found = {value for name, value in environment.items() if SECRET.search(name) and len(value) >= LEAST}
    return tuple(sorted((json.dumps(value, ensure_ascii=False)[1:-1] for value in found), key=len, reverse=True))


def first_line(path: Path) -> bytes:
    """Return the first line of a file, empty where there is none; raises `InvalidFile` where it cannot be used."""
    try:
        with path.open("rb") as file:
            return file.readline(1 << 20)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise InvalidFile(f"there is no folder {path.parent} for a run log: make it first") from None
        return b""
    except OSError as error:
        raise InvalidFile(f"{path} cannot be a run log: {error.strerror}") from error


class Appender:
    """Appends lines to a file from a thread of its own, which begins with the first line."""

    def __init__(self, path: Path, secrets: tuple[str, ...] = ()) -> None:
        """Write to `path`, with `secrets` hidden."""
        self._path = path
        self._secrets = secrets
        self._lines: Lines | None = None
        self._process = 0
        self._lock = threading.Lock()

    def put(self, line: str) -> None:
        """Have a line written; returns at once."""
        self._started().put(line)

    def flush(self) -> None:
        """Return when what was put before is written."""
        if self._lines is not None and self._process == os.getpid():
            _flush(self._lines)

    def _started(self) -> Lines:
        if self._lines is None or self._process != os.getpid():
            with self._lock:
                if self._lines is None or self._process != os.getpid():  # a forked child has no threads
                    lines: Lines = SimpleQueue()
                    writing = threading.Thread(
                        target=_write, args=(lines, self._path, self._secrets), name="mars-run-log", daemon=True
                    )
                    writing.start()
                    weakref.finalize(self, _finish, lines, writing)  # at the end of the process, too
                    self._lines, self._process = lines, os.getpid()
        return self._lines


def _flush(lines: Lines) -> None:
    written = threading.Event()
    lines.put(written)
    written.wait(10)


def _finish(lines: Lines, writing: threading.Thread) -> None:
    lines.put(None)
    if threading.current_thread() is not writing:
        writing.join(10)


def _write(lines: Lines, path: Path, secrets: tuple[str, ...]) -> None:
    """Write what comes, as much at once as is there."""
    failing, batch = False, []
    while None not in batch:
        batch = [lines.get()]
        if isinstance(batch[0], str):
            time.sleep(LINGER)
        try:
            while len(batch) < MOST:
                batch.append(lines.get_nowait())
        except Empty:
            pass
        text = "".join(f"{hide(one, secrets)}\n" for one in batch if isinstance(one, str))
        try:
            # A lone surrogate, which no UTF-8 holds, becomes its escape in JSON.
            append(path, text.encode("utf-8", "backslashreplace"))
            failing = False
        except OSError as error:
            if not failing:
                log.error("the run log %s cannot be written, its lines are lost: %s", path, error)
            failing = True
        for one in batch:
            if isinstance(one, threading.Event):
                one.set()


def hide(line: str, secrets: tuple[str, ...]) -> str:
    """Return a line without what must not be in it."""
    for secret in secrets:
        line = line.replace(secret, HIDDEN)
    return KEYS.sub(HIDDEN, line)


def append(path: Path, data: bytes) -> None:
    """Append whole lines; where somebody was killed within one, begin a new one."""
    if not data:
        return
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0) as file:
        _lock(file.fileno())
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                data = b"\n" + data
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]


if sys.platform == "win32":  # pragma: no cover - not run in CI
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
