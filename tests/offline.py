"""Run a command with the network switched off, loopback excepted, subprocesses included.

    python tests/offline.py -- python -m pytest

The command runs in a network namespace of its own that holds nothing but `lo`. It needs Linux and no other tool.

What a test that starts a server may rely on:

* The command keeps its user. Started as root, only the network namespace is new: `su`, `setpriv`, `runuser` and
  `subprocess.run(..., user="nobody")` work, so a private PostgreSQL cluster runs as another user in a folder which that
  user owns. Started as an ordinary user, a user namespace maps this user to itself, so `initdb` runs as it is; no other
  user exists in there.
* 127.0.0.1, ::1 and Unix sockets work. Ports are the namespace's own: nothing outside it collides with them.
* `MARS_OFFLINE` is `namespace`, or `guard` where the system permits no namespace. The guard refuses connections inside
  Python processes only; it is announced, and with CI set the launcher refuses to run instead (exit 3).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


def unshare(flags: int) -> None:
    """Call unshare(2), which Python's os has from 3.12 only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")


def leave_network() -> None:
    """Move this process into a new network namespace; raise OSError where that is not permitted."""
    if not sys.platform.startswith("linux"):
        raise OSError("network namespaces exist on Linux only")
    user, group = os.getuid(), os.getgid()
    try:
        unshare(CLONE_NEWNET)
    except PermissionError:
        unshare(CLONE_NEWUSER | CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    raise_loopback()


def raise_loopback() -> None:
    """Bring `lo` up, as `ip link set lo up` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def main(arguments: list[str]) -> int:
    """Run what follows `--`; the result is its exit status."""
    if not arguments or arguments[0] != "--" or len(arguments) < 2:
        print("usage: python tests/offline.py -- COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    command = arguments[1:]
    try:
        leave_network()
        os.environ["MARS_OFFLINE"] = "namespace"
    except OSError as error:
        if os.environ.get("CI"):
            print(
                f"offline: this system permits no network namespace ({error}); not run, because CI is set. "
                "Permit unprivileged user namespaces, or run as root.",
                file=sys.stderr,
            )
            return 3
        print(
            "=" * 100,
            f"offline: NO NETWORK NAMESPACE HERE ({error}).",
            "offline: Python processes are guarded, programs in other languages are not.",
            "=" * 100,
            sep="\n",
            file=sys.stderr,
        )
        os.environ["MARS_OFFLINE"] = "guard"
        guard = str(Path(__file__).resolve().parent / "guard")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [guard, os.environ.get("PYTHONPATH")]))
    sys.stdout.flush()
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
