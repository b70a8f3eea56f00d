"""Who leads, as the front door sees it: lost leaders, two leaders, cut followers, crashes."""

from __future__ import annotations

import pytest
from yard import Yard

from raftyard.actors.cluster import Cluster
from raftyard.actors.errors import Conflict, NoLeader, TimedOut, UnknownNode
from raftyard.actors.messages import (
    AddNodeRequest,
    Assign,
    CreateClusterRequest,
    DescribeCall,
    DescribeCluster,
    LinkPolicy,
    RemoveNodeRequest,
    TransferRequest,
    cluster_actor,
    node_actor,
)
from raftyard.actors.state.records import Assignments
from raftyard.actors.system import Event, Terminated


def test_a_leader_is_elected_within_a_second():
    for seed in range(20):
        with Yard(seed=seed) as yard:
            yard.leader()
            assert yard.now <= 1.0


def test_a_leader_is_known_whose_claim_meets_a_full_mailbox(monkeypatch: pytest.MonkeyPatch):
    """It claims to lead only once: without that nobody was served for as long as it led."""
    monkeypatch.setattr(Cluster, "mailbox_capacity", 200)
    with Yard() as yard:

        def fill_mailbox(event: Event) -> None:
            if event.kind == "leader-elected":
                for _ in range(Cluster.mailbox_capacity):
                    yard.system.send(cluster_actor("0"), Terminated(name="nobody", incarnation=1, reason="stopped"))

        yard.settle()
        old = yard.leader()
        yard.system.events.subscribe(fill_mailbox)
        yard.cut(*yard.around(old))
        yard.run(5.0)
        assert yard.leader() != old


def test_two_leaders_are_both_shown_with_their_terms_and_the_higher_term_is_followed(yard: Yard):
    yard.submit(web=10)
    old = yard.leader()
    yard.cut(*yard.around(old))
    yard.until(lambda: len(yard.leading()) == 2, step_s=0.001)
    new = next(name for name in yard.leading() if name != old)
    assert yard.leader() == new
    states = {node["address"]: node["stats"]["state"] for node in yard.picture()["nodes"]}
    assert [states[yard.address(name)] for name in (old, new)] == ["LEADER", "LEADER"]
    (first, first_term, _), (second, second_term, is_current) = yard.claims()
    assert (first, second, is_current) == (yard.address(old), yard.address(new), True)
    assert second_term > first_term


def test_an_isolated_leader_steps_down_by_itself(yard: Yard):
    old = yard.leader()
    yard.cut(*yard.around(old))
    yard.run(2.0)
    assert old not in yard.leading() and len(yard.leading()) == 1
    assert [claim[2] for claim in yard.claims()] == [False, True]


def test_after_the_heal_there_is_one_leader_and_every_call_counts_once(yard: Yard):
    yard.submit(web=10)
    old = yard.leader()
    others = [name for name in yard.names() if name != old]
    yard.cut(*yard.between([old, others[0]]))
    calls = [yard.submit(wait_s=None, **{f"s{number}": number})["service_id"] for number in range(5)]
    yard.until(lambda: yard.leader() != old)
    calls += [yard.submit(wait_s=None, **{f"s{number}": number + 1})["service_id"] for number in range(5)]
    yard.heal()
    yard.settle()
    assert len(yard.leading()) == 1
    assert [yard.call(call)["status"] for call in calls] == ["executed"] * 10
    assert {s.name: s.replicas for s in yard.state().services()} == {"web": 10} | {f"s{n}": n + 1 for n in range(5)}
    executed = [event.data["call"] for event in yard.events("call-executed")]
    assert len(executed) == len(set(executed))


