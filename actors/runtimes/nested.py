"""Replicas that are nodes of a nested cluster.

The agent does not start such a node itself: the cluster's own front door does, and only while it is told that the node
has a place here. So it is told again and again; one that is told no more, because this node is lost, stops the node.
"""

from __future__ import annotations

from ..messages import HostedNodes, SpawnCluster, nested_cluster, nested_node
from ..state.records import Assignments
from ..state.task_states import TaskState

__all__ = ["NestedRuntime"]

_Key = tuple[str, int]
"""A nested cluster's id and generation."""


class NestedRuntime:
    """The nested clusters' nodes on one node of `cluster`."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._node = ""
        self._nodes: dict[_Key, dict[str, bool]] = {}
        """By name: whether it is to leave."""
        self._tasks: dict[tuple[str, int, str], int] = {}
        self._states: dict[int, TaskState] = {}

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def reach(self, assignments: Assignments) -> tuple[SpawnCluster, ...]:
        """What is to be done so that these run."""
        before = self._nodes
        self._node, self._nodes, self._tasks = assignments.node, {}, {}
        for run in assignments.runs:
            if run.generation is None:
                continue
            key = nested_cluster(self._cluster, run.service), run.generation
            for task in range(run.first_task, run.first_task + run.count):
                name = nested_node(assignments.node, task)
                self._nodes.setdefault(key, {})[name] = run.is_leaving
                self._tasks[*key, name] = task
        tasks = dict.fromkeys(self._tasks.values(), TaskState.STARTING)
        self._states = {task: self._states.get(task, state) for task, state in tasks.items()}
        return self._wants([*self._nodes, *(key for key in before if key not in self._nodes)])

    def again(self) -> tuple[SpawnCluster, ...]:
        """The same, for whoever has not heard it or has forgotten."""
        return self._wants(list(self._nodes))

    def _wants(self, keys: list[_Key]) -> tuple[SpawnCluster, ...]:
        return tuple(
            SpawnCluster(
                parent=self._cluster,
                node=self._node,
                cluster=cluster,
                generation=generation,
                nodes=tuple(self._nodes.get((cluster, generation), {}).items()),
            )
            for cluster, generation in keys
        )

    def answered(self, answer: HostedNodes) -> bool:
        """What the cluster says of its nodes here; whether that is news."""
        changed = False
        for names, state in ((answer.joined, TaskState.RUNNING), (answer.gone, TaskState.SHUTDOWN)):
            for name in names:
                task = self._tasks.get((answer.cluster, answer.generation, name))
                if task is not None and self._states[task] < state:
                    self._states[task] = state
                    changed = True
        return changed

    def states(self) -> dict[int, int]:
        """By task: STARTING, RUNNING once it belongs to its cluster, SHUTDOWN once that has let it go."""
        return {task: int(state) for task, state in self._states.items()}
