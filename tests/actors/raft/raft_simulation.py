"""A cluster of bare cores in virtual time: messages with delay, loss, duplication and reordering, slow disks, crashes.

Everything is drawn from one seed.  All invariants are checked after every step; reads are checked for linearizability.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Any

import msgspec

from raftyard.actors.raft.core import Raft, RaftConfig, Restored
from raftyard.actors.raft.events import (
    NEVER_NS,
    Accepted,
    AppendReply,
    DeadlineReached,
    Event,
    Persist,
    Propose,
    ReadFailed,
    ReadReady,
    ReadRequest,
    Ready,
    Refused,
    Snapshot,
    SnapshotChunk,
    SnapshotInstalled,
    SnapshotTaken,
    StorageDone,
)
from raftyard.actors.raft.invariants import Invariants
from raftyard.actors.storage.memory import MemoryStorage

MS = 1_000_000


def unpack(data: bytes) -> list[tuple[int, bytes]]:
    """A snapshot of the simulated machine: all that it has applied."""
    return msgspec.msgpack.decode(data, type=list[tuple[int, bytes]])


def _shown(now_ns: int, rate: float) -> int:
    """What a clock shows that goes so fast."""
    return int(now_ns * rate)


def _when(shown_ns: int, rate: float) -> int:
    """When it shows so much at last. A nanosecond too early, by rounding, and a timer would ring for ever."""
    now_ns = ceil(shown_ns / rate)
    return now_ns if _shown(now_ns, rate) >= shown_ns else now_ns + 1


class Member:
    """One member's life: its storage outlasts its cores."""

    def __init__(self, name: str, restored: Restored) -> None:
        self.name = name
        self.storage = MemoryStorage(restored)
        self.incarnation = 0
        self.rate = 1.0
        """How fast its clock runs."""
        self.core: Raft | None = None
        self.armed_ns = NEVER_NS
        self.bad_disk = ""
        """Its next write fails, and its life ends with that: "once", or "always" until the disk is mended."""
        self.stalled_until_ns = 0
        """Until then no write is done."""
        self.writes: deque[tuple[Persist | tuple[Snapshot, Event], tuple[Any, ...]]] = deque()
        """What is on its way to the disk, with what waits for it: messages, or an event after a snapshot."""
        self.applied: list[tuple[int, bytes]] = []
        self.readies: list[Ready] = []


