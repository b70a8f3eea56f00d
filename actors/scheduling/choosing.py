"""Where a service's replicas go, by affinity, preferences and profile, and which GPU devices they hold.

Affinities come first: nodes of a higher sum of weights are filled before others. Within them, replicas are even over
the preferences' groups; within a group the profile chooses. `spread` and `binpack` have closed forms: which node takes
how many is what one gets by placing them one by one. `cosine` and `mixed` do place them one by one, with kept scores,
and `usage` by what is measured (measured.py).

What a plan may spend is bounded, in steps that are counted and not measured, so that it is the same on every machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np

from ..state import gpus
from ..state.machine import ClusterState
from ..state.needs import PORT, SLOTS, UNLIMITED, Needs, needs_of
from ..state.nodes import Room
from ..state.runs import Ints, Mask
from ..state.specs import Placement, ServiceSpec
from .affinity import tiers, weights
from .demand import KINDS
from .fleet import Fleet, Reservation
from .measured import Loads, Measured
from .placement import from_groups, over_groups, spread_over, take_away_over
from .placer import NO_ROOM, Placer

MAX_WORK = 1_200
"""What one plan may spend on choosing, in steps of about 5 µs: then the next plan goes on."""
CALL, DEVICES = 40, 1
"""What it costs to begin with a service, and to choose a replica's devices."""
REPLICA = {"cosine": 8, "mixed": 20, "usage": 2}
"""To place one by its score, with the profiles that place one by one."""
NODES_A_STEP = 5
"""So many nodes' measured usage is added up in a step."""
LOOKS_A_STEP = 150
"""So many nodes are scored in a step, and with `mixed` as often for each kind that it knows."""
FEWEST_KINDS = 8
LEARNT = 1_000
"""Services with GPUs, the newest, from which `mixed` learns what is asked for."""
LOOKS = 40_000
"""So often may `mixed` look at a node for a kind of replica: on a large fleet it knows only the most common kinds."""
KEPT = 4
"""Fleets that are kept from plan to plan: one for each choice of resources."""

Within = Callable[[int, Ints, Ints], Ints]
"""(count, most, held) -> int64[nodes]: how many of a tier go to each node."""


class Chosen(msgspec.Struct, frozen=True):
    """int64[replicas] each: the node that takes it, in ascending order, and its devices as a mask, 0 for none."""

    nodes: Ints
    masks: Ints


class Scores:
    """Scores that a leader keeps from one plan to the next, so that only nodes that have changed are scored again, and
    what it has measured."""

    def __init__(self, measured: Measured | None = None) -> None:
        self.measured = Measured() if measured is None else measured
        self._devices: gpus.Devices | None = None
        self.fleets: dict[tuple[str, ...], Fleet] = {}
        self.placers: dict[tuple[tuple[str, ...], str], Placer] = {}

    def forget_others(self, devices: gpus.Devices) -> None:
        """Nodes that have changed what they have are another fleet; the table makes other `devices` of them."""
        if self._devices is not devices or len(self.fleets) > KEPT:
            self._devices = devices
            self.fleets.clear()
            self.placers.clear()


