"""Several clusters: cluster 0's log records the others, and the orchestrator makes it so."""

from __future__ import annotations

import re

import pytest
from test_actors_nodes import PortsOfOthers
from yard import Yard

from raftyard.actors.errors import Conflict, InvalidRequest, PortInUse, UnknownCluster
from raftyard.actors.messages import (
    ORCHESTRATOR,
    AddNodeRequest,
    CreateClusterRequest,
    DescribeCluster,
    ListClusters,
    RemoveClusterRequest,
)


def create(yard: Yard, cluster: str | None = None, nodes: int = 3, **how: object) -> str:
    request = CreateClusterRequest(cluster=cluster, nodes=(AddNodeRequest(),) * nodes, **how)
    return str(yard.ask(request, ORCHESTRATOR)["id"])


def clusters(yard: Yard) -> tuple[str, ...]:
    return tuple(yard.ask(ListClusters(), ORCHESTRATOR))


def addresses(yard: Yard, cluster: str) -> list[str]:
    return [node["address"] for node in yard.picture(cluster)["nodes"]]


def test_a_new_cluster_elects_a_leader_and_takes_calls_while_the_others_go_on(yard: Yard):
    assert [create(yard), create(yard)] == ["1", "2"]
    for number, cluster in enumerate(clusters(yard)):
        yard.settle(cluster=cluster)
        yard.submit(cluster=cluster, web=number + 1)
    assert clusters(yard) == ("0", "1", "2")
    assert [sum(yard.placed("web", cluster).values()) for cluster in clusters(yard)] == [1, 2, 3]


def test_each_further_cluster_has_the_next_free_hundred_of_ports():
    ports = PortsOfOthers(8202)
    with Yard(ports=ports) as yard:
        yard.settle()
        create(yard)
        create(yard)
        assert addresses(yard, "1") == ["localhost:8101", "localhost:8102", "localhost:8103"]
        assert addresses(yard, "2") == ["localhost:8301", "localhost:8302", "localhost:8303"]
        yard.ask(RemoveClusterRequest(cluster="1"), ORCHESTRATOR)
        assert ports.open_ports == {8001, 8002, 8003, 8004, 8005, 8301, 8302, 8303}
        create(yard)
        assert addresses(yard, "1")[0] == "localhost:8101"


def test_a_port_that_was_asked_for_and_is_taken_makes_no_cluster():
    ports = PortsOfOthers(9002)
    with Yard(ports=ports) as yard:
        yard.settle()
        wanted = (AddNodeRequest(port=9001), AddNodeRequest(port=9002))
        with pytest.raises(PortInUse, match="9002"):
            yard.ask(CreateClusterRequest(cluster="x", nodes=wanted), ORCHESTRATOR)
        assert clusters(yard) == ("0",) and 9001 not in ports.open_ports


def test_a_removed_cluster_is_gone_with_all_its_actors(yard: Yard):
    before = yard.system.names()
    create(yard)
    yard.settle(cluster="1")
    assert yard.ask(RemoveClusterRequest(cluster="1"), ORCHESTRATOR) == {"status": "ok", "id": "1"}
    assert clusters(yard) == ("0",)
    assert [name for name in yard.system.names() if name.startswith("cluster/1")] == []
    assert len(yard.system.names()) == len(before)


def test_a_replaced_cluster_starts_empty_with_its_new_nodes(yard: Yard):
    create(yard, "7")
    yard.settle(cluster="7")
    yard.submit(cluster="7", web=5)
    create(yard, "7", nodes=4, replace=True)
    yard.settle(cluster="7")
    assert len(addresses(yard, "7")) == 4 and yard.picture("7")["services"] == []


@pytest.mark.parametrize(
    "request_", [CreateClusterRequest(cluster="0", nodes=(AddNodeRequest(),)), RemoveClusterRequest(cluster="0")]
)
def test_cluster_0_is_neither_made_nor_removed(yard: Yard, request_: object):
    with pytest.raises(Conflict, match="cluster 0 records the other clusters") as caught:
        yard.ask(request_, ORCHESTRATOR)
    assert caught.value.hint


def test_ids_in_use_and_unknown_ones_are_refused(yard: Yard):
    create(yard, "7")
    with pytest.raises(Conflict, match="'7'"):
        create(yard, "7")
    with pytest.raises(UnknownCluster, match="'8'"):
        yard.ask(RemoveClusterRequest(cluster="8"), ORCHESTRATOR)


def test_the_list_of_clusters_outlasts_the_leader_of_cluster_0(yard: Yard):
    create(yard, "7")
    yard.settle(cluster="7")
    yard.submit(cluster="7", web=5)
    yard.crash_node(yard.leader())
    yard.settle()
    yard.cut(*yard.around(yard.leader()))
    yard.run(2.0)
    assert clusters(yard) == ("0", "7")
    assert yard.ask(DescribeCluster(), "7")["services"][0]["placed"] == 5


@pytest.mark.parametrize(
    ("wanted", "path", "said"),
    [
        ([{"port": 9700}, {"port": 9700}], "$.nodes[1].port", "9700 is the port of another node"),
        ([{"port": 9700}, {}, {"port": 9700}], "$.nodes[2].port", "9700 is the port of another node"),
        ([{"name": "a", "port": 9700}, {"name": "a", "port": 9701}], "$.nodes[1].id", "'a' is the id of another node"),
        ([{"port": 9700}, {"host": "0.0.0.0", "port": 9701}], "$.nodes[1].host", "0.0.0.0 is not where"),
        ([{"host": "example.com"}], "$.nodes[0].host", "example.com is not where"),
        ([{"port": 9700}, {"name": "a/b"}], "$.nodes[1].id", "'a/b' is no id for a node"),
        ([{"name": "x" * 64}], "$.nodes[0].id", "is no id for a node"),
    ],
)
@pytest.mark.parametrize("replace", [False, True])
def test_nodes_that_cannot_be_are_refused_with_their_place_and_nothing_is_half_made(
    wanted: list[dict[str, object]], path: str, said: str, replace: bool
):
    ports = PortsOfOthers()
    with Yard(ports=ports) as yard:
        yard.settle()
        before = set(ports.open_ports)
        nodes = tuple(AddNodeRequest(**node) for node in wanted)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest, match=re.escape(said)) as caught:
            yard.ask(CreateClusterRequest(cluster="x", nodes=nodes, replace=replace), ORCHESTRATOR)
        assert caught.value.path == path and caught.value.hint
        assert ports.open_ports == before and clusters(yard) == ("0",)


def test_what_is_chosen_for_a_node_is_nothing_that_another_asks_for():
    ports = PortsOfOthers()
    with Yard(ports=ports) as yard:
        yard.settle()
        before = set(ports.open_ports)
        nodes = (AddNodeRequest(), AddNodeRequest(name="node_0", port=8101), AddNodeRequest())
        yard.ask(CreateClusterRequest(cluster="1", nodes=nodes), ORCHESTRATOR)
        yard.settle(cluster="1")
        assert set(yard.names("1")) == {"node_0", "node_2", "node_3"}
        assert sorted(addresses(yard, "1")) == ["localhost:8101", "localhost:8102", "localhost:8103"]
        yard.ask(RemoveClusterRequest(cluster="1"), ORCHESTRATOR)
        assert ports.open_ports == before


def test_a_joining_node_has_an_id_that_a_node_can_have(yard: Yard):
    with pytest.raises(InvalidRequest, match="'a/b' is no id for a node") as caught:
        yard.ask(AddNodeRequest(name="a/b"))
    assert caught.value.path == "$.id"
