"""Snapshots in place of old entries: the log is cut off, and who lacks what was cut gets the whole state (§5).

The core never holds the machine's bytes. The leader asks its caller for one piece after the other, as the follower
confirms them; the follower puts the pieces together and hands the whole to its caller.
"""

from typing import TYPE_CHECKING

from . import changing, replication
from .events import (
    AppendReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Snapshot,
    SnapshotChunk,
    SnapshotChunkRequest,
    SnapshotInstalled,
    SnapshotTaken,
)
from .progress import Progress, ProgressState, Sending

if TYPE_CHECKING:
    from .core import Raft


# --- The own snapshot ---


def on_snapshot_taken(raft: "Raft", event: SnapshotTaken) -> None:
    """§5.1: what a durable snapshot holds may leave the log."""
    if event.incarnation != raft.incarnation:
        return
    assert event.index <= raft.handed_index, "a snapshot holds only what was applied"
    if event.index < raft.log.base_index or (
        raft.snapshot is not None and event.index <= raft.snapshot.index
    ):
        return
    raft.snapshot = event
    if event.keep_from > raft.log.first_index:
        raft.base_membership = raft.membership_at(event.keep_from - 1)
        raft.log.compact(event.keep_from)


# --- The leader sends ---


def send_more(raft: "Raft", peer: str, progress: Progress) -> None:
    """Asks for the next pieces, as many as may be under way. The first one tells how many there are."""
    mark = raft.snapshot
    if mark is None or mark.index < raft.log.base_index:
        return  # It is being written; a heartbeat will come by here again.
    sending = progress.snapshot
    if sending is None or sending.index != mark.index:
        sending = progress.send_snapshot(mark.index, raft.now_ns)
    config = raft.config
    if sending.total < 0:
        end = 1 if not sending.asked else 0
    else:
        end = min(sending.total, sending.received + config.max_snapshot_inflight_bytes)
    while sending.asked < end:
        size = config.snapshot_chunk_bytes
        raft.news.append(
            SnapshotChunkRequest(peer=peer, index=sending.index, offset=sending.asked, size=size)
        )
        sending.asked += size


def on_snapshot_chunk(raft: "Raft", event: SnapshotChunk) -> None:
    progress = raft.peers.get(event.peer)
    sending = progress.snapshot if progress is not None else None
    mark = raft.snapshot
    if progress is None or sending is None or mark is None or not sending.index == mark.index == event.index:
        return
    raft.out.append(
        InstallSnapshot(
            cluster=raft.cluster, sender=raft.member, to=event.peer, term=raft.term,
            incarnation=raft.incarnation, index=mark.index, snapshot_term=mark.term,
            membership=mark.membership, total=event.total, offset=event.offset, data=event.data,
        )
    )  # fmt: skip
    if sending.total < 0:
        sending.total = event.total
        send_more(raft, event.peer, progress)


def on_install_snapshot_reply(raft: "Raft", message: InstallSnapshotReply) -> None:
    progress = raft.peers.get(message.sender)
    if progress is None:
        return
    progress.last_heard_ns = raft.now_ns
    sending = progress.snapshot
    if (
        sending is None
        or sending.index != message.index
        or not sending.received < message.received <= sending.total
    ):
        return
    sending.received = message.received
    sending.asked = max(sending.asked, message.received)
    sending.moved_ns = raft.now_ns
    send_more(raft, message.sender, progress)


def send_again(raft: "Raft", peer: str, progress: Progress) -> None:
    """With each heartbeat: what was not confirmed for an election timeout is sent again, if somebody is there."""
    sending = progress.snapshot
    timeout_ns = raft.config.election_min_ms * 1_000_000
    if sending is None or raft.now_ns - sending.moved_ns < timeout_ns:
        return
    if raft.now_ns - progress.last_heard_ns < timeout_ns:
        _rewind(sending, raft.now_ns)
        send_more(raft, peer, progress)


def _rewind(sending: Sending, now_ns: int) -> None:
    sending.asked = sending.received
    sending.moved_ns = now_ns
    if not sending.received:
        sending.total = -1


def is_sending(raft: "Raft") -> bool:
    """Whether a member that answers is being sent the snapshot: a newer one now would make it begin again."""
    since = raft.now_ns - raft.config.election_max_ms * 1_000_000
    return any(
        progress.state is ProgressState.SNAPSHOT and progress.last_heard_ns >= since
        for progress in raft.peers.values()
    )


# --- The follower receives ---


