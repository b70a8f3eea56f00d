"""The agreed state: what each command does to it, and what it refuses."""

import random

import msgspec
import pytest

from raftyard.actors.state import commands as c
from raftyard.actors.state.machine import ClusterState, SnapshotError
from raftyard.actors.state.runs import PLAN, REPORT, pack, report_updates
from raftyard.actors.state.task_states import TaskState


class Log:
    """A state and its log: every command goes through its bytes, every promise is checked after it."""

    def __init__(self, nodes=0, capacity=10):
        self.state, self.index, self.term, self.calls = ClusterState(), 0, 1, 0
        for number in range(nodes):
            self.add(f"n{number}", capacity)

    def do(self, command):
        self.index += 1
        outcome = self.state.apply(self.index, self.term, c.decode(c.encode(command)))
        self.state.check()
        # The session table keeps outcomes, and the event log is JSON.
        assert msgspec.json.encode(outcome) and msgspec.msgpack.encode(outcome)
        return outcome

    def add(self, name, capacity=10, port=None):
        return self.do(c.AddNode(name=name, host="localhost", port=port, capacity=capacity))

    def status(self, name, status):
        return self.do(c.SetNodeStatus(name=name, status=status, term=self.term))

    def submit(self, id=None, key=None, **replicas):
        self.calls += 1
        services = tuple(c.ServiceRequest(name=name, replicas=count) for name, count in replicas.items())
        return self.do(
            c.SubmitCall(
                call=c.ServiceCall(id=id or f"call-{self.calls}", services=services, idempotency_key=key)
            )
        )

    def execute(self, *, starts=(), stops=(), service="web", call=None):
        return self.do(
            c.ExecuteCall(
                call_id=call or self.state.head().id,
                term=self.term,
                made_at=self.index,
                plan=plan(service, starts, stops),
            )
        )

    def place(self, *, starts=(), stops=(), service="web", term=None):
        return self.do(
            c.PlaceTasks(term=term or self.term, made_at=self.index, plan=plan(service, starts, stops))
        )

    def run(self, replicas, *starts):
        """A service `web` with these starts."""
        self.submit(web=replicas)
        return self.execute(starts=starts)

    def report(self, node, states, incarnation=1):
        return self.do(c.ReportTasks(node=node, incarnation=incarnation, updates=report_updates(states)))

    def slots(self, service="web"):
        slots, nodes, _ = self.state.running(service)
        return list(zip(slots.tolist(), nodes.tolist(), strict=True))


def plan(service, starts, stops):
    return c.Plan(
        services=(c.ServicePlan(service=service, starts=pack(starts, PLAN), stops=pack(stops, PLAN)),)
    )


# nodes


def test_a_node_joins_ready_and_the_same_again_changes_nothing():
    log = Log()
    assert log.add("n0", port=8001).nodes
    assert log.add("n0", port=8001).duplicate
    assert [(node.name, node.status) for node in log.state.nodes()] == [("n0", "ready")]


def test_a_name_or_address_in_use_is_refused():
    log = Log()
    log.add("n0", port=8001)
    assert log.add("n0", capacity=5, port=8001).code == "exists"
    assert log.add("n1", port=8001).code == "address-taken"
    assert log.add("n1", capacity=-1).code == "invalid"
    assert log.add("n1", capacity=2**60).code == "invalid"
    log.add("n2", port=8002)
    log.do(c.RemoveNode(name="n0"))
    assert log.add("n1", port=8001).ok


def test_a_removed_node_takes_its_tasks_along_and_its_name_may_come_back():
    log = Log(nodes=2)
    log.run(4, (1, 2, 0), (3, 2, 1))
    outcome = log.do(c.RemoveNode(name="n0"))
    assert outcome.nodes and outcome.services
    assert outcome.assignments == ()
    assert log.slots() == [(3, 1), (4, 1)]
    assert log.state.service("web").pending == 2
    assert log.do(c.RemoveNode(name="n0")).code == "unknown-node"
    log.add("n0")
    assert log.state.node("n0").number == 2
    assert log.state.assignments("n0").runs == ()


def test_nodes_may_trade_addresses_but_never_share_one():
    log = Log()
    log.add("a", 10, 9001)
    log.add("b", 10, 9002)
    traded = (("a", "localhost", 9002), ("b", "localhost", 9001), ("gone", "localhost", 9002))
    assert log.do(c.MoveNodes(addresses=traded)).nodes
    assert [log.state.node(name).port for name in "ab"] == [9002, 9001]
    assert log.do(c.MoveNodes(addresses=traded)).duplicate
    assert log.do(c.MoveNodes(addresses=(("a", "localhost", 9001),))).code == "address-taken"
    assert log.add("c", 10, 9001).code == "address-taken"
    assert log.do(c.MoveNodes(addresses=(("a", "localhost", 9005),))).nodes
    assert log.add("c", 10, 9002).nodes


