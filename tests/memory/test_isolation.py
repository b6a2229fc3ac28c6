"""No namespace ever sees, changes or counts another: a state machine over every public call, on every backend.

The text of every record carries a mark of its namespace; all else is alike on purpose: words, keys, idempotency keys,
conversations, speakers, subjects. After each call that is scoped to one namespace nothing that it returned holds
another one's mark, and every record of every other namespace is what it was, to the last field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from langchain_core.messages import HumanMessage
from langchain_core.tools import ToolException

from mars.errors import InvalidInput, InvalidNamespace, NotFound
from mars.integrations import MemoryChatHistory, MemoryRetriever, MemoryStore, memory_tools
from mars.memory.backends.inmemory import InMemoryBackend
from mars.memory.curves import EXPONENTIAL
from mars.memory.engine import Memory
from mars.memory.filters import RecallFilter
from mars.memory.interfaces import Backend, Selection
from mars.memory.keyed import Keyed
from mars.memory.presets import Preset
from mars.memory.recall import Question
from mars.memory.records import Grade, Kind, Namespace, NewRecord, Provenance, Record, Source, Status
from mars.memory.sync import SyncMemory
from mars.memory.tiers import TierRule
from mars.testing import FixedClock
from mars.testing.leaking import Flaw, LeakingBackend

FAMILIES: tuple[tuple[Namespace, ...], ...] = (
    (("a", "b.c"), ("a.b", "c"), ("a", "b", "c"), ("a.b.c",), ("a",), ("a", "b")),
    (("a",), ("A",), ("a,",), ('a","b',), ("a", "b"), ("[",), ("a ",)),
    (("a",), ("a%",), ("a_",), ("%",), ("_",), ("ab",), ("*",)),
    (("'; DROP TABLE mars_records; --",), ("\\",), ('"',), (" ",), ("a", "\n"), ("a", " ")),
    (("\u00e4",), ("a\u0308",), ("a",), ("\u00c4",), ("日本", "\U0001f426"), ("日本",)),
)
"""Namespaces that one mistake or another would take for each other."""
NAMESPACES = tuple(dict.fromkeys(name for family in FAMILIES for name in family))
PLACES = st.integers(0, 6)
"""Which of the namespaces of a family."""
REFUSED: tuple[Any, ...] = ((), ("",), ("a", ""), ("a\0",), ("\ud800",), ("a", None), ["a"], "a", (1,))
PRESET = Preset(
    curve=EXPONENTIAL,
    base_strength=1.0,  # type: ignore[arg-type]
    tiers=TierRule(theta1=0.9, theta2=0.3),
    capacity=5,
    audit_days=0.5,
    relevance_floor=0.0,
)
EVERY = tuple(Status)


@dataclass(frozen=True)
class Call:
    """What a call is given."""

    memory: SyncMemory
    namespace: Namespace
    mark: str
    ids: tuple[str, ...]
    """Some of its records."""
    rows: tuple[Record, ...]
    """All of them."""
    now: datetime
    number: int


def own(call: Call, **more: Any) -> NewRecord:
    """A record of the namespace that is like those of the others but for its mark."""
    values: dict[str, Any] = {"text": f"{call.mark} heron by the weir {call.number % 3}", "namespace": call.namespace}
    return NewRecord(**{**values, "conversation": "c", "speaker": "Ann", **more})


def fact(call: Call) -> NewRecord:
    """A fact about somebody whom every namespace knows."""
    value = ("Rome", "Oslo")[call.number % 2]
    about: dict[str, Any] = {"subject": "Ann", "relation": "lives in", "value": value}
    return own(call, kind=Kind.FACT, text=f"{call.mark} Ann lives in {value}.", **about)


def lesson(call: Call) -> NewRecord:
    """A lesson from records of the namespace, the same words again and again."""
    return own(call, kind=Kind.REFLECTION, text=f"{call.mark} ask there", provenance=Provenance(sources=call.ids[:2]))


def alike(call: Call) -> tuple[str, list[str]]:
    """Two active records of one kind."""
    active = [row for row in call.rows if row.status is Status.ACTIVE and row.key is None]
    keep = active[call.number % len(active) if active else 0]
    return keep.id, [row.id for row in active if row.kind is keep.kind and row.id != keep.id][:1]


def question(call: Call) -> Question:
    """What a front end asks."""
    return Question(
        text="heron weir",
        scope=call.namespace,
        below=False,
        k=50,
        now=call.now,
        filter=RecallFilter(),
        floor=0.0,
        explain=True,
    )


READS: dict[str, Callable[[Call], Any]] = {
    "recall": lambda c: c.memory.recall("Where is the heron? Ann", namespace=c.namespace, k=50, explain=True),
    "answer": lambda c: c.memory.answer(question(c)),
    "get": lambda c: [c.memory.get(one) for one in c.ids],
    "history": lambda c: [c.memory.history(one) for one in c.ids],
    "list": lambda c: c.memory.list(c.namespace, statuses=EVERY, newest_first=c.number % 2 > 0, limit=c.number % 9 + 1),
    "window": lambda c: c.memory.window(c.namespace, "c", k=c.number % 4 + 1),
    "as_of": lambda c: c.memory.as_of(c.namespace, c.now, subject="ann"),
    "near_duplicates": lambda c: c.memory.near_duplicates(c.namespace),
}
"""Calls that read one namespace; each by the name of the method."""

WRITES: dict[str, Callable[[Call], Any]] = {
    "add": lambda c: c.memory.add(fact(c) if c.number % 3 else own(c, source=Source.WEB)),
    "add_many": lambda c: c.memory.add_many(
        [own(c), own(c, idempotency_key="i"), lesson(c), own(c, expires_at=c.now + timedelta(hours=6))],
        duplicates=("keep", "skip", "merge", None)[c.number % 4],
    ),
    "put_many": lambda c: c.memory.put_many(
        [Keyed(namespace=c.namespace, key="k", record=own(c, key="k") if c.number % 4 else None)]
    ),
    "renew": lambda c: c.memory.renew(dict.fromkeys(c.ids[:2], c.now + timedelta(days=1))),
    "edit": lambda c: c.memory.edit(c.ids[0], text=f"{c.mark} edited heron {c.number}", metadata={"n": c.number}),
    "used": lambda c: c.memory.used(c.ids[:2], list(Grade)[c.number % 3], f"turn {c.number}"),
    "pin": lambda c: c.memory.pin(c.ids[:1]),
    "unpin": lambda c: c.memory.unpin(c.ids),
    "archive": lambda c: c.memory.archive(c.ids[:2]),
    "restore": lambda c: c.memory.restore(c.ids[:2]),
    "review": lambda c: c.memory.review(c.ids, c.number % 2 > 0),
    "undo": lambda c: c.memory.undo([c.memory.add(fact(replace(c, number=place))).id for place in (0, 1)][-1]),
    "merge": lambda c: c.memory.merge(*alike(c)),
    "purge": lambda c: c.memory.purge(c.ids[0], force=True) if c.number % 2 else c.memory.purge(namespace=c.namespace),
    "sweep": lambda c: c.memory.sweep(namespace=c.namespace, dry_run=c.number % 3 == 0),
}
"""Calls that change one namespace, by its name or by the ids of its records."""

WHOLE: dict[str, Callable[[Call], Any]] = {
    "purge_expired": lambda c: c.memory.purge_expired(),
    "sweep": lambda c: c.memory.sweep(),
    "purge": lambda c: c.memory.purge(),
}
"""Calls that tend the whole store."""

EXEMPT = {
    "open": "no store is open yet",
    "open_sync": "no store is open yet",
    "close": "returns and changes nothing",
    "under": "opens another memory over the same store, with the calls that are tested here",
    "read": "hands out the raw reader; what asks it is scoped",
    "namespaces": "has a rule of its own: a prefix instead of a namespace",
    "stats": "has a rule of its own: it counts the whole store",
    "doctor": "reads the whole store and returns findings, no text",
    "repair": "mends the whole store; returns findings, no text",
    "restore_backup": "replaces the whole store, see test_copies.py",
    "reindex": "rebuilds what is derived; needs Chroma, see test_chroma.py",
    "approximate_recall": "measures the Chroma index, whose partitions test_chroma.py tests",
    "backup": "copies the whole store as it is; returns no text",
    "reembed": "gives the whole store other vectors; returns no text",
    "forked": "lets go of locks in a child of a fork; returns nothing, see test_surroundings.py",
    "backend": "a property",
    "clock": "a property",
    "embedder": "a property",
    "preset": "a property",
}
"""Public names that no rule calls for one namespace, each with the reason."""


class Isolation(RuleBasedStateMachine):
    """Does anything to any namespace, and looks at all the others."""

    def __init__(self, target: str | Backend, told: Counter[str] | None = None) -> None:
        super().__init__()
        self.told = Counter[str]() if told is None else told
        self.clock = FixedClock()
        self.memory = SyncMemory(Memory.open(target, clock=self.clock, preset=PRESET, seed=1, extract_facts=True))
        self.memory.__enter__()
        self.calls = 0
        self.names: tuple[Namespace, ...] = ()

    @initialize(family=st.sampled_from(FAMILIES))
    def settle(self, family: tuple[Namespace, ...]) -> None:
        """Choose the namespaces of this course, store the same in each, and change one of them in every way."""
        self.names = family
        for namespace in family:
            for name in ("add_many", "add", "add"):
                self.scoped(namespace, name)
        for name in sorted(WRITES):
            self.scoped(family[0], name)

    def name(self, place: int) -> Namespace:
        """Return one of them."""
        return self.names[place % len(self.names)]

    def teardown(self) -> None:
        """Close the store."""
        self.memory.close()

    def everything(self) -> dict[Namespace, list[Record]]:
        """Return every record that is stored, by its own word for where it belongs."""
        result: dict[Namespace, list[Record]] = {}
        for record in self.memory.read(lambda reader: reader.select(Selection())):
            result.setdefault(record.namespace, []).append(record)
        return result

    def call(self, namespace: Namespace) -> Call:
        """Return what a call on a namespace is given; the records are another choice each time."""
        self.calls += 1
        rows = tuple(self.everything().get(namespace, ()))
        ids = [record.id for record in rows]
        start = self.calls % len(ids) if ids else 0
        return Call(
            self.memory,
            namespace,
            mark(namespace),
            tuple([*ids[start:], *ids[:start]][:3]),
            rows,
            self.clock.now(),
            self.calls,
        )

    def scoped(self, namespace: Namespace, what: str | Callable[[Call], Any]) -> None:
        """Do something to one namespace; check what it returns, and that no other has changed."""
        call, before = self.call(namespace), self.everything()
        act = {**READS, **WRITES}[what] if isinstance(what, str) else what
        result = None
        with suppress(InvalidInput, NotFound, IndexError, StopIteration):
            result = act(call)
            self.told[str(what)] += bool(result)
        seen(result, {namespace})
        after = self.everything()
        for other in before.keys() | after.keys():
            if other != namespace:
                assert after.get(other) == before.get(other), f"{namespace} changed {other}"
        for record in after.get(namespace, []):
            assert mark(namespace) in record.text, f"{record.namespace} holds {record.text!r}"

    @rule(place=PLACES)
    def look(self, place: int) -> None:
        """Read one namespace in every way; nothing changes by it."""
        before = self.everything()
        for name in READS:
            self.scoped(self.name(place), name)
        assert self.everything() == before

    @rule(changes=st.lists(st.tuples(st.sampled_from(sorted(WRITES)), PLACES), min_size=3, max_size=9))
    def change(self, changes: list[tuple[str, int]]) -> None:
        """Change namespaces, one after the other."""
        for name, place in changes:
            self.scoped(self.name(place), name)

    @rule(name=st.sampled_from(sorted(WHOLE)))
    def tend(self, name: str) -> None:
        """Tend the whole store: no record moves to another namespace."""
        WHOLE[name](self.call(NAMESPACES[0]))
        for namespace, records in self.everything().items():
            assert all(mark(namespace) in record.text for record in records)

    @rule(days=st.sampled_from([0.1, 0.6, 1.5]))
    def wait(self, days: float) -> None:
        """Let time pass: what was stored fades."""
        self.clock.advance(days=days)

    @rule(place=PLACES)
    def below(self, place: int) -> None:
        """A prefix stands for its namespace and those below it by whole labels, and for no other."""
        prefix = self.name(place)
        allowed = {namespace for namespace in NAMESPACES if namespace[: len(prefix)] == prefix}
        seen(self.memory.recall("heron weir Ann", namespace_prefix=prefix, k=50), allowed)
        rows = self.memory.list(namespace_prefix=prefix, statuses=EVERY)
        seen(rows, allowed)
        stored = self.everything()
        alive = [one for name in allowed for one in stored.get(name, []) if lives(one, self.clock)]
        assert {row.id for row in rows} == {one.id for one in alive}
        counted = self.memory.namespaces(prefix)
        assert counted == {name: len(stored[name]) for name in stored if name in allowed}

    @rule()
    def count(self) -> None:
        """The figures of the whole store are the sums of its namespaces, each listed alone."""
        stats, total = self.memory.stats(), 0
        for namespace, records in self.everything().items():
            rows = self.memory.list(namespace, statuses=EVERY)
            assert {row.id for row in rows} == {one.id for one in records if lives(one, self.clock)}
            total += len(rows)
        assert stats.records == total
        assert sum(stats.by_status.values()) == total

    @rule(bad=st.sampled_from(REFUSED), name=st.sampled_from(sorted({**READS, **WRITES})))
    def refuse(self, bad: Any, name: str) -> None:
        """What is no namespace is refused before anything is read or written."""
        before = self.everything()
        act = {**WRITES, **READS}[name]
        by_id = ("answer", "get", "history", "renew", "edit", "used", "pin", "unpin", "archive", "restore", "review")
        if name in (*by_id, "undo", "merge"):
            return
        with pytest.raises(InvalidNamespace):
            act(Call(self.memory, bad, "nobody", (), (), self.clock.now(), 0))
        assert self.everything() == before

    @rule(place=PLACES, there=PLACES)
    def tools(self, place: int, there: int) -> None:
        """The tools of an agent remember and recall in their namespace, and forget nothing of another."""
        namespace, other = self.name(place), self.name(there)
        remember, recall, forget = memory_tools(self.memory, namespace, k=50)
        self.scoped(namespace, lambda call: remember.invoke({"text": f"{call.mark} heron told"}))
        self.scoped(namespace, lambda call: recall.invoke({"query": "heron weir Ann"}))
        self.scoped(namespace, lambda call: [forget.invoke({"id": one}) for one in call.ids[:1]])
        if other != namespace:
            foreign = self.call(other).ids[:1]
            before = self.everything()
            for one in foreign:
                with suppress(ToolException):
                    assert "no memory" in forget.invoke({"id": one})
            assert self.everything() == before

    @rule(place=PLACES)
    def retriever(self, place: int) -> None:
        """A retriever brings documents of its namespace."""
        namespace = self.name(place)
        found = MemoryRetriever(memory=self.memory, namespace=namespace, k=50)
        self.scoped(namespace, lambda call: found.invoke("heron weir Ann"))

    @rule(place=PLACES, clear=st.booleans())
    def chat(self, place: int, clear: bool) -> None:
        """A chat history adds, shows and clears the messages of its namespace only."""
        namespace = self.name(place)
        history = MemoryChatHistory(self.memory, namespace, "c")
        self.scoped(namespace, lambda call: history.add_messages([HumanMessage(f"{call.mark} heron", id="same")]))
        self.scoped(namespace, lambda call: history.messages)
        if clear:
            self.scoped(namespace, lambda call: history.clear())

    @rule(place=PLACES, number=st.integers(0, 2))
    def store(self, place: int, number: int) -> None:
        """LangGraph's store gets, searches and deletes in the namespaces that it is asked for; it takes no dots."""
        namespace = self.name(place)
        if any("." in label for label in namespace):
            return
        below = {name for name in NAMESPACES if name[: len(namespace)] == namespace}
        with MemoryStore.open(self.memory) as store:
            self.scoped(namespace, lambda call: store.put(namespace, "k", {"text": f"{call.mark} heron {number}"}))
            self.scoped(namespace, lambda call: store.get(namespace, "k"))
            seen([item.value for item in store.search(namespace, query="heron weir", limit=50)], below)
            seen([item.value for item in store.search(namespace, limit=50)], below)
            if "*" not in namespace:  # a prefix in which it stands for any label
                assert {tuple(name) for name in store.list_namespaces(prefix=namespace, limit=100)} <= below
            if number:
                self.scoped(namespace, lambda call: store.delete(namespace, "k"))


