"""What every checker is: it is shown what happens, and raises PromiseBroken when its promise does not hold."""

from __future__ import annotations

from typing import Any, ClassVar

from ...node import Node
from ...raft.core import Raft
from ...raft.events import Ready
from ...system import Event
from ..histories import History
from ..inside import Inside

__all__ = ["Checker", "PromiseBroken"]


class PromiseBroken(AssertionError):
    """A promise does not hold: `promise` is its name, `reason` what was seen."""

    def __init__(self, promise: str, reason: str) -> None:
        super().__init__(f"{promise}: {reason}")
        self.promise = promise
        self.reason = reason


class Checker:
    """One promise about a cluster; a subclass overrides what it wants to see.

    On the live clock only `stepped` (of one member at a time), `happened` and `ended` are called, and only for checkers
    that are `for_live_too`.
    """

    name: ClassVar[str]
    promise: ClassVar[str]
    """In one sentence, for people."""
    for_live_too: ClassVar[bool] = False
    from_outside_too: ClassVar[bool] = False
    """Whether events and histories are all that it needs."""
    of_all_clusters: ClassVar[bool] = False
    """One watches all clusters; else there is one for each, and it is shown what concerns its own."""

    def __init__(self, inside: Inside, history: History) -> None:
        self.inside = inside
        self.history = history

    def stepped(self, core: Raft, event: Any, ready: Ready) -> None:
        """A member's core has taken an event; what it said has not been carried out yet."""

    def looked(self, node: Node) -> None:
        """A node has applied entries, and nothing else has happened since."""

    def passed(self, t_ns: int) -> None:
        """Time has passed; called a few times a second."""

    def happened(self, event: Event) -> None:
        """Something was written into the event log."""

    def ended(self) -> None:
        """The scenario is over."""

    def gone(self) -> None:
        """The nested cluster is gone before the scenario is over: what it has done by then is judged."""
        self.ended()

    def broken(self, reason: str) -> PromiseBroken:
        """To be raised."""
        return PromiseBroken(self.name, reason)

    def demand(self, holds: bool, reason: str) -> None:
        """Raise PromiseBroken unless it holds."""
        if not holds:
            raise self.broken(reason)
