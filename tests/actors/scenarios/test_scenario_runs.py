"""Scenarios as they are played: equal seeds give equal events, and a failure says what, when, why and how again."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from scenario_texts import ISOLATION, played, scenario

from raftyard.actors.messages import EVENT_KINDS
from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.scenarios import Simulation, play, read_scenario, told
from raftyard.actors.scenarios.format import RaftShape
from raftyard.actors.scenarios.quantities import ns_of
from raftyard.actors.scenarios.telling import replay_command


def test_the_example_of_the_design_passes_and_tells_its_seed_and_digest():
    outcome = play(read_scenario(ISOLATION, "example.yaml"))
    assert outcome.passed
    assert f"seed 42, virtual clock, 8.000 s, {len(outcome.events)} events" in told(outcome)
    assert f"events sha256:{outcome.digest}" in told(outcome)


def test_equal_seeds_give_equal_event_logs_byte_for_byte_and_others_do_not():
    read = read_scenario(ISOLATION)
    first, second, other = play(read), play(read), play(read, seed=43)
    assert [event.line() for event in first.events] == [event.line() for event in second.events]
    assert first.digest == second.digest != other.digest


def test_the_digest_is_the_same_in_any_process_whatever_the_hash_seed():
    program = (
        "from scenario_texts import ISOLATION; from raftyard.actors.scenarios import play, read_scenario;"
        "print(play(read_scenario(ISOLATION)).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "4711")
    }
    assert digests == {play(read_scenario(ISOLATION)).digest}


def test_every_event_is_of_a_kind_that_is_listed():
    assert {event.kind for event in play(read_scenario(ISOLATION)).events} <= set(EVENT_KINDS)


def kinds(outcome, *wanted):
    return [(round(event.t_ns / 1e9, 3), event.kind) for event in outcome.events if event.kind in wanted]


def test_a_timed_fault_is_undone_by_itself_and_does_not_hold_up_the_steps():
    outcome = played("- wait: 2s\n- cut: node_0->node_1\n  for: 3s\n- log: at once")
    assert kinds(outcome, "link-cut", "link-restored", "scenario-log") == [
        (2.0, "link-cut"),
        (2.0, "scenario-log"),
        (5.0, "link-restored"),
    ]


def test_at_counts_from_the_start_of_the_scenario():
    outcome = played("- wait: 1s\n- log: a\n  at: 4s\n- log: b\n  at: 3s")
    assert kinds(outcome, "scenario-log") == [(4.0, "scenario-log"), (4.0, "scenario-log")]


def test_repeated_steps_wait_for_the_end_of_the_one_before_or_keep_their_pace():
    outcome = played("- cut: node_0->node_1\n  for: 1s\n  repeat: 3")
    assert [t for t, kind in kinds(outcome, "link-cut")] == [0.0, 1.0, 2.0]
    outcome = played("- log: tick\n  repeat: {times: 3, every: 2s}")
    assert [t for t, _ in kinds(outcome, "scenario-log")] == [0.0, 2.0, 4.0]


def test_where_two_faults_overlap_the_end_of_one_leaves_the_other_in_force():
    outcome = played(
        "- cut: node_0-node_1\n  for: 2s\n- isolate: node_0\n  for: 5s\n- wait: 3s\n"
        "- expect: is_cut('node_0', 'node_1')"
    )
    assert outcome.passed, told(outcome)
    restored = [
        e
        for e in outcome.events
        if e.kind == "link-restored" and e.data == {"source": "node_0", "target": "node_1"}
    ]
    assert [event.t_ns / 1e9 for event in restored] == [5.0]


def test_eventually_ends_as_soon_as_it_holds():
    outcome = played("- eventually: leader is not None\n- log: now")
    (elected,) = kinds(outcome, "leader-elected")
    assert kinds(outcome, "scenario-log") == [(elected[0], "scenario-log")]


def test_what_does_not_come_in_time_fails_and_tells_how_the_cluster_is():
    outcome = played("- eventually: count(n.role == 'leader' for n in nodes) == 2\n  within: 3s")
    assert not outcome.passed
    text = told(outcome)
    assert "broken    at 3.000 s, step 1" in text
    assert "at test.yaml:6:5" in text
    assert "not within 3 s: count(n.role == 'leader' for n in nodes) == 2 does not hold; now: node_0" in text
    assert "leader-elected" in text.split("before it")[1]
    assert text.splitlines()[-1] == "  replay    raftyard scenario run test.yaml --seed 1"


def test_the_command_that_replays_a_run_can_be_given_to_a_shell():
    run = played("- expect: now < 0")
    for file in ("a'b c.yaml", "$x.yaml", "plain.yaml"):
        command = replay_command(replace(run, file=file))
        assert shlex.split(command) == ["raftyard", "scenario", "run", file, "--seed", "1"]
    on_live = play(scenario("- wait: 1s", "clock: live"), clock="virtual")
    assert replay_command(on_live).endswith("--seed 1 --clock virtual")
    assert replay_command(replace(run, url="http://h/clusters/0?a&b")).endswith("--url 'http://h/clusters/0?a&b'")


def test_why_a_promise_was_not_watched_is_said():
    unwatched = ("raft", "committed-never-lost", "calls-executed-once")
    text = told(replace(played("- wait: 1s"), url="http://localhost:8000/clusters/0", not_watched=unwatched))
    assert "  not watched here, as only the virtual clock can: raft\n" in text
    assert "  not watched here, as they are not seen from outside: committed-never-lost, calls-executed-once" in text


def test_never_is_watched_after_every_event_for_its_time_only():
    outcome = played("- never: leader is not None\n- wait: 5s")
    failure = outcome.failure
    assert failure is not None and failure.promise == "never: leader is not None"
    assert failure.t_ns < 1e9
    assert played("- never: leader is not None\n  for: 100ms\n- wait: 5s").passed


@pytest.mark.parametrize("modifier", ["", "\n  for: 2s"])
def test_a_never_that_could_not_be_told_once_has_watched_nothing_and_fails(modifier: str):
    failure = played(f"- never: leader < 1{modifier}\n- wait: 5s").failure
    assert failure is not None and failure.promise == "never: leader < 1"
    assert failure.reason.startswith("leader < 1 cannot be told: '<' not supported between instances of")
    assert failure.reason.endswith(", not once, so nothing was watched")
    # Nobody leads at first: it cannot be told then, and can later.
    assert played(f"- never: leader < 'a'{modifier}\n- wait: 5s").passed


def test_a_condition_among_always_must_hold_from_the_start():
    assert played("- wait: 3s", "always: [count(n.role == 'leader' for n in nodes) <= 1]").passed
    failure = played("- wait: 3s", "always: [count(n.role == 'leader' for n in nodes) == 0]").failure
    assert failure is not None and failure.promise == "always: count(n.role == 'leader' for n in nodes) == 0"


@pytest.mark.parametrize("condition", ["leader < 1", f"{10**400} / 2 > 1"])
def test_a_condition_that_cannot_be_told_fails_with_the_reason(condition: str):
    failure = played(f"- expect: '{condition}'").failure
    assert failure is not None and "cannot be told" in failure.reason


def test_what_a_file_says_of_raft_is_what_the_nodes_have_and_what_it_leaves_out_is_the_default():
    said = {
        "heartbeat": "50ms", "election_min": "300ms", "election_max": "700ms", "pre_vote": False, "check_quorum": True,
        "lease_reads": True, "storage_patience": "2s", "snapshot_entries": 7, "snapshot_bytes": 8, "keep_entries": 3,
        "keep_bytes": 4,
    }  # fmt: skip
    assert set(said) == set(RaftShape.__struct_fields__)
    with Simulation(nodes=1, cluster=read_scenario(as_file({"cluster": {"raft": said}})).cluster) as sim:
        has = sim.orchestrator_settings.raft
    expected = {f"{name}_ms": ns_of(value) // 1_000_000 for name, value in said.items() if isinstance(value, str)}
    expected |= {name: value for name, value in said.items() if not isinstance(value, str)}
    assert {name: getattr(has, name) for name in expected} == expected
    with Simulation(nodes=1, cluster=read_scenario(as_file({})).cluster) as sim:
        assert sim.orchestrator_settings.raft == RaftConfig()


def as_file(parts):
    return json.dumps({"scenario": "t", "version": 1, "steps": [{"wait": "1s"}], **parts})


def test_each_step_draws_from_a_stream_of_its_own():
    with_both = played("- isolate: one\n  name: first\n- crash: one\n  for: 1s")
    without = scenario("- log: nothing\n- crash: one\n  for: 1s")

    def crashed(outcome):
        return [event.data["of"] for event in outcome.events if event.kind == "fault-ended"]

    assert crashed(with_both) == crashed(play(without))


def test_a_seed_is_drawn_and_told_where_none_is_given():
    read = read_scenario("scenario: t\nversion: 1\nsteps:\n  - wait: 1s\n")
    first = play(read)
    assert play(read, seed=first.seed).digest == first.digest


def test_a_crashed_actor_fails_the_scenario_with_its_error(monkeypatch: pytest.MonkeyPatch):
    from raftyard.actors.agent import Agent

    def broken(*_: object) -> None:
        raise RuntimeError("the agent is broken")

    monkeypatch.setattr(Agent, "_run_tasks", broken)
    failure = played("- submit: {container: {name: web, replicas: 3}}\n- wait: 3s").failure
    assert failure is not None
    assert (failure.promise, failure.reason) == ("no actor crashes", "RuntimeError: the agent is broken")


CHAOS = """\
scenario: chaos with clients
version: 1
cluster: {nodes: 5, capacity: 1000, disks: {jitter: 2ms}, raft: {snapshot_entries: 40, keep_entries: 10}}
always: [raft, no-replica-lost, at-most-one-leader-per-term, committed-never-lost, no-replica-twice,
  capacity-never-exceeded, task-states-only-forward, calls-executed-once, converges, linearizable]
chaos:
  for: 5s
  clients: 2
  faults: {cut: 3, isolate: 2, partition: 2, crash: 2, pause: 2, loss: 1, delay: 1, duplicate: 1, reorder: 1, disk: 2}
"""


@pytest.mark.parametrize("seed", range(3))
def test_chaos_ends_in_order_with_every_promise_kept(seed: int):
    outcome = play(read_scenario(CHAOS), seed=seed)
    assert outcome.passed, told(outcome)
    assert play(read_scenario(CHAOS), seed=seed).digest == outcome.digest


@pytest.mark.campaign
@pytest.mark.parametrize("part", range(10))
def test_chaos_of_many_seeds_ends_in_order(part: int):
    base = int(os.environ.get("RAFTYARD_SEED", "0"))
    each = 50 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 2
    for seed in range(base + part * each, base + (part + 1) * each):
        print(f"replay: RAFTYARD_SEED={seed}")
        outcome = play(read_scenario(CHAOS), seed=seed)
        assert outcome.passed, told(outcome)
