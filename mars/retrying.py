"""When a call to a model is tried again, and after how long."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from mars.errors import InvalidSetting, MarsError

TRANSIENT = frozenset(
    {
        "APIConnectionError",
        "APITimeoutError",
        "DecodingError",  # compressed, it says, and is not
        "InternalServerError",
        "JSONDecodeError",  # a reply that was cut off or garbled on its way
        "RateLimitError",
        "TransportError",
    }
)
"""Names of providers' errors, among those that an error derives from, which another attempt may not meet."""

REPORTED = frozenset({"api_error", "overloaded_error", "rate_limit_error", "server_error", "timeout_error"})
"""Kinds of errors that providers report within a stream, after status 200, which another attempt may not meet."""

_STATUSES = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPolicy:
    """Time limits and retries of calls. Each retry is an attempt of its own in the ledger and in the usage."""

    attempts: int = 3
    """The most attempts at one call of a model, or of a tool that may be run again."""
    first_wait: float = 0.5
    """Seconds before the second attempt; doubled for each further one."""
    longest_wait: float = 30.0
    """The most seconds between two attempts, also where the provider asks for more."""
    timeout: float | None = 120.0
    """Seconds until a model's reply must be there, on the monotonic clock; then the attempt failed."""
    tool_timeout: float | None = 120.0
    """Seconds until a tool must have returned; then the Assistant is told so. It is not tried again."""
    tools_at_once: int = 16
    """How many tools may run at once, in all turns of one `Mars`; others wait, within their time limit."""
    seed: int = 0
    """Of the jitter: up to half of a wait is left out."""

    def __post_init__(self) -> None:
        for name in ("attempts", "tools_at_once"):
            if getattr(self, name) < 1:
                raise InvalidSetting(f"{name} must be 1 or more; got {getattr(self, name)}")
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
    if any(kind.__name__ in TRANSIENT for kind in type(error).__mro__) or _reported(error) in REPORTED:
        return True
    status = status_of(error)
    if status is None:
        return False
    return status in _STATUSES or status >= 500 or status < 0  # Ollama's client has -1 for what failed in a stream


def _reported(error: BaseException) -> str | None:
    """Return the kind of error that a provider's body names, if it does."""
    if type(error) is ValueError:  # what langchain-openai makes of an error in a stream: "server_error: …"
        return str(error).partition(":")[0]
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    kind = inner.get("type") if isinstance(inner, dict) else None
    return kind if isinstance(kind, str) else None


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a provider's error carries, if any."""
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that a provider asks to wait in a ``retry-after`` header (RFC 9110, 10.2.3), or None.

    A date counts from the ``date`` of the same reply, whatever this machine's clock says. OpenAI's
    ``retry-after-ms``, which is finer, goes first.
    """
    headers = {str(name).lower(): str(value) for name, value in dict(_headers(error)).items()}
    asked = headers.get("retry-after", "")
    for value, unit in ((headers.get("retry-after-ms", ""), 0.001), (asked, 1.0)):
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if 0 <= seconds < math.inf:
            return seconds
    try:
        until, sent = (parsedate_to_datetime(value) for value in (asked, headers.get("date", "")))
        return max(0.0, (until - sent).total_seconds())
    except (ValueError, TypeError):  # no dates, or one of them without a zone
        return None


def _headers(error: BaseException) -> Mapping[Any, Any]:
    found = getattr(getattr(error, "response", None), "headers", None)
    return found if isinstance(found, Mapping) else {}
