"""What `Memory.doctor` looks at and what it finds: rows as they lie in the store, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mars.memory.checks import Namespace
from mars.memory.records import Record


class FindingKind(StrEnum):
    """What can be wrong with a store; each has a test that damages one and a repair."""

    ORPHAN_VECTOR = "orphan_vector"
    """A vector that belongs to no record."""
    MISSING_VECTOR = "missing_vector"
    """A record names an embedder and has no vector."""
    VECTOR_DIMENSION = "vector_dimension"
    """A vector of another length than the embedder's."""
    VECTOR_VALUES = "vector_values"
    """A vector with NaN or infinity, or neither of unit length nor zero."""
    OTHER_EMBEDDER = "other_embedder"
    """A vector or record that names another embedder than the store's."""
    STORE_EMBEDDER = "store_embedder"
    """The store's facts do not say what made its vectors."""
    CLOCK_BEHIND = "clock_behind"
    """The store's clock is below the newest `seq` that something holds."""
    DUPLICATE_SEQ = "duplicate_seq"
    """Two records with one `seq`."""
    DUPLICATE_ID = "duplicate_id"
    """Two records with one id."""
    DUPLICATE_KEY = "duplicate_key"
    """Two records of one namespace under one key."""
    DUPLICATE_IDEMPOTENCY_KEY = "duplicate_idempotency_key"
    """Two records of one namespace under one idempotency key."""
    NO_HISTORY = "no_history"
    """A record of which the history knows nothing."""
    CONTENT_HASH = "content_hash"
    """A hash that is not that of the text."""
    ENTROPY = "entropy"
    """An entropy that is not that of the text."""
    TERMS = "terms"
    """Stored terms that are not those of the text, or of another version."""
    DERIVED_COLUMN = "derived_column"
    """A column that differs from what it is derived from, such as ``subject_folded``."""
    UNREADABLE = "unreadable"
    """A row that is no record: a value that nothing of this version writes."""
    DANGLING_SUCCESSOR = "dangling_successor"
    """A superseded fact whose successor never was, or is not named."""
    RIVAL_FACTS = "rival_facts"
    """Two active facts that exclude each other."""
    TOMBSTONE = "tombstone"
    """A record that lives and is noted as purged."""
    DATABASE = "database"
    """What the database's own check complains about."""
    MISSING_TABLE_INDEX = "missing_table_index"
    """An index of a table that is not there."""
    INDEX_GHOST = "index_ghost"
    """Chroma holds a vector that should not be there."""
    INDEX_MISSING = "index_missing"
    """Chroma lacks a vector that it should hold."""
    INDEX_VECTOR = "index_vector"
    """Chroma holds another vector than the truth."""
    INDEX_STRAY_COLLECTION = "index_stray_collection"
    """Chroma has a collection that belongs to no namespace of this store."""
    INDEX_AHEAD = "index_ahead"
    """Chroma says it has followed further than the truth goes."""
    INDEX_DAMAGED = "index_damaged"
    """The Chroma folder cannot be read."""


REMEDY = "run `mars memory repair`"
"""What helps against nearly everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, and what helps. Never holds any text of a record."""

    kind: FindingKind
    """What sort of thing."""
    record: str | None = None
    """Id of the record, if it is about one."""
    namespace: Namespace | None = None
    """Whose it is, if that is known."""
    number: int | None = None
    """Number of the row in its table; None where there is none."""
    message: str
    """What is wrong, in words."""
    remedy: str = REMEDY
    """What to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVector:
    """A vector as it lies in the store."""

    embedder: str
    """Which embedder made it, it says."""
    dimension: int
    """How long it is, it says."""
    data: bytes
    """Little-endian float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One row as it lies in the store, with all that belongs to it."""

    number: int
    """Its number in the table, ascending in the order of storing."""
    id: str
    """Its id."""
    record: Record | None
    """What it reads as; None for a row that is no record."""
    crooked: tuple[str, ...] = ()
    """Columns that this record would be stored with otherwise; for a row that is no record, what was wrong."""
    terms: bytes | None
    """What is stored of its terms: see `mars.memory.terms`."""
    vector: StoredVector | None
    """Its vector, if there is one."""
    changes: int
    """How many rows of history it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What can be said of a store as a whole."""

    records: int
    """Rows of records."""
    vectors: int
    """Rows of vectors."""
    newest: int
    """The largest `seq` that a record, a tombstone or the history holds; 0 if there is none."""
    orphans: tuple[int, ...] = ()
    """Numbers of the vectors without a record."""
    repeated: Mapping[FindingKind, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    """Numbers of the rows that share what must be unique, by what they share; the first stored first."""
    complaints: tuple[str, ...] = ()
    """What the database's own check says."""
    missing_indexes: tuple[str, ...] = ()
    """Names of the tables' indexes that are not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexAudit:
    """What a derived index holds, against the truth up to its high-water mark."""

    mark: int
    """The `seq` up to which it has followed."""
    vectors: int
    """How many vectors it holds."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with it."""
