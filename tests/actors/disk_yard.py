"""A yard of one cluster whose nodes keep their promises on simulated disks."""

from typing import Any

from yard import Promises, Yard

from raftyard.actors.disk import LosePower
from raftyard.actors.frontdoor.home import Home
from raftyard.actors.messages import disk_actor, node_actor
from raftyard.actors.orchestrator import OrchestratorSettings, first_cluster, start_orchestrator
from raftyard.actors.raft.core import Restored
from raftyard.actors.raft.events import SnapshotInstalled, SnapshotTaken, StorageDone
from raftyard.actors.storage.simulated import DiskFaults, SimulatedStorage
from raftyard.actors.system import Virtual

NODES = 5
GOOD = DiskFaults(sync_ms=2, jitter_ms=2)


class DiskPromises:
    """What a member believes to be durable is: the same term and vote, the same entries, the same snapshot."""

    def __init__(self, home: Home, others: Promises) -> None:
        self._home = home
        self._others = others
        self.checks = 0
        self.taken = 0
        self.installed = 0
        self.applied: dict[str, int] = {}
        """Entries that each member has applied, in all of its lives."""

    def observe(self, core: Any, event: Any, ready: Any) -> None:
        self._others.observe(core, event, ready)
        if ready.apply is not None:
            self.applied[core.member] = self.applied.get(core.member, 0) + len(ready.apply.terms)
        match event:
            case StorageDone():
                self.checks += 1
                self._check(core, self.durable(core.member))
            case SnapshotTaken() | SnapshotInstalled():
                self.taken += type(event) is SnapshotTaken
                self.installed += type(event) is SnapshotInstalled
                self._check(core, self.durable(core.member))

    def durable(self, node: str) -> Restored:
        """What the worst loss of power would leave of a node now."""
        storage = self._home.storage(node)
        assert isinstance(storage, SimulatedStorage)
        return storage.durable

    def _check(self, core: Any, durable: Restored) -> None:
        believed = self._others.raft().seen[core.member].hard_state
        assert durable.hard_state.term >= believed.term
        if durable.hard_state.term == believed.term and believed.voted_for is not None:
            assert durable.hard_state.voted_for == believed.voted_for
        held = durable.snapshot.index if durable.snapshot is not None else 0
        assert durable.first_index <= held + 1, "entries were cut off that no snapshot holds"
        if not core.installing:
            assert held >= core.snapshot_index, "a snapshot is believed to be durable, and is not"
        last = durable.first_index + len(durable.terms) - 1
        assert max(last, held) >= core.durable_index, "entries are believed to be durable, and are not"
        # What either of them has cut off is in a snapshot; of an old log that a snapshot replaces nothing is compared.
        first = max(core.first_index, durable.first_index)
        terms = tuple(core.log.term_at(index) for index in range(first, core.durable_index + 1))
        at = first - durable.first_index
        assert durable.terms[at : at + len(terms)] == terms


class DiskYard(Yard):
    """One cluster on simulated disks, every promise checked after every event."""

    def __init__(self, seed: int, **settings: Any) -> None:
        super().__init__(Virtual(seed=seed, raise_crashes=True), nodes=NODES, checked=False)
        self.home = Home(first_cluster(self.settings), disks=GOOD)
        self.disks = DiskPromises(self.home, self.promises)
        self.settings = OrchestratorSettings(port=8000, nodes=NODES, observe=self.disks.observe, **settings)

    def __enter__(self) -> "DiskYard":
        self.system.__enter__()
        start_orchestrator(self.system, self.settings, {"0": self.home})
        return self

    def tell(self, node: str, message: Any) -> None:
        """Something for a node's disk."""
        self.system.send(disk_actor("0", node), message)

    def nodes(self, cluster: str = "0") -> list[Any]:
        """Those that have read their disks."""
        return [node for node in super().nodes(cluster) if node.is_running]

    def why_unsettled(self, cluster: str = "0") -> str | None:
        reading = [
            name for name in self.names(cluster) if (node := self.node(name)) is None or not node.is_running
        ]
        return f"{reading} have not read their disks" if reading else super().why_unsettled(cluster)

    def is_there(self, node: str) -> bool:
        return bool(self.system.is_alive(node_actor("0", node)))

    def is_back(self, node: str, before: Any) -> bool:
        """Whether another actor than `before` runs as this node."""
        return self.is_there(node) and self.node(node) is not before and self.node(node).is_running

    def lose_power(self, *nodes: str) -> None:
        """At this moment, and all of them at once."""
        for node in nodes:
            self.tell(node, LosePower())
        self.run(0.0)
