"""What a service waits for before its first replica starts: others that have to run, or to be done."""

from __future__ import annotations

import numpy as np

from .replicas import Replicas
from .services import Service
from .task_states import TaskState


def unmet(service: Service, replicas: Replicas) -> tuple[str, ...]:
    """What is not so yet, in words; nothing once the service has begun."""
    if service.has_begun:
        return ()
    return tuple(
        [
            f"{name} to be {condition}"
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
