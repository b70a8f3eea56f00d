"""Errors over REST: one shape for all, saying what happened, to what, and what to do."""

from __future__ import annotations

import pytest

JSON = {"Content-Type": "application/json"}


def test_an_error_is_problem_json(ask):
    answer = ask("GET", "/clusters/9")

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json == {
        "type": "/problems/not-found",
        "title": "Not found",
        "status": 404,
        "detail": "there is no cluster 9",
        "instance": "/clusters/9",
        "hint": "known clusters: 0",
    }


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/cluster", "/clusters"),
        ("/clusters/0/stat", "/clusters/0/stats"),
        ("/clusters/0/sevice", "/clusters/0/service"),
        ("/cluster/0/nodes", "/clusters/0/nodes"),
    ],
)
def test_an_unknown_path_names_the_nearest_known_one(ask, path, near):
    answer = ask("GET", path)

    assert answer.status_code == 404
    assert answer.json["hint"] == f"did you mean {near}?"


def test_an_unknown_path_on_a_nodes_port_names_that_ports_paths(ask):
    answer = ask("GET", "/conections", node="localhost:8001")

    assert answer.json["hint"] == "did you mean /connections?"


def test_an_unknown_path_that_is_like_none_lists_them_all(ask):
    assert "/clusters/{cluster}/stats" in ask("GET", "/").json["hint"]


def test_a_wrong_method_says_the_right_ones(ask):
    answer = ask("PATCH", "/clusters/0")

    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}
    assert "GET" in answer.json["hint"]


@pytest.mark.parametrize("body", ["{", "nonsense", '{"nodes": 3,}', "[" * 100_000, "\xff", " "])
def test_malformed_json_is_a_400(ask, body):
    answer = ask("POST", "/clusters", body=body, headers=JSON)

    assert answer.status_code == 400
    assert answer.json["type"] == "/problems/malformed"


@pytest.mark.parametrize("body", [b'{"nodes": 3, "id": "\xe9t\xe9"}', b'{"\xff": 1}'])
@pytest.mark.parametrize("path", ["/clusters", "/clusters/0/service", "/clusters/0/nodes", "/clusters/0/plan"])
def test_a_body_that_is_not_utf_8_is_a_400_that_says_so(ask, path, body):
    answer = ask("POST", path, body=body, headers=JSON)

    assert answer.status_code == 400
    assert answer.json["type"] == "/problems/malformed"
    assert "UTF-8" in answer.json["hint"]


@pytest.mark.parametrize(
    "media_type",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "text/json"],
)
def test_a_body_that_is_not_declared_as_json_is_a_415(ask, media_type):
    answer = ask("POST", "/clusters", body='{"nodes": 3}', headers={"Content-Type": media_type})

    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json["hint"]


def test_json_may_say_its_character_set(ask):
    headers = {"Content-Type": "application/json; charset=utf-8"}

    assert ask("POST", "/clusters", body='{"nodes": 3}', headers=headers).status_code == 201


def test_a_body_of_more_than_a_mebibyte_is_a_413(ask):
    body = '{"nodes": 3, "id": "' + "x" * (1 << 20) + '"}'

    assert ask("POST", "/clusters", body=body, headers=JSON).status_code == 413


def test_a_crash_is_a_500_that_tells_nothing_of_the_inside(ask, clusters, monkeypatch, caplog):
    def crash():
        raise RuntimeError("secret")

    monkeypatch.setattr(clusters, "clusters", crash)
    answer = ask("GET", "/clusters")

    assert answer.status_code == 500
    assert answer.json["status"] == 500
    assert "secret" not in answer.text
    assert "request failed method=GET path=/clusters" in caplog.text
    assert "secret" in caplog.text
