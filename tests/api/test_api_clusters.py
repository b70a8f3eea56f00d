"""Clusters over REST: the original's shapes, and its mistakes not made again."""

from __future__ import annotations

import json

import msgspec
import pytest

from raftyard.api.shapes import ClusterList, ClusterView


def test_the_list_of_clusters_holds_the_clusters(ask):
    answer = ask("GET", "/clusters")

    assert answer.status_code == 200
    assert answer.json["metadata"] == {"count": 1}
    assert answer.json["results"][0]["id"] == "0"
    assert msgspec.convert(answer.json, ClusterList)


@pytest.mark.parametrize("view", ["", "/stats", "/state"])
def test_a_cluster_shows_nodes_connections_and_services(ask, view):
    answer = ask("GET", f"/clusters/0{view}")

    assert answer.status_code == 200
    shown = msgspec.convert(answer.json, ClusterView)
    assert shown.nodes[0].address == "localhost:8001"
    assert shown.nodes[0].stats["state"] == "FOLLOWER"
    assert shown.connections["localhost:8004"]["localhost:8002"] == 1


def test_the_state_adds_the_last_call(ask, clusters):
    ask("GET", "/clusters/0/state")

    assert clusters.asked[-1][2] == "state"


@pytest.mark.parametrize("path", ["/clusters", "/clusters/0", "/clusters/0/stats", "/clusters/0/nodes"])
def test_a_trailing_slash_never_matters(ask, path):
    assert ask("GET", path + "/").json == ask("GET", path).json


def test_head_answers_as_get_without_a_body(ask):
    answer = ask("HEAD", "/clusters/0")

    assert answer.status_code == 200
    assert answer.content == b""


def test_an_answer_ends_with_a_newline(ask):
    assert ask("GET", "/clusters/0").content.endswith(b"}\n")


def test_a_cluster_is_made_of_a_number_of_nodes(ask, clusters):
    answer = ask("POST", "/clusters", {"nodes": 3})

    assert answer.status_code == 201
    assert answer.headers["location"] == "/clusters/1"
    assert len(answer.json["nodes"]) == 3
    assert ask("GET", "/clusters").json["metadata"] == {"count": 2}


def test_a_cluster_is_made_of_described_nodes(ask):
    body = {"id": "blue", "capacity": 10, "nodes": [{"port": "8201"}, {"port": 8202, "capacity": 5}]}

    assert ask("POST", "/clusters", body).json["id"] == "blue"


def test_a_cluster_of_a_taken_id_is_a_conflict(ask):
    assert ask("POST", "/clusters", {"id": "0", "nodes": 3}).status_code == 409


def test_put_replaces_a_cluster(ask):
    answer = ask("PUT", "/clusters/0", {"nodes": 2})

    assert answer.status_code == 200
    assert len(ask("GET", "/clusters/0").json["nodes"]) == 2


def test_put_does_not_rename_a_cluster(ask):
    assert ask("PUT", "/clusters/0", {"id": "0", "nodes": 2}).status_code == 200
    assert ask("PUT", "/clusters/0", {"id": "1", "nodes": 2}).status_code == 422


def test_delete_removes_a_cluster(ask):
    assert ask("DELETE", "/clusters/0").json["status"] == "ok"
    assert ask("GET", "/clusters/0").status_code == 404


def test_an_unknown_cluster_is_not_found_on_every_path(ask):
    wanted = [
        ("GET", "", None),
        ("GET", "/stats", None),
        ("GET", "/state", None),
        ("GET", "/service", None),
        ("GET", "/connections", None),
        ("GET", "/nodes", None),
        ("DELETE", "", None),
        ("PUT", "", {"nodes": 1}),
        ("POST", "/service", {"container": {"id": 1, "replicas": 1}}),
        ("POST", "/nodes", {"port": 8099}),
        ("DELETE", "/nodes", {"port": 8001}),
        ("PUT", "/connections", {"localhost:8001": {"localhost:8002": 0}}),
    ]
    answers = {(method, path): ask(method, f"/clusters/77{path}", body) for method, path, body in wanted}

    assert {where: answer.status_code for where, answer in answers.items()} == dict.fromkeys(answers, 404)
    assert all("known clusters: 0" in answer.json["hint"] for answer in answers.values())


@pytest.mark.parametrize(
    ("body", "path", "said"),
    [
        ({}, "$", "nodes"),
        ({"nodes": 0}, "$.nodes", "1 at least"),
        ({"nodes": -1}, "$.nodes", "1 at least"),
        ({"nodes": True}, "$.nodes", "got true or false"),
        ({"nodes": "3"}, "$.nodes", "got a text"),
        ({"nodes": []}, "$.nodes", "1"),
        ({"nodes": [{"port": 99999}]}, "$.nodes[0].port", "65535"),
        ({"nodes": 2, "capacity": -5}, "$.capacity", "1 at least"),
        ({"nodes": 2, "id": "../etc"}, "$.id", "this is no id"),
    ],
)
def test_a_wrong_body_says_where_it_is_wrong(ask, body, path, said):
    answer = ask("POST", "/clusters", body)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == path
    assert said in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "path", "hint"),
    [
        ({"nodes": 3, "capcity": 5}, "$.capcity", "did you mean capacity?"),
        ({"nodes": [{"prot": 8101}]}, "$.nodes[0].prot", "did you mean port?"),
        ({"nodes": 3, "zzz": 5}, "$.zzz", "known: nodes, id, capacity"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_right_one(ask, body, path, hint):
    answer = ask("POST", "/clusters", body)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == path
    assert answer.json["hint"] == hint


def test_a_whole_number_may_be_written_as_a_float(ask):
    assert len(ask("POST", "/clusters", body=json.dumps({"nodes": 3.0}), headers=JSON).json["nodes"]) == 3


def test_long_lists_come_in_pages(ask, clusters):
    assert len(ask("GET", "/clusters/0/nodes?limit=2&offset=4").json["results"]) == 1
    assert ask("GET", "/clusters/0?limit=2").json["nodes"][1:][0]["address"] == "localhost:8002"
    assert ask("GET", "/clusters?offset=1").json == {"metadata": {"count": 1}, "results": []}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "offset=-1", "limt=5"])
def test_a_page_that_makes_no_sense_is_refused(ask, query):
    assert ask("GET", f"/clusters/0/nodes?{query}").status_code == 400


JSON = {"Content-Type": "application/json"}
