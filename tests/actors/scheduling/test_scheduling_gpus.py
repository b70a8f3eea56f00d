"""Services that reserve GPU devices and shares of one: which devices their replicas hold, and why the rest waits."""

import random

import msgspec
import pytest
from control_loop import ControlLoop

from raftyard.actors.scheduling.reasons import explain
from raftyard.actors.state import commands as c
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.runs import PLAN, REPORT, pack


def racks(*gpus, model="A100"):
    """A loop with nodes of so many GPUs each."""
    loop = ControlLoop()
    for number, many in enumerate(gpus):
        loop.add(f"n{number}", 100)
        loop.node(f"n{number}", resources={"gpus": many}, gpu_model=model)
    return loop


def devices(loop, service="web"):
    """(node, devices) of each replica, by slot."""
    tasks = sorted(loop.state.tasks_of_service(service), key=lambda task: task.slot)
    return [(task.node, task.devices) for task in tasks if task.desired.name == "RUNNING"]


def place(loop, *starts, devices=(), service="web"):
    """Carry out a plan that some leader made."""
    part = c.ServicePlan(
        service=service, starts=pack(starts, PLAN), devices=pack([(mask,) for mask in devices], REPORT)
    )
    return loop.do(c.PlaceTasks(term=loop.term, made_at=0, plan=c.Plan(services=(part,))))


def test_a_replica_holds_as_many_devices_as_it_reserves():
    loop = racks(4, 4)
    loop.put(replicas=3, reservations={"gpus": 2})
    loop.settle()
    assert devices(loop) == [("n0", (0, 1)), ("n0", (2, 3)), ("n1", (0, 1))]


def test_shares_of_one_device_lie_side_by_side_and_never_span_two():
    loop = racks(2)
    loop.put(replicas=5, reservations={"gpus": 1, "gpu_milli": 400})
    loop.settle()
    assert devices(loop) == [("n0", (0,)), ("n0", (0,)), ("n0", (1,)), ("n0", (1,))]
    assert loop.state.service("web").pending == 1


def test_a_share_goes_to_the_device_that_it_fills_up_most():
    loop = racks(3)
    loop.put(name="large", replicas=1, reservations={"gpus": 1, "gpu_milli": 700})
    loop.settle()
    loop.put(replicas=2, reservations={"gpus": 1, "gpu_milli": 300})
    loop.settle()
    assert devices(loop) == [("n0", (0,)), ("n0", (1,))]


def test_only_devices_of_the_models_asked_for_are_given():
    loop = racks(2)
    loop.add("n1")
    loop.node("n1", resources={"gpus": 2}, gpu_model="T4")
    loop.put(replicas=3, reservations={"gpus": 1, "gpu_models": ["t4", "L4"]})
    loop.settle()
    assert devices(loop) == [("n1", (0,)), ("n1", (1,))]
    assert loop.state.pending()[0].reason == (
        "no suitable node: 1 of 3 replicas wait; "
        "no GPU of model t4 or L4 on 1 node; no whole GPU free (0 milli at most) on 1 node"
    )


def test_a_model_is_an_attribute_that_constraints_and_preferences_name():
    loop = racks(1)
    loop.add("n1")
    loop.put(replicas=1, placement={"constraints": ["node.gpu_model != A100"]})
    loop.settle()
    assert devices(loop) == [("n1", ())]


def test_why_a_replica_waits_is_said_device_by_device():
    loop = racks(2, 1, 0)
    loop.put(name="small", replicas=3, reservations={"gpus": 1, "gpu_milli": 800})
    loop.settle()
    loop.put(replicas=1, reservations={"gpus": 2, "gpu_milli": 250})
    loop.settle()
    told = explain(loop.state, "web")
    assert told.summary == (
        "no suitable node (fewer than 2 GPUs with 250 milli free (0 at most) on 2 nodes; no GPU on 1 node)"
    )
    assert dict(told.nodes) == {
        "n0": "GPUs with 200, 200 milli free, 2 with 250 needed",
        "n1": "GPUs with 200 milli free, 2 with 250 needed",
        "n2": "no GPU",
    }


def test_devices_are_free_again_when_their_replica_stops():
    loop = racks(2)
    loop.put(replicas=2, reservations={"gpus": 1})
    loop.settle()
    loop.put(replicas=1, reservations={"gpus": 1})
    loop.settle()
    loop.put(name="other", replicas=1, reservations={"gpus": 1, "gpu_milli": 10})
    loop.settle()
    assert devices(loop) == [("n0", (0,))]
    assert devices(loop, "other") == [("n0", (1,))]


