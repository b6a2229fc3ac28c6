"""Refuse every connection but loopback inside this Python process.

The second line of defence behind `tests/offline.py`: Python imports this file by itself when its folder is on
PYTHONPATH, so a subprocess is guarded too, as long as it is Python.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

LOCAL_NAMES = {"", "localhost", "ip6-localhost", "ip6-loopback"}


def is_local(host: object) -> bool:
    """Whether a host, as sockets take it, is this machine."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str):
        return True  # None, or the numbers of an address family that is no network
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return host.lower() in LOCAL_NAMES
    return address.is_loopback or address.is_unspecified


def refuse_outside(host: object) -> None:
    """Raise for a host that is not this machine."""
    if not is_local(host):
        raise OSError(errno.ENETUNREACH, f"The network is off in tests; only loopback is reachable, not {host!r}")


def guarded(function: Callable[..., Any], host_of: Callable[[tuple[Any, ...]], object]) -> Callable[..., Any]:
    """Wrap a function of `socket`: it is called only if the host among its arguments is this machine."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        refuse_outside(host_of(arguments))
        return function(*arguments, **named)

    return call


def host_to(place: int) -> Callable[[tuple[Any, ...]], object]:
    """Give the host of the address at a place among the arguments of a socket's method."""

    def host_of(arguments: tuple[Any, ...]) -> object:
        address = arguments[place] if -len(arguments) <= place < len(arguments) else None
        return address[0] if isinstance(address, tuple) and address else None

    return host_of


# Not by an audit hook: before Python 3.12 a thread that starts under a tracer, as for coverage, dies whenever another
# thread is inside a hook written in Python (python/cpython#98257).
for name, place in {"connect": 1, "connect_ex": 1, "sendto": -1, "sendmsg": 4}.items():
    setattr(socket.socket, name, guarded(getattr(socket.socket, name), host_to(place)))
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    setattr(socket, name, guarded(getattr(socket, name), lambda arguments: arguments[0] if arguments else None))
