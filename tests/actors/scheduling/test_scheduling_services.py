"""Services as they were asked for: where replicas may go, what moves when that changes, and why the rest waits."""

import pytest
from control_loop import ControlLoop

from raftyard.actors.scheduling.reasons import explain
from raftyard.actors.scheduling.reconcile import plan_repair
from raftyard.actors.state import commands as c
from raftyard.actors.state.runs import report_updates
from raftyard.actors.state.task_states import TaskState


def zones(*names):
    """A loop with a node in each of these zones."""
    loop = ControlLoop()
    for number, zone in enumerate(names):
        loop.add(f"n{number}", 10)
        if zone:
            loop.node(f"n{number}", labels={"zone": zone})
    return loop


def placed(loop, service="web"):
    return dict(loop.state.load_distribution(service))


# versions


def test_a_service_has_a_version_that_guards_every_change():
    loop = ControlLoop(nodes=2)
    assert loop.put(replicas=3, version=1).code == "stale-version"
    assert loop.put(replicas=3, version=0).version == 1
    assert loop.put(replicas=3, version=0).code == "stale-version"
    assert loop.put(replicas=4, version=1).version == 2
    assert loop.put(replicas=4, version=2).duplicate
    assert loop.put(replicas=9).version == 3
    assert loop.do(c.RemoveService(name="web", version=2)).code == "stale-version"
    assert loop.do(c.RemoveService(name="web", version=3)).ok
    assert loop.do(c.RemoveService(name="web")).code == "unknown-service"


def test_earlier_specs_are_kept_ten_of_them_and_calls_are_not_among_them():
    loop = ControlLoop(nodes=1, capacity=100)
    for replicas in range(1, 15):
        loop.put(replicas=replicas)
    assert [version for version, _ in loop.state.service("web").earlier] == list(range(4, 14))
    loop.ask(web=20)
    assert [version for version, _ in loop.state.service("web").earlier] == list(range(4, 14))
    assert loop.state.service("web").version == 15


def test_a_call_sets_the_number_and_leaves_the_rest_of_the_spec_alone():
    loop = zones("a", "b")
    loop.put(image="nginx", replicas=2, placement={"constraints": ["node.labels.zone == b"]})
    loop.settle()
    loop.ask(web=5)
    spec = loop.state.service("web").spec
    assert (spec.image, spec.replicas) == ("nginx", 5)
    assert placed(loop) == {"n1": 5}


@pytest.mark.parametrize(
    ("said", "slots", "description"),
    [({}, 5, "the shop"), ({"slots": 2}, 2, "the shop"), ({"label": "a shop"}, 5, "a shop")],
)
def test_a_call_keeps_the_slots_and_the_description_that_it_does_not_speak_of(said, slots, description):
    loop = ControlLoop(nodes=2)
    loop.put(replicas=2, description="the shop", reservations={"slots": 5, "cpu_milli": 100})
    loop.settle()
    loop.call(container={"name": "web", "replicas": 4, **said})
    spec = loop.state.service("web").spec
    assert (spec.replicas, spec.reservations.slots, spec.description) == (4, slots, description)
    assert spec.reservations.cpu_milli == 100


def test_a_call_of_an_older_log_resets_the_slots_and_the_description():
    loop = ControlLoop(nodes=2)
    loop.put(replicas=2, description="the shop", reservations={"slots": 5})
    loop.settle()
    loop.ask(web=4)
    spec = loop.state.service("web").spec
    assert (spec.replicas, spec.reservations.slots, spec.description) == (4, 1, "")


def test_a_mode_is_for_life():
    loop = ControlLoop(nodes=1)
    loop.put(mode="global")
    assert loop.put(replicas=1).code == "mode"


def test_a_removed_service_is_gone_when_its_last_task_is_and_its_name_is_free_at_once():
    loop = ControlLoop(nodes=2)
    loop.put(replicas=4)
    loop.settle()
    for node in ("n0", "n1"):
        loop.all_run(node)
    loop.do(c.RemoveService(name="web"))
    assert loop.state.services() == () and loop.settle() == []
    assert len(loop.state.tasks_of("n0")) == 2
    loop.put(replicas=1)
    loop.settle()
    for node in ("n0", "n1"):
        loop.all_run(node)
    assert [task.service for node in ("n0", "n1") for task in loop.state.tasks_of(node)] == ["web"]
    assert loop.state.service("web").number == 1
    assert loop.state.task_page(None, 0, 10)[0] == 1


