"""What keeps a node from taking one more replica: the filters, in Swarm's order, each of which explains itself.

Ready, resources, constraints, platform, host ports, most replicas a node: the first that says no is the reason.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from . import constraints
from .needs import PORT, SLOTS, Needs
from .nodes import NodeTable, Room
from .runs import Ints, Mask
from .specs import Placement

ROOM = "room for the next plan"
"""Said of a node that nothing keeps from taking a replica."""
TOO_FEW_SLOTS = "too few free slots"


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
    yield "constraints not met", nodes.meeting(placement)
    yield "another platform", nodes.on_platform(placement)
    for name in ports:
        yield f"port {_port(name)} in use", room.free(name) >= 1
    if placement.max_replicas_per_node:
        yield "most replicas a node reached", held < placement.max_replicas_per_node


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
