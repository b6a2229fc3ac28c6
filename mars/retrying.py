"""When a call to a model is tried again, and after how long."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from mars.errors import InvalidSetting, MarsError

TRANSIENT = frozenset(
    {"APIConnectionError", "APITimeoutError", "InternalServerError", "RateLimitError", "TransportError"}
)
"""Names of providers' errors, among those that an error derives from, which another attempt may not meet."""

_STATUSES = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPolicy:
    """Time limits and retries of calls. Each retry is an attempt of its own in the ledger and in the usage."""

    attempts: int = 3
    """The most attempts at one call."""
    first_wait: float = 0.5
    """Seconds before the second attempt; doubled for each further one."""
    longest_wait: float = 30.0
    """The most seconds between two attempts, also where the provider asks for more."""
    timeout: float | None = 120.0
    """Seconds until a model's reply must be there, on the monotonic clock; then the attempt failed."""
    tool_timeout: float | None = 120.0
    """Seconds until a tool must have returned; then the Assistant is told so."""
    seed: int = 0
    """Of the jitter: up to half of a wait is left out."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidSetting(f"attempts must be 1 or more; got {self.attempts}")
        for name in ("first_wait", "longest_wait", "timeout", "tool_timeout"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InvalidSetting(f"{name} must be 0 or more seconds; got {value!r}")

    def wait(self, attempt: int, error: BaseException | None, mark: str) -> float:
        """Return the seconds to wait after an attempt; `mark` names the call, so that its jitter is its own."""
        asked = retry_after(error) if error is not None else None
        if asked is not None:
            return min(asked, self.longest_wait)
        longest = min(self.first_wait * 2.0 ** (attempt - 1), self.longest_wait)
        return longest * random.Random(f"{self.seed}/{mark}/{attempt}").uniform(0.5, 1.0)


def is_transient(error: BaseException) -> bool:
    """Whether another attempt may succeed: no connection, no reply in time, too many requests, a server's fault."""
    if isinstance(error, MarsError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if any(kind.__name__ in TRANSIENT for kind in type(error).__mro__):
        return True
    status = status_of(error)
    return status is not None and (status in _STATUSES or status >= 500)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a provider's error carries, if any."""
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that a provider asks to wait, if it says so in a ``retry-after`` header."""
    for value in _headers(error):
        try:
            seconds = float(value)
        except ValueError:
            continue
        if seconds >= 0:
            return seconds
    return None


def _headers(error: BaseException) -> Iterator[str]:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    for name in ("retry-after", "Retry-After"):
        value = headers.get(name)
        if value is not None:
            yield str(value)
