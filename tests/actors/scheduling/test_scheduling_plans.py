"""Plans: what a change would start, stop, move and leave waiting is what then really happens."""

import os
import random

import pytest
from control_loop import ControlLoop
from test_scheduling_campaign import Storm

from raftyard.actors.scheduling.forecast import next_moment
from raftyard.actors.scheduling.planning import plan_slices
from raftyard.actors.scheduling.preempting import plan_preemption
from raftyard.actors.scheduling.wishes import (
    CallWish,
    DrainWish,
    LossWish,
    ServiceWish,
    StackWish,
    commands_of,
)
from raftyard.actors.state import commands as c
from raftyard.actors.state.forks import fork
from raftyard.actors.state.spec_reading import read_spec
from raftyard.actors.state.untold import runs_of

SEED = int(os.environ.get("RAFTYARD_SEED", "1"))


def finished(slices):
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return end.value


def plan(loop, wish):
    return finished(plan_slices(fork(loop.state), wish, loop.term, loop.state.clock_ms()))


def put(name="web", version=None, **spec):
    return ServiceWish(name=name, spec=read_spec(spec, name=name), version=version)


def only(planned):
    (service,) = planned.services
    return service


def running(nodes=3, capacity=10, **spec):
    loop = ControlLoop(nodes=nodes, capacity=capacity)
    loop.put(**spec)
    loop.settle()
    for node in loop.state.nodes():
        loop.all_run(node.name)
    return loop


# services


def test_a_new_service_starts_where_there_is_room_and_the_rest_waits_with_its_reason_node_by_node():
    service = only(plan(ControlLoop(nodes=2, capacity=3), put(replicas=8)))
    assert (service.starts, service.waits, service.before) == (6, 2, None)
    assert service.nodes == (("n0", 3, 0), ("n1", 3, 0))
    assert service.summary == "no suitable node (too few free slots on 2 nodes)"
    assert dict(service.obstacles)["n1"] == "0 of 3 slots free, 1 needed"


def test_a_change_of_the_number_alone_keeps_what_runs():
    service = only(plan(running(replicas=6), put(replicas=8)))
    assert (service.starts, service.stops, service.keeps, service.replaces) == (2, 0, 6, 0)
    assert [(one.field, one.before, one.after, one.replaces) for one in service.changes] == [
        ("replicas", 6, 8, False)
    ]
    service = only(plan(running(replicas=6), put(replicas=2)))
    assert (service.starts, service.stops, service.keeps) == (0, 4, 2)


def test_another_image_replaces_all_replicas_and_the_steps_say_how_long_that_takes():
    loop = running(replicas=6, image="a")
    planned = plan(loop, put(replicas=6, image="b", update={"parallelism": 2, "delay_s": 10}))
    service = only(planned)
    assert (service.replaces, service.moves, service.keeps, service.waits) == (6, 0, 0, 0)
    assert {one.field: one.replaces for one in service.changes} == {
        "image": True,
        "update.parallelism": False,
        "update.delay_s": False,
    }
    assert [(step.at_ms, step.starts, step.stops) for step in planned.steps] == [
        (0, 2, 2),
        (10_000, 2, 2),
        (20_000, 2, 2),
    ]
    assert planned.is_complete


def test_an_update_too_long_to_be_followed_says_so():
    planned = plan(running(replicas=20, image="a"), put(replicas=20, image="b", update={"delay_s": 10_000}))
    assert not planned.is_complete
    assert only(planned).replaces < 20


def test_the_same_spec_again_changes_nothing():
    planned = plan(running(replicas=3), put(replicas=3))
    assert only(planned).keeps == 3
    assert not planned.steps


def test_what_the_state_machine_would_refuse_is_refused_and_says_why():
    loop = running(replicas=3)
    assert plan(loop, put(replicas=5, version=7)).refusal.code == "stale-version"
    assert plan(loop, put(mode="global")).refusal.code == "mode"


def test_services_that_wait_get_what_another_gives_up_and_stand_in_the_plan():
    loop = running(replicas=30)
    loop.put("late", replicas=4)
    loop.settle()
    planned = plan(loop, put(replicas=27))
    services = {service.name: service for service in planned.services}
    assert (services["web"].stops, services["late"].starts) == (3, 3)
    assert (services["late"].waited, services["late"].waits) == (4, 1)


def test_a_service_that_waits_for_another_starts_in_a_later_step():
    loop = ControlLoop(nodes=2)
    loop.put("web", replicas=2, depends_on={"db": "healthy"})
    planned = plan(loop, put("db", replicas=1))
    assert [step.services for step in planned.steps] == [("db",), ("web",)]


