"""What a service's answer says of what it uses, and of what was decided by that or by the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..state.machine import ClusterState
from ..state.records import CronStatus, ServiceRecord
from .schedules import WrongSchedule, shown

if TYPE_CHECKING:
    from .loop import ControlLoop

__all__ = ["facts"]


def facts(state: ClusterState, record: ServiceRecord, loop: ControlLoop | None) -> dict[str, Any]:
    """Ready for JSON; nothing of a service of which nothing is watched."""
    value: dict[str, Any] = {}
    used = None if loop is None else loop.usage.of_service(record.name)
    if used is not None:
        value["usage"] = used.view()
    if record.spec.autoscale is not None:
        value["autoscale"] = _autoscale(state, record, loop)
    if record.spec.is_cron:
        value["cron"] = _cron(state, record, loop)
    return value


def _cron(state: ClusterState, record: ServiceRecord, loop: ControlLoop | None) -> dict[str, Any]:
    cron = record.cron or CronStatus()
    value: dict[str, Any] = {} if loop is None else loop.cron.view(record)
    value["last_run"] = None
    if cron.run_ms is not None:
        now_ms = state.clock_ms() if loop is None else loop.shown_ms()
        value["last_run"] = {
            "due": _shown(cron.run_ms, record.spec.time_zone),
            "age_s": max(0, now_ms - cron.started_ms) / 1_000,
            "replicas": record.replicas,
            "completed": record.completed,
            "given_up": record.done - record.completed,
            "is_over": record.done == record.replicas,
        }
    return value | {"runs": cron.runs, "left_out": cron.left_out, "missed": cron.missed}


def _shown(wall_ms: int, zone: str) -> str:
    try:
        return shown(wall_ms, zone)
    except WrongSchedule:
        return shown(wall_ms, "UTC")


def _autoscale(state: ClusterState, record: ServiceRecord, loop: ControlLoop | None) -> dict[str, Any]:
    policy, last = record.spec.autoscale, record.scaled
    assert policy is not None
    now_ms = state.clock_ms() if loop is None else loop.shown_ms()
    return {
        "min": policy.min,
        "max": policy.max,
        "now": "" if loop is None else loop.autoscaler.why(record.name),
        "last": None
        if last is None
        else {
            "was": last.was,
            "replicas": last.replicas,
            "why": last.why,
            "age_s": max(0, now_ms - last.at_ms) / 1_000,
        },
    }
