"""Mistakes that Raft implementations have made, each set up by hand; the numbers are those of our list of pitfalls."""

import msgspec
import pytest
from raft_member import MS, Alone, sent
from raft_simulation import Simulation

from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.raft.core import Role
from raftyard.actors.raft.events import (
    AddLearner,
    Append,
    AppendReply,
    ForwardedProposal,
    ForwardedReply,
    PreVoteReply,
    PreVoteRequest,
    PromoteLearner,
    Propose,
    ReadIndexReply,
    ReadIndexRequest,
    ReadReady,
    ReadRequest,
    RemoveMember,
    SteppedDown,
    TimeoutNow,
    TransferLeadership,
    VoteReply,
    VoteRequest,
)
from raftyard.actors.raft.membership import Membership, decode_membership, encode_membership
from raftyard.actors.raft.progress import ProgressState

# --- Durability ---


def test_p02_a_candidates_requests_wait_for_its_term_to_be_durable() -> None:
    member = Alone(term=4, sync=False)
    ready = member.campaign()
    assert not ready.send and len(ready.send_after_durable) == 2
    assert ready.persist is not None and ready.persist.hard_state is not None
    assert (ready.persist.hard_state.term, ready.persist.hard_state.voted_for) == (5, "a")


def test_p02_what_belongs_to_a_write_under_way_is_held_until_it_is_done() -> None:
    member = Alone(term=4, sync=False)
    member.hear(VoteRequest, term=5)
    ready = member.hear(VoteRequest, term=5)
    assert ready.persist is None and not ready.send and not ready.send_after_durable
    assert [message.granted for message in member.durable().send] == [True]  # type: ignore[union-attr]


def test_p20_an_acknowledgement_that_is_held_back_is_dropped_when_its_entries_are_overwritten() -> None:
    """Chaos, seed 886 with leases: it was for the leader of the term before, and came after they were gone."""
    member = Alone(1, 1, 1)
    member.sync = False
    member.hear(Append, "b", term=2, prev_index=3, prev_term=1)
    held = member.hear(Append, "b", term=2, prev_index=3, prev_term=1)
    assert not sent(held, AppendReply), "the new term is on its way to the disk"
    ready = member.hear(Append, "c", term=3, prev_index=1, prev_term=1, terms=(3,))
    assert member.core.last_index == 2
    replies = sent(ready, AppendReply)
    while member.writes:
        replies += sent(member.durable(), AppendReply)
    assert [(reply.to, reply.match) for reply in replies] == [("c", 2)]


def test_p20_a_late_write_does_not_stand_for_entries_that_were_overwritten_and_written_again() -> None:
    """Three leaders write the same index; the first write completes last of all (etcd's ABA race)."""
    member = Alone(term=1, sync=False)
    member.hear(Append, "b", term=1, terms=(1, 1))
    member.hear(Append, "c", term=2, terms=(2,))
    member.hear(Append, "b", term=3, terms=(1, 1))
    member.durable()
    assert member.core.durable_index == 0, (
        "the first write was overwritten by the second, on its way to the disk"
    )
    member.durable()
    assert member.core.durable_index == 0
    member.durable()
    assert member.core.durable_index == 2


def test_a_done_that_comes_for_a_later_write_stands_for_all_before() -> None:
    member = Alone(term=1, sync=False)
    member.hear(Append, terms=(1,))
    member.hear(Append, prev_index=1, prev_term=1, terms=(1,))
    member.writes.pop(0)
    member.durable()
    assert member.core.durable_index == 2


def test_a_write_of_an_earlier_life_makes_nothing_durable_in_this_one() -> None:
    member = Alone(term=1, sync=False)
    member.hear(Append, terms=(1,))
    done = msgspec.structs.replace(member.writes[0].done, incarnation=0)
    assert member.step(done).send == () and member.core.durable_index == 0


# --- Replication ---


def test_p12_match_only_grows_and_next_stays_above_it() -> None:
    member = Alone()
    member.serve()
    member.step(Propose(payloads=(b"x",) * 5))
    progress = member.core.progress("b")
    assert progress is not None
    for match in (5, 3, 5, 4):
        member.hear(AppendReply, "b", match=match)
        assert progress.match == 5 and progress.next > progress.match


