"""No replica is run twice: one task in a slot, and each task on one node."""

from __future__ import annotations

import numpy as np

from ...node import Node
from ..histories import History
from ..inside import Inside
from .base import Checker

__all__ = ["NoReplicaTwice"]


class NoReplicaTwice(Checker):
    """In what was agreed, and in what the agents run.

    A node that is cut off goes on with its replicas until it hears otherwise, while others have taken their place:
    those are other tasks in the same slot. The agreed state has one of them wanted, and one task is never on two nodes.
    """

    name = "no-replica-twice"
    promise = "no two replicas are wanted in one slot, and no task runs on two nodes"

    def __init__(self, inside: Inside, history: History) -> None:
        super().__init__(inside, history)
        self._checked = 0

    def looked(self, node: Node) -> None:
        if node.applied <= self._checked:
            return
        self._checked = node.applied
        for service in node.state.services():
            slots = node.state.running(service.name)[0]
            for slot in slots[1:][slots[1:] == slots[:-1]].tolist():
                raise self.broken(f"{service.name} replica {slot} is wanted twice, by {node.node}'s state")

    def passed(self, t_ns: int) -> None:
        seen = {name: self.inside.agent(name) for name in self.inside.names()}
        agents = {name: agent for name, agent in seen.items() if agent is not None and agent._running.size}
        if len(agents) < 2:
            return
        once, times = np.unique(np.concatenate([agent._running for agent in agents.values()]), return_counts=True)
        for task in once[times > 1].tolist():
            one, other, *_ = [name for name, agent in agents.items() if task in agent._running]
            raise self.broken(f"task {task} runs on {one} and on {other}")