# filters


def test_constraints_decide_where_replicas_may_go():
    loop = zones("a", "b", "")
    loop.put(replicas=4, placement={"constraints": ["node.labels.zone in (a, b)"]})
    loop.settle()
    assert placed(loop) == {"n0": 2, "n1": 2}
    loop.put(name="other", replicas=2, placement={"constraints": ["node.labels.zone != a"]})
    loop.settle()
    assert placed(loop, "other") == {"n2": 2}


def test_replicas_leave_a_node_whose_labels_no_longer_suit_and_the_others_stay():
    loop = zones("a", "a", "b")
    loop.put(replicas=4, placement={"constraints": ["node.labels.zone == a"]})
    loop.settle()
    before = loop.tasks()
    loop.node("n1", labels={"zone": "c"})
    assert loop.state.service("web").misplaced == 2
    loop.settle()
    after = loop.tasks()
    assert placed(loop) == {"n0": 4}
    assert {slot: task for slot, task in before.items() if task[0] == "n0"}.items() <= after.items()


def test_resources_run_out_one_by_one_and_unwatched_ones_never_do():
    loop = ControlLoop(nodes=2, capacity=100)
    loop.node("n0", resources={"cpu_milli": 1000})
    loop.put(replicas=3, reservations={"cpu_milli": 400, "memory_mib": 10**6})
    loop.settle()
    assert placed(loop)["n0"] <= 2
    loop.put(replicas=50, reservations={"cpu_milli": 400, "memory_mib": 10**6})
    loop.settle()
    assert placed(loop) == {"n0": 2, "n1": 48}


def test_devices_and_custom_resources_have_to_be_there():
    loop = ControlLoop(nodes=2)
    loop.node("n1", resources={"gpus": 2, "ssd": 1})
    loop.put(replicas=3, reservations={"gpus": 1})
    loop.settle()
    assert placed(loop) == {"n1": 2}
    assert loop.state.pending()[0].reason == (
        "no suitable node: 1 of 3 replicas wait; no GPU on 1 node; no whole GPU free (0 milli at most) on 1 node"
    )
    loop.put(name="store", replicas=1, reservations={"custom": {"ssd": 1}})
    loop.settle()
    assert placed(loop, "store") == {"n1": 1}


def test_a_published_port_is_taken_once_a_node_whoever_publishes_it():
    loop = ControlLoop(nodes=2)
    loop.put(replicas=1, ports=[{"published": 80}])
    loop.settle()
    loop.put(name="api", replicas=3, ports=[{"published": 80}])
    loop.settle()
    assert len(placed(loop, "api")) == 1
    assert "port 80/tcp in use on 2 nodes" in loop.state.pending()[0].reason
    loop.put(name="dns", replicas=2, ports=[{"published": 80, "protocol": "udp"}])
    loop.settle()
    assert placed(loop, "dns") == {"n0": 1, "n1": 1}


def test_no_more_replicas_a_node_than_the_spec_says():
    loop = ControlLoop(nodes=3)
    loop.put(replicas=7, placement={"max_replicas_per_node": 2})
    loop.settle()
    assert placed(loop) == {"n0": 2, "n1": 2, "n2": 2}
    assert "most replicas a node reached on 3 nodes" in loop.state.pending()[0].reason


def test_platforms_are_matched_in_the_parts_that_are_named():
    loop = ControlLoop(nodes=3)
    loop.node("n0", platform={"os": "linux", "arch": "arm64"})
    loop.node("n1", platform={"os": "windows", "arch": "amd64"})
    loop.put(replicas=2, placement={"platforms": [{"os": "linux"}, {"arch": "riscv"}]})
    loop.settle()
    assert placed(loop) == {"n0": 2}


def test_replicas_are_spread_over_label_levels_and_taken_away_evenly():
    loop = ControlLoop()
    for number, (zone, rack) in enumerate([("a", "1"), ("a", "1"), ("a", "2"), ("b", "3")]):
        loop.add(f"n{number}", 20)
        loop.node(f"n{number}", labels={"zone": zone, "rack": rack})
    loop.put(replicas=16, placement={"preferences": ["node.labels.zone", "node.labels.rack"]})
    loop.settle()
    assert placed(loop) == {"n0": 2, "n1": 2, "n2": 4, "n3": 8}
    loop.put(replicas=8, placement={"preferences": ["node.labels.zone", "node.labels.rack"]})
    loop.settle()
    assert placed(loop) == {"n0": 1, "n1": 1, "n2": 2, "n3": 4}


