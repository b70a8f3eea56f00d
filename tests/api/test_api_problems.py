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


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/clusters", {"nodes": 1, "id": "a b"}, "no id|1 to 63 letters, digits, - . and _"),
        ("/clusters", {"nodes": [{"id": "-"}]}, "no id|1 to 63 letters, digits, - . and _"),
        ("/clusters", {"nodes": 9999}, "the number is too large|5000 at most"),
        ("/clusters", {"nodes": 0}, "the number is too small|1 at least"),
        ("/clusters", {"nodes": []}, "the list is too short|1 at least"),
        ("/clusters", {}, "Object missing required field `nodes`|add it"),
        ("/clusters", {"nodes": "many"}, "expected a whole number or a list, got a text|send a whole number or a list"),
        ("/clusters/0/rebalance", {"dry_run": "no"}, "expected true or false, got a text|send true or false"),
        ("/clusters/0/transfer", {"target": 2}, "expected a text or null, got a whole number|send a text or null"),
        ("/clusters/0/nodes", {"port": 70000}, "the number is too large|65535 at most"),
        ("/clusters/0/nodes", {"port": 0}, "the number is too small|1 at least"),
        ("/clusters/0/nodes", {"host": "a b"}, "no host name or IPv4 address|localhost"),
        ("/clusters/0/nodes", {"gpu_model": "x" * 101}, "the text is too long|100 characters at most"),
        ("/clusters/0/rebalance", {"max_moves": 0}, "the number is too small|1 at least"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_in_words_with_what_is_right(ask, path, body, said):
    answer = ask("POST", path, body)
    wrong, _, right = said.partition("|")

    assert answer.status_code == 422
    assert wrong in answer.json["detail"] and right in answer.json.get("hint", "")
    assert "regex" not in answer.text and "<=" not in answer.text and ">=" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body", "where"),
    [
        ("PUT", "/clusters/0/services/web", {"force_update": 10**30}, "$.force_update"),
        ("PUT", "/clusters/0/services/web", {"ports": [{"published": -(2**63)}]}, "$.ports[0].published"),
        ("PATCH", "/clusters/0/nodes/localhost:8001", {"drain": {"max_parallel": 10**20}}, "$.drain.max_parallel"),
        ("POST", "/clusters/0/services/web/rollback", {"to_version": 10**30}, "$.to_version"),
    ],
)
def test_a_number_that_the_log_cannot_hold_is_refused_with_its_path(ask, method, path, body, where):
    answer = ask(method, path, body)

    assert answer.status_code == 422
    assert [error["path"] for error in answer.json["errors"]] == [where]


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"loss": 2}, "1 at most"),
        ({"loss": -0.5}, "0 at least"),
        ({"delay": "20"}, 'say the unit: {"delay": "20ms"}'),
        ({"delay": 20}, 'say the unit: {"delay": "20ms"}'),
        ({"delay": "9999999999s"}, "at most nine digits before the point"),
        ({"jitter": "0.1234567891s"}, "at most nine digits before the point"),
        ({"delay": "soon"}, 'for example {"delay": "20ms"}'),
    ],
)
def test_what_is_wrong_with_a_links_faults_is_said_in_words(ask, faults, said):
    answer = ask("PUT", "/clusters/0/links/localhost:8001/localhost:8002", faults)

    assert answer.status_code == 422
    assert said in answer.json["hint"]


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
