"""Services and nodes as resources: asked of a whole cluster, while leaders come and go."""

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
from raftyard.actors.messages import (
    AddNodeRequest,
    AskNode,
    ChangeService,
    DescribePlan,
    DescribeService,
    DescribeServices,
    DescribeTasks,
    LinkPolicy,
    RemoveNodeRequest,
    RemoveService,
    RollBackService,
    SetLinkPolicyRequest,
    UpdateNodeRequest,
)


def put(yard: Yard, name: str, version: int | None = None, **spec):
    return yard.ask(ChangeService(service=name, body=spec, version=version))


def patch(yard: Yard, name: str, version: int | None = None, **spec):
    return yard.ask(ChangeService(service=name, body=spec, version=version, is_patch=True))


def test_a_service_tells_its_spec_its_version_and_what_became_of_it(yard: Yard):
    made = put(yard, "web", image="nginx", replicas=7)
    assert made["is_new"] and made["log_index"] > 0
    yard.settle()
    shown = yard.ask(DescribeService(service="web"))
    assert (shown["version"], shown["placed"], shown["pending"]) == (1, 7, 0)
    assert sum(shown["load_distribution"].values()) == 7
    assert not put(yard, "web", image="nginx:2", replicas=7)["is_new"]
    assert yard.ask(DescribeService(service="web"))["earlier"] == [
        {"version": 1, "spec": {"image": "nginx", "replicas": 7}}
    ]


def test_somebody_who_read_an_older_version_is_told_so(yard: Yard):
    put(yard, "web", replicas=1)
    put(yard, "web", replicas=2)
    with pytest.raises(StaleVersion) as caught:
        put(yard, "web", version=1, replicas=9)
    assert "at version 2, not 1" in str(caught.value)
    with pytest.raises(StaleVersion):
        patch(yard, "web", version=1, replicas=9)
    with pytest.raises(StaleVersion):
        yard.ask(RemoveService(service="web", version=1))


def test_patches_that_meet_each_other_all_count(yard: Yard):
    put(yard, "web", replicas=1)
    for n in range(6):
        yard.later(ChangeService(service="web", body={"env": {f"V{n}": str(n)}}, is_patch=True))
    yard.run(2.0)
    shown = yard.ask(DescribeService(service="web"))
    assert (shown["spec"]["env"], shown["version"]) == ({f"V{n}": str(n) for n in range(6)}, 7)


def test_mistakes_are_named_and_what_is_not_there_is_unknown(yard: Yard):
    with pytest.raises(InvalidRequest) as caught:
        put(yard, "web", replicsa=1)
    assert caught.value.path == "$.replicsa"
    for message in (
        DescribeService(service="nobody"),
        RemoveService(service="nobody"),
        DescribeTasks(service="nobody"),
        ChangeService(service="nobody", body={"replicas": 1}, is_patch=True),
    ):
        with pytest.raises(UnknownService):
            yard.ask(message)
    with pytest.raises(UnknownNode):
        yard.ask(UpdateNodeRequest(node="nobody", body={"availability": "pause"}))
    with pytest.raises(InvalidRequest):
        yard.ask(UpdateNodeRequest(node="node_0", body={"availability": "gone"}))


def test_lists_come_in_pages(yard: Yard):
    for number in range(5):
        put(yard, f"s{number}", replicas=3)
    yard.settle()
    page = yard.ask(DescribeServices(offset=1, limit=2))
    assert page["metadata"] == {"count": 5}
    assert [service["name"] for service in page["results"]] == ["s1", "s2"]
    tasks = yard.ask(DescribeTasks(offset=13, limit=10))
    assert tasks["metadata"] == {"count": 15} and len(tasks["results"]) == 2
    mine = yard.ask(DescribeTasks(service="s1"))["results"]
    assert [(task["slot"], task["state"]) for task in mine] == [(1, "RUNNING"), (2, "RUNNING"), (3, "RUNNING")]


def test_what_waits_says_why_node_by_node(yard: Yard):
    yard.ask(UpdateNodeRequest(node="node_0", body={"labels": {"zone": "a"}}))
    put(yard, "web", replicas=2, placement={"constraints": ["node.labels.zone == b"]})
    yard.run(1.0)
    shown = yard.ask(DescribeService(service="web"))
    assert shown["waiting"]["summary"] == "no suitable node (constraints not met on 5 nodes)"
    assert shown["waiting"]["nodes"]["localhost:8001"] == "node.labels.zone == b: here it is a"
    yard.ask(UpdateNodeRequest(node="node_0", body={"labels": {"zone": "b"}}))
    yard.settle()
    assert yard.placed("web") == {"node_0": 2}


