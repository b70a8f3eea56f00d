"""Who leads: silence, pre-votes, votes, and what a message of another term means (§3.4, §3.6, §9.6)."""

from typing import TYPE_CHECKING, Any

from .events import (
    NEVER_NS,
    Append,
    AppendReply,
    ForgetLeader,
    InstallSnapshot,
    PreVoteReply,
    PreVoteRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from .role import Role
from .roles import (
    become_candidate,
    become_follower,
    become_leader,
    become_pre_candidate,
    know_leader,
    redraw_deadline,
)

if TYPE_CHECKING:
    from .core import Raft


def first_deadline(raft: "Raft") -> int:
    """A voter that is alone need not wait for anybody; who is no voter never campaigns."""
    if raft.role is Role.LEARNER:
        return NEVER_NS
    # Whoever made it the only voter may still lead under the membership before, with a lease that it forgot.
    in_force = raft.memberships if raft.config.lease_reads else raft.memberships[-1:]
    if all(membership.is_quorum((raft.member,)) for membership in in_force):
        return raft.now_ns
    redraw_deadline(raft)
    return raft.timer_ns


def on_forget_leader(raft: "Raft", _: ForgetLeader) -> None:
    """Only who follows has somebody to forget; a lease is kept to its end, whatever is heard of the leader."""
    if raft.leader not in (None, raft.member) and not raft.config.lease_reads:
        know_leader(raft, None)


def on_silence(raft: "Raft") -> None:
    """No leader was heard for too long, or an election came to nothing."""
    if raft.role is Role.LEARNER:
        raft.timer_ns = NEVER_NS
        know_leader(raft, None)
    elif raft.config.pre_vote:
        ask_for_pre_votes(raft)
    else:
        campaign(raft, transfer=False)


def ask_for_pre_votes(raft: "Raft") -> None:
    """§9.6: raise the term only once a majority would vote for us; asking disturbs nobody, so ask again soon."""
    become_pre_candidate(raft)
    raft.ask_round += 1
    _wait_briefly(raft)
    if raft.membership.is_quorum((raft.member,)):
        campaign(raft, transfer=False)
        return
    log = raft.log
    for to in _other_voters(raft):
        raft.out.append(
            PreVoteRequest(
                cluster=raft.cluster, sender=raft.member, to=to, term=raft.term, incarnation=raft.incarnation,
                last_index=log.last_index, last_term=log.last_term, round=raft.ask_round,
            )
        )  # fmt: skip


def campaign(raft: "Raft", transfer: bool) -> None:
    """Stands for election in a new term. The requests leave when the term is durable."""
    become_candidate(raft)
    redraw_deadline(raft)
    log = raft.log
    for to in _other_voters(raft):
        raft.out.append(
            VoteRequest(
                cluster=raft.cluster, sender=raft.member, to=to, term=raft.term, incarnation=raft.incarnation,
                last_index=log.last_index, last_term=log.last_term, transfer=transfer,
            )
        )  # fmt: skip


def count_own_vote(raft: "Raft") -> None:
    """A candidate's storage has caught up: its vote for itself counts."""
    if not raft.is_pre_voting and raft.done_sequence >= raft.hard_sequence:
        raft.votes[raft.member] = True
        _count_votes(raft)


def settle_term(raft: "Raft", message: Any) -> bool:
    """A message of another term (§3.3): follow a newer one, answer an older one. Whether it is still to be handled."""
    if message.term < raft.term:
        _answer_older_term(raft, message)
        return False
    kind = type(message)
    if kind is VoteRequest and not message.transfer and _hears_leader(raft):
        # §4.2.3: who hears a leader does not even update its term, so that nobody is deposed by a stray.
        raft.drop("hears a leader")
        return False
    leader = message.sender if kind is Append or kind is InstallSnapshot else None
    reason = (
        "transferred leadership" if kind is VoteRequest and message.transfer else f"saw term {message.term}"
    )
    become_follower(raft, message.term, leader, reason)
    return True


def _answer_older_term(raft: "Raft", message: Any) -> None:
    """The sender learns the newer term; without an answer a member with a higher term would stay outside for ever."""
    # It says nothing about the logs, and refuses at 0, which every leader passes over: the sender may lead again
    # when this comes, in the very term of this answer, and would take another index for that of what it asks now.
    if type(message) is Append or type(message) is InstallSnapshot:
        raft.out.append(
            AppendReply(
                cluster=raft.cluster, sender=raft.member, to=message.sender, term=raft.term,
                incarnation=raft.incarnation, success=False, match=0, round=0,
            )
        )  # fmt: skip
    elif type(message) is VoteRequest:
        _reply_to_vote(raft, message.sender, granted=False)
    else:
        raft.drop("older term")


def on_pre_vote_request(raft: "Raft", message: PreVoteRequest) -> None:
    granted = (
        _knows_the_voters(raft)
        and message.term >= raft.term
        and not _hears_leader(raft)
        and raft.log.is_behind(message.last_index, message.last_term)
    )
    raft.out.append(
        PreVoteReply(
            cluster=raft.cluster, sender=raft.member, to=message.sender, term=raft.term,
            incarnation=raft.incarnation, granted=granted, round=message.round,
        )
    )  # fmt: skip


def on_pre_vote_reply(raft: "Raft", message: PreVoteReply) -> None:
    if message.term > raft.term:
        # Only ever in a refusal: the voter is ahead. Its term is real, so it is ours to follow.
        become_follower(raft, message.term, None, f"saw term {message.term}")
    elif raft.is_pre_voting and message.round == raft.ask_round and message.granted:
        raft.votes[message.sender] = True
        if raft.membership.is_quorum(tuple(raft.votes)):
            campaign(raft, transfer=False)


def on_vote_request(raft: "Raft", message: VoteRequest) -> None:
    """§3.4, §3.6.1: one vote a term, for a log that is at least as up to date; the same answer to the same asker."""
    # Whose term grew by another message than this, has the leader of the older term to be patient with all the same.
    bound = not message.transfer and _hears_leader(raft)
    free = raft.voted_for == message.sender or (raft.voted_for is None and raft.leader is None and not bound)
    granted = (
        _knows_the_voters(raft)
        and free
        and raft.role is not Role.LEADER
        and raft.log.is_behind(message.last_index, message.last_term)
    )
    if granted:
        if raft.voted_for is None:
            raft.voted_for = message.sender
            raft.hard_dirty = True
        if raft.is_pre_voting:
            become_follower(raft, raft.term, None, "")
        if raft.role is not Role.LEARNER:
            redraw_deadline(raft)
    _reply_to_vote(raft, message.sender, granted)


def _knows_the_voters(raft: "Raft") -> bool:
    """Whether this member was ever told who votes. One that was not is nobody's voter yet: voters are caught up first.

    It may bear the name of a member that was removed, and be asked by somebody who has not heard of that: its vote
    would count in the old membership, where its namesake has voted in this very term.
    """
    return bool(raft.membership.voters)


def on_vote_reply(raft: "Raft", message: VoteReply) -> None:
    if raft.role is Role.CANDIDATE and not raft.is_pre_voting:
        raft.votes[message.sender] = message.granted
        _count_votes(raft)


def on_timeout_now(raft: "Raft", message: TimeoutNow) -> None:
    """§3.10: the leader asks for this election, so neither silence nor a pre-vote is needed."""
    if raft.role is Role.FOLLOWER and raft.leader in (None, message.sender):
        campaign(raft, transfer=True)


def _reply_to_vote(raft: "Raft", to: str, granted: bool) -> None:
    raft.out.append(
        VoteReply(
            cluster=raft.cluster, sender=raft.member, to=to, term=raft.term, incarnation=raft.incarnation,
            granted=granted,
        )
    )  # fmt: skip


def _count_votes(raft: "Raft") -> None:
    votes = raft.votes
    if raft.membership.is_quorum(tuple([member for member in votes if votes[member]])):
        become_leader(raft)


def _hears_leader(raft: "Raft") -> bool:
    """Leader stickiness (§4.2.3, §6.2): a leader that was heard within the minimum timeout is not voted out."""
    if not raft.config.check_quorum:
        return False
    if raft.role is Role.LEADER:
        return True
    silence_ns = raft.now_ns - raft.heard_leader_ns
    # A lease is kept even to a leader that is forgotten meanwhile, for it may not know.
    is_bound = raft.leader is not None or raft.config.lease_reads
    return is_bound and silence_ns < raft.election_min_ns


def _other_voters(raft: "Raft") -> list[str]:
    membership = raft.membership
    voters = dict.fromkeys(membership.voters + membership.outgoing)
    return [voter for voter in voters if voter != raft.member]


def _wait_briefly(raft: "Raft") -> None:
    """Until the next round of pre-votes: one to two heartbeats, so that two who ask do not keep asking in step."""
    wait = raft.config.heartbeat_ms * (1 + raft.random.random())
    raft.timer_ns = raft.now_ns + int(wait * 1_000_000)
