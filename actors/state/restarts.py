"""Slots whose tasks ended by themselves: when they start again, how often they have, or that they never will.

One row a slot, kept with the service as bytes, so that a new leader goes on counting where the old one was.
"""

from __future__ import annotations

import numpy as np

from .runs import Ints, Mask
from .specs import RestartPolicy

NEVER_MS = 1 << 62
SLOT, ATTEMPTS, SINCE, READY, KIND = range(5)
"""slot; restarts in this window; when that began, and when the slot may start again, in ms on the cluster's clock."""
RUNS, WAITS, GIVEN_UP, COMPLETED = range(4)
"""One that runs again is remembered for its attempts; one that waits starts when it is ready; the others never do."""


def rows_of(data: bytes) -> Ints:
    """int64[slots, 5], by slot; not to be changed."""
    return np.frombuffer(data, dtype="<i8").reshape(-1, 5)


def ended(
    data: bytes, slots: Ints, succeeded: Mask, ran_ms: Ints, policy: RestartPolicy, is_job: bool, now_ms: int
) -> bytes:
    """The rows after tasks in these slots ended, well or not, each after it ran for so long."""
    order = np.argsort(slots, kind="stable")
    slots, succeeded, ran_ms = slots[order], succeeded[order], ran_ms[order]
    known = rows_of(data)
    rows = np.zeros((slots.size, 5), dtype=np.int64)
    rows[:, SLOT], rows[:, SINCE] = slots, now_ms
    place = np.minimum(np.searchsorted(known[:, SLOT], slots), max(len(known) - 1, 0))
    if len(known):
        is_known = known[place, SLOT] == slots
        in_window = is_known & (
            (now_ms - known[place, SINCE] <= policy.window_s * 1_000) if policy.window_s else True
        )
        if policy.reset_s:
            in_window &= ran_ms < policy.reset_s * 1_000
        rows[in_window, ATTEMPTS] = known[place, ATTEMPTS][in_window]
        rows[in_window, SINCE] = known[place, SINCE][in_window]
    rows[:, ATTEMPTS] += 1
    again = _starts_again(succeeded, policy, is_job)
    if policy.max_attempts:
        again &= rows[:, ATTEMPTS] <= policy.max_attempts
    rows[:, READY] = np.where(again, now_ms + _delays_ms(policy, rows[:, ATTEMPTS]), NEVER_MS)
    rows[:, KIND] = np.where(again, WAITS, np.where(succeeded, COMPLETED, GIVEN_UP))
    kept = known[~np.isin(known[:, SLOT], slots)]
    return _packed(np.concatenate((kept, rows)))


def started(data: bytes, slots: Ints) -> bytes:
    """The rows after tasks were started in these slots."""
    rows = rows_of(data)
    again = np.isin(rows[:, SLOT], slots) & (rows[:, KIND] != RUNS)
    if not again.any():
        return data
    rows = rows.copy()
    rows[again, KIND] = RUNS
    return _packed(rows)


def waiting(data: bytes, now_ms: int) -> Ints:
    """The rows of slots that wait for a time to come."""
    rows = rows_of(data)
    found: Ints = rows[(rows[:, KIND] == WAITS) & (rows[:, READY] > now_ms)]
    return found


def any_due(data: bytes, after_ms: int, now_ms: int) -> bool:
    """Whether a slot's time comes after the one and not after the other."""
    return bool((waiting(data, after_ms)[:, READY] <= now_ms).any())


def trimmed(data: bytes, most: int) -> bytes:
    """The rows without the highest slots that do not run, so that at most so many of those are left."""
    rows = rows_of(data)
    idle = np.flatnonzero(rows[:, KIND] != RUNS)
    return data if idle.size <= most else _packed(np.delete(rows, idle[max(most, 0) :], axis=0))


def not_done(data: bytes) -> bytes:
    """The rows of slots that run, or start again."""
    rows = rows_of(data)
    return _packed(rows[rows[:, KIND] < GIVEN_UP])


def completed(data: bytes) -> Ints:
    """The slots that did what they were for."""
    rows = rows_of(data)
    found: Ints = rows[rows[:, KIND] == COMPLETED, SLOT]
    return found


def only(data: bytes, slots: Ints) -> bytes:
    """The rows of these slots."""
    rows = rows_of(data)
    return _packed(rows[np.isin(rows[:, SLOT], slots)]) if len(rows) else data


def _starts_again(succeeded: Mask, policy: RestartPolicy, is_job: bool) -> Mask:
    if policy.condition == "none":
        return np.zeros(succeeded.size, dtype=bool)
    if policy.condition == "on-failure" or is_job:
        return ~succeeded
    return np.ones(succeeded.size, dtype=bool)


def _delays_ms(policy: RestartPolicy, attempts: Ints) -> Ints:
    """The delay of each attempt: doubled each time where the policy lets it grow."""
    first = policy.delay_s * 1_000
    if policy.max_delay_s <= policy.delay_s:
        return np.full(attempts.size, round(first), dtype=np.int64)
    grown = first * np.exp2(np.minimum(attempts - 1, 40))
    return np.rint(np.minimum(grown, policy.max_delay_s * 1_000)).astype(np.int64)


def _packed(rows: Ints) -> bytes:
    data: bytes = rows[np.argsort(rows[:, SLOT], kind="stable")].astype("<i8").tobytes()
    return data
