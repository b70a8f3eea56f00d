"""Random stories with bad disks: power lost at any moment, syncs that fail, disks that are slow, full or decay.

Every promise of Raft is checked after every step, and against the bytes that are really safe on each simulated disk.
RAFTYARD_SEED repeats one story; RAFTYARD_CAMPAIGN=full tells many.
"""

import os
import random

import pytest
from disk_yard import GOOD, NODES, DiskYard
from yard import History

from raftyard.actors.disk import Decay, LosePower, SetDiskFaults
from raftyard.actors.messages import disk_actor, node_actor
from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.storage.simulated import DiskFaults


def raft_config(chance: random.Random) -> RaftConfig:
    """Mostly with snapshots so often, and in pieces so small, that members live by them."""
    if chance.random() < 0.3:
        return RaftConfig()
    return RaftConfig(
        snapshot_entries=chance.choice((1, 7, 40)),
        keep_entries=chance.choice((0, 3, 30)),
        snapshot_chunk_bytes=(chunk := chance.choice((200, 1_000, 1 << 18))),
        max_snapshot_inflight_bytes=chunk * chance.choice((1, 4)),
    )


def story(seed: int, steps: int) -> DiskYard:
    """A service call now and then, and something bad for some disk every 0.4 s; then good disks, and it must settle."""
    chance = random.Random(f"disks/{seed}")
    with DiskYard(seed, raft=raft_config(random.Random(f"raft/{seed}"))) as yard:
        yard.settle()
        wanted = 0
        decayed, crashes = "", list[str]()
        for number in range(steps):
            node = f"node_{chance.randrange(NODES)}"
            match chance.randrange(8):
                case 0 | 1:
                    yard.tell(node, LosePower())
                case 2:
                    for one in range(NODES):
                        yard.tell(f"node_{one}", LosePower())
                case 3:
                    yard.tell(node, SetDiskFaults(faults=DiskFaults(sync_ms=5, failing_sync=0.1)))
                case 4:
                    yard.tell(node, SetDiskFaults(faults=DiskFaults(sync_ms=20, slow=0.2, slow_ms=900)))
                case 5:
                    yard.tell(node, SetDiskFaults(faults=DiskFaults(is_full=True)))
                case 6:
                    yard.tell(node, SetDiskFaults(faults=GOOD))
                case 7 if not decayed and number > 3:
                    decayed = node
                    yard.tell(node, Decay())
                    yard.tell(node, LosePower())
                case _ if crashes.count(node) < 2:
                    # The program's part of a node crashes, and not the disk; or the other way round.
                    crashes.append(node)
                    yard.crash((node_actor if chance.randrange(2) else disk_actor)("0", node))
            wanted = 1 + number % 7
            yard.submit(wait_s=None, web=wanted)
            yard.run(chance.random() * 0.8)
        for one in range(NODES):
            yard.tell(f"node_{one}", SetDiskFaults(faults=GOOD))
        yard.run(5)
        last = yard.submit(wait_s=10, web=9)
        assert last["status"] == "executed"
        for one in range(NODES):
            name = f"node_{one}"
            # A bit may have flipped in what was cut off, or overwritten, before it was read.
            assert yard.is_there(name) or name == decayed, f"{name} did not come back"
        assert yard.disks.checks > steps
        if not decayed:
            yard.settle(within_s=30)
            assert History(yard.promises.raft()).state.digest() == yard.state().digest()
    return yard


def seeds(count: int) -> range:
    base = int(os.environ.get("RAFTYARD_SEED", "0"))
    return range(base, base + count)


def test_no_promise_breaks_on_bad_disks() -> None:
    for seed in seeds(6):
        print(f"seed {seed}")
        story(seed, steps=20)


@pytest.mark.campaign
def test_no_promise_breaks_on_bad_disks_in_many_stories() -> None:
    for seed in seeds(1000 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 30):
        print(f"seed {seed}")
        story(seed, steps=40)
