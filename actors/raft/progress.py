"""What a leader knows of one other member: how far its log agrees, and what is under way to it."""

from collections import deque
from enum import Enum

WIDE = 1 << 30
"""A window that bounds nothing: only the configuration does."""


class ProgressState(Enum):
    PROBE = "probe"
    """Where the logs part is not known: one message at a time."""
    REPLICATE = "replicate"
    """The logs agree up to what was sent: messages follow each other without waiting for answers."""
    SNAPSHOT = "snapshot"
    """It lacks entries that are no longer in the log: it gets the snapshot, piece by piece."""


class Sending:
    """How far one snapshot has got on its way to one member, in bytes."""

    __slots__ = ("index", "total", "received", "asked", "moved_ns")

    def __init__(self, index: int, now_ns: int) -> None:
        self.index = index
        self.total = -1
        """Not known before the first piece was read."""
        self.received = 0
        """What has arrived from the beginning without a gap."""
        self.asked = 0
        """What was read and sent; pieces between the two are under way."""
        self.moved_ns = now_ns
        """When `received` last grew, or the pieces were last sent again."""


class Progress:
    """Entries up to `match` are durable there; `next` is sent next. Always match < next."""

    __slots__ = (
        "match",
        "next",
        "state",
        "last_heard_ns",
        "round",
        "told_commit",
        "told_ns",
        "inflight",
        "inflight_bytes",
        "window",
        "snapshot",
    )

    def __init__(self, next_index: int, now_ns: int) -> None:
        self.match = 0
        self.next = next_index
        self.state = ProgressState.PROBE
        self.last_heard_ns = now_ns
        self.round = 0
        """The newest confirmation round that it answered."""
        self.told_commit = 0
        self.told_ns = now_ns
        """When entries were last sent to it."""
        self.inflight: deque[tuple[int, int]] = deque()
        """(last index, bytes) of each message with entries that is not answered yet, oldest first."""
        self.inflight_bytes = 0
        self.window = WIDE
        """How many messages with entries may be under way, besides what the configuration allows.

        Each is refused whose predecessor has not arrived. On a wire that reorders, sending all of them again after
        each refusal would beget more refusals than it settles: so a refusal leaves one, and each progress doubles it.
        """
        self.snapshot: Sending | None = None

    def sent(self, last_index: int, size: int) -> None:
        self.inflight.append((last_index, size))
        self.inflight_bytes += size

    def acknowledged(self, match: int) -> None:
        """Everything up to match has arrived; answers come late and twice, so this only ever grows."""
        self.match = match
        if self.next <= match:
            self.next = match + 1
        if self.window < WIDE:
            self.window *= 2
        inflight = self.inflight
        while inflight and inflight[0][0] <= match:
            self.inflight_bytes -= inflight.popleft()[1]

    def send_snapshot(self, index: int, now_ns: int) -> Sending:
        """Begins with a snapshot, or with a newer one; the pieces of an older one are no good any more."""
        self.state = ProgressState.SNAPSHOT
        self.clear_inflight()
        self.snapshot = sending = Sending(index, now_ns)
        return sending

    def probe(self, next_index: int) -> None:
        self.snapshot = None
        self.state = ProgressState.PROBE
        self.next = max(next_index, self.match + 1)
        self.window = 1
        self.clear_inflight()

    def replicate(self) -> None:
        self.snapshot = None
        self.state = ProgressState.REPLICATE
        self.clear_inflight()

    def forget(self) -> None:
        """The member was started anew: what it once had may be gone."""
        self.match = 0
        self.probe(self.next)

    def clear_inflight(self) -> None:
        self.inflight.clear()
        self.inflight_bytes = 0
