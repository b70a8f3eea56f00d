"""Where a service's replicas rather go: nodes in tiers by the weights of its affinities, the best first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..state import constraints
from ..state.machine import ClusterState
from ..state.runs import Ints, Mask
from ..state.specs import Placement

Started = Mapping[str, Ints]
"""By service, the replicas that a plan starts on each node: the state does not know them yet."""


def weights(state: ClusterState, placement: Placement, started: Started) -> Ints:
    """int64[nodes]: the sum of the weights of what each node meets."""
    table = state.node_table()
    total = np.zeros(table.ready.size, dtype=np.int64)
    for affinity in placement.affinities:
        if affinity.service:
            held = state.held_by_node(affinity.service)
            if affinity.service in started:
                held = held + started[affinity.service]
            total += affinity.weight * (held > 0)
        else:
            rule = constraints.parse(affinity.constraint)
            codes, values = table.attribute(rule.attribute)
            total += affinity.weight * np.array([rule.is_met(value) for value in values], dtype=bool)[codes]
    return total


def tiers(weight: Ints, among: Mask) -> Iterator[Mask]:
    """bool[nodes] each: these nodes by their weights, the highest first."""
    for value in np.unique(weight[among])[::-1].tolist():
        yield among & (weight == value)