def mark(namespace: Namespace) -> str:
    """Return the word that only texts of this namespace hold."""
    return f"zq{NAMESPACES.index(namespace)}x"


def lives(record: Record, clock: FixedClock) -> bool:
    """Whether a record exists for a read."""
    return record.expires_at is None or record.expires_at > clock.now()


def strings(value: Any) -> Iterator[str]:
    """Every string in a result, however deep, namespaces apart."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) or hasattr(value, "keys"):
        for key in value.keys():  # noqa: SIM118 - a mapping that is no dict
            yield from (*strings(key), *strings(value[key]))
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from strings(one)
    elif is_dataclass(value):
        for one in fields(value):
            yield from strings(getattr(value, one.name))
    elif hasattr(value, "model_dump"):
        yield from strings(value.model_dump())
    elif hasattr(value, "__iter__"):
        yield from (text for one in value for text in strings(one))


def seen(result: Any, allowed: set[Namespace]) -> None:
    """Check that a result holds no mark of a namespace that is not allowed, and no record of one."""
    others = [mark(namespace) for namespace in NAMESPACES if namespace not in allowed]
    for text in strings(result):
        found = [other for other in others if other in text]
        assert not found, f"a call on {sorted(allowed)} returned {text!r}"
    rows = result if isinstance(result, list) else []
    assert {row.namespace for row in rows if isinstance(row, Record)} <= allowed


def run(make: Callable[[], Isolation], examples: int, steps: int) -> None:
    """Run the machine: the same courses each time, so that a failure is one everywhere."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    run_state_machine_as_test(cast(Any, make), settings=chosen)


