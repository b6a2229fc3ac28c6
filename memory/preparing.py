"""What is done to new records before the write transaction: hashes, entropy, vectors, facts.

Synchronous, on a worker thread; nothing here writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from mars.errors import EmbedderMismatch, InvalidVector
from mars.language import token_entropy
from mars.memory.checks import matter_fits
from mars.memory.embedding import HashingEmbedder, check_vectors, unit
from mars.memory.facts import SINGLE_VALUED, extract_facts
from mars.memory.interfaces import Embedder, Reader, Selection
from mars.memory.presets import Preset
from mars.memory.records import Duplicates, Kind, Namespace, NewRecord, Provenance, Source, Vector
from mars.memory.views import is_expired

FACT_SOURCES = frozenset({Source.USER, Source.OPERATOR})
"""Whose words facts are drawn from: never the assistant's, which may repeat what was recalled."""

CHANGING_FROM = "changing_from"
"""The store's own fact while its vectors are made anew: the embedder that they came from; empty once that is done."""

AT_ONCE = 4
"""So many records with vectors are prepared on the event loop itself."""

SHORT = 2000
"""Characters of a text that may be prepared there."""

BRIEF = 400
"""Characters of all texts together that may be hashed there too, in less time than it takes to wake a thread."""


class Fields(TypedDict, total=False):
    """What `Memory.add` takes beside the text: the fields of `NewRecord`, which says what each means."""

    kind: Kind
    short_text: str | None
    key: str | None
    conversation: str | None
    position: int | None
    speaker: str | None
    event_time: datetime | None
    importance: float
    pinned: bool
    subject: str | None
    relation: str | None
    value: str | None
    valid_from: datetime | None
    expires_at: datetime | None
    source: Source
    provenance: Provenance
    idempotency_key: str | None
    metadata: Mapping[str, Any]
    draw_facts: bool
    embedding: Vector | None


@dataclass(frozen=True, slots=True)
class Rules:
    """What every write of one store goes by."""

    preset: Preset
    """Strengths, thresholds, capacity."""
    embedder: Embedder
    """Makes the vectors."""
    store_id: str
    """Ids are drawn from it."""
    extract_facts: bool = False
    """Whether facts are drawn from episodes."""
    duplicates: Duplicates | None = None
    """What becomes of near-duplicates of any kind; None for what the preset says of each."""

    def of_duplicates(self, kind: Kind) -> Duplicates:
        """Return what becomes of a near-duplicate of this kind."""
        return self.preset.duplicates[kind] if self.duplicates is None else self.duplicates


@dataclass(frozen=True, slots=True)
class Prepared:
    """A new record with all that can be known before it is stored."""

    new: NewRecord
    """What the caller gave."""
    now: datetime
    """When it is stored."""
    vector: Vector | None
    """Its embedding, shape ``[d]``; None where the record was seen in the store already, so that none was made."""
    bits: float
    """Shannon entropy of its tokens, in bits."""
    entropy: float
    """The same, normalised to [0, 1]."""
    facts: tuple[Prepared, ...] = ()
    """What was drawn from it."""


def prepare(
    news: Sequence[NewRecord], times: Sequence[datetime], rules: Rules, there: Collection[int] = ()
) -> list[Prepared]:
    """Return the new records ready to be stored, `times` being when each is. Nothing is written.

    Those whose places are in `there` were seen in the store, and get no vector and no facts. Raises `InvalidVector` for
    a vector of NaN or of a dimension other than the embedder's.
    """
    if not rules.extract_facts and not there:
        return [_prepared(*one) for one in zip(news, times, _embed(news, rules.embedder), strict=True)]
    fresh = [place for place in range(len(news)) if place not in there]
    drawn = {place: _facts_of(news[place]) if rules.extract_facts else () for place in fresh}
    flat = [*(news[place] for place in fresh), *(fact for facts in drawn.values() for fact in facts)]
    vectors = _embed(flat, rules.embedder)
    ready = [Prepared(new, now, None, 0.0, 0.0) for new, now in zip(news, times, strict=True)]
    after = len(fresh)
    for row, place in enumerate(fresh):
        facts = tuple(
            _prepared(fact, times[place], vector)
            for fact, vector in zip(drawn[place], vectors[after : after + len(drawn[place])], strict=True)
        )
        after += len(facts)
        ready[place] = _prepared(news[place], times[place], vectors[row], facts)
    return ready


