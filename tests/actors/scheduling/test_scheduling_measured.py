"""The profile `usage`: replicas go where least is used of what a node has, as measured and as expected since."""

import pytest
from control_loop import ControlLoop

from raftyard.actors.scheduling.choosing import Scores
from raftyard.actors.scheduling.forecast import Forecast
from raftyard.actors.scheduling.measured import Measured
from raftyard.actors.scheduling.reasons import compare
from raftyard.actors.scheduling.reconcile import plan_repair
from raftyard.actors.state import commands as c
from raftyard.actors.state.forks import fork

BY_USAGE = {"placement": {"profile": "usage"}}


def machines(*cpus, capacity=100):
    loop = ControlLoop(nodes=len(cpus), capacity=capacity)
    for number, cpu in enumerate(cpus):
        if cpu:
            loop.node(f"n{number}", resources={"cpu_milli": cpu, "memory_mib": 10_000})
    return loop


def measured(**used):
    """What nodes said in round 1: cpu_milli, or all metrics."""
    found = Measured()
    found.begin(1, ())
    for node, totals in used.items():
        found.node_uses(node, totals if isinstance(totals, dict) else {"cpu_milli": totals})
    return found


def settle(loop, found):
    scores = Scores(found)
    for _ in range(20):
        plan = plan_repair(loop.state, None, scores)
        if plan is None:
            return
        loop.do(c.PlaceTasks(term=1, made_at=loop.index, plan=plan))
    raise AssertionError("the loop does not come to rest")


def placed(loop, service="web"):
    return dict(loop.state.load_distribution(service))


def test_a_replica_goes_where_least_is_used_of_what_the_node_has():
    loop = machines(4000, 1000, 2000)
    loop.put(replicas=1, **BY_USAGE)
    settle(loop, measured(n0=2000, n1=490, n2=1000))  # 50 %, 49 %, 50 %
    assert placed(loop) == {"n1": 1}


def test_the_metric_of_which_most_is_used_counts():
    loop = machines(1000, 1000)
    loop.put(replicas=1, **BY_USAGE)
    settle(loop, measured(n0={"cpu_milli": 100, "memory_mib": 9_000}, n1={"cpu_milli": 800}))
    assert placed(loop) == {"n1": 1}


def test_while_nothing_is_measured_it_spreads():
    loop = machines(4000, 1000, 0)
    loop.put(replicas=7, **BY_USAGE)
    settle(loop, Measured())
    assert placed(loop) == {"n0": 3, "n1": 2, "n2": 2}


def test_nodes_that_use_the_same_share_take_turns():
    loop = machines(1000, 1000, 1000)
    loop.put(replicas=5, **BY_USAGE)
    settle(loop, measured(n0=500, n1=100, n2=100))
    assert placed(loop) == {"n1": 3, "n2": 2}, "nobody knows what any replica uses, so it counts as nothing"


@pytest.mark.parametrize("how", ["measured", "reserved", "as others"])
def test_what_is_placed_counts_before_it_is_measured(how):
    loop = machines(1000, 1000)
    spec = BY_USAGE | {"reservations": {"cpu_milli": 100}} if how == "reserved" else BY_USAGE
    found = measured(n0=500, n1=100)
    if how == "measured":
        found.one_uses("web", {"cpu_milli": 100.0})
    if how == "as others":
        found.one_uses("one", {"cpu_milli": 50.0})
        found.one_uses("two", {"cpu_milli": 150.0})
    loop.put(replicas=6, **spec)
    settle(loop, found)
    assert placed(loop) == {"n0": 1, "n1": 5}
    # A later plan still counts them, whoever placed them, until the node has said what it uses in a later round.
    loop.put(name="other", replicas=1, **BY_USAGE)
    settle(loop, found)
    assert placed(loop, "other") == {"n0": 1}
    found.begin(2, ["web"])
    found.node_uses("n1", {"cpu_milli": 150})
    loop.put(name="third", replicas=1, **BY_USAGE)
    settle(loop, found)
    assert placed(loop, "third") == {"n1": 1}