def test_a_leader_that_nobody_hears_is_replaced_and_its_replicas_run_within_two_seconds(yard: Yard):
    yard.submit(web=50)
    before = {task.id: task.slot for name in yard.names() for task in yard.state().tasks_of(name)}
    old = yard.leader()
    yard.cut(*yard.outgoing(old))
    yard.run(2.0)
    assert yard.leader() != old
    placed = yard.placed("web")
    assert sum(placed.values()) == 50 and old not in placed
    yard.restore(*yard.outgoing(old))
    yard.settle()
    after = {task.id: task.slot for name in yard.names() for task in yard.state().tasks_of(name)}
    assert sorted(after.values()) == list(range(1, 51)), "a slot is empty, or taken twice"
    assert len(set(before) & set(after)) == 40, "only the ten of the lost node are new"
    running = [task for tasks in yard.running().values() for task in tasks]
    assert sorted(running) == sorted(after)


def test_a_follower_that_was_cut_off_comes_back_without_a_new_term(yard: Yard):
    follower = next(name for name in yard.names() if name != yard.leader())
    before = yard.claims()
    yard.cut(*yard.around(follower))
    yard.submit(web=10)
    yard.run(20.0)
    yard.heal()
    yard.settle()
    assert yard.claims() == before
    assert yard.node(follower).applied == yard.node(yard.leader()).applied


@pytest.mark.parametrize("with_leader", [False, True])
def test_one_link_cut_both_ways_changes_the_leader_at_most_once_in_a_minute(yard: Yard, with_leader: bool):
    leader = yard.leader()
    one, other = [name for name in yard.names() if name != leader][:2]
    one = leader if with_leader else one
    yard.cut((one, other), (other, one))
    yard.run(60.0)
    assert len(yard.claims()) <= 1 + with_leader


def test_leadership_is_handed_over_on_request(yard: Yard):
    target = next(name for name in yard.names() if name != yard.leader())
    for _ in range(2):  # to one that leads already, too
        assert yard.ask(TransferRequest(target=target)) == {"status": "ok", "leader": yard.address(target)}
        assert yard.leader() == target
    answer = yard.ask(TransferRequest())
    assert answer["leader"] == yard.address(yard.leader()) != yard.address(target)
    yard.settle()


def test_a_transfer_that_comes_to_nothing_says_why_and_the_leader_serves_on(yard: Yard):
    leader = yard.leader()
    away = next(name for name in yard.names() if name != leader)
    yard.cut((leader, away))
    with pytest.raises(TimedOut, match=f"{yard.address(away)} did not take over in time"):
        yard.ask(TransferRequest(target=away))
    first, second = yard.later(TransferRequest(target=away)), yard.later(TransferRequest())
    for promise, kind, why in ((second, Conflict, "under way already"), (first, TimedOut, "did not take over")):
        yard.until(lambda: promise.kept)  # noqa: B023 (called at once)
        assert isinstance(promise.error, kind) and why in str(promise.error)
    with pytest.raises(UnknownNode, match="no node 'nobody'"):
        yard.ask(TransferRequest(target="nobody"))
    assert yard.leader() == leader
    assert yard.submit(web=10)["status"] == "executed"
    yard.ask(AddNodeRequest(name="sixth"))
    yard.until(lambda: len(yard.names()) == 6)
    yard.restore((leader, away))
    yard.settle()
    with pytest.raises(Conflict, match="has no vote"):
        yard.ask(TransferRequest(target="sixth"))


def test_a_transfer_from_a_leader_that_dies_is_answered(yard: Yard):
    leader = yard.leader()
    target = next(name for name in yard.names() if name != leader)
    yard.cut((leader, target))
    promise = yard.later(TransferRequest(target=target))
    yard.system.crash(node_actor("0", leader))
    yard.until(lambda: promise.kept)
    assert promise.error is None or isinstance(promise.error, Conflict | NoLeader | TimedOut)
    yard.cut(*[(a, b) for a in yard.names() for b in yard.names() if a != b])
    yard.until(lambda: yard.front().leader is None)
    with pytest.raises(NoLeader):
        yard.ask(TransferRequest())


def test_of_many_claims_the_newest_twenty_are_kept(yard: Yard):
    for _ in range(25):
        before = yard.leader()
        yard.ask(TransferRequest(target=next(name for name in yard.names() if name != before)))
        yard.until(lambda: yard.leader() != before)  # noqa: B023 (called at once)
        yard.settle()
    claims = yard.claims()
    assert len(claims) == 20
    assert [term for _, term, _ in claims] == list(range(claims[-1][1] - 19, claims[-1][1] + 1))


