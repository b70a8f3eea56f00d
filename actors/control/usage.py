"""What replicas use, as their agents say: asked for in rounds, kept by service and node in the leader's memory only.

A round asks every ready node that runs something worth a question, a slice of them a tick, and ends when all have
answered or have had a second. Within a round all agents are told the same numbers of running replicas, so what they
answer adds up, unless more have begun to run meanwhile: then the next round comes soon, as it does after one in which
nothing ran yet. A cluster where nothing is measured asks nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ..messages import MeasureUsage, ServiceUsage, UsageReport
from ..scheduling.measured import Measured
from ..state.records import Assignments
from ..units import NS_PER_MS
from .liveness import TICK_MS

if TYPE_CHECKING:
    from .host import Host

__all__ = ["ROUND_S", "Usage", "UsageShown", "Used"]

ROUND_S = 15.0
"""From one round to the next; shorter where an autoscaler decides more often."""
ANSWER_S = 1.0
WORK_A_TICK = 100
"""Nodes asked, and running replicas of services counted, in one tick: 5,000 nodes and 1,000 services take 6 s."""


class Used(msgspec.Struct, kw_only=True):
    """What a service's replicas use together, by metric, and how many of them were measured."""

    replicas: int = 0
    totals: dict[str, float] = {}

    def add(self, used: ServiceUsage) -> None:
        """One more node's."""
        self.replicas += used.replicas
        for metric, total in used.totals:
            self.totals[metric] = self.totals.get(metric, 0.0) + total

    @property
    def means(self) -> dict[str, float]:
        return {metric: total / self.replicas for metric, total in self.totals.items()} if self.replicas else {}

    def view(self) -> dict[str, dict[str, float]]:
        """Ready for JSON."""
        means = self.means
        return {
            metric: {"mean": round(means[metric], 6), "total": round(total, 6), "replicas": self.replicas}
            for metric, total in sorted(self.totals.items())
        }


class UsageShown:
    """What a node says that its replicas use, for as long as somebody asks."""

    def __init__(self) -> None:
        self._said: tuple[ServiceUsage, ...] = ()
        self._at_ns = 0
        self._here: frozenset[str] = frozenset()

    def reported(self, services: tuple[ServiceUsage, ...], now_ns: int) -> None:
        """The agent's newest word."""
        self._said, self._at_ns = services, now_ns

    def assigned(self, assignments: Assignments) -> None:
        """What the node runs from now on: nobody asks what a service uses that has left."""
        self._here = frozenset(run.service for run in assignments.runs)

    def at(self, now_ns: int) -> dict[str, float]:
        """By metric, of services that are still here; nothing when it was said more than three rounds ago."""
        if now_ns - self._at_ns > 3 * ROUND_S * 1e9:
            return {}
        return total_of([used for used in self._said if used.service in self._here])


