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
    from_outside_too = True
    of_all_clusters = True

    def __init__(self, inside: Inside, history: History) -> None:
        super().__init__(inside, history)
        self._leaders: dict[tuple[str, int], str] = {}

    def stepped(self, core: Raft, event: Any, ready: Ready) -> None:
        for change in ready.changes:
            if type(change) is BecameLeader:
                self._leads(core.cluster, change.term, core.member)

    def happened(self, event: Event) -> None:
        if event.kind == "leader-elected" and event.term is not None and event.node is not None:
            self._leads(str(event.cluster), event.term, event.node)
        elif event.kind == "cluster-stopped":
            # One of the same id begins anew, with term 1.
            self._leaders = {key: who for key, who in self._leaders.items() if key[0] != event.cluster}

    def _leads(self, cluster: str, term: int, node: str) -> None:
        first = self._leaders.setdefault((cluster, term), node)
        self.demand(first == node, f"term {term} has two leaders, {first} and {node}")
