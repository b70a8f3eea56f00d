"""What a service waits for before its first replica starts: others that have to run, or to be done."""

from __future__ import annotations

import numpy as np

from .replicas import Replicas
from .services import Service
from .task_states import TaskState

def unmet(service: Service, replicas: Replicas) -> tuple[str, ...]:
    """What is not so yet, in words; nothing once the service has begun. What can never be says so, and what to do."""
    if service.has_begun:
        return ()
    return tuple(
        [
            f"{name} to be {condition}{_why_never(replicas.services.find(name), condition)}"
            for name, condition in service.spec.depends_on.items()
            if not _is_met(replicas.services.find(name), condition, replicas)
        ]
    )


def _is_met(other: Service | None, condition: str, replicas: Replicas) -> bool:
    if other is None:
        return False
    if condition == "completed":
        return other.spec.is_job and other.replicas > 0 and other.completed >= other.replicas
    rows = replicas.wanted(replicas.tasks.of_service(other.number))
    running = int(np.count_nonzero(replicas.tasks.state[rows] == TaskState.RUNNING))
    if condition == "started":
        return running > 0 or other.completed > 0
    return running + other.completed >= other.replicas > 0


def _why_never(other: Service | None, condition: str) -> str:
    """Why it will not be so by itself; empty where it may."""
    if other is None:
        return ""
    if condition == "completed" and not other.spec.is_job:
        return f" ({other.name} is {other.spec.mode}, which never completes: wait for it to be started or healthy)"
    given_up = other.done - other.completed
    # One replica that runs, or has run, is enough to have started.
    if not given_up or (condition == "started" and given_up < other.replicas):
        return ""
    told = f"{other.name} has given up {given_up} of {other.replicas} replicas"
    return f" ({told}: mend it and give it another force_update, which starts it anew, or take it out of depends_on)"
