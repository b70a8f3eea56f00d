"""Why replicas wait, node by node."""

from __future__ import annotations

import msgspec

from ..state.machine import ClusterState
from ..state.records import NodeRecord, Pending


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`summary` counts nodes by what keeps them from taking a replica; `nodes` has the reason of each."""

    pending: Pending
    summary: str
    nodes: tuple[tuple[str, str], ...]


def explain(state: ClusterState, service: str) -> Explanation | None:
    """Why a service's replicas wait; None where none waits or there is no such service."""
    record = state.service(service)
    pending = next((waiting for waiting in state.pending() if waiting.service == service), None)
    if record is None or pending is None:
        return None
    free = state.free_slots()
    size = record.slots_per_replica
    nodes = tuple((node, *_obstacle(node, int(free[node.number]), size)) for node in state.nodes())
    return Explanation(
        pending=pending,
        summary=_summary([kind for _, kind, _ in nodes]),
        nodes=tuple((node.name, detail) for node, _, detail in nodes),
    )


def _obstacle(node: NodeRecord, free: int, size: int) -> tuple[str, str]:
    """(kind, detail) of what keeps a node from taking one more replica of `size` slots."""
    if node.status != "ready":
        return "down", "down"
    if free < size:
        return "too few free slots", f"{free} of {node.capacity} slots free, {size} needed"
    return "room for the next plan", f"{free} of {node.capacity} slots free"


def _summary(kinds: list[str]) -> str:
    """As SwarmKit words it: `no suitable node (too few free slots on 3 nodes; down on 1 node)`."""
    if not kinds:
        return "no suitable node (there is none)"
    counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    told = "; ".join(f"{kind} on {count} node{'s' if count > 1 else ''}" for kind, count in ordered)
    return told if "room for the next plan" in counts else f"no suitable node ({told})"