def test_every_node_says_why_it_takes_none_with_its_figures():
    loop = zones("a", "b", "b", "b", "b", "b")
    loop.node("n2", availability="pause")
    loop.node("n3", availability="drain")
    loop.status("n4", "down")
    loop.node("n5", resources={"cpu_milli": 100})
    rules = {"constraints": ["node.labels.zone == b"], "max_replicas_per_node": 1}
    loop.put(replicas=3, placement=rules, reservations={"cpu_milli": 200})
    loop.settle()
    told = explain(loop.state, "web")
    assert dict(told.nodes) == {
        "n0": "node.labels.zone == b: here it is a",
        "n1": "1 replicas here, at most 1 a node",
        "n2": "paused",
        "n3": "draining",
        "n4": "down",
        "n5": "100 of 100 cpu_milli free, 200 needed",
    }
    assert told.summary.startswith("no suitable node (constraints not met on 1 node; ")


# nodes


def test_a_paused_node_keeps_what_it_has_and_gets_nothing_new():
    loop = ControlLoop(nodes=2)
    loop.put(replicas=4)
    loop.settle()
    loop.node("n0", availability="pause")
    assert loop.settle() == []
    loop.put(replicas=8)
    loop.settle()
    assert placed(loop) == {"n0": 2, "n1": 6}


def test_a_drained_node_gives_up_all_it_has_and_takes_load_again_when_it_is_active():
    loop = ControlLoop(nodes=3)
    loop.put(replicas=6)
    loop.settle()
    before = loop.tasks()
    loop.node("n0", availability="drain")
    loop.settle()
    assert placed(loop) == {"n1": 3, "n2": 3}
    assert [slot for slot in before if before[slot] != loop.tasks()[slot]] == [
        slot for slot in before if before[slot][0] == "n0"
    ]
    loop.node("n0", availability="active")
    assert loop.settle() == []
    loop.put(replicas=8)
    loop.settle()
    assert placed(loop)["n0"] == 2


def test_a_gentle_drain_moves_so_many_at_a_time_until_its_deadline():
    loop = ControlLoop(nodes=3, capacity=100)
    loop.put(replicas=9)
    loop.settle()
    for node in ("n0", "n1", "n2"):
        loop.all_run(node)
    loop.node("n0", availability="drain", drain={"max_parallel": 2, "deadline_s": 60})
    loop.settle()
    assert placed(loop)["n0"] == 1, "two moved; what took their place does not run yet"
    assert loop.settle() == []
    for node in ("n1", "n2"):
        loop.all_run(node)
    loop.settle()
    assert "n0" not in placed(loop)


def test_a_gentle_drain_does_not_wait_for_what_a_job_leaves_for_later():
    loop = ControlLoop(nodes=2)
    loop.put(mode="replicated-job", replicas=4, max_concurrent=1)
    loop.settle()
    loop.all_run("n0")
    loop.node("n0", availability="drain", drain={"max_parallel": 1})
    loop.settle()
    assert placed(loop) == {"n1": 1}


def fail(loop, slot):
    node, task = loop.tasks()[slot]
    loop.do(c.ReportTasks(node=node, incarnation=1, updates=report_updates([(task, TaskState.FAILED)])))


def test_a_gentle_drain_goes_on_while_a_replica_elsewhere_fails_again_and_again():
    loop = ControlLoop(nodes=3)
    loop.put(replicas=3, restart={"delay_s": 5})
    loop.settle()
    for node in ("n0", "n1", "n2"):
        loop.all_run(node)
    loop.node("n0", availability="drain", drain={"max_parallel": 1})
    for _ in range(3):
        fail(loop, slot=2)
        loop.settle()
        assert loop.tasks()[1][0] != "n0"
        loop.pass_time(5)
        loop.settle()
    assert sorted(loop.tasks()) == [1, 2, 3]