def test_a_node_brings_its_labels_and_resources_along(yard: Yard):
    put(yard, "train", replicas=2, reservations={"gpus": 1})
    for words in ({"resources": {"gpu": 2}}, {"labels": {"a zone": "a"}}):
        with pytest.raises(InvalidRequest):
            yard.ask(AddNodeRequest(name="big", **words))
    yard.ask(AddNodeRequest(name="big", labels={"zone": "a"}, resources={"gpus": 2}))
    yard.settle()
    assert yard.placed("train") == {"big": 2}
    with pytest.raises(Conflict):
        yard.ask(UpdateNodeRequest(node="big", body={"resources": {"gpus": 1}}))


def test_tasks_and_nodes_tell_which_devices_are_held(yard: Yard):
    put(yard, "train", replicas=3, reservations={"gpus": 1, "gpu_milli": 400, "gpu_models": ["A100"]})
    yard.run(1.0)
    assert yard.ask(DescribeService(service="train"))["waiting"]["summary"] == "no suitable node (no GPU on 5 nodes)"
    yard.ask(AddNodeRequest(name="big", resources={"gpus": 2}, gpu_model="A100"))
    yard.settle()
    tasks = yard.ask(DescribeTasks(service="train"))["results"]
    assert [(task["slot"], task["gpus"]) for task in tasks] == [
        (1, {"devices": [0], "milli": 400}),
        (2, {"devices": [0], "milli": 400}),
        (3, {"devices": [1], "milli": 400}),
    ]
    node = yard.ask(UpdateNodeRequest(node="big", body={"labels": {"zone": "a"}}))
    assert node["gpus"] == {"model": "A100", "taken_milli": [800, 400]}
    assert node["taken"] == {"slots": 3}
    with pytest.raises(InvalidRequest) as caught:
        yard.ask(AddNodeRequest(name="huge", resources={"gpus": 100}))
    assert caught.value.path == "$.resources.gpus"


def test_devices_stay_with_their_tasks_whoever_leads(yard: Yard):
    yard.ask(UpdateNodeRequest(node="node_0", body={"resources": {"gpus": 2}}))
    put(yard, "train", replicas=4, reservations={"gpus": 1, "gpu_milli": 500})
    yard.settle()
    before = [(task["id"], task["gpus"]) for task in yard.ask(DescribeTasks(service="train"))["results"]]
    yard.ask(RemoveNodeRequest(address=yard.leader()))
    yard.settle()
    after = [(task["id"], task["gpus"]) for task in yard.ask(DescribeTasks(service="train"))["results"]]
    assert len(before) == 4 and after == before


def test_profiles_and_affinities_go_through_the_log_and_say_how_nodes_compare(yard: Yard):
    for node in range(5):
        resources = {"cpu_milli": 4000, "memory_mib": 8192, "gpus": 2 * (node % 2)}
        yard.ask(UpdateNodeRequest(node=f"node_{node}", body={"resources": resources, "gpu_model": "T4"}))
    put(yard, "pack", replicas=5, reservations={"cpu_milli": 1000}, placement={"profile": "binpack"})
    yard.settle()
    assert yard.placed("pack") == {"node_0": 4, "node_1": 1}
    kept = {"gpus": 1, "gpu_milli": 500, "cpu_milli": 500}
    away = [{"service": "pack", "weight": -10}]
    put(yard, "share", replicas=3, reservations=kept, placement={"profile": "mixed", "affinities": away})
    yard.settle()
    assert yard.placed("share") == {"node_3": 3}
    shown = yard.ask(DescribeService(service="share"))["placement"]
    assert shown["profile"] == "mixed"
    assert {node: told["affinity"] for node, told in shown["nodes"].items()} == {
        yard.address("node_3"): 0,
        yard.address("node_1"): -10,
    }
    digests = {yard.node(name).state.digest() for name in yard.names()}
    assert len(digests) == 1, "every member holds the same devices"


def test_a_global_service_follows_the_nodes(yard: Yard):
    put(yard, "logs", mode="global")
    yard.settle()
    assert len(yard.placed("logs")) == 5
    yard.ask(AddNodeRequest(name="extra"))
    yard.settle()
    assert len(yard.placed("logs")) == 6
    yard.ask(UpdateNodeRequest(node="extra", body={"availability": "drain"}))
    yard.until(lambda: len(yard.placed("logs")) == 5)


def test_a_service_outlives_its_leader(yard: Yard):
    put(yard, "web", replicas=10, placement={"max_replicas_per_node": 3})
    yard.settle()
    yard.cut(*yard.around(yard.leader()))
    yard.run(3.0)
    yard.heal()
    yard.settle()
    assert put(yard, "web", version=1, replicas=12, placement={"max_replicas_per_node": 3})["version"] == 2
    yard.settle()
    assert max(yard.placed("web").values()) == 3 and sum(yard.placed("web").values()) == 12


