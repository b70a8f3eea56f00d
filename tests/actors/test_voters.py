"""Who votes in clusters of more than five nodes, when voters are lost; and clusters of a thousand."""

import time

import pytest
from yard import Yard

from raftyard.actors.control import VOTER_LOST_S, next_change
from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.raft.events import AddLearner, ChangeMembership, PromoteLearner, RemoveMember
from raftyard.actors.raft.membership import Membership
from raftyard.actors.state.records import NodeRecord

FIVE = ("a", "b", "c", "d", "e")


def records(up: str, down: str = "") -> list[NodeRecord]:
    names = sorted(up + down)
    return [
        NodeRecord(
            number=i, name=name, host="h", port=i, capacity=1, status="ready" if name in up else "down"
        )
        for i, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("learners", "up", "down", "lost", "caught_up", "expected"),
    [
        ("", "abcde", "", "", "", None),
        ("", "abcdefg", "", "", "", None),
        ("", "bcdefg", "a", "", "", None),
        ("", "bcde", "a", "a", "", None),
        ("", "bcdefg", "a", "a", "", AddLearner(member="f", ref=7)),
        ("f", "bcdefg", "a", "a", "", None),
        ("f", "bcdefg", "a", "a", "f", ChangeMembership(voters=("f", "b", "c", "d", "e"), learners=("a",), ref=7)),
        ("f", "cdefg", "ab", "ab", "f", AddLearner(member="g", ref=7)),
        ("fg", "cdefg", "ab", "ab", "f", None),
        (
            "fg", "cdefg", "ab", "ab", "fg",
            ChangeMembership(voters=("f", "g", "c", "d", "e"), learners=("a", "b"), ref=7),
        ),
        ("f", "abcdefg", "", "", "f", RemoveMember(member="f", ref=7)),
        ("f", "abcdeg", "f", "", "", None),
        ("fgh", "abcde", "fgh", "", "", RemoveMember(member="f", ref=7)),
        ("", "bcde", "", "", "", RemoveMember(member="a", ref=7)),
    ],
)  # fmt: skip
def test_a_lost_voter_is_replaced_by_a_worker_that_has_caught_up(
    learners: str, up: str, down: str, lost: str, caught_up: str, expected: object
) -> None:
    membership = Membership(voters=FIVE, learners=tuple(learners))
    assert (
        next_change(membership, records(up, down), tuple(lost), lambda name: name in caught_up, 7) == expected
    )


def test_a_missing_voter_is_made_of_the_first_learner_that_has_caught_up() -> None:
    membership = Membership(voters=FIVE[:4], learners=("f",))
    change = next_change(membership, records("abcdf"), (), lambda name: True, 7)
    assert change == PromoteLearner(member="f", ref=7)


def test_two_voters_lost_for_good_are_replaced_and_become_workers_when_they_return() -> None:
    with Yard(nodes=8, capacity=100, raft=RaftConfig(snapshot_entries=20, keep_entries=5)) as yard:
        yard.leader()
        yard.submit(web=50)
        yard.settle()
        leader = yard.leader()
        voters = yard.node(leader).raft.membership.voters
        lost = [voter for voter in voters if voter != leader][:2]
        yard.cut(*yard.between(lost))
        yard.run(VOTER_LOST_S / 2)
        assert yard.node(leader).raft.membership.voters == voters, "nobody is replaced for a short absence"
        yard.run(VOTER_LOST_S / 2 + 10)
        membership = yard.node(leader).raft.membership
        assert len(membership.voters) == 5
        assert not set(membership.voters) & set(lost)
        assert not membership.outgoing
        yard.heal()
        yard.settle(within_s=30)
        assert [yard.node(name).member_state for name in lost] == ["WORKER", "WORKER"]
        assert yard.node(yard.leader()).raft.membership.learners == ()


def test_a_thousand_nodes_place_ten_thousand_replicas_and_lose_fifty_workers() -> None:
    begin = time.process_time()
    with Yard(nodes=1_000, capacity=20, checked=False) as yard:
        yard.until(lambda: yard.leading() and len(yard.state().nodes()) == 1_000, within_s=30)
        yard.submit(wait_s=30.0, web=10_000)
        yard.until(lambda: sum(len(ids) for ids in yard.running().values()) == 10_000, within_s=60, step_s=1)
        membership = yard.node(yard.leader()).raft.membership
        assert len(membership.voters) == 5
        placed_s = time.process_time() - begin
        lost = [name for name in yard.names() if name not in membership.voters][:50]
        for name in lost:
            yard.system.stop(f"cluster/0/node/{name}")

        def moved() -> bool:
            spread = yard.placed("web")
            return sum(spread.values()) == 10_000 and not any(spread.get(name) for name in lost)

        yard.until(moved, within_s=60, step_s=1)
        total_s = time.process_time() - begin
    print(f"1,000 nodes: placed after {placed_s:.1f} CPU-s, moved after {total_s:.1f} CPU-s")