@pytest.mark.parametrize(
    "fields",
    [
        {"terms": (1, 1), "payloads": (b"x",)},
        {"terms": (2, 1)},
        {"terms": (1, 2, 1)},
        {"terms": (9,)},
        {"prev_index": -1, "terms": (1,)},
        {"prev_index": 1, "prev_term": 2, "terms": (1,)},
    ],
)
def test_p13_a_message_that_no_leader_can_have_sent_is_dropped_whole(fields: dict[str, object]) -> None:
    member = Alone(term=2)
    ready = member.hear(Append, **fields)
    assert ready.send == () and member.core.last_index == 0
    assert member.core.dropped == {"malformed": 1}


def test_an_acknowledgement_of_what_the_leader_does_not_have_is_dropped() -> None:
    member = Alone()
    member.serve()
    member.hear(AppendReply, "b", match=99)
    assert member.core.dropped == {"malformed": 1} and member.core.progress("b").match == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("terms", [1, 5, 20])
def test_p14_a_long_divergent_log_is_found_out_a_term_at_a_time(terms: int) -> None:
    """Leader and follower share ten entries; then each has 10,000 of its own, in terms that alternate."""
    size = 10_000 // terms
    ours = tuple(3 + 2 * number for number in range(terms) for _ in range(size))
    theirs = tuple(2 + 2 * number for number in range(terms) for _ in range(size))
    leader, follower = Alone(*(1,) * 10, *ours), Alone(*(1,) * 10, *theirs)
    ready = leader.lead()
    refusals = 0
    wire = sent(ready, Append)[:1]
    while wire:
        message = wire.pop(0)
        fields = {
            name: getattr(message, name)
            for name in ("prev_index", "prev_term", "terms", "payloads", "commit")
        }
        (reply,) = sent(follower.hear(Append, "b", term=message.term, **fields), AppendReply)
        refusals += not reply.success
        assert refusals <= 2 * terms, "an entry at a time"
        fields = {name: getattr(reply, name) for name in ("success", "match", "hint_index", "hint_term")}
        wire += [one for one in sent(leader.hear(AppendReply, "b", **fields), Append) if one.to == "b"]
    assert follower.core.entries(1, 99_999) == leader.core.entries(1, 99_999)


def test_p15_a_pipeline_that_was_lost_whole_is_refilled_after_a_heartbeat() -> None:
    config = RaftConfig(max_inflight_messages=3)
    simulation = Simulation(voters=3, config=config)
    leader = simulation.elect()
    simulation.run(200)
    simulation.loss = 1.0
    for number in range(3):
        simulation.propose(leader, b"%d" % number)
    assert all(len(progress.inflight) == 3 for progress in simulation.core(leader).peers.values())
    simulation.loss = 0.0
    simulation.run(100 + 2 * 2 + 1)
    assert simulation.applied(leader) == [b"0", b"1", b"2"]
    simulation.run(50)
    assert all(simulation.applied(name) == [b"0", b"1", b"2"] for name in simulation.names)


def test_the_window_bounds_what_is_under_way_in_messages_and_in_bytes() -> None:
    member = Alone(max_inflight_messages=4)
    member.serve()
    sizes = [len(sent(member.step(Propose(payloads=(b"x",))), Append)) for _ in range(6)]
    assert sizes == [2, 2, 2, 2, 0, 0]
    ready = member.hear(AppendReply, "b", match=3)
    assert [message.terms for message in sent(ready, Append)] == [(1, 1)]
    heavy = Alone(max_inflight_bytes=1_000)
    heavy.serve()
    sizes = [len(sent(heavy.step(Propose(payloads=(b"x" * 600,))), Append)) for _ in range(4)]
    assert sizes == [2, 2, 0, 0]


def test_a_batch_is_bounded_in_bytes_and_a_large_entry_travels_alone() -> None:
    member = Alone(max_batch_bytes=1_000)
    member.serve()
    member.hear(AppendReply, "b", success=False, match=1, hint_index=0)
    progress = member.core.progress("b")
    assert progress is not None
    for size in (400, 400, 400, 5_000, 10):
        member.step(Propose(payloads=(b"x" * size,)))
    progress.match, progress.next = 0, 1
    progress.replicate()
    ready = member.hear(AppendReply, "b", match=1)
    carried = [[len(p) for p in message.payloads] for message in sent(ready, Append) if message.to == "b"]
    assert carried == [[400, 400], [400], [5_000], [10]]


def test_p16_a_follower_learns_of_a_commit_without_another_proposal() -> None:
    simulation = Simulation(voters=3)
    leader = simulation.elect()
    simulation.run(500)
    simulation.propose(leader, b"x")
    simulation.run(2 + 20 + 2)
    assert all(simulation.applied(name) == [b"x"] for name in simulation.names)


