"""Linearizable reads without a log entry: ReadIndex, in batches, on any member (§6.4).

A leader remembers its commit index, makes sure by one round of heartbeats that it still leads, and then lets the read
go once that index is applied.  All reads that come while a round is under way share the next one.
"""

from collections import deque
from typing import TYPE_CHECKING

from . import replication
from .events import NEVER_NS, ReadFailed, ReadIndexReply, ReadIndexRequest, ReadReady, ReadRequest
from .membership import reached_by_majority

if TYPE_CHECKING:
    from .core import Raft


class Reads:
    """The reads that wait. An asker is (member, its batch number), or (None, ref) for a read of our own."""

    __slots__ = ("waiting", "confirming", "index", "round", "asked", "unasked", "batch")

    def __init__(self, incarnation: int) -> None:
        self.waiting: list[tuple[str | None, int]] = []
        self.confirming: list[tuple[str | None, int]] = []
        self.index = 0
        """What the reads being confirmed must wait for; known when their round begins."""
        self.round = 0
        self.asked: tuple[int, ...] = ()
        """A follower's reads whose question is on its way to the leader, and those for the next question."""
        self.unasked: list[int] = []
        # No life of a member has numbers of another: an answer to an earlier life, long under way, answers nothing now.
        self.batch = incarnation << 32


class Lease:
    """Until when nobody else can have been elected, because a quorum that heard this leader does not vote (§6.4.1).

    It counts from when a round was sent, not from its answers: that is when the voters' patience can begin.
    """

    __slots__ = ("length_ns", "until_ns", "is_void", "rounds")

    def __init__(self, length_ns: int) -> None:
        self.length_ns = length_ns
        self.rounds: deque[tuple[int, int]] = deque()
        """(round, when it was sent), oldest first; those that a quorum has answered are gone."""
        self.begin()

    def begin(self) -> None:
        self.until_ns = -NEVER_NS
        self.is_void = False
        self.rounds.clear()

    def answered(self, up_to: int) -> None:
        rounds = self.rounds
        while rounds and rounds[0][0] <= up_to:
            self.until_ns = rounds.popleft()[1] + self.length_ns


def on_read_request(raft: "Raft", event: ReadRequest) -> None:
    if raft.is_leader:
        _wait(raft, None, event.ref)
    elif raft.leader is None:
        raft.news.append(ReadFailed(ref=event.ref, reason="no leader", leader=None))
    else:
        raft.reads.unasked.append(event.ref)
        if not raft.reads.asked:
            _ask_leader(raft)


# --- The leader ---


def on_read_index_request(raft: "Raft", message: ReadIndexRequest) -> None:
    if raft.is_leader:
        _wait(raft, message.sender, message.batch)
    else:
        _answer(raft, message.sender, message.batch, 0)


def _wait(raft: "Raft", asker: str | None, number: int) -> None:
    raft.reads.waiting.append((asker, number))
    start_round(raft)


def start_round(raft: "Raft") -> None:
    """Asks everybody at once whether we still lead, for all reads that wait.

    A new leader does not know what was committed before it until an entry of its own is (§6.4), so it waits for that.
    """
    reads = raft.reads
    if not reads.waiting or reads.confirming or not raft.has_committed_own_term:
        return
    if raft.config.lease_reads and raft.now_ns < raft.lease.until_ns and not raft.lease.is_void:
        served, reads.waiting = reads.waiting, []
        for asker, number in served:
            _answer(raft, asker, number, raft.commit_index)
        return
    reads.confirming, reads.waiting = reads.waiting, []
    reads.index = raft.commit_index
    if not raft.config.lease_reads:
        raft.round += 1
    replication.broadcast_heartbeat(raft)
    reads.round = raft.round
    confirm(raft)


def number_round(raft: "Raft") -> None:
    """With leases every round of heartbeats has a number, and is remembered until a quorum has answered it."""
    raft.round += 1
    raft.lease.rounds.append((raft.round, raft.now_ns))
    if raft.membership.is_quorum((raft.member,)):
        raft.lease.answered(raft.round)  # By nobody else: no answer need come that says so.


def confirm(raft: "Raft") -> None:
    """A quorum answered the round: nobody else led when it began."""
    reads = raft.reads
    if raft.config.lease_reads:
        raft.lease.answered(_answered_round(raft))
    if not reads.confirming or _answered_round(raft) < reads.round:
        return
    confirmed, reads.confirming = reads.confirming, []
    for asker, number in confirmed:
        _answer(raft, asker, number, reads.index)
    start_round(raft)


def _answered_round(raft: "Raft") -> int:
    """The newest round that a quorum has answered, this leader of course among them."""
    raft.own.round = raft.round
    return min([reached_by_majority([progress.round for progress in voters]) for voters in raft.voter_sets])


def _answer(raft: "Raft", asker: str | None, number: int, index: int) -> None:
    if asker is None:
        raft.news.append(ReadReady(ref=number, index=index))
        return
    raft.out.append(
        ReadIndexReply(
            cluster=raft.cluster, sender=raft.member, to=asker, term=raft.term, incarnation=raft.incarnation,
            batch=number, index=index,
        )
    )  # fmt: skip


def fail_as_leader(raft: "Raft", leader: str | None) -> None:
    """No longer leader: what was not confirmed is not answered."""
    reads = raft.reads
    for asker, number in reads.confirming + reads.waiting:
        if asker is None:
            raft.news.append(ReadFailed(ref=number, reason="the leader changed", leader=leader))
        else:
            _answer(raft, asker, number, 0)
    reads.confirming, reads.waiting = [], []


# --- Everybody else ---


def _ask_leader(raft: "Raft") -> None:
    reads = raft.reads
    assert raft.leader is not None, "a read is only asked of a leader"
    reads.asked, reads.unasked = tuple(reads.unasked), []
    reads.batch += 1
    raft.give_up_ns = raft.now_ns + raft.config.election_max_ms * 1_000_000
    raft.out.append(
        ReadIndexRequest(
            cluster=raft.cluster, sender=raft.member, to=raft.leader, term=raft.term, incarnation=raft.incarnation,
            batch=reads.batch,
        )
    )  # fmt: skip


def on_read_index_reply(raft: "Raft", message: ReadIndexReply) -> None:
    """The index comes with the news of a commit, so that the read need not wait for the next heartbeat."""
    reads = raft.reads
    if message.batch != reads.batch or not reads.asked:
        return
    if message.index:
        replication.learn_commit(raft, message.index)
        raft.news.extend([ReadReady(ref=ref, index=message.index) for ref in reads.asked])
    else:
        _fail(raft, reads.asked, "not leader")
    reads.asked, raft.give_up_ns = (), NEVER_NS
    if reads.unasked and raft.leader is not None:
        _ask_leader(raft)


def give_up(raft: "Raft") -> None:
    """The question or its answer was lost."""
    fail_as_follower(raft, "the leader did not answer")


def fail_as_follower(raft: "Raft", reason: str) -> None:
    reads = raft.reads
    _fail(raft, reads.asked + tuple(reads.unasked), reason)
    reads.asked, reads.unasked, raft.give_up_ns = (), [], NEVER_NS


def _fail(raft: "Raft", refs: tuple[int, ...], reason: str) -> None:
    raft.news.extend([ReadFailed(ref=ref, reason=reason, leader=raft.leader) for ref in refs])
