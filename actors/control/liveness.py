"""Which nodes the leader hears, and which have fallen silent: pure, on the times that it is handed."""

from __future__ import annotations

from collections.abc import Sequence

from ..state.records import NodeRecord
from ..units import NS_PER_MS

__all__ = ["DOWN_AFTER_MS", "TICK_MS", "Liveness"]

TICK_MS = 100
DOWN_AFTER_MS = 600
"""Six heartbeats missed. With an election of under a second, lost replicas are replaced within two."""


class Liveness:
    """When each node was last heard, in nanoseconds of the leader's clock."""

    def __init__(self, now_ns: int) -> None:
        self._heard: dict[str, int] = {}
        self._known: dict[str, int] = {}
        # Nobody is blamed for the time before this: a new leader has not heard anyone yet.
        self._since_ns = now_ns
        self._ticked_ns = now_ns

    def heard(self, node: str, at_ns: int) -> None:
        """A message of `node` came."""
        if at_ns > self._heard.get(node, -1):
            self._heard[node] = at_ns

    def tick(self, now_ns: int) -> None:
        """Once every TICK_MS. A tick that comes late blames this process, not the nodes: it was not listening."""
        late_ns = now_ns - self._ticked_ns - TICK_MS * NS_PER_MS
        self._ticked_ns = now_ns
        if late_ns > TICK_MS * NS_PER_MS:
            self._since_ns = now_ns

    def changes(self, now_ns: int, nodes: Sequence[NodeRecord]) -> tuple[tuple[str, str], ...]:
        """(node, "down" or "ready") wherever the record says otherwise, in the order of the records."""
        found = []
        # A node that has just joined had no time to answer yet, and one that left and came back is another.
        self._known = {record.name: self._known.get(record.name, now_ns) for record in nodes}
        for record in nodes:
            known_ns = self._known[record.name]
            heard_ns = self._heard.get(record.name, -1)
            silent_ms = (now_ns - max(heard_ns, known_ns, self._since_ns)) / NS_PER_MS
            if record.status == "ready" and silent_ms >= DOWN_AFTER_MS:
                found.append((record.name, "down"))
            elif (
                record.status == "down"
                and heard_ns >= 0
                and (now_ns - heard_ns) / NS_PER_MS < DOWN_AFTER_MS / 2
            ):
                found.append((record.name, "ready"))
        return tuple(found)

    def lost(self, now_ns: int, members: Sequence[str], after_s: float) -> tuple[str, ...]:
        """Those that have not been heard for so long."""
        since_ns = now_ns - int(after_s * 1_000) * NS_PER_MS
        return tuple(
            [
                member
                for member in members
                if max(self._heard.get(member, -1), self._known.get(member, now_ns), self._since_ns)
                <= since_ns
            ]
        )