def test_a_plan_carries_the_index_that_it_was_made_at():
    loop = running(replicas=3)
    assert plan(loop, put(replicas=5)).made_at == loop.index


# service calls, drains, losses


def test_a_service_call_is_planned_as_it_would_be_carried_out():
    wish = CallWish(services=(c.ServiceRequest(name="web", replicas=2), c.ServiceRequest(name="new", replicas=4)))
    services = {service.name: service for service in plan(running(replicas=6), wish).services}
    assert (services["web"].stops, services["web"].keeps, services["new"].starts) == (4, 2, 4)


def test_a_drain_moves_what_fits_and_says_what_does_not():
    loop = running(replicas=27)
    service = only(plan(loop, DrainWish(nodes=("n0",))))
    assert (service.moves, service.stops, service.waits, service.keeps) == (2, 7, 7, 18)
    assert dict(service.obstacles)["n0"] == "draining"


def test_a_gentle_drain_is_followed_step_by_step():
    planned = plan(running(replicas=6), DrainWish(nodes=("n0",), parallel=1))
    assert [(step.starts, step.stops) for step in planned.steps] == [(1, 1), (1, 1)]


def test_the_loss_of_nodes_moves_what_fits_elsewhere():
    service = only(plan(running(replicas=15), LossWish(nodes=("n0", "n1"))))
    assert (service.moves, service.stops, service.waits, service.keeps) == (5, 5, 5, 5)
    assert service.nodes == (("n0", 0, 5), ("n1", 0, 5), ("n2", 5, 0))


def test_a_global_service_simply_has_fewer_replicas_without_the_node():
    service = only(plan(running(mode="global"), LossWish(nodes=("n0",))))
    assert (service.moves, service.waits, service.keeps) == (0, 0, 2)
    assert service.after.replicas == 2


def test_a_rebalance_that_is_under_way_goes_on_in_the_plan():
    loop = running(nodes=2, replicas=4)
    slot, (_, task) = next((slot, at) for slot, at in loop.tasks().items() if at[0] == "n0")
    move = c.RebalanceMove(task=task, service="web", slot=slot, source=0, target=1)
    costs = {"made_at": loop.index, "cost_before": 2.0, "cost_after": 1.0}
    loop.do(c.StartRebalance(max_parallel=1, moves=(move,), **costs))
    services = {service.name: service for service in plan(loop, put("new", replicas=1)).services}
    assert services["web"].moves == 1
    assert services["web"].nodes == (("n0", 0, 1), ("n1", 1, 0))


def test_who_has_to_go_for_the_service_stops_in_the_plan_and_waits_with_the_reason():
    loop = running(nodes=2, capacity=4, name="low", replicas=8, priority=20)
    loop.do(c.ChangeSettings(preemption=True))
    planned = plan(loop, put("high", replicas=3, priority=80))
    services = {service.name: service for service in planned.services}
    high, low = services["high"], services["low"]
    assert (high.starts, high.waits, high.preempted_by) == (3, 0, ())
    assert (low.stops, low.waits, low.keeps, low.preempted_by) == (3, 3, 5, (("high", 3),))
    assert low.reason.startswith("preempted by high; no room")
    assert [(step.starts, step.stops, sorted(step.services)) for step in planned.steps] == [(3, 3, ["high", "low"])]


def test_without_the_setting_a_plan_makes_nobody_go():
    loop = running(nodes=2, capacity=4, name="low", replicas=8, priority=20)
    high = only(plan(loop, put("high", replicas=3, priority=80)))
    assert (high.starts, high.waits) == (0, 3)


# the promise


class Ranked(Storm):
    """With priorities, and a leader that makes others go for what is higher."""

    def __init__(self, seed):
        super().__init__(seed)
        self.ranks = random.Random(f"ranks/{seed}")
        self.do(c.ChangeSettings(preemption=True))

    def put(self, name="web", version=None, **spec):
        return super().put(name, version, priority=self.ranks.choice((0, 15, 40, 90)), **spec)

    def next_command(self):
        plan = super().next_command() or plan_preemption(self.state)
        return c.PlaceTasks(term=self.term, made_at=self.index, plan=plan) if isinstance(plan, c.Plan) else plan


