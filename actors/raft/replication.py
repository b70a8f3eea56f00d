"""How entries get from the leader's log into everybody's, and when they are committed (§3.5, §3.6.2, §10.2)."""

from typing import TYPE_CHECKING

from . import changing, reading, roles, snapshots
from .events import (
    NEVER_NS,
    Accepted,
    Append,
    AppendReply,
    ForwardedProposal,
    ForwardedReply,
    Propose,
    Refused,
)
from .membership import InvalidMembership, decode_membership, reached_by_majority
from .progress import Progress, ProgressState
from .role import LEADER

if TYPE_CHECKING:
    from .core import Raft

_PROBE, _REPLICATE, _SNAPSHOT = ProgressState.PROBE, ProgressState.REPLICATE, ProgressState.SNAPSHOT

ENTRY_OVERHEAD = 64
"""What an entry is taken to cost in memory beyond its payload, in bytes."""


# --- Proposals ---


def on_propose(raft: "Raft", event: Propose) -> None:
    """A leader appends and sends at once, in parallel with its own write (§10.2.1); others send it on."""
    if raft.role is not LEADER:
        _send_on(raft, event)
        return
    payloads = event.payloads
    cost = _cost(payloads)
    reason = _objection(raft, payloads, cost)
    if reason:
        raft.news.append(Refused(ref=event.ref, reason=reason, leader=raft.leader))
        return
    first = append_own(raft, payloads, cost)
    raft.news.append(Accepted(ref=event.ref, term=raft.term, index=first, count=len(payloads)))


def on_forwarded_proposal(raft: "Raft", message: ForwardedProposal) -> None:
    payloads = message.payloads
    cost = _cost(payloads)
    reason = "not leader" if raft.role is not LEADER else _objection(raft, payloads, cost)
    first = 0 if reason else append_own(raft, payloads, cost)
    raft.out.append(
        ForwardedReply(
            cluster=raft.cluster, sender=raft.member, to=message.sender, term=raft.term, incarnation=raft.incarnation,
            ref=message.ref, asked_by=message.incarnation, at_term=raft.term, index=first, count=len(payloads),
            reason=reason, leader=raft.leader,
        )
    )  # fmt: skip


def on_forwarded_reply(raft: "Raft", message: ForwardedReply) -> None:
    if message.asked_by != raft.incarnation:
        raft.drop("answer to an earlier incarnation")
    elif message.index:
        accepted = Accepted(ref=message.ref, term=message.at_term, index=message.index, count=message.count)
        raft.news.append(accepted)
    else:
        raft.news.append(Refused(ref=message.ref, reason=message.reason, leader=message.leader))


def _send_on(raft: "Raft", event: Propose) -> None:
    if raft.leader is None or not event.forward:
        roles.refuse(raft, event.ref, "no leader" if raft.leader is None else "not leader")
        return
    raft.out.append(
        ForwardedProposal(
            cluster=raft.cluster, sender=raft.member, to=raft.leader, term=raft.term, incarnation=raft.incarnation,
            payloads=event.payloads, ref=event.ref,
        )
    )  # fmt: skip


def _objection(raft: "Raft", payloads: tuple[bytes, ...], cost: int) -> str:
    """Why these entries may not be appended now; empty when they may."""
    if not payloads or min(payloads) < b"\x01":
        return "bad payload"
    if raft.transfer_target is not None:
        return "transferring"
    if raft.member not in raft.membership.voters and not raft.membership.is_voter(raft.member):
        return "leader is leaving"
    if raft.uncommitted_bytes and raft.uncommitted_bytes + cost > raft.config.max_uncommitted_bytes:
        return "too many uncommitted"
    return ""


def _cost(payloads: tuple[bytes, ...]) -> int:
    if len(payloads) == 1:
        return len(payloads[0]) + ENTRY_OVERHEAD
    return sum(map(len, payloads)) + ENTRY_OVERHEAD * len(payloads)


