"""What memory holds: records, and the values that describe them.

All values are frozen. Times are timezone-aware datetimes, kept to the microsecond in UTC; strengths and ages are in
days; importance, entropy share, trust, retention and relevance lie in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mars.errors import InvalidInput
from mars.memory.checks import MAX_LABEL as MAX_LABEL
from mars.memory.checks import MAX_TEXT as MAX_TEXT
from mars.memory.checks import Namespace as Namespace
from mars.memory.checks import Vector as Vector
from mars.memory.checks import check_flag, check_integer, check_matter, check_room, choice, shown
from mars.memory.checks import check_json as check_json
from mars.memory.checks import check_label as check_label
from mars.memory.checks import check_namespace as check_namespace
from mars.memory.checks import check_share as check_share
from mars.memory.checks import check_text as check_text
from mars.memory.checks import check_time as check_time
from mars.memory.checks import check_vector as check_vector
from mars.memory.checks import frozen_mapping as frozen_mapping


class Kind(StrEnum):
    """What sort of memory a record is; base strength and tiers depend on it."""

    EPISODE = "episode"
    """Something said or done, verbatim."""
    FACT = "fact"
    """A (subject, relation, value) drawn from episodes."""
    REFLECTION = "reflection"
    """A lesson from rejected work; never short-term (MARS eq. 9)."""
    PROCEDURE = "procedure"
    """How something is done; never short-term."""


class Status(StrEnum):
    """Whether a record takes part in recall."""

    ACTIVE = "active"
    """Recalled, as long as its tier is not forgotten."""
    SUPERSEDED = "superseded"
    """A newer fact about the same subject and relation took its place; reversible."""
    ARCHIVED = "archived"
    """Forgotten or put away: hidden, restorable."""
    QUARANTINED = "quarantined"
    """From an untrusted source; hidden until it is reviewed."""


class Tier(StrEnum):
    """Where a record stands on its forgetting curve (MARS eq. 8 and 9)."""

    SHORT_TERM = "short_term"
    """Retention at or above θ1; may enter the prompt without a query."""
    LONG_TERM = "long_term"
    """Retention from θ2 up to below θ1; reached by recall only."""
    FORGOTTEN = "forgotten"
    """Retention below θ2; never surfaces."""


class Grade(StrEnum):
    """How a use of a record went; the only thing that changes its strength."""

    GOOD = "good"
    """An approved answer cites the record."""
    EASY = "easy"
    """The user confirmed it."""
    AGAIN = "again"
    """The Checker named it as the cause of an error."""


class Duplicates(StrEnum):
    """What becomes of a new record that says what an active one says already; see `mars.memory.duplicates`."""

    KEEP = "keep"
    """It is stored beside the other."""
    SKIP = "skip"
    """It is not stored; the other stays as it is."""
    MERGE = "merge"
    """It is not stored; the other takes over its sources, and τ restarts: to be told again is a new storing."""
    EXACT = "exact"
    """Merged so only if its text is the very same, to the letter; one look-up by the text's hash."""


