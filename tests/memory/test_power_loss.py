"""The loss of power: what was on the disk when each write was acknowledged, and what is found after a cut."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("benchmarks.power_loss", reason="needs the repository")

from benchmarks import power_loss
from benchmarks.power_loss import Acknowledged, Loss

ROUNDS = 8


def lost(folder: Path, level: str, *names: str) -> Loss:
    """Return what cuts of power have shown; every cut must leave a sound store that goes on."""
    how = power_loss.recorder(folder, names)
    if isinstance(how, str):
        pytest.skip(f"{' and '.join(names)} cannot be used here: {how}")
    loss = power_loss.measure(folder, level, ROUNDS, how)
    assert loss.acknowledged == 4 * ROUNDS
    assert loss.cuts > loss.acknowledged
    assert loss.unsound == []
    return loss


@pytest.mark.parametrize("name", ["strace", "cc"])
def test_full_survives(tmp_path: Path, name: str) -> None:
    """With FULL an fsync of the log ends before each acknowledgement, and no cut loses what was acknowledged."""
    loss = lost(tmp_path, "full", name)
    assert (loss.unsynced, loss.lost) == (0, 0)


@pytest.mark.parametrize("level", ["normal", "off"])
def test_without_the_fsync(tmp_path: Path, level: str) -> None:
    """With NORMAL, and with the fsync removed, the same cuts lose acknowledged records: the proof can see it."""
    loss = lost(tmp_path, level, "strace", "cc")
    assert loss.unsynced > 0
    assert loss.lost > 0


LOG = "/a/power.db-wal"
TRACE = f"""\
7 pwrite64(5</a/power.db>, ""..., 4096, 900000) = 4096
7 pwrite64(6<{LOG}>, "7\\177"..., 32, 0) = 32
7 pwrite64(6<{LOG}>, "\\r\\0"..., 4096, 32 <unfinished ...>
8 write(1<pipe:[1]>, "ack too-soon\\n", 13) = 13
7 <... pwrite64 resumed>) = 4096
7 fdatasync(6<{LOG}> <unfinished ...>
8 pwrite64(6<{LOG}>, "\\r\\0"..., 100, 4128) = 100
8 write(1<pipe:[1]>, "ack while-syncing\\n", 18) = 18
7 <... fdatasync resumed>) = 0
8 write(1<pipe:[1]>, "ack after\\n", 10) = 10
8 fsync(5</a/power.db>) = 0
8 fsync(6<{LOG}>) = -1 EIO (Input/output error)
8 write(1<pipe:[1]>, "ack failed\\n", 11) = 11
8 fsync(6<{LOG}>) = 0
8 write(1<pipe:[1]>, "ack all\\n", 8) = 8
"""


def test_the_order_counts() -> None:
    """Bytes are synced only by an fsync of the log that has ended well, as far as written when it began."""
    assert power_loss.read_trace(TRACE.splitlines(), LOG) == [
        Acknowledged("too-soon", 0, 4128),
        Acknowledged("while-syncing", 0, 4228),
        Acknowledged("after", 4128, 4228),
        Acknowledged("failed", 4128, 4228),
        Acknowledged("all", 4228, 4228),
    ]
