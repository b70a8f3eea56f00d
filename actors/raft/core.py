"""Raft: one member's part of the consensus. `step` is given what happened and returns what to do; nothing else acts.

General layout: this file holds a member's state, what a step returns, and what may be asked of a member.  What a
message does is in elections.py (who leads), replication.py (the log), snapshots.py (what left the log), reading.py
(reads), changing.py (who takes part, who leads next); roles.py alone changes a member's role.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from . import changing, elections, reading, replication, roles, snapshots
from .config import RaftConfig
from .events import (
    NEVER_NS,
    Accepted,
    AddLearner,
    Append,
    AppendReply,
    Apply,
    Change,
    ChangeMembership,
    DeadlineReached,
    Event,
    ForgetLeader,
    ForwardedProposal,
    ForwardedReply,
    HardState,
    InstallSnapshot,
    InstallSnapshotReply,
    MembershipChanged,
    PeerMessage,
    Persist,
    PreVoteReply,
    PreVoteRequest,
    PromoteLearner,
    Propose,
    RandomStream,
    ReadFailed,
    ReadIndexReply,
    ReadIndexRequest,
    ReadReady,
    ReadRequest,
    Ready,
    Refused,
    RemoveMember,
    Snapshot,
    SnapshotChunk,
    SnapshotChunkRequest,
    SnapshotInstalled,
    SnapshotTaken,
    StorageDone,
    TimeoutNow,
    TransferLeadership,
    VoteReply,
    VoteRequest,
)
from .log import Log
from .membership import Membership, decode_membership
from .progress import Progress
from .reading import Reads
from .role import CANDIDATE, LEADER, Role

__all__ = ["Raft", "RaftConfig", "Restored", "Role"]


class Restored(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a member finds in its storage when it starts."""

    hard_state: HardState = HardState()
    membership: Membership = Membership()
    """In force before first_index; later ones are in the entries."""
    first_index: int = 1
    base_term: int = 0
    """The term of the entry before first_index."""
    terms: tuple[int, ...] = ()
    payloads: tuple[bytes, ...] = ()
    snapshot: Snapshot | None = None
    """The newest one saved, at or after the entry before first_index."""

    @staticmethod
    def bootstrap(voters: tuple[str, ...] = (), learners: tuple[str, ...] = ()) -> "Restored":
        """A fresh member. All first members start with the same lists; one in neither list waits to be added."""
        return Restored(membership=Membership(voters=tuple(voters), learners=tuple(learners)))


NO_COLUMNS: tuple[int, int, tuple[int, ...], tuple[bytes, ...]] = (0, 0, (), ())


class Contact:
    """When a member was last heard, and in which of its lives."""

    __slots__ = ("incarnation", "heard_ns")

    def __init__(self, incarnation: int, heard_ns: int) -> None:
        self.incarnation = incarnation
        self.heard_ns = heard_ns


