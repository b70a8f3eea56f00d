"""Nodes come, go and fall silent: replicas move at once, and only as many as must."""

from __future__ import annotations

import pytest
from yard import Yard

from raftyard.actors.errors import Conflict, InvalidRequest, PortInUse, UnknownNode
from raftyard.actors.messages import (
    ORCHESTRATOR,
    AddNodeRequest,
    AskNode,
    CreateClusterRequest,
    LinkPolicy,
    RemoveNodeRequest,
    UpdateNodeRequest,
)
from raftyard.actors.orchestrator import OrchestratorSettings
from raftyard.actors.scenarios.inside import Inside


class PortsOfOthers:
    """Ports of which somebody else holds some."""

    def __init__(self, *taken: int) -> None:
        self.taken = set(taken)
        self.open_ports: set[int] = set()

    def open(self, host: str, port: int, cluster: str, address: str) -> None:
        if port in self.taken:
            raise PortInUse(host, port)
        self.open_ports.add(port)

    def close(self, host: str, port: int) -> None:
        self.open_ports.discard(port)


def moved(before: dict[str, list[int]], after: dict[str, list[int]]) -> int:
    """Tasks that did not run before."""
    return len({task for tasks in after.values() for task in tasks} - {t for tasks in before.values() for t in tasks})


def test_more_replicas_than_room_wait_with_the_reason_and_start_when_a_node_joins(yard: Yard):
    answer = yard.submit(web=550)
    assert (answer["status"], answer["placed"], answer["pending"]) == ("executed", 500, 50)
    assert "50" in answer["reason"]
    before = yard.running()
    yard.ask(AddNodeRequest(name="extra"))
    yard.settle()
    assert yard.placed("web")["extra"] == 50 and moved(before, yard.running()) == 50
    assert not yard.state().pending()


def test_a_joining_node_moves_nothing_and_takes_the_next_load(yard: Yard):
    yard.submit(web=50)
    yard.settle()
    before = yard.running()
    yard.ask(AddNodeRequest(name="extra"))
    yard.settle()
    assert moved(before, yard.running()) == 0
    assert not yard.events("node-down"), "who has just joined was taken for silent"
    yard.submit(db=10)
    assert yard.placed("db") == {"extra": 10}


def test_a_node_that_joins_over_slow_links_is_not_taken_for_silent():
    with Yard(link=LinkPolicy(delay_s=0.05)) as yard:
        yard.settle()
        yard.run(5.0)
        yard.ask(AddNodeRequest(name="extra"))
        yard.settle()
        assert not yard.events("node-down")


@pytest.mark.parametrize("which", ["leader", "follower"])
def test_a_removed_node_leaves_and_just_its_replicas_move(yard: Yard, which: str):
    yard.submit(web=50)
    yard.settle()
    leader = yard.leader()
    node = leader if which == "leader" else next(name for name in yard.names() if name != leader)
    before = yard.running()
    assert yard.ask(RemoveNodeRequest(address=yard.address(node)))["status"] == "ok"
    yard.settle()
    assert node not in yard.names() and f"cluster/0/node/{node}" not in yard.system.names()
    assert sum(yard.placed("web").values()) == 50 and moved(before, yard.running()) == 10


def test_a_node_that_falls_silent_is_replaced_within_a_second_and_back_again_runs_nothing_twice(yard: Yard):
    yard.submit(web=50)
    yard.settle()
    node = next(name for name in yard.names() if name != yard.leader())
    before = yard.running()
    yard.cut(*yard.around(node))
    yard.run(1.0)
    assert node not in yard.placed("web") and sum(yard.placed("web").values()) == 50
    yard.heal()
    yard.settle()
    assert moved(before, yard.running()) == 10
    assert sum(len(tasks) for tasks in yard.running().values()) == 50


def test_the_last_node_is_not_removed():
    with Yard(nodes=2) as yard:
        yard.settle()
        yard.ask(RemoveNodeRequest(address="node_0"))
        yard.settle()
        with pytest.raises(Conflict, match="last node"):
            yard.ask(RemoveNodeRequest(address="node_1"))
        assert yard.submit(web=3)["status"] == "executed"


def test_the_last_voter_hands_over_to_a_worker_before_it_goes():
    with Yard(nodes=1, link=LinkPolicy(delay_s=0.05)) as yard:
        yard.settle()
        yard.submit(web=10)
        yard.ask(AddNodeRequest(name="heir"))
        yard.ask(RemoveNodeRequest(address="node_0"))
        yard.settle()
        assert yard.names() == ["heir"] and yard.placed("web") == {"heir": 10}


