"""How a record becomes a row and a row a record again; exact in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from mars.errors import InvalidInput
from mars.memory.json_pieces import decoded, encoded
from mars.memory.records import Change, Draft, Kind, Namespace, Provenance, Record, Source, Status, sealed
from mars.memory.terms import encode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {kind.value: kind for kind in Kind}
_STATUSES = {status.value: status for status in Status}
_SOURCES = {source.value: source for source in Source}
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_NOWHERE = Provenance()


@lru_cache(maxsize=1024)  # most times of a new record, and of its neighbours in a batch, are one and the same
def micros(moment: datetime) -> int:
    """Return the microseconds from 1970 UTC to an aware datetime."""
    age = moment - _EPOCH
    return (age.days * 86_400 + age.seconds) * 1_000_000 + age.microseconds


def moment(value: int) -> datetime:
    """Return the datetime in UTC that is so many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=value)


def json_text(values: object) -> str:
    """Return `values` as ASCII JSON; raises `InvalidInput` for what JSON does not have (NaN, objects, …)."""
    try:
        return _ENCODER.encode(values)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"metadata and details hold JSON values only: {error}") from error


def metadata_text(values: Mapping[str, Any]) -> str:
    """Return `json_text` of metadata, made in pieces where they are large."""
    try:
        return encoded(values, _ENCODER.encode) if values else "{}"
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"metadata and details hold JSON values only: {error}") from error


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_plain)


@lru_cache(maxsize=4096)
def namespace_text(namespace: Namespace) -> str:
    """Return the canonical text of a namespace: the JSON list of its labels."""
    return json.dumps(list(namespace), separators=(",", ":"))


@lru_cache(maxsize=4096)
def namespace_of(text: str) -> Namespace:
    """Return the namespace of a canonical text."""
    return tuple(json.loads(text))


def below(prefix: Namespace) -> tuple[str, str, str]:
    """Return (exact, low, high): namespaces under `prefix` are `exact` or lie in [low, high) by their bytes."""
    text = namespace_text(prefix)
    return text, f"{text[:-1]},", f"{text[:-1]}-"


def settled(record: Record) -> Record:
    """Return the record as it would come back from a database: its metadata are plain JSON values of its own."""
    if not record.metadata:
        return record
    fields = {name: getattr(record, name) for name in Record.__dataclass_fields__}
    fields["metadata"] = MappingProxyType(decoded(metadata_text(record.metadata)))
    return Record(**fields)


def row_of(record: Record, number: int | None = None) -> tuple[Any, ...]:
    """Return the fields of a record in the order of the table's columns; `number` defaults to its `seq`."""
    came, subject = record.provenance, record.subject
    head = (record.seq if number is None else number, record.id, record.seq, namespace_text(record.namespace))
    what = (record.kind._value_, record.status._value_, record.text, record.short_text, record.key)
    place = (record.conversation, record.position, record.speaker)
    times = (micros(record.created_at), micros(record.event_time), micros(record.last_strengthened))
    hold = (float(record.strength), float(record.boost), float(record.difficulty), record.uses, record.last_turn)
    worth = (float(record.importance), float(record.entropy), record.pinned)
    fact = (subject, None if subject is None else subject.casefold(), record.relation, record.value)
    valid = (micros(record.valid_from), _maybe(record.valid_to), micros(record.known_from), _maybe(record.known_to))
    gone = (record.superseded_by, _maybe(record.archived_at), record.archived_because, _maybe(record.expires_at))
    sources = json_text(came.sources) if came.sources else "[]"
    origin = (record.source._value_, float(record.trust), came.task, came.iteration, came.role, sources)
    rest = (record.idempotency_key, record.content_hash, record.embedder, metadata_text(record.metadata))
    return (*head, *what, *place, *times, *hold, *worth, *fact, *valid, *gone, *origin, *rest)


def stored_row(record: Record, number: int | None = None) -> tuple[Any, ...]:
    """Return `row_of` with what is derived from the text for shards, as a table's row holds it."""
    return (*row_of(record, number), encode(record.text, record.speaker))


def _maybe(when: datetime | None) -> int | None:
    return None if when is None else micros(when)


def record_of(row: Sequence[Any]) -> Record:
    """Return the record of a row that holds every column in the table's order."""
    draft = Draft(
        id=row[1],
        seq=row[2],
        namespace=namespace_of(row[3]),
        kind=_KINDS[row[4]],
        status=_STATUSES[row[5]],
        text=row[6],
        short_text=row[7],
        key=row[8],
        conversation=row[9],
        position=row[10],
        speaker=row[11],
        created_at=moment(row[12]),
        event_time=moment(row[13]),
        last_strengthened=moment(row[14]),
        strength=row[15],
        boost=row[16],
        difficulty=row[17],
        uses=row[18],
        last_turn=row[19],
        importance=row[20],
        entropy=row[21],
        pinned=bool(row[22]),
        subject=row[23],
        relation=row[25],
        value=row[26],
        valid_from=moment(row[27]),
        valid_to=None if row[28] is None else moment(row[28]),
        known_from=moment(row[29]),
        known_to=None if row[30] is None else moment(row[30]),
        superseded_by=row[31],
        archived_at=None if row[32] is None else moment(row[32]),
        archived_because=row[33],
        expires_at=None if row[34] is None else moment(row[34]),
        source=_SOURCES[row[35]],
        trust=row[36],
        provenance=_provenance(row[37], row[38], row[39], row[40]),
        idempotency_key=row[41],
        content_hash=row[42],
        embedder=row[43],
        metadata=_NOTHING if row[44] == "{}" else MappingProxyType(decoded(row[44])),
    )
    return sealed(draft)


def _provenance(task: str | None, iteration: int | None, role: str | None, sources: str) -> Provenance:
    if task is None and iteration is None and role is None and sources == "[]":
        return _NOWHERE
    return Provenance(task=task, iteration=iteration, role=role, sources=tuple(json.loads(sources)))


def life_row(record: Record) -> tuple[Any, ...]:
    """Return the fields of `mars.memory.lives.FIELDS` of a record."""
    held = (float(record.strength), float(record.boost), micros(record.last_strengthened), float(record.entropy))
    when = (micros(record.event_time), record.position, _maybe(record.expires_at))
    return (record.id, record.namespace, record.kind.value, record.status.value, record.pinned, *held, *when)


def change_row(change: Change) -> tuple[Any, ...]:
    """Return the row of a change, without its number."""
    detail = json_text(change.detail) if change.detail else "{}"
    return (change.seq, change.record, micros(change.at), change.event, detail)


def change_of(row: Sequence[Any]) -> Change:
    """Return the change of a row (seq, record, at, event, detail)."""
    detail = MappingProxyType(json.loads(row[4]))
    return Change(seq=row[0], record=row[1], at=moment(row[2]), event=row[3], detail=detail)
