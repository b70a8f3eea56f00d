"""Joint consensus: any set of voters becomes any other in one change, and both sets decide meanwhile (§4.3)."""

import random

import pytest
from raft_simulation import Simulation

from raftyard.actors.raft.events import AddLearner, ChangeMembership, Ready, TransferLeadership
from raftyard.actors.raft.membership import Membership, reached_by_majority

OLD, NEW = ("n0", "n1", "n2"), ("n3", "n4", "n5")


def with_learners(seed: int = 0) -> tuple[Simulation, str]:
    simulation = Simulation(voters=3, spare=3, seed=seed)
    leader = simulation.elect()
    for name in NEW:
        simulation.step(leader, AddLearner(member=name))
        simulation.run(200)
    assert all(simulation.core(leader).is_caught_up(name) for name in NEW)
    return simulation, leader


def reason(ready: Ready) -> str:
    return ready.refused[0].reason if ready.refused else ""


def test_all_voters_are_replaced_in_one_change() -> None:
    simulation, leader = with_learners()
    ready = simulation.step(leader, ChangeMembership(voters=NEW, ref=7))
    assert ready.accepted[0].ref == 7
    simulation.run(3_000)
    new = simulation.elect(among=NEW)
    membership = simulation.core(new).membership
    assert (membership.voters, membership.outgoing, membership.learners) == (NEW, (), ())
    simulation.isolate(*OLD)
    simulation.agree(b"without the old ones", on=NEW)


def test_one_voter_more_or_less_needs_no_joint_membership() -> None:
    simulation, leader = with_learners()
    simulation.step(leader, ChangeMembership(voters=(*OLD, "n3"), learners=("n4", "n5")))
    assert simulation.core(leader).membership.outgoing == ()


@pytest.mark.parametrize("half", [OLD, NEW])
def test_nothing_is_committed_while_either_half_is_missing(half: tuple[str, ...]) -> None:
    simulation, leader = with_learners()
    simulation.isolate(*[name for name in half if name != leader])
    simulation.step(leader, ChangeMembership(voters=NEW))
    commit = simulation.core(leader).commit_index
    simulation.propose(leader, b"x")
    simulation.run(350)
    assert simulation.core(leader).commit_index == commit
    assert simulation.core(leader).membership.outgoing == OLD
    simulation.heal()
    simulation.agree(b"both", on=NEW)


def test_who_is_demoted_votes_until_the_new_voters_decide_alone() -> None:
    simulation, leader = with_learners()
    demoted = next(name for name in OLD if name != leader)
    kept = next(name for name in OLD if name not in (leader, demoted))
    simulation.isolate("n3", "n4")
    simulation.step(leader, ChangeMembership(voters=(leader, "n3", "n4"), learners=(demoted, kept)))
    membership = simulation.core(leader).membership
    assert membership.is_voter(demoted)
    assert not membership.is_quorum((leader, "n3", "n4")), "the old half is not asked"
    assert membership.is_quorum((leader, demoted, "n3"))
    simulation.heal()
    simulation.run(1_000)
    assert not simulation.core(leader).membership.is_voter(demoted)
    assert demoted in simulation.core(leader).membership.learners


@pytest.mark.parametrize("seed", range(10))
def test_the_next_leader_ends_a_change_that_the_last_one_began(seed: int) -> None:
    """P48c: the leader is lost right after the joint membership was committed, before it appends the last one."""
    simulation, leader = with_learners(seed)
    simulation.step(leader, ChangeMembership(voters=NEW, learners=OLD))
    joint = simulation.core(leader).membership.index
    others = [name for name in simulation.names if name != leader]
    have = simulation.run_until(
        lambda: all(simulation.core(name).last_index >= joint for name in others), 500
    )
    assert have
    simulation.crash(leader)
    simulation.run(5_000)
    new = simulation.elect(among=tuple(others))
    simulation.run(1_000)
    assert simulation.core(new).membership.outgoing == ()
    assert simulation.core(new).membership.voters == NEW


def test_a_change_that_was_overwritten_is_taken_back() -> None:
    """P48a: the joint membership never left the old leader."""
    simulation, leader = with_learners()
    before = simulation.core(leader).membership
    simulation.isolate(leader)
    simulation.step(leader, ChangeMembership(voters=NEW))
    assert simulation.core(leader).membership.outgoing == OLD
    rest = tuple(name for name in OLD if name != leader)
    simulation.run(2_000)
    simulation.elect(among=rest)
    simulation.heal()
    simulation.run(1_000)
    assert simulation.core(leader).membership == before


def test_a_change_to_a_set_that_makes_no_sense_is_refused_with_the_reason() -> None:
    simulation = Simulation(voters=3, spare=3)
    leader = simulation.elect()
    follower = next(name for name in OLD if name != leader)
    simulation.step(leader, AddLearner(member="n3"))
    simulation.run(300)
    simulation.isolate("n4")
    simulation.step(leader, AddLearner(member="n4"))
    simulation.run(300)
    for voters, learners, why in (
        ((), (), "last voter"),
        (("n0", "n0"), (), "named twice"),
        (OLD, ("n0",), "named twice"),
        (OLD, ("n4", "n3"), "no change"),
        ((*OLD, "n5"), (), "not a learner"),
        ((*OLD, "n4"), (), "learner is behind"),
    ):
        assert reason(simulation.step(leader, ChangeMembership(voters=voters, learners=learners))) == why
    assert reason(simulation.step(follower, ChangeMembership(voters=OLD))) == "not leader"
    assert reason(simulation.step(leader, ChangeMembership(voters=("n0", "n3"), learners=()))) == ""
    again = simulation.step(leader, ChangeMembership(voters=OLD))
    assert reason(again) == "membership change pending"
    outgoing = next(name for name in OLD if name != leader and name != "n0")
    assert reason(simulation.step(leader, TransferLeadership(target=outgoing))) == "not a voter"


@pytest.mark.parametrize("seed", range(5))
def test_quorums_and_commit_indexes_agree_with_a_slow_oracle(seed: int) -> None:
    """Every index is tried, and every voter of either half counted by hand."""
    draw = random.Random(seed)
    names = "abcdefg"
    for _ in range(400):
        halves = [draw.sample(names, draw.randint(1, 7)), draw.sample(names, draw.randint(0, 7))]
        match = {name: draw.randint(0, 9) for name in names}
        membership = Membership(voters=tuple(halves[0]), outgoing=tuple(halves[1]))

        def decides(who: list[str], halves: list[list[str]] = halves) -> bool:
            return all(sum(name in who for name in half) > len(half) / 2 for half in halves if half)

        committed = max(i for i in range(10) if decides([name for name in names if match[name] >= i]))
        reached = [reached_by_majority([match[name] for name in half]) for half in halves if half]
        assert min(reached) == committed, (halves, match)
        who = draw.sample(names, draw.randint(0, 7))
        assert membership.is_quorum(tuple(who)) == decides(who), (halves, who)
