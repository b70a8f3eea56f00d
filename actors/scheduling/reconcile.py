"""What should change: the plan that carries out a call, and the plan that repairs what was lost.

Both compare what is desired with what runs on ready nodes and move no more than the difference: a lost
replica starts anew in its slot, a missing one in the lowest unused slot, and of too many the lost ones go
first. A replica that may not stay where it is leaves it (`moving.py`), and starts anew like a missing one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import msgspec
import numpy as np

from ..state import restarts
from ..state.commands import MAX_REPLICAS, Plan, ServiceCall, ServicePlan, ServiceRequest
from ..state.machine import ClusterState
from ..state.needs import Needs, needs_of
from ..state.nested import as_asked
from ..state.nodes import Room
from ..state.records import CallRecord, Wanted
from ..state.runs import PLAN, REPORT, Ints, Mask, collect, expand, pack
from ..state.services import at_a_time, desired
from ..state.specs import ServiceSpec
from ..state.task_states import TaskState
from .choosing import Chooser, Chosen, Scores, is_plain
from .moving import leaving
from .placement import spread_over, take_away_over
from .updating import Step, next_step

MAX_RUNS = 60_000
"""Runs in one plan: 720 kB, below the 1 MB that a log entry may have. The next plan takes up the rest."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a service should have, whether the state knows it already or not."""

    name: str
    replicas: int
    spec: ServiceSpec

    @property
    def needs(self) -> Needs:
        return needs_of(self.spec)


class _Running(msgspec.Struct, frozen=True, kw_only=True):
    """What a service has, by slot: its tasks, whether they run yet, and those on nodes that are down."""

    tasks: Wanted
    is_lost: Mask

    @property
    def slots(self) -> Ints:
        return self.tasks.slots

    def alive(self) -> Ints:
        """The nodes of those that are not lost."""
        return self.tasks.nodes[~self.is_lost]

    def without(self, gone: Mask) -> _Running:
        kept = {name: getattr(self.tasks, name)[~gone] for name in Wanted.__struct_fields__}
        return _Running(tasks=Wanted(**kept), is_lost=self.is_lost[~gone])


Slices = Generator[None, None, Plan]
"""A plan in the making: yields after each service, so that whoever is in no hurry can do something else between."""


def plan_call(state: ClusterState, call: CallRecord | ServiceCall, scores: Scores | None = None) -> Plan:
    """The plan for a call's services: what is too many stops, what is missing starts where there is room.

    scores: those that the caller keeps from plan to plan.
    """
    return finished(call_slices(state, call, scores))


def call_slices(state: ClusterState, call: CallRecord | ServiceCall, scores: Scores | None = None) -> Slices:
    """The same bit by bit."""
    targets = [_asked(state, request) for request in call.services]
    return plan_targets(state, targets, state.clock_ms(), Limits(), scores)


def plan_repair(
    state: ClusterState, now_ms: int | None = None, scores: Scores | None = None
) -> Plan | None:
    """The plan that brings every service nearer to what is desired; None where nothing can be done.

    now_ms: how late it is on the cluster's clock, for what waits; None = as late as the state knows.
    """
    return finished(repair_slices(state, now_ms, scores)) or None


def repair_slices(state: ClusterState, now_ms: int | None = None, scores: Scores | None = None) -> Slices:
    """The same bit by bit; an empty plan where nothing can be done."""
    targets = [Target(name=s.name, replicas=s.replicas, spec=s.spec) for s in state.unsettled()]
    now_ms = state.clock_ms() if now_ms is None else now_ms
    return plan_targets(state, targets, now_ms, Limits(), scores)