class Usage:
    """One leader's table in one term. `clock_ms` tells how late it is on the cluster's clock."""

    def __init__(self, host: Host, term: int, clock_ms: Callable[[], int]) -> None:
        self._host = host
        self._term = term
        self._clock_ms = clock_ms
        self.measured = Measured()
        """The same by node and replica, for those who place by it."""
        self.round = 0
        self._forget_all()

    def _forget_all(self) -> None:
        self.has_ended = True
        """Whether everybody has answered in this round, or has had the time to."""
        self.began_ns = -1 << 62
        self._to_ask: deque[str] = deque()
        self._awaited: dict[str, None] = {}
        self._sharing: dict[str, int] = {}
        self._is_extra = False
        """Whether this round was begun early."""
        # Sums by service, of this round so far and of the one before; nothing is ever taken off a sum.
        self._sums: dict[str, Used] = {}
        self._sums_before: dict[str, Used] = {}
        self._by_node: dict[str, UsageReport] = {}
        self.measured.clear()

    def tick(self, round_s: float) -> None:
        """Time passed: begin a round that is due, or go on with one."""
        state = self._host.state
        if not state.has_loads():
            self._forget_all()
            return
        now_ns = self._host.context.now_ns()
        says_little = not self._sums or any(self.is_more(service) for service in self._sums)
        is_extra = says_little and not self._is_extra
        wait_s = min(ANSWER_S, round_s) if is_extra else round_s
        is_due = now_ns - self.began_ns >= wait_s * 1e9 - TICK_MS * NS_PER_MS / 2
        if self.has_ended and is_due:
            self._is_extra = is_extra
            self._begin(now_ns)
        self._ask()
        is_late = now_ns - self.began_ns >= ANSWER_S * 1e9
        if not self._to_ask and (not self._awaited or is_late):
            self.has_ended = True

    def _begin(self, now_ns: int) -> None:
        self.round += 1
        self.measured.begin(self.round, self._sums)
        self.has_ended, self.began_ns = False, now_ns
        self._sums_before, self._sums = self._sums, {}
        self._sharing, self._awaited = {}, {}
        ready = [record.name for record in self._host.state.nodes() if record.status == "ready"]
        self._to_ask = deque(ready)
        for node in [node for node, report in self._by_node.items() if report.round < self.round - 1]:
            self._forget(node)

    def _ask(self) -> None:
        """The next nodes: what they run that uses something, and with how many it shares its demand."""
        state, work, now_ms = self._host.state, WORK_A_TICK, self._clock_ms()
        while self._to_ask and work > 0:
            node = self._to_ask.popleft()
            work -= 1
            loads = []
            for service, demand_ms in state.loaded_on(node):
                if service not in self._sharing:
                    self._sharing[service] = state.running_count(service)
                    work -= 1
                since_ms = 0 if demand_ms is None else max(0, now_ms - demand_ms)
                loads.append((service, self._sharing[service], since_ms))
            if loads:
                self._awaited[node] = None
                message = MeasureUsage(
                    leader=self._host.node, term=self._term, round=self.round, loads=tuple(loads)
                )
                self._host.send_to_node(node, message)
            else:
                self._forget(node)

    def _forget(self, node: str) -> None:
        self._by_node.pop(node, None)
        self.measured.forget(node)

    def reported(self, report: UsageReport) -> None:
        """A node's answer; one to an earlier round has come too late."""
        if report.round != self.round or report.node not in self._awaited:
            return
        del self._awaited[report.node]
        self._by_node[report.node] = report
        for used in report.services:
            if used.service not in self._sums:
                self._sums[used.service] = Used()
            self._sums[used.service].add(used)
            self.measured.one_uses(used.service, self._sums[used.service].means)
        self.measured.node_uses(report.node, total_of(report.services))

    def is_more(self, service: str) -> bool:
        """Whether more replicas answered in this round than were known to run when it began: they do not add up."""
        measured = self._sums.get(service)
        return measured is not None and measured.replicas > self._sharing.get(service, 0)

    def of_service(self, service: str) -> Used | None:
        """What a service's replicas use, by the last round that has ended; None where nobody has said anything."""
        return (self._sums if self.has_ended else self._sums_before).get(service)

    def show_in(self, services: list[dict[str, Any]]) -> None:
        """Add what is used to the services of an answer."""
        for view in services:
            used = self.of_service(view["name"])
            if used is not None:
                view["usage"] = used.view()

    def of_node(self, node: str) -> dict[str, float]:
        """What everything that is still on a node uses, by the newest answer."""
        report = self._by_node.get(node)
        if report is None:
            return {}
        here = {service for service, _ in self._host.state.loaded_on(node)}
        return total_of([used for used in report.services if used.service in here])


def total_of(services: Sequence[ServiceUsage]) -> dict[str, float]:
    """What these use together, by metric."""
    totals: dict[str, float] = {}
    for used in services:
        for metric, total in used.totals:
            totals[metric] = totals.get(metric, 0.0) + total
    return {metric: round(total, 6) for metric, total in sorted(totals.items())}
