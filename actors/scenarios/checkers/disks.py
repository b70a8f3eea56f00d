"""What a member believes to be on its disk is there, also after the worst loss of power."""

from __future__ import annotations

from typing import Any

from ...raft.core import Raft, Restored
from ...raft.events import Ready, SnapshotInstalled, SnapshotTaken, StorageDone
from ...storage.simulated import SimulatedStorage
from .base import Checker

__all__ = ["DurableStaysDurable"]


class DurableStaysDurable(Checker):
    """Compares each member with its simulated disk; without simulated disks there is nothing to compare."""

    name = "durable-stays-durable"
    promise = "no node believes that something is on its disk which a loss of power could take"

    def stepped(self, core: Raft, event: Any, ready: Ready) -> None:
        if not isinstance(event, StorageDone | SnapshotTaken | SnapshotInstalled):
            return
        front = self.inside.front
        storage = None if front is None else front._home._storages.get(core.member)
        if isinstance(storage, SimulatedStorage):
            self._compare(core, storage.durable)

    def _compare(self, core: Raft, durable: Restored) -> None:
        held = durable.snapshot.index if durable.snapshot is not None else 0
        last = max(durable.first_index + len(durable.terms) - 1, held)
        self.demand(
            last >= core.durable_index,
            f"{core.member} takes entries up to {core.durable_index} for saved, but its disk holds them up to {last}",
        )
        self.demand(
            durable.hard_state.term <= core.term,
            f"{core.member} is in term {core.term}, but its disk holds term {durable.hard_state.term}",
        )
        first = max(core.first_index, durable.first_index)
        terms = tuple(core.log.term_at(index) for index in range(first, core.durable_index + 1))
        at = first - durable.first_index
        self.demand(
            durable.terms[at : at + len(terms)] == terms,
            f"{core.member}'s disk holds other entries from {first} to {core.durable_index} than it believes",
        )
