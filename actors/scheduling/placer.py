"""One replica at a time, of whatever kind: which node takes it, on which devices, or why none does.

Scores are kept by kind of reservation. When the same kind comes again, only nodes that have changed in between are
scored anew; the answers are those of scoring all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from ..state.runs import Ints, Mask
from .fleet import Fleet, Reservation
from .mixed import Mixed
from .profiles import Binpack, Cosine, Profile, Spread

PROFILES: dict[str, Callable[[Fleet], Profile]] = {
    "spread": Spread,
    "binpack": Binpack,
    "cosine": Cosine,
    "mixed": Mixed,
}
"""By name; `spread` is the default."""

NO_ROOM = np.iinfo(np.int64).min
KINDS_KEPT = 1_024
"""Kinds of reservations whose scores are kept: 16 bytes each and node; beyond it, the one unused for longest goes."""
SERVICE = 1 << 32
"""With `spread`, one task of the same service outweighs any number of others."""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """Where one replica went; the fleet holds it from now on."""

    node: int
    devices: tuple[int, ...]


class Unplaced(msgspec.Struct, frozen=True, kw_only=True):
    """No node has room. `reasons` counts the nodes by the first thing that each is short of, most nodes first."""

    reasons: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        told = "; ".join(f"{why} on {count} node{'s' if count > 1 else ''}" for why, count in self.reasons)
        return f"no suitable node ({told or 'there is none'})"


class _Kind:
    """What is kept of one kind of reservation."""

    __slots__ = ("devices", "scores", "seen", "version", "wanted")

    def __init__(self, wanted: Reservation, nodes: int) -> None:
        self.wanted = wanted
        self.scores = np.full(nodes, NO_ROOM)
        self.devices: Ints | None = None
        self.seen = self.version = -1


class Placer:
    """Places replicas on a fleet by one profile. Everything that changes the fleet may go past it."""

    def __init__(self, fleet: Fleet, profile: str = "spread") -> None:
        """Raises KeyError where PROFILES has no such profile."""
        self.fleet = fleet
        self.profile = PROFILES[profile](fleet)
        self._kinds: dict[Reservation, _Kind] = {}
        self._held: dict[str, Ints] | None = {} if profile == "spread" else None
        self._all = np.arange(len(fleet))

    def place(self, wanted: Reservation, *, service: str = "", is_new: bool = True) -> Placed | Unplaced:
        """Keep it on the best node, the first of equals. `is_new=False`: it was asked for before, and waited.

        With the profile `spread`, nodes with fewer tasks of the same `service` come first. Raises InvalidRequest
        where the reservation does not belong to the fleet's columns.
        """
        kind = self._kind(wanted)
        if is_new:
            self.profile.arrived(wanted)
        self._refresh(kind)
        scores = kind.scores
        if self._held is not None and service in self._held:
            scores = np.where(scores == NO_ROOM, NO_ROOM, scores - SERVICE * self._held[service])
        node = int(scores.argmax()) if len(scores) else -1
        if node < 0 or scores[node] == NO_ROOM:
            return Unplaced(reasons=self.shortages(wanted))
        if self._held is not None and service:
            self._held.setdefault(service, np.zeros(len(self.fleet), dtype=np.int64))[node] += 1
        return self._keep(kind, node)

    def place_same(self, wanted: Reservation, count: int, most: Ints) -> list[Placed]:
        """Keep `count` of the same, one after the other as `place` does; fewer where not all fit.

        most: int64[nodes], how many may go to each at all. They do not count as asked for: `know` says what was.
        """
        kind = self._kind(wanted)
        self._refresh(kind)
        left = most.copy()
        scores = np.where(left > 0, kind.scores, NO_ROOM)
        placed: list[Placed] = []
        while len(placed) < count and len(scores):
            node = int(scores.argmax())
            if scores[node] == NO_ROOM:
                break
            placed.append(self._keep(kind, node))
            left[node] -= 1
            self._refresh(kind)
            scores[node] = kind.scores[node] if left[node] > 0 else NO_ROOM
        return placed

    def scores(self, wanted: Reservation) -> Ints:
        """int64[nodes]: how good each node is for it now, higher is better; NO_ROOM where it does not fit."""
        kind = self._kind(wanted)
        self._refresh(kind)
        return kind.scores.copy()

    def outdated(self, wanted: Reservation) -> int:
        """How many nodes would be scored now."""
        kind = self._kinds.get(wanted)
        if kind is None or kind.version != self.profile.version:
            return len(self.fleet)
        return len(self.fleet.changed_since(kind.seen))

    def know(self, counts: Mapping[Reservation, int]) -> None:
        """What is asked for in all, and how often, in place of what arrived one by one."""
        self.profile.know(counts)

    def _keep(self, kind: _Kind, node: int) -> Placed:
        wanted = kind.wanted
        if kind.devices is None or not wanted.gpus:
            devices = self.fleet.tightest(wanted, node) if wanted.gpus else ()
        else:
            devices = (int(kind.devices[node]),)
        self.fleet.take(wanted, node, devices)
        return Placed(node=node, devices=devices)

    def remove(self, wanted: Reservation, placed: Placed, *, service: str = "") -> None:
        """Give back what `place` kept."""
        self.fleet.give_back(wanted, placed.node, placed.devices)
        if self._held is not None and service:
            self._held[service][placed.node] -= 1
            if not self._held[service].any():
                del self._held[service]

    def place_all(self, wanted: Sequence[Reservation]) -> list[Placed | Unplaced]:
        """Place what is known all at once, the answers in the order given.

        They are placed in the order of `order_of`; the profile knows all of them before the first is placed.
        """
        for one in wanted:
            self._kind(one)
            self.profile.arrived(one)
        answers: dict[int, Placed | Unplaced] = {}
        for index in self.order_of(wanted):
            answers[index] = self.place(wanted[index], is_new=False)
        return [answers[index] for index in range(len(wanted))]

    def order_of(self, wanted: Sequence[Reservation]) -> list[int]:
        """The order in which a batch is placed, as indices; equals stay in theirs.

        What takes most of the GPUs goes first, so that small shares fill what the large ones leave; of these, what
        takes least of anything else, so that no GPU is left without. What takes no GPU comes last, the largest first.
        """
        most = [max(1, int(amount)) for amount in self.fleet.capacity.max(axis=0, initial=1)]

        def size(one: Reservation) -> tuple[float, float]:
            parts = (amount / all_of_it for amount, all_of_it in zip(one.amounts, most, strict=True))
            largest = max(parts, default=0.0)
            return (-one.milli, largest if one.gpus else -largest)

        return sorted(range(len(wanted)), key=lambda index: size(wanted[index]))

    def shortages(self, wanted: Reservation) -> tuple[tuple[str, int], ...]:
        """How many nodes lack what, each counted at the first thing that it is short of, most nodes first."""
        fleet = self.fleet
        left = np.ones(len(fleet), dtype=np.bool_)
        counts: list[tuple[str, int]] = []

        def told(reason: str, lacking: Mask) -> None:
            if count := int(np.count_nonzero(lacking & left)):
                counts.append((reason, count))
                np.logical_and(left, ~lacking, out=left)

        told("closed", ~fleet.is_open)
        if wanted.gpus and wanted.models:
            told(f"no GPU of model {' or '.join(wanted.models)}", ~fleet.model_mask(wanted)[fleet.model])
        for column, name in enumerate(fleet.columns):
            told(f"too little {name}", fleet.free[:, column] < wanted.amounts[column])
        if wanted.gpus:
            size = "whole GPUs" if wanted.gpu_milli == 1_000 else f"GPUs with {wanted.gpu_milli} milli free"
            fitting = (fleet.gpu_free >= wanted.gpu_milli).sum(axis=1)
            told(f"fewer than {wanted.gpus} {size}", fitting < wanted.gpus)
        return tuple(sorted(counts, key=lambda item: -item[1]))

    def forget(self) -> None:
        """Drop every kept score. Answers stay the same; only the next ones take longer."""
        self._kinds.clear()

    def _kind(self, wanted: Reservation) -> _Kind:
        kind = self._kinds.pop(wanted, None)
        if kind is None:
            self.fleet.check(wanted)
            kind = _Kind(wanted, len(self.fleet))
            if len(self._kinds) >= KINDS_KEPT:
                del self._kinds[next(iter(self._kinds))]
        self._kinds[wanted] = kind
        return kind

    def _refresh(self, kind: _Kind) -> None:
        """Score the nodes that changed since this kind was placed last, or all when the profile has changed."""
        fleet, profile = self.fleet, self.profile
        is_current = kind.version == profile.version
        nodes = fleet.changed_since(kind.seen) if is_current else self._all
        kind.seen, kind.version = fleet.now, profile.version
        fits = fleet.room(kind.wanted, nodes)
        kind.scores[nodes[~fits]] = NO_ROOM
        nodes = nodes[fits]
        if not nodes.size:
            return
        kind.scores[nodes], devices = profile.scores(kind.wanted, nodes)
        if devices is not None:
            if kind.devices is None:
                kind.devices = np.zeros(len(fleet), dtype=np.int64)
            kind.devices[nodes] = devices