def at_once(news: Sequence[NewRecord], rules: Rules) -> bool:
    """Tell whether preparing takes microseconds, less than a worker thread would.

    So it is of few short texts that have vectors, or whose few words the built-in embedder hashes.
    """
    if len(news) > AT_ONCE or rules.extract_facts:
        return False
    if all(new.embedding is not None for new in news):
        return all(len(new.text) <= SHORT for new in news)
    return isinstance(rules.embedder, HashingEmbedder) and sum(len(new.text) for new in news) <= BRIEF


def may_be_spared(new: NewRecord, rules: Rules) -> bool:
    """Tell whether it is worth looking whether the store holds a record before it is embedded and read for facts."""
    return new.idempotency_key is not None and (new.embedding is None or rules.extract_facts)


def seen(reader: Reader, news: Sequence[NewRecord], now: datetime) -> set[int]:
    """Return the places of the records whose idempotency keys the store holds, so that nothing is embedded twice."""
    keys: dict[Namespace, set[str]] = {}
    for new in news:
        if new.idempotency_key is not None:
            keys.setdefault(new.namespace, set()).add(new.idempotency_key)
    there = {
        (namespace, record.idempotency_key)
        for namespace, wanted in keys.items()
        for record in reader.select(Selection(namespace=namespace, idempotency_keys=frozenset(wanted)))
        if not is_expired(record, now)
    }
    return {place for place, new in enumerate(news) if (new.namespace, new.idempotency_key) in there}


def _prepared(new: NewRecord, now: datetime, vector: Vector, facts: tuple[Prepared, ...] = ()) -> Prepared:
    bits, entropy = token_entropy(new.text)
    return Prepared(new, now, vector, bits, entropy, facts)


def _facts_of(new: NewRecord) -> tuple[NewRecord, ...]:
    if not new.draw_facts or new.kind is not Kind.EPISODE or new.source not in FACT_SOURCES:
        return ()
    return tuple(
        NewRecord(
            text=fact.statement,
            namespace=new.namespace,
            kind=Kind.FACT,
            speaker=new.speaker,
            event_time=new.event_time,
            importance=new.importance,
            subject=fact.subject,
            relation=fact.relation,
            value=fact.value,
            valid_from=new.valid_from,
            expires_at=new.expires_at,
            source=new.source,
            metadata={SINGLE_VALUED: fact.single_valued, "span": list(fact.span), "confidence": fact.confidence},
        )
        for fact in extract_facts(new.text, new.speaker)
        if matter_fits(fact.subject, fact.relation)  # a name may fit as a speaker, and not beside a relation
    )


def _embed(news: Sequence[NewRecord], embedder: Embedder) -> list[Vector]:
    """Return one checked vector per record; those that the caller gave are copied, and scaled to unit length."""
    dimension = embedder.dimension
    for new in news:
        if new.embedding is not None and new.embedding.size != dimension:
            raise InvalidVector(
                f"the embedding has {new.embedding.size} dimensions, the store's embedder {embedder.id} has "
                f"{dimension}: embed with it, or leave `embedding` out"
            )
    texts = [new.text for new in news if new.embedding is None]
    made = iter(embedded(texts, embedder) if texts else ())
    return [next(made) if new.embedding is None else unit(new.embedding) for new in news]


def embedded(texts: Sequence[str], embedder: Embedder) -> list[Vector]:
    """Return one vector of unit length per text, shape ``[d]``; `InvalidVector` for NaN or a wrong shape."""
    return list(check_vectors(embedder.embed(texts), len(texts), embedder.dimension, embedder.id)) if texts else []


def check_settled(meta: Mapping[str, str]) -> None:
    """Raise `EmbedderMismatch` while the store's vectors are being made anew by another embedder."""
    if meta.get(CHANGING_FROM):
        raise EmbedderMismatch(
            f"the store is changing its embedder from {meta[CHANGING_FROM]!r} to {meta.get('embedder')!r}, and not all "
            "of its vectors are made: finish it with `mars memory reembed --embedder …`, or Memory.open(…, embedder=…, "
            "reembed=True)"
        )


def check_embedder(meta: Mapping[str, str], embedder: Embedder) -> None:
    """Raise `EmbedderMismatch` unless the store's vectors are this embedder's, or it has none yet."""
    check_settled(meta)
    stored = meta.get("embedder")
    if stored is not None and stored != embedder.id:
        raise EmbedderMismatch(
            f"the store's vectors were made by {stored!r} and cannot be compared with those of {embedder.id!r}: open "
            "it with the embedder that made them (embedder=…, or MARS_EMBEDDER), or give it new ones with "
            "`mars memory reembed --embedder …`, or Memory.open(…, embedder=…, reembed=True)"
        )
