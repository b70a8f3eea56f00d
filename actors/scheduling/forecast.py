"""What would happen: the control loop on a copy of the state, with agents that do at once what they are told.

The planner and the state machine are the real ones, so the first step is exactly what a leader would do next. The
later ones are so if all goes well: whatever starts runs on, no node fails, and nobody asks for anything else.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import msgspec
import numpy as np

from ..state import restarts
from ..state.commands import (
    Command,
    ExecuteCall,
    GoOnRebalance,
    PassTime,
    PlaceTasks,
    Plan,
    ServicePlan,
)
from ..state.forks import run_everything
from ..state.machine import ClusterState
from ..state.records import Outcome, StateEvent
from ..state.runs import PLAN, REPORT, Ints
from ..state.untold import runs_of
from .choosing import Scores
from .measured import Measured
from .preempting import plan_preemption
from .reconcile import call_slices, repair_slices

MOST_STEPS = 1_000
"""An update of many replicas, one at a time, is not followed to its end."""
MOST_S = 86_400
"""Nor is what takes longer than a day."""
RUNS_A_PIECE = 1_000


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one log entry starts and stops. at_ms: so long after the plan was made. services: their names."""

    at_ms: int
    starts: int
    stops: int
    services: tuple[str, ...]


class Tally:
    """What all steps together start and stop of one service, and where: int64[nodes], by node number. preempted: how
    many of those that stop make room for which service."""

    def __init__(self, nodes: int) -> None:
        self.starts: Ints = np.zeros(nodes, dtype=np.int64)
        self.stops: Ints = np.zeros(nodes, dtype=np.int64)
        self.preempted: dict[str, int] = {}


class Forecast:
    """`state` is a copy of the caller's, and its own from now on. now_ms: how late it is on the cluster's clock.
    measured: what the leader has measured, which stays as it is."""

    def __init__(
        self, state: ClusterState, term: int, now_ms: int, measured: Measured | None = None
    ) -> None:
        self.state = state
        self._scores = Scores(None if measured is None else measured.copy())
        self.steps: list[Step] = []
        self.tallies: dict[str, Tally] = {}
        """By service, in the order in which they are first concerned."""
        self.is_complete = True
        """Whether it was followed until nothing more would happen."""
        self._term = term
        self._began_ms = self.now_ms = now_ms
        """How late it is when the last step is done."""
        self._step: dict[str, list[int]] = {}

    def do(self, command: Command) -> Outcome:
        """Carry out one command; what it starts and stops is counted."""
        outcome = self.state.apply(self.state.applied_index + 1, self._term, command)
        for event in outcome.events:
            self._count(event)
        return outcome

    def settle(self) -> Generator[None, None, None]:
        """Step by step until nothing more happens; yields after a few milliseconds of work."""
        while len(self.steps) < MOST_STEPS:
            plan = yield from self._next()
            if plan is None:
                moment = next_moment(self.state, self.now_ms)
                if moment is None:
                    return
                if moment > self._began_ms + MOST_S * 1_000:
                    break
                self.now_ms = moment
                self.do(PassTime(term=self._term, clock_ms=moment))
                continue
            self._step = {}
            yield from self._carry_out(plan)
            run_everything(self.state)
            starts, stops = (sum(counts[which] for counts in self._step.values()) for which in (0, 1))
            at_ms = self.now_ms - self._began_ms
            self.steps.append(Step(at_ms=at_ms, starts=starts, stops=stops, services=tuple(self._step)))
            yield
        self.is_complete = False

    def _next(self) -> Generator[None, None, Plan | Command | None]:
        """As the control loop has it: the oldest call, else whatever repairs, else who has to go for what still waits,
        else the next moves of a rebalance."""
        state = self.state
        if self.now_ms <= state.clock_ms() and state.waits_for_time(self.now_ms):
            self.now_ms = state.clock_ms() + 1
        if self.now_ms > state.clock_ms():
            self.do(PassTime(term=self._term, clock_ms=self.now_ms))
        head = state.head()
        if head is not None:
            plan = yield from call_slices(state, head, self._scores)
            return ExecuteCall(call_id=head.id, term=self._term, made_at=state.applied_index, plan=plan)
        repair = yield from repair_slices(state, self.now_ms, self._scores)
        found = repair or plan_preemption(state, self.now_ms)
        if found is None and state.rebalance_is_due():
            return GoOnRebalance(term=self._term)
        return found

    def _carry_out(self, plan: Plan | Command) -> Generator[None, None, None]:
        """All stops before all starts, as when a plan is applied at once; but a bit at a time."""
        if isinstance(plan, ExecuteCall):
            self.do(msgspec.structs.replace(plan, plan=Plan()))
            yield
            plan = plan.plan
        if not isinstance(plan, Plan):
            self.do(plan)
            return
        if any(part.preempted_by for part in plan.services):
            # It is small, and one entry: who goes makes room for the others in it.
            self.do(PlaceTasks(term=self._term, made_at=self.state.applied_index, plan=plan))
            return
        stops = [msgspec.structs.replace(part, starts=b"", devices=b"") for part in plan.services]
        starts = [piece for part in plan.services for piece in _pieces(part)]
        for part in (*stops, *starts):
            if part.starts or part.stops or part.retires:
                made_at = self.state.applied_index
                self.do(PlaceTasks(term=self._term, made_at=made_at, plan=Plan(services=(part,))))
                yield

    # counting

    def _count(self, event: StateEvent) -> None:
        if event.kind not in ("tasks-placed", "tasks-stopped", "tasks-lost", "tasks-preempted"):
            return
        tally = self.tallies.setdefault(event.data["service"], Tally(self.state.node_table().ready.size))
        column = tally.starts if event.kind == "tasks-placed" else tally.stops
        for node, first, last in runs_of(event):
            column[node] += last - first + 1
        if event.kind == "tasks-preempted":
            by = event.data["by"]
            tally.preempted[by] = tally.preempted.get(by, 0) + event.data["replicas"]
        step = self._step.setdefault(event.data["service"], [0, 0])
        step[event.kind != "tasks-placed"] += event.data["replicas"]


