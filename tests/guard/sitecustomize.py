"""Refuse every connection but loopback inside this Python process.

The second line of defence behind `tests/offline.py`: Python imports this file by itself when its folder is on
PYTHONPATH, so a subprocess is guarded too, as long as it is Python.
"""

from __future__ import annotations

import errno
import ipaddress
import sys

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


def refuse_outside(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: raise for a connection, a datagram or a name look-up that leaves this machine."""
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) and address else None
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
    else:
        return
    if not is_local(host):
        raise OSError(errno.ENETUNREACH, f"The network is off in tests; only loopback is reachable, not {host!r}")


sys.addaudithook(refuse_outside)
