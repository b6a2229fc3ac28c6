"""A seeded mix of calls over every write path of a memory, which can be told again and compared.

A `Call` holds all that it depends on: the same calls in the same order leave the same contents in every store, ids and
`seq` apart. So what a crash has left can be compared with what the acknowledged calls leave elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from mars.errors import InvalidInput, MarsError, NotFound
from mars.memory.interfaces import Reader, Selection
from mars.memory.keyed import Keyed
from mars.memory.presets import PAPER
from mars.memory.records import Grade, Kind, NewRecord, Record, Source, Status
from mars.testing.clocks import EPOCH

if TYPE_CHECKING:
    from mars.memory.engine import Memory

__all__ = ["PRESET", "REPEATABLE", "Call", "Script", "contents", "drive", "perform", "told", "written"]

PRESET = PAPER.but(name="soak", capacity=14, audit_days=1.0)
"""Forgets within days and is soon full, so that a short script sweeps, evicts and purges."""

CITIES = ("Porto", "Bern", "Oslo", "Turin", "Ghent")
WORDS = tuple("weir heron ledger violin harbour lantern quarry meadow copper tunnel orchard signal".split())

WEIGHTS: Mapping[str, int] = MappingProxyType(
    {
        "add": 14, "add_many": 6, "tell": 6, "put": 7, "drop": 2, "edit": 5, "retell": 3, "used": 7, "pin": 2,
        "unpin": 1, "archive": 4, "restore": 4, "review": 3, "undo": 3, "renew": 2, "purge": 4, "purge_old": 2,
        "sweep": 3, "lend": 3, "purge_expired": 2, "merge": 2,
    }
)  # fmt: skip
"""How often each call is made, relatively."""

SHARED = frozenset({"lend", "purge_expired"})
"""Calls that concern records with a time to live: of the first namespace only, because they reach into every one."""

REPEATABLE = frozenset(
    {"add", "add_many", "tell", "lend", "edit", "used", "pin", "unpin", "archive", "restore", "review", "merge"}
)
"""Calls that change nothing when they are made a second time."""

ADDING = frozenset({"add", "add_many", "tell", "lend"})
"""Calls that store records under idempotency keys."""

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a script."""

    name: str
    """Which; see `WEIGHTS`."""
    space: int
    """Number of its namespace."""
    number: int
    """Its place in the script of the namespace, from 0: texts and keys are made from it."""
    minutes: int
    """When, since the epoch of test clocks."""
    places: tuple[int, ...] = ()
    """Which records, as places among the namespace's records ordered by id."""

    @property
    def namespace(self) -> tuple[str, ...]:
        """The namespace that it concerns."""
        return ("soak", str(self.space))

    @property
    def now(self) -> datetime:
        """When it happens."""
        return EPOCH + timedelta(minutes=self.minutes)

    def line(self) -> str:
        """Return the call as one line of JSON."""
        return json.dumps(astuple(self), separators=(",", ":"))

    @classmethod
    def parse(cls, line: str) -> Call:
        """Return the call that `line` gave."""
        name, space, number, minutes, places = json.loads(line)
        return cls(name, space, number, minutes, tuple(places))


class Script:
    """Chooses the calls of one namespace, one after the other, from a seed and what the store holds."""

    def __init__(self, seed: str, space: int, after: Call | None, favoured: Sequence[str] = ()) -> None:
        """Go on after a call; `favoured` are made four times as often."""
        self._random = random.Random(f"{seed}/{space}")
        self._space = space
        self._number = -1 if after is None else after.number
        self._minutes = 0 if after is None else after.minutes
        self._names = [name for name in WEIGHTS if space == 0 or name not in SHARED]
        self._weights = [WEIGHTS[name] * (4 if name in favoured else 1) for name in self._names]

    def next(self, stored: Sequence[Record]) -> Call:
        """Return the next call; the clock goes on by hours, stands, and now and then goes back."""
        self._number += 1
        self._minutes = max(0, self._minutes + self._random.choice((0, 5, 60, 240, 600, -90)))
        while True:
            (name,) = self._random.choices(self._names, self._weights)
            call = Call(name, self._space, self._number, self._minutes)
            wanted = TARGETS.get(name)
            if wanted is None:
                return call
            places = [place for place, record in enumerate(stored) if wanted(record)]
            if places:
                count = 2 if name == "merge" else self._random.randint(1, 2)
                chosen = tuple(self._random.sample(places, min(len(places), count)))
                return Call(name, self._space, self._number, self._minutes, chosen)


