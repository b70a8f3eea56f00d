"""What keeps a node from taking one more replica: the filters, in Swarm's order, each of which explains itself.

Ready, resources, GPUs, constraints, platform, host ports, most replicas a node: the first that says no is the reason.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from . import constraints, gpus
from .needs import PORT, SLOTS, Needs
from .nodes import NodeTable, Room
from .runs import Ints, Mask
from .specs import Placement

ROOM = "room for the next plan"
"""Said of a node that nothing keeps from taking a replica."""
TOO_FEW_SLOTS = "too few free slots"
NO_GPU = "no GPU"


class Obstacle(msgspec.Struct, frozen=True):
    """`kind` is counted over nodes; `nodes` are those for which this is the first obstacle."""

    kind: str
    nodes: Mask


def obstacles(
    nodes: NodeTable, room: Room, needs: Needs, placement: Placement, held: Ints
) -> tuple[Obstacle, ...]:
    """By the first that each node meets, in the order of the filters; `held` are the service's replicas by node.

    A node that is in none of them has room. Removed nodes are in none either.
    """
    left = nodes.is_present.copy()
    found: list[Obstacle] = []
    for kind, is_met in _filters(nodes, room, needs, placement, held):
        stopped = left & ~is_met
        if stopped.any():
            found.append(Obstacle(kind, stopped))
            left &= is_met
    return tuple(found)


def _filters(
    nodes: NodeTable, room: Room, needs: Needs, placement: Placement, held: Ints
) -> Iterator[tuple[str, Mask]]:
    """(kind, bool[nodes]: where the filter lets a replica pass), one by one."""
    yield "down", nodes.ready
    yield "draining", ~nodes.draining
    yield "paused", nodes.open
    yield TOO_FEW_SLOTS, room.free(SLOTS) >= needs.slots
    ports = [name for name, _ in needs.more if name.startswith(PORT)]
    for name, units in needs.more:
        if name not in ports:
            yield f"too little {name}", room.free(name) >= units
    if needs.gpus:
        yield from _gpu_filters(room, needs)
    yield "constraints not met", nodes.meeting(placement)
    yield "another platform", nodes.on_platform(placement)
    for name in ports:
        yield f"port {_port(name)} in use", room.free(name) >= 1
    if placement.max_replicas_per_node:
        yield "most replicas a node reached", held < placement.max_replicas_per_node


def _gpu_filters(room: Room, needs: Needs) -> Iterator[tuple[str, Mask]]:
    devices, free = room.devices, room.gpu_free()
    yield NO_GPU, devices.count > 0
    will_do = devices.will_do(needs)
    if needs.gpu_models:
        yield f"{NO_GPU} of model {' or '.join(needs.gpu_models)}", will_do
    here = free[:, room.open & will_do]
    if needs.gpus == 1:
        most = int(here.max(initial=0))
        size = "no whole GPU" if needs.gpu_milli == gpus.WHOLE else f"{NO_GPU} with {needs.gpu_milli} milli"
        kind = f"{size} free ({most} milli at most)"
    else:
        most = int(np.count_nonzero(here >= needs.gpu_milli, axis=0).max(initial=0))
        size = "whole GPUs free" if needs.gpu_milli == gpus.WHOLE else f"GPUs with {needs.gpu_milli} milli free"
        kind = f"fewer than {needs.gpus} {size} ({most} at most)"
    yield kind, np.count_nonzero(free >= needs.gpu_milli, axis=0) >= needs.gpus


def _gpu_detail(room: Room, needs: Needs, number: int, kind: str) -> str:
    model = room.devices.models[int(room.devices.model[number])] or "unknown"
    if kind == NO_GPU:
        return kind
    if "of model" in kind:
        return f"GPUs of model {model}, {' or '.join(needs.gpu_models)} needed"
    free = sorted(room.gpu_free()[:, number][: int(room.devices.count[number])].tolist(), reverse=True)
    return f"GPUs with {', '.join(map(str, free))} milli free, {needs.gpus} with {needs.gpu_milli} needed"


def detail(
    nodes: NodeTable, room: Room, needs: Needs, placement: Placement, held: Ints, number: int, kind: str
) -> str:
    """The same for one node, with the figures: by how much it is short, which rule it breaks."""
    record = nodes.records[number]
    if kind in ("down", "draining", "paused", "another platform"):
        os, arch = record.platform
        return f"another platform: {os or 'unknown'}/{arch or 'unknown'}" if "platform" in kind else kind
    if kind == "constraints not met":
        return "; ".join(_broken(nodes, placement, number))
    if kind == "most replicas a node reached":
        return f"{int(held[number])} replicas here, at most {placement.max_replicas_per_node} a node"
    if kind.startswith("port "):
        return kind
    if needs.gpus and kind.startswith((NO_GPU, "no whole GPU", "fewer than ")):
        return _gpu_detail(room, needs, number, kind)
    resource, units = SLOTS, needs.slots
    for name, wanted in needs.more:
        if kind == f"too little {name}":
            resource, units = name, wanted
    free = int(room.free(resource)[number])
    if resource == SLOTS:
        told = f"{free} of {record.capacity} slots free"
        return told if kind == ROOM else f"{told}, {units} needed"
    has = nodes.capacities(record).get(resource, 0)
    return f"{free} of {has} {resource} free, {units} needed"


def _broken(nodes: NodeTable, placement: Placement, number: int) -> Iterator[str]:
    for rule in placement.constraints:
        parsed = constraints.parse(rule)
        codes, values = nodes.attribute(parsed.attribute)
        value = values[int(codes[number])]
        if not parsed.is_met(value):
            yield f"{rule}: here it is {value or 'not set'}"


def _port(resource: str) -> str:
    protocol, number = resource[len(PORT) :].split("/")
    return f"{number}/{protocol}"


def in_counts(counts: list[tuple[str, int]]) -> str:
    """`too few free slots on 3 nodes; down on 1 node`, the most common first."""
    ordered = sorted(counts, key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{kind} on {count} node{'s' if count > 1 else ''}" for kind, count in ordered)
