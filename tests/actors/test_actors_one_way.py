"""Half a wire: what a node that cannot be told anything must not be trusted with; and what comes back after a crash."""

from __future__ import annotations

from yard import Yard

from raftyard.actors.messages import cluster_actor, link_actor
from raftyard.actors.scheduling import reconcile


def test_a_node_that_hears_nothing_is_not_given_replicas_although_it_can_be_heard():
    with Yard(seed=3) as yard:
        leader = yard.leader()
        deaf = next(name for name in yard.names() if name != leader)
        yard.cut((leader, deaf))
        yard.run(2.0)
        call = yard.submit(web=25)
        assert yard.address(deaf) not in call["load_distribution"]
        assert sum(call["load_distribution"].values()) == 25
        yard.restore((leader, deaf))
        yard.settle()
        assert yard.state().node(deaf).status == "ready"


def test_a_wire_that_crashes_while_it_is_cut_comes_back_cut():
    with Yard(seed=4) as yard:
        yard.leader()
        yard.cut(("node_0", "node_1"))
        yard.crash(link_actor("0", "node_0", "node_1"))
        yard.run(0.5)
        assert yard.link("node_0", "node_1").cut


def test_a_front_door_that_crashes_leaves_cut_what_was_cut():
    with Yard(seed=8) as yard:
        yard.leader()
        yard.cut(("node_0", "node_1"))
        yard.crash(cluster_actor("0"))
        yard.run(2.0)
        assert yard.link("node_0", "node_1").cut
        assert yard.row("node_0")[yard.address("node_1")] == 0
        yard.restore(("node_0", "node_1"))
        assert not yard.link("node_0", "node_1").cut


def test_a_call_that_cannot_be_planned_fails_and_the_next_one_is_carried_out(monkeypatch):
    def plan_call(state, call, scores):
        if call.services[0].name == "poison":
            raise ValueError("no plan")
        return reconcile.plan_call(state, call, scores)

    monkeypatch.setattr("raftyard.actors.control.loop.plan_call", plan_call)
    with Yard(seed=5) as yard:
        yard.leader()
        assert yard.submit(poison=3)["status"] == "failed"
        assert yard.submit(web=3)["status"] == "executed"


def test_a_call_is_known_before_a_leader_has_it():
    with Yard(seed=6) as yard:
        yard.crash_node(yard.leader())
        call = yard.submit(wait_s=None, web=3)
        assert yard.call(call["service_id"])["status"] == "spreading pending"
        yard.settle()
        assert yard.call(call["service_id"])["status"] == "executed"
