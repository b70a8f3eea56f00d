"""Leases: a leader that a quorum has just answered serves reads alone, and never after another could be elected."""

import random

import pytest
from raft_member import Alone
from raft_simulation import Simulation

from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.raft.core import Raft, Restored
from raftyard.actors.raft.events import (
    Append,
    PreVoteReply,
    RemoveMember,
    TransferLeadership,
    VoteReply,
    VoteRequest,
)

ALL = ("n0", "n1", "n2")


def leased(seed: int = 0, drift: float = 0.1) -> tuple[Simulation, str]:
    simulation = Simulation(seed=seed, config=RaftConfig(lease_reads=True, clock_drift=drift))
    leader = simulation.elect()
    simulation.run(500)
    return simulation, leader


def test_a_leased_read_needs_no_message() -> None:
    simulation, leader = leased()
    before = dict(simulation.sent)
    simulation.read(leader, 1)
    assert simulation.reads_answered == [1]
    assert simulation.sent == before


def test_a_follower_asks_a_leased_leader_with_one_question_and_one_answer() -> None:
    simulation, leader = leased()
    follower = next(name for name in ALL if name != leader)
    simulation.read(follower, 1)
    simulation.run(3)
    assert simulation.reads_answered == [1]
    assert simulation.sent["ReadIndexRequest"] == simulation.sent["ReadIndexReply"] == 1


def test_a_lease_ends_before_anybody_else_can_lead() -> None:
    for seed in range(20):
        simulation, leader = leased(seed)
        simulation.isolate(leader)
        number = 0
        while all(not core.is_leader for name, core in simulation.cores.items() if name != leader):
            number += 1
            simulation.read(leader, number)
            simulation.run(10)
        answered = simulation.reads_answered[-1]
        assert answered * 10 < simulation.config.election_min_ms, "the lease outlived the voters' patience"


@pytest.mark.parametrize("seed", range(10))
def test_reads_are_never_stale_while_clocks_keep_to_the_bound(seed: int) -> None:
    simulation, leader = leased(seed, drift=0.3)
    for name, member in simulation.members.items():
        member.rate = 1.0 if name == leader else 1.3
        if name in simulation.cores:
            simulation.crash(name)
            simulation.start(name)
    leader = simulation.elect()
    simulation.isolate(leader)
    others = tuple(name for name in ALL if name != leader)
    for number in range(300):
        simulation.read(leader, number)
        for name in others:
            if simulation.core(name).is_leader:
                simulation.propose(name, b"new")
        simulation.run(5)
    assert simulation.applied(others[0])


def test_a_clock_outside_the_bound_gives_a_stale_read() -> None:
    """The negative control: the simulation would notice, and the bound is what the promise rests on."""
    simulation, _ = leased(drift=0.0)
    for name in ALL:
        simulation.members[name].rate = 0.4 if name == "n0" else 1.0
        simulation.crash(name)
        simulation.start(name)
    if simulation.elect() != "n0":
        simulation.step(simulation.elect(), TransferLeadership(target="n0"))
        simulation.run(1_000)
    assert simulation.core("n0").is_leader
    simulation.read("n0", 1)
    simulation.run(10)
    simulation.isolate("n0")

    def go_on() -> None:
        for number in range(2, 400):
            simulation.read("n0", number)
            for name in ("n1", "n2"):
                if simulation.core(name).is_leader:
                    simulation.propose(name, b"new")
            simulation.run(5)

    with pytest.raises(AssertionError, match="stale read"):
        go_on()


def test_a_voter_that_has_just_started_keeps_the_lease_that_it_may_have_forgotten() -> None:
    simulation, leader = leased()
    other, third = [name for name in ALL if name != leader]
    simulation.isolate(leader)
    simulation.crash(other)
    simulation.start(other)
    started = simulation.now_ns
    simulation.run_until(lambda: simulation.core(other).is_leader or simulation.core(third).is_leader, 5_000)
    assert simulation.now_ns - started >= simulation.config.election_min_ms * 1_000_000


def test_a_leader_that_tried_to_hand_over_has_no_lease_any_more() -> None:
    simulation, leader = leased()
    target = next(name for name in ALL if name != leader)
    simulation.cut(leader, target)
    simulation.step(leader, TransferLeadership(target=target))
    simulation.run(600)
    simulation.heal()
    simulation.run(400)
    assert simulation.core(leader).is_leader
    simulation.read(leader, 1)
    assert simulation.reads_answered == [], "the order to campaign may still be under way"
    simulation.run(5)
    assert simulation.reads_answered == [1]