def test_p16_a_follower_learns_of_a_commit_after_a_blip_within_a_heartbeat() -> None:
    simulation = Simulation(voters=3)
    leader = simulation.elect()
    follower = next(name for name in simulation.names if name != leader)
    simulation.run(500)
    simulation.isolate(follower)
    simulation.propose(leader, b"x")
    simulation.run(150)
    simulation.heal()
    simulation.run(100 + 4)
    assert simulation.applied(follower) == [b"x"]


# --- Identity ---


@pytest.mark.parametrize("field", ["cluster", "to"])
def test_p47_a_message_of_another_cluster_or_for_another_member_is_dropped_and_counted(field: str) -> None:
    member = Alone(term=1)
    fields = {"cluster": "c", "to": "a", field: "elsewhere"}
    member.step(
        Append(
            sender="b", term=9, incarnation=1, prev_index=0, prev_term=0, terms=(9,), payloads=(b"x",), commit=0,
            round=0, **fields,
        )
    )  # fmt: skip
    assert (member.core.term, member.core.dropped) == (1, {"foreign": 1})


def test_p47_what_an_earlier_life_of_a_member_sent_is_dropped() -> None:
    member = Alone()
    member.serve()
    member.step(Propose(payloads=(b"x",)))
    member.hear(AppendReply, "b", incarnation=2, match=0)
    assert member.hear(AppendReply, "b", incarnation=1, match=2).apply is None
    assert member.core.dropped == {"earlier incarnation": 1}


def test_a_member_whose_storage_was_wiped_is_filled_again() -> None:
    member = Alone()
    member.serve()
    member.step(Propose(payloads=(b"x",)))
    member.acknowledge("b")
    ready = member.hear(AppendReply, "b", incarnation=2, success=False, match=2, hint_index=0)
    progress = member.core.progress("b")
    assert progress is not None and (progress.match, progress.next) == (0, 1)
    assert [message.payloads for message in sent(ready, Append)] == [(b"", b"x")]


# --- Reads ---


def test_p29_a_new_leader_answers_no_read_before_an_entry_of_its_own_is_committed() -> None:
    member = Alone(1)
    member.lead()
    assert member.step(ReadRequest(ref=5)).send == ()
    ready = member.hear(AppendReply, "b", match=2)
    assert ready.reads == () and len(sent(ready, Append)) == 2, (
        "committed: now it asks whether it still leads"
    )
    (answer,) = member.hear(AppendReply, "b", match=2).reads
    assert answer == ReadReady(ref=5, index=2)


def test_reads_that_come_during_a_round_share_the_next_one() -> None:
    member = Alone()
    member.serve()
    rounds = [len(sent(member.step(ReadRequest(ref=ref)), Append)) for ref in range(5)]
    assert rounds == [2, 0, 0, 0, 0]
    ready = member.hear(AppendReply, "b", match=1)
    assert [answer.ref for answer in ready.reads] == [0] and len(sent(ready, Append)) == 2
    assert [answer.ref for answer in member.hear(AppendReply, "c", match=1).reads] == [1, 2, 3, 4]


def test_an_answer_to_an_earlier_round_confirms_nothing() -> None:
    member = Alone()
    member.serve()
    member.step(ReadRequest(ref=1))
    assert member.hear(AppendReply, "b", match=1, round=0).reads == ()


def test_a_leader_that_was_deposed_unawares_answers_no_read() -> None:
    simulation = Simulation(voters=3)
    old = simulation.elect()
    simulation.isolate(old)
    new = simulation.elect(among=tuple(name for name in simulation.names if name != old))
    simulation.propose(new, b"x")
    if simulation.core(old).is_leader:
        simulation.read(old, 1)
    simulation.run(2_000)
    assert simulation.reads_answered == []


def test_a_follower_reads_through_the_leader_and_learns_the_commit_with_the_answer() -> None:
    member = Alone(term=1)
    member.hear(Append, "b", terms=(1, 1))
    ready = member.step(ReadRequest(ref=8))
    (question,) = sent(ready, ReadIndexRequest)
    ready = member.hear(ReadIndexReply, "b", batch=question.batch, index=2)
    assert ready.reads == (ReadReady(ref=8, index=2),)
    assert ready.apply is not None and len(ready.apply.terms) == 2


