"""Links and health over REST."""

from __future__ import annotations

import pytest
from fake_clusters import FakeClusters
from falcon.testing import TestClient

from raftyard.api.app import create_app
from raftyard.api.ports import LinkFaults
from raftyard.api.security import Guard

LINK = "/clusters/0/links/127.0.0.1:8001/localhost:8002"


@pytest.mark.parametrize(("method", "is_patch"), [("PUT", False), ("PATCH", True)])
def test_a_link_gets_what_the_body_names_between_addresses_spelled_one_way(ask, clusters, method, is_patch):
    answer = ask(method, LINK, {"delay": "20ms", "loss": 0.25})

    assert answer.status_code == 200
    faults = LinkFaults(delay="20ms", loss=0.25)
    assert clusters.asked[0] == ("set_link", "0", "localhost:8001", "localhost:8002", faults, is_patch)


@pytest.mark.parametrize(
    ("body", "path", "says"),
    [
        ({"delay": 5}, "$.delay", 'say the unit: {"delay": "20ms"}'),
        ({"jitter": "5"}, "$.jitter", 'say the unit: {"jitter": "20ms"}'),
        ({"loss": 1.5}, "$.loss", "1 at most"),
        ({"loss": "some"}, "$.loss", "a number"),
        ({"lost": 0.5}, "$.lost", "loss"),
    ],
)
def test_what_is_wrong_with_a_fault_is_named_with_what_is_right(ask, body, path, says):
    answer = ask("PATCH", LINK, body)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == path
    assert says in answer.json["detail"] + answer.json.get("hint", "")


def test_the_program_is_ready_while_cluster_0_has_a_leader(ask, clusters):
    assert ask("GET", "/readyz").json == {"status": "ok"}
    clusters.has_leader = False

    answer = ask("GET", "/readyz")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert ask("GET", "/healthz").json == {"status": "ok"}


def test_health_needs_no_token_and_everything_else_does():
    client = TestClient(create_app(FakeClusters(), Guard(token="secret")))
    paths = ("/healthz", "/healthz/", "/readyz", "/readyz/", "/events")

    statuses = [
        client.simulate_get(path, host="localhost").status_code for path in paths
    ]

    assert statuses == [200, 200, 200, 200, 401]
