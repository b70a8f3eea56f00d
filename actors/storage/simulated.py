"""A simulated disk: bytes that are only safe once synced, on a disk that is slow, full, failing, torn or decaying.

The file is a row of records, each with its length and its checksum, as a real one would be; what a crash leaves is
read back from those bytes alone. Everything random is drawn from a stream that the caller hands over.
"""

import zlib
from collections.abc import Sequence
from struct import Struct

import msgspec

from ..raft.core import Restored
from ..raft.events import Persist, RandomStream, Snapshot
from .base import StorageBroken, StorageDamaged
from .memory import MemoryStorage

__all__ = ["DiskFaults", "SimulatedStorage"]


class DiskFaults(msgspec.Struct, frozen=True, kw_only=True):
    """How the disk behaves. Shares are from 0 to 1; the defaults are a good disk that takes a millisecond."""

    sync_ms: float = 1.0
    jitter_ms: float = 0.0
    slow: float = 0.0
    """The share of syncs that take slow_ms instead."""
    slow_ms: float = 200.0
    is_full: bool = False
    failing_sync: float = 0.0
    """The share of syncs that fail; what was to be synced may be lost or not, as after a real one."""
    tearing: bool = True
    """A power loss may leave a part of what was not synced; else all of it is gone."""


_RECORD = Struct("<II")


class SimulatedStorage:
    """One member's. It survives the actors that use it, like a disk, and `lose_power` is what a crash does to it.

    `save`, `save_many` and `save_snapshot` write and sync; through `unsynced` they only write, and `sync` is apart.
    """

    def __init__(
        self,
        initial: Restored,
        faults: DiskFaults = DiskFaults(),  # noqa: B008 (frozen)
        mend: str = "remove the node and add it again",
    ) -> None:
        self.faults = faults
        self._mend = mend
        self._file = bytearray(_record(initial))
        self._synced = len(self._file)
        self._starts = 0
        self._is_open = False
        self._failing = False
        self._cache = MemoryStorage(initial)
        # What the records up to a place add up to: a look at what is durable reads only what was synced since the last.
        self._safe: MemoryStorage | None = None
        self._safe_end = 0
        self.unsynced = _Unsynced(self)

    # -- Storage ------------------------------------------------------------------------------------------------------

    def load(self) -> Restored:
        records, end = self._read()
        del self._file[end:]
        self._safe = None
        # What was read is durable from here on: a real storage syncs what it has read before it trusts it.
        self._synced = end
        self._cache = _replay(records)
        self._is_open = True
        return self._cache.load()

    def start(self, at_least: int) -> int:
        self._starts = max(self._starts + 1, at_least)
        return self._starts

    def save(self, persist: Persist) -> None:
        self.save_many((persist,))

    def save_many(self, persists: Sequence[Persist]) -> None:
        self.write_many(persists)
        self.sync()

    def save_snapshot(self, snapshot: Snapshot, keep_from: int) -> None:
        self.write_snapshot(snapshot, keep_from)
        self.sync()

    def read_snapshot(self, index: int, offset: int, size: int) -> tuple[bytes, int] | None:
        if not self._is_open:
            raise StorageBroken("the storage is closed; load it again before using it")
        return self._cache.read_snapshot(index, offset, size)

    def close(self) -> None:
        self._is_open = False

    # -- what a disk does ---------------------------------------------------------------------------------------------

    def write_many(self, persists: Sequence[Persist]) -> None:
        """Into the page cache: found again after a crash of the program, perhaps not after a loss of power."""
        self._check_writable()
        self._cache.save_many(persists)
        self._file += _record(tuple(persists))

    def write_snapshot(self, snapshot: Snapshot, keep_from: int) -> None:
        """One record more, and a fresh file at the next load; a real storage would take the place of the old one."""
        self._check_writable()
        self._cache.save_snapshot(snapshot, keep_from)
        self._file += _record((snapshot, keep_from))

    def sync_ns(self, random: RandomStream) -> int:
        """How long the next sync takes, and whether it will fail."""
        faults = self.faults
        self._failing = random.random() < faults.failing_sync
        if faults.slow and random.random() < faults.slow:
            return round(faults.slow_ms * 1e6)
        return round((faults.sync_ms + faults.jitter_ms * random.random()) * 1e6)

    def sync(self) -> None:
        """Makes everything written durable, or fails; then nothing more is taken until `load`."""
        if not self._is_open:
            raise StorageBroken("the simulated disk lost power during a sync")
        if self._failing:
            self._failing = False
            self._is_open = False
            # Fsyncgate: what was not synced is marked clean, and may never be written.
            del self._file[self._synced :]
            raise StorageBroken("the simulated disk failed to sync; the node reads anew what is left")
        self._synced = len(self._file)

    def lose_power(self, random: RandomStream) -> None:
        """What was not synced is gone, or torn: a part of it was written, or written with errors."""
        unsynced = len(self._file) - self._synced
        if unsynced:
            keep = int(random.random() * (unsynced + 1)) if self.faults.tearing else 0
            del self._file[self._synced + keep :]
            if keep and random.random() < 0.5:
                # The sectors of one write reach the disk in any order.
                self._flip(self._synced + int(random.random() * keep), random)
        self._is_open = False

    def decay(self, random: RandomStream) -> bool:
        """Flips a bit in the middle of what was synced; False where there is no middle to speak of.

        Not in the last record: that is not told from a torn tail by any storage that writes its records in a row.
        """
        starts = [start for start, _ in self._walk() if start < self._synced]
        if len(starts) < 3:
            return False
        self._flip(starts[1] + int(random.random() * (starts[-1] - starts[1])), random)
        return True

    def _flip(self, position: int, random: RandomStream) -> None:
        self._safe = None
        self._file[position] ^= 1 << int(random.random() * 8)

    def _check_writable(self) -> None:
        if not self._is_open:
            raise StorageBroken("the storage is closed; load it again before saving to it")
        if self.faults.is_full:
            self._is_open = False
            raise StorageBroken("the simulated disk is full; make room on it")

    # -- looking at it ------------------------------------------------------------------------------------------

    @property
    def durable(self) -> Restored:
        """What is left after the worst loss of power at this moment; checkers compare it with what was promised."""
        begin = 0 if self._safe is None else self._safe_end
        synced = [(start, data) for start, data in self._walk(begin) if start < self._synced]
        if synced:
            self._safe = _replay([data for _, data in synced], self._safe)
            self._safe_end = _end_of(*synced[-1])
        assert self._safe is not None, "a disk is never without its first record"
        return self._safe.content()

    def _walk(self, at: int = 0) -> list[tuple[int, bytes]]:
        """(where it starts, data) of each sound record from there up to the first that is not."""
        found = []
        while (data := self._at(at)) is not None:
            found.append((at, data))
            at = _end_of(at, data)
        return found

    def _at(self, at: int) -> bytes | None:
        if at + _RECORD.size > len(self._file):
            return None
        length, crc = _RECORD.unpack_from(self._file, at)
        data = bytes(self._file[at + _RECORD.size : at + _RECORD.size + length])
        return data if 0 < length == len(data) and zlib.crc32(data) == crc else None

    def _read(self) -> tuple[list[bytes], int]:
        """The sound records, and where they end. Raises StorageDamaged when a sound one stands behind that."""
        walked = self._walk()
        end = _end_of(*walked[-1]) if walked else 0
        if not walked or any(self._at(at) is not None for at in range(end + 1, len(self._file))):
            raise StorageDamaged(f"the simulated disk is damaged at byte {end}; {self._mend}")
        return [data for _, data in walked], end


