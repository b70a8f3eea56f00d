"""What a node took with it starts elsewhere: one step for all services of a plan, each of which lost a replica or two.

Carried out service by service it would cost the same for one replica as for a thousand, and a lost node may have had
replicas of hundreds of services. What is taken here is what `Replicas` would take one by one, in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import gpus
from .changes import Change
from .needs import Needs
from .plans import ParsedPlan
from .runs import Ints, distinct, expand
from .services import Service
from .tasks import Rows

if TYPE_CHECKING:
    from .replicas import Replicas

FEW_NODES = 50
"""Of so many nodes that are down the tasks are looked up node by node; of more, all tasks are looked through."""
A_SERVICE = 1 << 32
"""Apart from each other in numbers that are a service and a slot."""


def replace_lost(replicas: Replicas, change: Change, plan: tuple[ParsedPlan, ...]) -> bool:
    """Carry out the plan's starts, if every one is in the slot of a lost replica, and may be where it is to go, and
    all of them fit together. False, and nothing has changed, where that is not so."""
    parts = [(service, part) for part in plan if (service := _taking_part(replicas, part)) is not None]
    wanted = sum(1 for part in plan if part.starts.size)
    if wanted < 2 or len(parts) != wanted or len({service.number for service, _ in parts}) != wanted:
        return False
    services = [service for service, _ in parts]
    counts = [int(part.starts[:, 1].sum()) for _, part in parts]
    starts = np.concatenate([part.starts for _, part in parts])
    slots, nodes = expand(starts[:, 0], starts[:, 1]), np.repeat(starts[:, 2], starts[:, 1])
    numbers = np.repeat(np.array([service.number for service in services], dtype=np.int64), counts)
    lost = _lost_rows(replicas, numbers, slots)
    if lost is None or not _may_all_go(replicas, services, counts, nodes):
        return False
    kinds = [replicas.needs.number(gpus.by_number_alone(service.needs)) for service in services]
    needs = np.repeat(np.array(kinds, dtype=np.int64), counts)
    if not _fit_together(replicas, needs, nodes):
        return False
    gone = {number: (many, runs) for number, many, runs in replicas.runs_by_service(lost)}
    change.touch(distinct(replicas.tasks.node[lost]))
    replicas.give_up(lost)
    rows = replicas.tasks.add(
        service=numbers,
        slots=slots,
        nodes=nodes,
        needs=needs,
        version=np.repeat(np.array([service.template for service in services], dtype=np.int64), counts),
        now_ms=replicas.clock_ms,
    )
    replicas.count(rows, +1)
    change.touch(distinct(nodes))
    come = {number: (many, runs) for number, many, runs in replicas.runs_by_service(rows)}
    for service in services:
        service.has_begun = True
        for kind, told in (("tasks-lost", gone), ("tasks-placed", come)):
            many, runs = told[service.number]
            change.emit_runs(kind, runs, service=service.name, replicas=many)
    return True


def _taking_part(replicas: Replicas, part: ParsedPlan) -> Service | None:
    """The part's service, if nothing but the slots, the nodes and the room decides about its starts."""
    service = replicas.services.find(part.service) if part.starts.size else None
    if service is None or service.spec.is_global or service.restarts or part.devices.size:
        return None
    if service.needs.gpus or service.spec.placement.max_replicas_per_node:
        return None
    return service


def _lost_rows(replicas: Replicas, numbers: Ints, slots: Ints) -> Rows | None:
    """The lost task in each of these slots; None where there is not one in each."""
    tasks, nodes = replicas.tasks, replicas.nodes
    down = np.flatnonzero(nodes.is_present & ~nodes.ready & (nodes.used > 0)).tolist()
    if len(down) <= FEW_NODES:
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *[tasks.of_node(number) for number in down]])
    else:
        rows = np.flatnonzero((tasks.node >= 0) & ~nodes.ready[tasks.node])
    rows = replicas.wanted(rows)
    keys = tasks.service[rows].astype(np.int64) * A_SERVICE + tasks.slot[rows]
    order = np.argsort(keys, kind="stable")
    keys, rows = keys[order], rows[order]
    asked = numbers * A_SERVICE + slots
    place = np.searchsorted(keys, asked)
    if place.size and (not keys.size or int(place.max()) >= keys.size or np.any(keys[place] != asked)):
        return None
    found: Rows = rows[place]
    return found


def _may_all_go(replicas: Replicas, services: list[Service], counts: list[int], nodes: Ints) -> bool:
    """Whether each of these nodes is open and lets replicas of its service in."""
    table = replicas.nodes
    if np.any((nodes < 0) | (nodes >= table.open.size)) or not table.open[nodes].all():
        return False
    end = 0
    for service, count in zip(services, counts, strict=True):
        first, end = end, end + count
        if not table.allowed(service.spec.placement)[nodes[first:end]].all():
            return False
    return True


def _fit_together(replicas: Replicas, needs: Ints, nodes: Ints) -> bool:
    """Whether there is room for all of them on these nodes."""
    room = replicas.nodes.room()
    taken: list[Needs] = [replicas.needs.all[kind] for kind in distinct(needs)]
    for kind, what in zip(distinct(needs), taken, strict=True):
        room.take(what, np.bincount(nodes[needs == kind], minlength=room.open.size))
    resources = {name for what in taken for name, _ in (("slots", 1), *what.more)}
    return all(bool((room.free(name) >= 0).all()) for name in sorted(resources))
