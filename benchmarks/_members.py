"""A replicated counter on bare members: the log itself, without services, on either clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from raftyard.actors import Actor, Member, Promise, Restart, System
from raftyard.actors.disk import Disk
from raftyard.actors.messages import LinkPolicy, Submit, cluster_actor, disk_actor, node_actor
from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.raft.core import Restored
from raftyard.actors.storage.base import Storage
from raftyard.actors.storage.memory import MemoryStorage
from raftyard.actors.storage.sqlite import SqliteStorage

CLUSTER = "bench"
FRONT = cluster_actor(CLUSTER)
PAYLOAD = b"p" * 100


class Counter:
    """The smallest machine there is: it counts its commands."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, index: int, command: bytes) -> int:
        """The number of commands so far."""
        self.count += 1
        return self.count

    def snapshot(self) -> bytes:
        """The count as text."""
        return str(self.count).encode()

    def restore(self, data: bytes) -> None:
        """Take a snapshot over."""
        self.count = int(data)


class _Elected(msgspec.Struct, frozen=True, kw_only=True):
    node: str


class WhoLeads(msgspec.Struct, frozen=True, kw_only=True):
    """Ask FRONT; the answer is the name of the first leader's actor, as soon as there is one."""


class _Voter(Member):
    def on_became_leader(self, term: int) -> None:
        """Tell the parent."""
        self.context.send(FRONT, _Elected(node=self.node))


class _Front(Actor):
    """Starts the members, and knows who leads."""

    def __init__(self, count: int, delay_s: float, data: Path | None) -> None:
        super().__init__()
        self._data = data
        self._policy = LinkPolicy(delay_s=delay_s)
        self._names = tuple(f"node_{number}" for number in range(count))
        self._leader: str | None = None
        self._asked: list[Promise] = []

    def on_start(self) -> None:
        """Start the members as children."""
        for name in self._names:
            storage = self._storage(name)
            arguments = (CLUSTER, name, storage, Counter(), RaftConfig(), self._policy)
            self.context.spawn(_Voter, node_actor(CLUSTER, name), *arguments, restart=Restart.never())

    def _storage(self, name: str) -> Storage | str:
        initial = Restored.bootstrap(self._names)
        if self._data is None:
            return MemoryStorage(initial)
        storage = SqliteStorage(self._data / f"{name}.sqlite", CLUSTER, name, initial)
        disk = disk_actor(CLUSTER, name)
        self.context.spawn(Disk, disk, node_actor(CLUSTER, name), storage, restart=Restart.never())
        return disk

    def on_receive(self, message: Any) -> Promise | None:
        """An election's end, or a question for it."""
        if isinstance(message, _Elected):
            self._leader = node_actor(CLUSTER, message.node)
            for promise in self._asked:
                promise.keep(self._leader)
            self._asked.clear()
            return None
        promise = self.context.promise()
        if self._leader is None:
            self._asked.append(promise)
        else:
            promise.keep(self._leader)
        return promise


def start_members(system: System, count: int = 3, delay_s: float = 0.0, data: Path | None = None) -> str:
    """Start the members at their default timeouts; the name of the leader's actor once there is one.

    With `data` each has a sqlite file there, else memory.
    """
    system.spawn(_Front, FRONT, count, delay_s, data)
    leader: str = system.ask(FRONT, WhoLeads(), timeout_s=10.0)
    return leader


def command(session: str, sequence: int, acknowledged: int, reply_to: str) -> Submit:
    """One command of 100 bytes."""
    return Submit(
        session=session, sequence=sequence, acknowledged=acknowledged, command=PAYLOAD, reply_to=reply_to
    )
