"""When a schedule is due: expressions, time zones, days whose clocks change, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from raftyard.actors.control.schedules import (
    WrongSchedule,
    check_schedule,
    due_after,
    due_before,
    how_often,
    shown,
)
from raftyard.actors.state.calls import InvalidCall
from raftyard.actors.state.specs import ServiceSpec
from raftyard.actors.system import wall

BERLIN = "Europe/Berlin"


def cron(schedule: str, zone: str = "UTC") -> ServiceSpec:
    return ServiceSpec(mode="cron", schedule=schedule, time_zone=zone)


def ms(text: str) -> int:
    return wall.ms_of(datetime.fromisoformat(text).replace(tzinfo=UTC))


def times(spec: ServiceSpec, since: str, count: int) -> list[str]:
    """The next so many, in the zone's own time."""
    at, found = ms(since), []
    for _ in range(count):
        due = due_after(spec, at)
        assert due is not None
        found.append(shown(due, spec.time_zone))
        at = due
    return found


@pytest.mark.parametrize(
    ("schedule", "since", "due"),
    [
        ("*/5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00+00:00"),
        ("*/5 * * * *", "2026-01-01T00:04:59", "2026-01-01T00:05:00+00:00"),
        ("30 3 * * MON-FRI", "2026-01-02T04:00:00", "2026-01-05T03:30:00+00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00+00:00"),
        ("0 12 L * *", "2026-02-01T00:00:00", "2026-02-28T12:00:00+00:00"),
        ("*/10 * * * * *", "2026-01-01T00:00:01", "2026-01-01T00:00:10+00:00"),
    ],
)
def test_the_next_time_comes_after_the_one_that_is_told(schedule: str, since: str, due: str):
    assert times(cron(schedule), since, 1) == [due]


def test_a_time_that_the_clocks_leave_out_comes_right_after_and_one_that_comes_twice_counts_once():
    spring = times(cron("30 2 * * *", BERLIN), "2026-03-28T12:00:00", 2)
    assert spring == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    autumn = times(cron("30 2 * * *", BERLIN), "2026-10-24T12:00:00", 2)
    assert autumn == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    # Half past two comes again at 01:30 UTC, and has been.
    assert times(cron("30 2 * * *", BERLIN), "2026-10-25T01:10:00", 1) == ["2026-10-26T02:30:00+01:00"]


def test_a_schedule_of_every_half_hour_goes_by_the_time_that_passes():
    autumn = times(cron("*/30 * * * *", BERLIN), "2026-10-25T00:10:00", 4)
    assert autumn == [f"2026-10-25T0{time}:00+0{zone}:00" for time, zone in
                      (("2:30", 2), ("2:00", 1), ("2:30", 1), ("3:00", 1))]  # fmt: skip


@pytest.mark.parametrize("schedule", ["*/7 * * * *", "30 2 * * *", "15 */6 1,15 * *", "0 1-4 * * SUN", "0 0 L * *"])
@pytest.mark.parametrize("zone", ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe"])
def test_looking_back_finds_what_looking_ahead_found(schedule: str, zone: str):
    spec, chance = cron(schedule, zone), Random(f"{schedule}/{zone}")
    for _ in range(60):
        at = ms("2026-01-01T00:00:00") + chance.randrange(730 * 86_400_000)
        due = due_after(spec, at)
        assert due is not None and due > at
        assert due_before(spec, due) == due, shown(due, zone)
        before = due_before(spec, due - 1)
        assert before is not None and before <= at, (shown(at, zone), shown(before, zone))
        assert how_often(spec, at, due, 9) == 1 and how_often(spec, at, due - 1, 9) == 0


def test_what_was_missed_is_counted_up_to_a_limit():
    at = ms("2026-01-01T00:00:00")
    assert how_often(cron("* * * * *"), at, at + 5 * 60_000, 100) == 5
    assert how_often(cron("* * * * *"), at, at + 10**9, 100) == 100


@pytest.mark.parametrize(
    ("spec", "path", "words", "hint"),
    [
        (cron("61 * * * *"), "$.schedule", "bad minute", "minute hour day month weekday"),
        (cron("* * *"), "$.schedule", "wrong number of fields", "minute hour day month weekday"),
        (cron("0 0 30 2 *"), "$.schedule", "bad day-of-month", "minute hour day month weekday"),
        (cron("1" * 300), "$.schedule", "longer than 200", "minute hour day month weekday"),
        (cron("* * * * *", "Europe/Berln"), "$.time_zone", "'Europe/Berln'", "did you mean Europe/Berlin?"),
        (cron("* * * * *", "../../etc/passwd"), "$.time_zone", "there is no time zone", "Europe/Berlin, or UTC"),
        (cron("* * * * *", ""), "$.time_zone", "there is no time zone", "Europe/Berlin, or UTC"),
    ],
)
def test_a_schedule_that_is_none_is_told_with_its_path(spec: ServiceSpec, path: str, words: str, hint: str):
    with pytest.raises(InvalidCall) as caught:
        check_schedule(spec)
    assert caught.value.path == path
    assert words in caught.value.message and hint in caught.value.hint


def test_a_machine_without_time_zones_says_so_and_knows_utc(monkeypatch: pytest.MonkeyPatch):
    def no_data(name: str) -> None:
        raise LookupError(name)

    monkeypatch.setattr(wall, "ZoneInfo", no_data)
    monkeypatch.setattr(wall, "available_timezones", set)
    check_schedule(cron("* * * * *"))
    with pytest.raises(InvalidCall) as caught:
        check_schedule(cron("* * * * *", BERLIN))
    assert "no time zone data" in caught.value.message and "pip install tzdata" in caught.value.hint
    with pytest.raises(WrongSchedule, match="no time zone data"):
        due_after(cron("* * * * *", BERLIN), 0)
