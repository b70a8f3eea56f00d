"""A link is one direction of a wire: cut, slow, lossy, narrow, each counted."""

from __future__ import annotations

import pytest
from yard import Yard

from raftyard.actors.errors import InvalidRequest, UnknownNode
from raftyard.actors.link import Link
from raftyard.actors.messages import (
    CutLink,
    DescribeLink,
    LinkPolicy,
    RestoreLink,
    SetConnections,
    SetLinkPolicy,
    SetLinkPolicyRequest,
    node_actor,
)
from raftyard.actors.system import Probe, Virtual


class Wire:
    """A link to a probe that stands in for the node at its end."""

    def __init__(self, **policy: float) -> None:
        self.system = Virtual(seed=7)
        self.end = Probe(self.system, node_actor("0", "b"))
        self.system.spawn(Link, "wire", "0", "a", "b", LinkPolicy(**policy))
        self.system.run(0)

    def say(self, *messages: object) -> None:
        for message in messages:
            self.system.send("wire", message)

    @property
    def arrived(self) -> list[object]:
        return list(self.end.received)

    def status(self):
        return self.system.ask("wire", DescribeLink())


def test_a_link_delivers_in_order_at_once():
    wire = Wire()
    wire.say(1, 2, 3)
    wire.system.run(0)
    assert wire.arrived == [1, 2, 3]
    assert wire.status().delivered == 3


def test_a_cut_drops_what_is_in_flight_and_what_comes_and_counts_both():
    wire = Wire(delay_s=1.0)
    wire.say(1, 2)
    wire.system.run(0.5)
    assert wire.status().in_flight == 2
    wire.system.ask("wire", CutLink())
    wire.say(3)
    wire.system.run(5.0)
    status = wire.status()
    assert wire.arrived == []
    assert (status.cut, status.lost_cut, status.delivered, status.in_flight) == (True, 3, 0, 0)


def test_a_restored_link_starts_fresh_and_brings_nothing_old():
    wire = Wire(delay_s=1.0)
    wire.say("old")
    wire.system.ask("wire", CutLink())
    wire.system.ask("wire", RestoreLink())
    wire.say("new")
    wire.system.run(5.0)
    assert wire.arrived == ["new"]


def test_a_restored_link_does_not_wait_for_what_was_lost():
    wire = Wire(delay_s=60.0)
    wire.say("old")
    wire.system.ask("wire", CutLink())
    wire.system.ask("wire", RestoreLink())
    wire.system.ask("wire", SetLinkPolicy(policy=LinkPolicy(delay_s=0.1)))
    wire.say("new")
    wire.system.run(0.2)
    assert wire.arrived == ["new"]


def test_delay_and_jitter_hold_a_message_back_without_reordering():
    wire = Wire(delay_s=0.1, jitter_s=0.1)
    wire.say(*range(50))
    wire.system.run(0.0999)
    assert wire.arrived == []
    wire.system.run(0.1002)
    assert wire.arrived == list(range(50))


def test_a_reordering_link_reorders_and_loses_nothing():
    wire = Wire(delay_s=0.1, jitter_s=0.1, reorder=0.5)
    wire.say(*range(50))
    wire.system.run(1.0)
    assert wire.arrived != list(range(50))
    assert sorted(wire.arrived) == list(range(50))


def test_loss_and_duplicates_come_in_about_the_shares_asked_for_and_are_counted():
    wire = Wire(loss=0.3, duplicate=0.2)
    wire.say(*range(1000))
    wire.system.run(1.0)
    status = wire.status()
    assert 240 < status.lost_random < 360
    assert 90 < status.duplicated < 190
    assert len(wire.arrived) == 1000 - status.lost_random + status.duplicated == status.delivered


def test_a_full_window_loses_what_does_not_fit_and_takes_more_once_there_is_room():
    wire = Wire(delay_s=1.0, window=3)
    wire.say(*range(5))
    wire.system.run(1.0)
    wire.say(5)
    wire.system.run(1.0)
    assert wire.arrived == [0, 1, 2, 5]
    assert wire.status().lost_full == 2


def test_a_new_policy_holds_from_now_on():
    wire = Wire(delay_s=1.0)
    wire.say("slow")
    wire.system.run(1.0)
    wire.system.ask("wire", SetLinkPolicy(policy=LinkPolicy()))
    wire.say("fast")
    wire.system.run(0)
    assert wire.arrived == ["slow", "fast"]


@pytest.mark.parametrize("policy", [LinkPolicy(), LinkPolicy(delay_s=0.001)], ids=["no delay", "less delay"])
def test_what_comes_after_a_new_policy_does_not_overtake_what_is_on_its_way(policy: LinkPolicy):
    wire = Wire(delay_s=1.0)
    wire.say("slow")
    wire.system.run(0.5)
    wire.system.ask("wire", SetLinkPolicy(policy=policy))
    wire.say("second", "third")
    wire.system.run(0.4)
    assert wire.arrived == [] and wire.status().in_flight == 3
    wire.system.run(0.2)
    assert wire.arrived == ["slow", "second", "third"]
    wire.say("fast")
    wire.system.run(policy.delay_s)
    assert wire.arrived[3:] == ["fast"]


def test_cutting_one_direction_leaves_the_other(yard: Yard):
    yard.cut(("node_0", "node_1"))
    assert yard.row("node_0")[yard.address("node_1")] == 0
    assert yard.row("node_1")[yard.address("node_0")] == 1


def test_the_matrix_has_a_1_for_every_pair_while_all_is_up(yard: Yard):
    connections = yard.picture()["connections"]
    addresses = [f"localhost:{8001 + number}" for number in range(5)]
    assert connections == {a: {b: 1 for b in addresses if b != a} for a in addresses}


def test_an_address_may_be_spelt_either_way(yard: Yard):
    yard.ask(SetConnections(matrix={"127.0.0.1:8001": {"localhost:8003": 0}}))
    assert yard.row("localhost:8001")["localhost:8003"] == 0


@pytest.mark.parametrize(
    ("matrix", "path"),
    [
        ({"localhost:8001": {"localhost:9999": 0}}, "$.localhost:8001.localhost:9999"),
        ({"nobody": {"localhost:8001": 0}}, "$.nobody"),
        ({"localhost:8001": {"localhost:8001": 0}}, "$.localhost:8001.localhost:8001"),
        ({"localhost:8001": {"localhost:8002": 2}}, "$.localhost:8001.localhost:8002"),
    ],
)
def test_a_wrong_cut_is_refused_with_its_path_and_touches_nothing(yard: Yard, matrix, path):
    with pytest.raises(InvalidRequest) as caught:
        yard.ask(SetConnections(matrix={"localhost:8004": {"localhost:8005": 0}} | matrix))
    assert caught.value.path == path and caught.value.hint
    assert yard.row("localhost:8004")["localhost:8005"] == 1


def test_a_policy_for_an_unknown_node_is_refused_with_the_known_ones(yard: Yard):
    with pytest.raises(UnknownNode) as caught:
        yard.ask(SetLinkPolicyRequest(source="nobody", target="node_0", policy=LinkPolicy()))
    assert "localhost:8001" in caught.value.hint