def finished(slices: Slices) -> Plan:
    """The plan, made in one go."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            plan: Plan = end.value
            return plan


def _asked(state: ClusterState, request: ServiceRequest) -> Target:
    known = state.service(request.name)
    spec = as_asked(ServiceSpec() if known is None else known.spec, request)
    present = 0 if known is None else known.replicas
    replicas = desired(spec, None if known is None else known.spec, present, scales=True)
    return Target(name=request.name, replicas=replicas, spec=spec)


class Limits:
    """How much more a plan may hold: runs, and replicas that start. `left_out` are the services for which nothing was
    left, though they have too few replicas."""

    def __init__(self, runs: int | None = None, tasks: int = MAX_REPLICAS) -> None:
        self.runs = MAX_RUNS if runs is None else runs
        self.tasks = tasks
        self.left_out: list[str] = []


def plan_targets(
    state: ClusterState,
    targets: Sequence[Target],
    now_ms: int,
    limits: Limits,
    scores: Scores | None = None,
) -> Slices:
    """Stops of every service first: what they give up is free for the starts."""
    if not targets:
        return Plan()
    room = state.room()
    chooser = Chooser(state, room, scores, [target.spec for target in targets])
    parts: list[tuple[Target, _Running, Ints, Ints]] = []
    for target in targets:
        running = _running(state, target.name)
        retires, running = _retires(state, target, running, room, limits.runs, now_ms)
        stops, running = _stops(state, target, running, room, chooser, limits.runs - len(retires), now_ms)
        limits.runs -= len(stops) + len(retires)
        parts.append((target, running, stops, retires))
        yield
    # Who waits longest among equals is first: targets come in order of creation.
    parts.sort(key=lambda part: -part[0].spec.priority)
    services: list[ServicePlan] = []
    for target, running, stops, retires in parts:
        starts = _starts(state, target, running, room, chooser, limits, now_ms)
        limits.runs -= len(starts)
        limits.tasks -= int(starts[:, 1].sum())
        if len(starts) or len(stops) or len(retires):
            services.append(
                ServicePlan(
                    service=target.name,
                    starts=pack(starts[:, :3], PLAN),
                    devices=pack(starts[:, 3:], REPORT),
                    stops=pack(stops, PLAN),
                    retires=pack(retires, REPORT),
                )
            )
        yield
    return Plan(services=tuple(services))


def _running(state: ClusterState, service: str) -> _Running:
    tasks = state.wanted(service)
    return _Running(tasks=tasks, is_lost=~state.node_table().ready[tasks.nodes])


def _give_back(state: ClusterState, room: Room, running: _Running, gone: Mask) -> None:
    """What these replicas took is free for others; on a node that is down nothing is."""
    nodes, kinds = running.tasks.nodes[gone & ~running.is_lost], running.tasks.needs[gone & ~running.is_lost]
    for kind in np.flatnonzero(np.bincount(kinds)).tolist():
        room.take(state.needs(kind), -np.bincount(nodes[kinds == kind], minlength=room.open.size))


# what leaves


def _retires(
    state: ClusterState, target: Target, running: _Running, room: Room, limit: int, now_ms: int
) -> tuple[Ints, _Running]:
    """Runs (first task id, count) of those that may not stay, and what then still runs."""
    chosen = leaving(state, target.name, target.spec, target.replicas, running.tasks, running.is_lost, now_ms)
    step = _update(state, target, running.tasks, running.is_lost | chosen, now_ms)
    chosen |= step.leaves
    if not chosen.any() or limit <= 0:
        return np.zeros((0, 2), dtype=np.int64), running
    runs = collect(np.sort(running.tasks.ids[chosen]))[:limit]
    chosen = np.isin(running.tasks.ids, expand(runs[:, 0], runs[:, 1]))
    _give_back(state, room, running, chosen)
    return runs, running.without(chosen)


def _update(state: ClusterState, target: Target, tasks: Wanted, is_gone: Mask, now_ms: int) -> Step:
    record = state.service(target.name)
    if record is None or record.update is None:
        return Step(leaves=np.zeros(tasks.slots.size, dtype=bool))
    return next_step(state, record, target.replicas, tasks, is_gone, now_ms)


def _stops(
    state: ClusterState,
    target: Target,
    running: _Running,
    room: Room,
    chooser: Chooser,
    limit: int,
    now_ms: int,
) -> tuple[Ints, _Running]:
    """Runs (first slot, count) to stop, and what then still runs; `room` gains what they give up."""
    extra = _update(state, target, running.tasks, running.is_lost, now_ms).extra
    surplus = running.slots.size - target.replicas - extra
    if surplus <= 0 or target.spec.is_global or limit <= 0:
        return np.zeros((0, 2), dtype=np.int64), running
    chosen = running.is_lost & (np.cumsum(running.is_lost[::-1])[::-1] <= surplus)
    for among in _in_turn(state, target, running):
        chosen |= _fullest(state, target, running, among, room, chooser, surplus - int(chosen.sum()))
    runs = collect(running.slots[chosen])[:limit]
    chosen = np.isin(running.slots, expand(runs[:, 0], runs[:, 1]))
    _give_back(state, room, running, chosen)
    return runs, running.without(chosen)


def _in_turn(state: ClusterState, target: Target, running: _Running) -> list[Mask]:
    """Groups of those that are not lost: of too many, one of a group leaves when nobody is left of those before it.

    Where a start-first update was given up in the middle, replicas of the version that failed are there beside those
    that they were to replace, on whatever nodes. Once it is paused, those that do not run leave first, then the
    version that was given up. A rollback needs the version that it goes back to, also what of it does not run yet.
    """
    alive, record = ~running.is_lost, state.service(target.name)
    update = None if record is None else record.update
    if record is None or update is None or update.state not in ("paused", "rollback_started", "rollback_paused"):
        return [alive]
    runs = running.tasks.states == TaskState.RUNNING
    is_kept = (running.tasks.versions == record.template) != (update.state == "paused")
    turn = 2 * is_kept + runs if update.state == "rollback_started" else 2 * runs + is_kept
    return [alive & (turn == number) for number in np.unique(turn[alive])]


def _fullest(
    state: ClusterState,
    target: Target,
    running: _Running,
    among: Mask,
    room: Room,
    chooser: Chooser,
    count: int,
) -> Mask:
    """Replicas on the fullest nodes; of a node's, those not running yet first, then the highest slots."""
    alive = np.flatnonzero(among)
    nodes = running.tasks.nodes[alive]
    free = room.free("slots")
    held = np.bincount(nodes, minlength=free.size)
    if is_plain(target.spec):
        leaving = take_away_over(_levels(state, target), free, held, count, target.needs.slots)
    else:
        leaving = chooser.leave(target.name, target.spec, count, held, _levels(state, target))
    is_running = running.tasks.states[alive] == TaskState.RUNNING
    order = np.lexsort((-running.slots[alive], is_running, nodes))
    rank = np.arange(alive.size) - (np.cumsum(held) - held)[nodes[order]]
    chosen = np.zeros(running.slots.size, dtype=bool)
    chosen[alive[order[rank < leaving[nodes[order]]]]] = True
    return chosen


