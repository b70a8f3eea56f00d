"""No replica is lost: what is asked for and fits is placed, and what is placed is really run."""

from __future__ import annotations

import numpy as np

from ...scheduling.reasons import explain
from ...state.machine import ClusterState
from ...state.task_states import TaskState
from ..histories import History
from ..inside import Inside
from .base import Checker

__all__ = ["NoReplicaLost"]

GRACE_S = 10.0
"""Longer than an election, the discovery that a node is gone, and the plan for its replicas take together."""


class NoReplicaLost(Checker):
    """While somebody leads who can decide, nothing may be missing for longer than the grace."""

    name = "no-replica-lost"
    promise = f"while there is a leader, no replica for which there is room is missing for {GRACE_S:g} s"

    def __init__(self, inside: Inside, history: History) -> None:
        super().__init__(inside, history)
        self._missing: dict[str, int] = {}
        self._progress: tuple[str, int, int] = ("", 0, 0)

    def passed(self, t_ns: int) -> None:
        """What is missing now, and since when."""
        missing = self._look()
        self._missing = {what: self._missing.get(what, t_ns) for what in missing}
        for what, since in self._missing.items():
            self.demand((t_ns - since) / 1e9 <= GRACE_S, f"{what} for more than {GRACE_S:g} s")

    def _look(self) -> list[str]:
        leader = self.inside.leader
        node = None if leader is None else self.inside.member(leader)
        if leader is None or node is None or not node.raft.is_leader or not self._can_decide(leader):
            return []
        return [*_not_placed(node.state), *self._not_run(node.state)]

    def _can_decide(self, leader: str) -> bool:
        """Whether it hears a majority; else it will step down, and nothing can be agreed on until then."""
        voters = [name for name in self.inside.names() if self._is_voter(leader, name)]
        heard = [
            name
            for name in voters
            if name == leader
            or (
                self.inside.member(name) is not None
                and not self.inside.is_cut(leader, name)
                and not self.inside.is_cut(name, leader)
            )
        ]
        return 2 * len(heard) > len(voters)

    def _is_voter(self, leader: str, name: str) -> bool:
        node = self.inside.member(leader)
        return node is not None and node.raft.membership.is_voter(name)

    def _not_run(self, state: ClusterState) -> list[str]:
        """Replicas that are taken for running on a node whose agent does not run them."""
        found = []
        for record in state.nodes():
            agent = self.inside.agent(record.name)
            if record.status != "ready":
                continue
            ids, is_now, should_be = state.task_states(record.name)
            if not ids.size:
                continue
            lost = ids[(is_now == TaskState.RUNNING) & (should_be == TaskState.RUNNING)]
            if agent is not None:
                lost = np.setdiff1d(lost, agent._running, assume_unique=True)
            if lost.size:
                found += [
                    f"{task.service} replica {task.slot}, said to run on {record.name}, does not run"
                    for task in state.tasks(lost)
                ]
        return found


def _not_placed(state: ClusterState) -> list[str]:
    return [
        f"{service.name} has {service.placed} of {service.replicas} replicas, with room for more,"
        for service in state.unsettled()
        if service.pending and not state.restarts(service.name).size and _has_room(state, service.name)
    ]


def _has_room(state: ClusterState, service: str) -> bool:
    """Whether a node would take one more, and nothing else is waited for."""
    told = explain(state, service)
    is_free = told is not None and any(why.endswith("slots free") for _, why in told.nodes)
    return is_free and not state.unmet(service)
