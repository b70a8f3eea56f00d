"""Repair in plans of a bounded size, so that thousands of services are put right and no turn is long."""

from __future__ import annotations

from bisect import bisect_left

from ..state.commands import Plan
from ..state.machine import ClusterState
from .choosing import Scores
from .reconcile import Limits, Target, finished, plan_targets

SLICE_RUNS = 4_000
SLICE_TASKS = 40_000
"""What one plan may hold: so much is applied in a few milliseconds."""
SLICE_WORK = 50_000
A_SERVICE = 2_000
"""What one plan may look at, in nodes and replicas, and what a service costs beside them, in the same."""


class Repairs:
    """Goes round the services that are not as desired, with one plan after the other. Once all were looked at and
    nothing could be done, it rests until the state is another one."""

    def __init__(self) -> None:
        self._next = 0
        """The number of the service with which the next plan begins."""
        self._left = 0
        """How many services are still to be looked at, of the state as of this entry:"""
        self._index = -1

    def look_again(self, state: ClusterState) -> None:
        """Time has passed, and something may wait for it."""
        if state.heeds_time():
            self._left = len(state.unsettled_numbers())

    def next_plan(self, state: ClusterState, now_ms: int, scores: Scores) -> tuple[Plan | None, bool]:
        """(the next plan, or None; whether there is more to look at)."""
        if state.applied_index != self._index:
            # What has changed may concern those that were looked at already.
            self._index, self._left = state.applied_index, len(state.unsettled_numbers())
        if self._left <= 0:
            return None, False
        some, limits = self._some(state), Limits(SLICE_RUNS, SLICE_TASKS)
        # By age, wherever the turn began: among equals the oldest is placed first.
        targets = [some[number] for number in sorted(some)]
        plan = finished(plan_targets(state, targets, now_ms, limits, scores))
        if limits.left_out:
            self._next = next(number for number, target in some.items() if target.name == limits.left_out[0])
            self._left += len(limits.left_out)
        return plan or None, bool(plan) or self._left > 0

    def _some(self, state: ClusterState) -> dict[int, Target]:
        """The next services by number, as many as can be planned for in one go."""
        numbers = state.unsettled_numbers()
        turn = bisect_left(numbers, self._next)
        targets: dict[int, Target] = {}
        work, nodes = 0, state.node_table().ready.size
        for number in (*numbers[turn:], *numbers[:turn]):
            if work >= SLICE_WORK or self._left <= 0:
                break
            record = state.service_numbered(number)
            targets[number] = Target(name=record.name, replicas=record.replicas, spec=record.spec)
            work += A_SERVICE + nodes + max(record.placed + record.lost, record.replicas)
            self._left -= 1
            self._next = number + 1
        return targets
