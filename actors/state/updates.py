"""Rolling updates: how far one has come, and when it is paused, rolled back or complete. Swarm's states and rules.

The replicas themselves are replaced by the leader's plans (scheduling/updating.py); what is decided from reports and
from the time alone is decided here, the same on every member.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from .changes import Change
from .services import Service, UpdateStatus
from .specs import ServiceSpec, UpdatePolicy, is_same_template
from .task_states import TaskState
from .tasks import Rows, TaskTable

ACTIVE = ("updating", "rollback_started")
PAUSED = {"updating": "paused", "rollback_started": "rollback_paused"}
COMPLETED = {"updating": "completed", "rollback_started": "rollback_completed"}


def policy_of(service: Service) -> UpdatePolicy:
    """How replicas are replaced now: forwards or back."""
    is_back = service.update is not None and service.update.state.startswith("rollback")
    return service.spec.rollback if is_back else service.spec.update


def begin(
    service: Service,
    change: Change,
    state: Literal["updating", "rollback_started"],
    clock_ms: int,
    message: str = "",
) -> None:
    """Replicas of other templates are to be replaced from now on."""
    service.update = UpdateStatus(state=state, started_ms=clock_ms, total=service.replicas, message=message)
    _tell(service, change)


def go_on(service: Service, change: Change, clock_ms: int) -> None:
    """A user's next word ends a pause."""
    if service.update is not None and service.update.state in PAUSED.values():
        is_back = service.update.state == "rollback_paused"
        begin(service, change, "rollback_started" if is_back else "updating", clock_ms)


def count_failures(service: Service, change: Change, failures: int, clock_ms: int) -> None:
    """So many new replicas failed, before they ran or soon after: too many, and the update stops or goes back."""
    update = service.update
    if update is None or update.state not in ACTIVE or not failures:
        return
    policy = policy_of(service)
    failed = update.failures + failures
    service.update = update = msgspec.structs.replace(update, failures=failed)
    if failed <= policy.max_failure_ratio * update.total or policy.failure_action == "continue":
        return
    told = f"{failed} of {update.total} replicas failed"
    if policy.failure_action == "rollback" and update.state == "updating" and service.previous is not None:
        roll_back(service, change, clock_ms, message=f"{told}; rolled back")
        return
    service.update = msgspec.structs.replace(
        update, state=PAUSED[update.state], message=f"{told}; it goes on with the next change of the service"
    )
    _tell(service, change)


def roll_back(service: Service, change: Change, clock_ms: int, message: str = "") -> None:
    """Take on the spec from before the update; what was not replaced yet stays."""
    previous = service.previous
    assert previous is not None, "there is nothing to roll back to"
    become(service, previous[1], change.index)
    service.previous = None
    begin(service, change, "rollback_started", clock_ms, message)


def become(service: Service, spec: ServiceSpec, index: int, *, scales: bool = False) -> bool:
    """Take on a spec; whether running replicas have to be replaced. One whose template was there before has its number,
    so that replicas of that time are as good as new."""
    before = (service.template, service.spec)
    is_new = not service.version
    service.become(spec, index, scales=scales)
    if is_new or service.template == before[0]:
        return False
    if service.previous is not None and is_same_template(service.previous[1], spec):
        service.template = service.previous[0]
    service.previous = before
    return True


def is_complete(service: Service, tasks: TaskTable, wanted: Rows, now_ms: int) -> bool:
    """Whether everything desired runs, of the new template, and for as long as it is watched.

    wanted: the rows of its tasks on ready nodes; those on others are replaced when they are seen again, and those that
    a paused node keeps when it is active.
    """
    if service.update is None or service.update.state not in ACTIVE:
        return False
    policy = policy_of(service)
    if not service.is_placed:
        return False
    if np.any(tasks.version[wanted] != service.template) or np.any(tasks.state[wanted] != TaskState.RUNNING):
        return False
    newest = int(tasks.updated[wanted].max(initial=service.update.started_ms))
    # As Swarm: a monitor that is no longer than the delay would watch nothing.
    monitor_s = policy.monitor_s if policy.monitor_s > policy.delay_s else policy.delay_s + 1
    return now_ms >= newest + monitor_s * 1_000


def complete(service: Service, change: Change, clock_ms: int) -> None:
    """The update is done."""
    assert service.update is not None
    state = COMPLETED[service.update.state]
    service.update = msgspec.structs.replace(service.update, state=state, completed_ms=clock_ms)
    _tell(service, change)


def _tell(service: Service, change: Change) -> None:
    update = service.update
    assert update is not None
    change.emit(
        "service-update",
        service=service.name,
        state=update.state,
        version=service.version,
        failures=update.failures,
        message=update.message,
    )