# what starts


def _starts(
    state: ClusterState,
    target: Target,
    running: _Running,
    room: Room,
    chooser: Chooser,
    limits: Limits,
    now_ms: int,
) -> Ints:
    """Runs (first slot, count, node number) to start, node after node, and a fourth column of devices (`gpus.py`) where
    the service asks for any; `room` loses what they take."""
    step = _update(state, target, running.tasks, running.is_lost, now_ms)
    if running.slots.size - int(running.is_lost.sum()) >= target.replicas and not step.starts:
        return np.zeros((0, 3), dtype=np.int64)
    if state.unmet(target.name):
        return np.zeros((0, 3), dtype=np.int64)
    is_spent = chooser.is_spent and not is_plain(target.spec)
    if is_spent or limits.runs <= 0 or limits.tasks <= 0:
        limits.left_out.append(target.name)
        return np.zeros((0, 3), dtype=np.int64)
    if chooser.is_hopeless(target.spec, target.needs):
        return np.zeros((0, 3), dtype=np.int64)
    again, closed = _ended_slots(state, target, running, now_ms)
    most = _most(state, target, running, room)
    if not target.spec.placement.max_replicas_per_node and not most.any():
        chooser.has_no_room(target.spec, target.needs)
    if target.spec.is_global:
        return _starts_everywhere(target, running, chooser, most, closed, limits.runs)
    alive = running.alive()
    held = np.bincount(alive, minlength=most.size)
    missing = at_a_time(target.spec, target.replicas - closed.size) - alive.size
    # No more than the state takes: slots that wait for their restart, or were given up, are not for others.
    missing = max(missing, min(step.starts, target.replicas + step.extra - closed.size - alive.size))
    if not is_plain(target.spec):
        faulty = state.faulty_nodes(target.name, now_ms)
        levels = _levels(state, target)
        chosen = chooser.choose(target.name, target.spec, missing, most, held, levels, faulty)
        return _runs(chosen, _open_slots(running, again, closed, chosen.nodes.size))[: limits.runs]
    missing = min(missing, limits.tasks)
    placed = _spread(state, target, room.slots, missing, most, held, now_ms)
    count = int(placed.sum())
    if not count:
        return np.zeros((0, 3), dtype=np.int64)
    slots = _open_slots(running, again, closed, count)
    runs = collect(slots, np.repeat(np.arange(placed.size), placed))[: limits.runs]
    taken = np.bincount(runs[:, 2], weights=runs[:, 1], minlength=room.open.size).astype(np.int64)
    room.take(target.needs, taken)
    chooser.has_started(target.name, target.needs, taken)
    return runs


