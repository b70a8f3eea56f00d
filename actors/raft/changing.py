"""Who takes part: one voter more or less (§4.1, §4.2), any other set (§4.3); handing leadership over (§3.10)."""

from typing import TYPE_CHECKING

from . import reading, replication, roles
from .events import (
    NEVER_NS,
    Accepted,
    AddLearner,
    ChangeMembership,
    PromoteLearner,
    RemoveMember,
    TimeoutNow,
    TransferLeadership,
)
from .membership import Membership, encode_membership
from .progress import Progress, ProgressState
from .role import LEADER

if TYPE_CHECKING:
    from .core import Raft


# --- Membership ---


def on_add_learner(raft: "Raft", event: AddLearner) -> None:
    """A new member listens first: it must not be waited for while it has nothing (§4.2.1)."""
    now = raft.membership
    reason = _objection(raft)
    if not reason and event.member in now.members:
        reason = "already a member"
    wanted = Membership(voters=now.voters, learners=(*now.learners, event.member))
    _change(raft, event.ref, reason, wanted)


def on_promote_learner(raft: "Raft", event: PromoteLearner) -> None:
    now = raft.membership
    reason = _objection(raft)
    if not reason:
        if event.member not in now.learners:
            reason = "not a learner"
        elif not raft.is_caught_up(event.member):
            reason = "learner is behind"
    wanted = Membership(voters=(*now.voters, event.member), learners=_without(now.learners, event.member))
    _change(raft, event.ref, reason, wanted)


def on_remove_member(raft: "Raft", event: RemoveMember) -> None:
    now = raft.membership
    reason = _objection(raft)
    if not reason:
        if event.member not in now.members:
            reason = "not a member"
        elif now.voters == (event.member,):
            reason = "last voter"
    voters, learners = _without(now.voters, event.member), _without(now.learners, event.member)
    _change(raft, event.ref, reason, Membership(voters=voters, learners=learners))


def on_change_membership(raft: "Raft", event: ChangeMembership) -> None:
    """§4.3: where more than one voter changes, the old set and the new one decide together until that is committed."""
    now = raft.membership
    reason = _objection(raft) or _objection_to_set(raft, event)
    changed = [
        voter for voter in now.voters + event.voters if (voter in now.voters) != (voter in event.voters)
    ]
    outgoing = now.voters if len(changed) > 1 else ()
    wanted = Membership(voters=event.voters, outgoing=outgoing, learners=event.learners)
    _change(raft, event.ref, reason, wanted)


def _objection_to_set(raft: "Raft", event: ChangeMembership) -> str:
    now = raft.membership
    wanted = event.voters + event.learners
    if not event.voters:
        return "last voter"
    if len(dict.fromkeys(wanted)) < len(wanted):
        return "named twice"
    if (sorted(now.voters), sorted(now.learners)) == (sorted(event.voters), sorted(event.learners)):
        return "no change"
    for voter in event.voters:
        if voter not in now.voters:
            if voter not in now.learners:
                return "not a learner"
            if not raft.is_caught_up(voter):
                return "learner is behind"
    return ""


def leave_joint(raft: "Raft") -> None:
    """The joint membership is committed, so the new voters can decide alone. Whoever leads then sees to it."""
    joint = raft.membership
    if joint.outgoing and joint.index <= raft.commit_index and raft.has_committed_own_term:
        _append_membership(raft, Membership(voters=joint.voters, learners=joint.learners))


def _objection(raft: "Raft") -> str:
    """One change at a time, and none before an entry of the own term is committed: else two majorities may not
    overlap (§4.1, and Ongaro's correction of 2015)."""
    if not raft.is_leader:
        return "no leader" if raft.leader is None else "not leader"
    if raft.transfer_target is not None:
        return "transferring"
    if not raft.has_committed_own_term:
        return "leader is new"
    if raft.membership.index > raft.commit_index or raft.membership.outgoing:
        return "membership change pending"
    return ""


def _change(raft: "Raft", ref: int, reason: str, wanted: Membership) -> None:
    if reason:
        roles.refuse(raft, ref, reason)
        return
    index = _append_membership(raft, wanted)
    raft.news.append(Accepted(ref=ref, term=raft.term, index=index, count=1))


def _append_membership(raft: "Raft", wanted: Membership) -> int:
    index = raft.log.last_index + 1
    # It is in force before it is sent: a learner that is added gets its own addition, one that leaves its removal.
    raft.add_membership(
        Membership(voters=wanted.voters, outgoing=wanted.outgoing, learners=wanted.learners, index=index)
    )
    payload = encode_membership(wanted)
    replication.append_own(raft, (payload,), len(payload) + replication.ENTRY_OVERHEAD)
    return index


