"""Services that run by a schedule: what becomes of a run that is due while an earlier one is not over.

No member needs to know the time, or time zones, to agree on this: the leader says which times have come.
"""

from __future__ import annotations

import msgspec

from . import commands as c, restarts
from .changes import Change
from .outcomes import refused, stale_term
from .records import CronStatus, Outcome
from .replicas import Replicas
from .services import Service


def run_due(replicas: Replicas, change: Change, term: int, command: c.RunDue) -> Outcome:
    """Times have come at which a service was due."""
    if command.term != term:
        return stale_term(term, command.term)
    service = replicas.services.find(command.name)
    if service is None:
        return refused("unknown-service", f"there is no service {command.name}")
    if not service.spec.is_cron or service.version != command.version:
        reason = f"{command.name} is at version {service.version}; this was decided on version {command.version}"
        return refused("stale-version", reason)
    cron = service.cron or CronStatus()
    if cron.decided_ms is not None and command.up_to_ms <= cron.decided_ms:
        return Outcome(duplicate=True, version=service.version)
    service.cron = msgspec.structs.replace(
        cron, decided_ms=command.up_to_ms, missed=cron.missed + command.missed
    )
    if command.missed:
        change.emit("cron-missed", service=service.name, missed=command.missed, up_to_ms=command.up_to_ms)
    if command.run_ms is not None:
        _run(replicas, change, service, command.run_ms)
    return Outcome(services=True, version=service.version)


def _run(replicas: Replicas, change: Change, service: Service, run_ms: int) -> None:
    """Begin a run, unless an earlier one forbids it."""
    spec, cron = service.spec, service.cron
    assert cron is not None
    left = service.replicas - service.done
    if left and spec.overlap == "forbid":
        service.cron = msgspec.structs.replace(cron, left_out=cron.left_out + 1)
        reason = f"{left} of {service.replicas} replicas of the run before are not done"
        change.emit("cron-left-out", service=service.name, due_ms=run_ms, reason=reason)
        return
    if left and spec.overlap == "replace":
        replicas.stop_all(change, service)
        left = 0
    service.template = service.version
    service.set_restarts(restarts.not_done(service.restarts) if left else b"")
    service.set_replicas(left + spec.replicas)
    service.cron = msgspec.structs.replace(
        cron, run_ms=run_ms, started_ms=replicas.clock_ms, runs=cron.runs + 1
    )
    replicas.suspect((service.number,))
    replicas.services.settle(service)
    change.emit("cron-run", service=service.name, due_ms=run_ms, replicas=spec.replicas)
