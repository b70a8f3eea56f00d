"""What outlives the actors of one cluster on this host: which nodes live here, their storages, what was cut."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..control import VOTERS
from ..messages import ClusterSpec, NodeSpec
from ..raft.core import Restored
from ..storage.base import MEND_NODE, Storage
from ..storage.folder import ClusterFolder, HomeFile
from ..storage.memory import MemoryStorage
from ..storage.simulated import DiskFaults, SimulatedStorage
from ..storage.sqlite import SqliteStorage
from .ports import HIGHEST_PORT

__all__ = ["Home"]


class Home:
    """What outlives the actors of one cluster on this host: which nodes live here, and their storages.

    With a `folder` it outlives the process too, and `Home.found` finds it again. With `disks` the storages are
    simulated ones that behave so, for the virtual clock.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        folder: ClusterFolder | None = None,
        disks: DiskFaults | None = None,
        base: int | None = None,
    ) -> None:
        self.spec = spec
        self.mend: str | None = None
        """What to do about a damaged storage, where that is not what a node needs."""
        self.nodes: dict[str, NodeSpec] = {node.name: node for node in spec.nodes}
        self._voters = tuple(node.name for node in spec.nodes[:VOTERS])
        self.starts = 0
        """How often the program has started on what it found here."""
        self.base = base
        """The program's port; those of the nodes were counted from there."""
        self._folder = folder
        self._disks = disks
        self._made: dict[str, None] = {}
        self._first = [node.name for node in spec.nodes]
        self.cuts: dict[tuple[str, str], bool] = {}
        """The directions that are cut: a front door that starts anew cuts them again."""
        self._storages: dict[str, Storage] = {}
        self._left = 0
        self.told_index = 0
        """What happened up to this entry of the log is in the event log."""
        self.has_been_led = False
        """Whether anybody ever led here: before that nobody can have been promised anything."""
        self.failure = ""
        """Why the cluster could not be started: what stands for one that cannot has nothing but its spec."""
        self.knows_told = True
        """False after a start of the program: what was told before may be more than `told_index`, if it crashed."""
        if folder is not None and not folder.exists():
            # What a crash left of a former cluster of this name must not be taken for this one's.
            folder.destroy()
            self._write()

    @staticmethod
    def found(folder: ClusterFolder, host: str | None = None, port: int | None = None) -> Home:
        """What lives in a folder; `host` and `port` are those of the program now, and its nodes' follow.

        Raises StorageBroken, StorageDamaged.
        """
        file = folder.read()
        home = Home(file.spec, folder)
        home.nodes = {node.name: node for node in file.nodes}
        home._first = list(file.first)
        home._made = dict.fromkeys(file.made)
        home.starts = file.starts + 1
        home.base = file.base
        home._left = file.left
        home.told_index, home.knows_told = file.told, False
        home.has_been_led = True  # for all that we know
        home._move(host, port)
        home._write()
        return home

    @staticmethod
    def failed(spec: ClusterSpec, folder: ClusterFolder | None, reason: str) -> Home:
        """Stands for a cluster whose files keep it from starting; nothing of them is touched until `destroy`."""
        home = Home(spec)
        home.nodes, home.failure, home._folder = {}, reason, folder
        home.has_been_led = True  # for all that we know
        return home

    def _move(self, host: str | None, port: int | None) -> None:
        """Ports keep their distance to the program's own."""
        if host is None or port is None or self.base is None:
            return
        by, self.base = port - self.base, port
        self.nodes = {name: _moved(spec, host, by) for name, spec in self.nodes.items()}
        self.spec = msgspec.structs.replace(
            self.spec, nodes=tuple(_moved(spec, host, by) for spec in self.spec.nodes)
        )

    def storage(self, node: str) -> Storage:
        """The node's storage, made when it is first asked for."""
        if node not in self._storages:
            initial = Restored.bootstrap(self._voters if node in self._first else ())
            self._storages[node] = self._make(node, initial)
        return self._storages[node]

    def _make(self, node: str, initial: Restored) -> Storage:
        if self._folder is not None:
            return self._stored(node, initial)
        if self._disks is None:
            return MemoryStorage(initial)
        if self.mend is None:
            return SimulatedStorage(initial, self._disks)
        return SimulatedStorage(initial, self._disks, self.mend.format(node=node))

    def _stored(self, node: str, initial: Restored) -> Storage:
        """A file that was made once must be there: a node that lost it has forgotten what it promised."""
        assert self._folder is not None
        if node in self._made:
            return self._folder.storage(self.spec.cluster, node, None, self._left, self.mend or MEND_NODE)
        # Nothing was ever promised with a file that is not recorded: it is what a crash left.
        self._folder.forget(node)
        storage = self._folder.storage(self.spec.cluster, node, initial, self._left, self.mend or MEND_NODE)
        storage.load()
        storage.close()
        self._made[node] = None
        self._write()
        return storage

    def add(self, spec: NodeSpec) -> None:
        """A node lives here from now on."""
        self.nodes[spec.name] = spec
        self._write()

    def forget(self, node: str) -> None:
        """A node has left for good. Whoever comes by its name is new and waits to be added, whatever the first voters
        were: with an empty log it could elect itself."""
        if node in self._first:
            self._first.remove(node)
        self.nodes.pop(node, None)
        self._drop_storage(node)
        self._write()
        if self._folder is not None:
            self._folder.forget(node)

    def renew(self, node: str) -> Path | None:
        """A node of which nobody expects anything any more begins with nothing, and waits to be added. What it had is
        set aside in the file that is returned, if there was one. Raises StorageBroken."""
        aside = None if self._folder is None else self._folder.set_aside(node)
        if node in self._first:
            self._first.remove(node)
        self._drop_storage(node)
        self._write()
        return aside

    def _drop_storage(self, node: str) -> None:
        """The others heed no one of that name who counts fewer starts: whoever comes must begin above."""
        storage = self._storages.pop(node, None)
        if isinstance(storage, SqliteStorage):
            self._left = max(self._left, storage.incarnation)
        self._made.pop(node, None)

    def close(self) -> None:
        """The cluster stops, and may be found again: nothing that is told is told again then."""
        if self._folder is not None and self._folder.exists():
            self._write()

    def destroy(self) -> None:
        """The cluster has left for good. Raises StorageBroken where files of it stay behind."""
        if self._folder is not None:
            self._folder.destroy()

    def _write(self) -> None:
        if self._folder is not None:
            self._folder.write(
                HomeFile(
                    spec=self.spec,
                    nodes=tuple(self.nodes.values()),
                    first=tuple(self._first),
                    made=tuple(self._made),
                    starts=self.starts,
                    base=self.base,
                    told=self.told_index,
                    left=self._left,
                )
            )


def _moved(spec: NodeSpec, host: str, by: int) -> NodeSpec:
    """A port that would be none keeps its number."""
    port = None if spec.port is None else spec.port + by
    if port is not None and not 1 <= port <= HIGHEST_PORT:
        port = spec.port
    return msgspec.structs.replace(spec, host=host, port=port)
