"""What runs on each node uses, as its agent last said, and what has been placed there since: for the profile `usage`.

Agents are asked in rounds, so between two of them a node looks as idle as it was, whatever has been placed on it. So
what is placed counts as what one replica of its service is known to use, until the node answers in a later round. It
is known from the replicas that were measured. Without any, what a replica reserves stands for it; and if that is
nothing, what one of the measured services uses on the average.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..state.machine import ClusterState
from ..state.needs import UNLIMITED, Needs
from ..state.runs import Ints
from .demand import Floats

METRICS = ("cpu_milli", "memory_mib")
"""Compared where no node says how much it has of anything that is measured."""


class Measured:
    """One leader's, in memory only; nothing is measured at first."""

    def __init__(self) -> None:
        self._round = 0
        self._said: dict[str, Mapping[str, float]] = {}
        self._of_one: dict[str, Mapping[str, float]] = {}
        self._mean: dict[str, float] | None = None
        """Of all of them, when somebody has asked."""
        # By node and the round in which it was placed.
        self._since: dict[str, dict[int, dict[str, float]]] = {}

    def __bool__(self) -> bool:
        """Whether any node has said anything."""
        return bool(self._said)

    def copy(self) -> Measured:
        """One that goes its own way, for plans that are not carried out."""
        other = Measured()
        other._round = self._round
        other._said, other._of_one = dict(self._said), dict(self._of_one)
        other._since = {
            node: {placed: dict(used) for placed, used in rounds.items()}
            for node, rounds in self._since.items()
        }
        return other

    def clear(self) -> None:
        """Nothing is measured any more."""
        self._said, self._of_one, self._since, self._mean = {}, {}, {}, None

    # what comes in

    def begin(self, round: int, services: Iterable[str]) -> None:
        """What is placed from now on is not in what nodes say in earlier rounds. services: those that the last round
        has measured; the others are forgotten."""
        self._round = round
        self._of_one = {name: self._of_one[name] for name in services if name in self._of_one}
        self._mean = None

    def node_uses(self, node: str, totals: Mapping[str, float]) -> None:
        """A node's answer in this round, by metric: all that had been placed before it is in there."""
        self._said[node] = totals
        since = self._since.get(node)
        if since is not None:
            self._since[node] = {placed: used for placed, used in since.items() if placed >= self._round}

    def forget(self, node: str) -> None:
        """Nothing that is measured runs there."""
        self._said.pop(node, None)
        self._since.pop(node, None)

    def one_uses(self, service: str, means: Mapping[str, float]) -> None:
        """What one replica of a service uses by metric, as measured."""
        self._of_one[service] = means
        self._mean = None

    def placed(self, state: ClusterState, nodes: Mapping[int, int], service: str, needs: Needs) -> None:
        """So many replicas of a service start on these nodes, by number. Only while anything is measured, or nobody
        would ever take them off."""
        for metric, units in self.expected(service, needs).items():
            for node, count in nodes.items():
                rounds = self._since.setdefault(state.node_table().records[node].name, {})
                placed = rounds.setdefault(self._round, {})
                placed[metric] = placed.get(metric, 0.0) + units * count

    # what is known

    def expected(self, service: str, needs: Needs) -> Mapping[str, float]:
        """What one replica more uses by metric: as its like do, else what it reserves, else as those of others do."""
        known = self._of_one.get(service)
        if known is None and needs.more:
            known = {name: float(units) for name, units in needs.more}
        return self._average() if known is None else known

    def _average(self) -> Mapping[str, float]:
        if self._mean is None:
            self._mean = {}
            for means in self._of_one.values():
                for metric, units in means.items():
                    self._mean[metric] = self._mean.get(metric, 0.0) + units / len(self._of_one)
        return self._mean

    def metrics(self, state: ClusterState) -> dict[str, Floats]:
        """float64[nodes], how much a node has, of each metric that nodes are compared by.

        Those are the measured ones of which any node says how much it has. A node that does not say counts as the
        median of those that do; where none says anything of any, the node that uses most counts as full.
        """
        table = state.node_table()
        measured = dict.fromkeys(metric for said in self._said.values() for metric in said)
        found: dict[str, Floats] = {}
        for metric in table.declared_resources():
            if metric in measured:
                has = table.capacity_of(metric)
                says = (has < UNLIMITED) & (has > 0) & table.is_present
                if says.any():
                    found[metric] = np.where(says, has, np.median(has[says])).astype(np.float64)
        if not found:
            for metric in METRICS:
                if metric in measured:
                    found[metric] = np.full(table.ready.size, max(1e-9, float(self.used(state, metric).max())))
        return found

    def used(self, state: ClusterState, metric: str) -> Floats:
        """float64[nodes]: what is used of one metric, and will be by what has been placed since."""
        records = state.node_table().records
        used = np.zeros(len(records))
        for number in np.flatnonzero(state.node_table().is_present).tolist():
            name = records[number].name
            said = self._said.get(name)
            used[number] = 0.0 if said is None else said.get(metric, 0.0)
            for placed in self._since.get(name, {}).values():
                used[number] += placed.get(metric, 0.0)
        return used


class Loads:
    """How loaded nodes are while a plan is made: `placed` and `left` keep it true."""

    def __init__(self, state: ClusterState, measured: Measured) -> None:
        self._measured = measured
        self._has = measured.metrics(state)
        self._used = {metric: measured.used(state, metric) for metric in self._has}
        self._size = state.node_table().ready.size

    def percent(self) -> Ints:
        """int64[nodes]: of the metric of which most is used, how many per cent of what the node has; above 100 too."""
        return self._percent(self._used)

    def _percent(self, used: Mapping[str, Floats]) -> Ints:
        level = np.zeros(self._size)
        for metric, units in used.items():
            np.maximum(level, units / self._has[metric], out=level)
        return np.floor(level * 100.0 + 1e-9).astype(np.int64)

    def add(self, service: str, needs: Needs, counts: Ints) -> None:
        """So many replicas of a service more on each node, or fewer."""
        for metric, units in self._measured.expected(service, needs).items():
            if metric in self._used:
                self._used[metric] = self._used[metric] + units * counts

    def after(self, service: str, needs: Needs, node: int, count: int) -> int:
        """The per cent of one node with so many replicas of a service more; negative: with fewer."""
        expected = self._measured.expected(service, needs)
        level = max(
            (
                (float(used[node]) + count * expected.get(metric, 0.0)) / float(self._has[metric][node])
                for metric, used in self._used.items()
            ),
            default=0.0,
        )
        return int(np.floor(level * 100.0 + 1e-9))
