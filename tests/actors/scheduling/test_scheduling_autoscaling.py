"""How many replicas a service should have by what they use: the rule as a table, its calm as a transcript, its bounds
as a property."""

import math

import pytest
from hypothesis import given, settings, strategies as some

from raftyard.actors.scheduling.autoscaling import Calm, level_of, recommended, verdict
from raftyard.actors.state.spec_reading import read_spec
from raftyard.actors.state.specs import Autoscale, Stabilisation

POLICY = Autoscale(min=2, max=10, target=50)


def spec(**autoscale):
    return read_spec(
        {"reservations": {"cpu_milli": 200, "memory_mib": 400}, "autoscale": {"max": 10, "target": 50} | autoscale}
    )


@pytest.mark.parametrize(
    ("current", "measured", "level", "wanted"),
    [
        (4, 4, 50.0, 4),
        (4, 4, 55.0, 4),  # within the tolerance
        (4, 4, 45.0, 4),
        (4, 4, 56.0, 5),  # 4.48, rounded up
        (4, 4, 100.0, 8),
        (4, 4, 30.0, 3),  # 2.4, rounded up
        (4, 4, 0.0, 2),  # the least
        (4, 4, 1000.0, 10),  # the most
        (3, 3, 50.0 * 4 / 3, 4),  # the product is 4.000000000000001
        (4, 2, 100.0, 4),  # if the others use nothing, the mean is just right
        (4, 2, 150.0, 6),
        (4, 2, 20.0, 3),  # if the others use 50, the mean is 35
        (4, 1, 46.0, 4),
        (8, 2, 0.0, 6),
        (4, 0, 0.0, 4),  # nothing is known
        (4, 5, 90.0, 4),  # measured before one was stopped
        (12, 12, 50.0, 10),  # right, and above the most
    ],
)
def test_the_mean_is_brought_to_the_target(current, measured, level, wanted):
    assert recommended(POLICY, current, measured, level) == wanted


@pytest.mark.parametrize(("current", "measured"), [(4, 4), (4, 2)])
def test_a_target_that_a_log_has_from_before_it_was_refused_asks_for_the_most(current, measured):
    assert recommended(Autoscale(min=2, max=10, target=1e-300), current, measured, 1e12) == 10


@pytest.mark.parametrize(
    ("metric", "means", "level"),
    [
        ("cpu", {"cpu_milli": 150.0}, 75.0),
        ("memory", {"memory_mib": 100.0}, 25.0),
        ("cpu_milli", {"cpu_milli": 150.0}, 150.0),
        ("requests", {"requests": 7.0}, 7.0),
        ("requests", {"cpu_milli": 7.0}, None),
        ("cpu", {}, None),
    ],
)
def test_cpu_and_memory_are_in_percent_of_what_is_reserved_and_all_else_is_as_measured(metric, means, level):
    assert level_of(spec(metric=metric), means) == level


def test_a_decrease_waits_until_nothing_higher_was_right_for_long_enough_and_an_increase_does_not():
    policy, calm = POLICY, Calm(0, 4)
    told = [(15, 4, 8), (30, 8, 3), (300, 8, 5), (314, 8, 3), (316, 8, 3), (599, 5, 3), (601, 5, 3), (616, 3, 3)]
    settled = [calm.settle(policy, at * 1_000, current, wanted) for at, current, wanted in told]
    # The 8 of second 15 counts until 315, the 5 of second 300 until 600.
    assert settled == [8, 8, 8, 8, 5, 5, 3, 3]


def test_an_increase_waits_too_where_that_is_asked_for():
    policy = Autoscale(max=10, target=50, stabilisation_s=Stabilisation(up=60, down=0))
    calm = Calm(0, 2)
    assert [calm.settle(policy, at * 1_000, 2, 6) for at in (15, 30, 59)] == [2, 2, 2]
    assert calm.settle(policy, 60_000, 2, 6) == 6
    assert calm.settle(policy, 75_000, 6, 1) == 1


def test_what_a_user_has_set_counts_as_if_it_had_been_recommended():
    calm = Calm(0, 3)
    assert calm.settle(POLICY, 15_000, 3, 3) == 3
    assert calm.settle(POLICY, 30_000, 9, 3) == 9
    assert calm.settle(POLICY, 329_000, 9, 3) == 9
    assert calm.settle(POLICY, 330_000, 9, 3) == 3


def test_every_verdict_says_why():
    calm = Calm(0, 4)
    assert verdict(spec(), calm, 0, 4, 4, 52.0).why == "52 % of the cpu reserved on average, target 50; 4 are right"
    told = verdict(spec(), calm, 15_000, 4, 4, 400.0)
    assert (told.replicas, told.why.rpartition("; ")[2]) == (10, "4 -> 10, the most")
    told = verdict(spec(metric="requests"), calm, 30_000, 10, 10, 1.0)
    assert told.replicas == 10
    assert told.why == (
        "1 requests on average, target 50; 1 would do, 10 stay until nothing higher was right for 300 s"
    )
    told = verdict(spec(), calm, 45_000, 4, 10, 1.0)
    assert told.replicas == 4 and "10 replicas were measured before there were 4" in told.why


POLICIES = some.builds(
    lambda least, more, **rest: Autoscale(min=least, max=least + more, **rest),
    some.integers(1, 50),
    some.integers(0, 50),
    target=some.floats(0.01, 1e6),
    tolerance=some.floats(0, 1),
    stabilisation_s=some.builds(Stabilisation, up=some.floats(0, 600), down=some.floats(0, 600)),
)


@settings(max_examples=200, deadline=None)
@given(policy=POLICIES, rounds=some.lists(some.tuples(some.integers(0, 60), some.floats(0, 1e9)), max_size=40))
def test_whatever_is_measured_the_number_stays_within_its_bounds(policy, rounds):
    current, calm = policy.min, Calm(0, policy.min)
    for at, (measured, level) in enumerate(rounds):
        wanted = recommended(policy, current, measured, level)
        current = calm.settle(policy, at * 15_000, current, wanted)
        assert policy.min <= wanted <= policy.max
        assert policy.min <= current <= policy.max


@settings(max_examples=200, deadline=None)
@given(
    demands=some.lists(some.floats(0, 2_000), min_size=1, max_size=60),
    elections=some.sets(some.integers(0, 60)),
    down_s=some.integers(0, 120),
)
def test_leaders_that_come_and_go_never_take_away_what_was_needed_a_moment_ago(demands, elections, down_s):
    policy = Autoscale(min=1, max=30, target=50, stabilisation_s=Stabilisation(down=down_s))
    current, calm, needed = 1, Calm(0, 1), []
    for at, demand in enumerate(demands):
        if at in elections:
            calm = Calm(at * 15_000, current)
        before, wanted = current, recommended(policy, current, current, demand / current)
        needed.append((at * 15, wanted))
        current = calm.settle(policy, at * 15_000, current, wanted)
        if current < before:
            assert current >= max(number for when, number in needed if when > at * 15 - down_s or when == at * 15)
        # Whoever leads, it is enough as soon as it is measured.
        assert current >= min(policy.max, math.floor(demand / 50 / 1.1))
