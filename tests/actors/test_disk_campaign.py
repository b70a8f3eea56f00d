"""Random stories with bad disks: power lost at any moment, syncs that fail, disks that are slow, full or decay.

Every promise of Raft is checked after every step, and against the bytes that are really safe on each simulated disk.
RAFTYARD_SEED repeats one story; RAFTYARD_CAMPAIGN=full tells many.
"""

import os
import random
from typing import Any

import pytest
from yard import Promises, Yard

from raftyard.actors.cluster import Home
from raftyard.actors.disk import Decay, LosePower, SetDiskFaults
from raftyard.actors.messages import disk_actor, node_actor
from raftyard.actors.orchestrator import first_cluster, start_orchestrator
from raftyard.actors.raft.events import StorageDone
from raftyard.actors.storage.simulated import DiskFaults, SimulatedStorage
from raftyard.actors.system import Virtual

NODES = 5
GOOD = DiskFaults(sync_ms=2, jitter_ms=2)


class DiskPromises:
    """What a member believes to be durable is: the same term and vote, the same entries."""

    def __init__(self, home: Home, others: Promises) -> None:
        self._home = home
        self._others = others
        self.checks = 0

    def observe(self, core: Any, event: Any, ready: Any) -> None:
        self._others.observe(core, event, ready)
        if type(event) is not StorageDone:
            return
        self.checks += 1
        storage = self._home.storage(core.member)
        assert isinstance(storage, SimulatedStorage)
        durable = storage.durable
        believed = self._others.raft().seen[core.member].hard_state
        assert durable.hard_state.term >= believed.term
        if durable.hard_state.term == believed.term and believed.voted_for is not None:
            assert durable.hard_state.voted_for == believed.voted_for
        terms = tuple(core.log.term_at(index) for index in range(1, core.durable_index + 1))
        assert durable.terms[: core.durable_index] == terms


class DiskYard(Yard):
    """A yard of one cluster on simulated disks."""

    def __init__(self, seed: int) -> None:
        super().__init__(Virtual(seed=seed, raise_crashes=True), nodes=NODES, checked=False)
        self.home = Home(first_cluster(self.settings), disks=GOOD)
        self.disks = DiskPromises(self.home, self.promises)
        self.settings = type(self.settings)(port=8000, nodes=NODES, observe=self.disks.observe)

    def __enter__(self) -> "DiskYard":
        self.system.__enter__()
        start_orchestrator(self.system, self.settings, {"0": self.home})
        return self

    def tell(self, node: str, message: Any) -> None:
        self.system.send(disk_actor("0", node), message)

    def is_there(self, node: str) -> bool:
        return bool(self.system.is_alive(node_actor("0", node)))


def story(seed: int, steps: int) -> DiskYard:
    """A service call now and then, and something bad for some disk every 0.4 s; then good disks, and it must settle."""
    chance = random.Random(f"disks/{seed}")
    with DiskYard(seed) as yard:
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
    return yard


def seeds(count: int) -> list[int]:
    given = os.environ.get("RAFTYARD_SEED")
    return [int(given)] if given else [random.randrange(2**32) for _ in range(count)]


def test_no_promise_breaks_on_bad_disks() -> None:
    for seed in seeds(6):
        print(f"seed {seed}")
        story(seed, steps=20)


@pytest.mark.campaign
def test_no_promise_breaks_on_bad_disks_in_many_stories() -> None:
    for seed in seeds(2000 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 30):
        print(f"seed {seed}")
        story(seed, steps=40)
