"""Services whose container is a cluster: their replicas are the nodes of it.

What is agreed on here is only which tasks there are. A task that is no longer wanted keeps its place in the table until
its node's agent says that the cluster has let it go: until then it may be needed for a majority.
"""

from __future__ import annotations

import msgspec

from .commands import ServiceRequest
from .gpus import DEVICE, GPUS, held
from .needs import Needs
from .records import NestedRecord
from .replicas import Replicas
from .services import Service
from .specs import NestedCluster, ServiceSpec, one_a_node, tidied

__all__ = ["as_asked", "fault_of_request", "records"]


def fault_of_request(service: Service | None, request: ServiceRequest) -> str:
    """Why a service call cannot be carried out on this service; empty where it can."""
    if service is None or not service.version:
        return ""
    is_cluster = service.spec.cluster is not None
    if service.spec.is_global:
        where = "runs on every node that it may be on, and a service call cannot scale it"
        return f"{request.name} {where}; PATCH its placement to change where, or DELETE it"
    if request.cluster is not None and not is_cluster:
        return f"{request.name} is no cluster and cannot become one; remove it first, or choose another name"
    if is_cluster and not request.replicas:
        return f"{request.name} is a cluster and needs one node at least; DELETE the service to end it"
    return ""


def as_asked(spec: ServiceSpec, request: ServiceRequest) -> ServiceSpec:
    """The spec that a service call makes of this one: what it does not speak of stays."""
    cluster = spec.cluster if request.cluster is None else request.cluster
    kept = spec.reservations
    if request.says_slots or (cluster is None and not request.keeps_unsaid):
        kept = msgspec.structs.replace(kept, slots=request.slots_per_replica)
    is_described = request.description or not request.keeps_unsaid
    spec = msgspec.structs.replace(
        spec,
        replicas=request.replicas,
        description=request.description if is_described else spec.description,
        reservations=kept,
        cluster=cluster,
    )
    return tidied(spec if cluster is None else one_a_node(spec))


def records(replicas: Replicas) -> tuple[NestedRecord, ...]:
    """Every service that is a cluster, in order of creation, with the tasks that should run."""
    services, nodes = replicas.services, replicas.nodes
    found = []
    for number in services.nested():
        service = services.all[number]
        if service.is_removed:
            continue
        rows = replicas.wanted(replicas.tasks.of_service(number))
        ids, on, kinds = (
            getattr(replicas.tasks, column)[rows].tolist() for column in ("id", "node", "needs")
        )
        tasks = tuple(
            (task, nodes.records[node].name, _offered(service, replicas.needs.all[kind]))
            for task, node, kind in zip(ids, on, kinds, strict=True)
        )
        found.append(NestedRecord(service=service.name, generation=number, tasks=tasks))
    return tuple(found)


def _offered(service: Service, needs: Needs) -> Needs:
    """What the node has: what its replica reserved, or fewer slots where the spec says so; of devices, how many."""
    cluster = service.spec.cluster or NestedCluster()
    more = {name: units for name, units in needs.more if not name.startswith(DEVICE)}
    gpus = more.get(GPUS, 0) + len(held(needs))
    if gpus:
        more[GPUS] = gpus
    return Needs(min(cluster.capacity or needs.slots, needs.slots), tuple(sorted(more.items())))
