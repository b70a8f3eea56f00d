"""Service calls over REST: the three documented bodies, waiting, and what may go wrong."""

from __future__ import annotations

import pytest

BODIES = [
    {"container": {"id": 5, "replicas": 25}},
    {
        "containers": [
            {"description": "container 0", "replicas": 10},
            {"description": "container 1", "replicas": 10},
        ]
    },
    {"container": {"uniq_id": 0, "label": "description"}, "replicas": 99},
]
BODY = BODIES[0]


@pytest.mark.parametrize("body", BODIES)
def test_every_documented_body_is_taken_as_it_is(ask, clusters, body):
    answer = ask("POST", "/clusters/0/service", body)

    assert answer.status_code == 202
    assert answer.json == body | {"service_id": "call-0", "status": "spreading"}
    assert answer.headers["location"] == "/clusters/0/service/call-0"
    assert clusters.asked[-1] == ("submit", "0", body, None, None, None)


def test_the_last_call_and_a_call_by_its_id_can_be_asked_for(ask):
    ask("POST", "/clusters/0/service", BODIES[0])
    ask("POST", "/clusters/0/service", BODIES[1])

    assert ask("GET", "/clusters/0/service").json["service_id"] == "call-1"
    assert ask("GET", "/clusters/0/service/call-0").json["container"] == {"id": 5, "replicas": 25}
    assert ask("GET", "/clusters/0/service/call-9").status_code == 404


def test_there_is_no_last_call_before_the_first(ask):
    assert ask("GET", "/clusters/0/service").status_code == 404


def test_any_node_takes_a_call(ask, clusters):
    answer = ask("POST", "/service", BODY, node="localhost:8003")

    assert answer.status_code == 202
    assert clusters.asked[-1] == ("submit", "0", BODY, "localhost:8003", None, None)


def test_waiting_for_a_call_answers_200_with_its_log_index(ask, clusters):
    answer = ask("POST", "/clusters/0/service?wait=executed&timeout=500ms", BODY)

    assert answer.status_code == 200
    assert answer.json["status"] == "executed"
    assert answer.json["log_index"] == 1
    assert clusters.asked[-1][-1] == 0.5


def test_waiting_is_five_seconds_unless_said(ask, clusters):
    ask("POST", "/clusters/0/service?wait=executed", BODY)

    assert clusters.asked[-1][-1] == 5.0


def test_a_call_that_is_not_executed_in_time_is_a_504_that_says_where_to_ask(ask, clusters):
    clusters.settle = "spreading"
    answer = ask("POST", "/clusters/0/service?wait=executed&timeout=2s", BODY)

    assert answer.status_code == 504
    assert answer.json["call"]["service_id"] == "call-0"
    assert "GET /clusters/0/service/call-0" in answer.json["hint"]


def test_a_call_that_fails_while_it_is_waited_for_is_a_conflict(ask, clusters):
    clusters.settle = "failed"

    assert ask("POST", "/clusters/0/service?wait=executed", BODY).status_code == 409


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("wait=executed&timeout=5", "timeout=5s"),
        ("wait=executed&timeout=soon", "timeout=5s"),
        ("wait=executed&timeout=-1s", "timeout=5s"),
        ("wait=executed&timeout=2h", "60s at most"),
        ("wait=committed", "wait=executed"),
        ("timeout=5s", "wait=executed"),
        ("wait=executed&timout=5s", "did you mean timeout?"),
    ],
)
def test_a_wait_that_makes_no_sense_is_refused_before_the_call_is_queued(ask, clusters, query, hint):
    answer = ask("POST", f"/clusters/0/service?{query}", BODY)

    assert answer.status_code == 400
    assert hint in answer.json["hint"]
    assert clusters.calls["0"] == []


def test_the_idempotency_key_is_passed_on(ask, clusters):
    ask("POST", "/clusters/0/service", BODY, headers={"Idempotency-Key": "abc-1"})

    assert clusters.asked[-1][4] == "abc-1"


@pytest.mark.parametrize("key", ["", "with space", "x" * 256])
def test_an_idempotency_key_that_cannot_be_used_is_refused(ask, key):
    assert ask("POST", "/clusters/0/service", BODY, headers={"Idempotency-Key": key}).status_code == 400


def test_negative_replicas_are_refused_with_their_path(ask):
    answer = ask("POST", "/clusters/0/service", {"containers": [{"description": "a", "replicas": -1}]})

    assert answer.status_code == 422
    assert answer.json["errors"] == [
        {"path": "$.containers[0].replicas", "message": "expected a whole number of 0 or more"}
    ]


def test_no_leader_is_a_503_that_says_when_to_retry(ask, clusters):
    clusters.has_leader = False
    answer = ask("POST", "/clusters/0/service", BODY)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert answer.json["title"] == "Not available now"


def test_an_empty_body_is_no_service_call(ask, clusters):
    assert ask("POST", "/clusters/0/service").status_code == 400
    assert ask("POST", "/clusters/0/service", headers={"Content-Type": "application/json"}).status_code == 400
    assert clusters.calls["0"] == []


def test_nobody_but_the_nodes_says_who_leads(ask):
    answer = ask("POST", "/clusters/0/leader", {"address": "localhost:8005"})

    assert answer.status_code == 404