@pytest.mark.parametrize("end", ["silence", "new leader", "refused"])
def test_a_followers_read_fails_when_the_leader_does_not_answer(end: str) -> None:
    member = Alone(term=1)
    member.hear(Append, "b")
    batch = sent(member.step(ReadRequest(ref=8)), ReadIndexRequest)[0].batch
    if end == "new leader":
        ready = member.hear(Append, "c", term=2)
    elif end == "refused":
        ready = member.hear(ReadIndexReply, "b", batch=batch, index=0)
    else:
        member.now_ns += 700 * MS
        member.hear(Append, "b")
        ready = member.later(101)
    assert [answer.ref for answer in ready.reads] == [8]
    assert not isinstance(ready.reads[0], ReadReady)


def test_a_late_answer_to_an_earlier_question_answers_no_later_read() -> None:
    """It may be older than what was committed when the later one was asked."""
    member = Alone(term=1)
    member.hear(Append, "b", terms=(1, 1), commit=2)
    first = sent(member.step(ReadRequest(ref=8)), ReadIndexRequest)[0].batch
    member.now_ns += 700 * MS
    member.hear(Append, "b", prev_index=2, prev_term=1, commit=2)
    assert [answer.ref for answer in member.later(101).reads] == [8], "the leader did not answer"
    second = sent(member.step(ReadRequest(ref=9)), ReadIndexRequest)[0].batch
    assert member.hear(ReadIndexReply, "b", batch=first, index=1).reads == ()
    assert member.hear(ReadIndexReply, "b", batch=second, index=2).reads == (ReadReady(ref=9, index=2),)


def test_an_answer_to_an_earlier_life_of_a_member_answers_nothing_of_this_one() -> None:
    """It was long under way, or came twice: a read would be served as of then, a proposal taken for another."""
    earlier, later = Alone(term=1), Alone(term=1, incarnation=2)
    asked = []
    for member in (earlier, later):
        member.hear(Append, "b", terms=(1, 1), commit=2)
        asked += sent(member.step(ReadRequest(ref=8)), ReadIndexRequest)
    assert later.hear(ReadIndexReply, "b", batch=asked[0].batch, index=1).reads == ()
    assert later.hear(ReadIndexReply, "b", batch=asked[1].batch, index=2).reads == (ReadReady(ref=8, index=2),)
    assert later.hear(ForwardedReply, "b", ref=1, asked_by=1, at_term=1, index=2, count=1).accepted == ()
    assert later.core.dropped == {"answer to an earlier incarnation": 1}


# --- Limits and forwarding ---


def test_p34_a_leader_without_a_quorum_refuses_after_the_limit() -> None:
    member = Alone(max_uncommitted_bytes=10_000)
    member.serve()
    refused = [bool(member.step(Propose(payloads=(b"x" * 936,))).refused) for _ in range(20)]
    assert refused == [False] * 10 + [True] * 10
    assert member.last.refused[0].reason == "too many uncommitted"
    member.acknowledge("b")
    assert not member.step(Propose(payloads=(b"x",))).refused
    assert member.core.uncommitted_bytes == 65


def test_a_single_proposal_above_the_limit_is_taken_when_nothing_else_waits() -> None:
    member = Alone(max_uncommitted_bytes=100)
    member.serve()
    assert member.step(Propose(payloads=(b"x" * 5_000,))).accepted
    assert member.step(Propose(payloads=(b"x",))).refused


def test_a_forwarded_proposal_is_answered_with_its_place_or_the_reason() -> None:
    member = Alone()
    member.serve()
    (reply,) = sent(member.hear(ForwardedProposal, "c", payloads=(b"x",), ref=4), ForwardedReply)
    assert (reply.ref, reply.at_term, reply.index, reply.count) == (4, 1, 2, 1)
    (reply,) = sent(member.hear(ForwardedProposal, "c", payloads=(b"",), ref=5), ForwardedReply)
    assert (reply.ref, reply.index, reply.reason) == (5, 0, "bad payload")
    follower = Alone(term=1)
    follower.hear(Append, "b")
    ready = follower.hear(ForwardedReply, "b", ref=4, asked_by=1, at_term=1, index=2, count=1)
    assert (ready.accepted[0].ref, ready.accepted[0].index) == (4, 2)
    ready = follower.hear(ForwardedReply, "b", ref=5, asked_by=1, reason="transferring", leader="b")
    assert ready.refused[0].reason == "transferring"


# --- Leadership ---


