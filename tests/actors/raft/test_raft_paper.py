"""Sentences of the Raft paper and dissertation, each as a test of one member."""

import random

import pytest
from raft_member import MS, Alone, sent
from raft_simulation import Simulation

from raftyard.actors.raft.core import Raft, RaftConfig, Restored, Role
from raftyard.actors.raft.events import (
    NEVER_NS,
    Append,
    AppendReply,
    BecameLeader,
    DeadlineReached,
    PreVoteReply,
    PreVoteRequest,
    Propose,
    SteppedDown,
    VoteReply,
    VoteRequest,
)

# --- Terms and roles ---


@pytest.mark.parametrize("role", ["follower", "candidate", "leader"])
def test_if_one_members_term_is_smaller_it_updates_to_the_larger_and_follows(role: str) -> None:
    member = Alone()
    {"follower": lambda: None, "candidate": member.campaign, "leader": member.lead}[role]()
    member.hear(Append, term=9)
    assert (member.core.role, member.core.term, member.core.leader) == (Role.FOLLOWER, 9, "b")


def test_a_request_with_a_stale_term_is_rejected_and_names_the_newer_term() -> None:
    member = Alone(term=5)
    (reply,) = sent(member.hear(Append, term=4, terms=(4,)), AppendReply)
    assert (reply.success, reply.term) == (False, 5)
    (vote,) = sent(member.hear(VoteRequest, term=4), VoteReply)
    assert (vote.granted, vote.term) == (False, 5)
    assert member.core.last_index == 0


def test_members_start_as_followers_and_wait() -> None:
    member = Alone()
    assert member.core.role is Role.FOLLOWER
    assert 400 * MS <= member.core.deadline_ns < 800 * MS


def test_a_follower_that_hears_its_leader_stays_a_follower() -> None:
    member = Alone(term=1)
    for _ in range(50):
        member.hear(Append)
        member.later(399)
    assert (member.core.role, member.core.term) == (Role.FOLLOWER, 1)


