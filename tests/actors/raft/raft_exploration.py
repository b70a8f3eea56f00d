"""Every order of a few events: two or three members, and each message delivered, doubled or lost, each member timing
out, crashing and coming back, each write finishing late.  A state that was reached before is not looked at again.

Time stands still, so that a state is no more than what the members hold; a member times out when the exploration says
so.  A lost message needs no event of its own: it is one that is never delivered.
"""

import io
import pickle
from collections.abc import Iterator
from typing import Any

import msgspec
from raft_transcript import told as in_words

from raftyard.actors.raft.core import Raft, RaftConfig, Restored
from raftyard.actors.raft.events import (
    NEVER_NS,
    BecameLeader,
    DeadlineReached,
    Persist,
    Propose,
    Ready,
)
from raftyard.actors.storage.memory import MemoryStorage


class Middle:
    """No chance: every draw is the middle. Time stands still anyway."""

    def random(self) -> float:
        return 0.5


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How often each may happen on one path."""

    timeouts: int = 2
    crashes: int = 1
    doubles: int = 1
    proposals: int = 1
    heartbeats: int = 1


class One(msgspec.Struct, frozen=True, kw_only=True):
    """A member between events: its core as bytes, what its disk has, what is on its way there."""

    core: bytes
    key: bytes
    disk: Restored
    writes: tuple[tuple[Persist, tuple[Any, ...]], ...] = ()
    incarnation: int = 1


class World(msgspec.Struct, frozen=True, kw_only=True):
    """One state, and what history must not contradict: who led which term, what was committed."""

    members: tuple[One, ...]
    wire: tuple[Any, ...] = ()
    leaders: tuple[tuple[int, int], ...] = ()
    committed: tuple[tuple[int, bytes], ...] = ()
    left: Limits

    def key(self) -> tuple[Any, ...]:
        members = tuple((one.key, one.disk, one.writes) for one in self.members)
        return members, self.wire, self.leaders, self.committed, self.left


class Contradiction(AssertionError):
    """A promise is broken; the path tells how."""


class Exploration:
    """Breadth first, so the first contradiction found is one of the shortest."""

    def __init__(
        self, size: int, limits: Limits, sync: bool = True, pre_vote: bool = False, check_quorum: bool = False
    ) -> None:
        self.names = tuple(f"n{number}" for number in range(size))
        self.config = RaftConfig(pre_vote=pre_vote, check_quorum=check_quorum)
        self.sync = sync
        self.limits = limits
        self.states = self.steps = self.leaders_seen = self.commits_seen = 0

    def run(self, depth: int, most_states: int = 10**9, start: World | None = None) -> int:
        """Looks at all paths of so many events, or stops at so many states. Returns the depth that it finished."""
        start = start or self.first()
        seen = {start.key()}
        level: list[tuple[World, tuple[Any, ...]]] = [(start, ())]
        for done in range(depth):
            following = []
            for world, path in level:
                for told, after in self.successors(world, path):
                    key = after.key()
                    if key not in seen:
                        seen.add(key)
                        following.append((after, (told, path)))
                        if len(seen) >= most_states:
                            self.states = len(seen)
                            return done
            level = following
        self.states = len(seen)
        return depth

    def first(self) -> World:
        disk = Restored.bootstrap(self.names)
        members = tuple(self.started(number, disk, 1) for number in range(len(self.names)))
        return World(members=members, left=self.limits)

    def elected(self) -> World:
        """The first member leads, and everybody has its first entry: a start that lies further on."""
        _, world = self.after(self.first(), (), 0, DeadlineReached(), ("time out", self.names[0]))
        while world.wire or any(one.writes for one in world.members):
            for number, one in enumerate(world.members):
                if one.writes:
                    _, world = self.written(world, (), number)
            if not world.wire:
                continue
            message = world.wire[0]
            world = msgspec.structs.replace(world, wire=world.wire[1:])
            _, world = self.after(world, (), self.names.index(message.to), message, ("deliver", message))
        assert len(world.leaders) == 1 and world.committed
        return world

    def started(self, number: int, disk: Restored, incarnation: int) -> One:
        core = Raft(
            member=self.names[number],
            cluster="c",
            incarnation=incarnation,
            config=self.config,
            random=Middle(),
            restored=disk,
            now_ns=0,
        )
        return One(core=pickle.dumps(core, 5), key=_key(core), disk=disk, incarnation=incarnation)

    # --- What can happen next ---

    def successors(self, world: World, path: tuple[Any, ...]) -> Iterator[tuple[Any, World]]:
        left = world.left
        for at, message in enumerate(world.wire):
            if at and world.wire[at - 1] == message:
                continue
            to = self.names.index(message.to)
            rest = msgspec.structs.replace(world, wire=world.wire[:at] + world.wire[at + 1 :])
            yield self.after(rest, path, to, message, ("deliver", message))
            if left.doubles:
                kept = spent(world, doubles=left.doubles - 1)
                yield self.after(kept, path, to, message, ("deliver a copy of", message))
        for number, one in enumerate(world.members):
            if one.writes:
                yield self.written(world, path, number)
            if left.crashes:
                again = self.started(number, one.disk, one.incarnation + 1)
                crashed = with_member(spent(world, crashes=left.crashes - 1), number, again)
                yield ("crash and restart", self.names[number]), crashed
            core: Raft = pickle.loads(one.core)
            if not core.is_leader and left.timeouts and core.timer_ns < NEVER_NS:
                late = spent(world, timeouts=left.timeouts - 1)
                yield self.after(late, path, number, DeadlineReached(), ("time out", self.names[number]))
            if core.is_leader and left.heartbeats:
                beat = spent(world, heartbeats=left.heartbeats - 1)
                yield self.after(beat, path, number, DeadlineReached(), ("heartbeat of", self.names[number]))
            if core.is_leader and left.proposals:
                asked = spent(world, proposals=left.proposals - 1)
                event = Propose(payloads=(b"p%d" % left.proposals,))
                yield self.after(asked, path, number, event, ("propose to", self.names[number]))

    def written(self, world: World, path: tuple[Any, ...], number: int) -> tuple[Any, World]:
        one = world.members[number]
        (persist, messages), *rest = one.writes
        saved = msgspec.structs.replace(one, disk=self.saved(one, persist, path), writes=tuple(rest))
        world = post(with_member(world, number, saved), messages)
        return self.after(world, path, number, persist.done, ("write of", self.names[number]))

    def saved(self, one: One, persist: Persist, path: tuple[Any, ...]) -> Restored:
        before = one.disk.hard_state
        storage = MemoryStorage(one.disk)
        storage.save(persist)
        disk = storage.load()
        now = disk.hard_state
        self.demand(now.term >= before.term, path, "a term is taken back")
        changed = before.voted_for not in (None, now.voted_for)
        self.demand(now.term > before.term or not changed, path, "a vote is changed")
        return disk

    # --- One step, and what must hold after it ---

    def after(
        self, world: World, path: tuple[Any, ...], number: int, event: Any, told: Any
    ) -> tuple[Any, World]:
        one = world.members[number]
        core: Raft = pickle.loads(one.core)
        if type(event) is DeadlineReached:
            core.timer_ns = 0
            core.heard_leader_ns = -NEVER_NS
        world = self.step(world, (told, path), number, core, event)
        one = msgspec.structs.replace(world.members[number], core=pickle.dumps(core, 5), key=_key(core))
        world = with_member(world, number, one)
        self.check(world, (told, path))
        return told, world

    def step(self, world: World, path: tuple[Any, ...], number: int, core: Raft, event: Any) -> World:
        self.steps += 1
        ready = core.step(0, event)
        world = self.note(world, path, number, core, ready)
        world = post(world, ready.send)
        if ready.persist is None:
            return world
        one = world.members[number]
        if not self.sync:
            writes = (*one.writes, (ready.persist, ready.send_after_durable))
            return with_member(world, number, msgspec.structs.replace(one, writes=writes))
        disk = self.saved(one, ready.persist, path)
        world = post(
            with_member(world, number, msgspec.structs.replace(one, disk=disk)), ready.send_after_durable
        )
        return self.step(world, path, number, core, ready.persist.done)

    def note(self, world: World, path: tuple[Any, ...], number: int, core: Raft, ready: Ready) -> World:
        """Who leads and what is committed becomes history."""
        leaders, committed = dict(world.leaders), list(world.committed)
        for change in ready.changes:
            if type(change) is BecameLeader:
                self.leaders_seen += 1
                known = leaders.setdefault(change.term, number)
                self.demand(known == number, path, f"term {change.term} has two leaders")
                # What a later leader committed already, a late leader of an earlier term need not have. Whoever commits
                # does so by an entry of its own term, so the last entry tells in which term that was.
                before = committed if committed and committed[-1][0] < change.term else []
                terms, payloads = core.entries(1, len(before) + 1)
                holds = list(zip(terms, payloads, strict=True)) == before
                self.demand(holds, path, f"{core.member} leads and lacks what is committed")
        if ready.apply is not None:
            self.commits_seen += 1
            entries = list(zip(ready.apply.terms, ready.apply.payloads, strict=True))
            for index, entry in enumerate(entries, ready.apply.first_index):
                if index <= len(committed):
                    self.demand(committed[index - 1] == entry, path, f"entry {index} is applied differently")
                else:
                    self.demand(index == len(committed) + 1, path, f"entry {index} is applied too early")
                    committed.append(entry)
                    self.demand(self.is_on_a_majority(world, index, entry), path, f"entry {index} is lost")
        return msgspec.structs.replace(
            world, leaders=tuple(sorted(leaders.items())), committed=tuple(committed)
        )

    def is_on_a_majority(self, world: World, index: int, entry: tuple[int, bytes]) -> bool:
        """On disks: what memories hold does not count."""
        have = [
            one.disk.terms[index - 1 : index] == entry[:1] and one.disk.payloads[index - 1] == entry[1]
            for one in world.members
        ]
        return 2 * sum(have) > len(have)

    def check(self, world: World, path: tuple[Any, ...]) -> None:
        """Log Matching on the disks: where index and term are equal, all before is."""
        for number, one in enumerate(world.members):
            for other in world.members[:number]:
                same = [
                    at
                    for at, (mine, theirs) in enumerate(
                        zip(one.disk.terms, other.disk.terms, strict=False), 1
                    )
                    if mine == theirs
                ]
                last = same[-1] if same else 0
                equal = (
                    one.disk.terms[:last] == other.disk.terms[:last]
                    and one.disk.payloads[:last] == other.disk.payloads[:last]
                )
                self.demand(equal, path, f"logs differ before {last}")

    def demand(self, holds: bool, path: tuple[Any, ...], what: str) -> None:
        if holds:
            return
        events: list[str] = []
        while path:
            told, path = path
            what_happened, which = told
            events.append(f"  {what_happened} {which if isinstance(which, str) else in_words(which)}")
        raise Contradiction("\n".join([f"{what}, after {len(events)} events:", *reversed(events)]))


def spent(world: World, **left: int) -> World:
    return msgspec.structs.replace(world, left=msgspec.structs.replace(world.left, **left))


def with_member(world: World, number: int, one: One) -> World:
    members = world.members
    return msgspec.structs.replace(world, members=(*members[:number], one, *members[number + 1 :]))


def post(world: World, messages: tuple[Any, ...]) -> World:
    """The wire has no order, so it is kept in one: equal states are then equal."""
    if not messages:
        return world
    return msgspec.structs.replace(world, wire=tuple(sorted((*world.wire, *messages), key=repr)))


def _key(core: Raft) -> bytes:
    """Equal for equal members: without the memory by which pickle tells apart what is only another object."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 5)
    pickler.fast = True
    pickler.dump(core)
    return buffer.getvalue()
