"""What a service waits for before its first replica starts: others that have to run, or to be done."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .replicas import Replicas
from .services import Service
from .task_states import TaskState

LONGEST_CIRCLE = 50
"""Services that are looked at for a circle that is told with the reason."""

CIRCLE_HINT = "take one of them out of depends_on"

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


def circle_of(service: Service, replicas: Replicas) -> tuple[str, ...]:
    """Services of which each waits for the next, the first being the last, too; empty where this one is in none.

    Those that have begun wait for nobody. Of many services it looks at the nearest only.
    """

    def waits_for(name: str) -> Iterable[str]:
        found = replicas.services.find(name)
        return () if found is None or found.has_begun else found.spec.depends_on

    return find_circle(service.name, waits_for, LONGEST_CIRCLE)


def find_circle(name: str, depends_on: Callable[[str], Iterable[str]], most: int | None = None) -> tuple[str, ...]:
    """The shortest way from a service by `depends_on` back to itself, `("a", "b", "a")`; empty where there is none.

    most: so many services are looked at, None = all.
    """
    came_from: dict[str, str] = {}
    line = [name]
    for at in line:
        if most is not None and len(came_from) > most:
            break
        for other in depends_on(at):
            if other == name:
                way = [name, at]
                while way[-1] != name:
                    way.append(came_from[way[-1]])
                return tuple(reversed(way))
            if other not in came_from:
                came_from[other] = at
                line.append(other)
    return ()


def in_words(circle: Sequence[str]) -> str:
    """What is wrong with it: `web waits for db, db waits for web: none of them could ever start`."""
    if len(circle) == 2:
        return f"{circle[0]} waits for itself: it could never start"
    waits = ", ".join(f"{name} waits for {other}" for name, other in itertools.pairwise(circle))
    return f"{waits}: none of them could ever start"


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