def append_own(raft: "Raft", payloads: tuple[bytes, ...], cost: int) -> int:
    """Puts entries of this term into the leader's log and sends them. Returns the first one's index."""
    prev_term = raft.log.last_term
    first = raft.log.last_index + 1
    terms = (raft.term,) * len(payloads)
    raft.append(terms, payloads)
    raft.uncommitted.append((raft.log.last_index, cost))
    raft.uncommitted_bytes += cost
    memberships = (first,) if raft.membership.index == first else ()
    last, now_ns = raft.log.last_index, raft.now_ns
    told = True
    for peer, progress in raft.peers.items():
        if (
            progress.next == first
            and progress.state is _REPLICATE
            and (not progress.inflight or _has_room(raft, progress))
        ):
            progress.inflight.append((last, cost))
            progress.inflight_bytes += cost
            progress.next = last + 1
            progress.told_commit = commit = raft.commit_index
            progress.told_ns = now_ns
            raft.out.append(
                Append(
                    cluster=raft.cluster, sender=raft.member, to=peer, term=raft.term,
                    incarnation=raft.incarnation, prev_index=first - 1, prev_term=prev_term, terms=terms,
                    payloads=payloads, commit=commit, round=raft.round, memberships=memberships,
                )
            )  # fmt: skip
        else:
            told = send_more(raft, peer, progress) and told
    if told:
        raft.notice_ns = NEVER_NS
    return first


# --- The leader sends ---


def send_more(raft: "Raft", peer: str, progress: Progress) -> bool:
    """Sends what a peer lacks, as far as its window allows. Whether it was told of anything."""
    last = raft.log.last_index
    if progress.next <= raft.log.base_index:
        snapshots.send_more(raft, peer, progress)
        return False
    sent = False
    while progress.next <= last and _has_room(raft, progress):
        first = progress.next
        terms, payloads, cost = _batch(raft, first)
        memberships = _memberships_among(raft, first, payloads)
        _send_entries(raft, peer, progress, raft.log.term_at(first - 1), terms, payloads, memberships, cost)
        sent = True
    return sent


def _has_room(raft: "Raft", progress: Progress) -> bool:
    inflight = progress.inflight
    if not inflight:
        return True
    if progress.state is _PROBE:
        return False
    config = raft.config
    count = len(inflight)
    return (
        count < config.max_inflight_messages
        and count < progress.window
        and progress.inflight_bytes < config.max_inflight_bytes
    )


def _batch(raft: "Raft", first: int) -> tuple[tuple[int, ...], tuple[bytes, ...], int]:
    """The entries from first on that one message may carry, and their cost."""
    config = raft.config
    terms, payloads = raft.log.entries(first, first + config.max_batch_entries)
    cost = _cost(payloads)
    if cost > config.max_batch_bytes and len(payloads) > 1:
        count, cost = 0, 0
        for payload in payloads:
            cost += len(payload) + ENTRY_OVERHEAD
            if count and cost > config.max_batch_bytes:
                break
            count += 1
        terms, payloads = terms[:count], payloads[:count]
        cost = _cost(payloads)
    return terms, payloads, cost


def _send_entries(
    raft: "Raft",
    peer: str,
    progress: Progress,
    prev_term: int,
    terms: tuple[int, ...],
    payloads: tuple[bytes, ...],
    memberships: tuple[int, ...],
    cost: int,
) -> None:
    """One Append with entries. While probing, next stays until the answer; else it moves on at once (pipelining)."""
    prev = progress.next - 1
    last = prev + len(terms)
    progress.sent(last, cost)
    if progress.state is _REPLICATE:
        progress.next = last + 1
    progress.told_commit = commit = raft.commit_index
    progress.told_ns = raft.now_ns
    raft.out.append(
        Append(
            cluster=raft.cluster, sender=raft.member, to=peer, term=raft.term, incarnation=raft.incarnation,
            prev_index=prev, prev_term=prev_term, terms=terms, payloads=payloads, commit=commit, round=raft.round,
            memberships=memberships,
        )
    )  # fmt: skip


def _memberships_among(raft: "Raft", first: int, payloads: tuple[bytes, ...]) -> tuple[int, ...]:
    """Of committed membership changes only the last is remembered: look for them. Only catching up costs this."""
    if first > raft.membership.index:
        return ()
    return tuple([index for index, payload in enumerate(payloads, first) if payload[:1] == b"\x00"])


