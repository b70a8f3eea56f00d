"""Usage and autoscaling in a whole cluster: what agents report and what the leader decides, on both clocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from yard import Yard

from raftyard.actors.messages import (
    ChangeService,
    DescribePlan,
    DescribeService,
    LinkPolicy,
    UpdateNodeRequest,
    UsageReport,
)
from raftyard.actors.system import Live, Virtual

AUTO = {"max": 10, "metric": "requests", "target": 50}
QUICK = AUTO | {"every_s": 0.2, "stabilisation_s": {"down": 1.0}}


def put(yard: Yard, name: str = "web", **spec: Any) -> dict[str, Any]:
    return dict(yard.ask(ChangeService(service=name, body=spec)))


def patch(yard: Yard, name: str = "web", **spec: Any) -> dict[str, Any]:
    return dict(yard.ask(ChangeService(service=name, body=spec, is_patch=True)))


def demand(yard: Yard, requests: float) -> None:
    patch(yard, simulate={"demand": {"requests": requests}})


def service(yard: Yard, name: str = "web") -> dict[str, Any]:
    return dict(yard.ask(DescribeService(service=name)))


def scaled(yard: Yard) -> list[tuple[int, int]]:
    return [(event.data["was"], event.data["replicas"]) for event in yard.events("service-scaled")]


def test_what_replicas_use_is_shown_of_the_service_and_of_their_nodes(yard: Yard):
    put(yard, replicas=5, simulate={"usage": {"memory_mib": 64}, "demand": {"cpu_milli": 1000}})
    yard.run(16)
    assert service(yard)["usage"] == {
        "cpu_milli": {"mean": 200.0, "total": 1000.0, "replicas": 5},
        "memory_mib": {"mean": 64.0, "total": 320.0, "replicas": 5},
    }
    shown = yard.picture()
    assert [node["stats"]["usage"] for node in shown["nodes"]] == [{"cpu_milli": 200.0, "memory_mib": 64.0}] * 5
    assert shown["services"][0]["usage"]["cpu_milli"]["total"] == 1000.0
    node = yard.ask(UpdateNodeRequest(node="node_1", body={"labels": {"zone": "a"}}))
    assert node["usage"] == {"cpu_milli": 200.0, "memory_mib": 64.0}


def test_a_node_that_was_emptied_uses_nothing_and_one_that_a_service_has_left_what_the_others_use(yard: Yard):
    put(yard, replicas=5, simulate={"usage": {"cpu_milli": 10}})
    put(yard, "other", replicas=5, simulate={"usage": {"cpu_milli": 3}})
    yard.run(16)
    yard.ask(UpdateNodeRequest(node="node_1", body={"availability": "drain"}))
    yard.settle()
    emptied = yard.ask(UpdateNodeRequest(node="node_1", body={"availability": "pause"}))
    shown = yard.picture()["nodes"][1]["stats"]
    assert shown["load"] == 0
    assert "usage" not in shown
    assert "usage" not in emptied

    put(yard, "other", replicas=0)
    yard.settle()
    assert yard.picture()["nodes"][0]["stats"]["usage"] == {"cpu_milli": 10.0}
    assert yard.ask(UpdateNodeRequest(node="node_0", body={"labels": {}}))["usage"] == {"cpu_milli": 10.0}


def test_what_is_reported_makes_no_entry_in_the_log_and_is_forgotten_with_the_replicas(yard: Yard):
    put(yard, replicas=5, simulate={"usage": {"cpu_milli": 10}})
    yard.run(16)
    before = yard.node(yard.leader()).raft.last_index
    yard.run(60)
    assert yard.node(yard.leader()).raft.last_index == before
    usage = yard.node(yard.leader()).loop.usage
    assert (len(usage._by_node), len(usage._sums)) == (5, 1)
    put(yard, replicas=1)
    yard.run(60)
    assert (usage._by_node, usage._sums) == ({}, {})
    assert "usage" not in service(yard)
    assert not any("usage" in node["stats"] for node in yard.picture()["nodes"])


def test_a_cluster_where_nothing_is_measured_asks_nobody_for_it(yard: Yard):
    asked: list[str] = []
    yard.system.observers.append(lambda name, message: isinstance(message, UsageReport) and asked.append(name))
    put(yard, replicas=5)
    yard.run(60)
    assert not asked and yard.node(yard.leader()).loop.usage.round == 0
    put(yard, replicas=5, simulate={"usage": {"cpu_milli": 10}})
    yard.run(60)
    assert asked


def test_the_number_follows_the_load_up_at_once_and_down_after_the_calm(yard: Yard):
    put(yard, replicas=2, autoscale=AUTO, simulate={"demand": {"requests": 100}})
    yard.run(31)
    assert scaled(yard) == []
    demand(yard, 390)
    yard.run(31)
    assert scaled(yard) == [(2, 8)]
    assert service(yard)["autoscale"]["now"].endswith("8 are right")
    demand(yard, 100)
    yard.run(280)
    assert scaled(yard) == [(2, 8)]
    shown = service(yard)["autoscale"]
    assert "2 would do, 8 stay until nothing higher was right for 300 s" in shown["now"]
    yard.run(50)
    assert scaled(yard) == [(2, 8), (8, 2)]
    shown = service(yard)
    assert (shown["replicas"], shown["placed"], shown["spec"]["replicas"]) == (2, 2, 2)
    assert shown["version"] == 3, "two changes of the demand, and none by the autoscaler"
    yard.settle()


def test_one_that_is_at_its_target_stays_there(yard: Yard):
    put(yard, replicas=2, autoscale=AUTO, simulate={"demand": {"requests": 105}})
    yard.run(400)
    assert scaled(yard) == []
    assert service(yard)["autoscale"]["last"] is None


@pytest.mark.parametrize("before_ms", range(0, 600, 50))
def test_replicas_that_begin_to_run_while_they_are_measured_are_not_taken_for_a_higher_load(before_ms: int):
    with Yard(seed=before_ms, link=LinkPolicy(delay_s=0.02, jitter_s=0.06)) as yard:
        yard.settle()
        put(yard, replicas=4, autoscale=AUTO, simulate={"demand": {"requests": 200}})
        yard.run(20)
        usage = yard.node(yard.leader()).loop.usage
        yard.run((usage.began_ns / 1e9 + 15 - yard.now) - before_ms / 1_000)
        patch(yard, replicas=8, simulate={"demand": {"requests": 400}})
        yard.run(40)
        assert scaled(yard) == []
        assert service(yard)["usage"]["requests"]["total"] == 400


def test_replicas_that_start_slowly_do_not_drive_the_number_up(yard: Yard):
    put(yard, replicas=2, autoscale=AUTO, simulate={"start_s": 70, "demand": {"requests": 300}})
    yard.run(150)
    assert scaled(yard) == [(2, 6)]
    yard.run(150)
    assert scaled(yard) == [(2, 6)]


@pytest.mark.parametrize("seed", range(3))
def test_leaders_that_are_lost_change_nothing_of_a_number_that_is_right(seed: int):
    with Yard(seed=seed) as yard:
        yard.settle()
        put(yard, replicas=1, autoscale=AUTO, simulate={"demand": {"requests": 390}})
        yard.until(lambda: scaled(yard), within_s=40)
        demand(yard, 40)
        for _ in range(4):
            old = yard.leader()
            yard.cut(*yard.around(old))
            yard.until(lambda old=old: yard.leader() != old)
            yard.heal()
            yard.run(100)
        # Each new leader waits for its own 300 s.
        assert scaled(yard) == [(1, 8)]
        yard.run(320)
        assert scaled(yard) == [(1, 8), (8, 1)]
        yard.settle()


def test_a_leader_that_is_lost_while_the_load_rises_is_followed_by_one_that_scales(yard: Yard):
    put(yard, replicas=2, autoscale=AUTO, simulate={"demand": {"requests": 100}})
    yard.run(16)
    demand(yard, 500)
    old = yard.leader()
    yard.cut(*yard.around(old))
    yard.until(lambda: yard.leader() != old)
    yard.until(lambda: service(yard)["replicas"] == 10, within_s=35)
    yard.heal()
    yard.settle()
    yard.run(60)
    # While a replica's node is silent, less is taken to be needed; never more than there is.
    assert scaled(yard) in ([(2, 10)], [(2, 5), (5, 10)])


def test_a_users_number_counts_within_the_bounds_until_the_load_says_otherwise(yard: Yard):
    put(yard, replicas=2, autoscale=AUTO, simulate={"demand": {"requests": 100}})
    yard.run(16)
    assert yard.submit(web=50)["placed"] == 10
    assert patch(yard, replicas=6)["replicas"] == 6
    yard.run(290)
    assert service(yard)["replicas"] == 6
    yard.run(40)
    assert (service(yard)["replicas"], scaled(yard)) == (2, [(6, 2)])
    assert patch(yard, replicas=6)["replicas"] == 6, "said again, it counts again"


def test_steps_of_a_demand_come_at_their_times(yard: Yard):
    yard.run(500)
    steps = [{"total": 100}, {"total": 450, "after_s": 60}]
    put(yard, replicas=2, autoscale=AUTO, simulate={"demand": {"requests": steps}})
    yard.run(58)
    assert scaled(yard) == []
    yard.run(20)
    assert scaled(yard) == [(2, 9)]


def test_without_a_measure_nothing_is_decided_and_it_says_so(yard: Yard):
    put(yard, replicas=2, autoscale=AUTO, simulate={"usage": {"cpu_milli": 5}})
    yard.run(31)
    assert service(yard)["autoscale"]["now"] == "nothing has said how much requests its replicas use"
    assert service(yard)["replicas"] == 2


def test_in_a_larger_cluster_a_round_takes_several_ticks_and_is_decided_on_as_a_whole():
    with Yard(seed=1, nodes=150, port=None, checked=False) as yard:
        yard.leader()
        put(yard, replicas=100, autoscale=AUTO | {"max": 300}, simulate={"demand": {"requests": 10_000}})
        yard.run(40)
        assert service(yard)["usage"]["requests"] == {"mean": 50.0, "total": 10_000.0, "replicas": 200}
        assert scaled(yard) == [(100, 200)]


@pytest.fixture(params=["virtual", "live"])
def clocked(request: pytest.FixtureRequest) -> Iterator[Yard]:
    system = Virtual(seed=1, raise_crashes=True) if request.param == "virtual" else Live(seed=1)
    with Yard(system, checked=request.param == "virtual") as yard:
        yard.begin()
        yield yard


def test_on_either_clock_the_number_follows_the_load(clocked: Yard):
    put(clocked, replicas=1, autoscale=QUICK, simulate={"demand": {"requests": 40}})
    clocked.until(lambda: service(clocked).get("usage"))
    demand(clocked, 300)
    clocked.until(lambda: service(clocked)["placed"] == 6)
    demand(clocked, 90)
    clocked.until(lambda: service(clocked)["placed"] == 2)
    assert scaled(clocked) == [(1, 6), (6, 2)]


# placement by what is used


def test_on_either_clock_a_service_goes_where_least_is_used_and_its_plan_says_so(clocked: Yard):
    for node, cpu_milli in (("node_0", 2_000), ("node_1", 2_000), ("node_2", 500), ("node_3", 500), ("node_4", 500)):
        clocked.ask(UpdateNodeRequest(node=node, body={"resources": {"cpu_milli": cpu_milli}}))
    hot = {"simulate": {"usage": {"cpu_milli": 400}}}
    put(clocked, "hot", mode="global", **hot)  # 20 % of two nodes, 80 % of the others
    # Agents are asked as often as the quickest autoscaler decides.
    put(clocked, "pace", replicas=1, autoscale=QUICK, simulate={"demand": {"requests": 1}})
    clocked.until(lambda: service(clocked, "hot").get("usage", {}).get("cpu_milli", {}).get("replicas") == 5)
    spec = {"replicas": 6, "placement": {"profile": "usage"}, **hot}
    planned = clocked.ask(DescribePlan(body={"service": {"name": "web", "spec": spec}}))
    shown = {at: count["starts"] for at, count in planned["services"][0]["nodes"].items()}
    put(clocked, **spec)
    clocked.until(lambda: service(clocked)["placed"] == 6)
    assert clocked.placed("web") == {"node_0": 3, "node_1": 3}
    assert shown == {clocked.address("node_0"): 3, clocked.address("node_1"): 3}
    told = service(clocked)["placement"]
    assert told["profile"] == "usage"
    assert set(told["nodes"]) == {clocked.address(node) for node in clocked.names()}


def test_a_new_leader_measures_anew_and_places_by_that(yard: Yard):
    put(yard, "hot", replicas=1, simulate={"usage": {"cpu_milli": 9}})
    yard.run(20)
    old = yard.leader()
    yard.cut(*yard.around(old))
    yard.until(lambda: yard.leader() != old)
    yard.heal()
    yard.settle()
    yard.run(20)
    busy = next(iter(yard.placed("hot")))
    put(yard, replicas=4, placement={"profile": "usage"})
    yard.until(lambda: service(yard)["placed"] == 4)
    assert sorted(yard.placed("web")) == sorted({*yard.names()} - {busy})