def test_without_a_leader_what_only_a_leader_knows_is_answered_so(yard: Yard):
    yard.cut(*[(a, b) for a in yard.names() for b in yard.names() if a != b])
    yard.run(2.0)
    for question in (
        DescribeCall(),
        DescribeCluster(detail="state"),
        AddNodeRequest(),
        RemoveNodeRequest(address="node_0"),
    ):
        with pytest.raises(NoLeader) as caught:
            yard.ask(question)
        assert caught.value.retry_after_s >= 1
    with pytest.raises(NoLeader):
        yard.ask(CreateClusterRequest(cluster=None, nodes=(AddNodeRequest(),)), "orchestrator")
    assert [node["accessible"] for node in yard.picture()["nodes"]] == [True] * 5


def test_a_crashed_leader_comes_back_from_its_storage_as_one_of_the_others(yard: Yard):
    yard.submit(web=30)
    yard.settle()
    old, term = yard.leader(), yard.claims()[-1][1]
    before = yard.agreed()
    yard.crash_node(old)
    yard.settle()
    assert yard.claims()[-1][1] > term
    assert yard.node(old).state.digest() == yard.state().digest()
    assert yard.agreed() == before


def test_all_nodes_may_crash_at_once_and_nothing_agreed_is_lost(yard: Yard):
    call = yard.submit(web=30)["service_id"]
    yard.settle()
    before = yard.agreed()
    for name in yard.names():
        yard.crash_node(name)
    yard.settle()
    assert yard.agreed() == before
    assert yard.call(call)["status"] == "executed"


@pytest.mark.parametrize("name", [cluster_actor("0"), "orchestrator"])
def test_a_front_door_that_crashes_finds_everything_again(yard: Yard, name: str):
    yard.submit(web=30)
    yard.ask(AddNodeRequest(name="extra"))
    yard.ask(CreateClusterRequest(cluster="7", nodes=(AddNodeRequest(),) * 3), "orchestrator")
    yard.settle()
    yard.settle(cluster="7")
    yard.crash(name)
    yard.settle()
    yard.settle(cluster="7")
    assert yard.state().service("web").placed == 30
    assert "extra" in yard.names()
    assert yard.submit(web=40)["status"] == "executed"


def test_an_agent_that_crashes_runs_its_replicas_again(yard: Yard):
    yard.submit(web=30)
    yard.settle()
    before = yard.running()
    for name in yard.names():
        yard.crash(f"cluster/0/agent/{name}")
    yard.settle()
    assert yard.running() == before


def test_what_a_crashed_agent_was_to_stop_is_known_to_have_ended(yard: Yard):
    yard.submit(web=30)
    yard.settle()
    for name in yard.names():
        yard.crash(f"cluster/0/agent/{name}")
    yard.submit(web=0)
    yard.settle()
    assert yard.agreed()[1] == [(), (), (), (), ()]


def test_a_deposed_leader_has_no_say_in_what_a_node_runs(yard: Yard):
    yard.submit(web=30)
    yard.settle()
    before = yard.running()
    nothing = Assignments(node="node_0", version=10**6)
    yard.system.send(
        node_actor("0", "node_0"), Assign(leader="node_1", term=0, load=0, assignments=nothing, settled=-1)
    )
    yard.run(0.1)
    assert yard.running() == before


@pytest.mark.parametrize("after_ms", range(0, 100, 5))
def test_the_first_nodes_are_recorded_wherever_the_first_leader_crashes(after_ms: int):
    with Yard(seed=1, link=LinkPolicy(delay_s=0.01)) as yard:
        yard.submit(wait_s=None, web=5)
        leader = yard.until(lambda: yard.front().leader, step_s=0.0005)
        yard.run(after_ms / 1000)
        yard.crash_node(leader)
        yard.settle()
        assert len(yard.state().nodes()) == 5 and sum(yard.placed("web").values()) == 5
