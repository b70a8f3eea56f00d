"""Replicated: a state machine of the user's own, agreed on by Raft, as a program holds it.

    with Live() as system, Replicated(system, "bank", Bank) as bank:
        bank.call({"pay": 5, "from": "ann", "to": "bob"})
        bank.read("balances")

The actors behind it are in group.py and machine.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from .control import VOTERS
from .errors import Conflict, InvalidRequest, NoLeader, QueueFull
from .frontdoor.home import Home
from .group import ApplyCommand, Group, ReadState, StopGroup, WhoFailed, WhoLeads
from .group_members import MEND_MEMBER, ReplaceMember
from .machine import ReplicatedMachine
from .member import Observer
from .messages import (
    ClusterSpec,
    CutLink,
    LinkPolicy,
    NodeSpec,
    RestoreLink,
    cluster_actor,
    link_actor,
    node_actor,
)
from .raft.config import RaftConfig
from .storage.base import StorageBroken
from .storage.folder import DataFolder
from .storage.simulated import DiskFaults
from .system import NameTaken, NoSuchActor, System, SystemClosed

__all__ = ["Replicated", "Session"]

SLACK_S = 1.0
"""The group itself tells a caller that time is up, and knows why; the ask waits a little longer."""


class Replicated:
    """A machine that `members` members agree on, in one system, live or virtual.

    `machine` makes one (a class, or a function without arguments): each member has its own, and a new one after a
    crash. With a `data` folder each member keeps its promises in a file there, synced before anything is acknowledged,
    and another program, or the same one later, goes on with them; without, they are as durable as the process.
    `disks` are simulated ones, for the virtual clock. Starting one waits for nothing. The name is one that no other
    group and no cluster of the system has.

    Raises InvalidRequest, and Conflict where the name or the folder is taken or the folder's group has other members.
    """

    def __init__(
        self,
        system: System,
        name: str,
        machine: Callable[[], ReplicatedMachine],
        *,
        members: int = 3,
        data: Path | str | None = None,
        raft: RaftConfig | None = None,
        link: LinkPolicy | None = None,
        disks: DiskFaults | None = None,
        observe: Observer | None = None,
    ) -> None:
        if not 1 <= members <= VOTERS:
            raise InvalidRequest(f"a group has 1 to {VOTERS} members, not {members}")
        self.system = system
        self.name = name
        self.actor = cluster_actor(name)
        """Where other actors send ApplyCommand and ReadState."""
        self.members = tuple(f"member_{number}" for number in range(members))
        self._folder = None if data is None else DataFolder(Path(data))
        try:
            home = self._home(disks)
            home.mend = MEND_MEMBER
            system.spawn(Group, self.actor, name, home, machine, raft or RaftConfig(), link or LinkPolicy(), observe)
        except NameTaken:
            self._unlock()
            raise Conflict(f"something is called {name} already", hint="choose another name") from None
        except BaseException:
            self._unlock()
            raise

    def _home(self, disks: DiskFaults | None) -> Home:
        nodes = tuple(NodeSpec(name=name, host="", port=None, capacity=0) for name in self.members)
        spec = ClusterSpec(cluster=self.name, nodes=nodes)
        if self._folder is None:
            return Home(spec, disks=disks)
        try:
            self._folder.lock()
            folder = self._folder.cluster(self.name)
            home = Home.found(folder) if folder.exists() else Home(spec, folder)
        except StorageBroken as error:
            raise Conflict(f"the data folder cannot be used: {error}", hint="use another folder") from error
        if tuple(home.nodes) != self.members:
            raise Conflict(
                f"{self._folder.path} has {len(home.nodes)} members of {self.name}, not {len(self.members)}",
                hint=f"start it with members={len(home.nodes)}, or in another folder",
            )
        return home

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop the members, and let go of the folder. A second call does nothing."""
        try:
            self.system.ask(self.actor, StopGroup(), timeout_s)
        except (NoSuchActor, SystemClosed):
            pass
        finally:
            self._unlock()

    def _unlock(self) -> None:
        if self._folder is not None:
            self._folder.unlock()

    # -- commands and reads

    def call(self, command: Any, timeout_s: float = 5.0) -> Any:
        """Have a command applied once on every member, and return what the machine answered.

        Raises MachineRaised (what `apply` raised), NoLeader and QueueFull (it was not taken), TimedOut (whether it is
        applied is not known; in a `session` it can be asked), InvalidRequest.
        """
        return self.system.ask(self.actor, ApplyCommand.of(command, timeout_s), timeout_s + SLACK_S)

    async def call_async(self, command: Any, timeout_s: float = 5.0) -> Any:
        """As `call`, for asyncio."""
        message = ApplyCommand.of(command, timeout_s)
        return await self.system.ask_async(self.actor, message, timeout_s + SLACK_S)

    def read(self, query: Any = None, timeout_s: float = 5.0, member: str | None = None) -> Any:
        """Ask the machine; the answer holds everything that was acknowledged to anybody before.

        The leader answers, or the `member` that is named, which asks the leader how far it must be. Raises
        MachineRaised, NoLeader, TimedOut, QueueFull, InvalidRequest.
        """
        message = ReadState.of(query, timeout_s, member=member)
        return self.system.ask(self.actor, message, timeout_s + SLACK_S)

    async def read_async(self, query: Any = None, timeout_s: float = 5.0, member: str | None = None) -> Any:
        """As `read`, for asyncio."""
        message = ReadState.of(query, timeout_s, member=member)
        return await self.system.ask_async(self.actor, message, timeout_s + SLACK_S)

    def session(self, name: str, answered: int = 0) -> Session:
        """A client of its own, whose commands can be asked again: see Session."""
        return Session(self, name, answered)

    # -- looking at it, and breaking it

    def leader(self) -> str | None:
        """Who leads, by name."""
        leader: str | None = self.system.ask(self.actor, WhoLeads())
        return leader

    def failed(self) -> dict[str, str]:
        """Why each member takes no part whose storage failed. A full disk's comes back when there is room."""
        failed: dict[str, str] = self.system.ask(self.actor, WhoFailed())
        return failed

    def replace(self, member: str, timeout_s: float = 30.0) -> None:
        """Have a member whose file is damaged begin anew; returns when it decides with the others again.

        The others agree that it leaves, its file is set aside as MEMBER.replaced-1.sqlite, and it is taken in again
        with nothing and gets the state. A member that leads hands over first. Raises Conflict where the rest would be
        no majority without it, or another one is being replaced, NoLeader, InvalidRequest, and TimedOut: it goes on.
        """
        self.system.ask(self.actor, ReplaceMember(member=member, within_s=timeout_s), timeout_s + SLACK_S)

    def crash(self, member: str) -> None:
        """Crash a member; it comes back with what is in its storage."""
        self.system.crash(node_actor(self.name, member))

    def cut(self, source: str, target: str) -> None:
        """Cut one direction between two members; in force when this returns."""
        self.system.ask(link_actor(self.name, source, target), CutLink())

    def restore(self, source: str, target: str) -> None:
        """Restore one direction."""
        self.system.ask(link_actor(self.name, source, target), RestoreLink())

    def isolate(self, member: str) -> None:
        """Cut a member off, both ways."""
        for other in self.members:
            if other != member:
                self.cut(member, other)
                self.cut(other, member)

    def heal(self) -> None:
        """Restore every direction."""
        for source in self.members:
            for target in self.members:
                if source != target:
                    self.restore(source, target)