class Raft:
    """One member. Its attributes may be read by the caller between steps, and are changed by `step` alone."""

    __slots__ = (
        # who it is
        "member", "cluster", "incarnation", "config", "random",
        # what every member knows
        "now_ns", "role", "term", "voted_for", "leader", "log", "memberships", "membership",
        "commit_index", "handed_index", "contacts", "dropped",
        # snapshots: what the log no longer has, and one that is coming in
        "snapshot", "base_membership", "incoming", "installing",
        # storage: what was handed out to persist, and how far it is durable
        "durable_index", "hard_dirty", "unsaved_from", "older", "newer", "pending", "sequence", "done_sequence",
        "hard_sequence", "held", "saves_at_once", "watched_sequence", "watched_ns",
        # followers and candidates
        "heard_leader_ns", "verified_index", "votes", "is_pre_voting", "ask_round",
        # leaders
        "peers", "own", "voter_sets", "term_start", "uncommitted", "uncommitted_bytes", "round",
        "lease",
        "transfer_target", "transfer_ref", "transfer_sent",
        "election_min_ns", "election_range_ns",
        # reads, and the times at which something is due
        "reads", "timer_ns", "notice_ns", "give_up_ns",
        # what this step wants done
        "out", "acks", "news", "install_out",
    )  # fmt: skip

    def __init__(
        self,
        *,
        member: str,
        cluster: str,
        incarnation: int,
        config: RaftConfig,
        random: RandomStream,
        restored: Restored,
        now_ns: int,
        saves_at_once: bool = False,
    ) -> None:
        """`saves_at_once`: what a step wants persisted is durable before the caller does anything else that it says,
        so it counts within that step, and its `done` need not be stepped."""
        self.member = member
        self.cluster = cluster
        self.incarnation = incarnation
        self.config = config
        self.random = random

        self.election_min_ns = config.election_min_ms * 1_000_000
        self.election_range_ns = (config.election_max_ms - config.election_min_ms) * 1_000_000

        self.now_ns = now_ns
        self.term = restored.hard_state.term
        self.voted_for = restored.hard_state.voted_for
        self.leader: str | None = None
        self.log = Log(restored.first_index, restored.base_term, restored.terms, restored.payloads)
        self.snapshot = _mark(restored, incarnation)
        """The newest durable one, without its bytes."""
        self.base_membership = restored.membership
        self.incoming: snapshots.Incoming | None = None
        self.installing: SnapshotTaken | None = None
        # What a snapshot holds was committed, and the machine is restored from it.
        self.commit_index = self.handed_index = self.snapshot.index if self.snapshot else self.log.base_index
        self.memberships = _memberships(restored, self.commit_index)
        self.membership = self.memberships[-1]
        self.role = roles.role_at_rest(self)
        self.contacts: dict[str, Contact] = {}
        self.dropped: dict[str, int] = {}

        self.durable_index = self.log.last_index
        self.hard_dirty = False
        self.unsaved_from = 0
        self.older = self.newer = NO_COLUMNS
        """(first index, last, terms, payloads) of the last two appends: mostly saved and applied as they came."""
        self.pending: deque[list[int]] = deque()
        self.sequence = 0
        self.done_sequence = 0
        self.hard_sequence = 0
        self.held: list[tuple[int, PeerMessage]] = []
        self.saves_at_once = saves_at_once
        self.watched_sequence = 0
        self.watched_ns = now_ns
        """The last write that a leader saw done, and since when it waits for the next; NEVER_NS: it has handed over."""

        # Before it stopped it may have heard a leader, whose lease it would break by voting for another.
        self.heard_leader_ns = now_ns if config.lease_reads else -NEVER_NS
        self.verified_index = 0
        self.votes: dict[str, bool] = {}
        self.is_pre_voting = False
        self.ask_round = 0

        self.peers: dict[str, Progress] = {}
        self.own = Progress(1, now_ns)
        self.voter_sets: tuple[tuple[Progress, ...], ...] = ()
        self.term_start = 0
        self.uncommitted: deque[tuple[int, int]] = deque()
        self.uncommitted_bytes = 0
        self.round = 0
        self.lease = reading.Lease(int(self.election_min_ns / (1 + config.clock_drift)))
        self.transfer_target: str | None = None
        self.transfer_ref = 0
        self.transfer_sent = False

        self.reads = Reads(incarnation)
        self.timer_ns = elections.first_deadline(self)
        self.notice_ns = NEVER_NS
        self.give_up_ns = NEVER_NS
        """When somebody is no longer waited for: who should take over, or the leader that was asked for an index."""

        self.out: list[PeerMessage] = []
        self.acks: list[PeerMessage] = []
        self.news: list[ReadReady | ReadFailed | Accepted | Refused | Change | SnapshotChunkRequest] = []
        self.install_out: Snapshot | None = None

    # --- What may be asked ---

    @property
    def deadline_ns(self) -> int:
        """When time alone changes something."""
        return min(self.timer_ns, self.notice_ns, self.give_up_ns)

    @property
    def last_index(self) -> int:
        return self.log.last_index

    @property
    def last_term(self) -> int:
        return self.log.last_term

    @property
    def first_index(self) -> int:
        return self.log.first_index

    @property
    def is_leader(self) -> bool:
        return self.role is LEADER

    @property
    def has_committed_own_term(self) -> bool:
        """Whether this leader knows all that was committed before it (§6.4)."""
        return self.role is LEADER and self.commit_index >= self.term_start

    @property
    def is_transferring(self) -> bool:
        return self.transfer_target is not None

    def entries(self, low: int, high: int) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        """The log's entries low .. high - 1 as columns, cut to what there is."""
        return self.log.entries(low, high)

    def progress(self, peer: str) -> Progress | None:
        """What this leader knows of a peer; None when it does not lead, or does not replicate to that peer."""
        return self.peers.get(peer) if self.role is LEADER else None

    def is_caught_up(self, member: str) -> bool:
        """Whether a member lacks so little that it may become a voter."""
        if member == self.member:
            return True
        progress = self.progress(member)
        return progress is not None and changing.is_caught_up(self, progress)

    @property
    def snapshot_index(self) -> int:
        """The last index that the newest durable snapshot holds; 0: there is none."""
        return self.snapshot.index if self.snapshot is not None else 0

    @property
    def is_sending_snapshot(self) -> bool:
        """Whether a newer snapshot would make somebody who is being sent this one begin again."""
        return self.role is LEADER and snapshots.is_sending(self)

    def membership_at(self, index: int) -> Membership:
        """What was in force after the entry at index, which is in the log or the last before it."""
        for membership in reversed(self.memberships):
            if membership.index <= index:
                return membership
        payloads = self.log.entries(self.log.first_index, index + 1)[1]
        for offset in range(len(payloads) - 1, -1, -1):
            if payloads[offset][:1] == b"\x00":
                return decode_membership(payloads[offset], self.log.first_index + offset)
        return self.base_membership

    def snapshot_at(self, index: int) -> SnapshotTaken:
        """What belongs to the machine's snapshot after the entry at index, and what to step once that is durable.

        Some entries before it stay in the log, for followers that lack no more than those.
        """
        config = self.config
        assert self.log.base_index <= index <= self.handed_index, "a snapshot holds what was applied"
        return SnapshotTaken(
            index=index,
            term=self.log.term_at(index),
            membership=self.membership_at(index),
            keep_from=self.log.first_of_last(index, config.keep_entries, config.keep_bytes),
            incarnation=self.incarnation,
        )

    def heard_ns(self, peer: str) -> int | None:
        """When any message of a peer came last; None: never."""
        contact = self.contacts.get(peer)
        return contact.heard_ns if contact is not None else None

    # --- The one way in ---

    def step(self, now_ns: int, event: Event) -> Ready:
        """Takes one event, and returns what to do about it. A message that cannot be right is dropped and counted."""
        if now_ns > self.now_ns:
            self.now_ns = now_ns
        kind = type(event)
        handle = _FROM_HERE.get(kind)
        if handle is not None:
            handle(self, event)
            return self._ready()
        message: Any = event
        contact = self.contacts.get(message.sender)
        if (
            contact is not None
            and contact.incarnation == message.incarnation
            and message.to == self.member
            and message.cluster == self.cluster
        ):
            contact.heard_ns = self.now_ns
        elif not self._is_news(message, contact):
            return self._ready()
        if message.term == self.term or self._settles(kind, message):
            _FROM_PEERS[kind](self, message)
        return self._ready()

    def _settles(self, kind: type, message: Any) -> bool:
        return kind in _OF_ANY_TERM or elections.settle_term(self, message)

    def drop(self, reason: str) -> None:
        """Counts a message that is not handled."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def _is_news(self, message: Any, contact: Contact | None) -> bool:
        """Whether to handle a message from somebody unknown, from another life of somebody, or not for this member."""
        if message.cluster != self.cluster or message.to != self.member:
            self.drop("foreign")
            return False
        if contact is None:
            if message.sender == self.member:
                self.drop("own message")
                return False
            self.contacts[message.sender] = Contact(message.incarnation, self.now_ns)
            return True
        return self._has_started_anew(message, contact)

    def _has_started_anew(self, message: Any, contact: Contact) -> bool:
        if message.incarnation < contact.incarnation:
            self.drop("earlier incarnation")
            return False
        contact.incarnation = message.incarnation
        contact.heard_ns = self.now_ns
        if message.sender in self.peers:
            self.peers[message.sender].forget()
        return True

    # --- The log, as all its writers need it ---

    def append(self, terms: tuple[int, ...], payloads: tuple[bytes, ...]) -> None:
        """Adds entries to the own log; the step's end hands them out to persist."""
        log = self.log
        first = log.last_index + 1
        if not self.unsaved_from:
            self.unsaved_from = first
        log.append(terms, payloads)
        self.older = self.newer
        self.newer = first, log.last_index, terms, payloads

    def truncate(self, index: int) -> None:
        """Takes back what a former leader left uncommitted, with the memberships among it (§4.1)."""
        assert index > self.commit_index, "what is committed stays"
        self.log.truncate(index)
        self.unsaved_from = min(self.unsaved_from or index, index)
        self.forget_columns()
        self.durable_index = min(self.durable_index, index - 1)
        # A write under way no longer stands for what it wrote from here on, even if the same index is written again.
        for write in self.pending:
            write[1] = min(write[1], index - 1)
        self.hold_no_more(index - 1)
        if self.membership.index >= index:
            while self.memberships[-1].index >= index:
                self.memberships.pop()
            changing.enter(self, self.memberships[-1])

    def hold_no_more(self, index: int) -> None:
        """Drops acknowledgements beyond index that are still held back, whatever they waited for: when they came, the
        log had these entries, and nobody but a leader of a term that is over would hear them now."""
        if self.held:
            self.held = [
                (sequence, message)
                for sequence, message in self.held
                if not (type(message) is AppendReply and message.success and message.match > index)
            ]

    def forget_columns(self) -> None:
        """What was appended last is no longer what the log ends with."""
        self.older = self.newer = NO_COLUMNS

    def add_membership(self, membership: Membership) -> None:
        """Brings an appended membership into force."""
        self.memberships.append(membership)
        changing.enter(self, membership)

    def commit_to(self, index: int) -> None:
        """Moves the commit index; the step's end hands the entries out to be applied."""
        self.commit_index = index
        memberships = self.memberships
        if len(memberships) > 1 and memberships[1].index <= index:
            while len(memberships) > 1 and memberships[1].index <= index:
                del memberships[0]
            roles.settle(self)

    def became_durable(self, index: int) -> None:
        """The own log is on the disk up to index; a leader counts that."""
        if index > self.durable_index:
            self.durable_index = index
            if self.role is LEADER:
                self.own.match = index
                replication.advance_commit(self)
                if self.uncommitted:
                    replication.forget_settled(self)

    def announce_membership(self) -> None:
        self.news.append(MembershipChanged(membership=self.membership))

    # --- What a step returns ---

    def _ready(self) -> Ready:
        persist = None
        if self.unsaved_from or self.hard_dirty:
            persist = self._persist_at_once() if self.saves_at_once else self._persist()
        # After that: who saves at once may be elected by it, or commit, and has other deadlines then.
        deadline = self.timer_ns
        if self.notice_ns < deadline:
            deadline = self.notice_ns
        if self.give_up_ns < deadline:
            deadline = self.give_up_ns
        apply = self._apply() if self.commit_index > self.handed_index else None
        now: tuple[PeerMessage, ...] = ()
        later: tuple[PeerMessage, ...] = ()
        if self.out:
            if self.hard_sequence <= self.done_sequence:
                now = tuple(self.out)
                self.out.clear()
            else:
                later = self._held_back(persist)
        if self.acks:
            if self.saves_at_once:
                now += tuple(self.acks)
            else:
                later += tuple(self.acks)
            self.acks.clear()
        if self.news:
            return self._telling_ready(persist, now, later, apply, deadline)
        return Ready(persist=persist, send=now, send_after_durable=later, apply=apply, deadline_ns=deadline)

    def _persist_at_once(self) -> Persist:
        """The caller saves before it sends or applies anything, so what this step writes counts within it."""
        if self.role is CANDIDATE:
            elections.count_own_vote(self)
        log = self.log
        while (last := log.last_index) > self.durable_index:
            self.became_durable(last)
        persist = self._persist()
        self.done_sequence = self.sequence
        return persist

    def _held_back(self, persist: Persist | None) -> tuple[PeerMessage, ...]:
        """The term of these is not durable: they wait for this step's write, or are held until an earlier one's end."""
        waiting, self.out = self.out, []
        if persist is not None and persist.hard_state is not None:
            return tuple(waiting)
        # Elections are asked for again and again, however long the disk hangs: of those only the newest count.
        newest = {(type(message), message.to) for message in waiting if type(message) in _ASKED_AGAIN}
        if newest:
            self.held = [item for item in self.held if (type(item[1]), item[1].to) not in newest]
        self.held.extend([(self.hard_sequence, message) for message in waiting])
        return ()

    def _telling_ready(
        self,
        persist: Persist | None,
        now: tuple[PeerMessage, ...],
        later: tuple[PeerMessage, ...],
        apply: Apply | None,
        deadline_ns: int,
    ) -> Ready:
        news, self.news = self.news, []
        if len(news) == 1 and type(news[0]) is Accepted:
            accepted = (news[0],)
            return Ready(
                persist=persist,
                send=now,
                send_after_durable=later,
                apply=apply,
                accepted=accepted,
                deadline_ns=deadline_ns,
                tells=True,
            )
        install, self.install_out = self.install_out, None
        return Ready(
            persist=persist,
            send=now,
            send_after_durable=later,
            apply=apply,
            reads=tuple([item for item in news if isinstance(item, ReadReady | ReadFailed)]),
            accepted=tuple([item for item in news if isinstance(item, Accepted)]),
            refused=tuple([item for item in news if isinstance(item, Refused)]),
            changes=tuple([item for item in news if isinstance(item, Change)]),
            install=install,
            chunks=tuple([item for item in news if isinstance(item, SnapshotChunkRequest)]),
            deadline_ns=deadline_ns,
            tells=True,
        )

    def _persist(self) -> Persist:
        self.sequence = sequence = self.sequence + 1
        hard_state = None
        if self.hard_dirty:
            hard_state = HardState(term=self.term, voted_for=self.voted_for)
            self.hard_sequence = sequence
            self.hard_dirty = False
        log = self.log
        last = log.last_index
        first = self.unsaved_from or last + 1
        self.unsaved_from = 0
        if not self.saves_at_once:
            self.pending.append([sequence, last])
        begin, _, terms, payloads = self.newer
        if begin != first:
            terms, payloads = log.entries(first, last + 1)
        done = StorageDone(term=log.last_term, index=last, sequence=sequence, incarnation=self.incarnation)
        return Persist(hard_state=hard_state, first_index=first, terms=terms, payloads=payloads, done=done)

    def _apply(self) -> Apply:
        first = self.handed_index + 1
        self.handed_index = last = self.commit_index
        terms, payloads = self._columns(first, last)
        return Apply(first_index=first, terms=terms, payloads=payloads)

    def _columns(self, first: int, last: int) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        begin, end, terms, payloads = self.newer
        if begin != first:
            begin, end, terms, payloads = self.older
        if begin == first and end == last:
            return terms, payloads
        return self.log.entries(first, last + 1)