def send_heartbeat(raft: "Raft", peer: str, progress: Progress) -> None:
    """An Append without entries. It also asks whether all that was sent has arrived: a gap is refused, and refilled."""
    prev = progress.next - 1
    if prev < raft.log.base_index:
        prev = 0  # It waits for a snapshot: this agrees with every log, and asks nothing.
    progress.told_commit = raft.commit_index
    raft.out.append(
        Append(
            cluster=raft.cluster, sender=raft.member, to=peer, term=raft.term, incarnation=raft.incarnation,
            prev_index=prev, prev_term=raft.log.term_at(prev) if prev else 0, terms=(), payloads=(),
            commit=raft.commit_index,
            round=raft.round,
        )
    )  # fmt: skip


def broadcast_heartbeat(raft: "Raft") -> None:
    if raft.config.lease_reads:
        reading.number_round(raft)
    for peer, progress in raft.peers.items():
        send_heartbeat(raft, peer, progress)
    raft.notice_ns = NEVER_NS


def _send_heartbeats(raft: "Raft") -> None:
    """Heartbeats are for idle times (figure 3.1): whoever was sent entries a moment ago has heard this leader.

    Leases are the exception, for they begin anew with each round.
    """
    if raft.config.lease_reads:
        broadcast_heartbeat(raft)
        return
    since_ns = raft.now_ns - raft.config.heartbeat_ms * 500_000
    is_told = True
    for peer, progress in raft.peers.items():
        if progress.told_ns < since_ns:
            send_heartbeat(raft, peer, progress)
        elif progress.told_commit < raft.commit_index:
            is_told = False
    if is_told:
        raft.notice_ns = NEVER_NS


def restart_heartbeat(raft: "Raft") -> None:
    raft.timer_ns = raft.now_ns + raft.config.heartbeat_ms * 1_000_000


def on_leader_deadline(raft: "Raft") -> None:
    """Heartbeats, check-quorum, news of a commit."""
    now = raft.now_ns
    if now >= raft.timer_ns:
        # A leader that was paused itself first lets its peers' answers in.
        overslept = now - raft.timer_ns > raft.config.election_min_ms * 1_000_000
        if raft.config.check_quorum and not overslept and not _has_quorum(raft):
            roles.become_follower(raft, raft.term, None, "lost contact with a quorum")
            return
        _send_heartbeats(raft)
        for peer, progress in raft.peers.items():
            if progress.snapshot is not None:
                snapshots.send_again(raft, peer, progress)
        restart_heartbeat(raft)
        _watch_storage(raft, overslept)
    elif now >= raft.notice_ns:
        raft.notice_ns = NEVER_NS
        for peer, progress in raft.peers.items():
            if progress.told_commit < raft.commit_index:
                send_heartbeat(raft, peer, progress)


def _has_quorum(raft: "Raft") -> bool:
    return raft.membership.is_quorum((raft.member, *_heard_lately(raft)))


def _heard_lately(raft: "Raft") -> tuple[str, ...]:
    since = raft.now_ns - raft.config.election_max_ms * 1_000_000
    return tuple([peer for peer, progress in raft.peers.items() if progress.last_heard_ns >= since])


def _watch_storage(raft: "Raft", overslept: bool) -> None:
    """A slow disk is no dead leader; but one whose disk hangs hands over, once, and leads on if nobody takes over.

    Only where the others can elect somebody without its vote, which would have to be written first.
    """
    if not raft.pending or raft.done_sequence != raft.watched_sequence:
        raft.watched_sequence, raft.watched_ns = raft.done_sequence, raft.now_ns
    elif overslept:
        raft.watched_ns = max(raft.watched_ns, raft.now_ns)  # What was done meanwhile may still wait to be heard.
    elif raft.now_ns - raft.watched_ns >= raft.config.storage_patience_ms * 1_000_000:
        heard, heir = _heard_lately(raft), changing.furthest_voter(raft)
        if heir in heard and raft.membership.is_quorum(heard) and raft.transfer_target is None:
            raft.watched_ns = NEVER_NS
            changing.hand_over(raft, heir, ref=0)


# --- A follower receives ---


