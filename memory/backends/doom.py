"""A transaction that failed in part must not be committed, even if its `work` swallowed the error."""

from __future__ import annotations

from types import TracebackType


class Doom:
    """Notes the first error that leaves its ``with`` block, and raises it again when asked."""

    __slots__ = ("_fault",)

    def __init__(self) -> None:
        """Start without a fault."""
        self._fault: BaseException | None = None

    def __enter__(self) -> None:
        """Nothing is prepared."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep the error and let it pass."""
        if error is not None:
            self.note(error)

    def note(self, error: BaseException) -> None:
        """Keep an error that is on its way out."""
        if self._fault is None:
            self._fault = error

    def check(self) -> None:
        """Raise the error that dooms the transaction, if there is one."""
        if self._fault is not None:
            raise self._fault
