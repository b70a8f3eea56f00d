"""What a member needs of its storage: to find again, after a crash, everything that was saved."""

from typing import Protocol

from ..raft.core import Restored
from ..raft.events import Persist


class Storage(Protocol):
    """One member's. Whoever runs the member calls it from one thread at a time."""

    def load(self) -> Restored:
        """What was saved so far; a fresh storage gives what it was made with."""

    def save(self, persist: Persist) -> None:
        """Makes it durable before it returns. Raises StorageBroken, after which nothing may be saved any more."""

    def close(self) -> None:
        """Lets go of files; saving afterwards is an error."""


class StorageBroken(Exception):
    """What was given to save cannot be kept; the member must stop, for it may not acknowledge what is not durable."""