def test_the_last_two_nodes_removed_at_once_leave_one():
    with Yard(nodes=2) as yard:
        yard.settle()
        answers = [yard.later(RemoveNodeRequest(address=f"node_{number}")) for number in range(2)]
        yard.until(lambda: all(answer.kept for answer in answers))
        assert sorted(type(answer.error).__name__ for answer in answers) == ["Conflict", "NoneType"]
        yard.settle()


def test_all_five_voters_are_replaced_one_after_another(yard: Yard):
    yard.submit(web=50)
    for number in range(5):
        yard.ask(AddNodeRequest(name=f"new_{number}"))
        yard.ask(RemoveNodeRequest(address=f"node_{number}"))
        yard.settle()
    assert sorted(yard.node(yard.leader()).raft.membership.voters) == [f"new_{number}" for number in range(5)]
    assert sum(yard.placed("web").values()) == 50


def test_a_node_of_an_old_name_comes_back_as_a_new_one(yard: Yard):
    """With an empty log and its old vote it could elect itself, and everything agreed would be lost."""
    yard.ask(RemoveNodeRequest(address="node_2"))
    yard.settle()
    yard.ask(AddNodeRequest(name="node_2"))
    assert yard.ask(AskNode(node="node_2"))["state"] in ("WORKER", "LEARNER")
    yard.settle()
    assert yard.ask(AskNode(node="node_2"))["state"] == "FOLLOWER"


def test_beyond_five_nodes_are_workers_that_run_replicas_and_answer():
    with Yard(nodes=7) as yard:
        yard.settle()
        yard.submit(web=70)
        yard.settle()
        worker = yard.ask(AskNode(node="node_6"))
        assert (worker["state"], worker["load"], worker["log"]) == ("WORKER", 10, [])
        assert worker["leader"] == yard.address(yard.leader())
        assert len(yard.running()["node_6"]) == 10


def test_a_node_says_the_capacity_that_was_agreed_on_and_not_the_one_it_was_started_with():
    with Yard(nodes=7) as yard:
        yard.settle()
        for node in ("node_1", "node_6"):
            yard.ask(UpdateNodeRequest(node=node, body={"capacity": 3}))
        yard.settle()
        yard.run(2.0)
        said = {node: yard.ask(AskNode(node=node))["capacity"] for node in ("node_0", "node_1", "node_6")}
        assert said == {"node_0": 100, "node_1": 3, "node_6": 3}
        stats = {node["stats"]["id"]: node["stats"]["capacity"] for node in yard.picture()["nodes"]}
        assert (stats["node_1"], stats["node_6"]) == (3, 3)
        assert Inside(yard.system, "0").node("node_1").capacity == 3


def test_a_worker_becomes_a_voter_when_a_voter_leaves():
    with Yard(nodes=7) as yard:
        yard.settle()
        yard.ask(RemoveNodeRequest(address="node_1"))
        yard.settle()
        assert yard.ask(AskNode(node="node_5"))["state"] == "FOLLOWER"
        assert yard.ask(AskNode(node="node_6"))["state"] == "WORKER"


def test_a_silent_worker_is_replaced_too():
    with Yard(nodes=7) as yard:
        yard.settle()
        yard.submit(web=70)
        yard.cut(*yard.around("node_6"))
        yard.run(1.5)
        assert "node_6" not in yard.placed("web") and sum(yard.placed("web").values()) == 70
        yard.heal()
        yard.settle()


def test_unknown_nodes_and_names_in_use_are_refused_with_what_to_do(yard: Yard):
    with pytest.raises(UnknownNode) as unknown:
        yard.ask(RemoveNodeRequest(address="localhost:9999"))
    assert "localhost:8001" in unknown.value.hint
    with pytest.raises(UnknownNode):
        yard.ask(AskNode(node="nobody"))
    with pytest.raises(Conflict, match="node_1") as taken:
        yard.ask(AddNodeRequest(name="node_1"))
    assert taken.value.hint
    with pytest.raises(Conflict, match="localhost:8003"):
        yard.ask(AddNodeRequest(port=8003))


