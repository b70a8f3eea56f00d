"""Snapshots through disks: saved, cut off after, lost power over, sent to who lacks them, and found again at a start.

Every promise of Raft is checked after every event, and against the bytes that are really safe on each disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from disk_yard import GOOD, DiskYard
from yard import History, Yard, actor_of

from raftyard.actors.disk import SaveSnapshot, SetDiskFaults
from raftyard.actors.messages import AddNodeRequest, LinkPolicy, RemoveNodeRequest, disk_actor
from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.raft.core import Raft, Restored
from raftyard.actors.raft.events import Append, HardState, InstallSnapshot
from raftyard.actors.raft.membership import Membership
from raftyard.actors.storage.folder import DataFolder, node_file
from raftyard.actors.storage.simulated import DiskFaults
from raftyard.actors.storage.sqlite import SqliteStorage
from raftyard.actors.system import Live

SMALL = RaftConfig(
    snapshot_entries=5, keep_entries=3, snapshot_chunk_bytes=200, max_snapshot_inflight_bytes=400
)
WIRE = LinkPolicy(delay_s=0.005)  # pieces of a snapshot take turns, so that something can happen between them
SLOW = DiskFaults(sync_ms=150)
WHILE_SAVING = 5
"""Entries that come while a snapshot is on its way to the disk."""
ELECTION = 5
"""Entries of a new leader, and what it records of the node that was away."""
SERVICES = ("web", "db", "cache", "queue", "mail")


def fill(yard: DiskYard, calls: int = 10) -> list[Any]:
    """Services submitted one after the other; what is agreed on in the end."""
    for number in range(calls):
        assert yard.submit(**{SERVICES[number % len(SERVICES)]: 1 + number % 7})["status"] == "executed"
    yard.settle()
    return yard.agreed()


def follower(yard: DiskYard) -> str:
    leader = yard.leader()
    return next(name for name in yard.names() if name != leader)


def check(yard: DiskYard) -> None:
    """Everything settles, and the agreed log applied anew gives what the nodes made of snapshots and rests of it."""
    yard.heal()
    yard.settle(within_s=60)
    assert History(yard.promises.raft()).state.digest() == yard.state().digest()
    for name in yard.names():
        durable, core = yard.disks.durable(name), yard.node(name).raft
        assert durable.snapshot is not None
        assert (durable.snapshot.index, durable.first_index) == (core.snapshot_index, core.first_index)


def is_saving(yard: DiskYard, node: str) -> bool:
    """Whether a snapshot is on its way to the disk, and not synced yet."""
    disk = actor_of(yard.system, disk_actor("0", node))
    return bool(disk._under_way) and isinstance(disk._under_way[0], SaveSnapshot)


def leave_behind(yard: DiskYard, node: str) -> int:
    """The others go on without it until what it lacks is cut off everywhere; the last entry that it has."""
    last = yard.node(node).raft.last_index
    yard.cut(*yard.around(node))
    yard.until(lambda: yard.front().leader not in (None, node))
    for number in range(8):
        assert yard.submit(web=1 + number % 7, db=number)["status"] == "executed"
    yard.until(lambda: min(other.raft.first_index for other in yard.nodes() if other.node != node) > last + 1)
    return last


def test_snapshots_are_saved_and_the_logs_are_cut() -> None:
    with DiskYard(1, raft=SMALL, link=WIRE) as yard:
        yard.settle()
        fill(yard)
        check(yard)
        assert yard.disks.taken >= 5 * 4
        assert not yard.events("storage-failed"), "a snapshot keeps its place among the other writes"
        for name in yard.names():
            durable = yard.disks.durable(name)
            assert durable.snapshot is not None
            assert durable.first_index == durable.snapshot.index + 1 - SMALL.keep_entries > 1


@pytest.mark.parametrize("many", [1, 2, 5])
def test_a_loss_of_power_forgets_nothing_that_is_in_a_snapshot(many: int) -> None:
    with DiskYard(2, raft=SMALL, link=WIRE) as yard:
        yard.settle()
        for _ in range(3):
            before, services = fill(yard), yard.state().services()
            yard.lose_power(*([follower(yard)] if many == 1 else yard.names()[:many]))
            yard.settle(within_s=30)
            assert yard.agreed()[0] == before[0] == services
        fill(yard, 3)
        check(yard)


def test_a_node_that_was_left_behind_is_given_a_snapshot_which_its_disk_keeps() -> None:
    with DiskYard(3, raft=SMALL, link=WIRE) as yard:
        yard.settle()
        behind = follower(yard)
        leave_behind(yard, behind)
        yard.heal()
        yard.settle()
        assert yard.disks.installed >= 1
        yard.lose_power(behind)
        yard.settle()
        check(yard)


@pytest.mark.parametrize("name", ["the lost one", "late"])
def test_a_node_that_lost_its_files_or_joins_late_is_given_a_snapshot(name: str) -> None:
    with DiskYard(4, raft=SMALL, link=WIRE) as yard:
        yard.settle()
        fill(yard)
        lost = follower(yard)
        yard.ask(RemoveNodeRequest(address=lost))
        yard.ask(AddNodeRequest(name="late" if name == "late" else lost))
        yard.settle(within_s=30)
        assert yard.disks.installed == 1
        yard.lose_power(*yard.names())
        yard.settle(within_s=30)
        fill(yard, 3)
        check(yard)


def lose_power(yard: DiskYard, node: str) -> None:
    yard.lose_power(node)


def crash_node(yard: DiskYard, node: str) -> None:
    yard.crash_node(node)


def crash_disk(yard: DiskYard, node: str) -> None:
    yard.crash(disk_actor("0", node))


def lose_all_power(yard: DiskYard, node: str) -> None:
    yard.lose_power(*yard.names())


def fail_to_sync(yard: DiskYard, node: str) -> None:
    """The sync that is under way fails."""
    actor_of(yard.system, disk_actor("0", node))._storage._failing = True
    yard.run(SLOW.sync_ms / 1000)


ENDS = [lose_power, lose_all_power, crash_node, crash_disk, fail_to_sync]


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_while_a_snapshot_is_saved_ends_without_loss(end: Callable[[DiskYard, str], None]) -> None:
    for seed in range(2):
        with DiskYard(seed, raft=SMALL, link=WIRE) as yard:
            yard.settle()
            victim = yard.leader() if seed % 2 else follower(yard)
            yard.tell(victim, SetDiskFaults(faults=SLOW))
            calls = iter(range(1, 100))

            def comes_to_save() -> bool:
                yard.submit(wait_s=None, web=next(calls) % 20)  # noqa: B023 (called in this turn only)
                return is_saving(yard, victim)  # noqa: B023

            yard.until(comes_to_save)
            end(yard, victim)
            yard.tell(victim, SetDiskFaults(faults=GOOD))
            yard.settle(within_s=30)
            fill(yard, 2)
            check(yard)


def is_receiving(yard: DiskYard, node: str) -> bool:
    """Some pieces of the leader's snapshot came, and some did not."""
    incoming = yard.node(node).raft.incoming
    return incoming is not None and 0 < incoming.received < incoming.total


