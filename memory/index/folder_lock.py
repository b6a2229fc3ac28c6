"""A lock on a folder that one process at a time can hold; the operating system frees it when the process dies."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import IO

from mars.errors import StoreUnavailable


class FolderLock:
    """Held from `acquire` to `release`; a second holder is refused, in this process too."""

    def __init__(self, folder: Path) -> None:
        """Lock `folder`, which is created when the lock is acquired."""
        self._path = folder / "lock"
        self._file: IO[bytes] | None = None

    @property
    def held(self) -> bool:
        """Whether it is held here."""
        return self._file is not None

    def acquire(self, patience: float) -> None:
        """Take the lock, waiting up to `patience` seconds; raises `StoreUnavailable` if somebody else keeps it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("ab")
        except OSError as error:
            raise StoreUnavailable(f"the index folder {self._path.parent} cannot be used: {error.strerror}") from error
        deadline = time.monotonic() + patience
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                file.close()
                raise StoreUnavailable(
                    f"the index in {self._path.parent} is in use by another process: close that one, or recall "
                    "exactly, which needs no index"
                )
            time.sleep(0.02)
        self._file = file

    def release(self) -> None:
        """Give the lock back; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None


if sys.platform == "win32":  # pragma: no cover - not run in CI
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