def test_a_global_service_holds_devices_on_every_node_that_has_them():
    loop = racks(2, 0, 1)
    loop.put(mode="global", reservations={"gpus": 1, "gpu_milli": 100})
    loop.settle()
    assert devices(loop) == [("n0", (0,)), ("n2", (0,))]


def test_replicas_that_are_replaced_one_by_one_get_devices_of_their_own():
    loop = racks(2, 2)
    loop.put(replicas=4, reservations={"gpus": 1}, update={"monitor_s": 0})
    for _ in range(2):
        loop.settle()
        for node in ("n0", "n1"):
            loop.all_run(node)
    loop.put(replicas=4, reservations={"gpus": 1, "gpu_milli": 500}, update={"monitor_s": 0})
    for _ in range(10):
        loop.settle()
        for node in ("n0", "n1"):
            loop.all_run(node)
        loop.pass_time(2)
    held = [(task.node, task.devices, task.gpu_milli) for task in loop.state.tasks_of_service("web")]
    assert len(held) == 4 and {milli for _, _, milli in held} == {500}


def test_more_replicas_than_one_plan_may_choose_devices_for_take_several_plans():
    loop = racks(*[32] * 40)
    for node in range(40):
        loop.node(f"n{node}", capacity=1000)
    loop.put(replicas=2000, reservations={"gpus": 1, "gpu_milli": 500})
    outcomes = loop.settle()
    told = [sum(e.data["replicas"] for e in o.events if e.kind == "tasks-placed") for o in outcomes]
    assert sum(told) == 2000 and len(told) == 2
    assert set(loop.state.load_distribution("web").values()) == {50}


# what is refused where the plan is carried out


def test_a_plan_cannot_give_more_of_a_device_than_there_is():
    loop = racks(1)
    loop.put(replicas=3, reservations={"gpus": 1, "gpu_milli": 500})
    assert place(loop, (1, 3, 0), devices=[1]).ok
    assert devices(loop) == [("n0", (0,)), ("n0", (0,))]


def test_a_plan_cannot_give_one_device_twice_while_another_is_free():
    loop = racks(3)
    loop.put(replicas=4, reservations={"gpus": 1, "gpu_milli": 600})
    assert place(loop, (1, 2, 0), (3, 1, 0), (4, 1, 0), devices=[1, 4, 1]).ok
    assert devices(loop) == [("n0", (0,)), ("n0", (2,))]


@pytest.mark.parametrize("mask", [0, 2, 1 << 40, -1, 3])
def test_a_plan_cannot_give_devices_that_there_are_not_or_another_number_of_them(mask):
    loop = racks(1, 4)
    loop.put(replicas=1, reservations={"gpus": 1})
    assert place(loop, (1, 1, 0), devices=[mask]).ok
    assert devices(loop) == []


def test_a_plan_cannot_give_a_device_of_another_model():
    loop = racks(1)
    loop.put(replicas=1, reservations={"gpus": 1, "gpu_models": ["T4"]})
    place(loop, (1, 1, 0), devices=[1])
    assert devices(loop) == []


def test_a_plan_with_fewer_masks_than_runs_is_not_read():
    loop = racks(1)
    loop.put(replicas=2, reservations={"gpus": 1, "gpu_milli": 1})
    assert place(loop, (1, 1, 0), (2, 1, 0), devices=[1]).code == "malformed"


def test_a_node_keeps_the_devices_that_its_tasks_hold():
    loop = racks(4)
    loop.put(replicas=3, reservations={"gpus": 1})
    loop.settle()
    refused = loop.node("n0", resources={"gpus": 2})
    assert refused.reason == "n0: tasks hold devices beyond the first 2; drain the node first"
    assert loop.node("n0", resources={"gpus": 3}).ok


# what plans of earlier versions started: whole devices, by number alone


def test_a_plan_that_chose_no_devices_gives_whole_ones_by_number_alone():
    loop = racks(3)
    loop.put(replicas=2, reservations={"gpus": 1})
    place(loop, (1, 2, 0))
    assert devices(loop) == [("n0", ()), ("n0", ())]
    loop.put(name="new", replicas=3, reservations={"gpus": 1, "gpu_milli": 500})
    loop.settle()
    assert devices(loop, "new") == [("n0", (0,)), ("n0", (0,))], "two of three devices are somebody's"
    loop.put(replicas=5, reservations={"gpus": 1})
    place(loop, (3, 3, 0))
    assert len(devices(loop)) == 2, "the third device is touched"
    assert loop.node("n0", resources={"gpus": 2}).code == "invalid"