class _Unsynced:
    """The same disk without the syncs."""

    def __init__(self, disk: SimulatedStorage) -> None:
        self.save_many = disk.write_many
        self.save_snapshot = disk.write_snapshot


def _record(value: Restored | tuple[Persist, ...] | tuple[Snapshot, int]) -> bytes:
    kind = b"R" if isinstance(value, Restored) else b"P" if isinstance(value[0], Persist) else b"S"
    data = kind + msgspec.msgpack.encode(value)
    return _RECORD.pack(len(data), zlib.crc32(data)) + data


def _end_of(start: int, data: bytes) -> int:
    return start + _RECORD.size + len(data)


def _replay(records: Sequence[bytes], storage: MemoryStorage | None = None) -> MemoryStorage:
    """What records add up to, from the first of a file on, or from what those before them added up to."""
    for record in records:
        if storage is None:
            storage = MemoryStorage(_RESTORED.decode(record[1:]))
        elif record[:1] == b"P":
            storage.save_many(_PERSISTS.decode(record[1:]))
        else:
            storage.save_snapshot(*_SNAPSHOT.decode(record[1:]))
    assert storage is not None, "a file begins with what its member found first"
    return storage


_RESTORED = msgspec.msgpack.Decoder(Restored)
_PERSISTS = msgspec.msgpack.Decoder(tuple[Persist, ...])
_SNAPSHOT = msgspec.msgpack.Decoder(tuple[Snapshot, int])
