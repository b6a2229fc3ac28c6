"""The one thread that lets a derived index follow the truth of an open memory, off every caller's path.

Guarantees. *Harmless*: whatever the index does, no write and no recall fails for it; what went wrong is logged, told
by `Follower.state`, and tried again, at growing intervals. *Alone*: of all processes on one index, the one that could
claim it follows, until it closes it or dies; the others look now and then whether it has become free. *Repeatable*:
each batch is read in one short view of the truth and applied outside of it; the index's mark comes after its vectors,
so that a crash at any point, or a lost folder, is a replay from the mark.

The thread starts at once and sleeps until it is woken: after a commit (a moment later, so that a burst of commits is
one batch), or by somebody who waits for a `seq`. Now and then it looks for what other processes have committed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Lock, Thread

from mars.memory.interfaces import Backend, IndexUpdate, VectorIndex
from mars.memory.records import Namespace, Vector

__all__ = ["Follower", "IndexState", "Pace"]

log = logging.getLogger(__name__)

STEP = 512
"""So many records are applied at a time; a question for candidates waits for no more than these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the follower waits for what; all in seconds of the monotonic clock."""

    gather: float = 0.05
    """After a commit, for more commits."""
    poll: float = 2.0
    """Before it looks for other processes' commits, or whether another process has let go of the index."""
    retry: float = 0.5
    """After the first failure; twice as long after each further one."""
    longest: float = 60.0
    """The longest wait after a failure."""
    patience: float = 0.25
    """How long an approximate recall waits for the index to catch up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """How far the derived index is."""

    following: bool
    """Whether this process has it; else it has failed, has not begun, or another process has it."""
    mark: int
    """The `seq` that it has reached, as far as this process knows."""
    lag: int
    """How many changes it is behind the truth."""
    problem: str | None = None
    """What keeps it from following, and what helps; None if nothing does."""


class Follower:
    """Follows from `start` to `close`; see the module for the guarantees. Usable from any thread."""

    def __init__(self, backend: Backend, index: VectorIndex, pace: Pace | None = None) -> None:
        """Let `index` follow `backend`; neither is opened or closed here."""
        self.index = index
        self.pace = Pace() if pace is None else pace
        self._backend = backend
        self.forked()
        self._thread: Thread | None = None
        self._process = os.getpid()
        self._closed = False
        self._woken = True
        self._urgent = False
        self._begun = False
        self._following = False
        self._mark = 0
        self._problem: str | None = None
        self._failures = 0

    def forked(self) -> None:
        """Have locks that nobody holds: in a child its parent's thread, which is not there, may hold them."""
        self._changed = Condition()  # its lock may be taken again by its holder
        self._batch = Lock()

    def start(self) -> None:
        """Begin to follow; idempotent."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._run, name="mars-index", daemon=True)
                self._thread.start()

    def wake(self, urgent: bool = False) -> None:
        """Have it look for changes soon; at once, and also after a failure, if `urgent`. Never blocks for long."""
        with self._changed:
            self._woken = True
            self._urgent = self._urgent or urgent
            self._changed.notify_all()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have it stand still within the block, between two batches: for whoever rebuilds the index."""
        with self._batch:
            yield

    def close(self) -> None:
        """End the thread, after the batch that it is at; idempotent. The index stays open."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and self._alive:
            thread.join()

    def state(self, head: int) -> IndexState:
        """Tell how far the index is, `head` being the newest `seq` of the truth."""
        with self._changed:
            return IndexState(
                following=self._following and self._alive,
                mark=self._mark,
                lag=max(0, head - self._mark),
                problem=self._problem,
            )

    def reach(self, seq: int, patience: float | None = None) -> int | None:
        """Wait until the index has reached a `seq`, but no longer than `patience`; return how far it is.

        `patience` is in seconds, the pace's by default. None where it does not follow here; then nobody waits.
        """

        with self._changed:
            if not self._alive:
                return None
            if self._mark < seq and self.able:
                self.wake(urgent=True)
                self._changed.wait_for(
                    lambda: self._mark >= seq or not self.able,
                    self.pace.patience if patience is None else patience,
                )
            return self._mark if self._following and not self._closed else None

    def candidates(self, namespace: Namespace, vector: Vector, k: int) -> list[tuple[str, float]] | None:
        """Return about the k nearest (id, cosine), or None if the index fails; that is noted and told nobody else."""
        try:
            return self.index.candidates(namespace, vector, k)
        except Exception as error:  # noqa: BLE001 - the exact answer is at hand
            self._fail(error)
            return None

    @property
    def able(self) -> bool:
        """Whether it follows here, or is about to begin: whether waiting is of any use."""
        with self._changed:
            return self._alive and not self._closed and (self._following or not self._begun)

    @property
    def _alive(self) -> bool:
        """Whether there is a thread: a forked child has none."""
        return self._process == os.getpid() and self._thread is not None

    def _run(self) -> None:
        wait = 0.0
        while self._sleep(wait):
            try:
                self._turn()
                wait = self.pace.poll
            except BaseException as error:  # noqa: BLE001 - noted, told, and tried again
                self._fail(error)
                wait = min(self.pace.longest, self.pace.retry * 2.0 ** min(self._failures - 1, 30))

    def _sleep(self, wait: float) -> bool:
        """Wait for the next turn; False when it is time to end."""
        with self._changed:
            failed = self._problem is not None
            self._changed.wait_for(lambda: self._closed or self._urgent or (self._woken and not failed), wait)
            if not failed:
                self._changed.wait_for(lambda: self._closed or self._urgent, self.pace.gather)
            self._woken = self._urgent = False
            return not self._closed

    def _turn(self) -> None:
        """Follow up to the newest `seq`, if this process has the index."""
        if not self.index.claim():
            self._note(following=False, mark=self._mark)
            self._mended()
            return
        mark = self.index.high_water()
        self._note(following=True, mark=mark)
        while not self._closed:
            with self._batch:
                mark = self.index.high_water()  # somebody may have begun anew while this waited
                update = self._backend.read(self._read_from(mark))
                if update.upto == mark:
                    break
                mark = self._applied(update)
            self._note(following=True, mark=mark)
        self._mended()

    def _applied(self, update: IndexUpdate) -> int:
        """Apply an update, and return the mark."""
        if update.head >= update.after:
            return self.index.apply(update)
        log.warning("the memory was restored from an older backup: its index starts anew")
        self.index.clear()
        return 0

    def _read_from(self, mark: int) -> Callable[..., IndexUpdate]:
        return lambda reader: self.index.pending(reader, mark, STEP)

    def _note(self, *, following: bool, mark: int) -> None:
        with self._changed:
            self._begun, self._following, self._mark = True, following, mark
            self._changed.notify_all()

    def _mended(self) -> None:
        with self._changed:
            self._problem, self._failures = None, 0

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._begun, self._following = True, False
            self._failures += 1
            new, self._problem = self._problem is None, f"{type(error).__name__}: {error}"
            self._changed.notify_all()
        log.log(logging.WARNING if new else logging.DEBUG, "the index does not follow: %s", self._problem)