class Incoming:
    """The pieces of one snapshot of one leader, in whatever order they come."""

    __slots__ = ("key", "total", "received", "_pieces", "_early")

    def __init__(self, message: InstallSnapshot) -> None:
        self.key = (message.sender, message.term, message.index)
        self.total = message.total
        self.received = 0
        self._pieces: list[bytes] = []
        self._early: dict[int, bytes] = {}

    def add(self, offset: int, data: bytes, limit: int) -> None:
        """Takes a piece that follows, keeps one that comes early while they are few, drops one that came before."""
        # What lies beyond the window is left over from before this member was started anew.
        if offset < self.received or (offset > self.received and offset + len(data) > self.received + limit):
            return
        self._early[offset] = data
        while (piece := self._early.pop(self.received, None)) is not None:
            self._pieces.append(piece)
            self.received += len(piece)
            if not piece:
                return

    def whole(self) -> bytes:
        return b"".join(self._pieces)


def on_install_snapshot(raft: "Raft", message: InstallSnapshot) -> None:
    """§5.3: a snapshot of what this member has already changes nothing; a new one is taken when it is whole."""
    end = message.offset + len(message.data)
    is_empty = not message.data and message.total > 0
    if message.offset < 0 or end > message.total or is_empty or raft.leader not in (None, message.sender):
        raft.drop("malformed")
        return
    replication.hear_leader(raft, message.sender)
    if message.index <= raft.commit_index:
        _acknowledge(raft, message.sender)
    elif raft.log.term_at(message.index) == message.snapshot_term:
        # The log has it all, and more perhaps, that must stay: only that it is committed is news.
        raft.verified_index = max(raft.verified_index, message.index)
        raft.commit_to(message.index)
        _acknowledge(raft, message.sender)
    else:
        _collect(raft, message)


def _collect(raft: "Raft", message: InstallSnapshot) -> None:
    incoming = raft.incoming
    key = (message.sender, message.term, message.index)
    if incoming is None or incoming.key != key:
        if incoming is not None and incoming.key[:2] == key[:2] and incoming.key[2] > message.index:
            raft.drop("older snapshot")
            return
        raft.incoming = incoming = Incoming(message)
    if incoming.total != message.total:
        raft.drop("malformed")
        return
    incoming.add(message.offset, message.data, raft.config.max_snapshot_inflight_bytes)
    if incoming.received == incoming.total:
        raft.incoming = None
        _install(raft, message, incoming.whole())
        return
    raft.out.append(
        InstallSnapshotReply(
            cluster=raft.cluster, sender=raft.member, to=message.sender, term=raft.term,
            incarnation=raft.incarnation, index=message.index, received=incoming.received,
        )
    )  # fmt: skip


def _install(raft: "Raft", message: InstallSnapshot, data: bytes) -> None:
    """The log begins anew after it. Until it is durable, nothing of it is acknowledged."""
    index, term, membership = message.index, message.snapshot_term, message.membership
    # Until then the disk has the old log, which counts as far as it agrees with the leader's: what is on its way
    # there counts, too, once it is durable, for its acknowledgement is sent then.
    agreed_index = max(raft.commit_index, raft.verified_index)
    raft.durable_index = min(raft.durable_index, agreed_index)
    for write in raft.pending:
        write[1] = min(write[1], agreed_index)
    raft.hold_no_more(agreed_index)
    raft.log.restart(index, term)
    raft.unsaved_from = 0
    raft.forget_columns()
    raft.commit_index = raft.handed_index = raft.verified_index = index
    raft.base_membership = membership
    raft.memberships = [membership]
    changing.enter(raft, membership)
    raft.installing = SnapshotTaken(
        index=index,
        term=term,
        membership=membership,
        keep_from=index + 1,
        incarnation=raft.incarnation,
    )
    raft.install_out = Snapshot(index=index, term=term, membership=membership, data=data)


def on_snapshot_installed(raft: "Raft", event: SnapshotInstalled) -> None:
    installed = raft.installing
    if installed is None or (installed.index, installed.term) != (event.index, event.term):
        return
    if event.incarnation != raft.incarnation:
        return
    raft.installing = None
    raft.snapshot = installed
    raft.became_durable(installed.index)
    if raft.leader is not None and raft.leader != raft.member:
        _acknowledge(raft, raft.leader)


def _acknowledge(raft: "Raft", leader: str) -> None:
    """What is committed agrees with every leader, so all that is durable of it counts."""
    match = min(max(raft.verified_index, raft.commit_index), raft.durable_index)
    raft.out.append(
        AppendReply(
            cluster=raft.cluster, sender=raft.member, to=leader, term=raft.term, incarnation=raft.incarnation,
            success=True, match=match, round=0,
        )
    )  # fmt: skip
