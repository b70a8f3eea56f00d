"""Why replicas wait, node by node."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np

from ..state.machine import ClusterState
from ..state.needs import needs_of
from ..state.obstacles import ROOM, detail, in_counts, obstacles
from ..state.records import Pending, ServiceRecord
from .choosing import Chooser, Scores, is_plain
from .measured import Measured

COMPARED, COMPARED_AMONG = 50, 1_000
"""Nodes that are shown with their scores, and among how many at most: scoring more takes too long for an answer."""


def why_not(
    state: ClusterState, service: str, limit: int | None, now_ms: int | None = None
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """For a service that is there: nodes counted by what keeps them from taking one more replica, and the reason of
    each of the first `limit`. What waits for no node but for another service or for its time says that, and no node."""
    record = state.service(service)
    assert record is not None
    held_back = state.why_held_back(service, now_ms)
    if held_back:
        return held_back, ()
    kinds = _kinds(state, record)
    return _summary(kinds), _details(state, record, kinds, limit)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`summary` counts nodes by what keeps them from taking a replica; `nodes` has the reason of each, or of the first
    that joined. Where no node is waited for, `summary` says for what, and `nodes` is empty."""

    pending: Pending
    summary: str
    nodes: tuple[tuple[str, str], ...]


def explain(
    state: ClusterState, service: str, most: int | None = None, now_ms: int | None = None
) -> Explanation | None:
    """Why a service's replicas wait; None where none waits or there is no such service.

    most: of so many nodes the reason is told one by one, None = of all. now_ms: how late it is on the cluster's clock,
    for who knows it better than the log.
    """
    pending = state.pending_of(service, now_ms)
    if pending is None:
        return None
    summary, nodes = why_not(state, service, most, now_ms)
    return Explanation(pending=pending, summary=summary, nodes=nodes)


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """How good a node is for one replica more: by the weights of the affinities first, then by the profile's score,
    which `spread` has not; higher is better."""

    node: str
    affinity: int
    score: int | None


def compare(
    state: ClusterState, service: str, limit: int = COMPARED, measured: Measured | None = None
) -> tuple[Compared, ...]:
    """The nodes with room for one replica more, the best first, where affinities or a profile compare them.

    measured: what the leader has measured, for the profile `usage`.
    """
    record = state.service(service)
    if record is None or record.spec.is_global or is_plain(record.spec) or len(state.nodes()) > COMPARED_AMONG:
        return ()
    room, place = state.room(), record.spec.placement
    most = np.where(state.node_table().allowed(place), room.fits(needs_of(record.spec)), 0)
    if place.max_replicas_per_node:
        most = np.where(state.held_by_node(service) < place.max_replicas_per_node, most, 0)
    found = Chooser(state, room, Scores(measured)).scores(record.spec, most)
    order = sorted(found, key=lambda node: (-found[node][1], -(found[node][0] or 0), node))
    names = state.node_table().names(order[:limit])
    return tuple(
        [
            Compared(node=name, affinity=found[node][1], score=found[node][0])
            for name, node in zip(names, order, strict=False)
        ]
    )


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
    found = Counter(kinds.values())
    told = in_counts(list(found.items()))
    return told if ROOM in found else f"no suitable node ({told})"
