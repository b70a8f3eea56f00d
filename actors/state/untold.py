"""What happened and is perhaps not told yet: part of the agreed state, so whoever leads next can tell it.

An event is made where its entry is applied, and told by the leader. A leader may be lost between the two, and the
next one may have got its state by a snapshot, in which the entry is nothing but its effect. So the events stay in the
state, and in every snapshot, until the log says that they were told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from .records import Happening, NodeRecord, StateEvent
from .runs import PLAN, pack

LIMIT = 4096
"""Entries whose events are kept while nobody is there to be told; then the oldest go, and the gap is told."""


class Untold:
    """The events of the newest entries. `floor` is the last entry whose events are told, or were dropped."""

    def __init__(self, happenings: tuple[Happening, ...] = (), floor: int = 0) -> None:
        self._kept = deque(happenings)
        self.floor = floor
        self.last = happenings[-1].index if happenings else floor
        """The last entry that led to an event."""

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, index: int, events: tuple[StateEvent, ...]) -> None:
        """An entry led to these."""
        self._kept.append(Happening(index=index, after=self.last, events=events))
        self.last = index
        if len(self._kept) > LIMIT:
            self.floor = self._kept.popleft().index

    def told(self, index: int) -> None:
        """All up to this entry is told."""
        kept = self._kept
        while kept and kept[0].index <= index:
            self.floor = kept.popleft().index

    def since(self, index: int) -> Iterator[Happening]:
        """Those of entries after this one, in order."""
        kept = self._kept
        first = len(kept)
        while first and kept[first - 1].index > index:
            first -= 1
        for position in range(first, len(kept)):
            yield kept[position]

    def dump(self) -> tuple[Happening, ...]:
        """As the constructor takes it."""
        return tuple(self._kept)


def runs_of(event: StateEvent) -> list[list[int]]:
    """[node number, first slot, last slot] each, of an event that is not spelled out."""
    rows: list[list[int]] = np.frombuffer(event.runs, dtype=PLAN).reshape(-1, 3).tolist()
    return rows


def spelled_out(happening: Happening, nodes: Sequence[NodeRecord]) -> Happening:
    """The same with its runs as lists [node, first slot, last slot], ready for JSON. `nodes` are by number."""
    if not any(event.runs for event in happening.events):
        return happening
    events = [_spelled_out(event, nodes) if event.runs else event for event in happening.events]
    return msgspec.structs.replace(happening, events=tuple(events))


def _spelled_out(event: StateEvent, nodes: Sequence[NodeRecord]) -> StateEvent:
    told = [(nodes[node].name, first, last) for node, first, last in runs_of(event)]
    return StateEvent(kind=event.kind, data=event.data | {"runs": tuple(told)})


def packed(happening: Happening, nodes: Sequence[NodeRecord]) -> Happening:
    """The reverse, for what snapshots of before had spelled out."""
    if not any("runs" in event.data for event in happening.events):
        return happening
    numbers = {record.name: record.number for record in nodes}
    events = [_packed(event, numbers) if "runs" in event.data else event for event in happening.events]
    return msgspec.structs.replace(happening, events=tuple(events))


def _packed(event: StateEvent, numbers: Mapping[str, int]) -> StateEvent:
    if any(name not in numbers for name, _, _ in event.data["runs"]):
        return event
    rows = [(numbers[name], first, last) for name, first, last in event.data["runs"]]
    data = {name: value for name, value in event.data.items() if name != "runs"}
    return StateEvent(kind=event.kind, data=data, runs=pack(rows, PLAN))