def test_a_node_takes_the_next_free_port_and_a_port_that_was_asked_for_must_be_free():
    ports = PortsOfOthers(8006, 8050)
    with Yard(ports=ports) as yard:
        yard.settle()
        assert ports.open_ports == {8001, 8002, 8003, 8004, 8005}
        assert yard.ask(AddNodeRequest(name="next"))["address"] == "localhost:8007"
        with pytest.raises(PortInUse, match="8050"):
            yard.ask(AddNodeRequest(port=8050))
        yard.ask(RemoveNodeRequest(address="localhost:8001"))
        yard.settle()
        assert ports.open_ports == {8002, 8003, 8004, 8005, 8007}
    assert ports.open_ports == set()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "0.0.0.0", "[::1]"])
def test_a_node_is_known_by_its_address_in_any_spelling_of_this_machine(yard: Yard, host: str):
    assert yard.ask(AskNode(node=f"{host}:8002"))["port"] == 8002
    with pytest.raises(UnknownNode):
        yard.ask(AskNode(node="elsewhere:8002"))


def test_a_node_whose_address_is_not_that_of_its_name_is_not_removed(yard: Yard):
    with pytest.raises(InvalidRequest, match="localhost:8001 is not node_1 but node_0") as caught:
        yard.ask(RemoveNodeRequest(address="localhost:8001", name="node_1"))
    assert caught.value.path == "$.id" and "node_0" in yard.names()
    assert yard.ask(RemoveNodeRequest(address="localhost:8001", name="node_0"))["status"] == "ok"


def test_there_is_no_port_above_the_highest():
    with Yard(seed=1, ports=PortsOfOthers(), port=65_530, nodes=5) as yard:
        yard.settle()
        with pytest.raises(Conflict, match="no free port"):
            yard.ask(AddNodeRequest())
        assert yard.ask(AddNodeRequest(port=9_000))["address"] == "localhost:9000"


def test_twenty_thousand_replicas_are_one_entry():
    with Yard(capacity=5000) as yard:
        yard.settle()
        call = yard.submit(web=20_000)
        yard.settle()
        assert call["placed"] == 20_000
        # The leader says how late it is, and that is one entry; the plan is the other.
        assert call["executed_index"] - call["log_index"] == 2
        assert set(yard.placed("web").values()) == {4000}


def test_sixty_nodes_run_a_thousand_replicas_and_survive_the_loss_of_ten():
    with Yard(nodes=60) as yard:
        yard.settle()
        yard.submit(web=1000)
        yard.settle()
        assert set(yard.placed("web").values()) == {16, 17}
        before = yard.running()
        lost = [f"node_{number}" for number in range(50, 60)]
        yard.cut(*yard.between(lost))
        yard.run(2.0)
        placed = yard.placed("web")
        assert sum(placed.values()) == 1000 and not set(lost) & set(placed)
        yard.heal()
        yard.settle()
        assert moved(before, yard.running()) == sum(len(before[name]) for name in lost)


@pytest.mark.parametrize(("cluster", "hint"), [("0", "add another one first"), ("7", "remove the cluster")])
def test_the_last_node_stays_and_the_hint_can_be_followed(cluster: str, hint: str):
    with Yard(nodes=1) as yard:
        yard.settle()
        yard.ask(CreateClusterRequest(cluster="7", nodes=(AddNodeRequest(),)), ORCHESTRATOR)
        yard.settle(cluster="7")
        with pytest.raises(Conflict, match="is the last node") as caught:
            yard.ask(RemoveNodeRequest(address="node_0"), cluster)
        assert caught.value.hint == hint


@pytest.mark.parametrize("name", ["nodes", "capacity", "queue_limit"])
def test_settings_with_which_nothing_would_ever_run_are_refused(name: str):
    for value in (0, -5):
        with pytest.raises(ValueError, match=f"{name}={value} is too small; use 1 or more"):
            OrchestratorSettings(**{name: value})
    if name == "capacity":
        with pytest.raises(ValueError, match="too large; use 1 to 1"):
            OrchestratorSettings(capacity=10**12)


def test_a_node_with_a_capacity_that_means_nothing_is_refused(yard: Yard):
    for capacity in (0, -5, 10**12):
        with pytest.raises(InvalidRequest, match=f"capacity {capacity} is out of range") as caught:
            yard.ask(AddNodeRequest(capacity=capacity))
        assert caught.value.path == "$.capacity"
    with pytest.raises(InvalidRequest):
        yard.ask(CreateClusterRequest(cluster=None, nodes=(AddNodeRequest(capacity=-1),)), ORCHESTRATOR)
