"""What was committed stays: every node applies the same entries, and every later leader has them (Raft §5.4)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

from ...raft.core import Raft
from ...raft.events import BecameLeader, Ready
from ...system import Event
from ..histories import History
from ..inside import Inside
from .base import Checker

__all__ = ["CommittedNeverLost"]


class Committed(NamedTuple):
    """An entry that `member` handed out to be applied, then in the term `by`: so it was committed in that term or
    before, whatever its own `term` is."""

    term: int
    digest: bytes
    member: str
    by: int


class CommittedNeverLost(Checker):
    """Remembers each entry that any node handed out to be applied, and finds it again everywhere else."""

    name = "committed-never-lost"
    promise = "an entry that was committed is in the log of every later leader, and nobody applies another in its place"
    for_live_too = True
    of_all_clusters = True

    def __init__(self, inside: Inside, history: History) -> None:
        super().__init__(inside, history)
        self._entries: dict[str, dict[int, Committed]] = {}

    def stepped(self, core: Raft, event: Any, ready: Ready) -> None:
        entries = self._entries.setdefault(core.cluster, {})
        if ready.apply is not None:
            first = ready.apply.first_index
            for index, (term, payload) in enumerate(
                zip(ready.apply.terms, ready.apply.payloads, strict=True), first
            ):
                self._compare(entries, index, term, payload, core)
        for change in ready.changes:
            if type(change) is BecameLeader:
                self._check_leader(entries, core, change.term)

    def happened(self, event: Event) -> None:
        if event.kind == "cluster-stopped" and event.cluster is not None:
            # One of the same id begins anew.
            self._entries.pop(event.cluster, None)

    def _compare(
        self, entries: dict[int, Committed], index: int, term: int, payload: bytes, core: Raft
    ) -> None:
        digest = blake2b(payload, digest_size=16).digest()
        known = entries.setdefault(index, Committed(term, digest, core.member, core.term))
        if core.term < known.by:
            entries[index] = known._replace(by=core.term)
        self.demand(
            (known.term, known.digest) == (term, digest),
            f"entry {index} of term {known.term} was committed (applied by {known.member}), but {core.member} applies "
            f"another one of term {term} in its place",
        )

    def _check_leader(self, entries: dict[int, Committed], core: Raft, term: int) -> None:
        # A node that slept since it was voted for may learn only now that it led a term that is long over: what was
        # committed after that term it need not have.
        last = max((index for index, entry in entries.items() if entry.by < term), default=0)
        if last < core.first_index:
            return
        self.demand(
            last <= core.last_index and core.log.term_at(last) == entries[last].term,
            f"{core.member} leads term {term} without entry {last}, which was committed by term {entries[last].by}",
        )
