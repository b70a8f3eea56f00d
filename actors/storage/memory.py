"""A storage that lasts as long as the process: a member that is started anew in it finds its promises again."""

from collections.abc import Sequence

from ..raft.core import Restored
from ..raft.events import HardState, Persist, Snapshot
from ..raft.membership import Membership
from .base import StorageBroken, joined, membership_before


class MemoryStorage:
    """Keeps what was saved in columns. `initial` is what a member finds that never saved anything."""

    __slots__ = (
        "_base_term",
        "_closed",
        "_first_index",
        "_hard_state",
        "_membership",
        "_payloads",
        "_snapshot",
        "_terms",
    )

    def __init__(self, initial: Restored) -> None:
        self._membership: Membership = initial.membership
        self._first_index = initial.first_index
        self._base_term = initial.base_term
        self._hard_state: HardState = initial.hard_state
        self._terms = list(initial.terms)
        self._payloads = list(initial.payloads)
        self._snapshot: Snapshot | None = initial.snapshot
        self._closed = False

    def load(self) -> Restored:
        self._closed = False
        return self.content()

    def content(self) -> Restored:
        """What `load` would give; looking is allowed at any time."""
        return Restored(
            hard_state=self._hard_state,
            membership=self._membership,
            first_index=self._first_index,
            base_term=self._base_term,
            terms=tuple(self._terms),
            payloads=tuple(self._payloads),
            snapshot=self._snapshot,
        )

    def start(self, at_least: int) -> int:
        # The process outlives its actors and counts their lives itself.
        return at_least

    def save(self, persist: Persist) -> None:
        if self._closed:
            self._check_open()
        keep, held = persist.first_index - self._first_index, len(self._terms)
        if not 0 <= keep <= held:
            raise StorageBroken(
                f"entry {persist.first_index} cannot follow a log that holds {self._first_index}..{self.last_index}"
            )
        if persist.hard_state is not None:
            self._hard_state = persist.hard_state
        if keep < held:
            del self._terms[keep:]
            del self._payloads[keep:]
        self._terms.extend(persist.terms)
        self._payloads.extend(persist.payloads)

    def save_many(self, persists: Sequence[Persist]) -> None:
        self._check_open()
        joined(persists, self._first_index, self.last_index)  # a gap is found before anything changes
        for persist in persists:
            self.save(persist)

    def save_snapshot(self, snapshot: Snapshot, keep_from: int) -> None:
        self._check_open()
        self._snapshot = snapshot
        if not self._holds(snapshot.index, snapshot.term):
            self._terms, self._payloads = [], []
            self._first_index = snapshot.index + 1
            self._base_term, self._membership = snapshot.term, snapshot.membership
            return
        forget = keep_from - self._first_index
        if forget <= 0:
            return
        self._membership = membership_before(self._membership, self._first_index, self._payloads[:forget])
        self._base_term = self._terms[forget - 1]
        self._first_index = keep_from
        del self._terms[:forget]
        del self._payloads[:forget]

    def read_snapshot(self, index: int, offset: int, size: int) -> tuple[bytes, int] | None:
        self._check_open()
        held = self._snapshot
        if held is None or held.index != index:
            return None
        return held.data[offset : offset + size], len(held.data)

    def _holds(self, index: int, term: int) -> bool:
        position = index - self._first_index
        if position == -1:
            return self._base_term == term
        return 0 <= position < len(self._terms) and self._terms[position] == term

    def _check_open(self) -> None:
        if self._closed:
            raise StorageBroken("the storage is closed; load it again before using it")

    def close(self) -> None:
        self._closed = True

    @property
    def hard_state(self) -> HardState:
        """What is durable, without a copy of the log; checkers look at it."""
        return self._hard_state

    @property
    def last_index(self) -> int:
        return self._first_index + len(self._terms) - 1
