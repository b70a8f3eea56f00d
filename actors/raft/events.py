"""What one member of a cluster hears (messages, events) and what it wants done (Ready): all values, nothing acts.

The words are those of Ongaro's dissertation ("Consensus: Bridging Theory and Practice", 2014).  Everything is frozen
and acyclic, so the garbage collector need not follow it (gc=False).
"""

from typing import Protocol

import msgspec

from .membership import Membership

NEVER_NS = 2**62
"""A deadline that does not come: a member that only waits to be added has nothing to do by itself."""

NO_OP = b""
"""The payload of the entry with which a leader begins its term (§6.4)."""

MEMBERSHIP_PREFIX = b"\x00"
"""A payload that starts so is a membership change; applications never use it."""

_FIRST_APPLICATION = b"\x01"
"""The least of all that are not empty and start with a higher byte than a membership change."""


def is_application(payload: bytes) -> bool:
    """Whether a payload is the application's: neither a leader's no-op nor a membership change."""
    return payload >= _FIRST_APPLICATION


class RandomStream(Protocol):
    """The only randomness a member uses; `random.Random` fits."""

    def random(self) -> float: ...


# --- Messages between members ---------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    """What every peer message carries. A message of another cluster is dropped and counted."""

    cluster: str
    sender: str
    to: str
    term: int
    incarnation: int
    """Of the sender: it counts the starts of that member; what an earlier start sent is dropped."""


