"""A lock on a folder that one process at a time can hold; the operating system frees it when the process dies."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO
from weakref import WeakSet

from mars.errors import StoreUnavailable


class FolderLock:
    """Held from `acquire` to `release`; a second holder is refused, in this process too, and so is a forked child."""

    def __init__(self, folder: Path) -> None:
        """Lock `folder`, which is created when the lock is acquired."""
        self._path = folder / "lock"
        self._file: IO[bytes] | None = None
        _locks.add(self)

    @property
    def held(self) -> bool:
        """Whether it is held here, and still the lock of this folder: somebody may have deleted it, lock and all."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def acquire(self, patience: float) -> None:
        """Take the lock, waiting up to `patience` seconds; raises `StoreUnavailable` if somebody else keeps it."""
        if not self.attempt(patience):
            raise StoreUnavailable(
                f"the index in {self._path.parent} is in use by another process: close that one, or recall "
                "exactly, which needs no index"
            )

    def attempt(self, patience: float = 0.0) -> bool:
        """Take the lock and say whether that could be done within `patience` seconds.

        Raises `StoreUnavailable` where the folder cannot be made or written.
        """
        self.release()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("ab")
        except OSError as error:
            raise StoreUnavailable(f"the folder {self._path.parent} cannot be used: {error.strerror}") from error
        deadline = time.monotonic() + patience
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                file.close()
                return False
            time.sleep(0.02)
        self._file = file
        return True

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


_locks: WeakSet[FolderLock] = WeakSet()


def _after_fork() -> None:
    """Let go of a parent's locks in its child, which would keep them beyond the parent's death; the parent's stay."""
    for lock in list(_locks):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