def is_installing(yard: DiskYard, node: str) -> bool:
    """The snapshot of the leader is in force, and not durable yet."""
    return yard.node(node).raft.installing is not None and is_saving(yard, node)


@pytest.mark.parametrize("moment", [is_receiving, is_installing])
@pytest.mark.parametrize("end", ENDS)
def test_what_ends_while_a_snapshot_is_installed_is_installed_in_the_end(
    end: Callable[[DiskYard, str], None], moment: Callable[[DiskYard, str], bool]
) -> None:
    for seed in range(2):
        with DiskYard(seed, raft=SMALL, link=WIRE) as yard:
            yard.settle()
            behind = follower(yard)
            last = leave_behind(yard, behind)
            yard.tell(behind, SetDiskFaults(faults=SLOW))
            yard.restore(*yard.around(behind))
            yard.until(lambda: moment(yard, behind), step_s=0.0005)  # noqa: B023
            end(yard, behind)
            yard.tell(behind, SetDiskFaults(faults=GOOD))
            yard.settle(within_s=30)
            # Of a program that crashed the disk may have all that was written: then nothing is sent again.
            assert yard.disks.durable(behind).first_index > last + 1
            fill(yard, 2)
            check(yard)


def test_a_leader_that_ends_while_it_sends_a_snapshot_is_followed_by_one_that_sends_its_own() -> None:
    with DiskYard(5, raft=SMALL, link=WIRE) as yard:
        yard.settle()
        behind = follower(yard)
        leave_behind(yard, behind)
        leader = yard.leader()
        yard.restore(*yard.around(behind))
        yard.until(lambda: is_receiving(yard, behind), step_s=0.0005)
        yard.tell(leader, SetDiskFaults(faults=DiskFaults(is_full=True)))
        yard.lose_power(leader)
        yard.until(lambda: yard.front().leader not in (None, leader))
        yard.tell(leader, SetDiskFaults(faults=GOOD))
        check(yard)
        assert yard.disks.installed >= 1