def test_an_answer_to_an_earlier_round_does_not_count_for_what_was_placed_after_it_began():
    loop, found = machines(1000, 1000), measured(n0=300, n1=100)
    found.one_uses("web", {"cpu_milli": 400.0})
    loop.put(replicas=1, **BY_USAGE)
    settle(loop, found)
    assert placed(loop) == {"n1": 1}
    found.node_uses("n1", {"cpu_milli": 100})  # it was asked before the replica began
    loop.put(name="other", replicas=1, **BY_USAGE)
    settle(loop, found)
    assert placed(loop, "other") == {"n0": 1}


def test_a_replica_that_another_profile_placed_counts_too():
    loop, found = machines(1000, 1000), measured(n0=200, n1=100)
    found.one_uses("plain", {"cpu_milli": 500.0})
    loop.put(name="plain", replicas=1, placement={"constraints": ["node.name == n1"]})
    settle(loop, found)
    loop.put(replicas=1, **BY_USAGE)
    settle(loop, found)
    assert placed(loop) == {"n0": 1}


def test_reservations_still_decide_whether_there_is_room():
    loop = machines(1000, 1000)
    loop.put(replicas=3, reservations={"cpu_milli": 600}, **BY_USAGE)
    settle(loop, measured(n0=990, n1=0))
    assert placed(loop) == {"n0": 1, "n1": 1}
    assert "cpu_milli" in loop.state.pending_of("web").reason


def test_a_node_that_does_not_say_what_it_has_counts_as_the_median_of_those_that_do():
    loop = machines(1000, 3000, 0)
    loop.put(replicas=1, **BY_USAGE)
    settle(loop, measured(n0=500, n1=1500, n2=990))  # 50 %, 50 %, 990 of 2,000
    assert placed(loop) == {"n2": 1}


def test_where_no_node_says_what_it_has_what_is_used_is_compared():
    loop = machines(0, 0, 0)
    loop.put(replicas=1, **BY_USAGE)
    settle(loop, measured(n0=300, n1=200, n2=900))
    assert placed(loop) == {"n1": 1}


def test_preferences_come_first():
    loop = machines(1000, 1000, 1000)
    for node, zone in (("n0", "a"), ("n1", "a"), ("n2", "b")):
        loop.node(node, labels={"zone": zone})
    loop.put(replicas=2, placement={"profile": "usage", "preferences": ["node.labels.zone"]})
    settle(loop, measured(n0=500, n1=100, n2=900))
    assert placed(loop) == {"n1": 1, "n2": 1}


def test_of_too_many_replicas_those_on_the_most_used_nodes_go():
    loop = machines(1000, 1000, 1000)
    loop.put(replicas=6, **BY_USAGE)
    settle(loop, Measured())
    found = measured(n0=900, n1=200, n2=850)
    found.one_uses("web", {"cpu_milli": 100.0})
    loop.put(replicas=3, **BY_USAGE)
    settle(loop, found)
    assert placed(loop) == {"n1": 2, "n2": 1}, "90, 85 and then 80 % before 75"


def test_how_nodes_compare_is_what_is_left_of_each():
    loop = machines(1000, 1000, 1000)
    loop.put(replicas=1, **BY_USAGE)
    found = measured(n0=500, n1=1100)
    assert [(one.node, one.score) for one in compare(loop.state, "web", measured=found)] == [
        ("n2", 100),
        ("n0", 50),
        ("n1", -10),
    ]


def test_a_forecast_goes_by_what_is_measured_and_leaves_it_alone():
    loop, found = machines(1000, 1000), measured(n0=500, n1=100)
    found.one_uses("web", {"cpu_milli": 200.0})
    loop.put(replicas=4, **BY_USAGE)
    for _ in range(2):
        forecast = Forecast(fork(loop.state), 1, 0, found)
        for _ in forecast.settle():
            pass
        assert forecast.tallies["web"].starts.tolist() == [1, 3]
    settle(loop, found)
    assert placed(loop) == {"n0": 1, "n1": 3}


def test_nodes_that_are_gone_are_no_measure():
    loop = machines(1000, 0, 0)
    loop.remove("n0")
    loop.put(replicas=1, **BY_USAGE)
    settle(loop, measured(n0=10_000, n1=300, n2=200))
    assert placed(loop) == {"n2": 1}