def test_p35_a_member_that_was_isolated_for_long_comes_back_without_disturbance() -> None:
    simulation = Simulation(voters=3)
    leader = simulation.elect()
    term = simulation.core(leader).term
    away = next(name for name in simulation.names if name != leader)
    rest = tuple(name for name in simulation.names if name != away)
    simulation.isolate(away)
    for number in range(100):
        simulation.run(6_500)
        simulation.agree(b"%d" % number, on=rest, within_ms=100)
    assert simulation.core(away).ask_round >= 1_000, "its election timeouts"
    assert simulation.core(away).term == term, "with pre-vote it never raised its term"
    simulation.heal()
    simulation.run(2_000)
    assert simulation.leaders() == [leader] and simulation.core(leader).term == term
    assert simulation.applied(away) == simulation.applied(leader) and not simulation.refused


def test_p35_without_pre_vote_the_term_would_have_grown() -> None:
    simulation = Simulation(voters=3, config=RaftConfig(pre_vote=False))
    leader = simulation.elect()
    away = next(name for name in simulation.names if name != leader)
    simulation.isolate(away)
    simulation.run(60_000)
    assert simulation.core(away).term > 50


def test_p39_the_only_member_that_sees_a_quorum_becomes_leader() -> None:
    """Five members of which only one is still connected with all others; the old leader is not."""
    simulation = Simulation(voters=5)
    old = simulation.elect()
    hub = next(name for name in simulation.names if name != old)
    for one in simulation.names:
        for other in simulation.names:
            if hub not in (one, other):
                simulation.cut(one, other)
    simulation.run(5_000)
    assert simulation.elect() == hub


def test_p41_a_candidate_stuck_with_a_higher_term_is_let_in_at_the_cost_of_one_election() -> None:
    simulation = Simulation(voters=3, config=RaftConfig(pre_vote=False))
    leader = simulation.elect()
    stuck = next(name for name in simulation.names if name != leader)
    simulation.isolate(stuck)
    simulation.run(5_000)
    elections = len(simulation.invariants.leaders)
    simulation.heal()
    simulation.run(5_000)
    simulation.elect()
    assert simulation.core(stuck).leader == simulation.leader()
    assert len(simulation.invariants.leaders) <= elections + 1


def test_p41_the_answer_to_an_older_term_says_nothing_about_the_logs() -> None:
    """Its sender may lead again when it comes, in that very term, and be asking where the logs part."""
    member = Alone(1, 1, 2, term=5)
    ready = member.hear(Append, "c", term=4, prev_index=3, prev_term=2)
    assert [(m.success, m.match, m.round) for m in sent(ready, AppendReply)] == [(False, 0, 0)]
    member.lead()
    progress = member.core.progress("b")
    assert progress is not None and progress.state is ProgressState.PROBE
    asked = progress.next
    assert asked == 4
    member.hear(AppendReply, "b", success=False, match=0, round=0, hint_index=0, hint_term=0)
    assert progress.next == asked


def test_p42_a_transfer_takes_two_round_trips_and_no_timeout() -> None:
    simulation = Simulation(voters=3)
    old = simulation.elect()
    simulation.run(500)
    target = next(name for name in simulation.names if name != old)
    simulation.step(old, TransferLeadership(target=target))
    assert simulation.run_until(lambda: simulation.core(target).is_leader, within_ms=5)
    simulation.run(100)
    assert simulation.leaders() == [target]


def test_p42_a_transfer_to_one_that_is_behind_first_brings_it_up() -> None:
    simulation = Simulation(voters=3)
    old = simulation.elect()
    target = next(name for name in simulation.names if name != old)
    simulation.isolate(target)
    simulation.agree(b"x", tuple(name for name in simulation.names if name != target))
    simulation.heal()
    simulation.step(old, TransferLeadership(target=target))
    assert simulation.run_until(lambda: simulation.core(target).is_leader, within_ms=400)
    simulation.run(100)
    assert simulation.applied(target) == [b"x"]


def test_p42_a_transfer_to_a_dead_member_is_given_up_and_the_leader_serves_again() -> None:
    simulation = Simulation(voters=3)
    leader = simulation.elect()
    target = next(name for name in simulation.names if name != leader)
    simulation.crash(target)
    simulation.step(leader, TransferLeadership(target=target, ref=6))
    assert simulation.propose(leader, b"x").refused[0].reason == "transferring"
    second = simulation.step(leader, TransferLeadership(ref=7))
    assert second.refused[0].reason == "transferring"
    simulation.run(401)
    assert [(refusal.ref, refusal.reason) for refusal in simulation.refused][-1] == (6, "transfer timed out")
    assert simulation.propose(leader, b"y").accepted


