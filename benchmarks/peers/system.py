"""What the measurements ask of a system, and which systems there are."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from benchmarks.peers.workload import Lookup, Question, Row

SPACE = "bench"
"""The namespace, user or collection that everything is stored in."""

Given = TypeVar("Given")


class Unsupported(Exception):
    """A system cannot do what is asked; the message says why."""


class System(ABC):
    """One memory, opened in a folder. Constructing it imports what it needs and opens nothing."""

    as_lists: ClassVar[bool] = True
    """Whether its embedder must return lists of floats, not arrays."""

    def __init__(self, folder: Path, durability: str, lookup: Lookup) -> None:
        self.folder = folder
        self.durability = durability
        self.lookup = lookup

    @abstractmethod
    def open(self) -> None:
        """Open the store of the folder, or make it."""

    @abstractmethod
    def close(self) -> None:
        """Close the store."""

    @abstractmethod
    def add(self, row: Row) -> None:
        """Store one row; acknowledged when this returns."""

    @abstractmethod
    def add_many(self, rows: Sequence[Row]) -> None:
        """Store rows by the system's own call for many."""

    @abstractmethod
    def recall(self, question: Question, filtered: bool) -> Any:
        """Return the answer to a question as the system gives it."""

    @abstractmethod
    def texts(self, answer: Any) -> list[str]:
        """Return the texts of an answer, best first; not timed."""

    def load(self, rows: Sequence[Row]) -> None:
        """Store rows to begin with: another way than `add_many` where that would take too long."""
        self.add_many(rows)

    def reindex(self) -> None:
        """Rebuild all that is derived. Raises `Unsupported` where nothing can be."""
        raise Unsupported("it has no call that rebuilds its index")

    def processes(self) -> list[int]:
        """Return the ids of the processes that serve it besides this one."""
        return []

    def own_answers(self, questions: Sequence[Question], filtered: bool) -> list[list[str]]:
        """Return the texts that its own definition of rank calls the best, for an entry that has its `own_rank`."""
        raise Unsupported("it ranks by the cosine")

    def timed_adds(self, rows: Sequence[Row], seconds: float) -> list[float]:
        """Return the seconds that each add takes; stops early when `seconds` are over."""
        return [spent for spent, _ in timed(self.add, rows, seconds)]

    def timed_recalls(
        self, questions: Sequence[Question], filtered: bool, seconds: float
    ) -> list[tuple[float, list[str]]]:
        """Return the seconds and the texts of each answer; stops early when `seconds` are over."""
        answers = timed(lambda question: self.recall(question, filtered), questions, seconds)
        return [(spent, self.texts(answer)) for spent, answer in answers]


