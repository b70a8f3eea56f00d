"""What simulated replicas use: a constant of each, and its share of what all of them together have to bear.

The leader tells an agent how many replicas share the demand and for how long it has been set, as a load balancer would
have spread it; the agent answers with what its own replicas use (control/usage.py).
"""

from __future__ import annotations

from .replicas import Replicas
from .services import Service
from .specs import DemandStep, Simulated


def usage_of_one(how: Simulated, sharing: int, since_ms: int) -> dict[str, float]:
    """What one running replica uses by metric, where `sharing` of them bear a demand that was set `since_ms` ago."""
    used = dict(how.usage)
    for metric, demand in how.demand.items():
        used[metric] = used.get(metric, 0.0) + _total(demand, since_ms) / max(1, sharing)
    return dict(sorted(used.items()))


def _total(demand: float | tuple[DemandStep, ...], since_ms: int) -> float:
    if isinstance(demand, int | float):
        return float(demand)
    reached = [step.total for step in demand if step.after_s * 1_000 <= since_ms]
    return reached[-1] if reached else 0.0


def has_steps(how: Simulated) -> bool:
    """Whether it matters for how long the demand has been set."""
    return any(not isinstance(demand, int | float) for demand in how.demand.values())


def waits_for_its_beginning(service: Service) -> bool:
    """Whether a demand in steps begins when the cluster's clock is next told: who set it has no clock that counts."""
    return service.demand_ms is None and has_steps(service.spec.simulate)


def begin_demands(replicas: Replicas) -> None:
    """Demands that were set since the clock was last told begin now."""
    for service in replicas.services.loaded():
        if waits_for_its_beginning(service):
            service.demand_ms = replicas.clock_ms