def test_shares_need_a_plan_that_chose():
    loop = racks(3)
    loop.put(replicas=2, reservations={"gpus": 1, "gpu_milli": 500})
    place(loop, (1, 2, 0))
    assert devices(loop) == []


# promises


def test_a_member_made_from_a_snapshot_goes_on_with_the_same_devices():
    loop = racks(2, 3)
    loop.put(replicas=4, reservations={"gpus": 1, "gpu_milli": 600})
    loop.settle()
    other = ClusterState()
    other.restore(loop.state.snapshot())
    other.check()
    assert other.digest() == loop.state.digest()
    assert other.tasks_of_service("web") == loop.state.tasks_of_service("web")
    loop.put(name="more", replicas=4, reservations={"gpus": 1, "gpu_milli": 400})
    for command in (c.decode(c.encode(loop.next_command())),):
        assert other.apply(loop.index, 1, c.PutService(name="more", spec=loop.state.service("more").spec)).ok
        loop.do(command)
        other.apply(loop.index, loop.term, command)
    assert other.tasks_of_service("more") == loop.state.tasks_of_service("more")


def test_a_replica_leaves_a_node_whose_gpus_turn_out_to_be_of_another_model():
    loop = racks(2, 2)
    loop.put(replicas=2, reservations={"gpus": 1, "gpu_models": ["A100"]})
    loop.settle()
    assert {node for node, _ in devices(loop)} == {"n0", "n1"}
    loop.status("n0", "down")
    loop.node("n0", gpu_model="T4")
    assert loop.state.service("web").misplaced == 0, "it is lost already"
    loop.status("n0", "ready")
    loop.node("n0", gpu_model="a100")
    loop.settle()
    loop.node("n0", gpu_model="T4")
    assert loop.state.service("web").misplaced == len([node for node, _ in devices(loop) if node == "n0"]) > 0
    loop.settle()
    assert [node for node, _ in devices(loop)] == ["n1", "n1"]
    assert loop.state.service("web").misplaced == 0


def test_a_node_that_comes_back_with_another_model_keeps_no_replica_that_names_one():
    loop = racks(2)
    loop.put(replicas=1, reservations={"gpus": 1, "gpu_models": ["A100"]})
    loop.settle()
    loop.status("n0", "down")
    loop.node("n0", gpu_model="T4")
    loop.status("n0", "ready")
    loop.settle()
    assert devices(loop) == [] and loop.state.service("web").pending == 1
    assert "no GPU of model A100 on 1 node" in explain(loop.state, "web").summary


def test_replicas_of_an_older_template_wait_for_their_turn_of_the_update():
    loop = racks(2, 2)
    loop.node("n1", gpu_model="T4")
    loop.put(replicas=2, reservations={"gpus": 1, "gpu_models": ["A100"]}, update={"parallelism": 1, "delay_s": 5})
    loop.settle()
    loop.put(replicas=2, reservations={"gpus": 1, "gpu_models": ["T4"]}, update={"parallelism": 1, "delay_s": 5})
    assert loop.state.service("web").misplaced == 0
    loop.do(loop.next_command())
    assert sorted(node for node, _ in devices(loop)) == ["n0", "n1"]


def test_what_a_node_runs_names_the_devices():
    loop = racks(2)
    loop.put(replicas=3, reservations={"gpus": 1, "gpu_milli": 500})
    loop.settle()
    runs = [(run.first_slot, run.count, run.devices, run.gpu_milli) for run in loop.state.assignments("n0").runs]
    assert runs == [(1, 2, (0,), 500), (3, 1, (1,), 500)]


def test_a_service_without_gpus_stands_in_the_log_as_before():
    loop = racks(2)
    loop.put(replicas=3)
    plan = loop.next_command().plan
    assert plan.services[0].devices == b""
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(loop.state.service("web").spec)) == {"replicas": 3}


@pytest.mark.parametrize("seed", range(20))
def test_no_device_is_ever_given_away_twice_and_what_waits_really_finds_none(seed):
    rng = random.Random(seed)
    loop = racks(*[rng.randrange(9) for _ in range(rng.randrange(1, 8))], model=rng.choice("PQ"))
    for step in range(12):
        kept = {"gpus": rng.randrange(1, 4), "gpu_milli": rng.choice((100, 250, 333, 500, 1000))}
        if rng.random() < 0.3:
            kept["gpu_models"] = ["P"]
        loop.put(name=f"s{step % 6}", replicas=rng.randrange(8), reservations=kept, update={"parallelism": 0})
        loop.settle()
        for waiting in loop.state.pending():
            told = explain(loop.state, waiting.service)
            assert "room for the next plan" not in dict(told.nodes).values(), told
