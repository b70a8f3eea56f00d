"""Nodes over REST: joining and leaving, and what a node answers on its own port."""

from __future__ import annotations

import msgspec
import pytest

from raftyard.api.addresses import canonical_address
from raftyard.api.ports import LogRange
from raftyard.api.shapes import NewNode, NodeDetail, NodeWhole

HERE = "localhost:8001"


def test_a_node_joins_by_the_documented_body(ask, clusters):
    body = {"id": "custom0", "host": "localhost", "port": 8099, "capacity": 100, "spawn": True}
    answer = ask("POST", "/clusters/0/nodes", body)

    assert answer.status_code == 201
    assert answer.json["status"] == "ok"
    assert clusters.asked[-1] == (
        "add_node",
        "0",
        NewNode(id="custom0", host="localhost", port=8099, capacity=100, spawn=True),
    )


def test_joining_twice_is_a_conflict(ask):
    assert ask("POST", "/clusters/0/nodes", {"port": 8099}).status_code == 201
    assert ask("POST", "/clusters/0/nodes", {"port": 8099}).status_code == 409


@pytest.mark.parametrize(
    "body",
    [{"host": "localhost", "port": "8001"}, {"host": "127.0.0.1", "port": 8001}, {"port": 8001}],
)
def test_a_node_is_removed_by_host_and_port_however_they_are_written(ask, clusters, body):
    assert ask("DELETE", "/clusters/0/nodes", body).json["status"] == "ok"
    assert "localhost:8001" not in clusters.links["0"]


def test_a_node_that_is_to_be_removed_has_to_have_the_id_that_is_said_with_its_port(ask, clusters):
    ask("DELETE", "/clusters/0/nodes", {"id": "custom0", "port": 8001})
    assert clusters.asked[-1] == ("remove_node", "0", "localhost:8001", "custom0")


def test_an_unknown_node_cannot_be_removed(ask):
    answer = ask("DELETE", "/clusters/0/nodes", {"host": "localhost", "port": 9999})

    assert answer.status_code == 404
    assert "localhost:8001" in answer.json["hint"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$.port"),
        ({"port": "x"}, "$.port"),
        ({"port": "80010000"}, "$.port"),
        ({"port": True}, "$.port"),
        ({"port": 0}, "$.port"),
        ({"host": "http://evil", "port": 8001}, "$.host"),
    ],
)
def test_a_node_that_is_named_wrongly_is_refused(ask, body, path):
    answer = ask("DELETE", "/clusters/0/nodes", body)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == path


def test_a_removal_without_a_body_is_refused(ask):
    assert ask("DELETE", "/clusters/0/nodes").status_code == 400


@pytest.mark.parametrize("path", ["/", "/stats", "/stats/"])
def test_a_node_describes_itself_on_its_own_port(ask, path):
    answer = ask("GET", path, node=HERE)

    assert answer.status_code == 200
    shown = msgspec.convert(answer.json, NodeDetail)
    assert (shown.host, shown.port, shown.state) == ("localhost", 8001, "FOLLOWER")


def test_a_node_under_its_cluster_shows_what_was_agreed_on_without_being_changed(ask, clusters):
    shown = msgspec.convert(ask("GET", "/clusters/0/nodes/localhost:8001").json, NodeWhole)
    assert (shown.availability, shown.resources, shown.taken, shown.drain) == ("active", {}, {}, None)
    assert clusters.asked[-1][0] == "node"
    patched = ask("PATCH", "/clusters/0/nodes/localhost:8001", {"labels": {}}).json
    assert patched.items() <= ask("GET", "/clusters/0/nodes/localhost:8001").json.items()
    assert "taken" not in ask("GET", "/stats", node=HERE).json


def test_a_node_without_a_port_of_its_own_answers_under_its_cluster(ask):
    assert ask("GET", "/clusters/0/nodes/127.0.0.1:8001").json["port"] == 8001
    assert ask("GET", "/clusters/0/nodes/localhost:8001/stats").json["port"] == 8001
    assert ask("GET", "/clusters/0/nodes/localhost:8001/connections").json["localhost:8002"] == 1
    assert ask("DELETE", "/clusters/0/nodes/localhost:8001").status_code == 200
    assert ask("GET", "/clusters/0/nodes/localhost:8001").status_code == 404


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", LogRange(None, None)),
        ("?log=10..20", LogRange(10, 20)),
        ("?log=10..", LogRange(10, None)),
        ("?log=..20", LogRange(None, 20)),
    ],
)
def test_a_part_of_the_log_can_be_asked_for(ask, clusters, query, wanted):
    assert ask("GET", f"/{query}", node=HERE).status_code == 200
    assert clusters.asked[-1][-1] == wanted


@pytest.mark.parametrize("query", ["log=5", "log=20..10", "log=a..b", "log=1..2000", "lgo=1..2", "log=-1..2"])
def test_a_log_range_that_makes_no_sense_is_refused(ask, query):
    assert ask("GET", f"/stats?{query}", node=HERE).status_code == 400


def test_small_questions_are_answered_as_the_original_did(ask):
    assert ask("GET", "/nodes/count", node=HERE).json == {"count": 4}
    assert ask("GET", "/majority", node=HERE).json == {"majority": 3}
    assert ask("GET", "/loadLookupTable", node=HERE).json == {"call-0": {"localhost:8001": 5}}


def test_a_node_takes_others_in_and_out(ask, clusters):
    assert ask("POST", "/nodes/127.0.0.1:8099", node=HERE).status_code == 201
    assert "localhost:8099" in clusters.links["0"]
    assert ask("DELETE", "/nodes/localhost:8099", node=HERE).status_code == 200
    assert ask("DELETE", "/nodes/localhost:8099", node=HERE).status_code == 404
    assert ask("POST", "/nodes/nonsense", node=HERE).status_code == 422
    assert ask("POST", "/nodes/localhost:8098", {"capacity": 7}, node=HERE).status_code == 201
    assert clusters.asked[-1][-1] == NewNode(host="localhost", port=8098, capacity=7)
    assert ask("POST", "/nodes/localhost:8097", {"port": 7}, node=HERE).status_code == 422


@pytest.mark.parametrize("path", ["/data", "/rpc", "/exit", "/clusters"])
def test_what_only_peers_or_the_orchestrator_need_is_not_on_a_nodes_port(ask, path):
    assert ask("POST", path, {}, node=HERE).status_code == 404


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("127.0.0.1:8002", "localhost:8002"),
        ("0.0.0.0:8002", "localhost:8002"),
        ("[::1]:8002", "localhost:8002"),
        ("LOCALHOST:08002", "localhost:8002"),
        ("Other.Host:8002", "other.host:8002"),
        ("node_1", "node_1"),
        ("localhost:", "localhost:"),
        ("localhost:x", "localhost:x"),
    ],
)
def test_an_address_has_one_spelling(written, canonical):
    assert canonical_address(written) == canonical
