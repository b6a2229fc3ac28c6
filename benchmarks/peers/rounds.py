"""One size of store, every system: filled, asked, added to, reindexed and opened again, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.system import Entry
from benchmarks.peers.team import Gone, Member
from benchmarks.peers.workload import nearest

OPERATIONS = ("add", "bulk_add", "recall", "recall_filtered", "open", "reindex")
QUESTIONS = 40
ADDS = 200
BATCHES = 3
"""So many batches are timed for a system that is filled in another way."""

ROUNDS = 10
SECONDS = 1.0
"""A round is over after so many seconds for a system, or when its share is done."""

FILLING = 240.0
"""A system that takes longer to be filled is given up."""

OPENINGS = 3
ENOUGH = 20.0
"""After so many seconds in all, opening and reindexing are not measured again."""

SPARE = ADDS + BATCHES * 1000
"""So many rows are needed beyond those that a store is filled with."""

Found = dict[tuple[Member, str], "Cell"]


@dataclass
class Cell:
    """What was measured of one operation of one system."""

    times: list[float] = field(default_factory=list)
    """Seconds."""
    batch: int = 1
    """How many rows each of them is for."""
    rss_mb: float | None = None
    """Megabytes in memory after the last of them."""
    disk_mb: float | None = None
    """Megabytes of files after closing."""
    shares: list[float] = field(default_factory=list)
    """For each question, the share of the expected results that were found."""
    cosine_shares: list[float] = field(default_factory=list)
    """The same for the rows of largest cosine, where something else is expected."""
    why: str = ""
    """Why nothing was measured."""

    def row(self, entry: Entry, rows: int, operation: str, durability: str) -> dict[str, Any]:
        """Return the figures under their stable names; None where there is none, with `why`."""
        figures: dict[str, Any] = dict.fromkeys(("median_ms", "p95_ms", "per_second", "recall"))
        if self.times:
            middle = statistics.median(self.times)
            late = statistics.quantiles(self.times, n=20, method="inclusive")[-1] if len(self.times) > 1 else middle
            figures |= {"median_ms": round(middle * 1e3, 4), "p95_ms": round(late * 1e3, 4)}
            figures["per_second"] = round(self.batch / middle, 2)
        if self.shares:
            figures["recall"] = round(statistics.fmean(self.shares), 4)
        memory = {"rss_mb": _rounded(self.rss_mb), "disk_mb": _rounded(self.disk_mb)}
        more: dict[str, Any] = {"batch": self.batch, "samples": len(self.times)}
        if self.cosine_shares:
            more["cosine_recall"] = round(statistics.fmean(self.cosine_shares), 4)
        if not self.times:
            more = {"why": self.why or "not measured"}
        named = {"system": entry.name, "rows": rows, "operation": operation, "durability": durability}
        return named | figures | memory | more


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 1)


class Size:
    """The measurements at one number of rows."""

    def __init__(self, rows: int, team: list[Member], workload: Path, say: Callable[[str], None]) -> None:
        self._rows = rows
        self._team = team
        self._workload = workload
        self._say = say
        self.cells: Found = {}

    def measure(self) -> None:
        """Run every step; a system that fails one goes on with the others where it can."""
        steps = (self._start, self._fill, self._recall, self._filtered, self._add, self._bulk, self._reindex)
        for step in (*steps, self._close, self._open):
            self._say(f"{self._rows} rows: {step.__name__.strip('_')}")
            step()

    def _cell(self, member: Member, operation: str) -> Cell:
        return self.cells.setdefault((member, operation), Cell())

    def _each(self, operation: str, leaders: bool = False) -> Iterator[tuple[Member, Cell]]:
        for member in self._team:
            if member.leads or not leaders:
                yield member, self._cell(member, operation)

    def _start(self) -> None:
        for member in self._team:
            try:
                member.start()
                member.ask("open")
            except Gone as error:
                member.why = str(error)

    def _fill(self) -> None:
        size = min(1000, max(1, self._rows // 5))
        for start in range(0, self._rows, size):
            stop = min(start + size, self._rows)
            for member in self._team:
                if not member.why:
                    self._fill_one(member, start, stop)
        for member in self._team:
            member.filled = not member.why

    def _fill_one(self, member: Member, start: int, stop: int) -> None:
        timed = member.entry.bulk_while_loading
        try:
            answer = member.ask("fill", start=start, stop=stop, by_batch=timed)
        except Gone as error:
            member.why = str(error)
            return
        member.spent += answer["seconds"]
        if timed:
            cell = self._cell(member, "bulk_add")
            cell.batch = max(cell.batch, stop - start)
            cell.times.append(answer["seconds"])
            cell.rss_mb = answer["rss_mb"]
        if member.spent > FILLING:
            member.why = f"filling it took over {FILLING:.0f} s: {stop} of {self._rows} rows"

    def _recall(self) -> None:
        self._ask_all("recall", False)

    def _filtered(self) -> None:
        self._ask_all("recall_filtered", True)

    def _ask_all(self, operation: str, filtered: bool) -> None:
        cosine = nearest(self._workload, self._rows, filtered)
        expected: dict[Member, list[list[int]]] = {}
        for member, cell in self._each(operation, leaders=True):
            try:
                member.ask("recalls", asked=[0], filtered=filtered, seconds=0.0)
                expected[member] = self._own(member, filtered) if member.entry.own_rank else cosine
            except Gone as error:
                cell.why = str(error)
        for turn in range(ROUNDS):
            asked = list(range(turn % 5, QUESTIONS, 5))
            for member, truth in expected.items():
                self._ask_some(self._cell(member, operation), member, asked, filtered, truth, cosine)

    def _own(self, member: Member, filtered: bool) -> list[list[int]]:
        """Ask for what its own definition expects, in another process, so that the answer takes no memory here."""
        other = Member(member.entry, member.durability, member.folder, self._workload)
        try:
            other.start()
            other.ask("open")
            answers: list[list[int]] = other.ask("own", filtered=filtered)["answers"]
            other.ask("close")
        finally:
            other.stop()
        return answers

    def _ask_some(
        self,
        cell: Cell,
        member: Member,
        asked: list[int],
        filtered: bool,
        truth: Sequence[Sequence[int]],
        cosine: Sequence[Sequence[int]],
    ) -> None:
        try:
            answer = member.ask("recalls", asked=asked, filtered=filtered, seconds=SECONDS)
        except Gone as error:
            cell.why = str(error)
            return
        cell.times += answer["times"]
        cell.rss_mb = answer["rss_mb"]
        for number, found in zip(asked, answer["found"], strict=False):
            cell.shares.append(share(found, truth[number]))
            if truth is not cosine:
                cell.cosine_shares.append(share(found, cosine[number]))

    def _add(self) -> None:
        each = ADDS // ROUNDS
        for turn in range(ROUNDS):
            start = self._rows + turn * each
            for member, cell in self._each("add"):
                try:
                    answer = member.ask("adds", start=start, stop=start + each, seconds=SECONDS)
                except Gone as error:
                    cell.why = str(error)
                    continue
                cell.times += answer["times"]
                cell.rss_mb = answer["rss_mb"]

    def _bulk(self) -> None:
        for turn in range(BATCHES):
            for member, cell in self._each("bulk_add"):
                if member.entry.bulk_while_loading:
                    cell.why = member.why
                    continue
                cell.batch = member.entry.batch
                start = self._rows + ADDS + turn * cell.batch
                try:
                    answer = member.ask("fill", start=start, stop=start + cell.batch, by_batch=True)
                except Gone as error:
                    cell.why = str(error)
                    continue
                cell.times.append(answer["seconds"])
                cell.rss_mb = answer["rss_mb"]

    def _reindex(self) -> None:
        for _ in range(OPENINGS):
            for member, cell in self._each("reindex", leaders=True):
                if sum(cell.times) > ENOUGH:
                    continue
                try:
                    answer = member.ask("reindex")
                except Gone as error:
                    cell.why = str(error)
                    continue
                cell.times.append(answer["seconds"])
                cell.rss_mb = answer["rss_mb"]

    def _close(self) -> None:
        for member in self._team:
            try:
                disk = member.ask("close")["disk_mb"]
            except Gone:
                disk = None
            member.stop()
            for (other, _), cell in self.cells.items():
                if other is member and member.entry.persistent:
                    cell.disk_mb = disk

    def _open(self) -> None:
        for _ in range(OPENINGS):
            for member, cell in self._each("open", leaders=True):
                if not member.entry.persistent:
                    cell.why = "nothing is kept to be opened"
                if not member.entry.persistent or sum(cell.times) > ENOUGH:
                    continue
                try:
                    if not member.filled:
                        raise Gone(member.why)
                    member.why = ""
                    member.start()
                    answer = member.ask("open_and_ask")
                except Gone as error:
                    cell.why = str(error)
                    continue
                cell.times.append(answer["seconds"])
                cell.rss_mb = answer["rss_mb"]
                cell.disk_mb = member.ask("close")["disk_mb"]
                member.stop()


def share(found: Sequence[int], expected: Sequence[int]) -> float:
    """Return which share of the expected results was found; 1 where none is expected."""
    return len(set(found) & set(expected)) / len(expected) if expected else 1.0