def test_only_the_leader_of_the_entrys_term_says_how_a_node_is():
    log = Log(nodes=1)
    assert log.do(c.SetNodeStatus(name="n0", status="down", term=2)).code == "stale-term"
    assert log.state.node("n0").status == "ready"
    assert log.status("n0", "down").nodes
    assert log.status("n0", "down").duplicate
    assert log.status("n9", "down").code == "unknown-node"


def test_a_node_that_is_down_takes_nothing_and_keeps_its_replicas_until_they_are_replaced():
    log = Log(nodes=2)
    log.run(2, (1, 2, 0))
    log.status("n0", "down")
    web = log.state.service("web")
    assert (web.placed, web.lost, web.pending) == (0, 2, 2)
    assert log.state.free_slots().tolist() == [0, 10]
    log.place(starts=[(1, 1, 1)])
    assert log.state.load_of("n0") == 1
    assert log.slots() == [(1, 1), (2, 0)]
    log.status("n0", "ready")
    assert (log.state.service("web").placed, log.state.service("web").lost) == (2, 0)


# plans


def test_a_plan_of_another_term_is_refused_as_a_whole():
    log = Log(nodes=1)
    log.run(2)
    assert log.place(starts=[(1, 2, 0)], term=9).code == "stale-term"
    log.submit(web=1)
    log.term = 2
    late = c.ExecuteCall(call_id="call-2", term=1, made_at=1, plan=plan("web", [(1, 1, 0)], []))
    assert log.do(late).code == "stale-term"
    assert log.slots() == []
    assert log.state.head().id == "call-2"


def test_what_no_longer_fits_stays_pending_and_the_rest_is_placed():
    log = Log(nodes=2, capacity=3)
    outcome = log.run(8, (1, 5, 0), (6, 3, 1))
    assert log.slots() == [(1, 0), (2, 0), (3, 0), (6, 1), (7, 1), (8, 1)]
    assert (outcome.call.placed, outcome.call.pending) == (6, 2)
    assert "2 of 8 replicas wait" in outcome.call.reason
    assert "free slots 0 of 6 on 2 ready nodes" in outcome.call.reason


def test_capacity_counts_the_slots_that_a_replica_takes():
    log = Log(nodes=1, capacity=7)
    services = (c.ServiceRequest(name="web", replicas=4, slots_per_replica=3),)
    log.do(c.SubmitCall(call=c.ServiceCall(id="big", services=services)))
    call = log.execute(starts=[(1, 4, 0)]).call
    assert log.state.load_of("n0") == 6
    assert "each takes 3 slots and the freest node has 1" in call.reason


@pytest.mark.parametrize("node", [-1, 1, 2, 99])
def test_a_start_on_an_unknown_removed_or_down_node_is_dropped(node):
    log = Log(nodes=3)
    log.status("n1", "down")
    log.do(c.RemoveNode(name="n2"))
    log.run(2, (1, 1, node), (2, 1, 0))
    assert log.slots() == [(2, 0)]


def test_a_slot_that_runs_is_not_started_again_and_no_more_than_desired_start():
    log = Log(nodes=2)
    log.run(3, (1, 2, 0))
    log.place(starts=[(1, 3, 1), (9, 1, 1)])
    assert log.slots() == [(1, 0), (2, 0), (3, 1)]


def test_a_start_in_a_lost_slot_shuts_the_lost_task_down_in_the_same_step():
    log = Log(nodes=2)
    log.run(2, (1, 2, 0))
    log.report("n0", [(1, TaskState.RUNNING), (2, TaskState.RUNNING)])
    log.status("n0", "down")
    outcome = log.place(starts=[(1, 2, 1)])
    assert outcome.assignments == ("n0", "n1")
    assert log.slots() == [(1, 1), (2, 1)]
    old = log.state.tasks_of("n0")
    assert [task.desired for task in old] == [TaskState.SHUTDOWN] * 2
    log.status("n0", "ready")
    assert log.state.assignments("n0").runs == ()
    log.report("n0", [(1, TaskState.SHUTDOWN), (2, TaskState.SHUTDOWN)])
    assert log.state.tasks_of("n0") == ()


def test_stops_never_take_more_than_are_too_many():
    log = Log(nodes=1)
    log.run(5, (1, 5, 0))
    log.place(stops=[(1, 5)])
    assert len(log.slots()) == 5
    log.submit(web=3)
    log.execute(stops=[(5, 1), (1, 4)])
    assert log.slots() == [(2, 0), (3, 0), (4, 0)]