def _pieces(part: ServicePlan) -> list[ServicePlan]:
    """The starts of one service, a thousand runs at a time."""
    run, mask = 3 * PLAN.itemsize, REPORT.itemsize
    return [
        msgspec.structs.replace(
            part,
            stops=b"",
            retires=b"",
            starts=part.starts[first * run : (first + RUNS_A_PIECE) * run],
            devices=part.devices[first * mask : (first + RUNS_A_PIECE) * mask],
        )
        for first in range(0, len(part.starts) // run, RUNS_A_PIECE)
    ]


def next_moment(state: ClusterState, now_ms: int) -> int | None:
    """When something happens next because time has passed; None where nothing waits for that."""
    moments = [record.drain_ms for record in state.nodes() if record.drain_ms is not None]
    for record in state.unsettled():
        rows = state.restarts(record.name)
        waiting = rows[rows[:, restarts.KIND] == restarts.WAITS, restarts.READY]
        moments += _first_after(waiting, now_ms)
        policy = state.active_update(record.name)
        if policy is not None and record.update is not None:
            tasks = state.wanted(record.name)
            rested = tasks.updated_ms[tasks.versions == record.template] + round(policy.delay_s * 1_000)
            newest = int(tasks.updated_ms.max(initial=record.update.started_ms))
            watched_s = policy.monitor_s if policy.monitor_s > policy.delay_s else policy.delay_s + 1
            moments += [*_first_after(rested, now_ms), newest + math.ceil(watched_s * 1_000)]
    later = [moment for moment in moments if moment > now_ms]
    return min(later) if later else None


def _first_after(moments: Ints, now_ms: int) -> list[int]:
    later = moments[moments > now_ms]
    return [int(later.min())] if later.size else []