def test_p42_writes_under_way_during_a_transfer_are_not_lost() -> None:
    simulation = Simulation(voters=5, disk_ms=(0, 3))
    old = simulation.elect()
    for number in range(20):
        simulation.propose(old, b"%d" % number)
    simulation.step(old, TransferLeadership())
    simulation.run(1_000)
    assert simulation.leader() != old
    assert all(len(simulation.applied(name)) == 20 for name in simulation.names)


def test_p42_a_request_to_campaign_of_an_older_term_is_ignored() -> None:
    member = Alone(term=5)
    member.hear(TimeoutNow, term=4)
    assert (member.core.role, member.core.term) == (Role.FOLLOWER, 5)


def test_p42_a_transfer_passes_stickiness_but_not_the_check_of_the_log() -> None:
    member = Alone(1, 1)
    member.hear(Append, "b", prev_index=2, prev_term=1)
    (reply,) = sent(
        member.hear(VoteRequest, "c", term=2, last_index=1, last_term=1, transfer=True), VoteReply
    )
    assert reply.granted is False
    (reply,) = sent(
        member.hear(VoteRequest, "c", term=3, last_index=2, last_term=1, transfer=True), VoteReply
    )
    assert reply.granted is True


@pytest.mark.parametrize(("target", "reason"), [("a", "already the leader"), ("z", "not a voter")])
def test_p42_a_transfer_to_nobody_suitable_is_refused(target: str, reason: str) -> None:
    member = Alone()
    member.serve()
    assert member.step(TransferLeadership(target=target)).refused[0].reason == reason
    assert member.step(Propose(payloads=(b"x",))).accepted


def test_p43_a_leader_whose_disk_stalls_keeps_leading() -> None:
    member = Alone()
    member.serve()
    member.sync = False
    member.step(Propose(payloads=(b"x",)))
    for _ in range(24):
        member.later(101)
        for peer in "bc":
            member.hear(AppendReply, peer, match=2)
    assert member.core.is_leader and member.core.commit_index == 2 and member.core.durable_index == 1


def test_p43_what_the_leaders_own_disk_does_not_take_is_bounded() -> None:
    """The others commit it, so it does not count as uncommitted; but it waits in the leader's memory for its disk."""
    member = Alone(max_uncommitted_bytes=10_000)
    member.serve()
    member.sync = False
    refused = []
    for _ in range(20):
        refused.append(bool(member.step(Propose(payloads=(b"x" * 936,))).refused))
        member.acknowledge("b", "c")
    assert refused == [False] * 10 + [True] * 10
    assert member.core.commit_index == member.core.last_index == 11 and len(member.core.pending) == 10
    for left in range(9, -1, -1):
        member.durable()
        assert member.core.uncommitted_bytes == left * 1_000
    assert not member.step(Propose(payloads=(b"x",))).refused


def serve_without_a_disk(member: Alone, seconds: float, *peers: str) -> list[str]:
    """To whom it hands over while these answer; with each heartbeat it is offered something more."""
    told, begin = [], member.now_ns
    while member.now_ns - begin < seconds * 1_000 * MS:
        member.step(Propose(payloads=(b"x",)))
        for peer in peers:
            ready = member.hear(AppendReply, peer, match=member.core.last_index)
            told += sent(ready, TimeoutNow)
        told += sent(member.later(101), TimeoutNow)
    return [message.to for message in told]


def test_p43_a_leader_whose_disk_hangs_hands_over_once_and_serves_on_if_nobody_takes_over() -> None:
    member = Alone()
    member.serve()
    member.sync = False
    assert serve_without_a_disk(member, 4.9, "b", "c") == []
    assert len(serve_without_a_disk(member, 0.4, "b", "c")) == 1
    assert serve_without_a_disk(member, 60, "b", "c") == [] and member.core.is_leader
    assert not member.core.is_transferring and member.step(Propose(payloads=(b"x",))).accepted
    assert member.core.commit_index > 500 > member.core.durable_index
    for _ in range(3):
        member.durable()
        assert serve_without_a_disk(member, 3, "b", "c") == [], "it does something"
    assert len(serve_without_a_disk(member, 3, "b", "c")) == 1, "it hangs again"