def starts_in(state: ClusterState, target: Target, room: Room, now_ms: int) -> Ints:
    """As `_starts`, in a room that the caller has made: for preemption."""
    running = _running(state, target.name)
    return _starts(state, target, running, room, Chooser(state, room), Limits(), now_ms)


def _starts_everywhere(
    target: Target, running: _Running, chooser: Chooser, most: Ints, closed: Ints, limit: int
) -> Ints:
    """One on each node that has none; its slot is the node's number, counted from 1."""
    has = np.zeros(most.size, dtype=bool)
    has[running.tasks.nodes] = True
    has[closed - 1] = True
    nodes = np.flatnonzero((most > 0) & ~has)
    if target.spec.is_job and target.spec.max_concurrent:
        nodes = nodes[: max(0, target.spec.max_concurrent - running.alive().size)]
    chosen = chooser.everywhere(target.name, target.needs, nodes[:limit])
    return _runs(chosen, chosen.nodes + 1)


def _runs(chosen: Chosen, slots: Ints) -> Ints:
    """The runs of replicas in these slots; without devices where none holds any."""
    if chosen.masks.any():
        return collect(slots, chosen.nodes, chosen.masks)
    return collect(slots, chosen.nodes)


def _most(state: ClusterState, target: Target, running: _Running, room: Room) -> Ints:
    """int64[nodes]: how many more replicas may go to each node."""
    place = target.spec.placement
    most = np.where(state.node_table().allowed(place), room.fits(target.needs), 0)
    if place.max_replicas_per_node:
        held = np.bincount(running.alive(), minlength=most.size)
        most = np.minimum(most, np.maximum(place.max_replicas_per_node - held, 0))
    return most


def _levels(state: ClusterState, target: Target) -> list[Ints]:
    """The groups of nodes to spread over; a node without the label is in a group of its own kind."""
    table = state.node_table()
    return [table.attribute(name)[0].astype(np.int64) for name in target.spec.placement.preferences]


def _open_slots(running: _Running, again: Ints, closed: Ints, count: int) -> Ints:
    """The slots of lost replicas, lowest first, those that start again, and then the lowest that nobody has."""
    first = np.concatenate((running.slots[running.is_lost], again))[:count]
    missing = count - first.size
    if not missing:
        return first
    not_these = np.concatenate((running.slots, again, closed))
    numbers = np.arange(1, not_these.size + missing + 1)
    unused = numbers[~np.isin(numbers, not_these)][:missing]
    return np.concatenate((first, unused))


def _ended_slots(state: ClusterState, target: Target, running: _Running, now_ms: int) -> tuple[Ints, Ints]:
    """Slots whose task ended by itself: those that start again now, and those that do not, or not yet."""
    rows = state.restarts(target.name)
    if not len(rows):
        return rows[:, 0], rows[:, 0]
    rows = rows[(rows[:, restarts.KIND] != restarts.RUNS) & ~np.isin(rows[:, restarts.SLOT], running.slots)]
    is_ready = rows[:, restarts.READY] <= now_ms
    return rows[is_ready, restarts.SLOT], rows[~is_ready, restarts.SLOT]


def _spread(
    state: ClusterState, target: Target, free: Ints, count: int, most: Ints, held: Ints, now_ms: int
) -> Ints:
    """Where so many go; nodes that fail this service often take what is left over."""
    levels, size = _levels(state, target), target.needs.slots
    faulty = state.faulty_nodes(target.name, now_ms)
    if not faulty.any():
        return spread_over(levels, free, count, size, most, held)
    placed = spread_over(levels, free, count, size, np.where(faulty, 0, most), held)
    left = count - int(placed.sum())
    return placed + spread_over(levels, free - placed * size, left, size, most - placed, held + placed)
