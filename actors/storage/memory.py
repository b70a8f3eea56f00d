"""A storage that lasts as long as the process: a member that is started anew in it finds its promises again."""

from ..raft.core import Restored
from ..raft.events import HardState, Persist
from ..raft.membership import Membership
from .base import StorageBroken


class MemoryStorage:
    """Keeps what was saved in columns. `initial` is what a member finds that never saved anything."""

    __slots__ = ("_membership", "_first_index", "_base_term", "_hard_state", "_terms", "_payloads", "_closed")

    def __init__(self, initial: Restored) -> None:
        self._membership: Membership = initial.membership
        self._first_index = initial.first_index
        self._base_term = initial.base_term
        self._hard_state: HardState = initial.hard_state
        self._terms = list(initial.terms)
        self._payloads = list(initial.payloads)
        self._closed = False

    def load(self) -> Restored:
        self._closed = False
        return Restored(
            hard_state=self._hard_state,
            membership=self._membership,
            first_index=self._first_index,
            base_term=self._base_term,
            terms=tuple(self._terms),
            payloads=tuple(self._payloads),
        )

    def save(self, persist: Persist) -> None:
        if self._closed:
            raise StorageBroken("the storage is closed; load it again before saving to it")
        keep = persist.first_index - self._first_index
        if not 0 <= keep <= len(self._terms):
            raise StorageBroken(
                f"entry {persist.first_index} cannot follow a log that holds "
                f"{self._first_index}..{self._first_index + len(self._terms) - 1}"
            )
        if persist.hard_state is not None:
            self._hard_state = persist.hard_state
        if keep < len(self._terms):
            del self._terms[keep:]
            del self._payloads[keep:]
        self._terms.extend(persist.terms)
        self._payloads.extend(persist.payloads)

    def close(self) -> None:
        self._closed = True

    @property
    def hard_state(self) -> HardState:
        """What is durable, without a copy of the log; checkers look at it."""
        return self._hard_state

    @property
    def last_index(self) -> int:
        return self._first_index + len(self._terms) - 1
