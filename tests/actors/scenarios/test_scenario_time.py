"""Scenarios about load and about the time of day: what services use, and when they run."""

from __future__ import annotations

import pytest

from raftyard.actors.scenarios import Simulation, WrongScenario, play, read_scenario, told
from raftyard.actors.scenarios.conditions import Wanted
from raftyard.actors.scenarios.format import ClusterShape
from raftyard.actors.scenarios.quantities import epoch_ns_of
from raftyard.actors.system.virtual import EPOCH_NS

CRON = """
scenario: half past two is left out in Berlin
version: 1
cluster: {wall_clock: 2026-03-29T00:58Z}
steps:
  - eventually: leader is not None
  - update:
      job: {mode: cron, schedule: 30 2 * * *, time_zone: Europe/Berlin, simulate: {run_s: 1}}
  - never: happened('cron-run') > 0
    for: 119s
  - wait: 115s
  - eventually: happened('cron-run') == 1
    within: 10s
"""


def test_a_scenario_says_what_the_calendar_says():
    outcome = play(read_scenario(CRON), seed=1)
    assert outcome.passed, told(outcome)
    (due,) = [event.data["due_ms"] for event in outcome.events if event.kind == "cron-run"]
    assert due == epoch_ns_of("2026-03-29T01:00Z") // 1_000_000


def test_a_moment_is_one_of_the_calendar():
    assert epoch_ns_of(ClusterShape().wall_clock) == EPOCH_NS
    assert epoch_ns_of("2026-01-01T00:00:07Z") == EPOCH_NS + 7_000_000_000
    with pytest.raises(WrongScenario) as caught:
        read_scenario(CRON.replace("03-29T00:58Z", "03-29 00:58"))
    assert "such as 2026-03-28T23:59Z" in str(caught.value)


@pytest.mark.parametrize("clock", ["virtual", "live"])
def test_a_demand_is_changed_and_what_replicas_use_is_a_condition(clock: str):
    with Simulation(nodes=3, seed=1, clock=clock) as sim:
        sim.eventually("leader is not None")
        auto = {"max": 6, "metric": "requests", "target": 10, "every_s": 0.2, "stabilisation_s": {"down": 1}}
        sim.update({"web": {"replicas": 1, "simulate": {"demand": {"requests": 10}}, "autoscale": auto}})
        sim.eventually("service('web').usage['requests'] == 10")
        sim.update({"web": {"simulate": {"demand": {"requests": 40}}}})
        sim.eventually(replicas={"web": 4})
        sim.eventually("service('web').usage['requests'] == 10 and happened('service-scaled') == 1")
        sim.update({"web": {"simulate": {"demand": {"requests": 15}}}})
        sim.eventually(replicas={"web": 2})


@pytest.mark.parametrize("wanted", ["now > 2", lambda view: view.now > 2])
def test_time_is_seen_to_pass_while_nothing_happens(wanted: Wanted):
    with Simulation(nodes=3, seed=1) as sim:
        sim.wait("1s")
        sim.crash("all")
        sim.eventually(wanted, within="60s")
        assert 2 < sim.now <= 2.2
