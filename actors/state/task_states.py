"""How far a task has come: SwarmKit's fourteen states and numbers. A task only moves to a higher one."""

from __future__ import annotations

from enum import IntEnum


class TaskState(IntEnum):
    """Below COMPLETE a task is alive. Up to ASSIGNED the leader decides, from there on the agent reports."""

    NEW = 0
    PENDING = 64
    ASSIGNED = 192
    ACCEPTED = 256
    PREPARING = 320
    READY = 384
    STARTING = 448
    RUNNING = 512
    COMPLETE = 576
    SHUTDOWN = 640
    FAILED = 704
    REJECTED = 768
    REMOVE = 800
    ORPHANED = 832


STATES = {int(state): state for state in TaskState}
"""By number: a look here costs a fifth of `TaskState(number)`."""

NUMBERS = frozenset(int(state) for state in TaskState)
"""For membership tests only: a set is never iterated here."""