def test_without_a_leader_nothing_is_promised(yard: Yard):
    yard.cut(*[(a, b) for a in yard.names() for b in yard.names() if a != b])
    yard.until(lambda: yard.front().leader is None)
    with pytest.raises(NoLeader):
        yard.ask(DescribeServices())


def test_the_clusters_clock_goes_on_from_leader_to_leader(yard: Yard):
    put(yard, "web", replicas=1)
    yard.run(5.0)
    put(yard, "web", replicas=2)
    before = yard.state().clock_ms()
    assert before >= 5_000
    yard.cut(*yard.around(yard.leader()))
    yard.run(3.0)
    yard.heal()
    yard.settle()
    put(yard, "web", replicas=3)
    yard.settle()
    assert before < yard.state().clock_ms() < before + 20_000


# -- replicas that end by themselves


def history(yard: Yard, name: str) -> list[tuple[int, str]]:
    return [(past["slot"], past["state"]) for past in yard.ask(DescribeService(service=name))["history"]]


def test_a_simulated_replica_takes_its_time_to_start_and_comes_to_its_end(yard: Yard):
    put(yard, "web", replicas=1, simulate={"start_s": 2, "run_s": 3, "exit_code": 1}, restart={"delay_s": 4})
    yard.run(1.0)
    assert [task["state"] for task in yard.ask(DescribeTasks(service="web"))["results"]] == ["STARTING"]
    yard.run(2.0)
    assert [task["state"] for task in yard.ask(DescribeTasks(service="web"))["results"]] == ["RUNNING"]
    yard.run(3.0)
    assert history(yard, "web") == [(1, "FAILED")]
    assert yard.ask(DescribeService(service="web"))["reason"].startswith("restarting: 1 of 1 replicas wait")
    yard.run(4.0)
    assert [task["state"] for task in yard.ask(DescribeTasks(service="web"))["results"]] == ["STARTING"]


def test_a_replica_that_fails_to_start_is_given_up_whatever_leaders_come_and_go(yard: Yard):
    policy = {"delay_s": 2, "max_attempts": 3}
    put(yard, "web", replicas=1, simulate={"start_s": 0.5, "fails_to_start": True}, restart=policy)
    for _ in range(4):
        yard.run(3.0)
        yard.cut(*yard.around(yard.leader()))
        yard.run(2.0)
        yard.heal()
    yard.run(20.0)
    shown = yard.ask(DescribeService(service="web"))
    assert (shown["given_up"], shown["pending"]) == (1, 0)
    assert history(yard, "web") == [(1, "FAILED")] * 4


def test_a_job_is_completed_even_where_its_nodes_lose_messages(yard: Yard):
    for source in yard.names():
        for target in yard.names():
            if source != target:
                policy = LinkPolicy(loss=0.3)
                yard.ask(SetLinkPolicyRequest(source=source, target=target, policy=policy))
    put(yard, "sum", mode="replicated-job", replicas=20, max_concurrent=6, simulate={"run_s": 0.5})
    yard.until(lambda: yard.ask(DescribeService(service="sum"))["completed"] == 20, within_s=60.0)
    shown = yard.ask(DescribeService(service="sum"))
    assert (shown["placed"], shown["pending"]) == (0, 0)


def test_times_in_answers_go_on_while_nothing_happens(yard: Yard):
    put(yard, "web", replicas=1, restart={"delay_s": 15}, simulate={"run_s": 1, "exit_code": 1})
    yard.until(lambda: yard.ask(DescribeService(service="web"))["history"])
    yard.run(5.0)

    def left_s(reason: str) -> float:
        return float(reason.partition("the next in ")[2].partition(" s")[0])

    before = yard.ask(DescribeService(service="web"))
    yard.run(5.0)
    after = yard.ask(DescribeService(service="web"))
    assert 9 <= left_s(before["reason"]) <= 10.5
    assert left_s(before["reason"]) - left_s(after["reason"]) == pytest.approx(5, abs=0.1)
    assert after["history"][0]["age_s"] - before["history"][0]["age_s"] == pytest.approx(5, abs=0.1)
    [listed] = yard.ask(DescribeServices())["results"]
    assert left_s(listed["reason"]) == pytest.approx(left_s(after["reason"]), abs=0.1)
    for detail in ("", "state"):
        [in_picture] = yard.picture(detail=detail)["services"]
        assert left_s(in_picture["reason"]) == pytest.approx(left_s(after["reason"]), abs=0.1)


