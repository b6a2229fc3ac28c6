"""Run somebody else's Python code in a process of its own, under limits, so that it harms nothing here.

The child gets limits of CPU time, memory and file size from the operating system, a temporary folder as home and
working directory, an environment without any secrets and a session of its own. On Linux a seccomp filter refuses it new
processes, threads and sockets; elsewhere RLIMIT_NPROC refuses it new processes, and the network stays open. Its time is
limited by the monotonic clock, its output is read up to a cap, and at the end its whole process group is killed. This
bounds accidents and clumsy attacks. It is no sandbox against an attacker: files that this user may read can be read.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mars.errors import InvalidSetting

MIB = 1024 * 1024
UNLIMITED = 97
"""Exit status of a child that could not be kept from starting processes, and so did not run the code."""
_FIRST = """
import ctypes, os, platform, resource, struct, sys
cpu, memory, file = map(int, sys.argv[1:4])

def filtered():
    '''Refuse fork, vfork, clone, clone3 and socket, also by another architecture's numbers (seccomp(2)).'''
    known = {"x86_64": (0xC000003E, (57, 58, 56, 435, 41)), "aarch64": (0xC00000B7, (220, 435, 198))}
    if sys.platform != "linux" or platform.machine() not in known:
        return False
    arch, refused = known[platform.machine()]
    code = [(0x20, 0, 0, 4), (0x15, 1, 0, arch), (0x06, 0, 0, 0x80000000), (0x20, 0, 0, 0)]
    code += [(0x35, 0, 1, 0x40000000), (0x06, 0, 0, 0x80000000)]  # x32 shares the architecture's mark
    for number in refused:
        code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 1)]
    code.append((0x06, 0, 0, 0x7FFF0000))
    body = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("HP", len(code), ctypes.addressof(body)))
    prctl = ctypes.CDLL(None).prctl
    return prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, program, 0, 0) == 0

resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
resource.setrlimit(resource.RLIMIT_FSIZE, (file, file))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
if not filtered():
    if os.getuid() == 0:
        os._exit(97)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
if sys.platform != "darwin":
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
os.execv(sys.executable, [sys.executable, "-I", "-B", *sys.argv[4:]])
"""
"""What the child does before it becomes the one that runs the code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a process may use."""

    cpu_seconds: int = 5
    """CPU time of each of its processes, in seconds."""
    wall_seconds: float = 10.0
    """Time until all of it is killed, by the monotonic clock."""
    memory_mib: int = 512
    """Address space of each of its processes."""
    file_mib: int = 16
    """Size of the largest file that it may write."""
    output_kib: int = 64
    """How much of its output is kept; what is beyond it ends the process."""

    def __post_init__(self) -> None:
        for name in ("cpu_seconds", "wall_seconds", "memory_mib", "file_mib", "output_kib"):
            if getattr(self, name) <= 0:
                raise InvalidSetting(f"{name} must be above 0; got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Ran:
    """How a process ended."""

    code: int
    """Its exit status; minus the signal where one killed it."""
    output: str
    """What it printed, to both streams, up to the cap."""
    stopped: str | None
    """Which limit of ours ended it: its time or its output; None where it ended by itself."""


def run_python(files: Mapping[str, str], main: str, limits: Limits) -> Ran:
    """Write files into a new folder and run `main` of them there; blocks up to `limits.wall_seconds`.

    The folder and every process of the run are gone afterwards. Raises `InvalidSetting` for a name with
    a folder in it, and where the system can keep nothing from starting processes.
    """
    if any(Path(name).name != name for name in files):
        raise InvalidSetting("the files of a run lie in one folder; give them plain names")
    with tempfile.TemporaryDirectory(prefix="mars-run-", ignore_cleanup_errors=True) as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text, "utf-8")
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _FIRST, *_numbers(limits), main],
            cwd=folder,
            env={"PATH": os.defpath, "HOME": folder, "TMPDIR": folder, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, stopped = _read(process, limits)
        finally:
            _end(process)
        if process.returncode == UNLIMITED and not output:
            raise InvalidSetting("this system lets root start processes without limit; run as another user")
        return Ran(process.returncode, output.decode("utf-8", "replace"), stopped)


def _numbers(limits: Limits) -> list[str]:
    """Return the arguments of `_FIRST`."""
    return list(map(str, (limits.cpu_seconds, limits.memory_mib * MIB, limits.file_mib * MIB)))


def _read(process: subprocess.Popen[bytes], limits: Limits) -> tuple[bytes, str | None]:
    """Read the output until the process ends, its time is over, or it has said too much."""
    until = time.monotonic() + limits.wall_seconds
    output = bytearray()
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return bytes(output), f"it took longer than {limits.wall_seconds:g} s"
            if not selector.select(min(left, 0.1)):
                if process.poll() is not None:
                    return bytes(output), None  # it ended; who holds its output still is killed with its group
                continue
            part = os.read(process.stdout.fileno(), 65_536)
            if not part:
                break
            output += part
            if len(output) > limits.output_kib * 1024:
                return bytes(output[: limits.output_kib * 1024]), f"it printed more than {limits.output_kib} KiB"
    try:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return bytes(output), f"it took longer than {limits.wall_seconds:g} s"
    return bytes(output), None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and whatever else of its group there is."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