class Session:
    """A client whose name outlives it: a command that is repeated with its number is applied once.

    One command at a time. After TimedOut or NoLeader call `retry`, or go on after TimedOut: the group keeps trying, and
    commands take effect in the order of their numbers. A program that starts again names the session and how many of
    its commands were `answered`, and repeats the one after with its number if it may have been sent. A session that is
    not used while others use a million entries of the log is forgotten, or when there are more than 10,000 newer ones.
    """

    def __init__(self, group: Replicated, name: str, answered: int = 0) -> None:
        if not name or name.startswith(f"{group.name}/"):
            raise InvalidRequest(f"a session's name must not be empty or begin with {group.name}/")
        self.name = name
        self.sequence = answered
        """The number of the last command that was taken."""
        self._group = group
        self._last: tuple[Any, int] = (None, 0)

    def call(self, command: Any, timeout_s: float = 5.0, sequence: int | None = None) -> Any:
        """As Replicated.call; `sequence` repeats one that may have been sent before. Raises SessionExpired, too, and
        Conflict when another command of this session is under way."""
        message, number = self._message(command, timeout_s, sequence)
        try:
            return self._group.system.ask(self._group.actor, message, timeout_s + SLACK_S)
        except (NoLeader, QueueFull, Conflict):
            self.sequence = number
            raise

    async def call_async(self, command: Any, timeout_s: float = 5.0, sequence: int | None = None) -> Any:
        """As `call`, for asyncio."""
        message, number = self._message(command, timeout_s, sequence)
        try:
            return await self._group.system.ask_async(self._group.actor, message, timeout_s + SLACK_S)
        except (NoLeader, QueueFull, Conflict):
            self.sequence = number
            raise

    def retry(self, timeout_s: float = 5.0) -> Any:
        """The last command once more, with the same number."""
        command, number = self._last
        return self.call(command, timeout_s, number)

    async def retry_async(self, timeout_s: float = 5.0) -> Any:
        """As `retry`, for asyncio."""
        command, number = self._last
        return await self.call_async(command, timeout_s, number)

    def _message(self, command: Any, timeout_s: float, sequence: int | None) -> tuple[ApplyCommand, int]:
        """What to send, and the number before it, where the session stands if it is not taken."""
        number = self.sequence + 1 if sequence is None else sequence
        message = ApplyCommand.of(command, timeout_s, session=self.name, sequence=number)
        before, self.sequence, self._last = self.sequence, max(self.sequence, number), (command, number)
        return message, before
