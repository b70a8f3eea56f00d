"""Cutting and restoring links over REST."""

from __future__ import annotations

import pytest

HERE = "localhost:8004"


def test_a_node_answers_its_flat_row_and_nothing_else(ask):
    expected = {"localhost:8001": 1, "localhost:8002": 1, "localhost:8003": 1, "localhost:8005": 1}

    assert ask("GET", "/connections", node=HERE).json == expected


@pytest.mark.parametrize("peer", ["localhost:8002", "127.0.0.1:8002", "0.0.0.0:8002"])
def test_a_link_is_cut_and_restored_however_its_peer_is_written(ask, clusters, peer):
    answer = ask("POST", "/connections/", {peer: 0}, node=HERE)

    assert answer.status_code == 200
    assert answer.json == {"localhost:8001": 1, "localhost:8002": 0, "localhost:8003": 1, "localhost:8005": 1}
    assert clusters.links["0"]["localhost:8002"][HERE] == 1
    assert ask("POST", "/connections", {peer: 1}, node=HERE).json["localhost:8002"] == 1


def test_an_unknown_peer_is_refused_with_the_known_ones(ask, clusters):
    answer = ask("POST", "/connections", {"localhost:9999": 0}, node=HERE)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == '$["localhost:9999"]'
    assert "localhost:8002" in answer.json["hint"]
    assert "localhost:9999" not in clusters.links["0"][HERE]


@pytest.mark.parametrize("state", [2, -1, True, False, "0", None, 0.5, [], {"localhost:8001": 0}])
def test_a_link_is_0_or_1_and_nothing_else(ask, clusters, state):
    answer = ask("POST", "/connections", {"localhost:8002": state}, node=HERE)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == '$["localhost:8002"]'
    assert clusters.links["0"][HERE]["localhost:8002"] == 1


def test_a_peer_that_is_named_twice_must_be_named_alike(ask):
    assert (
        ask("POST", "/connections", {"localhost:8002": 0, "127.0.0.1:8002": 0}, node=HERE).status_code == 200
    )
    assert (
        ask("POST", "/connections", {"localhost:8002": 0, "127.0.0.1:8002": 1}, node=HERE).status_code == 422
    )


@pytest.mark.parametrize("body", [[], [0], "localhost:8002", 5, True])
def test_a_body_that_is_no_object_is_refused(ask, body):
    answer = ask("POST", "/connections", body, node=HERE)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == "$"


def test_a_partial_matrix_sets_just_what_it_names(ask):
    before = ask("GET", "/clusters/0/connections").json
    body = {"127.0.0.1:8001": {"127.0.0.1:8002": 0}, "localhost:8003": {"localhost:8001": 0}}
    after = ask("PUT", "/clusters/0/connections", body).json

    before["localhost:8001"]["localhost:8002"] = 0
    before["localhost:8003"]["localhost:8001"] = 0
    assert after == before


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"localhost:8001": 0}, '$["localhost:8001"]'),
        ({"localhost:8001": {"localhost:8002": 3}}, '$["localhost:8001"]["localhost:8002"]'),
    ],
)
def test_a_matrix_of_the_wrong_shape_is_refused(ask, body, path):
    answer = ask("PUT", "/clusters/0/connections", body)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == path


def test_an_unknown_sender_is_refused(ask):
    body = {"localhost:9999": {"localhost:8001": 0}}

    assert ask("PUT", "/clusters/0/connections", body).status_code in (404, 422)