@pytest.mark.parametrize(
    ("starts", "stops"),
    [
        (b"123", b""),
        (b"", b"123"),
        (pack([(1, 0, 0)], PLAN), b""),
        (pack([(1, 3, 0), (2, 1, 0)], PLAN), b""),
        (pack([(2**31 - 1, 5, 0)], PLAN), b""),
    ],
)
def test_a_plan_that_cannot_be_read_changes_nothing(starts, stops):
    log = Log(nodes=1)
    log.submit(web=3)
    before = log.state.digest()
    broken = c.Plan(services=(c.ServicePlan(service="web", starts=starts, stops=stops),))
    assert log.do(c.ExecuteCall(call_id="call-1", term=1, made_at=1, plan=broken)).code == "malformed"
    assert log.do(c.PlaceTasks(term=1, made_at=1, plan=broken)).code == "malformed"
    log.state.applied_index -= 2
    assert log.state.digest() == before


def test_a_plan_for_a_service_that_is_not_known_is_empty():
    log = Log(nodes=1)
    assert log.place(starts=[(1, 1, 0)], service="other").assignments == ()


def test_assignments_have_a_version_that_changes_only_with_them():
    log = Log(nodes=2)
    log.run(4, (1, 2, 0), (3, 1, 1))
    first = log.state.assignments("n0")
    assert list(first.tasks()) == [(1, "web", 1), (2, "web", 2)]
    log.report("n0", [(1, TaskState.RUNNING)])
    assert log.place(starts=[(4, 1, 1)]).assignments == ("n1",)
    assert log.state.assignments("n0") == first
    assert log.state.assignments("n1").version == log.index
    assert log.state.assignments("n9").version == 0


def test_whatever_a_plan_or_a_report_says_the_promises_hold():
    for seed in range(60):
        rng = random.Random(seed)
        log = Log(nodes=3, capacity=rng.randrange(12))
        for _ in range(12):
            service, size = rng.choice(["web", "api"]), rng.randrange(1, 4)
            starts = [
                (rng.randrange(30), rng.randrange(1, 9), rng.randrange(-2, 5))
                for _ in range(rng.randrange(4))
            ]
            stops = [(rng.randrange(30), rng.randrange(1, 9)) for _ in range(rng.randrange(3))]
            request = c.ServiceRequest(name=service, replicas=rng.randrange(25), slots_per_replica=size)
            log.do(c.SubmitCall(call=c.ServiceCall(id=f"{log.index}", services=(request,))))
            assert log.execute(starts=starts, stops=stops, service=service).code in ("", "malformed"), (
                f"seed {seed}"
            )
            log.place(starts=starts[::-1], stops=stops[::-1], service=service)
            log.status(f"n{rng.randrange(3)}", rng.choice(["ready", "down"]))
            runs = [
                (rng.randrange(40), rng.randrange(1, 9), rng.choice([256, 512, 640, 7])) for _ in range(3)
            ]
            log.do(c.ReportTasks(node=f"n{rng.randrange(3)}", incarnation=1, updates=pack(runs, REPORT)))


# reports


def test_a_task_that_ends_leaves_its_slot_to_the_next_plan():
    log = Log(nodes=1)
    log.run(2, (1, 2, 0))
    outcome = log.report("n0", [(1, TaskState.FAILED)])
    assert outcome.assignments == ("n0",)
    assert log.slots() == [(2, 0)]
    assert log.state.load_of("n0") == 1
    log.place(starts=[(1, 1, 0)])
    assert [task.id for task in log.state.tasks_of("n0")] == [2, 3]


def test_a_report_of_another_node_an_older_incarnation_or_an_unknown_state_changes_nothing():
    log = Log(nodes=2)
    log.run(1, (1, 1, 0))
    log.report("n0", [], incarnation=3)
    before = log.state.tasks_of("n0")
    assert log.report("n1", [(1, TaskState.RUNNING)]).ok
    assert log.report("n0", [(1, TaskState.RUNNING)], incarnation=2).code == "stale-incarnation"
    assert log.report("n7", [(1, TaskState.RUNNING)]).code == "unknown-node"
    for updates in (b"xx", pack([(1, 2**62, 512)], REPORT), pack([(2**63 - 1, 1, 512)], REPORT)):
        assert log.do(c.ReportTasks(node="n0", incarnation=3, updates=updates)).code == "malformed"
    for state in (513, -1, 65_536 + 512, TaskState.PENDING):
        log.report("n0", [(1, state)], incarnation=3)
    log.report(
        "n0", [(0, TaskState.FAILED), (2, TaskState.FAILED), (10**18, TaskState.FAILED)], incarnation=3
    )
    assert log.state.tasks_of("n0") == before


