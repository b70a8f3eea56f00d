"""Autoscaled services in the agreed state: whose number counts, what is refused, and what a load is."""

import pytest
from control_loop import ControlLoop

from raftyard.actors.state import commands as c
from raftyard.actors.state.calls import InvalidCall
from raftyard.actors.state.loads import usage_of_one
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.spec_reading import merge, read_spec
from raftyard.actors.state.specs import DemandStep, ServiceSpec, Simulated, is_same_template

AUTO = {"min": 2, "max": 10, "metric": "requests", "target": 50}


def loop_with(**spec):
    loop = ControlLoop(nodes=3)
    loop.put(**{"replicas": 4, "autoscale": AUTO, **spec})
    loop.settle()
    return loop


def scale(loop, replicas, was=None, **other):
    record = loop.state.service("web")
    fields = {"version": record.version, "term": loop.term, "was": record.replicas if was is None else was}
    return loop.do(c.ScaleService(name="web", replicas=replicas, usage=1.0, why="so", **(fields | other)))


def replicas(loop):
    loop.settle()
    record = loop.state.service("web")
    assert record.placed == record.replicas
    return record.replicas


def test_the_autoscalers_number_is_the_services_and_not_its_specs():
    loop = loop_with()
    outcome = scale(loop, 7)
    assert outcome.ok and outcome.version == 1
    (event,) = outcome.events
    assert event.kind == "service-scaled"
    assert (event.data["was"], event.data["replicas"], event.data["why"]) == (4, 7, "so")
    record = loop.state.service("web")
    assert (record.replicas, record.spec.replicas, record.version, record.scaled.was) == (7, 4, 1, 4)
    assert replicas(loop) == 7


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"version": 9}, "stale-version"),
        ({"was": 5}, "stale-version"),
        ({"term": 9}, "stale-term"),
    ],
)
def test_a_decision_on_what_is_no_more_is_refused(command, code):
    loop = loop_with()
    outcome = scale(loop, 7, **command)
    assert (outcome.ok, outcome.code, loop.state.service("web").replicas) == (False, code, 4)


def test_a_service_that_is_not_autoscaled_or_not_there_is_not_scaled():
    loop = ControlLoop(nodes=1)
    loop.put(replicas=2)
    assert scale(loop, 7).code == "stale-version"
    absent = c.ScaleService(name="no", version=1, term=1, was=1, replicas=2, usage=1.0, why="")
    assert loop.do(absent).code == "unknown-service"


def test_no_number_leaves_the_bounds_whoever_says_it():
    loop = loop_with(replicas=1)
    assert replicas(loop) == 2
    scale(loop, 99)
    assert replicas(loop) == 10
    loop.ask(web=50)
    assert replicas(loop) == 10
    loop.put(replicas=50, autoscale=AUTO | {"max": 6})
    assert replicas(loop) == 6


def test_a_change_of_the_rest_keeps_the_number_and_a_users_number_counts():
    loop = loop_with()
    scale(loop, 8)
    loop.put(replicas=4, autoscale=AUTO, image="new")
    assert replicas(loop) == 8
    loop.put(replicas=5, autoscale=AUTO, image="new")
    assert replicas(loop) == 5
    scale(loop, 8)
    loop.ask(web=5)
    assert replicas(loop) == 5
    scale(loop, 8)
    spec = loop.state.service("web").spec
    assert loop.do(c.PutService(name="web", spec=spec)).duplicate
    assert loop.do(c.PutService(name="web", spec=spec, scales=True)).ok
    assert replicas(loop) == 5


def test_without_autoscaling_the_specs_number_counts_again():
    loop = loop_with()
    scale(loop, 8)
    loop.put(replicas=4)
    assert replicas(loop) == 4
    assert loop.state.service("web").scaled is None


def test_the_number_and_why_it_is_so_are_in_the_snapshot():
    loop = loop_with(simulate={"demand": {"requests": [{"total": 5}]}})
    scale(loop, 7)
    loop.pass_time(1)
    other = ClusterState()
    other.restore(loop.state.snapshot())
    assert other.service("web") == loop.state.service("web")
    assert other.digest() == loop.state.digest()
    assert other.autoscaled() == {"web": 15.0} and other.has_loads()


# what simulated replicas use


def test_a_replica_uses_what_each_does_and_its_share_of_what_all_have_to_bear():
    steps = (DemandStep(total=100), DemandStep(total=900, after_s=60))
    how = Simulated(usage={"memory_mib": 64, "cpu_milli": 10}, demand={"cpu_milli": 500.0, "requests": steps})
    assert usage_of_one(how, 5, 0) == {"cpu_milli": 110.0, "memory_mib": 64, "requests": 20.0}
    assert usage_of_one(how, 5, 59_999)["requests"] == 20.0
    assert usage_of_one(how, 5, 60_000)["requests"] == 180.0
    late = Simulated(demand={"requests": (DemandStep(total=100, after_s=5),)})
    assert usage_of_one(late, 0, 1_000) == {"requests": 0.0}