def test_what_was_on_its_way_to_the_disk_counts_when_a_snapshot_is_installed_meanwhile() -> None:
    """The write of an entry that agrees with the leader ends after the snapshot came, and before that is durable."""
    membership = Membership(voters=("a", "b", "c"))
    raft = Raft(
        member="a", cluster="0", incarnation=1, config=RaftConfig(), random=Random(1),
        restored=Restored(hard_state=HardState(term=1), membership=membership), now_ns=0,
    )  # fmt: skip
    head: dict[str, Any] = {"cluster": "0", "sender": "b", "to": "a", "term": 1, "incarnation": 1}
    written = raft.step(
        0,
        Append(**head, prev_index=0, prev_term=0, terms=(1,), payloads=(b"\x01one",), commit=0, round=0),
    )
    assert written.persist is not None
    assert [message.match for message in written.send_after_durable] == [1]
    installed = raft.step(
        0,
        InstallSnapshot(
            **head, index=5, snapshot_term=1, membership=membership, total=3, offset=0, data=b"all"
        ),
    )
    assert installed.install is not None
    assert raft.durable_index == 0
    raft.step(0, written.persist.done)
    assert raft.durable_index == 1


@pytest.mark.parametrize("calls", [10, 40])
def test_a_start_reads_and_applies_no_more_than_snapshots_leave_however_long_the_story(calls: int) -> None:
    """In entries: what is kept before a snapshot, what comes until the next one, and what came while that was saved."""
    with DiskYard(6, raft=SMALL) as yard:
        yard.settle()
        fill(yard, calls)
        assert yard.node(yard.leader()).raft.last_index > 3 * calls
        for name in yard.names():
            before, durable = yard.node(name), yard.disks.durable(name)
            yard.disks.applied[name] = 0
            yard.lose_power(name)
            yard.until(lambda: yard.is_back(name, before))  # noqa: B023
            yard.settle()
            assert len(durable.terms) <= SMALL.keep_entries + SMALL.snapshot_entries + WHILE_SAVING
            assert yard.disks.applied[name] <= SMALL.snapshot_entries + WHILE_SAVING + ELECTION
        assert sum(yard.disks.applied.values()) > 0


def services(yard: Yard) -> dict[str, int]:
    return {service["name"]: service["replicas"] for service in yard.picture()["services"]}


def in_file(folder: Path, node: str) -> Restored:
    """What a node's file holds while nobody uses it: what it says, and what its table of entries really has."""
    storage = SqliteStorage(node_file(folder, node), "0", node, None)
    restored = storage.load()
    storage.close()
    with closing(sqlite3.connect(storage.path)) as database:
        rows = database.execute("SELECT idx FROM log ORDER BY idx").fetchall()
    assert [row[0] for row in rows] == [restored.first_index + at for at in range(len(restored.terms))]
    return restored


def test_a_program_that_starts_again_has_its_services_from_snapshots_and_its_files_hold_only_the_rest(
    tmp_path: Path,
) -> None:
    seen, left = dict[str, tuple[int, int]](), dict[str, tuple[int, int]]()

    def observe(core: Any, event: Any, ready: Any) -> None:
        seen.setdefault(core.member, (core.snapshot_index, core.first_index))

    for life in range(2):
        data = DataFolder(tmp_path)
        data.lock()
        seen.clear()
        try:
            with Yard(
                Live(), checked=False, port=None, nodes=3, raft=SMALL, data=data, observe=observe
            ) as yard:
                yard.until(lambda: yard.picture()["leader"])
                for number in range(15 * (1 - life)):
                    assert yard.submit(**{SERVICES[number % 5]: 1 + number})["status"] == "executed"
                assert services(yard) == {name: 11 + number for number, name in enumerate(SERVICES)}
                assert yard.submit(web=11)["status"] == "executed"
                assert not yard.events("storage-failed")
                yard.until(lambda: len({node.applied for node in yard.nodes()}) == 1)
        finally:
            data.unlock()
        for name in ("node_0", "node_1", "node_2"):
            if life:
                # The start began with what the end of the first life left.
                assert seen[name] == left[name]
            found = in_file(tmp_path / "0", name)
            assert found.snapshot is not None
            left[name] = (found.snapshot.index, found.first_index)
            # What was sent by the leader leaves nothing before it.
            assert found.snapshot.index - SMALL.keep_entries < found.first_index <= found.snapshot.index + 1
            assert len(found.terms) < found.first_index, "most of the log is cut off"
