"""The network is off while tests run: outside is refused, loopback works, subprocesses included."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parent / "offline.py"

# Connecting a datagram socket sends nothing; it only asks the kernel for a route. 192.0.2.0/24 is documentation space.
CONNECT_OUTSIDE = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
    try:
        outside.connect(("192.0.2.1", 9))
    except OSError as error:
        print(error.errno)
    else:
        print("connected")
"""
CONNECT_LOOPBACK = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
    client.sendall(b"ping")
    with server.accept()[0] as accepted:
        print(accepted.recv(4).decode())
"""

# Before Python 3.12 one process-wide flag guards sys.settrace, and stays set while audit hooks run.
TRACE_IN_MANY_THREADS = """
import sys, threading
died = []
sys.setswitchinterval(1e-6)
def trace():
    for _ in range(3000):
        try:
            sys.settrace(None)
        except RuntimeError as error:
            died.append(error)
threads = [threading.Thread(target=trace) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(died))
"""
GUARD = f"import runpy\nrunpy.run_path({str(Path(__file__).parent / 'guard' / 'sitecustomize.py')!r})\n"
HOOK = "import sys, time\nsys.addaudithook(lambda event, arguments: time.sleep(0))  # lets another thread on\n"


def run_python(code: str, *prefix: str) -> str:
    """Run code in a Python subprocess and return what it prints."""
    command = [*prefix, sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_outside_is_refused_in_this_process() -> None:
    """A connection that leaves the machine fails at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as outside, pytest.raises(OSError, match=r"network is off"):
        outside.connect(("192.0.2.1", 80))


def test_names_outside_are_not_looked_up() -> None:
    """A name look-up that leaves the machine fails at once."""
    with pytest.raises(OSError, match=r"network is off"):
        socket.getaddrinfo("example.org", 443)


def test_datagrams_to_outside_are_refused() -> None:
    """Neither way to send a datagram leaves the machine, and one to loopback arrives."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        for send in (
            partial(sender.sendto, b"ping", ("192.0.2.1", 9)),
            partial(sender.sendto, b"ping", 0, ("192.0.2.1", 9)),
            partial(sender.sendmsg, [b"ping"], [], 0, ("192.0.2.1", 9)),
            partial(sender.connect_ex, ("192.0.2.1", 9)),
        ):
            with pytest.raises(OSError, match=r"network is off"):
                send()
        receiver.bind(("127.0.0.1", 0))
        sender.sendto(b"ping", receiver.getsockname())
        assert receiver.recv(4) == b"ping"


def test_threads_that_are_traced_start_beside_the_guard() -> None:
    """The guard puts no audit hook before sys.settrace: with one, threads die under coverage before Python 3.12."""
    assert run_python(GUARD + TRACE_IN_MANY_THREADS) == "0"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 and later have no such flag")
def test_an_audit_hook_beside_threads_that_are_traced_shows() -> None:
    """The sabotaged guard, an audit hook written in Python, makes sys.settrace fail."""
    assert int(run_python(HOOK + TRACE_IN_MANY_THREADS)) > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_works_in_this_process(host: str) -> None:
    """Servers on loopback can be reached."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError as error:
        if family != socket.AF_INET6:
            raise
        pytest.skip(f"no IPv6 on this machine: {error}")
    with server, socket.create_connection(server.getsockname()[:2]) as client:
        assert client.getpeername()[1] == server.getsockname()[1]


def test_subprocesses_are_offline_too() -> None:
    """A subprocess of a test has loopback and nothing else."""
    if "MARS_OFFLINE" not in os.environ:
        pytest.skip("pytest was called by hand; `make test` switches the network off for subprocesses too")
    assert run_python(CONNECT_OUTSIDE) == str(errno.ENETUNREACH)
    assert run_python(CONNECT_LOOPBACK) == "ping"


def test_other_programs_are_offline_too() -> None:
    """A subprocess that is not guarded Python sees `lo` as the only interface."""
    if os.environ.get("MARS_OFFLINE") != "namespace":
        pytest.skip("not in a network namespace")
    interfaces = Path("/proc/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    assert run_python(CONNECT_OUTSIDE, "env", "-u", "PYTHONPATH") == str(errno.ENETUNREACH)


def test_ci_runs_offline() -> None:
    """With CI set, tests run in a network namespace and nowhere else."""
    if not os.environ.get("CI"):
        pytest.skip("not in CI")
    assert os.environ.get("MARS_OFFLINE") == "namespace"


def test_the_launcher_keeps_the_user() -> None:
    """A command started by the launcher runs as the same user, so that tests may still become another one."""
    if os.environ.get("MARS_OFFLINE") != "namespace":
        pytest.skip("not in a network namespace")
    code = "import os; print(os.getuid(), os.environ['MARS_OFFLINE'])"
    assert run_python(code, sys.executable, str(LAUNCHER), "--") == f"{os.getuid()} namespace"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_root_may_start_a_server_as_somebody_else() -> None:
    """Inside the namespace root still becomes an ordinary user, as a PostgreSQL server demands."""
    result = subprocess.run(["id", "-u"], user=65534, group=65534, extra_groups=[], capture_output=True, text=True)
    assert result.stdout.strip() == "65534"


def test_the_launcher_passes_on_the_exit_status() -> None:
    """What the command returns is what the launcher returns."""
    command = [sys.executable, str(LAUNCHER), "--", sys.executable, "-c", "raise SystemExit(7)"]
    assert subprocess.run(command, check=False, timeout=60).returncode == 7


def test_the_launcher_asks_for_a_command() -> None:
    """Without a command there is a usage line and exit status 2."""
    result = subprocess.run([sys.executable, str(LAUNCHER)], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert "usage" in result.stderr
