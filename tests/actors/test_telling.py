"""What happened is in the event log exactly once, whoever was lost before or after it was told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from yard import Yard

from raftyard.actors.frontdoor import Home
from raftyard.actors.messages import Happened
from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.state import untold
from raftyard.actors.storage.folder import DataFolder
from raftyard.actors.system import Virtual

SNAPSHOT_EACH = RaftConfig(snapshot_entries=1, keep_entries=0)


@pytest.fixture(params=[RaftConfig(), SNAPSHOT_EACH], ids=["log", "snapshots"])
def yard(request: pytest.FixtureRequest) -> Iterator[Yard]:
    with Yard(raft=request.param) as yard:
        yard.leader()
        yield yard


def executed(yard: Yard) -> list[str]:
    return [event.data["call"] for event in yard.events("call-executed")]


def mute(yard: Yard, node: str) -> None:
    """From now on nothing that this node tells the front door of events arrives."""
    actor = yard.node(node)
    actor._tell_happened = lambda *_args, **_kwargs: None


def submit(yard: Yard, **replicas: int) -> str:
    return str(yard.submit(**replicas)["service_id"])


def test_a_leader_that_is_lost_before_it_could_tell_leaves_it_to_the_next(yard: Yard):
    calls = [submit(yard, web=3)]
    yard.run(1.0)
    mute(yard, yard.leader())
    calls.append(submit(yard, db=4))
    yard.run(1.0)  # and all others have applied it, as followers do: without a word
    assert executed(yard) == calls[:1]
    yard.crash_node(yard.leader())
    yard.settle()
    assert executed(yard) == calls


def test_a_leader_that_knows_what_happened_by_a_snapshot_alone_tells_it(yard: Yard):
    """The next leader never applied the entry: all it has of it is in the snapshot that it was sent."""
    yard.run(1.0)
    old = yard.leader()
    heir, *others = [name for name in yard.names() if name != old]
    yard.cut(*yard.around(heir))
    mute(yard, old)
    call = submit(yard, web=5)
    yard.run(0.5)
    yard.restore(*yard.around(heir))
    yard.until(lambda: yard.node(heir).applied == yard.node(old).applied)
    # Those that applied it are kept from leading; all their votes are left to them.
    yard.cut(*[(other, name) for other in others for name in others if name != other])
    yard.crash_node(old)
    yard.cut(*[(old, name) for name in others])
    assert yard.until(lambda: yard.leader() == heir) and executed(yard) == [call]
    yard.heal()
    yard.settle()
    assert executed(yard) == [call]


def test_a_front_door_that_is_lost_with_news_in_its_mailbox_hears_it_again(yard: Yard):
    calls = [submit(yard, web=3)]
    front, handlers = yard.front(), yard.front()._handlers
    handlers[Happened] = lambda _: None  # what comes in from here on is lost with the actor
    calls.append(submit(yard, db=4))
    assert executed(yard) == calls[:1]
    yard.crash("cluster/0")
    yard.settle()
    assert yard.front() is not front and executed(yard) == calls


def test_news_that_did_not_arrive_are_told_again_before_the_next(yard: Yard):
    calls = [submit(yard, web=3)]
    handlers = yard.front()._handlers
    taken, handlers[Happened] = handlers[Happened], lambda _: None
    calls.append(submit(yard, db=4))
    handlers[Happened] = taken
    assert executed(yard) == calls[:1]
    calls.append(submit(yard, cache=1))
    yard.settle()
    assert executed(yard) == calls and not yard.events("events-lost")


def test_news_that_nobody_has_any_more_are_owned_to_be_lost(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(untold, "LIMIT", 6)
    with Yard() as yard:
        yard.settle()
        handlers = yard.front()._handlers
        taken, handlers[Happened] = handlers[Happened], lambda _: None
        told = yard.front()._home.told_index
        for name in ("a", "b", "c"):
            submit(yard, **{name: 1})
        handlers[Happened] = taken
        last = submit(yard, d=1)
        yard.settle()
        (gap,) = yard.events("events-lost")
        assert gap.data["after"] == told < gap.data["before"]
        assert executed(yard)[-1] == last


def test_what_was_told_leaves_the_state_with_something_that_is_proposed_anyway(yard: Yard):
    for round in range(20):
        submit(yard, web=round % 5)
    yard.settle()
    leader = yard.node(yard.leader())
    assert 0 < len(leader.state.untold) < 40
    assert leader.state.untold.floor > 0
    last = leader.raft.last_index
    yard.run(30.0)
    assert leader.raft.last_index == last, "an idle cluster stays idle"


@pytest.mark.parametrize("is_crash", [False, True])
def test_after_a_stop_nothing_is_told_again_and_after_a_crash_nothing_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_crash: bool
):
    with Yard(Virtual(seed=1, raise_crashes=True), data=DataFolder(tmp_path)) as yard:
        yard.leader()
        first = [submit(yard, web=3), submit(yard, db=3)]
        yard.settle()
        assert executed(yard) == first
        if is_crash:
            monkeypatch.setattr(Home, "close", lambda _: None)
        mute(yard, yard.leader())
        last = submit(yard, cache=1)
    with Yard(Virtual(seed=2, raise_crashes=True), data=DataFolder(tmp_path)) as yard:
        yard.settle()
        told = executed(yard)
        assert told[-1] == last and len(set(told)) == len(told)
        if not is_crash:
            assert told == [last]
        assert not yard.events("events-lost")
