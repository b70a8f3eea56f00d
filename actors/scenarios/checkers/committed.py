"""What was committed stays: every node applies the same entries, and every later leader has them (Raft §5.4)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from ...raft.core import Raft
from ...raft.events import BecameLeader, Ready
from ...system import Event
from ..histories import History
from ..inside import Inside
from .base import Checker

__all__ = ["CommittedNeverLost"]


class CommittedNeverLost(Checker):
    """Remembers each entry that any node handed out to be applied, and finds it again everywhere else."""

    name = "committed-never-lost"
    promise = "an entry that was committed is in the log of every later leader, and nobody applies another in its place"
    for_live_too = True
    of_all_clusters = True

    def __init__(self, inside: Inside, history: History) -> None:
        super().__init__(inside, history)
        self._entries: dict[str, dict[int, tuple[int, bytes, str]]] = {}

    def stepped(self, core: Raft, event: Any, ready: Ready) -> None:
        entries = self._entries.setdefault(core.cluster, {})
        if ready.apply is not None:
            first = ready.apply.first_index
            for index, (term, payload) in enumerate(
                zip(ready.apply.terms, ready.apply.payloads, strict=True), first
            ):
                self._compare(entries, index, term, payload, core.member)
        for change in ready.changes:
            if type(change) is BecameLeader:
                self._check_leader(entries, core, change.term)

    def happened(self, event: Event) -> None:
        if event.kind == "cluster-stopped" and event.cluster is not None:
            # One of the same id begins anew.
            self._entries.pop(event.cluster, None)

    def _compare(
        self, entries: dict[int, tuple[int, bytes, str]], index: int, term: int, payload: bytes, member: str
    ) -> None:
        digest = blake2b(payload, digest_size=16).digest()
        known = entries.setdefault(index, (term, digest, member))
        self.demand(
            known[:2] == (term, digest),
            f"entry {index} was committed in term {known[0]} (applied by {known[2]}), but {member} applies another one "
            f"of term {term} in its place",
        )

    def _check_leader(self, entries: dict[int, tuple[int, bytes, str]], core: Raft, term: int) -> None:
        last = max((index for index, entry in entries.items() if entry[0] < term), default=0)
        if last < core.first_index:
            return
        self.demand(
            last <= core.last_index and core.log.term_at(last) == entries[last][0],
            f"{core.member} leads term {term} without entry {last}, which was committed in term {entries[last][0]}",
        )