def test_p43_a_leader_whose_disk_hangs_leads_on_where_the_others_cannot_do_without_it() -> None:
    """Its vote would be needed, which its disk does not take; and who has nothing to write waits for nothing."""
    member = Alone()
    member.serve()
    for _ in range(100):
        member.later(101)
        assert not sent(member.last, TimeoutNow)
        member.acknowledge("b", "c")
    member.sync = False
    assert serve_without_a_disk(member, 20, "b") == [] and member.core.is_leader


def test_p43_another_takes_over_from_a_leader_whose_disk_hangs() -> None:
    simulation = Simulation(voters=3)
    leader = simulation.elect()
    simulation.members[leader].stalled_until_ns = simulation.now_ns + 60_000 * MS
    simulation.propose(leader, b"x")
    simulation.run(4_500)
    assert simulation.leaders() == [leader]
    simulation.run(1_000)
    others = tuple(name for name in simulation.names if name != leader)
    assert simulation.elect(within_ms=500) in others
    for number in range(50):
        simulation.agree(b"%d" % number, on=others, within_ms=100)
    simulation.run(60_000)
    simulation.agree(b"end", on=simulation.names)
    assert simulation.leader() in others and simulation.core(leader).durable_index > 50


def test_p43_a_follower_whose_disk_stalls_is_still_heard() -> None:
    simulation = Simulation(voters=3)
    leader = simulation.elect()
    term = simulation.core(leader).term
    simulation.disk_ms = (2_400, 2_400)
    simulation.propose(leader, b"x")
    simulation.run(2_300)
    assert simulation.leaders() == [leader] and simulation.core(leader).term == term
    simulation.run(3_000)
    assert simulation.applied(leader) == [b"x"]


# --- Membership ---


def grow(simulation: Simulation, leader: str, member: str) -> None:
    assert simulation.step(leader, AddLearner(member=member)).accepted
    assert simulation.run_until(lambda: simulation.core(leader).is_caught_up(member), 2_000)
    simulation.run(50)
    assert simulation.step(leader, PromoteLearner(member=member)).accepted
    simulation.run(100)


def test_a_cluster_grows_by_learners_that_catch_up_first() -> None:
    simulation = Simulation(voters=1, spare=2)
    leader = simulation.elect()
    for number in range(50):
        simulation.propose(leader, b"%d" % number)
    grow(simulation, leader, "n1")
    grow(simulation, leader, "n2")
    assert simulation.core("n2").membership.voters == ("n0", "n1", "n2")
    assert len(simulation.applied("n2")) == 50
    simulation.isolate(leader)
    assert simulation.elect(among=("n1", "n2")) in ("n1", "n2")


def test_p45_a_leader_that_removes_itself_commits_steps_down_and_hands_over() -> None:
    simulation = Simulation(voters=3)
    old = simulation.elect()
    simulation.run(500)
    for number in range(5):
        simulation.propose(old, b"%d" % number)
    simulation.step(old, RemoveMember(member=old))
    rest = tuple(name for name in simulation.names if name != old)
    assert simulation.run_until(lambda: any(simulation.core(name).is_leader for name in rest), 10)
    assert simulation.core(old).role is Role.LEARNER
    simulation.run(5_000)
    assert len(simulation.leaders()) == 1 and simulation.leaders()[0] in rest
    assert all(len(simulation.applied(name)) == 5 for name in rest)


def test_p45_a_leader_that_is_leaving_does_not_count_itself() -> None:
    member = Alone(voters=("a", "b", "c"))
    member.serve()
    member.step(RemoveMember(member="a"))
    assert member.hear(AppendReply, "b", match=2).apply is None, (
        "one of two is no majority, for it does not count"
    )
    ready = member.hear(AppendReply, "c", match=2)
    assert ready.apply is not None
    assert SteppedDown(term=1, reason="removed from the cluster") in ready.changes
    assert len(sent(ready, TimeoutNow)) == 1
    assert member.core.role is Role.LEARNER


def test_p45_who_is_removed_is_told() -> None:
    simulation = Simulation(voters=3)
    leader = simulation.elect()
    gone = next(name for name in simulation.names if name != leader)
    simulation.step(leader, RemoveMember(member=gone))
    simulation.run(100)
    assert simulation.core(gone).role is Role.LEARNER
    assert gone not in simulation.core(leader).peers


def test_p48_an_uncommitted_change_that_is_overwritten_is_taken_back() -> None:
    before = Membership(voters=("a", "b", "c"))
    member = Alone(term=1)
    payload = encode_membership(Membership(voters=("a", "b", "c", "d")))
    member.hear(Append, terms=(1, 1), payloads=(b"x", payload), memberships=(2,))
    assert member.core.membership.voters == ("a", "b", "c", "d") and member.core.membership.index == 2
    ready = member.hear(Append, "c", term=2, prev_index=1, prev_term=1, terms=(2,))
    assert member.core.membership == before
    assert len(ready.changes) >= 1


