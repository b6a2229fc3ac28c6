"""What survives the loss of power: which bytes were on the disk when each write was acknowledged.

    python -m benchmarks.power_loss

A child writes records to a store on SQLite and prints a line for each that was acknowledged; every ``pwrite``,
``fsync`` and printed line is recorded in order, by strace or, without it, by a small library loaded before libc. The
child is killed, so nothing is tidied up. Then the power is cut after each acknowledgement: a copy of the store keeps
of the write-ahead log what had been synced by then, and every record acknowledged so far must be in it. Cuts in the
midst of what was not synced show that the store stays sound. ``full`` must lose nothing; ``normal`` and ``off`` lose
some and stay sound: they are the proof that losses are seen.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy import Engine, event

from mars.memory.backends.connecting import engine_for
from mars.memory.backends.sql import SqlBackend
from mars.memory.engine import Memory
from mars.memory.interfaces import Backend
from mars.testing import RandomEmbedder

HOME = ("power",)
EMBEDDER = RandomEmbedder(8)
LEVELS = ("full", "normal", "off")

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static void say(const char *form, ...) {
  char line[8192]; va_list rest; va_start(rest, form);
  int length = vsnprintf(line, sizeof line, form, rest); va_end(rest);
  static int log = -1;
  if (log < 0) log = open(getenv("MARS_TRACE"), O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (length > 0) syscall(SYS_write, log, line, (size_t)length);
}
static const char *path(int fd, char *into) {
  char link[64]; snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, into, 4000); into[size < 0 ? 0 : size] = 0; return into;
}
static ssize_t put(int fd, const void *data, size_t size, off_t at) {
  char name[4096];
  say("%ld pwrite64(%d<%s>, \"\"..., %zu, %lld) = %zu\n", (long)syscall(SYS_gettid), fd, path(fd, name), size,
      (long long)at, size);
  return syscall(SYS_pwrite64, fd, data, size, at);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return put(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return put(fd, data, size, at); }
ssize_t write(int fd, const void *data, size_t size) {
  char name[4096];
  if (fd == 1) say("%ld write(%d<%s>, \"%.*s\"..., %zu) = %zu\n", (long)syscall(SYS_gettid), fd, path(fd, name),
                   (int)(size ? size - 1 : 0), (const char *)data, size, size);
  return syscall(SYS_write, fd, data, size);
}
static int sync_it(const char *call, long number, int fd) {
  char name[4096]; int done = (int)syscall(number, fd);
  say("%ld %s(%d<%s>) = %d\n", (long)syscall(SYS_gettid), call, fd, path(fd, name), done); return done;
}
int fsync(int fd) { return sync_it("fsync", SYS_fsync, fd); }
int fdatasync(int fd) { return sync_it("fdatasync", SYS_fdatasync, fd); }
"""
"""Says what strace would say of the calls that matter; compiled with cc where strace is missing or forbidden."""


