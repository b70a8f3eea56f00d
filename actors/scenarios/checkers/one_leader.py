"""Election safety: a term has one leader at most (Raft §5.2)."""

from __future__ import annotations

from typing import Any

from ...raft.core import Raft
from ...raft.events import BecameLeader, Ready
from ...system import Event
from ..histories import History
from ..inside import Inside
from .base import Checker

__all__ = ["AtMostOneLeaderPerTerm"]


class AtMostOneLeaderPerTerm(Checker):
    """No two nodes become leader of one term, whatever happened to them in between."""

    name = "at-most-one-leader-per-term"
    promise = "a term never has two leaders"
    for_live_too = True
    of_all_clusters = True

    def __init__(self, inside: Inside, history: History) -> None:
        super().__init__(inside, history)
        self._leaders: dict[tuple[str, int], str] = {}

    def happened(self, event: Event) -> None:
        if event.kind == "cluster-stopped":
            # One of the same id begins anew, with term 1.
            self._leaders = {key: who for key, who in self._leaders.items() if key[0] != event.cluster}

    def stepped(self, core: Raft, event: Any, ready: Ready) -> None:
        for change in ready.changes:
            if type(change) is BecameLeader:
                first = self._leaders.setdefault((core.cluster, change.term), core.member)
                self.demand(
                    first == core.member,
                    f"term {change.term} has two leaders, {first} and {core.member}",
                )