def _memberships(restored: Restored, commit: int) -> list[Membership]:
    """The last that is known to be committed, and all after it."""
    found = [restored.membership]
    for index, payload in enumerate(restored.payloads, restored.first_index):
        if payload[:1] == b"\x00":
            if index <= commit:
                found.clear()
            found.append(decode_membership(payload, index))
    return found


def _mark(restored: Restored, incarnation: int) -> SnapshotTaken | None:
    saved = restored.snapshot
    if saved is None:
        return None
    return SnapshotTaken(
        index=saved.index,
        term=saved.term,
        membership=saved.membership,
        keep_from=restored.first_index,
        incarnation=incarnation,
    )


def _on_storage_done(raft: Raft, event: StorageDone) -> None:
    """A write is durable, and all before it: acknowledge, count it, and let go what waited for it."""
    if event.sequence <= raft.done_sequence or event.incarnation != raft.incarnation:
        return
    raft.done_sequence = done = event.sequence
    pending = raft.pending
    index = pending.popleft()[1]
    while pending and pending[0][0] <= done:
        index = pending.popleft()[1]
    if raft.held:
        raft.out.extend([message for sequence, message in raft.held if sequence <= done])
        raft.held = [item for item in raft.held if item[0] > done]
    if index > raft.durable_index:
        raft.became_durable(index)
    if raft.role is CANDIDATE:
        elections.count_own_vote(raft)


