"""Derived indexes of vectors outside the process: interchangeable, droppable, rebuilt from the truth."""

from __future__ import annotations

import shutil
from pathlib import Path

from mars.errors import InvalidSetting
from mars.memory.index.folder_lock import FolderLock

__all__ = ["drop_files", "index_folder"]


def index_folder(url: str) -> Path:
    """Return the folder beside a SQLite file that its index lives in: ``life.db`` has ``life.db.chroma``.

    Raises `InvalidSetting` for a store that is no file: its folder has to be named.
    """
    path = url.removeprefix("sqlite:///").partition("?")[0]
    if path == url or not path or ":memory:" in path or path.startswith("file:"):
        raise InvalidSetting(f"{url} is no file that an index could lie beside: name a folder for it")
    return Path(f"{path}.chroma")


def drop_files(folder: Path, patience: float = 5.0) -> None:
    """Delete what an index keeps in its folder, if there is anything; raises `StoreUnavailable` while it is in use."""
    if not any(folder.glob("data-*")):
        return
    lock = FolderLock(folder)
    lock.acquire(patience)
    try:
        for one in folder.glob("data-*"):
            shutil.rmtree(one, ignore_errors=True)
    finally:
        lock.release()