def on_append(raft: "Raft", message: Append) -> None:
    """§3.5: take the entries if the log agrees just before them; say so when they are durable."""
    terms, prev = message.terms, message.prev_index
    count = len(terms)
    if raft.leader != message.sender or count != 1 or len(message.payloads) != 1:
        if not _is_sound(raft, message, count):
            raft.drop("malformed")
            return
        if raft.leader != message.sender:
            roles.become_follower(raft, raft.term, message.sender, "")
    elif not message.prev_term <= terms[0] <= message.term or prev < 0:
        raft.drop("malformed")
        return
    raft.heard_leader_ns = now = raft.now_ns
    raft.timer_ns = now + raft.election_min_ns + int(raft.random.random() * raft.election_range_ns)
    log = raft.log
    if prev == log.last_index and message.prev_term == log.last_term:
        new = terms
        if message.memberships:
            _take(raft, message, prev + 1, 0)
        elif new:
            raft.append(new, message.payloads)
    elif prev < raft.commit_index or log.term_at(prev) == message.prev_term:
        new = _merge(raft, message)
    else:
        _refuse_append(raft, message)
        return
    verified = prev + count
    if verified > raft.verified_index:
        raft.verified_index = verified
    if message.commit > raft.commit_index:
        learn_commit(raft, message.commit)
    match = raft.verified_index
    if not new and match > raft.durable_index:
        match = raft.durable_index
    reply = AppendReply(
        cluster=raft.cluster, sender=raft.member, to=message.sender, term=raft.term, incarnation=raft.incarnation,
        success=True, match=match, round=message.round,
    )  # fmt: skip
    # New entries are written in this step: their acknowledgement waits for that. A heartbeat's never waits for a disk.
    (raft.acks if new else raft.out).append(reply)


def hear_leader(raft: "Raft", leader: str) -> None:
    """A message of this term's leader came."""
    if raft.leader != leader:
        roles.become_follower(raft, raft.term, leader, "")
    raft.heard_leader_ns = raft.now_ns
    roles.redraw_deadline(raft)


def learn_commit(raft: "Raft", commit: int) -> None:
    """A follower trusts a commit index only as far as its log is known to agree with the leader's."""
    if commit > raft.verified_index:
        commit = raft.verified_index
    if commit > raft.commit_index:
        raft.commit_to(commit)


def _is_sound(raft: "Raft", message: Append, count: int) -> bool:
    """Whether the only leader of this term can have sent it."""
    if count != len(message.payloads) or message.prev_index < 0:
        return False
    if raft.leader != message.sender and raft.leader is not None:
        return False
    if not count:
        return True
    terms = message.terms
    if terms[0] < message.prev_term or terms[-1] > message.term:
        return False
    return count == 1 or terms.count(terms[0]) == count or list(terms) == sorted(terms)


def _merge(raft: "Raft", message: Append) -> tuple[int, ...]:
    """Entries that overlap ours: what agrees stays, however late the message; from a conflict on ours gives way."""
    log = raft.log
    first = message.prev_index + 1
    # What is committed agrees with every leader, so the comparison starts after it (and after a snapshot).
    skip = min(max(raft.commit_index + 1 - first, 0), len(message.terms))
    conflict = log.first_conflict(first + skip, message.terms[skip:])
    offset = conflict - first
    if offset == len(message.terms):
        return ()
    if conflict <= log.last_index:
        raft.truncate(conflict)
    _take(raft, message, conflict, offset)
    return message.terms[offset:]


def _take(raft: "Raft", message: Append, first: int, offset: int) -> None:
    if offset:
        raft.append(message.terms[offset:], message.payloads[offset:])
    else:
        raft.append(message.terms, message.payloads)
    for index in message.memberships:
        if first <= index <= raft.log.last_index:
            _take_membership(raft, message.payloads[index - message.prev_index - 1], index)


def _take_membership(raft: "Raft", payload: bytes, index: int) -> None:
    try:
        raft.add_membership(decode_membership(payload, index))
    except InvalidMembership:
        raft.drop("malformed")