class Simulation:
    """`delay_ms` and `disk_ms` are ranges; `loss` and `duplicate` probabilities; cut directions are pairs of names."""

    def __init__(
        self,
        voters: int = 3,
        spare: int = 0,
        seed: int = 0,
        config: RaftConfig | None = None,
        delay_ms: tuple[float, float] = (1, 1),
        disk_ms: tuple[float, float] = (0, 0),
        in_order: bool = True,
        core_class: type[Raft] = Raft,
        saves_at_once: bool = False,
    ) -> None:
        """`saves_at_once`: members save within the step, as where the storage is memory; `disk_ms` is nothing then."""
        self.seed = seed
        self.random = random.Random(f"simulation/{seed}")
        self.config = config or RaftConfig()
        self.delay_ms, self.disk_ms, self.in_order = delay_ms, disk_ms, in_order
        self.loss = self.duplicate = 0.0
        self.core_class = core_class
        self.saves_at_once = saves_at_once
        self.now_ns = 0
        self.heap: list[tuple[int, int, str, int, str, Any]] = []
        self.count = 0
        self.invariants = Invariants()
        self.cuts: dict[tuple[str, str], bool] = {}
        self.held: dict[str, list[tuple[str, int, Any]]] = {}
        """Who is paused, and what has come for it since then."""
        self.resumed_ns: dict[str, int] = {}
        self.last_arrival: dict[tuple[str, str], int] = {}
        self.sent: dict[str, int] = {}
        self.names = tuple(f"n{i}" for i in range(voters + spare))
        restored = Restored.bootstrap(self.names[:voters])
        self.members = {
            name: Member(name, restored if name in self.names[:voters] else Restored.bootstrap())
            for name in self.names
        }
        self.reads: dict[int, int] = {}
        self.reads_answered: list[int] = []
        self.reads_failed: list[int] = []
        self.taken = self.installed = self.failed_writes = 0
        self.accepted: list[Accepted] = []
        self.refused: list[Refused] = []
        self.observers: list[Callable[[str, Event, Ready], None]] = []
        for name in self.names:
            self.start(name)

    # --- Time ---

    def run(self, ms: float) -> None:
        end = self.now_ns + int(ms * MS)
        while self.heap and self.heap[0][0] <= end:
            self.one()
        self.now_ns = end

    def run_until(self, condition: Callable[[], bool], within_ms: float) -> bool:
        end = self.now_ns + int(within_ms * MS)
        while not condition():
            if not self.heap or self.heap[0][0] > end:
                return False
            self.one()
        return True

    def one(self) -> None:
        self.now_ns, _, kind, incarnation, name, what = heapq.heappop(self.heap)
        member = self.members[name]
        if name in self.held:
            self.held[name].append((kind, incarnation, what))
        elif kind == "message":
            if member.core is not None:
                self.step(name, what)
        elif member.core is None or incarnation != member.incarnation:
            return
        elif kind == "saved":
            self.step(name, what)
        elif kind == "timer":
            if what == member.armed_ns:
                member.armed_ns = NEVER_NS
                self.step(name, DeadlineReached())
        elif member.bad_disk or kind == "bad disk":
            self.failed_writes += 1
            self.crash(name)
        elif member.writes:
            self.written(member)

    def at(self, time_ns: int, kind: str, name: str, what: Any) -> None:
        self.count += 1
        assert len(self.heap) < 20_000, "messages beget messages without end"
        heapq.heappush(self.heap, (time_ns, self.count, kind, self.members[name].incarnation, name, what))

    # --- Members ---

    def start(self, name: str) -> None:
        member = self.members[name]
        member.incarnation += 1
        member.writes.clear()
        member.armed_ns = NEVER_NS
        restored = member.storage.load()
        member.applied = unpack(restored.snapshot.data) if restored.snapshot is not None else []
        member.core = self.core_class(
            member=name,
            cluster="c",
            incarnation=member.incarnation,
            config=self.config,
            random=random.Random(f"{self.seed}/{name}/{member.incarnation}"),
            restored=restored,
            now_ns=self.clock(member),
            saves_at_once=self.saves_at_once,
        )
        self.arm(member, member.core.deadline_ns)

    def crash(self, name: str) -> None:
        """What was given to the disk and is not acknowledged may be there or not."""
        member = self.members[name]
        self.held.pop(name, None)
        if member.bad_disk == "once":
            member.bad_disk = ""
        for _ in range(self.random.randint(0, len(member.writes))):
            self.save(member, member.writes.popleft()[0])
        member.writes.clear()
        member.core = None

    def pause(self, name: str) -> None:
        """As a process that is stopped: time passes, and all that comes for it waits."""
        if name in self.cores:
            self.held.setdefault(name, [])

    def resume(self, *names: str) -> None:
        """These, or everybody; what has come meanwhile is there at once, in order."""
        for name in names or tuple(self.held):
            self.resumed_ns[name] = self.now_ns
            for kind, incarnation, what in self.held.pop(name, ()):
                self.count += 1
                heapq.heappush(self.heap, (self.now_ns, self.count, kind, incarnation, name, what))

    def step(self, name: str, event: Event) -> Ready:
        member = self.members[name]
        core = member.core
        assert core is not None
        ready = core.step(self.clock(member), event)
        self.invariants.check_step(core, event, ready)
        if self.saves_at_once:
            if not self.save_at_once(member, ready):
                return ready
        elif ready.persist is not None or type(event) is StorageDone:
            self.durable_is_what_the_disk_has(member)
        for observer in self.observers:
            observer(name, event, ready)
        self.carry_out(member, ready)
        return ready

    def save_at_once(self, member: Member, ready: Ready) -> bool:
        """Before anything else is done that the step says. A bad disk has it, but nobody hears of that, and the rest is
        not done. (If it had nothing, that were a crash before the step.)"""
        if ready.install is not None:
            self.install(member, ready.install)
        if ready.persist is not None:
            assert not ready.send_after_durable, "nothing waits for what is saved within the step"
            self.save(member, ready.persist)
            self.durable_is_what_the_disk_has(member)
            if member.bad_disk:
                self.failed_writes += 1
                self.crash(member.name)
        return member.core is not None

    def durable_is_what_the_disk_has(self, member: Member) -> None:
        """What a member believes to be durable; the disk does not believe, it has it or not."""
        assert member.core is not None
        index, disk = member.core.durable_index, member.storage.load()
        at, term = index - disk.first_index, member.core.log.term_at(index)
        if at >= 0 and term >= 0:  # else a snapshot stands for it
            kept = at < len(disk.terms) and disk.terms[at] == term
            assert kept, f"{member.name} takes {index} for durable, and its disk does not have it"

    def carry_out(self, member: Member, ready: Ready) -> None:
        if ready.install is not None and not self.saves_at_once:
            self.install(member, ready.install)
        # First, because a disk without delay steps the completion at once, and that may hand out more.
        if ready.apply is not None:
            for index, payload in enumerate(ready.apply.payloads, ready.apply.first_index):
                member.applied.append((index, payload))
        if ready.persist is not None and not self.saves_at_once:
            self.write(member, ready.persist, ready.send_after_durable)
        for message in ready.send:
            self.acknowledged_is_on_the_disk(message)
            self.send(message)
        for answer in ready.reads:
            self.read_answered(answer)
        self.accepted.extend(ready.accepted)
        self.refused.extend(ready.refused)
        for wanted in ready.chunks:
            held = member.storage.content().snapshot
            if held is not None and held.index == wanted.index:
                data = held.data[wanted.offset : wanted.offset + wanted.size]
                chunk = SnapshotChunk(
                    peer=wanted.peer, index=held.index, offset=wanted.offset, data=data, total=len(held.data)
                )
                self.step(member.name, chunk)
        if member.core is not None:
            self.arm(member, ready.deadline_ns)

    def clock(self, member: Member) -> int:
        return _shown(self.now_ns, member.rate)

    def arm(self, member: Member, deadline_ns: int) -> None:
        """One timer a member; an earlier one than needed may ring, a later one may not."""
        if deadline_ns < NEVER_NS:
            deadline_ns = _when(deadline_ns, member.rate)
        if deadline_ns < member.armed_ns and deadline_ns < NEVER_NS:
            member.armed_ns = max(deadline_ns, self.now_ns)
            self.at(member.armed_ns, "timer", member.name, member.armed_ns)

    # --- Disk ---

    def write(self, member: Member, what: Any, after: tuple[Any, ...]) -> None:
        if self.saves_at_once:  # a snapshot: what the step says is carried out before it is told of as durable
            self.save(member, what)
            self.at(self.now_ns, "saved", member.name, what[1])
            return
        member.writes.append((what, after))
        if member.bad_disk:
            self.at(self.now_ns, "bad disk", member.name, None)
        elif not self.disk_ms[1] and self.now_ns >= member.stalled_until_ns:
            self.written(member)
        elif len(member.writes) == 1:
            self.next_write(member)

    def save(self, member: Member, what: Any) -> None:
        if isinstance(what, Persist):
            member.storage.save(what)
        else:
            snapshot, event = what
            keep_from = event.keep_from if isinstance(event, SnapshotTaken) else snapshot.index + 1
            member.storage.save_snapshot(snapshot, keep_from)

    def written(self, member: Member) -> None:
        """Some of what is queued is written at once; of the log's writes only the last is reported (group commit)."""
        batch = self.written_together(member)
        for what, after in batch:
            self.save(member, what)
            # Now, because the next one may overwrite it in a later term; then this comes late, and does no harm.
            for message in after:
                self.acknowledged_is_on_the_disk(message)
        for _, after in batch:
            for message in after:
                self.send(message)
        last = None
        for what, _ in batch:
            if isinstance(what, Persist):
                last = what.done
                continue
            if last is not None:
                self.step(member.name, last)
            self.step(member.name, what[1])
            last = None
        if last is not None:
            self.step(member.name, last)

    def acknowledged_is_on_the_disk(self, message: Any) -> None:
        """By the disk itself, not by what the core believes of it."""
        if isinstance(message, AppendReply) and message.success:
            durable = self.members[message.sender].storage.last_index
            assert message.match <= durable, f"{message.sender} acknowledges {message.match}, has {durable}"

    # --- Snapshots ---

    def install(self, member: Member, snapshot: Snapshot) -> None:
        """The state that comes must be the one that everybody has after the same entries."""
        member.applied = unpack(snapshot.data)
        committed = self.invariants.committed_payloads[: snapshot.index]
        assert [payload for _, payload in member.applied] == committed, (
            f"{member.name} installs another state"
        )
        self.installed += 1
        installed = SnapshotInstalled(
            index=snapshot.index, term=snapshot.term, incarnation=member.incarnation
        )
        self.write(member, (snapshot, installed), ())

    def snapshot(self, name: str) -> None:
        """Takes a snapshot of all that is applied; the log is cut when it is durable."""
        member, core = self.members[name], self.core(name)
        index = core.handed_index
        if index <= core.snapshot_index or core.installing is not None:
            return
        taken = core.snapshot_at(index)
        data = msgspec.msgpack.encode(member.applied)
        self.taken += 1
        self.write(
            member,
            (Snapshot(index=index, term=taken.term, membership=taken.membership, data=data), taken),
            (),
        )

    def written_together(self, member: Member) -> list[Any]:
        """The oldest writes, perhaps all; the others have to wait for the next time."""
        count = self.random.randint(1, len(member.writes)) if self.disk_ms[1] else len(member.writes)
        batch = [member.writes.popleft() for _ in range(count)]
        if member.writes:
            self.next_write(member)
        return batch

    def next_write(self, member: Member) -> None:
        done_ns = self.now_ns + int(self.random.uniform(*self.disk_ms) * MS)
        self.at(max(done_ns, member.stalled_until_ns), "disk", member.name, None)

    # --- Network ---

    def send(self, message: Any) -> None:
        self.sent[type(message).__name__] = self.sent.get(type(message).__name__, 0) + 1
        if self.cuts.get((message.sender, message.to)) or self.random.random() < self.loss:
            return
        copies = 2 if self.random.random() < self.duplicate else 1
        for _ in range(copies):
            arrival = self.now_ns + int(self.random.uniform(*self.delay_ms) * MS)
            if self.in_order:
                wire = (message.sender, message.to)
                arrival = self.last_arrival[wire] = max(arrival, self.last_arrival.get(wire, 0))
            if message.to in self.members:
                self.at(arrival, "message", message.to, message)

    def cut(self, sender: str, to: str) -> None:
        self.cuts[sender, to] = True

    def isolate(self, *names: str) -> None:
        """Cuts both ways between these and everybody else; among themselves they keep talking."""
        for one in names:
            for other in self.names:
                if other not in names:
                    self.cuts[one, other] = self.cuts[other, one] = True

    def heal(self, *names: str) -> None:
        """Restores all links, or those of these members."""
        for wire in list(self.cuts):
            if not names or wire[0] in names or wire[1] in names:
                self.cuts[wire] = False

    # --- What tests ask and do ---

    def core(self, name: str) -> Raft:
        core = self.members[name].core
        assert core is not None, f"{name} is down"
        return core

    @property
    def cores(self) -> dict[str, Raft]:
        return {name: member.core for name, member in self.members.items() if member.core is not None}

    @property
    def awake(self) -> dict[str, Raft]:
        """Who is neither down nor paused."""
        return {name: core for name, core in self.cores.items() if name not in self.held}

    def leaders(self) -> list[str]:
        return [name for name, core in self.awake.items() if core.is_leader]

    def leader(self) -> str | None:
        """The leader of the highest term."""
        leading = [(core.term, name) for name, core in self.awake.items() if core.is_leader]
        return max(leading)[1] if leading else None

    def elect(self, within_ms: float = 5_000, among: tuple[str, ...] | None = None) -> str:
        """Waits for a leader that may serve, and returns its name."""

        def ready() -> bool:
            return self._serving(among) is not None

        assert self.run_until(ready, within_ms), f"no leader within {within_ms} ms"
        name = self._serving(among)
        assert name is not None
        return name

    def _serving(self, among: tuple[str, ...] | None) -> str | None:
        serving = [
            (core.term, name)
            for name, core in self.awake.items()
            if core.has_committed_own_term and (among is None or name in among)
        ]
        return max(serving)[1] if serving else None

    def propose(self, name: str, *payloads: bytes, ref: int = 0, forward: bool = True) -> Ready:
        return self.step(name, Propose(payloads=payloads, ref=ref, forward=forward))

    def applied(self, name: str) -> list[bytes]:
        """The application's entries that this life of the member has applied."""
        return [payload for _, payload in self.members[name].applied if payload[:1] > b"\x00"]

    def agree(self, payload: bytes, on: tuple[str, ...], within_ms: float = 10_000) -> None:
        """MIT's `one`: give it to whoever leads until all of these members have applied it."""
        end = self.now_ns + int(within_ms * MS)
        while self.now_ns < end:
            for name in on:
                if name in self.cores and self.core(name).is_leader:
                    self.propose(name, payload)
            if self.run_until(lambda: self.all_applied(payload, on), 2_000):
                return
        raise AssertionError(f"no agreement on {payload!r} within {within_ms} ms")

    def all_applied(self, payload: bytes, on: tuple[str, ...]) -> bool:
        return all(
            name in self.cores and any(known == payload for _, known in reversed(self.members[name].applied))
            for name in on
        )

    def read(self, name: str, ref: int) -> None:
        """A read must see everything that anybody knew to be committed when it was asked."""
        self.reads[ref] = self.invariants.committed_index
        self.step(name, ReadRequest(ref=ref))

    def read_answered(self, answer: ReadReady | ReadFailed) -> None:
        needed = self.reads.pop(answer.ref, 0)
        if isinstance(answer, ReadFailed):
            self.reads_failed.append(answer.ref)
            return
        assert answer.index >= needed, (
            f"stale read {answer.ref}: index {answer.index}, {needed} was committed"
        )
        self.reads_answered.append(answer.ref)
