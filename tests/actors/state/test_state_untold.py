"""Events that are kept until they are told: in order, in every snapshot, no longer than needed."""

import msgspec
import pytest

from raftyard.actors.state import commands as c, untold
from raftyard.actors.state.machine import ClusterState, SnapshotError
from raftyard.actors.state.records import StateEvent
from raftyard.actors.state.snapshots import SNAPSHOT_FORMAT
from raftyard.actors.state.untold import Untold

EVENT = (StateEvent(kind="node-added", data={"name": "n"}),)


def add(state: ClusterState, index: int) -> None:
    command = c.AddNode(name=f"n{index}", host="h", port=index, capacity=1)
    assert state.apply(index, 1, command).ok


def kept(state: ClusterState, after: int = 0) -> list[tuple[int, int, str]]:
    return [(one.index, one.after, one.events[0].kind) for one in state.untold.since(after)]


def test_what_happened_is_kept_in_a_chain_until_it_is_told():
    state = ClusterState()
    for index in (3, 5, 6):
        add(state, index)
    assert kept(state) == [(3, 0, "node-added"), (5, 3, "node-added"), (6, 5, "node-added")]
    assert kept(state, after=5) == [(6, 5, "node-added")]
    assert state.apply(7, 1, c.Told(index=5)).ok
    assert kept(state) == [(6, 5, "node-added")]
    assert (state.untold.floor, state.untold.last) == (5, 6)
    assert state.apply(8, 1, c.Told(index=3)).ok, "late news changes nothing"
    assert kept(state) == [(6, 5, "node-added")]


def test_an_entry_without_events_is_not_kept():
    state = ClusterState()
    add(state, 1)
    assert not state.apply(2, 1, c.RemoveNode(name="nobody")).ok
    assert [index for index, _, _ in kept(state)] == [1]


def test_a_snapshot_has_what_is_untold_and_a_member_that_begins_with_it_agrees():
    state, other = ClusterState(), ClusterState()
    for index in (1, 2, 3):
        add(state, index)
    state.apply(4, 1, c.Told(index=2))
    other.restore(state.snapshot())
    assert kept(other) == [(3, 2, "node-added")]
    for member in (state, other):
        add(member, 5)
        member.apply(6, 1, c.Told(index=3))
    assert other.digest() == state.digest()
    assert kept(other) == [(5, 3, "node-added")]


def test_a_snapshot_of_format_1_is_read_and_counts_as_told():
    state, other = ClusterState(), ClusterState()
    add(state, 4)
    saved = msgspec.msgpack.decode(state.snapshot())
    del saved["untold"], saved["told"]
    saved["tasks"]["size"] = b""
    other.restore(msgspec.msgpack.encode(saved | {"format": 1}))
    assert (other.untold.floor, other.untold.last, kept(other)) == (4, 4, [])
    assert other.node("n4") == state.node("n4")


@pytest.mark.parametrize("version", [0, SNAPSHOT_FORMAT + 1])
def test_a_snapshot_of_another_format_is_refused(version: int):
    saved = msgspec.msgpack.decode(ClusterState().snapshot())
    with pytest.raises(SnapshotError, match=f"format {version}; this program reads formats 1 to 3"):
        ClusterState().restore(msgspec.msgpack.encode(saved | {"format": version}))


def test_where_nobody_is_told_for_long_the_oldest_go_and_the_gap_shows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(untold, "LIMIT", 3)
    events = Untold()
    for index in range(1, 6):
        events.add(index, EVENT)
    assert [(one.index, one.after) for one in events.since(0)] == [(3, 2), (4, 3), (5, 4)]
    assert events.floor == 2
