"""Copies of a whole store in one file: portable between backends, checked, restored in one transaction.

A copy is text: one JSON object per line. The first line names the format, its version and the store's own facts; then
come the records in the order of `seq`, each with its vector (base64 of little-endian float32) and its history; then the
purged ones with theirs. The last line counts them and holds the BLAKE2b-256 of every byte before it, so that a file
that was cut off or altered is noticed before anything is written. Records are rows as `mars.memory.backends.rows`
writes them: what is read back is equal to the last bit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from mars.errors import InvalidFile, InvalidInput, InvalidVector, StoreCorrupt
from mars.memory import points
from mars.memory.backends.rows import change_of, change_row, namespace_text, record_of, row_of
from mars.memory.checks import check_namespace, check_vector
from mars.memory.interfaces import Reader, Selection, Transaction
from mars.memory.records import Change, Namespace, Record, Vector

FORMAT = "mars-backup"
"""What the first line of a copy says it is."""

VERSION = 1
"""The version of the format that this code writes, and the newest that it reads."""

BATCH = 500
"""So many records are read, and written, at a time."""

Progress = Callable[[int, int], None]
Line = dict[str, Any]

_DIGEST = 32
_BROKEN = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a copy holds."""

    path: Path
    """Where it lies."""
    records: int
    """How many records."""
    head: int
    """The newest `seq` of the store that was copied."""
    meta: Mapping[str, str]
    """That store's own facts: ``store_id``, ``embedder``, ``dimension``."""
    digest: str
    """BLAKE2b-256 of all lines but the last, hexadecimal."""


