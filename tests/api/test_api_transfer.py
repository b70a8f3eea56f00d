"""The transfer of leadership over REST."""

from __future__ import annotations

import pytest

TRANSFER = "/clusters/0/transfer"


@pytest.mark.parametrize(
    ("body", "target"),
    [
        (None, None),
        ({}, None),
        ({"target": "localhost:8003"}, "localhost:8003"),
        ({"target": "127.0.0.1:8003"}, "localhost:8003"),
        ({"target": "node_2"}, "node_2"),
    ],
)
def test_the_leadership_goes_to_whom_the_body_names_or_to_anybody(ask, clusters, body, target):
    answer = ask("POST", TRANSFER, body)
    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "leader": target or "localhost:8002"}
    assert clusters.asked[-1] == ("transfer", "0", target)


@pytest.mark.parametrize(
    ("body", "hint"), [({"to": "node_2"}, "target"), ({"target": 2}, ""), ({"target": ""}, "")]
)
def test_a_wrong_order_is_answered_with_its_path(ask, body, hint):
    answer = ask("POST", TRANSFER, body)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["path"] == f"$.{next(iter(body))}"
    assert hint in answer.json.get("hint", "")
