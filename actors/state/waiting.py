"""Why replicas wait, in one line: the numbers that a person needs to see what is missing."""

from __future__ import annotations

import numpy as np

from . import restarts
from .depending import CIRCLE_HINT, circle_of, in_words, unmet
from .nodes import Room
from .obstacles import TOO_FEW_SLOTS, in_counts, obstacles
from .replicas import Replicas
from .runs import Ints
from .services import Service


def why_waiting(service: Service, replicas: Replicas, now_ms: int | None = None) -> str:
    """A sentence for the replicas of a service that wait; empty when none does.

    now_ms: how late it is on the cluster's clock, for who knows it better than the log.
    """
    if not service.pending:
        return ""
    by = replicas.preempted.get(service.number)
    why = why_held_back(service, replicas, now_ms) or _why(service, replicas)
    return (f"preempted by {by}; " if by else "") + why


def why_held_back(service: Service, replicas: Replicas, now_ms: int | None = None) -> str:
    """What the replicas wait for where that is no room on a node: another service, or the time of their restart; empty
    where it is room. `now_ms` as above."""
    others = unmet(service, replicas)
    if others:
        circle = circle_of(service, replicas)
        never = f"; {in_words(circle)}: {CIRCLE_HINT}" if circle else ""
        return f"not started yet: it waits for {', and for '.join(others)}{never}"
    now_ms = replicas.clock_ms if now_ms is None else now_ms
    waits = restarts.waiting(service.restarts, now_ms)
    if not service.pending or service.pending > len(waits):
        return ""
    seconds = max(0.1, round((int(waits[:, restarts.READY].min()) - now_ms) / 1_000, 1))
    worst = int(waits[:, restarts.ATTEMPTS].max())
    times = f"a slot ended {worst} time{'s' if worst > 1 else ''}"
    return f"restarting: {_who(service)}; the next in {seconds:g} s; {times}"


def _who(service: Service) -> str:
    return f"{service.pending} of {service.replicas} replicas wait"


def _why(service: Service, replicas: Replicas) -> str:
    nodes, who = replicas.nodes, _who(service)
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
