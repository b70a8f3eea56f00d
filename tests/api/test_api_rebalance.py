"""Rebalancing over REST."""

from __future__ import annotations

import pytest

from raftyard.api.ports import RebalanceOrder

REBALANCE = "/clusters/0/rebalance"


def test_a_rebalance_is_a_dry_run_unless_it_says_otherwise(ask, clusters):
    answer = ask("POST", REBALANCE)
    assert answer.status_code == 200
    assert (answer.json["state"], answer.json["dry_run"]) == ("planned", True)
    assert clusters.asked[-1] == ("rebalance", "0", RebalanceOrder(max_moves=100, max_parallel=1, dry_run=True))


def test_one_that_begins_is_a_202_and_says_where_it_can_be_watched(ask, clusters):
    answer = ask("POST", REBALANCE, {"max_moves": 5, "max_parallel": 2, "dry_run": False})
    assert (answer.status_code, answer.headers["location"]) == (202, REBALANCE)
    assert answer.json["moves"][0]["from"] == "localhost:8001"
    assert clusters.asked[-1] == ("rebalance", "0", RebalanceOrder(max_moves=5, max_parallel=2, dry_run=False))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"max_moves": 0}, "$.max_moves"),
        ({"max_moves": 1001}, "$.max_moves"),
        ({"max_parallel": "2"}, "$.max_parallel"),
        ({"max_move": 3}, "$.max_move"),
    ],
)
def test_a_wrong_order_is_answered_with_its_path(ask, body, path):
    answer = ask("POST", REBALANCE, body)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == path


def test_one_can_be_watched_and_stopped(ask):
    assert ask("GET", REBALANCE).json == {"state": "none", "moves": []}
    assert ask("DELETE", REBALANCE).status_code == 409


def test_settings_are_read_and_changed(ask, clusters):
    assert ask("GET", "/clusters/0/settings").json == {"preemption": False}
    assert ask("PATCH", "/clusters/0/settings", {"preemption": True}).json == {"preemption": True}
    assert clusters.asked[-1] == ("change_settings", "0", {"preemption": True})