def test_nothing_leaks_on_dictionaries() -> None:
    """No call scoped to one namespace returns, changes or counts another's, through any course of calls."""
    told = Counter[str]()
    run(lambda: Isolation("memory:", told), 30, 25)
    assert {name for name in (*READS, *WRITES) if told[name] < 3} == set(), "calls that returned next to nothing"


def test_nothing_leaks_on_sqlite() -> None:
    """The same on SQLite."""
    run(lambda: Isolation("sqlite:///:memory:"), 10, 25)


def test_nothing_leaks_on_postgres(postgres_store: str, emptied: Callable[[str], None]) -> None:
    """The same on PostgreSQL."""

    def fresh() -> Isolation:
        emptied(postgres_store)
        return Isolation(postgres_store)

    run(fresh, 4, 20)


@pytest.mark.parametrize("flaw", ["ignored", "dotted"])
def test_a_leak_is_noticed(flaw: Flaw) -> None:
    """The machine turns red over a backend that ignores the namespace, and over one that joins labels by dots."""
    with pytest.raises(AssertionError, match=r"changed|returned"):
        run(lambda: Isolation(LeakingBackend(InMemoryBackend(), flaw)), 25, 25)


def test_every_public_call_is_covered() -> None:
    """A new public method of a memory has to be called by the machine, or to say why it needs not be."""
    public = {name for name in dir(Memory) if not name.startswith("_")}
    called = {*READS, *WRITES, *WHOLE}
    assert public - called <= set(EXEMPT)
    assert called <= public
    assert called.isdisjoint(EXEMPT)