def _refuse_append(raft: "Raft", message: Append) -> None:
    """§3.5, fast back-up: name the last of our entries that can agree, so that one question settles a whole term."""
    hint = raft.log.last_not_after(message.prev_term, message.prev_index - 1)
    raft.out.append(
        AppendReply(
            cluster=raft.cluster, sender=raft.member, to=message.sender, term=raft.term, incarnation=raft.incarnation,
            success=False, match=message.prev_index, round=message.round, hint_index=hint,
            hint_term=max(raft.log.term_at(hint), 0),
        )
    )  # fmt: skip


# --- The leader hears how it went ---


def on_append_reply(raft: "Raft", message: AppendReply) -> None:
    progress = raft.peers.get(message.sender)
    if progress is None:
        return  # Of somebody who left, or this member leads no more.
    progress.last_heard_ns = raft.now_ns
    if message.round > progress.round:
        progress.round = message.round
        reading.confirm(raft)
    if not message.success:
        _back_up(raft, message, progress)
        return
    match = message.match
    if match > raft.log.last_index:
        raft.drop("malformed")
        return
    if match > progress.match:
        progress.acknowledged(match)
        if match > raft.commit_index and match >= raft.term_start:
            advance_commit(raft)
            if not raft.peers:
                return  # The commit took this leader out.
        if message.sender == raft.transfer_target:
            changing.hand_over_if_ready(raft)
    if progress.state is not _REPLICATE and match >= progress.next - 1 >= raft.log.base_index:
        progress.replicate()
    if progress.next <= raft.log.last_index:
        send_more(raft, message.sender, progress)


def _back_up(raft: "Raft", message: AppendReply, progress: Progress) -> None:
    """The logs part before `prev`. Go back to the last entry that can agree, at least by one, and ask again."""
    prev = message.match
    if prev <= progress.match or prev >= progress.next or progress.state is _SNAPSHOT:
        return
    if progress.state is _PROBE and prev != progress.next - 1:
        return
    agree = raft.log.last_not_after(message.hint_term, min(message.hint_index, prev - 1))
    progress.probe(agree + 1)
    if progress.next <= raft.log.last_index:
        send_more(raft, message.sender, progress)
    else:
        send_heartbeat(raft, message.sender, progress)


def advance_commit(raft: "Raft") -> None:
    """§3.6.2: an entry is committed when a quorum has it durable; only those of the own term are counted."""
    voters = raft.voter_sets[0]
    if len(voters) == 3:
        # The one in the middle, without a list: three voters are the most common, and this runs for each entry.
        a, b, c = voters[0].match, voters[1].match, voters[2].match
        if a > b:
            a, b = b, a
        agreed = b if b < c else (c if c > a else a)
    else:
        agreed = reached_by_majority([progress.match for progress in voters])
    if len(raft.voter_sets) > 1:
        agreed = min(agreed, reached_by_majority([progress.match for progress in raft.voter_sets[1]]))
    if agreed > raft.commit_index and agreed >= raft.term_start:
        _commit(raft, agreed)


def _commit(raft: "Raft", agreed: int) -> None:
    before = raft.commit_index
    raft.commit_to(agreed)
    forget_settled(raft)
    if raft.notice_ns == NEVER_NS and raft.peers:
        raft.notice_ns = raft.now_ns + raft.config.commit_notice_ms * 1_000_000
    if before < raft.term_start:
        reading.start_round(raft)
    if before < raft.membership.index <= agreed:
        changing.on_membership_committed(raft)
    if raft.membership.outgoing:
        changing.leave_joint(raft)


def forget_settled(raft: "Raft") -> None:
    """What is committed and durable here costs nothing any more. Others may commit what this disk never takes."""
    settled = min(raft.commit_index, raft.durable_index)
    uncommitted = raft.uncommitted
    while uncommitted and uncommitted[0][0] <= settled:
        raft.uncommitted_bytes -= uncommitted.popleft()[1]


def count_voters(raft: "Raft") -> None:
    """Looks up once whose progress decides: that of the voters, and of the outgoing ones if any.

    A leader is one of them with its own writes (`own`), unless it is leaving.
    """
    membership = raft.membership
    known = {**raft.peers, raft.member: raft.own}
    groups = (membership.voters, membership.outgoing) if membership.outgoing else (membership.voters,)
    raft.voter_sets = tuple([tuple([known[voter] for voter in group]) for group in groups])
