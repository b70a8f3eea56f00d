"""How many replicas an autoscaled service has: the user's number to begin with, then what was decided by its usage."""

from __future__ import annotations

from . import commands as c
from .changes import Change
from .outcomes import refused, stale_term
from .records import Outcome, ScaleStatus
from .replicas import Replicas


def scale_service(replicas: Replicas, change: Change, term: int, command: c.ScaleService) -> Outcome:
    """Another number of replicas of the same version; refused where anybody has changed the service meanwhile."""
    if command.term != term:
        return stale_term(term, command.term)
    service = replicas.services.find(command.name)
    if service is None:
        return refused("unknown-service", f"there is no service {command.name}")
    policy = service.spec.autoscale
    if policy is None or service.version != command.version:
        reason = f"{command.name} is at version {service.version}; this was decided on version {command.version}"
        return refused("stale-version", reason)
    if service.replicas != command.was:
        reason = f"{command.name} has {service.replicas} replicas; this was decided on {command.was}"
        return refused("stale-version", reason)
    wanted = policy.within(command.replicas)
    if wanted == service.replicas:
        return Outcome(duplicate=True, version=service.version)
    service.set_replicas(wanted)
    service.scaled = ScaleStatus(
        at_ms=replicas.clock_ms, was=command.was, replicas=wanted, why=command.why, usage=command.usage
    )
    replicas.services.settle(service)
    change.emit(
        "service-scaled",
        service=service.name,
        was=command.was,
        replicas=wanted,
        metric=policy.metric,
        usage=command.usage,
        target=policy.target,
        why=command.why,
    )
    return Outcome(services=True, version=service.version)
