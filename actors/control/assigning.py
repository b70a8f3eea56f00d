"""Which nodes still have to be told what to run: what each was sent, and what it has confirmed, in columns."""

from __future__ import annotations

import numpy as np

from ..state.runs import Ints, Mask
from ..units import NS_PER_MS

__all__ = ["RESEND_MS", "Assigning"]

RESEND_MS = 300
"""Assignments that a node has not confirmed are sent again this often."""
NEVER = -1


class Assigning:
    """By number of the node; versions are those of its assignments, times in nanoseconds of the leader's clock."""

    def __init__(self) -> None:
        self._confirmed: Ints = np.zeros(0, dtype=np.int64)
        self._sent: Ints = np.zeros(0, dtype=np.int64)
        self._sent_ns: Ints = np.zeros(0, dtype=np.int64)

    def know(self, nodes: int) -> None:
        """There are so many nodes."""
        new = nodes - self._sent.size
        if new > 0:
            nothing = np.full(new, NEVER, dtype=np.int64)
            self._confirmed = np.append(self._confirmed, nothing)
            self._sent = np.append(self._sent, nothing)
            self._sent_ns = np.append(self._sent_ns, nothing)

    def due(self, now_ns: int, versions: Ints, is_present: Mask) -> list[int]:
        """Those whose version is unconfirmed, and not just sent, in order of joining."""
        if (self._confirmed == versions).all():
            return []  # nearly always
        is_behind = is_present & (self._confirmed != versions)
        is_on_its_way = (self._sent == versions) & (now_ns - self._sent_ns < RESEND_MS * NS_PER_MS)
        return np.flatnonzero(is_behind & ~is_on_its_way).tolist()

    def sent(self, number: int, version: int, now_ns: int) -> None:
        """A node was told this version."""
        self._sent[number], self._sent_ns[number] = version, now_ns

    def confirmed(self, number: int, version: int) -> None:
        """A node has reached this version."""
        if number < self._confirmed.size:
            self._confirmed[number] = version

    def forget(self, number: int) -> None:
        """What a node said may have been lost: it is to be told, and to answer, again."""
        if number < self._confirmed.size:
            self._confirmed[number] = NEVER