class Chooser:
    """Chooses for one plan; `room` is what the plan has left, and loses what is chosen."""

    def __init__(
        self, state: ClusterState, room: Room, scores: Scores | None = None, specs: Iterable[ServiceSpec] = ()
    ) -> None:
        """specs: of the services that are planned, for whom somebody likes to be near."""
        self._watched = dict.fromkeys(near.service for spec in specs for near in spec.placement.affinities)
        self._hopeless: dict[tuple[Needs, Placement], None] = {}
        self._state = state
        self._room = room
        self._scores = scores or Scores()
        self._scores.forget_others(room.devices)
        self._work_left = MAX_WORK
        self._declared: tuple[str, ...] | None = None
        # The columns of the fleet that has all of what the room has lost, and of those that know what is asked for.
        self._in_step: tuple[str, ...] | None = None
        self._knowing: tuple[tuple[str, ...], ...] = ()
        self._started: dict[str, Ints] = {}
        self._loads: Loads | None = None

    def is_hopeless(self, spec: ServiceSpec, needs: Needs) -> bool:
        """Whether this plan has found no room already for a replica that takes as much, with the same rules: there is
        only less and less of it while replicas start."""
        return bool(self._hopeless) and (needs, spec.placement) in self._hopeless

    def has_no_room(self, spec: ServiceSpec, needs: Needs) -> None:
        """There is no node for it."""
        self._hopeless[needs, spec.placement] = None

    @property
    def is_spent(self) -> bool:
        """Whether the rest has to wait for the next plan."""
        return self._work_left <= 0

    def choose(
        self, name: str, spec: ServiceSpec, count: int, most: Ints, held: Ints, levels: Sequence[Ints], faulty: Mask
    ) -> Chosen:
        """Where so many replicas go; fewer where not all fit, or one plan does not do more.

        most: int64[nodes], how many may go to each. held: how many of the service are there. faulty: nodes that come
        last, whatever else is said for them.
        """
        needs = needs_of(spec)
        if self.is_spent or count <= 0 or not most.any():
            return _nothing()
        self._work_left -= CALL + most.size // LOOKS_A_STEP
        placer, wanted = self._placer(spec, needs)
        each = (DEVICES if needs.gpus else 0) + REPLICA.get(spec.placement.profile, 0)
        if placer is not None:
            looks = 1 + (self._most_kinds() if spec.placement.profile == "mixed" else 0)
            self._work_left -= placer.outdated(wanted) * looks // LOOKS_A_STEP
        if each:
            # At least one, or a plan that has spent all on the first look would never come to an end.
            count = min(count, max(1, self._work_left // each))
        placed, one_by_one = self._placed(name, spec, needs, count, most, held, levels, faulty)
        chosen = self._with_devices(needs, placed, one_by_one)
        self._work_left -= each * chosen.nodes.size
        self._take(name, needs, chosen)
        if one_by_one:
            self._in_step = None if placer is None else placer.fleet.columns
        return chosen

    def has_started(self, name: str, needs: Needs, counts: Ints) -> None:
        """Somebody else placed so many of a service on each node: others may like to be where they are, or where little
        is used."""
        if self._loads is not None:
            self._loads.add(name, needs, counts)
        if self._scores.measured:
            nodes = np.flatnonzero(counts)
            started = dict(zip(nodes.tolist(), counts[nodes].tolist(), strict=True))
            self._scores.measured.placed(self._state, started, name, needs)
        if name in self._watched:
            self._started[name] = self._started.get(name, 0) + counts
        self._in_step = None

    def everywhere(self, name: str, needs: Needs, nodes: Ints) -> Chosen:
        """One replica on each of these nodes, with its devices; those that find none are left out."""
        if needs.gpus:
            nodes = nodes[: max(0, self._work_left) // DEVICES]
            self._work_left -= DEVICES * nodes.size
        chosen = self._with_devices(needs, np.bincount(nodes, minlength=self._room.open.size), [])
        self._take(name, needs, chosen)
        return chosen

    def leave(self, name: str, spec: ServiceSpec, count: int, held: Ints, levels: Sequence[Ints]) -> Ints:
        """int64[nodes]: how many of so many replicas leave each node; held: those that are there."""
        needs = needs_of(spec)
        left = held.copy()
        for among in reversed(list(self._tiers(spec, held > 0, np.zeros(held.size, dtype=bool)))):
            here = np.where(among, held, 0)
            left -= self._leaving(name, spec, needs, count - int((held - left).sum()), here, levels)
        return held - left

    def scores(self, spec: ServiceSpec, most: Ints) -> dict[int, tuple[int | None, int]]:
        """(score, weight of the affinities) of the nodes that may take a replica, by number: how they compare now.

        The score is that of the profile, higher is better; None with `spread`, which goes by free slots. With `usage`
        it is what is left of 100 %.
        """
        weight = weights(self._state, spec.placement, self._started)
        if spec.placement.profile == "usage":
            unused = 100 - self._measured_loads().percent()
            return {node: (int(unused[node]), int(weight[node])) for node in np.flatnonzero(most).tolist()}
        placer, wanted = self._placer(spec, needs_of(spec))
        score = None if placer is None else placer.scores(wanted)
        return {
            node: (None if score is None else int(score[node]), int(weight[node]))
            for node in np.flatnonzero(most).tolist()
            if score is None or score[node] != NO_ROOM
        }

    def _placed(
        self,
        name: str,
        spec: ServiceSpec,
        needs: Needs,
        count: int,
        most: Ints,
        held: Ints,
        levels: Sequence[Ints],
        faulty: Mask,
    ) -> tuple[Ints, list[tuple[int, int]]]:
        """int64[nodes]: how many go to each; and, where they were placed one by one, the (node, devices) of each."""
        one_by_one: list[tuple[int, int]] = []
        within = self._within(name, spec, needs, levels, one_by_one)
        placed = np.zeros(most.size, dtype=np.int64)
        for among in self._tiers(spec, most > 0, faulty):
            left = count - int(placed.sum())
            if left <= 0:
                break
            placed += within(left, np.where(among, most, 0), held + placed)
        return placed, one_by_one

    # which come first

    def _tiers(self, spec: ServiceSpec, among: Mask, faulty: Mask) -> list[Mask]:
        if not spec.placement.affinities:
            found = [among & ~faulty, among & faulty]
        else:
            weight = weights(self._state, spec.placement, self._started)
            found = [*tiers(weight, among & ~faulty), *tiers(weight, among & faulty)]
        return [tier for tier in found if tier.any()]

    # within a tier

    def _within(
        self,
        name: str,
        spec: ServiceSpec,
        needs: Needs,
        levels: Sequence[Ints],
        one_by_one: list[tuple[int, int]],
    ) -> Within:
        slots = self._room.slots
        if spec.placement.profile == "usage":
            return lambda count, most, held: over_groups(
                levels, count, most, held, lambda share, most: self._least_used(name, needs, share, most)
            )
        placer, wanted = self._placer(spec, needs)
        if placer is None:
            return lambda count, most, held: spread_over(levels, slots, count, needs.slots, most, held)
        if spec.placement.profile == "binpack":
            best_first = np.argsort(-placer.scores(wanted), kind="stable")
            return lambda count, most, held: over_groups(
                levels, count, most, held, lambda share, most: _fill_up(best_first, share, most)
            )

        def place(count: int, most: Ints) -> Ints:
            placed = placer.place_same(wanted, count, most)
            one_by_one.extend((one.node, sum(1 << device for device in one.devices)) for one in placed)
            return np.bincount(np.array([one.node for one in placed], dtype=np.int64), minlength=most.size)

        return lambda count, most, held: over_groups(levels, count, most, held, place)

    def _leaving(
        self, name: str, spec: ServiceSpec, needs: Needs, count: int, held: Ints, levels: Sequence[Ints]
    ) -> Ints:
        if spec.placement.profile == "usage" and count > 0:
            return from_groups(
                levels, count, held, lambda share, held: self._most_used(name, needs, share, held)
            )
        if spec.placement.profile != "binpack" or count <= 0:
            return take_away_over(levels, self._room.free(SLOTS), held, count, needs.slots)
        fullness = self._fullness(spec, needs)
        emptiest_first = np.lexsort((-np.arange(fullness.size), fullness))
        return from_groups(levels, count, held, lambda share, held: _fill_up(emptiest_first, share, held))

    def _fullness(self, spec: ServiceSpec, needs: Needs) -> Ints:
        """int64[nodes]: how full each is, whether there is room for one more or not."""
        placer, wanted = self._placer(spec, needs)
        assert placer is not None
        nothing = Reservation(amounts=(0,) * len(wanted.amounts))
        return placer.profile.scores(nothing, np.arange(len(placer.fleet)))[0]

    # by what is measured

    def _measured_loads(self) -> Loads:
        if self._loads is None:
            self._loads = Loads(self._state, self._scores.measured)
            self._work_left -= self._room.open.size // NODES_A_STEP
        return self._loads

    def _least_used(self, name: str, needs: Needs, count: int, most: Ints) -> Ints:
        """int64[nodes]: each goes to the node of the fewest per cent in use, of equals to the one with most free slots.

        The others of this service that were chosen for the same plan count; so they spread while nothing is known.
        """
        loads, free = self._measured_loads(), self._room.slots
        percent = loads.percent()
        placed = np.zeros(most.size, dtype=np.int64)
        queue = [(int(percent[node]), -int(free[node]), node) for node in np.flatnonzero(most).tolist()]
        heapq.heapify(queue)
        for _ in range(min(count, int(most.sum()))):
            node = queue[0][2]
            placed[node] += 1
            if placed[node] == most[node]:
                heapq.heappop(queue)
                continue
            here = int(placed[node])
            used = loads.after(name, needs, node, here)
            heapq.heapreplace(queue, (used, here * needs.slots - int(free[node]), node))
        return placed

    def _most_used(self, name: str, needs: Needs, count: int, held: Ints) -> Ints:
        """int64[nodes]: each leaves the node of the most per cent in use, of equals the one with fewest free slots."""
        loads, free = self._measured_loads(), self._room.free(SLOTS)
        percent = loads.percent()
        left = np.zeros(held.size, dtype=np.int64)
        queue = [(-int(percent[node]), int(free[node]), -node) for node in np.flatnonzero(held).tolist()]
        heapq.heapify(queue)
        for _ in range(min(count, int(held.sum()))):
            node = -queue[0][2]
            left[node] += 1
            if left[node] == held[node]:
                heapq.heappop(queue)
                continue
            gone = int(left[node])
            used = loads.after(name, needs, node, -gone)
            heapq.heapreplace(queue, (-used, int(free[node]) + gone * needs.slots, -node))
        return left

    # with what is free

    def _placer(self, spec: ServiceSpec, needs: Needs) -> tuple[Placer | None, Reservation]:
        """Who scores nodes for a service, and what it is that they are scored for; nobody for `spread` and `usage`."""
        profile = spec.placement.profile or "spread"
        if profile in ("spread", "usage"):
            return None, Reservation(amounts=())
        columns = self._columns(needs)
        fleet = self._fleet(columns)
        placer = self._scores.placers.get((columns, profile))
        if placer is None:
            placer = self._scores.placers[columns, profile] = Placer(fleet, profile)
        if profile == "mixed" and columns not in self._knowing:
            self._knowing += (columns,)
            version = placer.profile.version
            placer.know(self._asked_for(columns))
            if placer.profile.version != version:
                # What each node is worth is counted anew, several looks each.
                self._work_left -= 4 * self._room.open.size * self._most_kinds() // LOOKS_A_STEP
        return placer, _reservation(needs, columns)

    def _columns(self, needs: Needs) -> tuple[str, ...]:
        """What is scored: resources of which every node says how much it has; slots where nothing else is taken."""
        if not needs.gpus and not any(not name.startswith(PORT) for name, _ in needs.more):
            return (SLOTS,)
        if self._declared is None:
            table = self._state.node_table()
            found = [
                name
                for name in table.declared_resources()
                if name not in (SLOTS, gpus.GPUS)
                and not name.startswith(PORT)
                and int(table.capacity_of(name).max(initial=0)) < UNLIMITED
            ]
            self._declared = tuple(found) or (SLOTS,)
        return self._declared

    def _fleet(self, columns: tuple[str, ...]) -> Fleet:
        """What is free in these columns now; nodes that take nothing new have nothing."""
        room, table = self._room, self._state.node_table()
        is_open, devices = room.open, room.devices
        fleet = self._scores.fleets.get(columns)
        if fleet is None:
            models = [devices.models[model].casefold() for model in devices.model.tolist()]
            capacity = np.array([table.capacity_of(name) for name in columns], dtype=np.int64)
            fleet = self._scores.fleets[columns] = Fleet(columns, capacity.T, devices.count, models)
        if self._in_step != columns:
            free = np.array([np.where(is_open, room.free(name), 0) for name in columns], dtype=np.int64)
            fleet.become(free.T, np.where(is_open, room.gpu_free(), 0).T)
            self._in_step = columns
        return fleet

    def _most_kinds(self) -> int:
        """How many kinds of replicas `mixed` knows on so many nodes."""
        return min(KINDS, max(FEWEST_KINDS, LOOKS // max(1, self._room.open.size)))

    def _asked_for(self, columns: tuple[str, ...]) -> dict[Reservation, int]:
        """The kinds of replicas with GPUs that are asked for, and how often: the most common ones."""
        counts: dict[Reservation, int] = {}
        for needs, replicas in self._state.asked_for_gpus(LEARNT):
            kind = _reservation(needs, columns)
            counts[kind] = counts.get(kind, 0) + replicas
        return dict(sorted(counts.items(), key=lambda item: -item[1])[: self._most_kinds()])

    def _with_devices(self, needs: Needs, placed: Ints, one_by_one: list[tuple[int, int]]) -> Chosen:
        if one_by_one:
            pairs = np.array(sorted(one_by_one, key=lambda pair: pair[0]), dtype=np.int64)
            return Chosen(pairs[:, 0], pairs[:, 1])
        nodes = np.repeat(np.arange(placed.size), placed)
        if not needs.gpus:
            return Chosen(nodes, np.zeros(nodes.size, dtype=np.int64))
        masks = gpus.choose(self._room.gpu_free(), needs, nodes)
        return Chosen(nodes[masks > 0], masks[masks > 0])

    def _take(self, name: str, needs: Needs, chosen: Chosen) -> None:
        counts = np.bincount(chosen.nodes, minlength=self._room.open.size)
        self._room.take(needs, counts)
        if needs.gpus:
            self._room.take_devices(needs, chosen.nodes, chosen.masks)
        self.has_started(name, needs, counts)


def is_plain(spec: ServiceSpec) -> bool:
    """Whether replicas are spread by free slots alone, and hold no devices."""
    place = spec.placement
    return place.profile in ("", "spread") and not place.affinities and not spec.reservations.gpus


def _nothing() -> Chosen:
    none = np.zeros(0, dtype=np.int64)
    return Chosen(none, none)


def _fill_up(order: Ints, count: int, most: Ints) -> Ints:
    """int64[nodes]: the first node of this order gets as many as it may have, then the next.

    It is what one gets one by one where a node's score only rises with what it takes.
    """
    before = np.cumsum(most[order]) - most[order]
    placed = np.zeros(most.size, dtype=np.int64)
    placed[order] = np.clip(count - before, 0, most[order])
    return placed


def _reservation(needs: Needs, columns: tuple[str, ...]) -> Reservation:
    amounts = {SLOTS: needs.slots, **dict(needs.more)}
    return Reservation(
        amounts=tuple([amounts.get(name, 0) for name in columns]),
        gpus=needs.gpus,
        gpu_milli=needs.gpu_milli or gpus.WHOLE,
        models=tuple([model.casefold() for model in needs.gpu_models]) if needs.gpus else (),
    )
