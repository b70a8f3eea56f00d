"""Tells a torn tail from damage in sqlite's write-ahead log, which sqlite itself does not: it cuts both off silently.

sqlite reads the log up to the first frame whose checksum fails and forgets the rest. After a power loss that is right:
the last transaction was never synced. But each of our transactions is synced before the next one is written, so when
a failing frame is followed by another transaction, something durable was changed later, and sqlite would cut off what
was promised.

The format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .base import StorageDamaged

HEADER = 32
FRAME_HEADER = 24
PAGE = 4096
MAGIC = 0x377F0682
"""The lowest bit says in which byte order the checksums read the words: set means big endian."""

Words = npt.NDArray[np.uint32]


def check_wal(database: Path) -> None:
    """Raises StorageDamaged when the log beside the database is damaged before its last transaction."""
    path = database.with_name(database.name + "-wal")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    if len(content) > HEADER and _lost_transactions(content):
        raise StorageDamaged(
            f"{path} is damaged before its end: what was written after the damage would be lost"
        )


def _lost_transactions(content: bytes) -> bool:
    """Whether a transaction stands after the one with the first failing frame."""
    magic, _, page_size = struct.unpack(">3I", content[:12])
    is_header_sound = (magic | 1) == (MAGIC | 1) and _is_header_sound(content[:HEADER], bool(magic & 1))
    if not is_header_sound:
        # A header is one sector, so it is never torn: it is whole, or neither it nor its transaction was ever synced.
        return any(content[:HEADER]) or _commits(content) > 1
    size = FRAME_HEADER + page_size
    count = (len(content) - HEADER) // size
    if not count:
        return False
    frames = np.frombuffer(content, np.uint8, count * size, HEADER).reshape(count, size)
    heads = frames[:, :FRAME_HEADER].copy().view(">u4").astype(np.uint32)
    ours = (heads[:, 2:4] == np.frombuffer(content, ">u4", 2, 16)).all(axis=1)
    sound = _sound_frames(frames, heads, content, bool(magic & 1))
    failing = next((number for number in range(count) if not (ours[number] and sound[number])), count)
    return _has_later_transaction(failing, ours, heads[:, 1])


def _commits(content: bytes) -> int:
    """The transactions in a log without a header, for which the page size is the usual one."""
    size = FRAME_HEADER + PAGE
    return sum(any(content[at + 4 : at + 8]) for at in range(HEADER, len(content) - size + 1, size))


def _has_later_transaction(failing: int, ours: npt.NDArray[np.bool_], commits: Words) -> bool:
    """The failing transaction ends at the next commit frame; nothing of this log may stand behind that."""
    rest = range(failing, len(ours))
    ends = next((number for number in rest if ours[number] and commits[number]), len(ours))
    return bool(ours[ends + 1 :].any())


def _is_header_sound(header: bytes, is_big: bool) -> bool:
    words = np.frombuffer(header[:24], ">u4" if is_big else "<u4").astype(np.uint32)
    sums = _sums(words.reshape(1, -1))[0]
    return tuple(sums.tolist()) == struct.unpack(">2I", header[24:32])


def _sound_frames(
    frames: npt.NDArray[np.uint8], heads: Words, content: bytes, is_big: bool
) -> npt.NDArray[np.bool_]:
    """Whether each frame's checksum is right, given the one that the frame before it claims.

    The sums are linear, so a frame's is its own, plus the predecessor's carried through: all frames at once.
    """
    order = ">u4" if is_big else "<u4"
    words = (
        np.concatenate((frames[:, :8], frames[:, FRAME_HEADER:]), axis=1).copy().view(order).astype(np.uint32)
    )
    claimed = heads[:, 4:6]
    before = np.concatenate((np.frombuffer(content, ">u4", 2, 24).astype(np.uint32)[None, :], claimed[:-1]))
    return np.asarray((_sums(words, before) == claimed).all(axis=1))


def _sums(words: Words, before: Words | None = None) -> Words:
    """The running checksums of rows of words (an even number each), from the pairs `before`."""
    one = np.zeros(len(words), np.uint32) if before is None else before[:, 0].copy()
    two = np.zeros(len(words), np.uint32) if before is None else before[:, 1].copy()
    columns = np.ascontiguousarray(words.T)
    for even in range(0, len(columns), 2):
        one += columns[even] + two
        two += columns[even + 1] + one
    return np.stack((one, two), axis=1)