def _any(record: Record) -> bool:
    return True


TARGETS: Mapping[str, Callable[[Record], bool]] = MappingProxyType(
    {
        "edit": _any,
        "retell": lambda record: record.status is Status.ACTIVE,
        "used": _any,
        "pin": lambda record: not record.pinned,
        "unpin": lambda record: record.pinned,
        "archive": lambda record: record.status is Status.ACTIVE,
        "restore": lambda record: record.status is Status.ARCHIVED,
        "review": lambda record: record.status is Status.QUARANTINED,
        "undo": lambda record: record.superseded_by is not None,
        "renew": lambda record: record.expires_at is not None,
        "purge": _any,
        "merge": lambda record: record.status is Status.ACTIVE and record.kind is Kind.EPISODE,
    }
)
"""Which records a call may concern; calls that are not named choose none."""


def _text(call: Call, part: int = 0) -> str:
    words = " ".join(WORDS[(call.number * step + part + call.space) % len(WORDS)] for step in (1, 3, 5))
    return f"note {call.space}-{call.number}-{part}: {words}"


def written(call: Call) -> list[NewRecord]:
    """Return the records that an adding call stores, each under an idempotency key of its own."""
    space, key = call.namespace, f"{call.number}"
    if call.name == "tell":
        city = CITIES[call.number % len(CITIES)]
        return [NewRecord(text=f"I live in {city}.", namespace=space, speaker="Ann", idempotency_key=key)]
    if call.name == "lend":
        until = call.now + timedelta(hours=1 + call.number % 30)
        return [NewRecord(text=_text(call), namespace=space, idempotency_key=key, expires_at=until)]
    news = [NewRecord(text=_text(call), namespace=space, idempotency_key=key, importance=call.number % 5 / 5)]
    if call.name == "add_many":
        city = CITIES[call.number % len(CITIES)]
        fact = {"kind": Kind.FACT, "subject": "Ann", "relation": "lives in", "value": city}
        news += [
            NewRecord(text=_text(call, 1), namespace=space, idempotency_key=f"{key}/1", source=Source.WEB),
            NewRecord(text=f"Ann lives in {city}.", namespace=space, idempotency_key=f"{key}/2", **fact),  # type: ignore[arg-type]
        ]
    return news


def _put(call: Call) -> Keyed:
    key, space = f"key {call.number % 3}", call.namespace
    if call.name == "drop":
        return Keyed(namespace=space, key=key, record=None)
    parts = tuple(NewRecord(text=_text(call, part), namespace=space) for part in range(2, 2 + call.number % 3))
    return Keyed(namespace=space, key=key, record=NewRecord(text=_text(call), namespace=space, key=key), parts=parts)


def _rows(reader: Reader, namespace: tuple[str, ...]) -> list[Record]:
    """Return a namespace's records in the order of their ids: the same in every store that was told the same."""
    return sorted(reader.select(Selection(namespace=namespace)), key=lambda record: record.id)


async def told(memory: Memory, space: int) -> list[Record]:
    """Return a namespace's records in the order in which `Call.places` counts them."""
    namespace = ("soak", str(space))
    return await memory.read(lambda reader: _rows(reader, namespace))


async def perform(memory: Memory, call: Call) -> bool:
    """Make a call; return whether it was taken, False where the memory refuses it as a caller's mistake."""
    rows = await told(memory, call.space) if call.places else []
    ids = [rows[place].id for place in call.places if place < len(rows)]
    try:
        await _do(memory, call, ids)
    except (InvalidInput, NotFound):
        return False
    return True


