"""Which nodes the leader hears, and which have fallen silent: pure, on the times that it is handed.

Nodes are their numbers, and what is known of them stands in columns: a tick looks at thousands in microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..state.runs import Ints, Mask
from ..units import NS_PER_MS

__all__ = ["DOWN_AFTER_MS", "TICK_MS", "Liveness"]

TICK_MS = 100
DOWN_AFTER_MS = 600
"""A worker has missed three beats of the control loop (200 ms), a member of the consensus six of Raft's heartbeats (by
default 100 ms). With an election of under a second, lost replicas are replaced within two."""
NEVER = -1


class Liveness:
    """When each node was last heard, in nanoseconds of the leader's clock."""

    def __init__(self, now_ns: int) -> None:
        self._heard: Ints = np.zeros(0, dtype=np.int64)
        self._known: Ints = np.zeros(0, dtype=np.int64)
        # Nobody is blamed for the time before this: a new leader has not heard anyone yet.
        self._since_ns = now_ns
        self._ticked_ns = now_ns

    def know(self, nodes: int, now_ns: int) -> None:
        """There are so many nodes. One that has just joined had no time to answer yet; one that comes back is new."""
        new = nodes - self._heard.size
        if new > 0:
            self._heard = np.append(self._heard, np.full(new, NEVER, dtype=np.int64))
            self._known = np.append(self._known, np.full(new, now_ns, dtype=np.int64))

    def heard(self, number: int, at_ns: int) -> None:
        """A message of a node came."""
        if number < self._heard.size and at_ns > self._heard[number]:
            self._heard[number] = at_ns

    def tick(self, now_ns: int) -> None:
        """Once every TICK_MS. A tick that comes late blames this process, not the nodes: it was not listening."""
        late_ns = now_ns - self._ticked_ns - TICK_MS * NS_PER_MS
        self._ticked_ns = now_ns
        if late_ns > TICK_MS * NS_PER_MS:
            self._since_ns = now_ns

    def changes(self, now_ns: int, is_present: Mask, is_ready: Mask) -> tuple[list[int], list[int]]:
        """Those that are down and those that are ready wherever the record says otherwise, in order of joining."""
        if self._heard.size and now_ns - int(self._heard.min()) < DOWN_AFTER_MS * NS_PER_MS and is_ready.all():
            return [], []  # Everybody is ready and was heard: nearly always so, and small arrays cost as large ones do.
        since = np.maximum(np.maximum(self._heard, self._known), self._since_ns)
        is_silent = now_ns - since >= DOWN_AFTER_MS * NS_PER_MS
        answers = (self._heard != NEVER) & (now_ns - self._heard < DOWN_AFTER_MS * NS_PER_MS // 2)
        down = np.flatnonzero(is_ready & is_silent)
        ready = np.flatnonzero(is_present & ~is_ready & answers)
        return down.tolist(), ready.tolist()

    def lost(self, now_ns: int, numbers: Sequence[int], after_s: float) -> list[int]:
        """Those of these that have not been heard for so long."""
        since_ns = now_ns - int(after_s * 1_000) * NS_PER_MS
        return [
            number
            for number in numbers
            if number < self._heard.size
            and max(int(self._heard[number]), int(self._known[number]), self._since_ns) <= since_ns
        ]
