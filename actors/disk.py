"""Disk: keeps one node's promises on storage that takes its time, so that the node itself never waits.

It writes whatever has queued up since the last sync returned, as one write with one sync: the slower the disk, the
more writes share a sync, and no timer is needed for that. On the live clock it has a thread of its own, because a sync
blocks; on the virtual clock a simulated disk's delays are timers.

    Member ── Save, Save, SaveSnapshot ──> Disk ── save_many ──> Storage
           <── Written, SnapshotSaved ────      or DiskFailed, after which nothing is written until the next Load
           ── ReadSnapshot ──────────────>      a piece of it, as a member that sends it needs the next one
           <── SnapshotRead ──────────────
"""

from __future__ import annotations

from typing import Any

from .messages import Message
from .raft.core import Restored
from .raft.events import Persist, Snapshot, SnapshotChunk, SnapshotChunkRequest, StorageDone
from .storage.base import Storage, StorageBroken, StorageDamaged
from .storage.simulated import DiskFaults, SimulatedStorage
from .surely import tell_surely
from .system import Actor, Timer

__all__ = [
    "Decay",
    "Disk",
    "DiskFailed",
    "Load",
    "Loaded",
    "LosePower",
    "ReadSnapshot",
    "Save",
    "SaveSnapshot",
    "SetDiskFaults",
    "SnapshotRead",
    "SnapshotSaved",
    "Written",
    "chunk_of",
]


class Load(Message, frozen=True, kw_only=True, gc=False):
    """Read everything. `life` is the member's incarnation as an actor: answers to an earlier one mean nothing to it."""

    life: int


class Loaded(Message, frozen=True, kw_only=True, gc=False):
    life: int
    restored: Restored
    incarnation: int
    """Of the member in its cluster: it counts starts across processes."""


class Save(Message, frozen=True, kw_only=True, gc=False):
    life: int
    persist: Persist


class SaveSnapshot(Message, frozen=True, kw_only=True, gc=False):
    """See Storage.save_snapshot; it keeps its place among the Saves."""

    life: int
    snapshot: Snapshot
    keep_from: int


class Written(Message, frozen=True, kw_only=True, gc=False):
    """All Saves up to this one's are durable."""

    life: int
    done: StorageDone


class SnapshotSaved(Message, frozen=True, kw_only=True, gc=False):
    life: int
    index: int


class ReadSnapshot(Message, frozen=True, kw_only=True, gc=False):
    """Read a piece of the snapshot. Not answered where there is another one by now."""

    life: int
    wanted: SnapshotChunkRequest


class SnapshotRead(Message, frozen=True, kw_only=True, gc=False):
    life: int
    chunk: SnapshotChunk


class DiskFailed(Message, frozen=True, kw_only=True, gc=False):
    """What was given to save since the last Written may be lost; the member must not go on as if it were not."""

    life: int
    reason: str
    is_damaged: bool = False


class SetDiskFaults(Message, frozen=True, kw_only=True, gc=False):
    """How a simulated disk behaves from now on."""

    faults: DiskFaults


class LosePower(Message, frozen=True, kw_only=True, gc=False):
    """A simulated disk loses power, and its node with it; the node comes back and reads what is left."""


class Decay(Message, frozen=True, kw_only=True, gc=False):
    """A bit of what a simulated disk holds flips; it is found when the node reads it again."""


class _Write(Message, frozen=True, kw_only=True, gc=False):
    """To itself: everything that queued up in front of this is one write."""


class _Synced(Message, frozen=True, kw_only=True, gc=False):
    """To itself: the simulated disk's write has taken its time."""


def chunk_of(wanted: SnapshotChunkRequest, data: bytes, total: int) -> SnapshotChunk:
    """What a storage read, as the core wants to hear of it."""
    return SnapshotChunk(peer=wanted.peer, index=wanted.index, offset=wanted.offset, data=data, total=total)


