"""A plan read from its bytes, or found unreadable before anything is changed."""

from __future__ import annotations

import msgspec
import numpy as np

from .commands import MAX_REPLICAS, Plan
from .runs import PLAN, REPORT, Ints, overlap, unpack

MAX_SLOT = 2 * MAX_REPLICAS
"""The lowest unused slots are taken first, so that a number beyond this is a mistake."""


class ParsedPlan(msgspec.Struct, frozen=True):
    """One service's part: starts are rows (first slot, count, node number), stops (first slot, count), retires (first
    task id, count); devices one mask for each row of starts, or nothing; preempted_by whom the retires make room for.
    """

    service: str
    starts: Ints
    stops: Ints
    retires: Ints
    devices: Ints
    preempted_by: str = ""


def parse(plan: Plan) -> tuple[ParsedPlan, ...] | None:
    """The plan as rows; None where a part cannot be read or names a slot twice."""
    parts: list[ParsedPlan] = []
    for part in plan.services:
        starts, stops = unpack(part.starts, 3, PLAN), unpack(part.stops, 2, PLAN)
        retires = unpack(part.retires, 2, REPORT)
        if starts is None or stops is None or retires is None:
            return None
        if len(part.devices) not in (0, len(starts) * REPORT.itemsize):
            return None
        devices = np.frombuffer(part.devices, dtype=REPORT).astype(np.int64)
        if not (_is_sound(starts) and _is_sound(stops)) or overlap(retires[:, 0], retires[:, 1]):
            return None
        parts.append(ParsedPlan(part.service, starts, stops, retires, devices, part.preempted_by))
    return tuple(parts)


def _is_sound(runs: Ints) -> bool:
    if not runs.size:
        return True
    first, count = runs[:, 0], runs[:, 1]
    return int((first + count).max()) <= MAX_SLOT and not overlap(first, count)
