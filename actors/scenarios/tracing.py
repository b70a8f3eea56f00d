"""The messages between nodes, as a second stream beside the event log; recorded only where a report wants them."""

from __future__ import annotations

import msgspec

from ..system import System, Traced

__all__ = ["Messages", "Sent"]

MOST = 200_000


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One message from node to node that arrived; times in ns."""

    sent_ns: int
    received_ns: int
    source: str
    target: str
    kind: str
    sent_in: int
    """The handled message, by its number, in whose handling it was sent."""
    received_in: int


class Messages:
    """Records what nodes of one cluster hear from each other, up to a limit; `left_out` counts the rest."""

    def __init__(self, system: System, cluster: str = "0") -> None:
        self.sent: list[Sent] = []
        self.left_out = 0
        self._wire = f"cluster/{cluster}/link/"
        self._node = f"cluster/{cluster}/node/"
        # When each message was handled: what a handler sends was sent then.
        self._times: dict[int, int] = {}
        system.trace(self._traced)

    def _traced(self, traced: Traced) -> None:
        self._times[traced.number] = traced.t_ns
        sender = traced.sender
        if sender is None or not sender.startswith(self._wire) or not traced.to.startswith(self._node):
            return
        if len(self.sent) >= MOST:
            self.left_out += 1
            return
        source, _, target = sender[len(self._wire) :].partition("->")
        self.sent.append(
            Sent(
                sent_ns=self._times.get(traced.caused_by or 0, traced.t_ns),
                received_ns=traced.t_ns,
                source=source,
                target=target,
                kind=type(traced.message).__name__,
                sent_in=traced.caused_by or 0,
                received_in=traced.number,
            )
        )
