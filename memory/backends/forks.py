"""What happens to a SQLite file while it is open, without the harm: a fork, and the file's end.

Connections are closed before a fork and opened anew after it; a file that was deleted or replaced is refused.

SQLite notes the locks of a process in the memory of the process. A forked child inherits the notes but not the locks,
also for connections that it opens itself; when its parent then closes the file, the log that the child still writes to
is deleted, and with it what the child has acknowledged (https://sqlite.org/howtocorrupt.html, section 2.6). So before
a fork every connection is closed as soon as nobody uses it. Where somebody does for too long, the child is refused.

The child's own beginning is here too, once for everybody: `renew_in_child` names what has to start afresh there, and
`leave` keeps what is the parent's, so that it is never closed in the child.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from mars.errors import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = ["Forked", "Gate", "file_of", "forget_in_child", "leave", "renew_in_child"]

PATIENCE = 10.0
"""Seconds that a fork waits for transactions of other threads to end."""

_gates: WeakSet[Gate] = WeakSet()
_held: list[Gate] = []
_tainted: set[str] = set()
"""Files that were in use when this process was forked."""

_forgetting: list[Callable[[], object]] = []
_renewing: WeakSet[Forked] = WeakSet()
_left: list[object] = []
"""What belongs to a parent process, kept so that it is never closed here."""


class Forked(Protocol):
    """What holds locks, connections or threads of its process."""

    def forked(self) -> None:
        """Start afresh in a child: what the parent holds is not the child's to release."""
        ...


def renew_in_child(one: Forked) -> None:
    """Have `one.forked` called in every child that is forked while it is there; no reference to it is kept."""
    _renewing.add(one)


def forget_in_child(forget: Callable[[], object]) -> None:
    """Have a module's function called in every forked child, before anything is renewed there."""
    _forgetting.append(forget)


def leave(*parents: object) -> None:
    """Keep for ever, in a child, what is its parent's: without a reference it would be closed."""
    _left.append(parents)


def file_of(url: URL) -> str:
    """Return the path of a SQLite database; its URL may hold one of SQLite's own (``file:…?mode=ro``)."""
    return (url.database or "").removeprefix("file:").partition("?")[0]


class Gate:
    """What every use of a file's connections passes: ``with gate:``. May be nested; any thread may use it.

    SQLite writes on to a file that was deleted or replaced, and all of that is gone with the last connection. So nobody
    passes unless the file is the one that the first use left there.
    """

    def __init__(self, file: str, close: Callable[[], object]) -> None:
        """`file` is the path of the database, `close` closes the connections that nobody uses."""
        self._file = os.path.realpath(file)
        self._close = close
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)
        self._users: dict[int, int] = {}
        self._awaited = False
        self._there: tuple[int, int] | None = None
        _gates.add(self)

    def __enter__(self) -> None:
        if self._there is not None and _identity(self._file) != self._there:
            raise StoreUnavailable(
                f"{self._file}: the file was deleted or replaced while it was open, and what is written now would "
                "be lost; nothing was written: put it back where it was, or close this store and open it again"
            )
        if self._file in _tainted:
            raise StoreUnavailable(
                f"{self._file}: this process was forked while a thread of its parent used the file, which SQLite "
                "cannot bear; nothing was written: fork while nothing is being written, or start the process by spawn"
            )
        me = threading.get_ident()
        with self._lock:
            self._users[me] = self._users.get(me, 0) + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._there is None:
            self._there = _identity(self._file)
        me = threading.get_ident()
        with self._lock:
            left = self._users.pop(me) - 1
            if left:
                self._users[me] = left
            elif self._awaited:
                self._free.notify_all()

    def hold(self) -> None:
        """Wait until no other thread is within, close what is idle, and let nobody in until `release`."""
        me = threading.get_ident()
        self._lock.acquire()
        self._awaited = True
        self._free.wait_for(lambda: self._users.keys() <= {me}, PATIENCE)
        self._awaited = False
        if not self._users:
            self._close()

    def release(self, child: bool) -> None:
        """Let others in again; in a child, only if nobody was within."""
        if child and self._users:
            _tainted.add(self._file)
            self._users.clear()
        self._lock.release()


def _identity(file: str) -> tuple[int, int] | None:
    """Return what tells a file from another one of its name; None where there is none, or nobody can see it."""
    try:
        there = os.stat(file)
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _before() -> None:
    _held[:] = sorted(_gates, key=id)
    for gate in _held:
        gate.hold()


def _after(child: bool) -> None:
    held, _held[:] = list(_held), []
    for gate in held:
        gate.release(child)
    if child:
        for forget in _forgetting:
            forget()
        for one in list(_renewing):
            one.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=lambda: _after(child=False), after_in_child=lambda: _after(child=True)
    )