def _on_deadline(raft: Raft, event: DeadlineReached) -> None:
    is_given_up = raft.now_ns >= raft.give_up_ns
    if raft.role is LEADER:
        if is_given_up:
            changing.abort_transfer(raft)
        replication.on_leader_deadline(raft)
        return
    if is_given_up:
        reading.give_up(raft)
    if raft.now_ns >= raft.timer_ns:
        elections.on_silence(raft)


_FROM_PEERS: dict[type, Callable[[Raft, Any], None]] = {
    Append: replication.on_append,
    AppendReply: replication.on_append_reply,
    PreVoteRequest: elections.on_pre_vote_request,
    PreVoteReply: elections.on_pre_vote_reply,
    VoteRequest: elections.on_vote_request,
    VoteReply: elections.on_vote_reply,
    InstallSnapshot: snapshots.on_install_snapshot,
    InstallSnapshotReply: snapshots.on_install_snapshot_reply,
    TimeoutNow: elections.on_timeout_now,
    ForwardedProposal: replication.on_forwarded_proposal,
    ForwardedReply: replication.on_forwarded_reply,
    ReadIndexRequest: reading.on_read_index_request,
    ReadIndexReply: reading.on_read_index_reply,
}

# These mean the same in every term: asking before an election, and questions on behalf of clients.
_OF_ANY_TERM = frozenset({PreVoteRequest, PreVoteReply, ForwardedProposal, ForwardedReply, ReadIndexRequest})

_ASKED_AGAIN = frozenset({PreVoteRequest, PreVoteReply})

_FROM_HERE: dict[type, Callable[[Raft, Any], None]] = {
    DeadlineReached: _on_deadline,
    StorageDone: _on_storage_done,
    Propose: replication.on_propose,
    ReadRequest: reading.on_read_request,
    SnapshotTaken: snapshots.on_snapshot_taken,
    SnapshotInstalled: snapshots.on_snapshot_installed,
    SnapshotChunk: snapshots.on_snapshot_chunk,
    AddLearner: changing.on_add_learner,
    PromoteLearner: changing.on_promote_learner,
    RemoveMember: changing.on_remove_member,
    ChangeMembership: changing.on_change_membership,
    TransferLeadership: changing.on_transfer,
    ForgetLeader: elections.on_forget_leader,
}
