"""P23: a sync that failed is not tried again and not believed in; a disk that is full leaves nothing torn.

After a failed sync nobody knows what is on the disk: the system may have marked the pages clean without writing them,
and the next sync says that all is well.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from disk_yard import GOOD, DiskYard

from raftyard.actors.disk import SetDiskFaults
from raftyard.actors.messages import disk_actor, node_actor
from raftyard.actors.raft.core import Restored
from raftyard.actors.raft.events import Persist, StorageDone
from raftyard.actors.storage.base import StorageBroken
from raftyard.actors.storage.simulated import DiskFaults
from raftyard.actors.storage.sqlite import SqliteStorage

FRESH = Restored.bootstrap(("a", "b", "c"))

LIMIT = 200_000
"""Bytes of a file, as on a disk that is nearly full: the write that passes them ends in the middle."""


def write(index: int, *payloads: bytes) -> Persist:
    done = StorageDone(term=1, index=index + len(payloads) - 1, sequence=1, incarnation=1)
    terms = (1,) * len(payloads)
    return Persist(hard_state=None, first_index=index, terms=terms, payloads=payloads, done=done)


def one_bad_sync(whose: Callable[[DiskYard], str]) -> str:
    """One sync of that node fails, then its disk works again; the node's name, when everything is well again."""
    with DiskYard(seed=3) as yard:
        yard.settle()
        node = whose(yard)
        was, term = yard.node(node), yard.node(node).raft.term
        life = was.incarnation
        yard.tell(node, SetDiskFaults(faults=DiskFaults(failing_sync=1.0)))
        call = yard.submit(wait_s=None, web=3)
        yard.until(lambda: yard.node(node) is not was)
        assert was._has_failed and not was.is_running, "it went on after the sync had failed"
        yard.tell(node, SetDiskFaults(faults=GOOD))
        yard.until(lambda: yard.is_back(node, was))
        assert yard.node(node).incarnation > life, "what it said before is not what it says now"
        yard.until(lambda: yard.call(call["service_id"])["status"] == "executed")
        yard.settle()
        if yard.node(node).raft.term == term:
            assert yard.leader() != node, "a leader whose storage failed leads no more in that term"
        assert len(yard.state().services()) == 1
    return node


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_p23_a_node_whose_sync_failed_once_ends_this_life_and_reads_what_is_left(role: str) -> None:
    one_bad_sync(
        lambda yard: (
            yard.leader()
            if role == "leader"
            else next(name for name in yard.names() if name != yard.leader())
        )
    )


def test_p23_after_a_failed_sync_a_disk_writes_nothing_until_it_is_read_again() -> None:
    """What comes meanwhile for the old life is not written, and nobody hears that it was."""
    with DiskYard(seed=4) as yard:
        yard.settle()
        node = next(name for name in yard.names() if name != yard.leader())
        storage = yard.home.storage(node)
        yard.tell(node, SetDiskFaults(faults=DiskFaults(failing_sync=1.0)))
        yard.submit(wait_s=None, web=3)
        yard.until(lambda: not storage._is_open, step_s=0.0001)
        before = bytes(storage._file)
        disk = yard.system._cells[disk_actor("0", node)].actor
        assert (disk._life, disk._queued, disk._under_way) == (0, [], ())
        assert bytes(storage._file) == before
        with pytest.raises(StorageBroken, match="load it again"):
            storage.save(write(1, b"x"))
        yard.tell(node, SetDiskFaults(faults=GOOD))
        yard.until(lambda: yard.system.is_alive(node_actor("0", node)) and yard.node(node).is_running)


def fill_up(path: Path, limit: int) -> None:
    """For a process of its own, whose files may not grow beyond the limit: prints what was saved, and what was said."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    storage = SqliteStorage(path, "0", "a", FRESH)
    storage.load()
    saved, said = 0, []
    while len(said) < 2:
        try:
            storage.save(write(saved + 1, b"x" * 3_000))
            saved += 1
        except StorageBroken as error:
            said.append(str(error))
    print(json.dumps([saved, *said]))


def test_p23_a_disk_that_is_full_in_the_middle_of_a_record_leaves_nothing_torn(tmp_path: Path) -> None:
    """A real write that ends half-way, in sqlite's log."""
    path = tmp_path / "a.sqlite"
    command = [sys.executable, __file__, str(path), str(LIMIT)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    saved, said, again = json.loads(ran.stdout)
    assert saved > 10 and "could not be written" in said, "the limit was never met"
    assert again == said, "it went on after a write had failed"
    storage = SqliteStorage(path, "0", "a", None)
    found = storage.load()
    assert found.payloads == (b"x" * 3_000,) * saved, "all that was saved, and no more"
    storage.save(write(saved + 1, b"more"))
    assert storage.load().payloads[-1] == b"more"
    storage.close()


def test_p23_a_storage_that_failed_to_write_takes_nothing_until_it_is_read_again() -> None:
    with TemporaryDirectory() as folder:
        storage = SqliteStorage(Path(folder) / "a.sqlite", "0", "a", FRESH)
        storage.load()
        assert storage._database is not None
        storage._database.execute("PRAGMA max_page_count = 8")
        with pytest.raises(StorageBroken, match="full; make room on that disk"):
            storage.save(write(1, b"x" * 100_000))
        with pytest.raises(StorageBroken, match="could not be written"):
            storage.save(write(1, b"x"))
        assert storage.load() == FRESH
        storage.close()


if __name__ == "__main__":
    fill_up(Path(sys.argv[1]), int(sys.argv[2]))
