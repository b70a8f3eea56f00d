"""Plans over REST: the body goes to the cluster as it is, and its plan comes back."""

from __future__ import annotations

import pytest

PLAN = "/clusters/0/plan"


@pytest.mark.parametrize(
    "body", [{"drain": ["localhost:8002"]}, {"service": {"name": "web", "spec": {"replicas": 2}}}]
)
def test_a_plan_is_asked_for_by_what_it_is_for(ask, clusters, body):
    answer = ask("POST", PLAN, body)
    assert answer.status_code == 200
    assert answer.json["plan"] == next(iter(body))
    assert clusters.asked[-1] == ("plan", "0", body)


def test_a_plan_of_a_cluster_that_there_is_not_is_a_404(ask):
    assert ask("POST", "/clusters/9/plan", {"loss": ["x"]}).status_code == 404


def test_a_plan_takes_no_parameters_and_needs_a_body(ask):
    assert ask("POST", f"{PLAN}?dry=1", {"loss": ["x"]}).status_code == 400
    assert ask("POST", PLAN).status_code == 400
    assert ask("GET", PLAN).status_code == 405