class Source(StrEnum):
    """Who a record's text comes from; decides whether it is trusted."""

    USER = "user"
    ASSISTANT = "assistant"
    OPERATOR = "operator"
    TOOL = "tool"
    WEB = "web"

    @property
    def trusted(self) -> bool:
        """Whether text from here may be recalled without a review."""
        return self not in (Source.TOOL, Source.WEB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a record came from: the task, the step and the records that led to it."""

    task: str | None = None
    """Id of the task or turn in which it was written."""
    iteration: int | None = None
    """Iteration of the loop, from 1."""
    role: str | None = None
    """The role that wrote it: user, assistant, checker, reflector, extractor."""
    sources: tuple[str, ...] = ()
    """Ids of the records it was derived from."""


_NOWHERE = Provenance()


def check_provenance(came: object) -> Provenance:
    """Return a provenance if every database stores it, its sources as a tuple; else raise `InvalidInput`."""
    if not isinstance(came, Provenance):
        raise InvalidInput(f"provenance is a mars.memory.Provenance; got {shown(came)}")
    check_label(came.task, "provenance.task")
    check_label(came.role, "provenance.role")
    check_integer(came.iteration, "provenance.iteration")
    if not isinstance(came.sources, tuple | list) or not all(isinstance(one, str) for one in came.sources):
        raise InvalidInput(f"provenance.sources are ids of records, in a tuple; got {shown(came.sources)}")
    for one in came.sources:
        check_label(one, "provenance.sources")
    return came if isinstance(came.sources, tuple) else replace(came, sources=tuple(came.sources))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecord:
    """What a caller gives to `Memory.add`: a record before it has an id, a strength and a place in the log."""

    text: str
    """The original text; it is what is embedded, and it always stays."""
    namespace: Namespace
    """Whom it belongs to."""
    kind: Kind = Kind.EPISODE
    """What sort of memory it is."""
    short_text: str | None = None
    """A shorter rendering for prompts, if there is one."""
    key: str | None = None
    """The caller's own key, unique in the namespace (LangGraph's BaseStore)."""
    conversation: str | None = None
    """The conversation it was said in; rows of one conversation are neighbours."""
    position: int | None = None
    """Its place in the conversation, from 0 to 2^53; neighbours are found by it."""
    speaker: str | None = None
    """Who said it."""
    event_time: datetime | None = None
    """When it was said or happened; the time of storing if None. Retention never counts from it."""
    importance: float = 0.0
    """How much it matters, in [0, 1]."""
    pinned: bool = False
    """Never forgotten: its retention is 1."""
    subject: str | None = None
    """Of a fact: whom or what it is about."""
    relation: str | None = None
    """Of a fact: in what respect."""
    value: str | None = None
    """Of a fact: what is so."""
    valid_from: datetime | None = None
    """Of a fact: since when it is so; the event time if None."""
    expires_at: datetime | None = None
    """When it ceases to exist for every read (TTL), whatever its retention."""
    source: Source = Source.USER
    """Who the text comes from; untrusted sources are quarantined."""
    provenance: Provenance = _NOWHERE
    """The task, step and records that led to it."""
    idempotency_key: str | None = None
    """Writing the same key in the same namespace again adds nothing and returns the first record."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """JSON values of the caller's own, for filters."""
    draw_facts: bool = True
    """Whether a store that draws facts may draw them from it."""
    embedding: Vector | None = None
    """The text's vector if the caller has it already; shape ``[d]``, of the store's embedder."""

    def __post_init__(self) -> None:
        check_text(self.text)
        check_room(check_namespace(self.namespace))
        check_share(self.importance, "importance")
        for name, choices in (("kind", Kind), ("source", Source)):
            object.__setattr__(self, name, choice(getattr(self, name), choices, name))
        for name in ("event_time", "valid_from", "expires_at"):
            moment = getattr(self, name)
            if moment is not None:
                object.__setattr__(self, name, check_time(moment, name))
        if self.kind is Kind.FACT and not (self.subject and self.relation):
            raise InvalidInput("a fact needs a subject and a relation; store it as an episode otherwise")
        for name in ("key", "conversation", "speaker", "subject", "relation", "idempotency_key"):
            check_label(getattr(self, name), name)
        for name in ("short_text", "value"):
            if getattr(self, name) is not None:
                check_text(getattr(self, name), name)
        if self.embedding is not None:
            object.__setattr__(self, "embedding", check_vector(self.embedding))
        for name in ("pinned", "draw_facts"):
            check_flag(getattr(self, name), name)
        check_integer(self.position, "position")
        check_matter(self.subject or "", self.relation or "")
        if self.provenance is not _NOWHERE:
            object.__setattr__(self, "provenance", check_provenance(self.provenance))
        object.__setattr__(self, "metadata", frozen_mapping(check_json(self.metadata) if self.metadata else None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One memory as it is stored: the truth. A change makes a new value with a higher `seq`."""

    id: str
    """Time-ordered UUID (version 7)."""
    seq: int
    """Place of its last change in the store's commit order; gap-free, from 1."""
    text: str
    """The original text, verbatim."""
    namespace: Namespace
    """Whom it belongs to."""
    kind: Kind
    """What sort of memory it is."""
    status: Status
    """Whether it takes part in recall."""
    short_text: str | None
    """A shorter rendering for prompts, if there is one."""
    key: str | None
    """The caller's own key."""
    conversation: str | None
    """The conversation it was said in."""
    position: int | None
    """Its place in the conversation, from 0."""
    speaker: str | None
    """Who said it."""
    created_at: datetime
    """When it was stored, by the injected clock."""
    event_time: datetime
    """When it was said or happened."""
    last_strengthened: datetime
    """When its retention was last 1; τ counts from here."""
    strength: float
    """S in days."""
    boost: float
    """S*/S, at least 1; 1 without a short text."""
    difficulty: float
    """D of FSRS, in [1, 10]."""
    uses: int
    """How often it was graded Good or Easy."""
    last_turn: str | None
    """The turn of its last grade; one turn grades a record once."""
    importance: float
    """How much it matters, in [0, 1]."""
    entropy: float
    """Shannon entropy of its tokens, in bits."""
    pinned: bool
    """Never forgotten."""
    subject: str | None
    """Of a fact: whom or what it is about."""
    relation: str | None
    """Of a fact: in what respect."""
    value: str | None
    """Of a fact: what is so."""
    valid_from: datetime
    """Since when it is so in the world; a fact may have held before that, too (`mars.memory.spans`)."""
    valid_to: datetime | None
    """Until when it was so; None while it is."""
    known_from: datetime
    """Since when the store knows it."""
    known_to: datetime | None
    """Until when the store held it to be so; None while it does."""
    superseded_by: str | None
    """Id of the record that took its place."""
    archived_at: datetime | None
    """When it was put away."""
    archived_because: str | None
    """Why: forgotten, capacity, review, or the caller's words."""
    expires_at: datetime | None
    """When it ceases to exist for every read (TTL)."""
    source: Source
    """Who the text comes from."""
    trust: float
    """In [0, 1]; 1 for trusted sources."""
    provenance: Provenance
    """The task, step and records that led to it."""
    idempotency_key: str | None
    """The writer's key against duplicates."""
    content_hash: str
    """BLAKE2b-128 of the text, hexadecimal."""
    embedder: str | None
    """Id of the embedder of its vector; None if it has none."""
    metadata: Mapping[str, Any]
    """JSON values of the caller's own."""


if TYPE_CHECKING:
    Draft = Record
else:
    Draft = make_dataclass("Draft", Record.__slots__, slots=True, kw_only=True)


def sealed(draft: Draft) -> Record:
    """Return a record whose fields were set as those of a `Draft`: in a tenth of the time that frozen ones take."""
    draft.__class__ = Record
    return draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How a hit's rank came about. ``rank = fusion · retention_factor · importance_factor · trust``.

    Where `mars.memory.weights.Weights` order the hits, ``rank = trust · the weighted sum of weighed``.
    """

    lexical: float
    """BM25F score of the row; 0 if no query term is near it."""
    cosine: float
    """Cosine of the query's and the row's vector, in [-1, 1]; 0 without vectors."""
    lexical_weight: float
    """Share w of the lexical arm in the fusion, in [0, 1]."""
    fusion: float
    """``w · lexical / max(lexical) + (1 - w) · max(cosine, 0)``."""
    retention_factor: float
    """``floor + (1 - floor) · retention``."""
    importance_factor: float
    """``g + (1 - g) · importance``."""
    trust: float
    """Trust of the record's source, in [0, 1]."""
    terms: Mapping[str, float]
    """Inverse document frequency of each query term that the row or a neighbour holds."""
    held: Mapping[str, Any] = field(default_factory=dict)
    """What the record holds under the keys of metadata that the filter names; a key that it lacks is left out."""
    weighed: Mapping[str, float] = field(default_factory=dict)
    """Recency, importance and relevance, each scaled to [0, 1] over all rows that pass; empty without weights."""
    likeness: float = 0.0
    """With diversity: how alike it is to the most alike hit before it, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One recalled record with its two numbers (memory.md §6)."""

    record: Record
    """The record, read from the truth."""
    rank: float
    """For ordering only."""
    relevance: float
    """Absolute, in [0, 1]: ``w · share of the query terms' idf mass found + (1 - w) · max(cosine, 0)``.

    Of a long query the share is that of the passage of which most was found, where that is more."""
    retention: float
    """R at the time of the recall, in [0, 1]."""
    tier: Tier
    """Short-term or long-term; forgotten records never surface."""
    explanation: Explanation | None = None
    """The parts of the rank, if asked for."""
    exact: bool = True
    """Whether these are the best of all rows; False where a derived index chose the rows (``exact=False``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of a record's history."""

    seq: int
    """Place in the store's commit order."""
    at: datetime
    """When, by the injected clock."""
    record: str
    """Id of the record."""
    event: str
    """added, used, edited, superseded, archived, restored, pinned, unpinned, purged, …"""
    detail: Mapping[str, Any]
    """What changed: JSON values, with old and new ones where that makes sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a sweep archived, or would archive."""

    archived: tuple[str, ...]
    """Ids of records whose retention fell below θ2."""
    expired: tuple[str, ...]
    """Ids of records whose time to live is over."""
    kept: int
    """Active records that stay."""
    dry_run: bool
    """Whether nothing was written."""


def days_between(earlier: datetime, later: datetime) -> float:
    """Return the fractional days from `earlier` to `later`; 0 if the clock went backwards."""
    days = (later - earlier).total_seconds() / 86_400.0
    return days if days > 0.0 and math.isfinite(days) else 0.0
