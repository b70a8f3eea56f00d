"""Commands and the short forms of long lists, as bytes and back."""

import random
from typing import get_args

import msgspec
import numpy as np
import pytest

from raftyard.actors.state import commands as c
from raftyard.actors.state.machine import _CARRIED_OUT
from raftyard.actors.state.runs import PLAN, collect, expand, overlap, pack, report_updates, unpack
from raftyard.actors.state.specs import ServiceSpec

CALL = c.ServiceCall(
    id="a", services=(c.ServiceRequest(name="web", replicas=3),), body=b"{}", idempotency_key="k"
)
PLACED = c.Plan(
    services=(c.ServicePlan(service="web", starts=pack([(1, 3, 0)], PLAN), stops=pack([(9, 1)], PLAN)),)
)
EVERY_COMMAND = (
    c.AddNode(name="n", host="h", port=None, capacity=1, labels=(("zone", "a"),)),
    c.UpdateNode(name="n", availability="drain", labels=(("zone", "b"),), resources={"gpus": 1}),
    c.PutService(name="web", spec=ServiceSpec(image="a", replicas=3, env={"A": "1"}), version=2),
    c.RunDue(name="web", version=2, term=1, up_to_ms=60_000, run_ms=60_000, missed=1),
    c.ScaleService(name="web", version=2, term=1, was=3, replicas=5, usage=80.5, why="busy"),
    c.RemoveService(name="web"),
    c.RollBackService(name="web", to_version=3),
    c.PutStack(name="shop", services=(("shop_web", ServiceSpec(image="a")),), version=0),
    c.RemoveStack(name="shop", version=7),
    c.PassTime(term=1, clock_ms=5),
    c.RemoveNode(name="n"),
    c.MoveNodes(addresses=(("n", "localhost", 9001), ("m", "localhost", None))),
    c.SetNodeStatus(name="n", status="down", term=2),
    c.SubmitCall(call=CALL),
    c.ExecuteCall(call_id="a", term=1, made_at=3, plan=PLACED),
    c.FailCall(call_id="a", term=1, reason="no"),
    c.PlaceTasks(term=1, made_at=3, plan=PLACED),
    c.ReportTasks(node="n", incarnation=1, updates=report_updates([(1, 512)])),
    c.ReportNodes(reports=(c.NodeReport(node="n", incarnation=1, updates=report_updates([(1, 512)])),)),
    c.StartRebalance(
        made_at=3,
        max_parallel=2,
        cost_before=50.0,
        cost_after=0.5,
        moves=(c.RebalanceMove(task=1, service="web", slot=1, source=0, target=1),),
    ),
    c.GoOnRebalance(term=1),
    c.StopRebalance(),
    c.ChangeSettings(preemption=True),
    c.Told(index=7),
    c.CreateCluster(id="1", nodes=(c.ClusterNode(name="n", host="h", port=1, capacity=2),)),
    c.ReplaceCluster(id="1", nodes=()),
    c.RemoveCluster(id="1"),
)


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda command: type(command).__name__)
def test_a_command_comes_back_from_its_bytes_and_never_looks_like_a_membership_entry(command):
    payload = c.encode(command)
    assert c.decode(payload) == command
    assert payload and payload[0] != 0


def test_every_command_of_the_union_is_in_the_table_above():
    assert {type(command) for command in EVERY_COMMAND} == set(c.Command.__args__)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\xc0", b"\x91\xa7unknown", b"\x92\xabremove-node\x05"])
def test_bytes_that_are_no_command_are_a_decode_error(payload):
    with pytest.raises(msgspec.DecodeError):
        c.decode(payload)


def test_collecting_and_expanding_runs_gives_the_numbers_back():
    for seed in range(200):
        rng = random.Random(seed)
        numbers = np.array(rng.sample(range(40), rng.randrange(30)), dtype=np.int64)
        other = np.array([rng.randrange(2) for _ in numbers], dtype=np.int64)
        runs = collect(numbers, other)
        assert expand(runs[:, 0], runs[:, 1]).tolist() == numbers.tolist(), f"seed {seed}"
        assert np.repeat(runs[:, 2], runs[:, 1]).tolist() == other.tolist(), f"seed {seed}"
        assert not overlap(runs[:, 0], runs[:, 1]), f"seed {seed}"


def test_runs_that_share_a_number_overlap():
    assert overlap(np.array([5, 1]), np.array([1, 5]))
    assert not overlap(np.array([6, 1]), np.array([1, 5]))


def test_neighbouring_tasks_in_one_state_are_one_run():
    assert len(report_updates((task, 512) for task in range(1, 1001))) == 24
    assert report_updates([]) == b""


@pytest.mark.parametrize("data", [b"123", pack([(-1, 1, 0)], PLAN), pack([(1, 0, 0)], PLAN)])
def test_bytes_that_are_no_runs_are_none(data):
    assert unpack(data, 3, PLAN) is None


def test_a_plan_for_a_hundred_thousand_replicas_is_one_small_entry():
    rows = np.column_stack((np.arange(5000) * 20 + 1, np.full(5000, 20), np.arange(5000)))
    plan = c.Plan(services=(c.ServicePlan(service="web", starts=pack(rows, PLAN)),))
    assert len(c.encode(c.PlaceTasks(term=1, made_at=1, plan=plan))) < 61_000


def test_every_command_is_carried_out_by_something() -> None:
    assert set(_CARRIED_OUT) == set(get_args(c.Command))
