"""Why replicas wait, in one line: the numbers that a person needs to see what is missing."""

from __future__ import annotations

import numpy as np

from . import restarts
from .depending import unmet
from .nodes import Room
from .obstacles import TOO_FEW_SLOTS, in_counts, obstacles
from .replicas import Replicas
from .runs import Ints
from .services import Service


def why_waiting(service: Service, replicas: Replicas) -> str:
    """A sentence for the replicas of a service that wait; empty when none does."""
    if not service.pending:
        return ""
    by = replicas.preempted.get(service.number)
    return (f"preempted by {by}; " if by else "") + _why(service, replicas)


def _why(service: Service, replicas: Replicas) -> str:
    others = unmet(service, replicas)
    if others:
        return f"not started yet: it waits for {', and for '.join(others)}"
    nodes = replicas.nodes
    who = f"{service.pending} of {service.replicas} replicas wait"
    waits = restarts.waiting(service.restarts, replicas.clock_ms)
    if len(waits) and service.pending <= len(waits):
        seconds = (int(waits[:, restarts.READY].min()) - replicas.clock_ms) / 1_000
        worst = int(waits[:, restarts.ATTEMPTS].max())
        return f"restarting: {who}; the next in {seconds:g} s; a slot ended {worst} time{'s' if worst > 1 else ''}"
    ready = int(np.count_nonzero(nodes.ready))
    if not ready:
        return f"no node is ready: {who}; {len(nodes.present())} nodes are known; start or add one"
    room = nodes.room()
    found = obstacles(nodes, room, service.needs, service.spec.where, held(service, replicas))
    total, capacity = int(nodes.free().sum()), int(nodes.capacity[nodes.open].sum())
    where = f"on {ready} ready node{'s' if ready > 1 else ''}"
    kept = sum(int(np.count_nonzero(obstacle.nodes)) for obstacle in found)
    if kept < len(nodes.present()):
        return f"not placed yet: {who}; free slots {total} of {capacity} {where}; the next plan places them"
    if any(obstacle.kind not in ("down", TOO_FEW_SLOTS) for obstacle in found):
        counts = in_counts([(obstacle.kind, int(np.count_nonzero(obstacle.nodes))) for obstacle in found])
        return f"no suitable node: {who}; {counts}"
    return f"no room: {who}; free slots {total} of {capacity} {where}{_need(service, room)}; {_HELP}"


_HELP = "add a node or ask for fewer"


def _need(service: Service, room: Room) -> str:
    size, widest = service.size, int(room.slots.max())
    return "" if size == 1 else f"; each takes {size} slots and the freest node has {widest}"


def held(service: Service, replicas: Replicas) -> Ints:
    """int64[nodes]: replicas of a service that should run, wherever they are, and for a global one those that ended and
    do not start again, or not yet."""
    rows = replicas.wanted(replicas.tasks.of_service(service.number))
    found: Ints = np.bincount(replicas.tasks.node[rows], minlength=replicas.nodes.ready.size)
    if service.spec.is_global:
        ended = restarts.rows_of(service.restarts)
        found[ended[ended[:, restarts.KIND] != restarts.RUNS, restarts.SLOT] - 1] += 1
    return found
