"""What earlier versions of the program wrote is read still: recorded_format_2.json holds its bytes."""

import base64
import json
from pathlib import Path

import msgspec
import pytest

from raftyard.actors.scheduling.reconcile import plan_call
from raftyard.actors.state import commands as c
from raftyard.actors.state.machine import ClusterState, SnapshotError

RECORDED = json.loads((Path(__file__).parent / "recorded_format_2.json").read_text())


def replayed():
    state = ClusterState()
    for index, command in enumerate(RECORDED["log"], start=1):
        assert state.apply(index, RECORDED["term"], c.decode(base64.b64decode(command))).ok
        state.check()
    return state


def restored():
    state = ClusterState()
    state.restore(base64.b64decode(RECORDED["snapshot"]))
    state.check()
    return state


@pytest.mark.parametrize("make", [replayed, restored])
def test_the_log_and_the_snapshot_of_the_format_before_mean_what_they_meant(make):
    state = make()
    services = [[s.name, s.replicas, s.slots_per_replica, s.version, s.placed, s.lost] for s in state.services()]
    assert services == RECORDED["services"]
    tasks = {
        node.name: [[t.id, t.service, t.slot, t.state.name, t.desired.name, t.slots] for t in state.tasks_of(node.name)]
        for node in state.nodes()
    }
    assert tasks == RECORDED["tasks"]
    assert [call.services[0].name for call in state.pending_calls()] == ["api", "mail"]
    assert state.cluster("1").nodes[0].port == 8101


def test_a_member_that_replays_the_old_log_and_one_that_reads_its_snapshot_agree_from_then_on():
    one, other = replayed(), restored()
    assert one.applied_index == other.applied_index
    for state in (one, other):
        for _ in range(2):
            head = state.head()
            plan = plan_call(state, head)
            command = c.ExecuteCall(call_id=head.id, term=1, made_at=state.applied_index, plan=plan)
            assert state.apply(state.applied_index + 1, 1, command).ok
            state.check()
    assert one.services() == other.services()
    assert one.digest() == other.digest()


def test_a_snapshot_of_a_format_that_is_not_known_is_refused():
    data = msgspec.msgpack.decode(base64.b64decode(RECORDED["snapshot"]))
    with pytest.raises(SnapshotError, match="a snapshot of format 9; this program reads formats 1 to 3"):
        ClusterState().restore(msgspec.msgpack.encode(data | {"format": 9}))