def test_p48_a_membership_in_the_log_is_found_again_after_a_restart() -> None:
    payload = encode_membership(Membership(voters=("a", "b"), learners=("e",)))
    member = Alone(1, 1, payloads=(b"x", payload))
    assert member.core.membership == Membership(voters=("a", "b"), learners=("e",), index=2)


def test_p48_a_second_change_is_refused_while_one_is_pending() -> None:
    member = Alone()
    member.serve()
    assert member.step(AddLearner(member="d")).accepted
    assert member.step(AddLearner(member="e")).refused[0].reason == "membership change pending"
    member.acknowledge("b")
    assert member.step(AddLearner(member="e")).accepted


def test_p48_no_change_before_an_entry_of_the_own_term_is_committed() -> None:
    member = Alone()
    member.lead()
    assert member.step(RemoveMember(member="c")).refused[0].reason == "leader is new"


def test_p48_a_new_learner_never_lowers_availability() -> None:
    simulation = Simulation(voters=2, spare=1)
    leader = simulation.elect()
    simulation.isolate("n2")
    simulation.step(leader, AddLearner(member="n2"))
    simulation.agree(b"x", ("n0", "n1"))
    assert simulation.step(leader, PromoteLearner(member="n2")).refused[0].reason == "learner is behind"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (AddLearner(member="b"), "already a member"),
        (PromoteLearner(member="z"), "not a learner"),
        (RemoveMember(member="z"), "not a member"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(event: object, reason: str) -> None:
    member = Alone()
    member.serve()
    assert member.step(event).refused[0].reason == reason
    assert member.core.last_index == 1


def test_the_last_voter_cannot_be_removed() -> None:
    simulation = Simulation(voters=1)
    leader = simulation.elect()
    assert simulation.step(leader, RemoveMember(member=leader)).refused[0].reason == "last voter"


def test_a_removed_voter_that_does_not_know_disturbs_nobody() -> None:
    simulation = Simulation(voters=4)
    leader = simulation.elect()
    term = simulation.core(leader).term
    gone = next(name for name in simulation.names if name != leader)
    simulation.isolate(gone)
    simulation.step(leader, RemoveMember(member=gone))
    simulation.run(2_000)
    simulation.heal()
    simulation.run(20_000)
    assert simulation.leaders() == [leader] and simulation.core(leader).term == term


def test_a_learner_votes_when_it_is_asked_for_it_may_not_know_yet_that_it_is_a_voter() -> None:
    member = Alone(term=1, voters=("b", "c"))
    assert member.core.role is Role.LEARNER
    (reply,) = sent(member.hear(VoteRequest, "b", term=2), VoteReply)
    assert reply.granted


def test_memberships_survive_their_encoding() -> None:
    membership = Membership(voters=("a", "b"), outgoing=("a",), learners=("c",), index=7)
    assert decode_membership(encode_membership(membership), 7) == membership


def test_a_rejoined_follower_probes_and_then_replicates() -> None:
    member = Alone(1, 1)
    member.lead()
    progress = member.core.progress("b")
    assert progress is not None and progress.state is ProgressState.PROBE
    member.hear(AppendReply, "b", success=False, match=2, hint_index=0, hint_term=0)
    assert (progress.state, progress.next) == (ProgressState.PROBE, 1)
    member.hear(AppendReply, "b", match=3)
    assert (progress.state, progress.match, progress.next) == (ProgressState.REPLICATE, 3, 4)


def test_while_a_disk_hangs_only_the_newest_round_of_what_is_asked_again_is_kept() -> None:
    """A voter without a leader asks for pre-votes, and is asked for its own, for as long as its disk hangs."""
    member = Alone(term=1, sync=False)
    member.hear(Append, term=2)
    for number in range(1, 101):
        member.time_out()
        member.hear(PreVoteRequest, "c", last_index=99, last_term=99, round=number)
    ready = member.durable()
    asked, answered = sent(ready, PreVoteRequest), sent(ready, PreVoteReply)
    assert [(one.to, one.round) for one in asked] == [("b", member.core.ask_round), ("c", member.core.ask_round)]
    assert [(one.to, one.round) for one in answered] == [("c", 100)]
