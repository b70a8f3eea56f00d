"""Why replicas wait, node by node."""

from __future__ import annotations

import msgspec
import numpy as np

from ..state.machine import ClusterState
from ..state.needs import needs_of
from ..state.obstacles import ROOM, detail, in_counts, obstacles
from ..state.records import Pending, ServiceRecord


def why_not(state: ClusterState, service: str, limit: int) -> tuple[str, tuple[tuple[str, str], ...]]:
    """For a service that is there: nodes counted by what keeps them from taking one more replica, and the reason of
    each of the first `limit`."""
    record = state.service(service)
    assert record is not None
    kinds = _kinds(state, record)
    return _summary(kinds), _details(state, record, kinds, limit)


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
    kinds = _kinds(state, record)
    return Explanation(pending=pending, summary=_summary(kinds), nodes=_details(state, record, kinds))


def why_update_waits(state: ClusterState, service: str) -> str:
    """Why an update does not go on, where new replicas have to start before old ones stop and no node has room for one;
    empty where it goes on."""
    record, policy = state.service(service), state.active_update(service)
    if record is None or policy is None or not record.spec.starts_first(policy):
        return ""
    tasks = state.wanted(service)
    if bool((tasks.versions == record.template).all()):
        return ""
    kinds = _kinds(state, record)
    if ROOM in kinds.values():
        return ""
    return f"start-first needs room for one replica more: {_summary(kinds)}; make room, or choose stop-first"


def _kinds(state: ClusterState, record: ServiceRecord) -> dict[int, str]:
    """The first obstacle of each present node, by number."""
    table, place = state.node_table(), record.spec.where
    held = state.held_by_node(record.name)
    kinds = {node.number: ROOM for node in state.nodes()}
    for obstacle in obstacles(table, state.room(), needs_of(record.spec), place, held):
        for number in np.flatnonzero(obstacle.nodes).tolist():
            kinds[number] = obstacle.kind
    return kinds


def _details(
    state: ClusterState, record: ServiceRecord, kinds: dict[int, str], limit: int | None = None
) -> tuple[tuple[str, str], ...]:
    table, room, place = state.node_table(), state.room(), record.spec.where
    held = state.held_by_node(record.name)
    needs = needs_of(record.spec)
    return tuple(
        [
            (node.name, detail(table, room, needs, place, held, node.number, kinds[node.number]))
            for node in state.nodes()[:limit]
        ]
    )


def _summary(kinds: dict[int, str]) -> str:
    """As SwarmKit words it: `no suitable node (too few free slots on 3 nodes; down on 1 node)`."""
    if not kinds:
        return "no suitable node (there is none)"
    found = list(kinds.values())
    told = in_counts([(kind, found.count(kind)) for kind in dict.fromkeys(found)])
    return told if ROOM in found else f"no suitable node ({told})"
