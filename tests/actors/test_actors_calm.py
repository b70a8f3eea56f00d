"""A cluster of five that has nothing to do holds no election, however long: nobody so much as asks for pre-votes.

The links are late by up to 5 ms, each message by another time. One day of virtual time in the slice of the campaigns,
ten with RAFTYARD_CAMPAIGN=full; each takes about 75 CPU-seconds.
"""

from __future__ import annotations

import os

import pytest
from yard import Yard

from raftyard.actors.messages import LinkPolicy

HOUR_S = 3_600.0
DAYS = 10 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 1
LATE = LinkPolicy(delay_s=0.001, jitter_s=0.004)


def started(seed: int) -> Yard:
    return Yard(seed=seed, nodes=5, link=LATE, checked=False)


def asked(yard: Yard) -> list[tuple[str, int, int, bool]]:
    """(node, its term, how often it has asked for pre-votes, whether it leads)."""
    return [(node.node, node.raft.term, node.raft.ask_round, node.raft.is_leader) for node in yard.nodes()]


def stays_calm(yard: Yard, for_s: float) -> None:
    yard.settle()
    before = asked(yard)
    assert len(before) == 5 and sum(leads for *_, leads in before) == 1
    for _ in range(round(for_s / 600)):
        yard.run(600.0)
        assert asked(yard) == before, f"after {yard.now:.0f} s"


def test_an_idle_cluster_holds_no_election_for_ten_minutes() -> None:
    with started(seed=1) as yard:
        stays_calm(yard, for_s=600.0)


def test_a_cluster_that_loses_its_leader_for_a_moment_is_not_calm() -> None:
    """The same look sees an election where there is one, and also one that was only asked for."""
    with started(seed=1) as yard:
        yard.settle()
        before = asked(yard)
        follower = next(name for name, *_, leads in before if not leads)
        yard.cut((yard.leader(), follower))
        yard.run(3.0)
        yard.heal()
        yard.settle()
        after = asked(yard)
        assert [term for _, term, *_ in after] == [term for _, term, *_ in before], "with pre-votes no term grows"
        assert after != before


@pytest.mark.campaign
@pytest.mark.timeout(7_200)
def test_an_idle_cluster_holds_no_election_for_days() -> None:
    with started(seed=int(os.environ.get("RAFTYARD_SEED", "0"))) as yard:
        stays_calm(yard, for_s=DAYS * 24 * HOUR_S)
