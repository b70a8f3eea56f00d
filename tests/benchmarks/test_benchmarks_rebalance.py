"""The benchmark rebalance reads the challenge's files, and its judge knows each rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import UsageError, rebalance
from benchmarks._roadef import find, fleet_of, judged_breaches, judged_cost, parse
from raftyard.actors.scheduling.reassignment import broken_rules, cost

# Two resources (the second transient), three machines, two services (the second spread over 2 locations and depending
# on the first), three processes, one balance, three weights.
MODEL = """2
0 10  1 1
3
0 0  10 10  4 9  0 1 2
0 1  10 10  9 9  1 0 1
1 1  10 10  9 9  2 1 0
2
1 0
2 1 0
3
0 3 6 1
1 4 1 2
1 1 1 3
1
0 1 2
5
1 10 100
"""
HOMES = "0 0 1"


def test_a_file_is_read_and_its_cost_is_the_challenges() -> None:
    given = parse(MODEL, HOMES)
    # Load: machine 0 holds 7 of 4, weight 10. Balance: 2 x free of the first - free of the second, weight 5.
    balance = 5 * ((2 * 3 - 3) + (2 * 9 - 9) + (2 * 10 - 10))
    assert judged_cost(given, [0, 0, 1]) == 30 + balance
    # Process 0 moves to machine 1: process move 1, service move 10, machine move 100; balance is 2 x 6 - 9, ...
    moved = 5 * ((2 * 6 - 9) + (2 * 6 - 3) + (2 * 10 - 10)) + 1 + 10 + 100
    assert judged_cost(given, [1, 0, 1]) == moved
    fleet = fleet_of(given)
    assert cost(fleet, fleet.home) == 30 + balance


@pytest.mark.parametrize(
    ("assignment", "breach"),
    [
        ([0, 0, 1], None),
        ([1, 0, 1], None),
        ([0, 1, 1], "conflict: service 1"),
        ([0, 1, 2], "spread: service 1"),
        ([0, 0, 2], "dependency: service 1 on 0"),
    ],
)
def test_the_judge_names_the_rule_that_is_broken(assignment: list[int], breach: str | None) -> None:
    given = parse(MODEL, HOMES)
    found = judged_breaches(given, assignment)
    assert (breach in found) if breach else not found
    assert bool(broken_rules(fleet_of(given), fleet_of(given).home * 0 + assignment)) == bool(breach)


def test_transient_usage_stays_on_the_machine_that_was_left() -> None:
    given = parse(MODEL.replace("0 3 6 1", "0 3 9 1"), HOMES)
    assert judged_breaches(given, [1, 0, 1]) == []
    # Process 2 would fit beside process 1, were it not for what process 0 leaves behind.
    assert "capacity: machine 0" in judged_breaches(given, [1, 0, 0])


@pytest.mark.parametrize(("model", "homes"), [(MODEL[:60], HOMES), (MODEL + "7", HOMES), (MODEL, "0 0")])
def test_a_file_that_is_no_instance_is_refused(model: str, homes: str) -> None:
    with pytest.raises(UsageError, match="ends early|left over"):
        parse(model, homes)


def test_the_report_has_its_keys_and_the_gap_goes_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roadef2012").mkdir()
    (tmp_path / "roadef2012" / "model_a1_1.txt").write_text(MODEL)
    (tmp_path / "roadef2012" / "assignment_a1_1.txt").write_text(HOMES)
    clock = iter(range(10_000))
    monkeypatch.setattr(rebalance.time, "process_time", lambda: next(clock) / 100)
    report = rebalance.run({"data": str(tmp_path), "cpu_s": "3"})["a1_1"]
    assert list(report) == ["initial_cost", "cost", "best_known", "cpu_s", "moves"]
    assert report["cost"] <= report["initial_cost"]
    assert "% from the best known 44306501" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--only b: there are a1_1"):
        rebalance.run({"data": str(tmp_path), "only": "b"})
    with pytest.raises(UsageError, match="name the folder that holds the ROADEF instances"):
        find(str(tmp_path / "nowhere"))