def test_a_gentle_drain_stops_where_what_it_moved_fails_in_its_new_place():
    loop = ControlLoop(nodes=2)
    loop.put(replicas=6, restart={"delay_s": 5})
    loop.settle()
    for node in ("n0", "n1"):
        loop.all_run(node)
    before = loop.tasks()
    loop.node("n0", availability="drain", drain={"max_parallel": 1})
    for _ in range(10):
        loop.settle()
        for slot, now in loop.tasks().items():
            if now != before[slot]:
                fail(loop, slot)
        loop.settle()
        loop.pass_time(5)
    assert placed(loop)["n0"] == 1, "the one that it may, and one beside it"


def test_after_its_deadline_a_drain_waits_for_nobody():
    loop = ControlLoop(nodes=2, capacity=10)
    loop.put(replicas=20)
    loop.settle()
    for node in ("n0", "n1"):
        loop.all_run(node)
    loop.node("n0", availability="drain", drain={"max_parallel": 1, "deadline_s": 60})
    assert loop.state.waits_for_time(0)
    loop.pass_time(1)
    assert not loop.state.waits_for_time(0)
    loop.settle()
    assert placed(loop)["n0"] == 9, "there is no room elsewhere, so one moved and the rest stays"
    assert plan_repair(loop.state, loop.state.clock_ms() + 59_000) is None
    assert plan_repair(loop.state, loop.state.clock_ms() + 60_000) is not None
    loop.pass_time(60)
    loop.settle()
    assert placed(loop) == {"n1": 10}


def test_a_node_cannot_shrink_below_what_runs_on_it():
    loop = ControlLoop(nodes=1)
    loop.node("n0", resources={"cpu_milli": 1000})
    loop.put(replicas=4, reservations={"cpu_milli": 200})
    loop.settle()
    assert loop.node("n0", resources={"cpu_milli": 700}).code == "invalid"
    assert "800 cpu_milli are taken" in loop.node("n0", resources={"cpu_milli": 700}).reason
    assert loop.node("n0", resources={"cpu_milli": 800}).ok
    assert loop.node("n0", capacity=3).code == "invalid"
    assert loop.node("n0", capacity=3).reason.startswith("n0: 4 slots are taken")


# global services


def test_a_global_service_is_on_every_node_that_may_have_it():
    loop = zones("a", "b", "a")
    loop.put(mode="global", placement={"constraints": ["node.labels.zone == a"]})
    loop.settle()
    assert placed(loop) == {"n0": 1, "n2": 1}
    loop.add("n3")
    assert loop.settle() == []
    loop.node("n3", labels={"zone": "a"})
    loop.settle()
    assert placed(loop) == {"n0": 1, "n2": 1, "n3": 1}
    loop.node("n0", availability="drain")
    loop.node("n2", availability="pause")
    loop.settle()
    assert placed(loop) == {"n2": 1, "n3": 1}
    assert loop.state.service("web").pending == 0


def test_a_call_for_a_global_service_that_an_older_log_carried_out_changes_nothing():
    loop = ControlLoop(nodes=2)
    loop.put("logs", mode="global")
    loop.settle()
    before = loop.state.service("logs")
    assert loop.ask(logs=7).status == "executed"
    assert loop.state.service("logs") == before


def test_a_global_replica_waits_for_its_node_to_come_back():
    loop = ControlLoop(nodes=3)
    loop.put(mode="global")
    loop.settle()
    before = loop.tasks()
    loop.status("n1", "down")
    assert loop.settle() == []
    assert loop.state.service("web").replicas == 2
    loop.status("n1", "ready")
    assert loop.settle() == []
    assert loop.tasks() == before


def test_a_global_replica_without_room_waits_and_says_why():
    loop = ControlLoop(nodes=2, capacity=3)
    loop.ask(big=6)
    loop.put(mode="global")
    loop.settle()
    assert loop.state.pending()[0].reason.startswith("no room: 2 of 2 replicas wait")
    loop.ask(big=5)
    loop.settle()
    assert len(placed(loop)) == 1


@pytest.mark.parametrize("mode", [{"replicas": 2}, {"mode": "global"}])
def test_a_plan_that_comes_late_puts_nothing_where_it_may_not_be(mode):
    loop = zones("a", "a")
    loop.put(**mode, placement={"constraints": ["node.labels.zone == a"]})
    late = loop.next_command()
    loop.node("n1", labels={"zone": "b"})
    loop.do(late)
    assert set(placed(loop)) == {"n0"}
    loop.settle()
    assert loop.state.service("web").misplaced == 0