def write(reader: Reader, path: Path, overwrite: bool = False, progress: Progress | None = None) -> Copied:
    """Copy what one view shows into a file that appears when it is complete, on disk and read through again.

    Of several that write one file at the same time each is whole; the last one stays, without `overwrite` the first.
    `progress` is called with (`seq` reached, `seq` aimed at). Raises `InvalidFile` where there is a file already or
    none can be written, `StoreCorrupt` for a store that cannot be read.
    """
    if path.exists() and not overwrite:
        raise _taken(path)
    part = path.with_name(f".{path.name[:100]}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            digest, counts = hashlib.blake2b(digest_size=_DIGEST), {"records": 0, "purged": 0}
            for line in _lines(reader, progress):
                data = _encoded(line)
                digest.update(data)
                file.write(data)
                points.reach("backup_written")
                counts["records"] += "record" in line
                counts["purged"] += "purged" in line
            file.write(_encoded({"end": counts, "blake2b": digest.hexdigest()}))
            file.flush()
            os.fsync(file.fileno())
        points.reach("backup_synced")
        copied = check(part)
        _settle(part, path, overwrite)
        return replace(copied, path=path)
    except OSError as error:
        raise InvalidFile(f"{path} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _taken(path: Path) -> InvalidFile:
    return InvalidFile(f"{path} is there already; nothing was written: name another file, or overwrite it")


def _settle(part: Path, path: Path, overwrite: bool) -> None:
    """Give a file its name for good, also through a loss of power."""
    if overwrite:
        os.replace(part, path)
    else:
        try:
            os.link(part, path)
        except FileExistsError:
            raise _taken(path) from None
        except OSError:  # a file system that has no links
            os.replace(part, path)
    points.reach("backup_named")
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_target(path: Path, url: str, index: Path | None) -> Path:
    """Return where a copy is to lie, or raise `InvalidFile` for what belongs to the store itself.

    That is the database's file at `url` under any name, what SQLite keeps beside it, and the folder of the `index`.
    """
    database = Path(url.removeprefix("sqlite:///").partition("?")[0])
    own = [database, *(database.with_name(f"{database.name}{end}") for end in ("-wal", "-shm", "-journal"))]
    here = path.resolve()
    for one in own if url.startswith("sqlite:///") else ():
        if here == one.resolve() or (path.exists() and one.exists() and path.samefile(one)):
            raise InvalidFile(f"{path} belongs to the store itself; nothing was written: name another file")
    if index is not None and here.is_relative_to(index.resolve()):
        raise InvalidFile(f"{path} lies in the folder of the index, which is dropped at will: name another file")
    return path


def _encoded(line: Line) -> bytes:
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def _lines(reader: Reader, progress: Progress | None) -> Iterator[Line]:
    head, after = reader.head(), 0
    yield {"format": FORMAT, "version": VERSION, "head": head, "meta": dict(reader.meta())}
    while batch := _batch(reader, after):
        after = batch[-1].seq
        vectors = reader.vectors([record.id for record in batch])
        for record in batch:
            vector = _packed(vectors.get(record.id))
            yield {"record": row_of(record), "vector": vector, "history": _past(reader, record.id)}
        if progress is not None:
            progress(after, head)
    told: set[str] = set()
    for seq, one, namespace in reader.removed(0):
        past = [] if one in told else _past(reader, one)
        told.add(one)
        yield {"purged": [seq, one, namespace_text(namespace)], "history": past}


def _batch(reader: Reader, after: int) -> list[Record]:
    try:
        return reader.select(Selection(after_seq=after, limit=BATCH))
    except _BROKEN as error:
        raise StoreCorrupt(
            f"a row of the store is no record ({type(error).__name__}); `mars memory doctor` names it"
        ) from error


def _past(reader: Reader, record: str) -> list[Any]:
    return [change_row(change) for change in reader.history(record)]


def _packed(vector: Vector | None) -> str | None:
    """Return a vector as text; None for one that no store takes back, which a repair makes anew."""
    if vector is None or not vector.size or not np.isfinite(vector).all():
        return None
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def check(path: Path) -> Copied:
    """Read a copy through and return what it holds; raises `InvalidFile` for whatever is wrong with it."""
    last: Copied | None = None
    for copied, *_ in _read(path):
        last = copied
    assert last is not None
    return last


Part = tuple[Copied, list[tuple[Record, Vector | None]], list[tuple[int, str, Namespace]], list[Change]]


def _read(path: Path) -> Iterator[Part]:
    """Yield what a copy holds in batches, the whole of it being known to be sound when the last has come."""
    digest, counts = hashlib.blake2b(digest_size=_DIGEST), {"records": 0, "purged": 0}
    try:
        with path.open("rb") as file:
            first = file.readline()
            header = _header(path, first)
            digest.update(first)
            copied = Copied(path=path, records=0, head=header["head"], meta=header["meta"], digest="")
            rows, graves = list[tuple[Record, Vector | None]](), list[tuple[int, str, Namespace]]()
            changes: list[Change] = []
            for data in file:
                line = json.loads(data)
                if "end" in line:
                    if line != {"end": counts, "blake2b": digest.hexdigest()} or file.read(1):
                        raise InvalidFile(f"{path} was altered: its checksum is another; nothing was written")
                    yield replace(copied, records=counts["records"], digest=digest.hexdigest()), rows, graves, changes
                    return
                digest.update(data)
                _take(line, counts, rows, graves)
                changes += map(change_of, line["history"])
                if len(rows) + len(graves) >= BATCH:
                    yield copied, rows, graves, changes
                    rows, graves, changes = [], [], []
    except OSError as error:
        raise InvalidFile(f"{path} cannot be read: {error.strerror}") from error
    except (*_BROKEN, InvalidVector) as error:
        if isinstance(error, InvalidFile):
            raise
        raise InvalidFile(f"{path} is damaged ({type(error).__name__}); nothing was written: use another") from error
    raise InvalidFile(f"{path} is cut off: its last line is missing; nothing was written: use another copy")


def _header(path: Path, first: bytes) -> Line:
    try:
        header: Line = json.loads(first)
        known = header.get("format") == FORMAT
    except (ValueError, AttributeError, RecursionError):
        known = False
    if not known:
        raise InvalidFile(f"{path} is no backup of a memory: `mars memory backup FILE` writes one")
    if header["version"] != VERSION:
        raise InvalidFile(
            f"{path} has version {header['version']} of the format, this code reads {VERSION}: "
            "run `pip install --upgrade mars-runtime`"
        )
    return header


def _take(
    line: Line,
    counts: dict[str, int],
    rows: list[tuple[Record, Vector | None]],
    graves: list[tuple[int, str, Namespace]],
) -> None:
    if "record" in line:
        counts["records"] += 1
        record, packed = record_of(line["record"]), line["vector"]
        check_namespace(record.namespace)
        vector = None if packed is None else check_vector(np.frombuffer(base64.b64decode(packed, validate=True), "<f4"))
        rows.append((record, vector))
        return
    counts["purged"] += 1
    seq, one, namespace = line["purged"]
    graves.append((int(seq), str(one), check_namespace(tuple(json.loads(namespace)))))


def load(tx: Transaction, copied: Copied, force: bool, progress: Progress | None = None) -> None:
    """Let the store hold what a copy holds that was checked. Raises `InvalidInput` for a store that is not empty.

    With `force` it is emptied first. What the store has given out of `seq` is never given again: the copy's are moved
    up behind it, so that whoever follows the store by `seq` follows this too. An empty store takes them as they are.
    What is restored is exact: a preset's capacity counts again at the next write.
    """
    if tx.head() and not force:
        raise InvalidInput(
            "the store is not empty; nothing was written: restore into a new one, or give it up with force (--force)"
        )
    tx.clear()
    points.reach("restore_emptied")
    base, digest = tx.head(), ""
    for read, rows, graves, changes in _read(copied.path):
        digest = read.digest
        records = [replace(record, seq=base + record.seq) for record, _ in rows]
        tx.exhume([record.id for record in records])
        vectors = {record.id: vector for record, vector in rows if vector is not None}
        tx.insert(records, vectors)
        tx.bury([(base + seq, one, namespace) for seq, one, namespace in graves])
        tx.log([replace(change, seq=base + change.seq) for change in changes])
        points.reach("restore_loaded")
        if progress is not None and rows:
            progress(rows[-1][0].seq, copied.head)
    if digest != copied.digest:
        raise InvalidFile(f"{copied.path} was changed while it was read; nothing was written")
    tx.advance(base + copied.head)
    tx.set_meta({name: copied.meta[name] for name in ("embedder", "dimension") if name in copied.meta})
