"""Repair in plans of a bounded size, so that thousands of services are put right and no turn is long."""

from __future__ import annotations

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
A_LOOK = 30
"""What it costs to see that a service is settled meanwhile."""


class Repairs:
    """Goes through the services that are not as desired, those of the highest priority first and of equals the oldest,
    with one plan after the other. Once all were looked at and nothing could be done, it rests until the state is
    another one.

    What has changed may concern those that were looked at already, and room is for the highest priority first: so it
    begins again. Where the state changes all the time it goes at least twice as far from one beginning to the next,
    until it has come to the end, so that the last have their turn too.
    """

    def __init__(self) -> None:
        self._order: list[int] = []
        """The numbers of the services of this pass. Many may be settled meanwhile."""
        self._next = 0
        """Where in it the next plan begins."""
        self._fewest = 0
        """How many are looked at before it may begin again."""
        self._is_outdated = False
        """Whether anything is another way than when the pass began."""
        self._index = -1
        """The entry as of which all of this is."""

    def look_again(self, state: ClusterState) -> None:
        """Time has passed, and something may wait for it."""
        self._is_outdated |= state.heeds_time()

    def next_plan(self, state: ClusterState, now_ms: int, scores: Scores) -> tuple[Plan | None, bool]:
        """(the next plan, or None; whether there is more to look at)."""
        if state.applied_index != self._index:
            self._index, self._is_outdated = state.applied_index, True
        if self._is_outdated and (self._is_at_end or self._next >= self._fewest):
            # Sorting a hundred thousand takes longer than a plan: once a pass.
            self._fewest = 0 if self._is_at_end else 2 * self._next
            self._order, self._next, self._is_outdated = state.unsettled_numbers(), 0, False
        if self._is_at_end:
            return None, False
        some, limits = self._some(state), Limits(SLICE_RUNS, SLICE_TASKS)
        plan = finished(plan_targets(state, list(some.values()), now_ms, limits, scores))
        if limits.left_out:
            self._next = next(place for place, target in some.items() if target.name == limits.left_out[0])
        return plan or None, bool(plan) or self._is_outdated or not self._is_at_end

    @property
    def _is_at_end(self) -> bool:
        return self._next >= len(self._order)

    def _some(self, state: ClusterState) -> dict[int, Target]:
        """The next services, as many as can be planned for in one go, by their place in the order."""
        targets: dict[int, Target] = {}
        work, nodes = 0, state.node_table().ready.size
        while work < SLICE_WORK and not self._is_at_end:
            number = self._order[self._next]
            work += A_LOOK
            if state.is_unsettled(number):
                record = state.service_numbered(number)
                targets[self._next] = Target(name=record.name, replicas=record.replicas, spec=record.spec)
                work += A_SERVICE + nodes + max(record.placed + record.lost, record.replicas)
            self._next += 1
        return targets
