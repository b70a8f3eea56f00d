"""What commands do to nodes: they join, leave, move, fall silent, and are used for something else."""

from __future__ import annotations

import msgspec

from . import commands as c, gpus
from .changes import Change
from .needs import SLOTS
from .outcomes import refused, stale_term
from .records import NodeRecord, Outcome
from .replicas import Replicas


def add_node(replicas: Replicas, change: Change, command: c.AddNode) -> Outcome:
    """A node joins, ready."""
    nodes = replicas.nodes
    known = nodes.find(command.name)
    if known is not None:
        return _add_known_node(known, command)
    taken = nodes.at(command.host, command.port)
    if taken is not None:
        address = f"{command.host}:{command.port}"
        return refused("address-taken", f"{address} is {taken.name}'s address; choose another port")
    fault = _fault_of(command.capacity, command.resources)
    if fault:
        return refused("invalid", f"{command.name}: {fault}")
    record = NodeRecord(
        number=len(nodes.records),
        name=command.name,
        host=command.host,
        port=command.port,
        capacity=command.capacity,
        labels=command.labels,
        resources=dict(sorted(command.resources.items())),
        platform=command.platform,
        gpu_model=command.gpu_model,
    )
    replicas.add_node(record, change.index)
    change.emit("node-added", name=record.name, capacity=record.capacity)
    return Outcome(nodes=True)


def _add_known_node(known: NodeRecord, command: c.AddNode) -> Outcome:
    same = (known.host, known.port, known.capacity, known.labels)
    if same == (command.host, command.port, command.capacity, command.labels):
        return Outcome(duplicate=True)
    return refused("exists", f"{command.name} is a node already; remove it first or choose another name")


def remove_node(replicas: Replicas, change: Change, command: c.RemoveNode) -> Outcome:
    """A node leaves for good."""
    number = replicas.nodes.number(command.name)
    if number is None:
        return no_such_node(replicas, command.name)
    if len(replicas.nodes.present()) == 1:
        return refused("last-node", f"{command.name} is the last node; remove the cluster instead")
    lost = replicas.remove_node(change, number)
    change.emit("node-removed", name=command.name, replicas=lost)
    return Outcome(nodes=True, services=bool(lost))


def move_nodes(replicas: Replicas, change: Change, command: c.MoveNodes) -> Outcome:
    """Nodes have other addresses."""
    nodes = replicas.nodes
    moved = {
        name: (host, port)
        for name, host, port in command.addresses
        if (record := nodes.find(name)) is not None and (record.host, record.port) != (host, port)
    }
    if not moved:
        return Outcome(duplicate=True)
    after = [moved.get(record.name, (record.host, record.port)) for record in nodes.present()]
    with_port = [address for address in after if address[1] is not None]
    if len(with_port) > len(dict.fromkeys(with_port)):
        return refused("address-taken", "two nodes would have the same address; choose another port")
    nodes.move(moved)
    for name, (host, port) in moved.items():
        change.emit("node-moved", name=name, host=host, port=port)
    return Outcome(nodes=True)


def set_node_status(replicas: Replicas, change: Change, term: int, command: c.SetNodeStatus) -> Outcome:
    """The leader stopped hearing from a node, or hears it again."""
    if command.term != term:
        return stale_term(term, command.term)
    record = replicas.nodes.find(command.name)
    if record is None:
        return no_such_node(replicas, command.name)
    if record.status == command.status:
        return Outcome(duplicate=True)
    concerned = replicas.set_node(msgspec.structs.replace(record, status=command.status))
    kind = "node-ready" if command.status == "ready" else "node-down"
    change.emit(kind, name=command.name, replicas=concerned)
    return Outcome(nodes=True, services=bool(concerned))


def update_node(replicas: Replicas, change: Change, command: c.UpdateNode) -> Outcome:
    """What a node is for, and what it has."""
    record = replicas.nodes.find(command.name)
    if record is None:
        return no_such_node(replicas, command.name)
    capacity = record.capacity if command.capacity is None else command.capacity
    resources = record.resources if command.resources is None else command.resources
    fault = _fault_of(capacity, resources) or _below_load(replicas, record, capacity, resources)
    if fault:
        return refused("invalid", f"{command.name}: {fault}")
    new = msgspec.structs.replace(
        record,
        labels=record.labels if command.labels is None else tuple(sorted(command.labels)),
        capacity=capacity,
        resources=dict(sorted(resources.items())),
        platform=record.platform if command.platform is None else command.platform,
        gpu_model=record.gpu_model if command.gpu_model is None else command.gpu_model,
    )
    if command.availability is not None:
        is_gentle = command.availability == "drain"
        new = msgspec.structs.replace(
            new,
            availability=command.availability,
            drain_parallel=command.drain_parallel if is_gentle else 0,
            drain_deadline_s=command.drain_deadline_s if is_gentle else None,
            drain_ms=None,
        )
    if new == record:
        return Outcome(duplicate=True)
    concerned = replicas.set_node(new)
    change.emit(
        "node-updated",
        name=new.name,
        availability=new.availability,
        labels=dict(new.labels),
        replicas=concerned,
    )
    return Outcome(nodes=True, services=bool(concerned))


def no_such_node(replicas: Replicas, name: str) -> Outcome:
    """The refusal for a name that no node has."""
    known = len(replicas.nodes.present())
    return refused("unknown-node", f"there is no node {name} among the {known} of this cluster")


def _fault_of(capacity: int, resources: dict[str, int]) -> str:
    for name, units in {SLOTS: capacity, **resources}.items():
        if not 0 <= units <= c.MAX_CAPACITY:
            what = "capacity" if name == SLOTS else name
            return f"{what} {units}; use 0 to {c.MAX_CAPACITY}"
    return ""


def _below_load(replicas: Replicas, record: NodeRecord, capacity: int, resources: dict[str, int]) -> str:
    """What would be taken more than there is; a node cannot shrink below what runs on it."""
    if (capacity, resources) == (record.capacity, record.resources):
        return ""
    after = replicas.nodes.capacities(msgspec.structs.replace(record, capacity=capacity, resources=resources))
    taken = replicas.nodes.taken(record.number)
    touched = [name for name in taken if name.startswith(gpus.DEVICE)]
    for name, units in taken.items():
        if units > after[name] and name not in touched:
            return f"{units} {name} are taken, more than {after[name]}; drain the node first"
    total = after.get(gpus.GPUS, 0)
    if any(not after[name] for name in touched) or len(touched) + taken.get(gpus.GPUS, 0) > total:
        return f"tasks hold devices beyond the first {total}; drain the node first"
    return ""


def set_deadlines(replicas: Replicas) -> None:
    """Drains begin when the cluster's clock is next told: whoever ordered one has no clock that counts."""
    if not replicas.nodes.draining.any():
        return
    for record in replicas.nodes.present():
        if record.availability == "drain" and record.drain_deadline_s is not None and record.drain_ms is None:
            until = replicas.clock_ms + round(record.drain_deadline_s * 1_000)
            replicas.nodes.set(msgspec.structs.replace(record, drain_ms=until))
