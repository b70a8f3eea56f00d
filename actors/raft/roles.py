"""The only functions that change a member's role."""

from typing import TYPE_CHECKING

from . import reading, replication
from .events import NEVER_NS, NO_OP, BecameLeader, LeaderKnown, Refused, SteppedDown
from .progress import Progress
from .role import Role

if TYPE_CHECKING:
    from .core import Raft


def role_at_rest(raft: "Raft") -> Role:
    """What a member is that neither leads nor campaigns.

    §4.2.2: who is removed may still campaign until the removal is committed: it may hold the only log that can win.
    """
    may_campaign = any(membership.is_voter(raft.member) for membership in raft.memberships)
    return Role.FOLLOWER if may_campaign else Role.LEARNER


def settle(raft: "Raft") -> None:
    """The memberships changed, or which of them are committed: a learner may now campaign, or a voter no longer."""
    role = role_at_rest(raft)
    if role is Role.FOLLOWER and raft.role is Role.LEARNER:
        raft.role = role
        redraw_deadline(raft)
    elif role is Role.LEARNER and raft.role is not Role.LEADER:
        raft.role = role
        raft.is_pre_voting = False


def become_follower(raft: "Raft", term: int, leader: str | None, reason: str) -> None:
    """Follows: in a newer term, or the leader of this one. A voter stays a voter; anybody else is a learner."""
    was_leader = raft.role is Role.LEADER
    old_term = raft.term
    raft.role = role_at_rest(raft)
    raft.is_pre_voting = False
    raft.votes = {}
    if term > raft.term:
        raft.term = term
        raft.voted_for = None
        raft.hard_dirty = True
        raft.verified_index = 0
        raft.incoming = None
    if was_leader:
        _lay_down(raft, old_term, leader, reason)
    if was_leader or leader is not None:
        redraw_deadline(raft)
    know_leader(raft, leader)


def _lay_down(raft: "Raft", term: int, leader: str | None, reason: str) -> None:
    raft.peers = {}
    raft.voter_sets = ()
    raft.uncommitted.clear()
    raft.uncommitted_bytes = 0
    raft.transfer_target = None
    raft.give_up_ns = raft.notice_ns = NEVER_NS
    reading.fail_as_leader(raft, leader)
    raft.news.append(SteppedDown(term=term, reason=reason))


def know_leader(raft: "Raft", leader: str | None) -> None:
    """Remembers who leads. Reads that went to another leader are answered: they failed."""
    if leader == raft.leader:
        return
    raft.leader = leader
    reading.fail_as_follower(raft, "the leader changed")
    raft.news.append(LeaderKnown(term=raft.term, leader=leader))


def become_pre_candidate(raft: "Raft") -> None:
    raft.role = Role.CANDIDATE
    raft.is_pre_voting = True
    raft.votes = {raft.member: True}
    know_leader(raft, None)


def become_candidate(raft: "Raft") -> None:
    """A new term, and the own vote in it; it counts when it is durable."""
    raft.role = Role.CANDIDATE
    raft.is_pre_voting = False
    raft.term += 1
    raft.voted_for = raft.member
    raft.hard_dirty = True
    raft.verified_index = 0
    raft.votes = {}
    know_leader(raft, None)


def become_leader(raft: "Raft") -> None:
    """§3.4, §6.4: a leader begins with an entry of its own, which commits all that earlier terms left."""
    assert raft.role is Role.CANDIDATE and not raft.is_pre_voting, "only a candidate becomes leader"
    raft.role = Role.LEADER
    raft.votes = {}
    raft.round = 0
    raft.lease.begin()
    raft.term_start = raft.log.last_index + 1
    others = [member for member in raft.membership.members if member != raft.member]
    raft.peers = {member: Progress(raft.term_start, raft.now_ns) for member in others}
    raft.own = Progress(raft.term_start, raft.now_ns)
    raft.own.match = raft.durable_index
    raft.watched_sequence, raft.watched_ns = raft.done_sequence, raft.now_ns
    replication.count_voters(raft)
    raft.news.append(BecameLeader(term=raft.term))
    know_leader(raft, raft.member)
    replication.append_own(raft, (NO_OP,), replication.ENTRY_OVERHEAD)
    replication.restart_heartbeat(raft)


def redraw_deadline(raft: "Raft") -> None:
    """How long to wait for the leader, drawn anew each time (§3.4)."""
    raft.timer_ns = raft.now_ns + raft.election_min_ns + int(raft.random.random() * raft.election_range_ns)


def refuse(raft: "Raft", ref: int, reason: str) -> None:
    raft.news.append(Refused(ref=ref, reason=reason, leader=raft.leader))
