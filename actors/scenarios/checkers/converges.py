"""After the faults the cluster puts itself right: one leader, equal states, every replica in its place."""

from __future__ import annotations

import numpy as np

from ...control import VOTERS
from ...node import Node
from ...scheduling.reasons import explain, why_update_waits
from ...state.machine import ClusterState
from ...state.task_states import TaskState
from ..inside import Inside
from ..views import View
from .base import Checker

__all__ = ["Converges", "why_unsettled", "why_unsettled_from_outside"]


class Converges(Checker):
    """At the end everything is healed, and the cluster has a minute to become what it should be."""

    name = "converges"
    promise = "once everything is healed, the cluster becomes what it should be"

    def ended(self) -> None:
        why = why_unsettled(self.inside)
        self.demand(why is None, f"not in order a minute after everything was healed: {why}")

    def gone(self) -> None:
        """Nothing is to become of it."""


def why_unsettled_from_outside(view: View) -> str | None:
    """As `why_unsettled`, as far as the front door's answers tell."""
    if view.leader is None:
        return "nobody leads"
    # A candidate goes on naming the leader that it does not hear any more.
    lost = ("down", "candidate")
    astray = [node.name for node in view.nodes if node.role in lost or node.leader != view.leader]
    if astray:
        return f"{astray} do not follow {view.leader}"
    short = [service.name for service in view.services if service.pending]
    if short:
        return f"replicas are missing of {short}"
    # What has ended for good runs no more, and of a job that takes few at a time the rest waits for its turn.
    many = [one.name for one in view.services if one.placed > max(0, one.replicas - one.completed - one.given_up)]
    return f"too many replicas of {many}" if many else None


def why_unsettled(inside: Inside) -> str | None:
    """Why a cluster is not yet as it should be; None when it is."""
    front = inside.front
    reading = [name for name in inside.names() if inside.member(name) is None]
    if reading:
        return f"{reading} do not take part"
    leading = inside.leading()
    if front is None or len(leading) != 1 or front.leader != leading[0]:
        return f"{leading} lead, the front door follows {front and front.leader}"
    leader = inside.member(leading[0])
    assert leader is not None
    return _why_members(leader, inside) or _why_replicas(leader.state) or _why_tasks(leader.state, inside)


def _why_members(leader: Node, inside: Inside) -> str | None:
    front, state, membership = inside.front, leader.state, leader.raft.membership
    assert front is not None
    names = [record.name for record in state.nodes()]
    if sorted(names) != sorted(front._nodes) or front._courier.waiting or front._cuts:
        return f"nodes {names}, at the front door {list(front._nodes)}, {len(front._courier.waiting)} commands wait"
    silent = [record.name for record in state.nodes() if record.status != "ready"]
    if silent or membership.learners or len(membership.voters) != min(VOTERS, len(names)):
        return f"down: {silent}, members {membership}"
    members = {name: inside.member(name) for name in membership.voters}
    if any(node is None or node.raft.term != leader.raft.term for node in members.values()):
        return f"terms {[(name, node and node.raft.term) for name, node in members.items()]}"
    if any(node is None or node.applied != leader.raft.last_index for node in members.values()):
        applied = [(name, node and node.applied) for name, node in members.items()]
        return f"applied {applied} of {leader.raft.last_index}"
    if len({node.state.digest() for node in members.values() if node is not None}) != 1:
        return "states differ"
    return None


def _why_tasks(state: ClusterState, inside: Inside) -> str | None:
    for record in state.nodes():
        agent = inside.agent(record.name)
        runs = [] if agent is None else sorted(agent._running.tolist())
        ids, is_now, should_be = state.task_states(record.name)
        wanted = ids[should_be == TaskState.RUNNING].tolist()
        if runs != wanted:
            return f"{record.name} runs {runs}, should run {wanted}"
        if np.any((is_now != TaskState.RUNNING) | (should_be != TaskState.RUNNING)):
            return f"tasks of {record.name}: {state.tasks_of(record.name)}"
    return None


def _why_replicas(state: ClusterState) -> str | None:
    """Replicas wait for nothing but a node that would take them, and say so; updates, for nothing but room."""
    if state.pending_calls():
        return f"calls wait: {[call.id for call in state.pending_calls()]}"
    rebalance = state.rebalance()
    if rebalance is not None and rebalance.is_under_way:
        return f"a rebalance goes on: {rebalance.count('moved')} of {len(rebalance.moves)} moved"
    for service in state.services():
        told = explain(state, service.name)
        has_room = told is not None and any(why.endswith("slots free") for _, why in told.nodes)
        if has_room and not state.unmet(service.name):
            return f"{service} waits, and there is room: {told}"
        lost = 0 if service.spec.is_global else service.lost
        is_updating = service.update is not None and service.update.is_active
        # More of a job may have been done than is desired now: they ended before the surplus was stopped.
        if service.placed + lost > max(0, service.replicas - service.done) and not is_updating:
            return f"too many of {service}"
        if service.pending and told is None:
            return f"{service} waits and does not say why"
        if is_updating and told is None and not why_update_waits(state, service.name):
            return f"the update of {service} goes on"
    return None