def _without(members: tuple[str, ...], member: str) -> tuple[str, ...]:
    return tuple([other for other in members if other != member])


def is_caught_up(raft: "Raft", progress: Progress) -> bool:
    """Whether somebody lacks little, and has been told who votes: else it would have a vote and grant it to nobody."""
    if progress.state is not ProgressState.REPLICATE or progress.match < raft.membership.index:
        return False
    return raft.log.last_index - progress.match <= raft.config.caught_up_entries


def enter(raft: "Raft", membership: Membership) -> None:
    """A membership comes into force, new or as the one before a change that was taken back."""
    raft.membership = membership
    raft.announce_membership()
    if raft.role is LEADER:
        for member in membership.members:
            if member != raft.member and member not in raft.peers:
                raft.peers[member] = Progress(raft.log.last_index + 1, raft.now_ns)
        replication.count_voters(raft)
        # Reads that waited for the member that leaves need not any more.
        reading.confirm(raft)
    else:
        roles.settle(raft)


def on_membership_committed(raft: "Raft") -> None:
    """Who left is told so once, and then no more; a leader that left hands over (§4.2.2)."""
    replication.broadcast_heartbeat(raft)
    members = raft.membership.members
    for peer in [peer for peer in raft.peers if peer not in members]:
        del raft.peers[peer]
    if not raft.membership.is_voter(raft.member):
        heir = furthest_voter(raft)
        if heir is not None:
            _send_timeout_now(raft, heir)
        roles.become_follower(raft, raft.term, None, "removed from the cluster")


# --- Leadership transfer ---


def on_transfer(raft: "Raft", event: TransferLeadership) -> None:
    reason = _objection_to_transfer(raft, event.target)
    target = event.target or furthest_voter(raft)
    if not reason and target is None:
        reason = "no other voter"
    if reason or target is None:
        roles.refuse(raft, event.ref, reason)
        return
    hand_over(raft, target, event.ref)


def hand_over(raft: "Raft", target: str, ref: int) -> None:
    """Begins with it: nothing new is taken in until the target leads, or is given up."""
    raft.transfer_target = target
    raft.transfer_ref = ref
    raft.transfer_sent = False
    raft.give_up_ns = raft.now_ns + raft.config.election_min_ms * 1_000_000
    replication.send_heartbeat(raft, target, raft.peers[target])
    hand_over_if_ready(raft)


def _objection_to_transfer(raft: "Raft", target: str | None) -> str:
    if not raft.is_leader:
        return "no leader" if raft.leader is None else "not leader"
    if raft.transfer_target is not None:
        return "transferring"
    if target == raft.member:
        return "already the leader"
    if target is not None and target not in raft.membership.voters:
        return "not a voter"
    return ""


def hand_over_if_ready(raft: "Raft") -> None:
    """The target campaigns as soon as it has all of our log; until then it gets what it lacks."""
    target = raft.transfer_target
    if target is None or raft.transfer_sent:
        return
    progress = raft.peers.get(target)
    if progress is not None and progress.match == raft.log.last_index:
        raft.transfer_sent = True
        _send_timeout_now(raft, target)


def abort_transfer(raft: "Raft") -> None:
    """The target did not take over within an election timeout: this leader serves again."""
    raft.transfer_target = None
    raft.give_up_ns = NEVER_NS
    roles.refuse(raft, raft.transfer_ref, "transfer timed out")


def furthest_voter(raft: "Raft") -> str | None:
    """The voter with the most of our log; of equal ones who was asked for, then who was heard last, then the first."""
    best: str | None = None
    best_rank = (-1, False, 0)
    for voter in raft.membership.voters:
        progress = raft.peers.get(voter)
        if progress is None:
            continue
        rank = (progress.match, voter == raft.transfer_target, progress.last_heard_ns)
        if rank > best_rank:
            best, best_rank = voter, rank
    return best


def _send_timeout_now(raft: "Raft", to: str) -> None:
    # Whenever it arrives, voters answer to it although they hear this leader: its lease is worth nothing from here on.
    raft.lease.is_void = True
    raft.out.append(
        TimeoutNow(
            cluster=raft.cluster, sender=raft.member, to=to, term=raft.term, incarnation=raft.incarnation
        )
    )