class Disk(Actor):
    """The storage of one member, which is the actor called `owner`."""

    dedicated_thread = True
    # A write must never be dropped; the Raft core bounds what is under way.
    mailbox_capacity = 1_000_000

    def __init__(self, owner: str, storage: Storage) -> None:
        super().__init__()
        self._owner = owner
        self._storage = storage
        self._life = 0
        self._queued: list[Save | SaveSnapshot] = []
        self._under_way: tuple[Save | SaveSnapshot, ...] = ()
        self._timer: Timer | None = None
        self._syncs = 0
        self._saves = 0
        self._entries = 0

    def on_start(self) -> None:
        """A simulated disk that starts has lost power before."""
        if isinstance(self._storage, SimulatedStorage):
            self._storage.lose_power(self.context.random)

    def on_failure(self, kind: Any, error: Any, trace: Any) -> None:
        """What was queued is lost with this life: the owner must read anew what is left."""
        self._storage.close()
        self._tell(DiskFailed(life=0, reason=f"the disk's actor crashed: {error}"))

    def on_stop(self) -> None:
        """What is queued is written: its owner stopped in good order."""
        if self._life and not self._under_way:
            self._write(_Write())
        self._storage.close()

    def on_receive(self, message: Any) -> None:
        """One message, by its class."""
        match message:
            case Save() | SaveSnapshot():
                self._queue(message)
            case _Write():
                self._write(message)
            case _Synced():
                self._synced()
            case Load():
                self._load(message)
            case ReadSnapshot():
                self._read_snapshot(message)
            case _ if isinstance(self._storage, SimulatedStorage):
                self._control(self._storage, message)

    def _control(self, disk: SimulatedStorage, message: Any) -> None:
        match message:
            case SetDiskFaults():
                disk.faults = message.faults
            case LosePower():
                disk.lose_power(self.context.random)
                self._fail(StorageBroken("the simulated disk lost power"))
            case Decay():
                disk.decay(self.context.random)

    # -- reading --------------------------------------------------------------------------------------------------

    def _load(self, message: Load) -> None:
        """What an earlier life has queued may be lost: it was never told that it is durable."""
        self._drop_all()
        self._life = message.life
        try:
            restored = self._storage.load()
            incarnation = self._storage.start(message.life)
        except StorageBroken as error:
            self._fail(error)
            return
        self._tell(Loaded(life=self._life, restored=restored, incarnation=incarnation))

    def _read_snapshot(self, message: ReadSnapshot) -> None:
        if message.life != self._life:
            return
        wanted = message.wanted
        try:
            found = self._storage.read_snapshot(wanted.index, wanted.offset, wanted.size)
        except StorageBroken as error:
            self._fail(error)
            return
        if found is not None:
            self._tell(SnapshotRead(life=self._life, chunk=chunk_of(wanted, *found)))

    # -- writing --------------------------------------------------------------------------------------------------

    def _queue(self, message: Save | SaveSnapshot) -> None:
        if message.life != self._life:
            return
        self._queued.append(message)
        if len(self._queued) == 1 and not self._under_way:
            self.context.send(self.context.name, _Write())

    def _write(self, _: _Write) -> None:
        while self._queued and not self._under_way:
            batch = self._next_batch()
            self._under_way = batch
            try:
                self._start(batch)
            except StorageBroken as error:
                self._fail(error)

    def _next_batch(self) -> tuple[Save | SaveSnapshot, ...]:
        """All writes up to the next snapshot, or that snapshot."""
        queued = self._queued
        size = next((n for n, message in enumerate(queued) if isinstance(message, SaveSnapshot)), len(queued))
        size = max(size, 1)
        self._queued = queued[size:]
        return tuple(queued[:size])

    def _start(self, batch: tuple[Save | SaveSnapshot, ...]) -> None:
        storage = self._storage
        target = storage.unsynced if isinstance(storage, SimulatedStorage) else storage
        first = batch[0]
        if isinstance(first, SaveSnapshot):
            target.save_snapshot(first.snapshot, first.keep_from)
        else:
            target.save_many([message.persist for message in batch if isinstance(message, Save)])
        if isinstance(storage, SimulatedStorage):
            self._timer = self.context.after_ns(storage.sync_ns(self.context.random), _Synced())
        else:
            self._finish()

    def _synced(self) -> None:
        self._timer = None
        assert isinstance(self._storage, SimulatedStorage)
        try:
            self._storage.sync()
        except StorageBroken as error:
            self._fail(error)
            return
        self._finish()
        self._write(_Write())

    def _finish(self) -> None:
        batch, self._under_way = self._under_way, ()
        self._syncs += 1
        self._saves += len(batch)
        self._entries += sum(len(message.persist.terms) for message in batch if isinstance(message, Save))
        last = batch[-1]
        if isinstance(last, SaveSnapshot):
            self._tell(SnapshotSaved(life=self._life, index=last.snapshot.index))
        else:
            self._tell(Written(life=self._life, done=last.persist.done))

    def _fail(self, error: StorageBroken) -> None:
        """Nothing is tried twice: after a failed sync nobody knows what is on the disk until it is read anew."""
        life, self._life = self._life, 0
        self._drop_all()
        self._storage.close()
        is_damaged = isinstance(error, StorageDamaged)
        self._tell(DiskFailed(life=life, reason=str(error), is_damaged=is_damaged))

    def _drop_all(self) -> None:
        self._queued, self._under_way = [], ()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, message: Message) -> None:
        """An answer that is lost is not given again."""
        tell_surely(self.context, self._owner, message)

    def statistics(self) -> dict[str, int | float | str]:
        return super().statistics() | {"syncs": self._syncs, "saves": self._saves, "entries": self._entries}
