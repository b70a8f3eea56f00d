"""What a service's answer says of what it uses, and of what was decided by that or by the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..state.machine import ClusterState
from ..state.records import ServiceRecord

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
    return value


def _autoscale(state: ClusterState, record: ServiceRecord, loop: ControlLoop | None) -> dict[str, Any]:
    policy, last = record.spec.autoscale, record.scaled
    assert policy is not None
    now_ms = state.clock_ms() if loop is None else loop.clock_ms()
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