def wish_of(storm, rng):
    match rng.randrange(5):
        case 0:
            names = [node.name for node in storm.state.nodes()]
            chosen = tuple(rng.sample(names, min(len(names), rng.randrange(1, 3))))
            gentle = {"parallel": rng.randrange(1, 3), "deadline_s": rng.choice((None, 7.0))}
            return DrainWish(nodes=chosen, **(gentle if rng.random() < 0.5 else {}))
        case 1:
            names = [node.name for node in storm.state.nodes()]
            return LossWish(nodes=tuple(rng.sample(names, min(len(names), rng.randrange(1, 3)))))
        case 2:
            names = rng.sample(("s_a", "s_b", "web"), rng.randrange(1, 3))
            specs = [(name, read_spec({"replicas": rng.randrange(9), "image": rng.choice("xy")})) for name in names]
            return StackWish(name="s", services=tuple(specs))
        case 3:
            request = c.ServiceRequest(name=rng.choice(("web", "api", "new")), replicas=rng.randrange(30))
            return CallWish(services=(request,))
        case _:
            name = rng.choice(("web", "api", "everywhere", "new"))
            spec = {"mode": "global"} if name == "everywhere" else {"replicas": rng.randrange(20)}
            update = {"parallelism": rng.randrange(3), "delay_s": rng.choice((0, 2))}
            update["order"] = rng.choice(("stop-first", "start-first"))
            if isinstance(storm, Ranked):
                spec["priority"] = rng.choice((0, 50, 100))
            return put(name, image=rng.choice("xyz"), update=update, **spec)


def everything_goes_well(storm):
    """The loop's rounds with agents that do what they are told; (starts, stops) by service and node."""
    counts = {}

    def note(outcome):
        for event in outcome.events:
            if event.kind in ("tasks-placed", "tasks-stopped", "tasks-lost", "tasks-preempted"):
                for number, first, last in runs_of(event):
                    node = storm.state.node_table().records[number].name
                    pair = counts.setdefault((event.data["service"], node), [0, 0])
                    pair[event.kind != "tasks-placed"] += last - first + 1

    for _ in range(500):
        if storm.state.waits_for_time(storm.state.clock_ms()):
            note(storm.pass_time(0.001))
        command = storm.next_command()
        if command is not None:
            note(storm.do(command))
            for node in storm.state.nodes():
                if node.status == "ready":
                    storm.all_run(node.name)
            continue
        moment = next_moment(storm.state, storm.state.clock_ms())
        if moment is None:
            return counts
        note(storm.pass_time((moment - storm.state.clock_ms()) / 1_000))
    raise AssertionError("it does not come to rest")


def holds(seed, storms=Storm):
    storm, rng = storms(seed), random.Random(seed)
    storm.rage(40)
    if not storm.state.nodes():
        storm.join()
    wish = wish_of(storm, rng)
    before = storm.state.digest()
    copy = fork(storm.state)
    planned = finished(plan_slices(copy, wish, storm.term, storm.state.clock_ms()))
    assert storm.state.digest() == before, "the plan changed what it was made for"
    storm.state.check()
    outcomes = [storm.do(command) for command in commands_of(wish, storm.term)]
    if planned.refusal is not None:
        assert not outcomes[-1].ok
        assert outcomes[-1].code == planned.refusal.code
        return
    counts = everything_goes_well(storm)
    copy.check()
    tasks, others = copy._replicas.tasks, storm.state._replicas.tasks
    assert tasks.columns() == others.columns(), "the plan ends otherwise than the cluster"
    for service in planned.services:
        now = storm.state.service(service.name)
        assert service.waits == (0 if now is None else now.pending)
        found = {node: (starts, stops) for node, starts, stops in service.nodes}
        for node, (starts, _) in found.items():
            assert counts.get((service.name, node), [0, 0])[0] == starts
    named = {service.name for service in planned.services}
    assert {name for name, _ in counts} <= named


@pytest.fixture
def small_tables(monkeypatch):
    monkeypatch.setattr("raftyard.actors.state.tasks.SPARE_ROWS", 2)


@pytest.mark.parametrize("seed", range(SEED, SEED + 60))
def test_what_was_planned_is_what_happens(seed, small_tables):
    holds(seed)


@pytest.mark.parametrize("seed", range(SEED, SEED + 60))
def test_what_was_planned_is_what_happens_where_some_have_to_go(seed, small_tables):
    holds(seed, Ranked)


@pytest.mark.campaign
def test_what_was_planned_is_what_happens_for_many_seeds(small_tables):
    seeds = 5000 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 500
    print(f"seeds {SEED} to {SEED + seeds - 1}; one of them: RAFTYARD_SEED=N pytest {__file__}")
    for seed in range(SEED, SEED + seeds):
        try:
            holds(seed, (Storm, Ranked)[seed % 2])
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