async def _do(memory: Memory, call: Call, ids: list[str]) -> object:
    now = call.now
    match call.name:
        case "add" | "add_many" | "tell" | "lend":
            return await memory.add_many(written(call), now=now)
        case "put" | "drop":
            return await memory.put_many([_put(call)], now=now)
        case "edit":
            return await memory.edit(ids[0], importance=call.number % 7 / 7, metadata={"n": call.number}, now=now)
        case "retell":
            return await memory.edit(ids[0], text=_text(call, 9), short_text="note", now=now)
        case "used":
            grade = (Grade.GOOD, Grade.EASY, Grade.AGAIN)[call.number % 3]
            return await memory.used(ids, grade, f"turn {call.number}", now=now)
        case "pin":
            return await memory.pin(ids, now=now)
        case "unpin":
            return await memory.unpin(ids, now=now)
        case _:
            return await _end(memory, call, ids)


async def _end(memory: Memory, call: Call, ids: list[str]) -> object:
    now = call.now
    match call.name:
        case "archive":
            return await memory.archive(ids, "put away", now=now)
        case "restore":
            return await memory.restore(ids, now=now)
        case "review":
            return await memory.review(ids, bool(call.number % 2), now=now)
        case "undo":
            return await memory.undo(ids[0], now=now)
        case "renew":
            return await memory.renew({one: now + timedelta(hours=9) for one in ids}, now=now)
        case "purge":
            return await memory.purge(ids, force=True, now=now)
        case "purge_old":
            return await memory.purge(namespace=call.namespace, now=now)
        case "merge":
            return await memory.merge(ids[0], ids[1:], now=now)
        case "purge_expired":
            return await memory.purge_expired(now=now)
        case "sweep":
            return await memory.sweep(namespace=call.namespace, now=now)
    raise InvalidInput(f"there is no call {call.name!r}")


async def drive(memory: Memory, script: Script, space: int, calls: int, tell: Callable[[str], None]) -> None:
    """Make the next calls of a namespace; tell of each before it is asked and after it was acknowledged."""
    for _ in range(calls):
        call = script.next(await told(memory, space))
        tell(f"asks {call.line()}")
        try:
            await perform(memory, call)
        except MarsError as error:
            tell(f"fails {call.name}: {type(error).__name__}: {error}")
            return
        tell(f"has {space}")


async def contents(memory: Memory, space: int, *, tended: bool = False) -> list[str]:
    """Return what a namespace holds, comparable between stores: each record with its vector and its history.

    Ids are given as places, `seq` is left out. The last line counts the tombstones. Of a `tended` store what repairs
    and restores leave by their nature is left out: the ``repaired`` in the history, and the tombstones.
    """
    namespace = ("soak", str(space))

    def look(reader: Reader) -> list[str]:
        records = _rows(reader, namespace)
        vectors = reader.vectors([record.id for record in records])
        places = {record.id: f"#{place}" for place, record in enumerate(records)}
        lines = []
        for record in records:
            fields = {name: getattr(record, name) for name in Record.__dataclass_fields__ if name != "seq"}
            fields |= {"metadata": dict(record.metadata), "provenance": str(record.provenance)}
            vector = vectors.get(record.id)
            fields["vector"] = None if vector is None else hashlib.blake2b(vector.tobytes(), digest_size=8).hexdigest()
            past = [one for one in reader.history(record.id) if not (tended and one.event == "repaired")]
            fields["history"] = [(one.event, one.at, dict(one.detail)) for one in past]
            lines.append(json.dumps(fields, default=str, sort_keys=True))
        graves = 0 if tended else sum(name == namespace for _, _, name in reader.removed(0))
        named = [UUID.sub(lambda found: places.get(found[0], "#gone"), line) for line in lines]
        return [*named, f"tombstones {graves}"]

    return await memory.read(look)
