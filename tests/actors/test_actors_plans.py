"""Plans, asked of a whole cluster: nothing changes, and what was planned is what then happens."""

from __future__ import annotations

import pytest
from yard import Yard

from raftyard.actors.errors import (
    Conflict,
    InvalidRequest,
    NoLeader,
    StaleVersion,
    UnknownNode,
    UnknownService,
)
from raftyard.actors.messages import ChangeService, DescribePlan, DescribeService, UpdateNodeRequest
from raftyard.actors.system import Live, Virtual


def plan(yard: Yard, **body):
    return yard.ask(DescribePlan(body=body))


def put(yard: Yard, name: str, version: int | None = None, **spec):
    return yard.ask(ChangeService(service=name, body=spec, version=version))


def gains(planned, name: str):
    (service,) = [one for one in planned["services"] if one["name"] == name]
    return {node: one["starts"] - one["stops"] for node, one in service["nodes"].items()}


@pytest.fixture(params=["virtual", "live"])
def either(request):
    system = Virtual(seed=3, raise_crashes=True, codec_check=True) if request.param == "virtual" else Live(seed=3)
    with Yard(system, checked=request.param == "virtual") as made:
        made.begin()
        yield made


def test_what_was_planned_is_what_happens_on_either_clock(either: Yard):
    spec = {"image": "nginx", "replicas": 12}
    planned = plan(either, service={"name": "web", "spec": spec})
    assert planned["summary"]["starts"] == 12
    with pytest.raises(UnknownService):
        either.ask(DescribeService(service="web"))

    put(either, "web", planned["services"][0]["version"], **spec)
    either.until(lambda: either.ask(DescribeService(service="web"))["placed"] == 12)

    shown = either.ask(DescribeService(service="web"))
    assert shown["load_distribution"] == gains(planned, "web")


def test_a_version_that_was_planned_on_is_refused_once_somebody_else_was_quicker(yard: Yard):
    put(yard, "web", replicas=3)
    version = plan(yard, service={"name": "web", "patch": {"replicas": 9}})["services"][0]["version"]
    put(yard, "web", replicas=4)
    with pytest.raises(StaleVersion):
        put(yard, "web", version, replicas=9)
    with pytest.raises(StaleVersion):
        plan(yard, service={"name": "web", "patch": {"replicas": 9}, "version": version})


def test_a_drain_is_planned_by_the_address_of_the_node(yard: Yard):
    put(yard, "web", replicas=10)
    yard.settle()
    before = yard.ask(DescribeService(service="web"))["load_distribution"]

    planned = plan(yard, drain=["localhost:8002"])
    assert planned["summary"] | {"moves": 2, "waits": 0} == planned["summary"]
    yard.ask(UpdateNodeRequest(node="localhost:8002", body={"availability": "drain"}))
    yard.settle()

    after = yard.ask(DescribeService(service="web"))["load_distribution"]
    moved = {node: after.get(node, 0) - before.get(node, 0) for node in before}
    assert {node: count for node, count in moved.items() if count} == gains(planned, "web")


def test_the_loss_of_a_majority_says_that_nobody_would_decide(yard: Yard):
    assert plan(yard, loss=["node_0", "localhost:8002"])["voters"] == {"count": 5, "left": 3, "is_majority": True}
    assert not plan(yard, loss=["node_0", "node_1", "node_2"])["voters"]["is_majority"]


def test_every_node_in_turn_is_asked_about(yard: Yard):
    put(yard, "web", replicas=10)
    yard.settle()
    report = plan(yard, loss="each")
    assert report["summary"] == {"nodes": 5, "survivable": 5, "not_survivable": 0, "not_looked_at": 0}
    assert report["voters"]["is_majority"]
    put(yard, "big", replicas=480)
    yard.settle()
    report = plan(yard, loss="each")
    assert report["summary"]["survivable"] == 0
    assert report["losses"][0]["node"] == "localhost:8001"
    assert report["losses"][0]["waits"] == 90


def test_several_plans_are_made_one_after_the_other(yard: Yard):
    bodies = [{"call": {"container": {"id": number, "replicas": number}}} for number in range(1, 6)]
    asked = [yard.later(DescribePlan(body=body)) for body in bodies]
    yard.run(1.0)
    assert [one.result()["summary"]["starts"] for one in asked] == [1, 2, 3, 4, 5]


def test_the_cluster_goes_on_while_a_plan_is_made(yard: Yard, monkeypatch):
    """Nothing is applied while the state is copied, bit by bit; all of it is afterwards."""
    monkeypatch.setattr("raftyard.actors.state.forks.LARGE", 0)
    put(yard, "web", replicas=3)
    yard.settle()
    planned = yard.later(DescribePlan(body={"drain": ["node_0"]}))
    calls = [yard.submit(wait_s=None, **{f"s{number}": 2}) for number in range(20)]
    yard.settle()
    assert planned.result()["plan"] == "drain"
    assert {yard.call(call["service_id"])["status"] for call in calls} == {"executed"}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"drain": ["node_0"], "loss": ["node_1"]}, "$"),
        ({"drian": ["node_0"]}, "$.drian"),
        ({"drain": []}, "$.drain"),
        ({"drain": {"nodes": ["node_0"], "max_paralel": 1}}, "$.drain.max_paralel"),
        ({"drain": {"nodes": ["node_0"], "deadline_s": -1}}, "$.drain.deadline_s"),
        ({"loss": []}, "$.loss"),
        ({"loss": [7]}, "$.loss[0]"),
        ({"service": {"spec": {}}}, "$.service.name"),
        ({"service": {"name": "web"}}, "$.service"),
        ({"service": {"name": "web", "spec": {"replicsa": 1}}}, "$.service.spec.replicsa"),
        ({"service": {"name": "web", "spec": {}, "version": "1"}}, "$.service.version"),
        ({"call": {"container": {"id": 1}}}, "$.call.container.replicas"),
    ],
)
def test_what_is_wrong_with_a_plan_is_told_with_its_path(yard: Yard, body, path):
    with pytest.raises(InvalidRequest) as caught:
        plan(yard, **body)
    assert caught.value.path == path
    assert caught.value.hint


def test_what_could_not_be_done_cannot_be_planned(yard: Yard):
    with pytest.raises(UnknownNode):
        plan(yard, drain=["node_77"])
    with pytest.raises(UnknownService):
        plan(yard, service={"name": "web", "patch": {"replicas": 1}})
    put(yard, "web", replicas=1)
    with pytest.raises(Conflict, match="cannot become global"):
        plan(yard, service={"name": "web", "spec": {"mode": "global"}})
    with pytest.raises(InvalidRequest) as caught:
        plan(yard, service={"name": "web", "patch": {"replicas": -1}})
    assert caught.value.path == "$.service.patch.replicas"


def test_without_a_leader_there_is_no_plan(yard: Yard):
    put(yard, "web", replicas=1)
    for node in yard.names():
        yard.cut(*yard.outgoing(node))
    yard.run(5.0)
    with pytest.raises(NoLeader):
        plan(yard, drain=["node_0"])