def test_another_load_replaces_no_replica_and_every_node_that_has_one_hears_of_it():
    loop = loop_with(replicas=2, simulate={"usage": {"requests": 5}})
    before, tasks = {n: loop.state.assignments_version(n) for n in ("n0", "n1", "n2")}, loop.tasks()
    outcome = loop.put(replicas=2, autoscale=AUTO, simulate={"usage": {"requests": 50}})
    told = [node for node, version in before.items() if loop.state.assignments_version(node) > version]
    assert sorted(told) == sorted(outcome.assignments) == sorted(node for node, _ in tasks.values())
    loop.settle()
    assert loop.tasks() == tasks and loop.state.service("web").update is None
    run = loop.state.assignments(told[0]).runs[0]
    assert run.simulate.usage == {"requests": 50.0}
    assert not is_same_template(ServiceSpec(), ServiceSpec(simulate=Simulated(start_s=1, usage={"a": 1})))


def test_a_demand_in_steps_begins_when_the_clock_is_next_told():
    loop = ControlLoop(nodes=1)
    loop.put(simulate={"demand": {"requests": [{"total": 5}, {"total": 9, "after_s": 60}]}})
    assert loop.state.service("web").demand_ms is None and loop.state.waits_for_time(1)
    loop.pass_time(3_600)
    assert loop.state.service("web").demand_ms == 3_600_000 and not loop.state.waits_for_time(3_600_001)
    loop.put(simulate={"demand": {"requests": 7}})
    assert loop.state.service("web").demand_ms is None and not loop.state.waits_for_time(3_600_001)


# reading


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ({"autoscale": AUTO, "mode": "global"}, "$.autoscale", "a global service cannot be autoscaled"),
        ({"autoscale": AUTO, "mode": "replicated-job"}, "$.autoscale", "replicated-job"),
        ({"autoscale": AUTO | {"min": 11}}, "$.autoscale.min", "min 11 is above max 10"),
        ({"autoscale": AUTO | {"min": 0}}, "$.autoscale.min", "0 is too small"),
        ({"autoscale": AUTO | {"target": 0}}, "$.autoscale.target", "0 cannot be aimed at"),
        ({"autoscale": AUTO | {"metric": "cpu"}}, "$.autoscale.metric", "it reserves none"),
        ({"autoscale": AUTO | {"metric": ""}}, "$.autoscale.metric", "cannot name a metric"),
        ({"autoscale": AUTO | {"tolerance": 2}}, "$.autoscale.tolerance", "2 is too large"),
        ({"autoscale": AUTO | {"every_s": 0}}, "$.autoscale.every_s", "0 is too small"),
        ({"autoscale": AUTO | {"stabilisation_s": {"down": -1}}}, "$.autoscale.stabilisation_s.down", "too small"),
        ({"autoscale": AUTO | {"maxx": 3}}, "$.autoscale.maxx", "unknown field maxx"),
        ({"autoscale": {"target": 3}}, "$.autoscale", "`max`"),
        ({"simulate": {"usage": {"cpu": 3}}}, "$.simulate.usage.cpu", "cpu has no unit"),
        ({"simulate": {"usage": {"a b": 3}}}, "$.simulate.usage.a b", "cannot name a metric"),
        ({"simulate": {"usage": {"a": -3}}}, "$.simulate.usage.a", "too small"),
        ({"simulate": {"usage": {f"m{n}": 1 for n in range(11)}}}, "$.simulate.usage", "11 metrics"),
        ({"simulate": {"demand": {"a": float("nan")}}}, "$.simulate.demand.a", "nan"),
        ({"simulate": {"demand": {"a": []}}}, "$.simulate.demand.a", "0 steps"),
        (
            {"simulate": {"demand": {"a": [{"total": 1, "after_s": 5}, {"total": 1}]}}},
            "$.simulate.demand.a[1].after_s",
            "0 does not come after 5",
        ),
    ],
)
def test_a_mistake_is_told_with_its_path(spec, path, words):
    with pytest.raises(InvalidCall) as caught:
        read_spec(spec)
    assert caught.value.path == path and words in caught.value.message
    assert caught.value.hint


def test_equal_specs_have_equal_bytes_and_a_patch_changes_a_part():
    written = {"autoscale": AUTO | {"stabilisation_s": {"down": 300}}, "simulate": {"usage": {"b": 1, "a": 2}}}
    shorter = {"autoscale": AUTO, "simulate": {"usage": {"a": 2, "b": 1}}}
    one, other = (c.encode(c.PutService(name="web", spec=read_spec(body))) for body in (written, shorter))
    assert one == other
    patched = read_spec(merge(read_spec(written), {"autoscale": {"max": 20}, "simulate": {"usage": {"a": None}}}))
    assert (patched.autoscale.max, patched.autoscale.min, patched.simulate.usage) == (20, 2, {"b": 1.0})
    assert read_spec(merge(patched, {"autoscale": None})).autoscale is None
