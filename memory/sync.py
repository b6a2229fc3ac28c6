"""The blocking twin of `Memory`: the same methods, parameters and results, without a line written twice."""

from __future__ import annotations

from mars.bridge import Twin, blocking
from mars.memory.engine import Memory


class SyncMemory(Twin[Memory]):
    """A `Memory` for plain functions, threads and notebooks: ``with Memory.open_sync("sqlite:///life.db") as memory:``.

    Each method blocks until it is done; see `mars.memory.engine.Memory` for what it does, returns and raises.
    """

    add = blocking(Memory.add)
    add_many = blocking(Memory.add_many)
    answer = blocking(Memory.answer)
    approximate_recall = blocking(Memory.approximate_recall)
    archive = blocking(Memory.archive)
    as_of = blocking(Memory.as_of)
    backup = blocking(Memory.backup)
    doctor = blocking(Memory.doctor)
    edit = blocking(Memory.edit)
    get = blocking(Memory.get)
    history = blocking(Memory.history)
    list = blocking(Memory.list)
    merge = blocking(Memory.merge)
    namespaces = blocking(Memory.namespaces)
    near_duplicates = blocking(Memory.near_duplicates)
    pin = blocking(Memory.pin)
    purge = blocking(Memory.purge)
    purge_expired = blocking(Memory.purge_expired)
    put_many = blocking(Memory.put_many)
    read = blocking(Memory.read)
    recall = blocking(Memory.recall)
    reindex = blocking(Memory.reindex)
    renew = blocking(Memory.renew)
    repair = blocking(Memory.repair)
    restore = blocking(Memory.restore)
    restore_backup = blocking(Memory.restore_backup)
    review = blocking(Memory.review)
    stats = blocking(Memory.stats)
    sweep = blocking(Memory.sweep)
    undo = blocking(Memory.undo)
    unpin = blocking(Memory.unpin)
    used = blocking(Memory.used)
    window = blocking(Memory.window)
