"""Cron services in a whole cluster: they run on time whoever leads, and on both clocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from yard import Yard

from raftyard.actors.errors import InvalidRequest
from raftyard.actors.messages import ChangeService, DescribeService, RemoveService
from raftyard.actors.system import Live, Virtual
from raftyard.actors.system.virtual import EPOCH_NS

CRON = {"mode": "cron", "schedule": "* * * * *", "simulate": {"run_s": 5}}


def put(yard: Yard, name: str = "job", **spec: Any) -> dict[str, Any]:
    return dict(yard.ask(ChangeService(service=name, body=CRON | spec)))


def service(yard: Yard, name: str = "job") -> dict[str, Any]:
    return dict(yard.ask(DescribeService(service=name)))


def minutes(yard: Yard, kind: str = "cron-run") -> list[float]:
    """When runs were due, in minutes since the system started."""
    return [(event.data["due_ms"] - EPOCH_NS // 1_000_000) / 60_000 for event in yard.events(kind)]


def lose_all_leaders(yard: Yard, for_s: float) -> None:
    """No majority for a time."""
    names = yard.names()
    yard.cut(*[(a, b) for a in names for b in names if a != b])
    yard.run(for_s)
    yard.heal()
    yard.until(lambda: len(yard.leading()) == 1)
    yard.run(2.0)


def test_a_run_begins_when_it_is_due_and_the_answer_says_when_that_is(yard: Yard):
    made = put(yard, replicas=3, time_zone="Europe/Berlin")
    assert (made["replicas"], made["placed"], made["pending"]) == (0, 0, 0)
    yard.run(59)
    assert service(yard)["cron"] == {
        "next_run": "2026-01-01T01:01:00+01:00", "last_run": None, "runs": 0, "left_out": 0, "missed": 0,
    }  # fmt: skip
    yard.run(4)
    shown = service(yard)
    assert shown["cron"]["next_run"] == "2026-01-01T01:02:00+01:00"
    last = shown["cron"]["last_run"]
    assert (last["due"], last["completed"], last["is_over"]) == ("2026-01-01T01:01:00+01:00", 0, False)
    assert (shown["replicas"], shown["placed"]) == (3, 3)
    yard.run(10)
    shown = service(yard)
    assert (shown["cron"]["last_run"]["completed"], shown["cron"]["last_run"]["is_over"]) == (3, True)
    assert (shown["placed"], shown["pending"]) == (0, 0)
    yard.run(120)
    assert minutes(yard) == [1, 2, 3]
    yard.settle()


def test_between_runs_nothing_is_written(yard: Yard):
    put(yard, schedule="*/10 * * * *")
    yard.run(5)
    before = yard.node(yard.leader()).raft.last_index
    yard.run(580)
    assert yard.node(yard.leader()).raft.last_index == before


@pytest.mark.parametrize("seed", range(5))
def test_no_run_is_lost_or_doubled_while_leaders_come_and_go(seed: int):
    with Yard(seed=seed) as yard:
        yard.settle()
        put(yard, replicas=2)
        for _ in range(6):
            old = yard.leader()
            # Just before, or while, it is due.
            yard.run((59.8 - yard.now) % 60)
            yard.cut(*yard.around(old))
            yard.run(3.0)
            yard.heal()
            yard.run(40.0)
        due = minutes(yard)
        assert due == [float(n) for n in range(1, len(due) + 1)] and len(due) >= 6
        yard.settle()


def test_what_was_missed_is_made_up_for_once_within_the_window(yard: Yard):
    put(yard)
    yard.run(62)
    lose_all_leaders(yard, 200)
    assert minutes(yard) == [1, 4]
    (missed,) = yard.events("cron-missed")
    assert missed.data["missed"] == 2
    assert service(yard)["cron"]["missed"] == 2


def test_what_was_missed_longer_ago_is_not_made_up_for(yard: Yard):
    put(yard, schedule="*/10 * * * *", window_s=60)
    yard.run(590)
    lose_all_leaders(yard, 120)
    assert (minutes(yard), service(yard)["cron"]["missed"]) == ([], 1)
    yard.run(500)
    assert minutes(yard) == [20]


def test_a_run_that_takes_longer_than_its_schedule_is_as_its_overlap_rule_says(yard: Yard):
    for overlap in ("forbid", "allow", "replace"):
        put(yard, overlap, overlap=overlap, replicas=2, simulate={"run_s": 90})
    yard.run(130)
    shown = {name: service(yard, name) for name in ("forbid", "allow", "replace")}
    assert {name: one["placed"] for name, one in shown.items()} == {"forbid": 2, "allow": 4, "replace": 2}
    assert {name: one["cron"]["runs"] for name, one in shown.items()} == {"forbid": 1, "allow": 2, "replace": 2}
    assert shown["forbid"]["cron"]["left_out"] == 1
    yard.run(45)
    assert service(yard, "forbid")["cron"]["last_run"]["is_over"]
    yard.settle()


def test_one_without_replicas_rests_and_goes_on_without_what_it_missed(yard: Yard):
    put(yard, replicas=0)
    before = yard.node(yard.leader()).raft.last_index
    yard.run(300)
    assert yard.node(yard.leader()).raft.last_index == before
    assert service(yard)["cron"]["next_run"] is None
    yard.ask(ChangeService(service="job", body={"replicas": 1}, is_patch=True))
    yard.run(30)
    assert minutes(yard) == []
    yard.run(60)
    assert minutes(yard) == [6]


def test_it_is_removed_with_what_runs(yard: Yard):
    put(yard, replicas=2, simulate={})
    yard.run(65)
    assert sum(yard.placed("job").values()) == 2
    yard.ask(RemoveService(service="job"))
    yard.run(120)
    assert minutes(yard) == [1] and not any(yard.running().values())
    yard.settle()


def test_many_that_are_due_at_once_all_run(yard: Yard):
    for n in range(120):
        put(yard, f"job-{n}", simulate={"run_s": 1})
    yard.run(62 - yard.now % 60 + 5)
    assert len({event.data["service"] for event in yard.events("cron-run")}) == 120


def test_a_schedule_or_a_time_zone_that_is_none_is_refused(yard: Yard):
    for wrong, path in (({"schedule": "61 * * * *"}, "$.schedule"), ({"time_zone": "Mars"}, "$.time_zone")):
        with pytest.raises(InvalidRequest) as caught:
            put(yard, **wrong)
        assert caught.value.path == path


@pytest.fixture(params=["virtual", "live"])
def clocked(request: pytest.FixtureRequest) -> Iterator[Yard]:
    system = Virtual(seed=1, raise_crashes=True) if request.param == "virtual" else Live(seed=1)
    with Yard(system, checked=request.param == "virtual") as yard:
        yard.begin()
        yield yard


def test_on_either_clock_it_runs_every_second(clocked: Yard):
    put(clocked, schedule="* * * * * *", simulate={"run_s": 0.1})
    clocked.until(lambda: len(clocked.events("cron-run")) >= 3)
    due = [event.data["due_ms"] for event in clocked.events("cron-run")]
    assert due == sorted(set(due)) and not any(at % 1_000 for at in due)
    clocked.until(lambda: service(clocked)["completed"] == 1)
