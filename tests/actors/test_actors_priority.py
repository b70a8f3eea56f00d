"""Priorities in a whole cluster: who is placed first, and who has to go where the cluster allows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from yard import Yard

from raftyard.actors.errors import InvalidRequest
from raftyard.actors.messages import (
    AddNodeRequest,
    ChangeService,
    ChangeSettings,
    DescribePlan,
    DescribeService,
    DescribeSettings,
)
from raftyard.actors.system import Live, Virtual


@pytest.fixture(params=["virtual", "live"])
def clocked(request: pytest.FixtureRequest) -> Iterator[Yard]:
    system = Virtual(seed=1, raise_crashes=True) if request.param == "virtual" else Live(seed=1)
    with Yard(system, checked=request.param == "virtual", nodes=3, capacity=4) as yard:
        yard.begin()
        yield yard


def put(yard: Yard, name: str, **spec: object) -> None:
    yard.ask(ChangeService(service=name, body=spec))


def placed(yard: Yard) -> dict[str, int]:
    return {service["name"]: service["placed"] for service in yard.picture()["services"]}


def reason(yard: Yard, name: str) -> str:
    return str(yard.ask(DescribeService(service=name)).get("reason", ""))


def test_preemption_is_off_until_it_is_switched_on_and_victims_come_back(clocked: Yard):
    assert clocked.ask(DescribeSettings()) == {"preemption": False}
    put(clocked, "batch", replicas=12, priority=20)
    clocked.until(lambda: placed(clocked) == {"batch": 12})
    put(clocked, "api", replicas=2, priority=80)
    clocked.until(lambda: "no room: 2 of 2 replicas wait" in reason(clocked, "api"))

    shown = clocked.ask(ChangeSettings(body={"preemption": True}))
    assert shown["preemption"]
    assert shown["log_index"] > 0
    clocked.until(lambda: placed(clocked) == {"batch": 10, "api": 2})
    assert reason(clocked, "batch").startswith("preempted by api; no room: 2 of 12 replicas wait")
    assert [event.data["by"] for event in clocked.events("tasks-preempted")] == ["api"]

    clocked.ask(AddNodeRequest())
    clocked.until(lambda: placed(clocked) == {"batch": 12, "api": 2})
    clocked.until(lambda: reason(clocked, "batch") == "")


def test_a_plan_says_who_has_to_go_and_so_it_happens(clocked: Yard):
    clocked.ask(ChangeSettings(body={"preemption": True}))
    put(clocked, "batch", replicas=12, priority=20)
    clocked.until(lambda: placed(clocked) == {"batch": 12})

    asked = {"name": "api", "spec": {"replicas": 2, "priority": 80}}
    planned = clocked.ask(DescribePlan(body={"service": asked}))
    api, batch = planned["services"]
    assert (api["starts"], api["waits"], "preempted_by" in api) == (2, 0, False)
    assert (batch["stops"], batch["waits"], batch["preempted_by"]) == (2, 2, {"api": 2})
    assert batch["reason"].startswith("preempted by api")

    put(clocked, "api", replicas=2, priority=80)
    clocked.until(lambda: placed(clocked) == {"batch": 10, "api": 2})


def test_the_setting_survives_its_leader(yard: Yard):
    yard.ask(ChangeSettings(body={"preemption": True}))
    old = yard.leader()
    yard.cut(*yard.around(old))
    yard.until(lambda: yard.front().leader not in (None, old))
    assert yard.ask(DescribeSettings()) == {"preemption": True}
    yard.heal()
    yard.settle()


@pytest.mark.parametrize(
    ("body", "path", "hint"),
    [
        ({"preemtion": True}, "$.preemtion", "did you mean preemption?"),
        ({"preemption": "yes"}, "$.preemption", 'send for example {"preemption": true}'),
        ([], "$", 'send for example {"preemption": true}'),
    ],
)
def test_a_wrong_setting_is_answered_with_its_path(yard: Yard, body: object, path: str, hint: str):
    with pytest.raises(InvalidRequest) as wrong:
        yard.ask(ChangeSettings(body=body))
    assert (wrong.value.path, wrong.value.hint) == (path, hint)


@pytest.mark.parametrize("priority", [-1, 101])
def test_a_priority_is_from_0_to_100(yard: Yard, priority: int):
    with pytest.raises(InvalidRequest) as wrong:
        yard.ask(ChangeService(service="web", body={"priority": priority}))
    assert (wrong.value.path, wrong.value.hint) == ("$.priority", "use 0 to 100")


def test_another_priority_replaces_no_replica(yard: Yard):
    put(yard, "web", replicas=3, priority=50)
    yard.settle()
    running = yard.running()
    put(yard, "web", replicas=3, priority=90)
    yard.settle()
    assert yard.running() == running