def test_the_deadline_of_a_drain_is_told_at_once_and_comes_nearer(yard: Yard):
    put(yard, "web", replicas=50, simulate={"start_s": 30})
    yard.run(1.0)
    order = {"availability": "drain", "drain": {"max_parallel": 1, "deadline_s": 60}}
    first = yard.ask(UpdateNodeRequest(node="node_0", body=order))["drain"]
    assert 59 <= first["deadline_in_s"] <= 60
    yard.run(20.0)
    later = yard.ask(UpdateNodeRequest(node="node_0", body={"labels": {"a": "b"}}))["drain"]
    assert 39 <= later["deadline_in_s"] <= 40


def test_services_cannot_be_made_to_wait_for_each_other(yard: Yard):
    put(yard, "a", replicas=1, depends_on={"b": "started"})
    put(yard, "b", replicas=1, depends_on={"c": "started"})
    for change in (
        lambda: put(yard, "c", replicas=1, depends_on={"a": "started"}),
        lambda: yard.ask(DescribePlan(body={"service": {"name": "c", "spec": {"depends_on": {"a": "started"}}}})),
    ):
        with pytest.raises(InvalidRequest) as caught:
            change()
        told = "c waits for a, a waits for b, b waits for c: none of them could ever start"
        assert (str(caught.value).partition(";")[0], caught.value.hint) == (told, "take one of them out of depends_on")
    put(yard, "c", replicas=1)
    with pytest.raises(InvalidRequest) as caught:
        patch(yard, "c", depends_on={"a": "started"})
    assert caught.value.path == "$.depends_on"
    yard.settle()
    assert sum(yard.placed("a").values()) == 1


def test_what_a_node_has_and_how_far_its_drain_has_come_can_be_read_without_changing_it(yard: Yard):
    put(yard, "web", replicas=50, reservations={"cpu_milli": 100}, simulate={"start_s": 30})
    yard.run(1.0)
    order = {
        "availability": "drain",
        "drain": {"max_parallel": 1, "deadline_s": 60},
        "labels": {"zone": "a"},
        "resources": {"cpu_milli": 4000, "gpus": 2},
        "gpu_model": "T4",
        "platform": {"os": "linux", "arch": "arm64"},
    }
    patched = yard.ask(UpdateNodeRequest(node="node_0", body=order))
    shown = yard.ask(AskNode(node="node_0", with_facts=True))
    fields = ("id", "availability", "status", "labels", "resources", "platform", "taken", "gpus")
    assert {name: shown[name] for name in fields} == {name: patched[name] for name in fields}
    assert shown["taken"]["cpu_milli"] > 0 and shown["gpus"] == {"model": "T4", "taken_milli": [0, 0]}
    assert shown["drain"]["replicas_left"] > 0 and 58 <= shown["drain"]["deadline_in_s"] <= 60
    assert shown["state"] and shown["labels"] == {"zone": "a"}


def test_a_node_says_what_it_knows_itself_while_there_is_no_leader(yard: Yard):
    leader = yard.leader()
    others = [name for name in yard.names() if name != leader]
    yard.cut(*yard.around(others[0]), *yard.around(others[1]), *yard.around(others[2]))
    yard.until(lambda: yard.front().leader is None)
    shown = yard.ask(AskNode(node=others[3], with_facts=True))
    assert shown["id"] == others[3] and "taken" not in shown


def test_what_the_state_refuses_comes_with_what_to_do(yard: Yard):
    put(yard, "web", replicas=10)
    yard.settle()
    to_earlier = "send as to_version one of the versions that the service has in earlier, or PUT the spec itself"
    another = "remove it first, or choose another name"
    refusals = [
        (RollBackService(service="web"), "web has no spec from before an update", to_earlier),
        (RollBackService(service="web", to_version=9), "web has no spec of version 9; there is none", to_earlier),
        (
            UpdateNodeRequest(node="node_1", body={"capacity": 1}),
            "node_1: 2 slots are taken, more than 1",
            "drain the node first",
        ),
        (
            ChangeService(service="web", body={"mode": "global"}),
            "web is replicated and cannot become global",
            another,
        ),
        (DescribePlan(body={"service": {"name": "web", "spec": {"mode": "global"}}}), "web is replicated", another),
    ]
    for request, told, hint in refusals:
        with pytest.raises(Conflict) as caught:
            yard.ask(request)
        assert str(caught.value).startswith(told)
        assert caught.value.hint == hint


def test_a_patch_to_another_mode_is_told_that_first_and_not_what_that_mode_would_mind(yard: Yard):
    put(yard, "web", replicas=3)
    with pytest.raises(Conflict, match="web is replicated and cannot become global$") as caught:
        patch(yard, "web", mode="global")
    assert caught.value.hint == "remove it first, or choose another name"
    assert not patch(yard, "web", mode="replicated", replicas=4)["is_new"]