def test_leases_need_check_quorum() -> None:
    with pytest.raises(ValueError, match="check_quorum"):
        RaftConfig(lease_reads=True, check_quorum=False)


@pytest.mark.parametrize(("lease_reads", "votes"), [(True, False), (False, True)])
def test_a_member_that_has_just_started_votes_for_nobody_while_a_lease_may_hold(
    lease_reads: bool, votes: bool
) -> None:
    """It may have answered a leader before it stopped, and does not remember. Without leases it need not wait."""
    raft = Raft(
        member="a", cluster="c", incarnation=2, config=RaftConfig(lease_reads=lease_reads), random=random.Random(1),
        restored=Restored.bootstrap(("a", "b", "c")), now_ns=0,
    )  # fmt: skip
    request = VoteRequest(cluster="c", sender="b", to="a", term=5, incarnation=1, last_index=0, last_term=0)
    raft.step(1, request)
    assert (raft.voted_for == "b") is votes
    raft.step(400_000_001, request)
    assert raft.voted_for == "b"


@pytest.mark.parametrize("seed", range(5))
def test_a_voter_that_was_just_left_alone_keeps_the_lease_of_the_leader_that_leaves(seed: int) -> None:
    """The leader takes itself out of two. The other has that entry, stops, and could now elect itself at once."""
    simulation = Simulation(voters=2, seed=seed, config=RaftConfig(lease_reads=True, clock_drift=0.0))
    leader = simulation.elect()
    simulation.run(500)
    other = next(name for name in simulation.names if name != leader)
    simulation.cut(other, leader)
    simulation.step(leader, RemoveMember(member=leader))
    simulation.run(1)
    assert simulation.core(other).membership.voters == (other,)
    simulation.isolate(leader)
    simulation.crash(other)
    simulation.start(other)
    for number in range(200):
        simulation.read(leader, number)
        if simulation.core(other).is_leader:
            simulation.propose(other, b"new")
        simulation.run(5)
    assert simulation.applied(other), "the voter that is left takes over in the end"
    assert simulation.reads_answered, "the lease held for a while"


def test_a_voter_that_has_always_been_alone_leads_at_once_when_it_starts() -> None:
    simulation = Simulation(voters=1, config=RaftConfig(lease_reads=True))
    simulation.elect(within_ms=1)


@pytest.mark.parametrize("late", [VoteReply, PreVoteReply])
@pytest.mark.parametrize(("lease_reads", "transfer", "votes"), [(1, 0, 0), (1, 1, 1), (0, 0, 1)])
def test_a_voter_that_learned_a_newer_term_by_the_way_keeps_the_older_leaders_lease(
    late: type, lease_reads: int, transfer: int, votes: int
) -> None:
    """A late answer raises its term: the candidate's request is then of its own term, and no less too early."""
    raft = Raft(
        member="a", cluster="c", incarnation=1, config=RaftConfig(lease_reads=bool(lease_reads)),
        random=random.Random(1), restored=Restored.bootstrap(("a", "b", "c")), now_ns=0,
    )  # fmt: skip
    head = {"cluster": "c", "to": "a", "incarnation": 1}
    heard_ns = 500_000_000
    heartbeat = Append(
        **head, sender="b", term=1, prev_index=0, prev_term=0, terms=(), payloads=(), commit=0, round=1
    )
    answer = {"granted": False, **({"round": 0} if late is PreVoteReply else {})}
    request = VoteRequest(**head, sender="c", term=2, last_index=0, last_term=0, transfer=bool(transfer))
    raft.step(heard_ns, heartbeat)
    raft.step(heard_ns + 1, late(**head, sender="c", term=2, **answer))
    assert (raft.term, raft.leader) == (2, None)
    raft.step(heard_ns + 2, request)
    assert (raft.voted_for == "c") is bool(votes)
    raft.step(heard_ns + 400_000_000, request)
    assert raft.voted_for == "c", "its patience ends, and it votes"


def test_a_voter_that_is_alone_remembers_no_rounds_that_nobody_answers() -> None:
    member = Alone(voters=("a",), lease_reads=True)
    member.lead()
    for _ in range(100):
        member.time_out()
    assert member.core.is_leader and not member.core.lease.rounds
    assert member.core.lease.until_ns > member.now_ns
