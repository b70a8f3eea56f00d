"""What a member needs of its storage: to find again, after a crash, everything that was saved."""

from collections.abc import Sequence
from typing import Protocol

from ..raft.core import Restored
from ..raft.events import HardState, Persist, Snapshot
from ..raft.membership import Membership, decode_membership

__all__ = ["MEND_NODE", "Storage", "StorageBroken", "StorageDamaged", "Written", "joined", "membership_before"]

MEND_NODE = (
    "node {node} takes no part until it is mended: remove the node and add it again, and the others give it the state; "
    "or stop the program and put a backup into an empty folder with raftyard restore"
)
"""What to do about the damaged storage of a cluster's node."""


class Storage(Protocol):
    """One member's. Whoever runs the member calls it from one thread at a time."""

    def load(self) -> Restored:
        """What was saved so far; a fresh storage gives what it was made with.

        Whatever it returns is durable. Raises StorageDamaged, or StorageBroken where it cannot be read at all.
        """

    def start(self, at_least: int) -> int:
        """Counts a start of the member, durably: its incarnation, above every earlier one and not below `at_least`."""

    def save(self, persist: Persist) -> None:
        """Makes it durable before it returns. Raises StorageBroken, after which nothing is saved until `load`."""

    def save_many(self, persists: Sequence[Persist]) -> None:
        """The same for several, in order, at the cost of one: all become durable or none."""

    def save_snapshot(self, snapshot: Snapshot, keep_from: int) -> None:
        """Makes it durable, and forgets the entries below keep_from (at most snapshot.index + 1) in the same write.

        A log that does not hold the entry at snapshot.index with its term is forgotten whole (§5, receiver's rule).
        """

    def read_snapshot(self, index: int, offset: int, size: int) -> tuple[bytes, int] | None:
        """(so much of the snapshot at index, from offset on, and how large it is), or None where it is another by now.

        The rest of it is not read for that. Raises StorageDamaged, StorageBroken.
        """

    def close(self) -> None:
        """Lets go of files; saving afterwards is an error."""


class StorageBroken(Exception):
    """What was given to save cannot be kept; the member must stop, for it may not acknowledge what is not durable."""


class StorageDamaged(StorageBroken):
    """What was saved is no longer what was written. The member must not take part: it may have forgotten a promise."""


class Written:
    """What several writes come to: the newest hard state, and the entries that stand in the end."""

    __slots__ = ("first_index", "hard_state", "payloads", "terms")

    def __init__(self, first_index: int) -> None:
        self.hard_state: HardState | None = None
        self.first_index = first_index
        self.terms: list[int] = []
        self.payloads: list[bytes] = []


def joined(persists: Sequence[Persist], log_first: int, log_last: int) -> Written:
    """Join writes to a log that holds log_first .. log_last. Raises StorageBroken where one would leave a gap."""
    written = Written(log_last + 1)
    last = log_last
    for persist in persists:
        first = persist.first_index
        if not log_first <= first <= last + 1:
            raise StorageBroken(f"entry {first} cannot follow a log that holds {log_first}..{last}")
        if persist.hard_state is not None:
            written.hard_state = persist.hard_state
        if first < written.first_index:
            written.first_index = first
        del written.terms[first - written.first_index :]
        del written.payloads[first - written.first_index :]
        written.terms.extend(persist.terms)
        written.payloads.extend(persist.payloads)
        last = first + len(persist.terms) - 1
    return written


def membership_before(membership: Membership, first_index: int, forgotten: Sequence[bytes]) -> Membership:
    """The membership in force after entries (from first_index on) that are about to be forgotten."""
    for index, payload in enumerate(forgotten, first_index):
        if payload[:1] == b"\x00":
            membership = decode_membership(payload, index)
    return membership
