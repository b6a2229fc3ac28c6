"""Whether a stranger's two commands work: clone, `make demo`, `make test`, with nothing prepared.

    python -m benchmarks.fresh_clone

Clones the commit that is checked out, without local changes, into a temporary folder; every command's output goes to
stderr.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "PYENV_ROOT", "PYENV_VERSION")
KEPT_PREFIXES = ("PIP_", "REQUESTS_", "HTTP", "http", "NO_PROXY", "no_proxy")


def environment() -> dict[str, str]:
    """What a stranger's shell holds: no virtual environment, and how this machine reaches its package index."""
    here = str(Path(sys.executable).parent)
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}
    kept["PATH"] = os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if part != here)
    return kept


def minutes(folder: Path, *command: str) -> float:
    """Run a command and return its minutes; CalledProcessError when it fails."""
    started = time.monotonic()
    subprocess.run(command, cwd=folder, env=environment(), check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    return round((time.monotonic() - started) / 60, 2)


def size(picture: Path) -> list[int]:
    """Width and height of a PNG file; ValueError when it is none."""
    head = picture.read_bytes()[:24]
    if head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise ValueError(f"{picture.name} is no PNG file")
    return list(struct.unpack(">II", head[16:24]))


def main() -> None:
    """Print the report as one line of JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "clone")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        report = {"demo_minutes": minutes(folder, "make", "demo"), "picture": size(folder / "demo.png")}
        report["test_minutes"] = minutes(folder, "make", "test")
    print(json.dumps(report | {"passed": True}))


if __name__ == "__main__":
    main()
