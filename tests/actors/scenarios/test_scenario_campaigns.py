"""Campaigns: many seeds on any executor, and what fails is shrunk to a file that fails again."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from threading import Event, Thread
from typing import Any

import pytest
from scenario_texts import scenario

from raftyard.actors.scenarios import (
    Outcome,
    Scenario,
    as_yaml,
    play,
    read_scenario,
    run_campaign,
    shrink,
    told,
)
from raftyard.actors.scenarios.campaign import play_batch

# Who leads is chance, so it is node_0 on one seed of five.
SHORT = "scenario: short\nversion: 1\nsteps:\n  - wait: 1s\n"
CHANCE = (
    "scenario: luck\nversion: 1\nsteps:\n  - eventually: leader is not None\n  - expect: leader != 'node_0'\n"
)


class Here:
    """An executor that does it at once."""

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


def test_a_campaign_plays_every_seed_and_counts():
    shown = []
    campaign = run_campaign(SHORT, "f.yaml", range(10, 35), Here(), progress=lambda c: shown.append(c.done))
    assert campaign.passed and (campaign.done, campaign.seeds) == (25, 25)
    assert shown[-1] == 25 and campaign.virtual_s == pytest.approx(25) and campaign.left_s == 0


def test_a_campaign_leaves_the_logging_of_its_process_as_it_was():
    before = logging.getLogger("raftyard").level
    run_campaign(SHORT, "f.yaml", range(2), Here())
    assert logging.getLogger("raftyard").level == before


def test_batches_that_overlap_leave_the_logging_as_it_was_too(monkeypatch: pytest.MonkeyPatch):
    logger = logging.getLogger("raftyard")
    before, levels = logger.level, []
    first_plays, second_plays = Event(), Event()

    def in_turns(read: Scenario, *, seed: int, clock: str | None) -> Outcome:
        """The first batch ends while the second is played."""
        if seed == 1:
            first_plays.set()
            assert second_plays.wait(30)
        else:
            second_plays.set()
            first.join(30)
        levels.append(logger.level)
        return play(read, seed=seed, clock=clock)

    monkeypatch.setattr("raftyard.actors.scenarios.campaign.play", in_turns)
    first = Thread(target=play_batch, args=(SHORT, "f.yaml", 1, 2))
    first.start()
    assert first_plays.wait(30)
    play_batch(SHORT, "f.yaml", 2, 3)
    assert levels == [logging.CRITICAL + 1] * 2 and logger.level == before


def test_a_campaign_ends_with_the_first_seed_that_fails_unless_told_otherwise():
    first = run_campaign(CHANCE, "f.yaml", range(5000), Here())
    assert not first.passed and first.done < 5000
    seed, promise, _ = first.failures[0]
    assert promise == "step 2 (expect: leader != 'node_0')"
    assert not play(read_scenario(CHANCE), seed=seed).passed


def test_a_campaign_goes_on_until_so_many_seeds_have_failed_or_to_the_end():
    every = run_campaign(CHANCE, "f.yaml", range(60), Here(), stop_at=None)
    fail = [seed for seed in range(60) if not play(read_scenario(CHANCE), seed=seed).passed]
    assert every.done == 60 and [seed for seed, *_ in every.failures] == fail
    three = run_campaign(CHANCE, "f.yaml", range(60), Here(), stop_at=3)
    assert [seed for seed, *_ in three.failures][:3] == fail[:3]


class Backwards:
    """An executor in which what was begun last is ready first."""

    def __init__(self) -> None:
        self._left: list[tuple[Future[Any], Any, tuple[Any, ...]]] = []

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._left.append((future, function, arguments))
        return future

    def play(self, *_: object, **__: object) -> tuple[set[Future[Any]], None]:
        """In place of `concurrent.futures.wait`."""
        while True:
            future, function, arguments = self._left.pop()
            if not future.cancelled():
                future.set_result(function(*arguments))
                return {future}, None


def test_a_campaign_tells_the_lowest_seed_that_fails_whichever_is_ready_first(monkeypatch: pytest.MonkeyPatch):
    (lowest, *_), *_ = run_campaign(CHANCE, "f.yaml", range(120), Here()).failures
    backwards = Backwards()
    monkeypatch.setattr("raftyard.actors.scenarios.campaign.wait", backwards.play)
    campaign = run_campaign(CHANCE, "f.yaml", range(120), backwards)
    assert len(campaign.failures) > 1 and campaign.failures[0][0] == lowest


def test_a_campaign_runs_on_processes_with_the_same_result():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        campaign = run_campaign(CHANCE, "f.yaml", range(40), pool, stop_at=None)
    assert campaign.failures == run_campaign(CHANCE, "f.yaml", range(40), Here(), stop_at=None).failures


def test_a_campaign_runs_on_a_dask_cluster_with_the_same_result():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
        ) as local,
        distributed.Client(local.scheduler_address) as client,
    ):
        campaign = run_campaign(CHANCE, "f.yaml", range(40), client.get_executor(pure=False), stop_at=None)
    assert campaign.failures == run_campaign(CHANCE, "f.yaml", range(40), Here(), stop_at=None).failures


@pytest.mark.parametrize(
    "needed",
    [
        "- add: spare\n- expect: node('spare').role == 'nobody'",
        "- submit: {container: {name: inner, replicas: 3, cluster: {}}}\n- eventually: now < 0\n  in: 0.inner",
    ],
)
def test_what_is_shrunk_can_be_read_again(needed: str):
    whole = scenario(f"- eventually: leader is not None\n- log: nothing\n{needed}")
    smaller, _ = shrink(whole, 1)
    again = play(read_scenario(as_yaml(smaller, 1)))
    assert [step.verb for step in smaller.steps][-2:] == [step.verb for step in whole.steps][-2:]
    assert len(smaller.steps) < 4 and again.failure is not None


def test_a_failing_scenario_is_shrunk_to_the_steps_that_it_needs():
    long = scenario(
        """
        - eventually: leader is not None
        - log: nothing to see here
        - submit: {container: {name: web, replicas: 10}}
          within: 5s
        - isolate: follower
          for: 2s
        - wait: 3s
        - crash: leader
        - loss: 5%
        - wait: 5s
        - expect: count(n.role == 'down' for n in nodes) == 0
        """,
        "always: [raft]",
    )
    smaller, outcome = shrink(long, 1)
    first, *rest = [step.verb for step in smaller.steps]
    assert first in ("eventually", "wait") and rest == ["crash", "expect"]
    again = play(read_scenario(as_yaml(smaller, 1)))
    assert again.failure is not None and outcome.failure is not None
    assert (again.digest, again.failure.reason) == (outcome.digest, outcome.failure.reason)


def test_what_does_not_fail_again_is_not_shrunk():
    whole = read_scenario(SHORT)
    smaller, outcome = shrink(whole, 1)
    assert smaller == whole and outcome.passed


def test_what_is_shrunk_breaks_the_same_condition_and_no_other_one():
    two_leaders = "count(n.role == 'leader' for n in nodes) > 1"
    whole = scenario(
        f"""
        - eventually: leader is not None
        - never: now > 3
        - isolate: leader
          for: 2s
        - never: {two_leaders}
        - wait: 6s
        """,
        f"always: [now < 3.5, not {two_leaders}]",
    )
    smaller, outcome = shrink(whole, 1)
    assert outcome.failure is not None and two_leaders in outcome.failure.promise
    assert "isolate" in [step.verb for step in smaller.steps]
    assert f"promised  {outcome.failure.promise}" in told(outcome)


def test_single_random_faults_are_left_out_too_and_the_file_repeats_what_is_left():
    text = "scenario: t\nversion: 1\nalways: [\"not is_cut('node_0', 'node_1')\"]\nchaos:\n  for: 60s\n"
    whole = read_scenario(text + "  faults: {crash: 5, cut: 5}\n")
    smaller, outcome = shrink(whole, 1)
    assert smaller.chaos is not None and smaller.chaos.only is not None
    assert len(smaller.chaos.only) == 1 and set(smaller.chaos.faults) == {"cut"}, "one cut breaks it"
    again = play(read_scenario(as_yaml(smaller, 1)))
    assert again.digest == outcome.digest and again.failure is not None


def test_kinds_of_random_faults_are_left_out_too():
    text = "scenario: t\nversion: 1\nalways: [happened('link-cut') == 0]\nchaos:\n  for: 20s\n"
    smaller, _ = shrink(read_scenario(text + "  faults: {cut: 1, crash: 5, loss: 5}\n"), 1)
    assert smaller.chaos is not None and set(smaller.chaos.faults) == {"cut"}
