"""Services by their names over REST, and what nodes are for."""

from __future__ import annotations

import pytest

from raftyard.api.ports import Page

WEB = "/clusters/0/services/web"


def test_a_service_is_made_and_then_changed(ask, clusters):
    made = ask("PUT", WEB, {"image": "nginx", "replicas": 2})
    assert (made.status_code, made.headers["location"], made.json["version"]) == (201, WEB, 1)
    assert ask("PUT", WEB, {"replicas": 3}).status_code == 200
    changed = ask("PATCH", f"{WEB}?version=2", {"replicas": 5})
    assert (changed.status_code, changed.json["version"], changed.json["replicas"]) == (200, 3, 5)
    assert clusters.asked[-1] == ("put_service", "0", "web", {"replicas": 5}, 2)


def test_a_stale_version_is_a_409_with_a_code_of_its_own(ask):
    ask("PUT", WEB, {"replicas": 2})
    answer = ask("PUT", f"{WEB}?version=9", {"replicas": 3})
    assert answer.status_code == 409
    assert answer.json["type"] == "/problems/stale-version"


@pytest.mark.parametrize("query", ["version=x", "version=-1", "vers=1"])
def test_a_version_that_is_no_number_is_refused(ask, query):
    assert ask("PUT", f"{WEB}?{query}", {"replicas": 2}).status_code == 400


def test_a_service_is_removed(ask):
    ask("PUT", WEB, {"replicas": 2})
    assert ask("DELETE", f"{WEB}?version=1").json["status"] == "ok"
    assert ask("GET", WEB).status_code == 404
    assert ask("DELETE", WEB).status_code == 404


def test_a_service_is_rolled_back_to_the_spec_before_or_to_a_version(ask, clusters):
    ask("PUT", WEB, {"replicas": 2})
    assert ask("POST", f"{WEB}/rollback").status_code == 200
    assert clusters.asked[-1] == ("roll_back_service", "0", "web", None, None)
    assert ask("POST", f"{WEB}/rollback?version=1", {"to_version": 1}).status_code == 200
    assert clusters.asked[-1] == ("roll_back_service", "0", "web", 1, 1)
    assert ask("POST", f"{WEB}/rollback", {"version": 1}).status_code == 422


def test_lists_are_paginated(ask, clusters):
    ask("PUT", WEB, {"replicas": 2})
    assert ask("GET", "/clusters/0/services?limit=1&offset=1").json == {"metadata": {"count": 1}, "results": []}
    ask("GET", "/clusters/0/tasks?limit=3&offset=6")
    assert clusters.asked[-1] == ("tasks", "0", None, Page(6, 3))
    ask("GET", f"{WEB}/tasks")
    assert clusters.asked[-1] == ("tasks", "0", "web", Page())


def test_a_node_is_told_what_it_is_for(ask, clusters):
    answer = ask("PATCH", "/clusters/0/nodes/127.0.0.1:8002", {"availability": "drain"})
    assert (answer.status_code, answer.json["availability"]) == (200, "drain")
    assert clusters.asked[-1] == ("update_node", "0", "localhost:8002", {"availability": "drain"})
    assert ask("PATCH", "/clusters/0/nodes/localhost:9999", {}).status_code == 404
