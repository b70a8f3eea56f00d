"""What should change: the plan that carries out a call, and the plan that repairs what was lost.

Both compare what is desired with what runs on ready nodes and move no more than the difference: a lost
replica starts anew in its slot, a missing one in the lowest unused slot, and of too many the lost ones go
first.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from ..state.commands import Plan, ServiceCall, ServicePlan
from ..state.machine import ClusterState
from ..state.records import CallRecord
from ..state.runs import PLAN, Ints, Mask, collect, expand, pack
from ..state.task_states import TaskState
from .placement import spread, take_away

MAX_RUNS = 60_000
"""Runs in one plan: 720 kB, below the 1 MB that a log entry may have. The next plan takes up the rest."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a service should have, whether the state knows it already or not."""

    name: str
    replicas: int
    slots_per_replica: int


class _Running(msgspec.Struct, frozen=True, kw_only=True):
    """What a service has: slots in ascending order, with the node of each and whether it runs there yet."""

    slots: Ints
    nodes: Ints
    is_running: Mask
    is_lost: Mask


def plan_call(state: ClusterState, call: CallRecord | ServiceCall) -> Plan:
    """The plan for a call's services: what is too many stops, what is missing starts where there is room."""
    return _plan(
        state,
        [
            Target(name=r.name, replicas=r.replicas, slots_per_replica=r.slots_per_replica)
            for r in call.services
        ],
    )


def plan_repair(state: ClusterState) -> Plan | None:
    """The plan that brings every service nearer to what is desired; None where nothing can be done."""
    unsettled = state.unsettled()
    if not unsettled:
        return None
    plan = _plan(
        state,
        [Target(name=s.name, replicas=s.replicas, slots_per_replica=s.slots_per_replica) for s in unsettled],
    )
    return plan or None


def _plan(state: ClusterState, targets: Iterable[Target]) -> Plan:
    """Stops of every service first: what they give up is free for the starts."""
    free = state.free_slots().copy()
    ready = state.ready_nodes()
    room = MAX_RUNS
    parts: list[tuple[Target, _Running, Ints]] = []
    for target in targets:
        running = _running(state, target.name, ready)
        stops, running = _stops(target, running, free, room)
        room -= len(stops)
        parts.append((target, running, stops))
    services: list[ServicePlan] = []
    for target, running, stops in parts:
        starts = _starts(target, running, free, room)
        room -= len(starts)
        if len(starts) or len(stops):
            services.append(
                ServicePlan(service=target.name, starts=pack(starts, PLAN), stops=pack(stops, PLAN))
            )
    return Plan(services=tuple(services))


def _running(state: ClusterState, service: str, ready: Mask) -> _Running:
    slots, nodes, states = state.running(service)
    return _Running(slots=slots, nodes=nodes, is_running=states == TaskState.RUNNING, is_lost=~ready[nodes])


def _stops(target: Target, running: _Running, free: Ints, room: int) -> tuple[Ints, _Running]:
    """Runs (first slot, count) to stop, and what then still runs; `free` gains what they give up."""
    surplus = running.slots.size - target.replicas
    if surplus <= 0:
        return np.zeros((0, 2), dtype=np.int64), running
    chosen = running.is_lost & (np.cumsum(running.is_lost[::-1])[::-1] <= surplus)
    surplus -= int(chosen.sum())
    chosen |= _fullest(target, running, free, surplus)
    runs = collect(running.slots[chosen])[:room]
    chosen = np.isin(running.slots, expand(runs[:, 0], runs[:, 1]))
    gone = running.nodes[chosen & ~running.is_lost]
    free += np.bincount(gone, minlength=free.size) * target.slots_per_replica
    left = ~chosen
    return runs, _Running(
        slots=running.slots[left],
        nodes=running.nodes[left],
        is_running=running.is_running[left],
        is_lost=running.is_lost[left],
    )


def _fullest(target: Target, running: _Running, free: Ints, count: int) -> Mask:
    """Replicas on the fullest nodes; of a node's, those not running yet first, then the highest slots."""
    alive = np.flatnonzero(~running.is_lost)
    nodes = running.nodes[alive]
    held = np.bincount(nodes, minlength=free.size)
    leaving = take_away(free, held, count, target.slots_per_replica)
    order = np.lexsort((-running.slots[alive], running.is_running[alive], nodes))
    rank = np.arange(alive.size) - (np.cumsum(held) - held)[nodes[order]]
    chosen = np.zeros(running.slots.size, dtype=bool)
    chosen[alive[order[rank < leaving[nodes[order]]]]] = True
    return chosen


def _starts(target: Target, running: _Running, free: Ints, room: int) -> Ints:
    """Runs (first slot, count, node number) to start, node after node; `free` loses what they take."""
    alive = int(np.count_nonzero(~running.is_lost))
    placed = spread(free, target.replicas - alive, target.slots_per_replica)
    count = int(placed.sum())
    if not count or room <= 0:
        return np.zeros((0, 3), dtype=np.int64)
    slots = _open_slots(running, count)
    runs = collect(slots, np.repeat(np.arange(placed.size), placed))[:room]
    free -= (
        np.bincount(runs[:, 2], weights=runs[:, 1], minlength=free.size).astype(np.int64)
        * target.slots_per_replica
    )
    return runs


def _open_slots(running: _Running, count: int) -> Ints:
    """The slots of lost replicas, lowest first, and then the lowest that nobody has."""
    lost = running.slots[running.is_lost][:count]
    missing = count - lost.size
    numbers = np.arange(1, running.slots.size + missing + 1)
    unused = numbers[~np.isin(numbers, running.slots)][:missing]
    return np.concatenate((lost, unused))