def test_a_leader_sends_heartbeats_at_regular_intervals() -> None:
    member = Alone()
    member.serve()
    for _ in range(3):
        member.later(member.core.deadline_ns // MS - member.now_ns // MS + 1)
    due = member.core.timer_ns
    assert due - member.now_ns <= 100 * MS
    member.now_ns = due
    heartbeats = sent(member.step(DeadlineReached()), Append)
    assert [message.to for message in heartbeats] == ["b", "c"]
    assert all(message.terms == () for message in heartbeats)


@pytest.mark.parametrize("lease_reads", [False, True])
def test_heartbeats_are_for_idle_times_and_a_leader_is_never_silent_for_long(lease_reads: bool) -> None:
    """Figure 3.1. Entries say as much as a heartbeat, except to a lease, which each round of heartbeats begins anew."""
    member = Alone(lease_reads=lease_reads)
    member.serve()
    heard_ns = begin_ns = member.now_ns
    empty, silences = [], []
    while member.now_ns < begin_ns + 2000 * MS:
        is_busy = 500 * MS < member.now_ns - begin_ns < 1500 * MS
        appends = sent(member.later(10), Append)
        empty += [is_busy] * sum(not message.terms for message in appends)
        if is_busy:
            appends += sent(member.step(Propose(payloads=(b"x",))), Append)
        member.acknowledge()
        if appends:
            silences.append(member.now_ns - heard_ns)
            heard_ns = member.now_ns
    assert max(silences) <= 150 * MS
    assert (empty.count(True) > 0) == lease_reads
    assert empty.count(False) >= 2 * 8


# --- Elections ---


def test_a_candidate_increments_its_term_votes_for_itself_and_asks_everybody_in_parallel() -> None:
    member = Alone(term=4)
    ready = member.campaign()
    assert (member.core.term, member.core.voted_for) == (5, "a")
    requests = sent(ready, VoteRequest)
    assert [(request.to, request.term) for request in requests] == [("b", 5), ("c", 5)]


@pytest.mark.parametrize(
    ("size", "granted", "leads"),
    [(1, 0, True), (2, 1, True), (2, 0, False), (3, 1, True), (3, 0, False), (4, 2, True), (4, 1, False),
     (5, 2, True), (5, 1, False), (7, 3, True), (7, 2, False)],
)  # fmt: skip
def test_a_candidate_wins_with_votes_from_a_majority(size: int, granted: int, leads: bool) -> None:
    voters = tuple("abcdefg"[:size])
    member = Alone(voters=voters)
    member.campaign()
    for voter in voters[1 : 1 + granted]:
        member.hear(VoteReply, voter, granted=True)
    for voter in voters[1 + granted :]:
        if not member.core.is_leader:
            member.hear(VoteReply, voter, granted=False)
    assert member.core.is_leader is leads


def test_a_vote_that_comes_twice_counts_once() -> None:
    """P03"""
    member = Alone(voters=tuple("abcde"))
    member.campaign()
    for _ in range(5):
        member.hear(VoteReply, "b", granted=True)
    assert not member.core.is_leader


@pytest.mark.parametrize(
    ("voted_for", "asker", "granted"),
    [(None, "b", True), (None, "c", True), ("b", "b", True), ("b", "c", False)],
)
def test_each_member_votes_for_at_most_one_candidate_a_term_first_come_first_served(
    voted_for: str | None, asker: str, granted: bool
) -> None:
    member = Alone(term=3, voted_for=voted_for)
    (reply,) = sent(member.hear(VoteRequest, asker, term=3), VoteReply)
    assert reply.granted is granted


@pytest.mark.parametrize(
    ("own", "last_index", "last_term", "granted"),
    [((1,), 1, 1, True), ((1,), 2, 1, True), ((1, 1), 1, 1, False), ((1,), 1, 2, True), ((1, 1), 1, 2, True),
     ((2,), 1, 1, False), ((2,), 2, 1, False), ((3,) * 9, 12, 2, False), ((3,) * 9, 5, 4, True)],
)  # fmt: skip
def test_a_vote_needs_a_log_at_least_as_up_to_date_by_term_first(
    own: tuple[int, ...], last_index: int, last_term: int, granted: bool
) -> None:
    """P49"""
    member = Alone(*own)
    (reply,) = sent(member.hear(VoteRequest, term=9, last_index=last_index, last_term=last_term), VoteReply)
    assert reply.granted is granted


def test_a_candidate_that_hears_the_leader_of_its_term_follows_it() -> None:
    member = Alone()
    member.campaign()
    member.hear(Append, "c")
    assert (member.core.role, member.core.leader) == (Role.FOLLOWER, "c")


def test_a_candidate_that_wins_nothing_starts_a_new_election() -> None:
    member = Alone(pre_vote=False)
    member.time_out()
    term = member.core.term
    member.time_out()
    assert member.core.term == term + 1


@pytest.mark.parametrize("seeds", [200, pytest.param(1_000, marks=pytest.mark.campaign)])
def test_two_who_ask_at_once_rarely_split_the_votes_again_and_again(seeds: int) -> None:
    """P06: five members whose timers all start at the same instant."""
    rounds = []
    for seed in range(seeds):
        simulation = Simulation(voters=5, seed=seed)
        simulation.elect()
        rounds.append(max(simulation.invariants.leaders))
    assert max(rounds) <= 10
    assert sum(term > 1 for term in rounds) < 0.4 * len(rounds)


def test_the_timeout_is_drawn_anew_at_each_reset_from_the_members_own_stream() -> None:
    """P06"""

    def waits(seed: int) -> list[int]:
        member = Alone(term=1)
        member.core.random = random.Random(seed)
        found = []
        for _ in range(20):
            member.now_ns += MS
            found.append(member.hear(Append).deadline_ns - member.now_ns)
        return found

    assert waits(1) == waits(1) != waits(2)
    assert len(set(waits(1))) == 20
    assert all(400 * MS <= wait < 800 * MS for wait in waits(1))


def test_without_randomness_the_votes_would_split_for_ever() -> None:
    """P06, negative control: the deadlines are all that tells candidates apart."""

    class Constant:
        def random(self) -> float:
            return 0.5

    class Unimaginative(Raft):
        __slots__ = ()

        def __init__(self, **arguments: object) -> None:
            super().__init__(**{**arguments, "random": Constant()})  # type: ignore[arg-type]

    simulation = Simulation(voters=3, config=RaftConfig(pre_vote=False), core_class=Unimaginative)
    simulation.run(20_000)
    assert simulation.leaders() == []


# --- Replication ---


def test_a_leader_appends_and_sends_in_parallel_with_its_own_write() -> None:
    member = Alone()
    member.serve()
    member.sync = False
    ready = member.step(Propose(payloads=(b"one", b"two"), ref=7))
    assert ready.persist is not None and ready.persist.payloads == (b"one", b"two")
    assert [(message.to, message.payloads) for message in ready.send] == [
        ("b", (b"one", b"two")),
        ("c", (b"one", b"two")),
    ]
    (accepted,) = ready.accepted
    assert (accepted.ref, accepted.index, accepted.count) == (7, 2, 2)


def test_an_entry_is_committed_when_a_majority_has_it_durable_the_leader_counting_its_own_write() -> None:
    member = Alone(voters=tuple("abcde"))
    member.serve()
    member.sync = False
    member.step(Propose(payloads=(b"one",)))
    assert member.hear(AppendReply, "b", match=2).apply is None
    assert member.hear(AppendReply, "c", match=2).apply is None, "two of five, for our own write is not done"
    apply = member.durable().apply
    assert apply is not None and apply.payloads == (b"one",)


def test_a_majority_may_commit_before_the_leaders_own_write() -> None:
    member = Alone(voters=tuple("abcde"))
    member.serve()
    member.sync = False
    member.step(Propose(payloads=(b"one",)))
    for peer in "bcd":
        ready = member.hear(AppendReply, peer, match=2)
    assert ready.apply is not None


def test_a_follower_applies_what_the_leader_committed_as_far_as_it_has_it() -> None:
    member = Alone(term=1)
    ready = member.hear(Append, terms=(1, 1), commit=1)
    assert ready.apply is not None and len(ready.apply.terms) == 1
    ready = member.hear(Append, prev_index=2, prev_term=1, commit=9)
    assert ready.apply is not None and (ready.apply.first_index, len(ready.apply.terms)) == (2, 1)


def test_a_follower_acknowledges_when_the_entries_are_durable() -> None:
    member = Alone(term=1)
    ready = member.hear(Append, terms=(1, 1))
    assert sent(ready, AppendReply) == list(ready.send_after_durable)
    assert ready.send_after_durable[0].match == 2  # type: ignore[union-attr]


def test_a_heartbeat_is_answered_at_once_with_what_is_durable() -> None:
    member = Alone(term=1, sync=False)
    member.hear(Append, terms=(1, 1))
    (reply,) = member.hear(Append, prev_index=2, prev_term=1).send
    assert isinstance(reply, AppendReply) and (reply.success, reply.match) == (True, 0)
    member.durable()
    (reply,) = member.hear(Append, prev_index=2, prev_term=1).send
    assert isinstance(reply, AppendReply) and reply.match == 2


@pytest.mark.parametrize(
    ("prev_index", "prev_term", "success"), [(0, 0, True), (2, 2, True), (2, 1, False), (3, 2, False)]
)
def test_a_follower_without_the_entry_before_refuses(prev_index: int, prev_term: int, success: bool) -> None:
    member = Alone(1, 2)
    (reply,) = sent(member.hear(Append, term=3, prev_index=prev_index, prev_term=prev_term), AppendReply)
    assert reply.success is success


@pytest.mark.parametrize(
    ("prev", "terms", "result"),
    [((2, 2), (3,), (1, 2, 3)), ((1, 1), (3, 4), (1, 3, 4)), ((0, 0), (1,), (1, 2)), ((0, 0), (3,), (3,)),
     ((1, 1), (2,), (1, 2)), ((0, 0), (1, 2, 3), (1, 2, 3))],
)  # fmt: skip
def test_a_conflicting_entry_is_deleted_with_all_that_follow_and_an_equal_one_stays(
    prev: tuple[int, int], terms: tuple[int, ...], result: tuple[int, ...]
) -> None:
    """P05: what agrees stays, for a late message must not take back what was acknowledged."""
    member = Alone(1, 2)
    member.hear(Append, term=4, prev_index=prev[0], prev_term=prev[1], terms=terms)
    assert member.core.entries(1, 9)[0] == result


def test_only_entries_of_the_own_term_are_committed_by_counting() -> None:
    """P08, figure 8: an entry of term 2 on a majority waits for one of the current term."""
    member = Alone(1, 2, term=3, voters=tuple("abcde"))
    member.lead()
    assert member.core.last_index == 3
    for peer in "bcd":
        assert member.hear(AppendReply, peer, match=2).apply is None
    member.hear(AppendReply, "b", match=3)
    apply = member.hear(AppendReply, "c", match=3).apply
    assert apply is not None and apply.terms == (1, 2, 4)


def test_a_leader_begins_with_an_entry_of_its_own() -> None:
    """P10"""
    member = Alone(1, 1)
    ready = member.lead()
    assert BecameLeader(term=2) in ready.changes
    first = sent(ready, Append)[0]
    assert first.terms == (2,) and first.payloads == (b"",) and first.prev_index == 2
    assert member.hear(AppendReply, "b", match=3).apply is not None


def test_a_single_member_commits_what_it_had_when_it_starts_again() -> None:
    """P10"""
    member = Alone(1, 1, voters=("a",), sync=False)
    member.step(DeadlineReached())
    assert not member.core.is_leader, "its vote for itself is not durable yet"
    ready = member.durable()
    assert member.core.is_leader and ready.persist is not None
    apply = member.core.step(0, ready.persist.done).apply
    assert apply is not None and apply.terms == (1, 1, 2)


# --- Pre-vote, check-quorum, stickiness ---


def test_asking_for_pre_votes_changes_neither_term_nor_vote() -> None:
    member = Alone(term=4, voted_for="c")
    ready = member.time_out()
    assert [request.term for request in sent(ready, PreVoteRequest)] == [4, 4]
    assert (member.core.term, member.core.voted_for, ready.persist) == (4, "c", None)


def test_a_pre_vote_changes_nothing_at_the_voter_either() -> None:
    """P40"""
    member = Alone(term=4)
    before = member.core.deadline_ns
    ready = member.hear(PreVoteRequest, term=4, last_index=9, last_term=4, round=1)
    assert sent(ready, PreVoteReply)[0].granted
    assert (member.core.term, member.core.voted_for, member.core.deadline_ns) == (4, None, before)
    assert ready.persist is None


def test_who_heard_a_leader_lately_refuses_pre_votes_and_ignores_votes() -> None:
    member = Alone(term=4)
    member.hear(Append, "b")
    member.now_ns += 399 * MS
    ready = member.hear(PreVoteRequest, "c", term=4, last_index=9, last_term=4, round=1)
    assert not sent(ready, PreVoteReply)[0].granted
    assert member.hear(VoteRequest, "c", term=5).send == ()
    assert member.core.term == 4
    member.now_ns += MS
    ready = member.hear(PreVoteRequest, "c", term=4, last_index=9, last_term=4, round=2)
    assert sent(ready, PreVoteReply)[0].granted


def test_a_member_with_a_shorter_log_gets_no_pre_votes() -> None:
    member = Alone(1, 1)
    ready = member.hear(PreVoteRequest, term=1, last_index=1, last_term=1, round=1)
    assert not sent(ready, PreVoteReply)[0].granted


def test_a_pre_vote_of_an_earlier_round_is_not_counted() -> None:
    member = Alone()
    member.time_out()
    member.time_out()
    member.hear(PreVoteReply, "b", granted=True, round=1)
    assert member.core.is_pre_voting
    member.hear(PreVoteReply, "b", granted=True, round=2)
    assert not member.core.is_pre_voting and member.core.term == 1


def test_a_leader_that_a_quorum_does_not_answer_steps_down() -> None:
    member = Alone()
    member.serve()
    changes = [change for _ in range(9) for change in member.later(101).changes]
    assert not member.core.is_leader
    assert SteppedDown(term=1, reason="lost contact with a quorum") in changes


def test_a_leader_that_a_quorum_answers_stays() -> None:
    member = Alone()
    member.serve()
    for _ in range(50):
        member.later(101)
        member.hear(AppendReply, "b", match=1)
    assert member.core.is_leader


# --- Refusals ---


def test_a_follower_sends_proposals_on_or_says_who_leads() -> None:
    member = Alone(term=1)
    ready = member.step(Propose(payloads=(b"x",), ref=3))
    assert (ready.refused[0].reason, ready.refused[0].leader) == ("no leader", None)
    member.hear(Append, "b")
    assert member.step(Propose(payloads=(b"x",), ref=3)).send[0].to == "b"
    ready = member.step(Propose(payloads=(b"x",), ref=3, forward=False))
    assert (ready.refused[0].reason, ready.refused[0].leader) == ("not leader", "b")


@pytest.mark.parametrize("payloads", [(), (b"",), (b"ok", b""), (b"\x00x",), (b"ok", b"\x00")])
def test_what_looks_like_the_cores_own_entries_is_refused(payloads: tuple[bytes, ...]) -> None:
    member = Alone()
    member.serve()
    ready = member.step(Propose(payloads=payloads, ref=1))
    assert ready.refused[0].reason == "bad payload" and member.core.last_index == 1


def test_a_member_that_waits_to_be_added_never_campaigns() -> None:
    core = Raft(
        member="z", cluster="c", incarnation=1, config=RaftConfig(), random=random.Random(0),
        restored=Restored.bootstrap(), now_ns=0,
    )  # fmt: skip
    assert (core.role, core.deadline_ns) == (Role.LEARNER, NEVER_NS)
    assert core.step(10**12, DeadlineReached()).send == ()
