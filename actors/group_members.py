"""The members of a replicated machine: started, started again when their storage failed, and replaced.

One is replaced in steps, each asked of whoever leads until it is so: it leaves, its actors end, its file is set aside,
and it joins with nothing. Only then may the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from .disk import Disk
from .errors import Conflict, InvalidRequest, NoLeader, RaftyardError, TimedOut
from .frontdoor.claims import Claims
from .frontdoor.home import Home
from .link import Link
from .machine import AskMembers, MachineMember, MembersTold, ReplicatedMachine, Running, cannot_go
from .member import Observer
from .messages import LinkPolicy, Message, NodeFailed, StartNode, disk_actor, link_actor, node_actor
from .raft.config import RaftConfig
from .storage.base import Storage, StorageBroken, StorageDamaged
from .storage.memory import MemoryStorage
from .system import Context, NameTaken, Promise, Restart, Terminated, Timer

__all__ = ["MEND_MEMBER", "GroupMembers", "ReplaceMember"]

ASK_AGAIN_S = 0.25
"""Who decides is asked again so often while not all do."""
RESTARTS = Restart(limit=20, within_s=60.0, delay_s=0.1)
"""Of a member, and of its disk, which is back before it. One crash more makes the whole group begin anew."""
MEND_MEMBER = (
    "{node} takes no part until it is replaced: replace(\"{node}\") starts it with nothing, and the others give it the "
    "state; where most members are damaged, nobody knows what was agreed"
)
"""What to do about the damaged storage of a member."""
REVIVE_S = 1.0
"""A member whose storage failed is started again after this, and is well when it has run for so long."""


class ReplaceMember(Message, frozen=True, kw_only=True, gc=False):
    """Ask a Group: a member leaves, its file is set aside, and it is taken in again with nothing; answered then."""

    member: str
    within_s: float


class _LookAfter(Message, frozen=True, kw_only=True, gc=False):
    """To the group itself: not all members decide."""


class _Well(Message, frozen=True, kw_only=True, gc=False):
    """To the group itself: a member whose storage had failed has run for a while."""

    member: str


class Front(Protocol):
    """What this needs of the front door."""

    id: str
    context: Context

    def number(self) -> int: ...
    def wait(self, promise: Promise, within_s: float, withdraw: Callable[[float], RaftyardError]) -> int: ...
    def end_waiting(self, caller: int) -> Promise | None: ...


class GroupMembers:
    """`names` are all of them, well or not; `failures` says of which the storage failed, and why."""

    def __init__(
        self,
        front: Front,
        home: Home,
        claims: Claims,
        make: Callable[[], ReplicatedMachine],
        config: RaftConfig,
        link_policy: LinkPolicy,
        observe: Observer | None,
    ) -> None:
        self._front = front
        self._id = front.id
        self._home = home
        self._claims = claims
        self._make = make
        self._config = config
        self._link_policy = link_policy
        self._observe = observe
        self.names = tuple(home.nodes)
        self.failures: dict[str, NodeFailed] = {}
        self._recovering: dict[str, Timer] = {}
        self._missing: tuple[str, ...] = ()
        """Those that do not decide, as far as is known."""
        self._leaving: str | None = None
        self._ending: set[str] = set()
        """The actors of the one that has left, until they have ended."""
        self._replaced: list[int] = []
        self._since = 0
        self._looking: Timer | None = None
        self.handlers: dict[type, Callable[[Any], Any]] = {
            Running: self._running,
            NodeFailed: self._failed,
            StartNode: self._start_again,
            _Well: self._well,
            ReplaceMember: self._replace,
            MembersTold: self._members_told,
            _LookAfter: self.look_after,
        }
        """What the front door hands on, by class."""

    def start(self) -> None:
        """Lay the wires, then start the members."""
        for source in self.names:
            for target in self.names:
                if source != target:
                    wire = link_actor(self._id, source, target)
                    self._context.spawn(Link, wire, self._id, source, target, self._link_policy)
        for member in self.names:
            self._start(member)

    def terminated(self, message: Terminated) -> None:
        """An actor of a member has ended."""
        if message.reason != "crashed" and message.name in self._ending:
            self._ending.remove(message.name)
            if not self._ending and self._leaving is not None:
                self._begin_anew(self._leaving)

    def who_failed(self) -> str:
        """For whoever is told that it did not work."""
        return "; ".join(f"{member} takes no part: {why.reason}" for member, why in self.failures.items())

    @property
    def replacing(self) -> str:
        """Who is being replaced, or does not decide yet; empty for nobody."""
        return self._leaving or ", ".join(self._missing)

    @property
    def _context(self) -> Context:
        return self._front.context

    def _start(self, member: str) -> None:
        try:
            storage: Storage | str = self._home.storage(member)
        except StorageBroken as error:
            is_damaged = isinstance(error, StorageDamaged)
            self._failed(NodeFailed(node=member, reason=str(error), is_damaged=is_damaged))
            return
        if not isinstance(storage, MemoryStorage):
            disk, owner = disk_actor(self._id, member), node_actor(self._id, member)
            self._context.spawn(Disk, disk, owner, storage, restart=msgspec.structs.replace(RESTARTS, delay_s=0.0))
            storage = disk
        self._start_member(member, storage)

    def _start_member(self, member: str, storage: Storage | str) -> None:
        actor = node_actor(self._id, member)
        self._context.spawn(
            MachineMember, actor, self._id, member, storage, self._make, self._config, self._link_policy,
            self._observe, restart=RESTARTS,
        )  # fmt: skip
        self._context.watch(actor)

    # -- storages that fail ----------------------------------------------------------------------------------

    def _failed(self, failure: NodeFailed) -> None:
        """Say it once; the group goes on without the member, and the member comes back if that can help."""
        member = failure.node
        recovering = self._recovering.pop(member, None)
        if recovering is not None:
            recovering.cancel()
        if failure != self.failures.get(member):
            self.failures[member] = failure
            self._context.log.error("storage failed member=%s reason=%s", member, failure.reason)
            self._context.emit(
                "storage-failed", cluster=self._id, node=member, reason=failure.reason, is_damaged=failure.is_damaged
            )
        if not failure.is_damaged:
            self._context.after(REVIVE_S, StartNode(node=member))

    def _start_again(self, message: StartNode) -> None:
        member = message.node
        is_ending = bool(self._ending) and member == self._leaving
        if is_ending or self._context.is_alive(node_actor(self._id, member)):
            return
        disk = disk_actor(self._id, member)
        try:
            if self._context.is_alive(disk):
                self._start_member(member, disk)
            else:
                self._start(member)
        except NameTaken:  # It has not quite ended, or begins anew.
            self._context.after(REVIVE_S, message)

    def _running(self, message: Running) -> None:
        """A full disk can be read: whether the member is well shows when it has to write."""
        member = message.member
        if member in self.failures and member not in self._recovering:
            self._recovering[member] = self._context.after(REVIVE_S, _Well(member=member))
        if member in self._missing:
            self.look_after()

    def _well(self, message: _Well) -> None:
        del self._recovering[message.member], self.failures[message.member]
        self._context.log.info("storage works again member=%s", message.member)

    # -- members that are replaced ---------------------------------------------------------------------------

    def _replace(self, message: ReplaceMember) -> Promise:
        promise, member = self._context.promise(), message.member
        try:
            self._check_may_replace(member)
        except RaftyardError as error:
            promise.fail(error)
            return promise
        caller = self._front.wait(promise, message.within_s, lambda within_s: self._not_yet(member, within_s))
        is_joining = bool(self._replaced) and member in self._missing and member not in self.failures
        self._replaced.append(caller)
        if self._leaving is None and not is_joining:
            self._leaving, self._since = member, self._asked()
            self._context.log.info("member is replaced member=%s", member)
            self.look_after()
        return promise

    def _check_may_replace(self, member: str) -> None:
        if member not in self.names:
            raise InvalidRequest(f"{self._id} has no member {member}; it has {', '.join(self.names)}")
        others = [other for other in self.names if other != member]
        busy = [other for other in others if other == self._leaving or (self._replaced and other in self._missing)]
        if busy:
            raise Conflict(f"{busy[0]} is being replaced", hint="ask again when that is done: one at a time")
        if not others:
            raise Conflict(f"{member} is the only member of {self._id}: nobody else could give it the state")
        if self._claims.leader is None:
            raise NoLeader(
                f"{member} cannot be replaced while {self._id} has no leader: a majority has to agree",
                hint=self.who_failed(),
            )
        # The leader looks, too, whom it has heard; it may not have missed yet who has just failed.
        rest = [other for other in others if other not in self._missing]
        well = [other for other in rest if other not in self.failures]
        if 2 * len(well) <= len(rest):
            raise Conflict(cannot_go(member, len(well), len(rest)), hint=self.who_failed())

    def _not_yet(self, member: str, within_s: float) -> RaftyardError:
        return TimedOut(
            f"{member} of {self._id} was not replaced in {within_s:g} s; it goes on",
            hint="; ".join(filter(None, ("ask again to wait for it", self.who_failed()))),
        )

    def _asked(self) -> int:
        """A number above those of all questions so far, also of this actor's earlier lives."""
        return (self._context.incarnation << 40) + self._front.number()

    def look_after(self, _: _LookAfter | None = None) -> None:
        """Ask who decides, and have the leader do what is next, until all do."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        claim = self._claims.current
        if claim is not None and not self._ending:
            joining = (one for one in self._missing if one != self._leaving and one not in self.failures)
            question = AskMembers(
                ref=self._asked(),
                term=claim.term,
                leaving=self._leaving,
                joining=tuple(joining),
                reply_to=self._context.name,
            )
            self._context.send(node_actor(self._id, claim.node), question)
        if self._leaving is not None or self._missing:
            self._looking = self._context.after(ASK_AGAIN_S, _LookAfter())

    def _members_told(self, told: MembersTold) -> None:
        if told.ref <= self._since:
            return  # Somebody has left, or come, since it was asked.
        leaving = self._leaving
        if told.refused is not None:
            if leaving is not None and not self._ending:
                self._leaving = None
                self._tell_replaced(Conflict(told.refused, hint=self.who_failed()))
            return
        self._missing = tuple(member for member in self.names if member not in told.voters)
        if leaving is not None:
            if leaving not in told.voters + told.learners and not self._ending:
                self._end(leaving)
        elif self._missing:
            self._looking = self._looking or self._context.after(ASK_AGAIN_S, _LookAfter())
        else:
            self._tell_replaced(None)

    def _end(self, member: str) -> None:
        """It has left: its actors end, so that nobody has its file open."""
        self._ending = {node_actor(self._id, member), disk_actor(self._id, member)}
        for actor in tuple(self._ending):
            self._context.watch(actor)
            self._context.stop(actor)

    def _begin_anew(self, member: str) -> None:
        self._leaving, self._since = None, self._asked()
        self.failures.pop(member, None)
        recovering = self._recovering.pop(member, None)
        if recovering is not None:
            recovering.cancel()
        try:
            aside = self._home.renew(member)
        except StorageBroken as error:
            self.failures[member] = NodeFailed(node=member, reason=str(error), is_damaged=True)
            self._tell_replaced(Conflict(f"{member} was not replaced: {error}", hint="replace it again"))
            return
        self._context.log.info("member begins anew member=%s set_aside=%s", member, aside or "nothing")
        self._context.emit("node-removed", cluster=self._id, name=member, replicas=0)
        self._context.emit("node-added", cluster=self._id, name=member, capacity=0)
        self._start(member)
        self.look_after()

    def _tell_replaced(self, error: RaftyardError | None) -> None:
        callers, self._replaced = self._replaced, []
        for promise in filter(None, map(self._front.end_waiting, callers)):
            if error is None:
                promise.keep(None)
            else:
                promise.fail(error)
