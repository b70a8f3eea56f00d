"""What the front door is made of, piece by piece: who is believed to lead, and what leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest
from yard import Yard

from raftyard.actors import Virtual
from raftyard.actors.errors import QueueFull, RaftyardError
from raftyard.actors.frontdoor import Claims
from raftyard.actors.messages import (
    ORCHESTRATOR,
    AddNodeRequest,
    CreateClusterRequest,
    LeaderClaim,
    LeaderResigned,
    RemoveNodeRequest,
    RollBackService,
    SubmitServiceCall,
    node_actor,
)


def claims_of(*claims: tuple[str, int]) -> Claims:
    found = Claims("0")
    for node, term in claims:
        found.claimed(LeaderClaim(node=node, term=term), since_s=float(term))
    return found


def test_nobody_leads_before_the_first_claim():
    assert claims_of().leader is None


def test_the_claim_of_the_highest_term_counts_even_if_it_came_first():
    assert claims_of(("a", 3), ("b", 2)).leader == "a"


def test_a_leader_that_resigned_is_followed_by_nobody_until_the_next_claim():
    claims = claims_of(("a", 1), ("b", 2))
    claims.resigned(LeaderResigned(node="b", term=2, reason="stepped down"))
    assert claims.leader is None
    claims.claimed(LeaderClaim(node="a", term=3), since_s=3.0)
    assert claims.leader == "a"


def test_a_resignation_that_comes_late_takes_nothing_from_a_later_term():
    claims = claims_of(("a", 1), ("a", 2))
    claims.resigned(LeaderResigned(node="a", term=1, reason="stepped down"))
    assert claims.leader == "a"


def test_a_leader_whose_actor_ends_leads_no_more():
    claims = claims_of(("a", 1))
    claims.ended(node_actor("1", "a"))
    assert claims.leader == "a"
    claims.ended(node_actor("0", "a"))
    assert claims.leader is None


def test_the_newest_twenty_claims_are_remembered_and_one_a_node_is_current():
    claims = claims_of(*((f"node_{term % 2}", term) for term in range(1, 31)))
    assert [claim.term for claim in claims.all()] == list(range(11, 31))
    assert [claim.term for claim in claims.all() if claim.is_current] == [29, 30]


def test_a_node_takes_its_cuts_with_it_and_its_successor_finds_whole_links():
    with Yard(seed=5) as yard:
        yard.settle()
        leader = yard.leader()
        node = next(name for name in yard.names() if name != leader)
        other = next(name for name in yard.names() if name not in (leader, node))
        yard.cut((node, other))
        yard.ask(RemoveNodeRequest(address=node))
        yard.until(lambda: node not in yard.names())
        assert not yard.front()._cuts
        yard.ask(AddNodeRequest(name=node))
        yard.settle()


def test_who_waits_for_a_call_that_was_executed_long_ago_is_answered_at_once():
    with Yard(seed=6) as yard:
        body = {"containers": [{"name": "web", "replicas": 5}]}
        yard.ask(SubmitServiceCall(body=body, idempotency_key="k", wait_s=5.0))
        before = yard.now
        assert yard.ask(SubmitServiceCall(body=body, idempotency_key="k", wait_s=5.0))["status"] == "executed"
        assert yard.now - before < 1.0


def test_the_front_door_follows_no_leader_that_has_crashed():
    with Yard(seed=7) as yard:
        yard.settle()
        yard.crash_node(yard.leader())
        yard.run(0.02)
        assert yard.front().leader is None
        yard.settle()


@pytest.mark.parametrize("change", [AddNodeRequest(capacity=3), RemoveNodeRequest(address="node_0")])
def test_a_change_that_finds_the_queue_full_is_refused_and_the_front_door_lives_on(change: Any):
    with Yard(seed=8, queue_limit=2) as yard:
        yard.settle()
        leader = yard.leader()
        yard.cut(*[(name, leader) for name in yard.names() if name != leader])
        for _ in range(2):
            yard.submit(wait_s=None, web=1)
        with pytest.raises(QueueFull):
            yard.ask(change)
        assert len(yard.front()._courier.waiting) == 2


@pytest.mark.parametrize(
    ("order", "actor"),
    [
        (RollBackService(service="web", to_version=10**30), "0"),
        (CreateClusterRequest(cluster=5, nodes=()), ORCHESTRATOR),  # type: ignore[arg-type]
    ],
)
def test_a_request_that_fails_here_is_answered_and_ends_no_actor(order: Any, actor: str):
    with Yard(Virtual(seed=9), nodes=3) as yard:
        yard.settle()
        for _ in range(5):
            with pytest.raises(RaftyardError, match="failed here"):
                yard.ask(order, actor)
        assert yard.system.statistics()["crashes"] == 0
        assert yard.submit(web=1)["status"] == "executed"