def timed(work: Callable[[Given], Any], items: Sequence[Given], seconds: float) -> list[tuple[float, Any]]:
    """Return the seconds and the result of each item's work; at least one, then until `seconds` are over."""
    found: list[tuple[float, Any]] = []
    end = time.perf_counter() + seconds
    for item in items:
        started = time.perf_counter()
        answer = work(item)
        now = time.perf_counter()
        found.append((now - started, answer))
        if now > end:
            break
    return found


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One system of the comparison."""

    name: str
    """What it is called in the results."""
    place: str
    """Module and class, joined by a colon."""
    durabilities: dict[str, str]
    """What is measured, and what it means; recall, opening and reindexing are measured under the first."""
    packages: tuple[str, ...]
    """The distributions whose versions are reported."""
    batch: int = 1000
    """So many rows are one batch of `bulk_add`."""
    bulk_while_loading: bool = True
    """Whether the store is filled by the batches that are timed; else some batches are timed afterwards."""
    own_rank: bool = False
    """Whether it ranks by more than the cosine, and can tell what would come first by its own definition."""
    persistent: bool = True
    """Whether anything is left when its process ends."""
    largest: int = 100_000
    """Above so many rows it is left out, unless it is asked for by name."""
    why: str = ""
    """Why it is left out above `largest`."""
    how: str = ""
    """What a reader must know about how it was measured."""

    def load(self) -> type[System]:
        """Return its class."""
        module, _, name = self.place.partition(":")
        found: type[System] = getattr(import_module(module), name)
        return found


WAL = "write-ahead log, synchronous={}: an acknowledged add survives {}"
NORMAL = {"normal": WAL.format("NORMAL", "kill -9")}
FULL = {"full": WAL.format("FULL", "power loss")}
MEM0 = "inference off; filled through its vector store, bulk_add is Memory.add of 100 messages"

ENTRIES = (
    Entry(
        name="mars",
        place="benchmarks.peers.ours:Mars",
        durabilities=NORMAL | FULL,
        packages=("mars-runtime",),
        own_rank=True,
        how="hybrid rank (half words, half vectors, times retention); `recall` is the share of its own rank's first "
        "10, every row scored in full without bounds, then that of the first 10 by cosine; `reindex` rebuilds the "
        "shards and the Chroma index, which exact recall does not use",
    ),
    Entry(
        name="numpy",
        place="benchmarks.peers.floor:Floor",
        durabilities=NORMAL | FULL,
        packages=("numpy",),
        how="the floor: one product of all vectors and argpartition; adds are bare sqlite3 inserts of text, metadata "
        "and vector",
    ),
    Entry(
        name="chroma",
        place="benchmarks.peers.chroma:Chroma",
        durabilities={"full": "as shipped: two transactions with a rollback journal, 8 fsyncs (seen by strace)"},
        packages=("chromadb",),
        how="embedded PersistentClient, cosine, HNSW with its defaults",
    ),
    Entry(
        name="langgraph-memory",
        place="benchmarks.peers.langgraph_stores:InMemory",
        durabilities={"none": "a dictionary: nothing survives the process"},
        packages=("langgraph-checkpoint",),
        persistent=False,
        how="`InMemoryStore`",
        largest=10_000,
        why="one question takes seconds at 100,000 rows",
    ),
    Entry(
        name="langgraph-sqlite",
        place="benchmarks.peers.langgraph_stores:Sqlite",
        durabilities=NORMAL | FULL | {"as shipped": "rollback journal, synchronous=FULL"},
        packages=("langgraph-checkpoint-sqlite", "sqlite-vec"),
        how="normal and full are set on its connection, it sets neither by itself; through pysqlite3 where Python's "
        "own sqlite3 loads no extensions",
    ),
    Entry(
        name="langgraph-pgvector",
        place="benchmarks.peers.langgraph_stores:Pgvector",
        durabilities={
            "full": "as shipped: synchronous_commit=on, survives power loss",
            "async": "synchronous_commit=off: survives the client's death, not the server's",
        },
        packages=("langgraph-checkpoint-postgres", "pgserver", "psycopg"),
        how="HNSW with its defaults; the server's processes count in rss_mb",
        largest=10_000,
        why="filling its HNSW index with 100,000 rows takes many minutes",
    ),
    Entry(
        name="mem0-chroma",
        place="benchmarks.peers.mem0_memories:Mem0Chroma",
        durabilities={"full": "as shipped: Chroma's file, then a SQLite history; each survives power loss by itself"},
        packages=("mem0ai", "chromadb"),
        batch=100,
        bulk_while_loading=False,
        largest=10_000,
        why="left out to save time: what it waits for is Chroma, measured by itself",
        how=MEM0,
    ),
    Entry(
        name="mem0-qdrant",
        place="benchmarks.peers.mem0_memories:Mem0Qdrant",
        durabilities={"full": "as shipped: Qdrant's local SQLite, then a SQLite history; each survives power loss"},
        packages=("mem0ai", "qdrant-client"),
        batch=100,
        bulk_while_loading=False,
        largest=10_000,
        why="its local mode scans every row in Python",
        how=MEM0,
    ),
    Entry(
        name="mem0-faiss",
        place="benchmarks.peers.mem0_memories:Mem0Faiss",
        durabilities={"none": "index and texts rewritten whole at each add, without fsync"},
        packages=("mem0ai", "faiss-cpu"),
        batch=100,
        bulk_while_loading=False,
        largest=10_000,
        why="each add rewrites the whole index",
        how=MEM0 + "; cosine",
    ),
)
"""Every system, in the order of the table."""


def entry(name: str) -> Entry:
    """Return the entry of a system. Raises `SystemExit` for an unknown name."""
    for each in ENTRIES:
        if each.name == name:
            return each
    raise SystemExit(f"no system is called {name!r}; there are: {', '.join(each.name for each in ENTRIES)}")