class PreVoteRequest(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    """Would you vote for me in term + 1? Changes nobody's term or vote (§9.6)."""

    last_index: int
    last_term: int
    round: int
    """Numbers the sender's rounds of asking, so that a late answer is not counted in the next one."""


class PreVoteReply(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    granted: bool
    round: int


class VoteRequest(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    last_index: int
    last_term: int
    transfer: bool = False
    """The leader asked for this election: voters answer although they hear a leader (§3.10)."""


class VoteReply(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    granted: bool


class Append(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    """AppendEntries; without entries it is the heartbeat, and the question whether the logs agree up to prev_index."""

    prev_index: int
    prev_term: int
    terms: tuple[int, ...]
    payloads: tuple[bytes, ...]
    commit: int
    round: int
    """Numbers the leader's confirmation rounds for reads; the reply repeats it."""
    memberships: tuple[int, ...] = ()
    """The indexes of membership changes among the entries: a receiver need not look at every payload."""


class AppendReply(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    success: bool
    match: int
    """Success: all up to here agrees with the leader and is durable. Refusal: the prev_index that was refused."""
    round: int
    hint_index: int = 0
    """Refusal: the last index that may still agree, and its term: the leader goes back by terms, not by entries."""
    hint_term: int = 0


class InstallSnapshot(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    """A piece of the leader's snapshot, for a member whose next entry the leader no longer has (§5.3).

    Pieces belong together when sender, term and index are the same.
    """

    index: int
    snapshot_term: int
    """Of the entry at index."""
    membership: Membership
    """In force at index."""
    total: int
    """The whole snapshot's bytes."""
    offset: int
    data: bytes


class InstallSnapshotReply(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    """How much of the snapshot has come. That it is installed is said by an AppendReply."""

    index: int
    received: int
    """Bytes from the beginning without a gap."""


class TimeoutNow(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    """The leader hands over: the receiver campaigns at once (§3.10)."""


class ForwardedProposal(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    payloads: tuple[bytes, ...]
    ref: int


class ForwardedReply(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    """What became of a forwarded proposal: index > 0, or a reason. asked_by: the incarnation that forwarded it."""

    ref: int
    asked_by: int
    at_term: int = 0
    index: int = 0
    count: int = 0
    reason: str = ""
    leader: str | None = None


class ReadIndexRequest(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    batch: int


class ReadIndexReply(Message, frozen=True, kw_only=True, gc=False, array_like=True, tag=True):
    batch: int
    index: int
    """What must be applied before the batch of reads may be answered; 0: the receiver of the request does not lead."""


PeerMessage = (
    PreVoteRequest
    | PreVoteReply
    | VoteRequest
    | VoteReply
    | Append
    | AppendReply
    | InstallSnapshot
    | InstallSnapshotReply
    | TimeoutNow
    | ForwardedProposal
    | ForwardedReply
    | ReadIndexRequest
    | ReadIndexReply
)


# --- Events from a member's own surroundings ------------------------------------------------------------------------


class DeadlineReached(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Time passed. Coming early or too often does no harm."""


class Propose(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Application entries for the log: none empty, none starting with a zero byte. Answered by Accepted or Refused."""

    payloads: tuple[bytes, ...]
    ref: int = 0
    forward: bool = True
    """A member that does not lead sends it on to the leader; it may then be lost, or arrive twice (see sessions.py)."""


class ReadRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """From which index on is a read of the applied state linearizable? Answered by ReadReady or ReadFailed."""

    ref: int


class StorageDone(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What `Persist.done` carried has become durable, and everything persisted before it."""

    term: int
    index: int
    sequence: int
    incarnation: int
    """Of the member: writes are counted anew in each of its lives."""


class SnapshotTaken(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The machine as it was after the entry at index is durable, and the storage has forgotten entries below keep_from.

    `Raft.snapshot_at(index)` makes one.
    """

    index: int
    term: int
    """Of the entry at index."""
    membership: Membership
    """In force at index."""
    keep_from: int
    incarnation: int
    """Of the member that took it: what an earlier life began to write is not this one's."""


class SnapshotInstalled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What `Ready.install` handed out is durable, and the machine has been restored from it."""

    index: int
    term: int
    incarnation: int
    """Of the member that installs it."""


class SnapshotChunk(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The bytes that a SnapshotChunkRequest asked for. Who no longer has that snapshot does not answer."""

    peer: str
    index: int
    offset: int
    data: bytes
    total: int
    """The whole snapshot's bytes."""


class AddLearner(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    member: str
    ref: int = 0


class PromoteLearner(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    member: str
    ref: int = 0


class RemoveMember(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    member: str
    ref: int = 0


class ChangeMembership(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Let exactly these take part. Several voters change at once by joint consensus (§4.3); a new voter listens first.

    Accepted means that the change began. It ends by itself, under this leader or a later one.
    """

    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()
    ref: int = 0


class TransferLeadership(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Hand over to a voter (None: the one that is furthest). Refused, or over when SteppedDown comes."""

    target: str | None = None
    ref: int = 0


class ForgetLeader(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A hint that the leader is gone (its connection was closed, say): its follower may now grant another one its vote
    before the leader's silence would have shown it. Nothing else changes, its own deadline neither; a leader, a
    candidate, and whoever keeps leases ignore it."""


Event = (
    PeerMessage
    | DeadlineReached
    | Propose
    | ReadRequest
    | StorageDone
    | SnapshotTaken
    | SnapshotInstalled
    | SnapshotChunk
    | AddLearner
    | PromoteLearner
    | RemoveMember
    | ChangeMembership
    | TransferLeadership
    | ForgetLeader
)


# --- What a step wants done -----------------------------------------------------------------------------------------


class HardState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a member must never forget besides its log."""

    term: int = 0
    voted_for: str | None = None


class Persist(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Write this: the hard state if there is one; forget the log from first_index on; then append the entries."""

    hard_state: HardState | None
    first_index: int
    terms: tuple[int, ...]
    payloads: tuple[bytes, ...]
    done: StorageDone


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The machine as it was after the entry at `index`: it stands for all entries up to there (§5)."""

    index: int
    term: int
    """Of the entry at index."""
    membership: Membership
    """In force at index."""
    data: bytes


class SnapshotChunkRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Read so much of the own snapshot at index, and step a SnapshotChunk: it is for that peer."""

    peer: str
    index: int
    offset: int
    size: int


class Apply(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Committed entries in order, each handed out exactly once; `is_application` tells whose they are."""

    first_index: int
    terms: tuple[int, ...]
    payloads: tuple[bytes, ...]


class ReadReady(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The read may be answered once everything up to index is applied here."""

    ref: int
    index: int


class ReadFailed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    ref: int
    reason: str
    leader: str | None


class Accepted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A proposal stands in the leader's log (this member's, or the one it was forwarded to); not yet committed."""

    ref: int
    term: int
    index: int
    count: int


class Refused(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    ref: int
    reason: str
    leader: str | None


class BecameLeader(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    term: int


class SteppedDown(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """This member led in `term` and no longer does."""

    term: int
    reason: str


class LeaderKnown(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    term: int
    leader: str | None


class MembershipChanged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Another membership is in force here: active once appended, so it may still be taken back (§4.1)."""

    membership: Membership


Change = BecameLeader | SteppedDown | LeaderKnown | MembershipChanged


class Ready(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the caller of a step does, in this order.

    1. install             start to write this snapshot; drop what was not applied yet, restore the machine; when it is
                           durable `step(SnapshotInstalled)`, before any later write's `done`.
    2. persist             start to write it; writes stay in order, an install among them.
    3. send                at once; need not wait for the write.
    4. send_after_durable  only when `persist` is durable (never set without one); then `step(persist.done)`.
    5. apply               hand the entries to the state machine, in order; may happen before the write is durable.
    6. reads, accepted, refused, changes    tell whoever asked.
    7. chunks              read these pieces of the own snapshot; step a SnapshotChunk for each.
    8. deadline_ns         call `step(now, DeadlineReached())` no later than then; earlier does no harm.

    Several writes may be joined into one: stepping the last one's `done` stands for all before it. A member that was
    made with `saves_at_once` counts its writes within the step: they are durable before 3., nothing waits for them, and
    `done` is not stepped.
    """

    persist: Persist | None = None
    send: tuple[PeerMessage, ...] = ()
    send_after_durable: tuple[PeerMessage, ...] = ()
    apply: Apply | None = None
    reads: tuple[ReadReady | ReadFailed, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    refused: tuple[Refused, ...] = ()
    changes: tuple[Change, ...] = ()
    install: Snapshot | None = None
    chunks: tuple[SnapshotChunkRequest, ...] = ()
    deadline_ns: int
    tells: bool = False
    """Whether there is anything at all in 1., 6. and 7.; mostly there is not."""
