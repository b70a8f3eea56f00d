"""The same stories on virtual and on real time; nobody sleeps longer than until it is so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from yard import Yard

from raftyard.actors.messages import (
    ORCHESTRATOR,
    AddNodeRequest,
    ChangeService,
    CreateClusterRequest,
    DescribeService,
    DescribeTasks,
    LinkPolicy,
    ListClusters,
    RemoveClusterRequest,
    RemoveNodeRequest,
    RemoveService,
    SetLinkPolicyRequest,
    UpdateNodeRequest,
)
from raftyard.actors.system import Live, Virtual


@pytest.fixture(params=["virtual", "live"])
def clocked(request: pytest.FixtureRequest) -> Iterator[Yard]:
    system = Virtual(seed=1, raise_crashes=True) if request.param == "virtual" else Live(seed=1)
    with Yard(system, checked=request.param == "virtual") as yard:
        yard.begin()
        yield yard


def services(yard: Yard) -> dict[str, int]:
    return {service["name"]: service["placed"] for service in yard.picture()["services"]}


def test_a_call_is_executed_and_spread(clocked: Yard):
    answer = clocked.submit(web=25)
    assert answer["status"] == "executed"
    assert set(answer["load_distribution"].values()) == {5}


def test_a_leader_that_nobody_hears_is_replaced_with_its_replicas(clocked: Yard):
    clocked.submit(web=25)
    old = clocked.picture()["leader"]
    clocked.cut(*clocked.outgoing(clocked.leader()))
    clocked.until(lambda: clocked.picture()["leader"] not in (None, old))
    clocked.until(lambda: old not in clocked.picture()["services"][0]["load_distribution"])
    clocked.until(lambda: services(clocked) == {"web": 25})
    clocked.heal()
    clocked.until(
        lambda: [node["stats"].get("state") for node in clocked.picture()["nodes"]].count("FOLLOWER") == 4
    )
    assert clocked.submit(web=30)["status"] == "executed"


def test_nodes_join_and_leave(clocked: Yard):
    clocked.submit(web=25)
    clocked.ask(AddNodeRequest(name="extra"))
    clocked.until(lambda: len(clocked.picture()["nodes"]) == 6)
    clocked.ask(RemoveNodeRequest(address=clocked.picture()["leader"]))
    clocked.until(lambda: len(clocked.picture()["nodes"]) == 5)
    clocked.until(lambda: services(clocked) == {"web": 25})


def test_a_service_is_made_changed_and_removed_by_its_name(clocked: Yard):
    made = clocked.ask(ChangeService(service="web", body={"image": "nginx", "replicas": 10}))
    assert (made["version"], made["spec"]) == (1, {"image": "nginx", "replicas": 10})
    clocked.until(lambda: services(clocked) == {"web": 10})
    changed = clocked.ask(ChangeService(service="web", body={"replicas": 4}, version=1, is_patch=True))
    assert (changed["version"], changed["spec"]) == (2, {"image": "nginx", "replicas": 4})
    clocked.until(lambda: services(clocked) == {"web": 4})
    clocked.ask(RemoveService(service="web", version=2))
    clocked.until(lambda: services(clocked) == {})


def test_a_drained_node_is_empty_when_its_replicas_run_elsewhere(clocked: Yard):
    clocked.submit(web=25)
    node = clocked.picture()["nodes"][0]["address"]
    answer = clocked.ask(
        UpdateNodeRequest(node=node, body={"availability": "drain", "drain": {"max_parallel": 2}})
    )
    assert (answer["availability"], answer["drain"]["max_parallel"]) == ("drain", 2)
    clocked.until(lambda: node not in clocked.picture()["services"][0]["load_distribution"])
    clocked.until(lambda: services(clocked) == {"web": 25})


def test_devices_and_profiles_are_the_same_on_both_clocks(clocked: Yard):
    node = clocked.picture()["nodes"][0]["address"]
    clocked.ask(UpdateNodeRequest(node=node, body={"resources": {"gpus": 2}, "gpu_model": "T4"}))
    kept = {"gpus": 1, "gpu_milli": 400, "gpu_models": ["T4"]}
    clocked.ask(
        ChangeService(
            service="web", body={"replicas": 4, "reservations": kept, "placement": {"profile": "mixed"}}
        )
    )
    clocked.until(lambda: services(clocked) == {"web": 4})
    tasks = clocked.ask(DescribeTasks(service="web"))["results"]
    assert {task["node"] for task in tasks} == {node}
    assert sorted(task["gpus"]["devices"] for task in tasks) == [[0], [0], [1], [1]]


def test_a_job_runs_to_its_end_and_what_fails_starts_again_after_its_delay(clocked: Yard):
    body = {"mode": "replicated-job", "replicas": 6, "max_concurrent": 3, "simulate": {"run_s": 0.1}}
    clocked.ask(ChangeService(service="sum", body=body))
    failing = {"replicas": 1, "simulate": {"run_s": 0.1, "exit_code": 1}, "restart": {"delay_s": 0.2}}
    clocked.ask(ChangeService(service="web", body=failing))
    clocked.until(lambda: clocked.ask(DescribeService(service="sum"))["completed"] == 6)
    clocked.until(lambda: len(clocked.ask(DescribeService(service="web"))["history"]) >= 2)


def test_a_bad_version_is_rolled_back_and_a_good_one_stays(clocked: Yard):
    policy = {"parallelism": 2, "monitor_s": 0.2, "failure_action": "rollback"}
    body = {"replicas": 6, "image": "a", "update": policy, "rollback": {"monitor_s": 0.2}}

    def update() -> dict[str, object]:
        return clocked.ask(DescribeService(service="web"))

    clocked.ask(ChangeService(service="web", body=body))
    clocked.until(lambda: services(clocked) == {"web": 6})
    clocked.ask(
        ChangeService(service="web", body=body | {"image": "b", "simulate": {"fails_to_start": True}})
    )
    clocked.until(lambda: update().get("update", {}).get("state") == "rollback_completed")
    assert update()["spec"]["image"] == "a"
    clocked.ask(ChangeService(service="web", body=body | {"image": "c"}))
    clocked.until(lambda: update()["update"]["state"] == "completed")
    assert (update()["spec"]["image"], update()["placed"]) == ("c", 6)


def test_a_crashed_node_comes_back(clocked: Yard):
    clocked.submit(web=25)
    clocked.crash_node(clocked.leader())
    clocked.until(lambda: clocked.picture()["leader"])
    assert clocked.submit(db=5)["status"] == "executed"
    assert services(clocked) == {"web": 25, "db": 5}


def test_slow_links_that_lose_messages_still_carry_the_calls(clocked: Yard):
    policy = LinkPolicy(delay_s=0.01, jitter_s=0.005, loss=0.05, duplicate=0.05, reorder=0.1)
    for source in clocked.names():
        for target in clocked.names():
            if source != target:
                clocked.ask(SetLinkPolicyRequest(source=source, target=target, policy=policy))
    calls = [clocked.submit(wait_s=None, **{f"s{number}": number}) for number in range(20)]
    clocked.until(lambda: clocked.call(calls[-1]["service_id"])["status"] == "executed")
    assert services(clocked) == {f"s{number}": number for number in range(20)}


def test_clusters_come_and_go(clocked: Yard):
    clocked.ask(CreateClusterRequest(cluster=None, nodes=(AddNodeRequest(),) * 3), ORCHESTRATOR)
    clocked.until(lambda: clocked.picture("1")["leader"])
    assert clocked.submit(cluster="1", web=3)["status"] == "executed"
    clocked.ask(RemoveClusterRequest(cluster="1"), ORCHESTRATOR)
    assert clocked.ask(ListClusters(), ORCHESTRATOR) == ("0",)