def test_task_states_only_move_forward_whatever_is_reported():
    for seed in range(60):
        rng = random.Random(seed)
        log = Log(nodes=2)
        log.run(8, (1, 4, 0), (5, 4, 1))
        seen = {}
        for _ in range(20):
            states = [(rng.randrange(10), rng.choice(list(TaskState))) for _ in range(rng.randrange(5))]
            log.report(f"n{rng.randrange(2)}", dict(states).items())
            for task in log.state.tasks_of_service("web"):
                assert task.state >= seen.get(task.id, 0), f"seed {seed}: {task}"
                seen[task.id] = task.state


def test_the_furthest_of_two_states_in_one_report_counts():
    log = Log(nodes=1)
    log.run(3, (1, 3, 0))
    updates = pack([(1, 3, TaskState.RUNNING), (2, 2, TaskState.STARTING), (3, 1, TaskState.FAILED)], REPORT)
    log.do(c.ReportTasks(node="n0", incarnation=1, updates=updates))
    assert [(task.slot, task.state) for task in log.state.tasks_of("n0")] == [
        (1, TaskState.RUNNING),
        (2, TaskState.RUNNING),
    ]


def test_a_task_that_its_agent_never_saw_is_forgotten_when_it_is_stopped():
    log = Log(nodes=1)
    log.run(2, (1, 2, 0))
    log.report("n0", [(1, TaskState.ACCEPTED)])
    log.submit(web=0)
    log.execute(stops=[(1, 2)])
    assert [task.slot for task in log.state.tasks_of("n0")] == [1]


def test_a_node_that_started_anew_no_longer_has_what_it_was_told_to_stop():
    log = Log(nodes=1)
    log.run(2, (1, 2, 0))
    log.report("n0", [(1, TaskState.RUNNING), (2, TaskState.RUNNING)])
    log.submit(web=1)
    log.execute(stops=[(2, 1)])
    assert len(log.state.tasks_of("n0")) == 2
    log.report("n0", [], incarnation=2)
    assert [task.slot for task in log.state.tasks_of("n0")] == [1]
    assert log.state.node("n0").incarnation == 2


# further clusters


def test_further_clusters_are_created_replaced_and_removed():
    log = Log()
    nodes = (c.ClusterNode(name="a", host="localhost", port=8101, capacity=5),)
    assert log.do(c.CreateCluster(id="1", nodes=nodes)).clusters
    assert log.do(c.CreateCluster(id="1", nodes=())).code == "exists"
    assert log.do(c.ReplaceCluster(id="1", nodes=())).clusters
    assert log.state.cluster("1").nodes == ()
    assert log.do(c.RemoveCluster(id="1")).clusters
    assert log.do(c.RemoveCluster(id="1")).code == "unknown-cluster"
    assert log.state.clusters() == ()


# snapshots


def test_a_restored_state_is_the_same_and_goes_on_the_same():
    log = Log(nodes=3)
    log.run(9, (1, 4, 0), (5, 4, 1))
    log.report("n0", [(1, TaskState.FAILED), (2, TaskState.RUNNING)])
    log.submit(web=4, api=1)
    log.submit(web=5, key="k")
    log.submit(web=6)
    other = ClusterState()
    other.restore(log.state.snapshot())
    other.check()
    assert other.digest() == log.state.digest()
    assert other.pending_calls() == log.state.pending_calls()
    finish = c.ExecuteCall(
        call_id=log.state.head().id, term=1, made_at=0, plan=plan("web", [(1, 1, 2)], [(5, 4)])
    )
    assert other.apply(log.index + 1, 1, finish) == log.do(finish)
    assert other.digest() == log.state.digest()


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x80"])
def test_bytes_that_are_no_snapshot_are_refused_and_change_nothing(data):
    log = Log(nodes=1)
    before = log.state.digest()
    with pytest.raises(SnapshotError):
        log.state.restore(data)
    assert log.state.digest() == before


def test_statistics_count_what_is_there():
    log = Log(nodes=2)
    log.run(5, (1, 3, 0))
    statistics = log.state.statistics()
    assert statistics["replicas_placed"] == 3
    assert statistics["replicas_pending"] == 2
    assert statistics["load"] == 3
    assert statistics["capacity"] == 20


def test_the_last_node_is_not_removed():
    log = Log()
    log.add("n0")
    log.add("n1")
    assert log.do(c.RemoveNode(name="n0")).ok
    refused = log.do(c.RemoveNode(name="n1"))
    assert (refused.ok, refused.code) == (False, "last-node")
    assert [node.name for node in log.state.nodes()] == ["n1"]