class Unsynced:
    """Removes the fsync: whatever a connection is told of ``synchronous``, it does not wait for the disk."""

    def __init__(self, engine: Engine) -> None:
        self.told = 0
        """How many connections were told so; a sabotage that nobody calls shows nothing."""
        event.listen(engine, "before_cursor_execute", self._tell, retval=True)

    def _tell(self, connection: object, cursor: object, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
        if "PRAGMA synchronous" in statement:
            self.told += 1
            return "PRAGMA synchronous = OFF", parameters
        return statement, parameters


def opened(url: str, level: str) -> Backend:
    """Open a store with a durability; ``off`` is none of the product's."""
    if level != "off":
        return SqlBackend(url, synchronous="full" if level == "full" else "normal")
    engine = engine_for(url)
    sabotage = Unsynced(engine)
    backend = SqlBackend(engine)
    assert sabotage.told > 0
    return backend


async def write(url: str, level: str, rounds: int) -> None:
    """Be the child: add records, one alone and three at once in turn, print each as it is acknowledged, and die."""
    async with Memory.open(opened(url, level), embedder=EMBEDDER) as memory:

        async def add(text: str) -> None:
            await memory.add(text, HOME, idempotency_key=text)
            os.write(1, f"ack {text}\n".encode())

        for number in range(rounds):
            await add(f"{number}-alone")
            async with anyio.create_task_group() as tasks:
                for one in range(3):
                    tasks.start_soon(add, f"{number}-{one}")
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Acknowledged:
    """One record, and what was on the disk when its call had returned."""

    text: str
    """The record's text."""
    synced: int
    """So many bytes of the write-ahead log had been synced."""
    written: int
    """So many had been written."""


LINE = re.compile(r"^(\d+) +(pwrite64|fsync|fdatasync|write)\(\d+<([^>]*)>(.*)$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>.* = (-?\d+)")
EXTENT = re.compile(r", (\d+), (\d+)(?:\)| <unfinished)")


def read_trace(lines: list[str], log: str) -> list[Acknowledged]:
    """Return the acknowledgements in order; `log` is the path of the write-ahead log.

    What was written counts from the start of its call, what was synced from the end of its call, and for no more than
    had been written when that began: an error of the order could only show as a loss.
    """
    written = synced = 0
    waiting: dict[str, int] = {}
    found = []
    for line in lines:
        if (resumed := RESUMED.match(line)) is not None:
            if resumed[2] in ("fsync", "fdatasync") and resumed[3] == "0":
                synced = max(synced, waiting.pop(resumed[1], 0))
            continue
        match = LINE.match(line)
        if match is None:
            continue
        thread, call, path, rest = match.groups()
        if call == "write":
            text = re.search(r'"ack ([^\\"]*)', rest)
            if text is not None:
                found.append(Acknowledged(text[1], synced, written))
        elif path != log:
            continue
        elif call == "pwrite64":
            extent = EXTENT.search(rest)
            assert extent is not None, line
            written = max(written, int(extent[1]) + int(extent[2]))
        elif "unfinished" in rest:
            waiting[thread] = written
        elif rest.endswith("= 0"):
            synced = max(synced, written)
    return found


def recorder(folder: Path, names: Sequence[str] = ("strace", "cc")) -> tuple[str, list[str], dict[str, str]] | str:
    """Return how to record a command: a name, what to put before it and its environment; or why nothing can.

    `names` are the programs that may be used, the first that works being taken.
    """
    trace = folder / "trace"
    if "strace" in names and shutil.which("strace"):
        line = ["strace", "-f", "-y", "-qq", "-s", "80", "-e", "trace=pwrite64,fsync,fdatasync,write", "-o", str(trace)]
        tried = subprocess.run([*line, "true"], capture_output=True, check=False)
        if tried.returncode == 0:
            return "strace", line, {}
    if "cc" in names and shutil.which("cc"):
        source, library = folder / "shim.c", folder / "shim.so"
        source.write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", library, source, "-ldl"], check=True)
        return "preload", [], {"LD_PRELOAD": str(library), "MARS_TRACE": str(trace)}
    return "neither strace nor a C compiler is here: apt-get install strace"


def record(folder: Path, level: str, rounds: int, how: tuple[str, list[str], dict[str, str]]) -> list[Acknowledged]:
    """Have a child write to ``power.db`` in a folder until it dies; return what it acknowledged."""
    file = folder / "power.db"
    with sqlite3.connect(file) as database:
        database.execute("SELECT 1")
    opened(f"sqlite:///{file}", "full").close()  # the schema, checkpointed into the file and synced
    _, before, environment = how
    (folder / "trace").unlink(missing_ok=True)
    line = [*before, sys.executable, "-m", "benchmarks.power_loss", "--write", f"sqlite:///{file}", level, str(rounds)]
    ended = subprocess.run(line, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if ended.returncode not in (-signal.SIGKILL, 128 + signal.SIGKILL):
        raise RuntimeError(f"the child ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return read_trace((folder / "trace").read_text(errors="replace").splitlines(), f"{file}-wal")


@dataclass
class Loss:
    """What one durability has shown."""

    acknowledged: int = 0
    """Records that were acknowledged."""
    unsynced: int = 0
    """Those of them that were not wholly on the disk when they were acknowledged: told by the order of the calls."""
    lost: int = 0
    """Most acknowledged records that one cut of power has lost."""
    cuts: int = 0
    """How often the power was cut."""
    unsound: list[str] = field(default_factory=list)
    """Cuts after which the store was damaged, had a gap, or took no more writes."""


def cut(folder: Path, length: int) -> tuple[list[str], str]:
    """Copy the store with so many bytes of its log; return the texts in it by `seq`, and what is wrong with it."""
    copy = folder / "cut.db"
    for suffix in ("-wal", "-shm"):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(folder / "power.db", copy)
    Path(f"{copy}-wal").write_bytes((folder / "power.db-wal").read_bytes()[:length])
    database = sqlite3.connect(copy)
    try:
        texts = [str(text) for (text,) in database.execute("SELECT text FROM mars_records ORDER BY seq")]
        checks = {
            "PRAGMA integrity_check": "ok",
            "SELECT count(*) FROM mars_vectors WHERE number NOT IN (SELECT number FROM mars_records)": 0,
            "SELECT count(*) FROM mars_records WHERE number NOT IN (SELECT number FROM mars_vectors)": 0,
            "SELECT count(*) FROM mars_records WHERE id NOT IN (SELECT record FROM mars_history)": 0,
            "SELECT seq FROM mars_clock": len(texts),
        }
        wrong = [query for query, right in checks.items() if database.execute(query).fetchone()[0] != right]
    finally:
        database.close()
    return texts, "; ".join(wrong)


async def goes_on(folder: Path, texts: list[str]) -> str:
    """Open the copy as a memory: it holds these texts, is sound, and takes another; return what is wrong."""
    async with Memory.open(f"sqlite:///{folder / 'cut.db'}", embedder=EMBEDDER) as memory:
        held = [row.text for row in await memory.list(HOME)]
        added = await memory.add("after the cut", HOME)
        hits = await memory.recall("after the cut", namespace=HOME, k=1)
    if held != texts or added.seq != len(texts) + 1 or [hit.record.id for hit in hits] != [added.id]:
        return "the memory does not go on from what is there"
    return ""


def measure(folder: Path, level: str, rounds: int, how: tuple[str, list[str], dict[str, str]]) -> Loss:
    """Record a child of one durability and cut the power after each acknowledgement, and at 20 other places."""
    marks = record(folder, level, rounds, how)
    loss = Loss(acknowledged=len(marks))
    size = (folder / "power.db-wal").stat().st_size
    chance = random.Random(0)
    last = marks[-1].synced if marks else 0
    torn = [chance.randint(min(last, size), size) for _ in range(20)]
    order, _ = cut(folder, size)
    for place, length in enumerate([mark.synced for mark in marks] + torn):
        texts, wrong = cut(folder, length)
        promised = {mark.text for mark in marks[: place + 1]} if place < len(marks) else set[str]()
        gone = len(promised - set(texts))
        loss.lost = max(loss.lost, gone)
        loss.unsynced += place < len(marks) and marks[place].text not in texts
        if not wrong and texts != order[: len(texts)]:
            wrong = "not a beginning of what was written"
        if not wrong and (place % 10 == 0 or place >= len(marks)):
            wrong = anyio.run(goes_on, folder, texts)
        if wrong:
            loss.unsound.append(f"{length} of {size} bytes: {wrong}")
        loss.cuts += 1
    return loss


def main() -> None:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", nargs=3, metavar=("URL", "LEVEL", "ROUNDS"), help="be the child")
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    if options.write:
        url, level, rounds = options.write
        anyio.run(write, url, level, int(rounds))
        return
    report: dict[str, object] = {}
    for level in LEVELS:
        with tempfile.TemporaryDirectory() as scratch:
            how = recorder(Path(scratch))
            if isinstance(how, str):
                raise SystemExit(how)
            report["recorder"] = how[0]
            report[level] = asdict(measure(Path(scratch), level, options.rounds, how))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
