"""Member: an actor that takes part in consensus and runs a replicated state machine.

The core (`raft/`) is pure: the member hands it events and carries out, in order, what the core's `Ready` says. The
member knows nothing of services or replicas; `Node` adds those, and other programs bring a machine of their own.

    mailbox ──event──> Raft.step ──Ready──> save, send through Links, apply, answer reads, arm the deadline

A storage that answers at once (memory) is called in the handler. One that takes its time is behind a Disk: what must
not be said before it is durable is held here until the Disk says so, and everything else goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from itertools import islice
from typing import Any

from .disk import (
    DiskFailed,
    Load,
    Loaded,
    ReadSnapshot,
    Save,
    SaveSnapshot,
    SnapshotRead,
    SnapshotSaved,
    Written,
    chunk_of,
)
from .link import Link
from .messages import LinkPolicy, Message, Outcome, Submit, Underlay, cluster_actor, link_actor
from .raft import sessions
from .raft.config import RaftConfig
from .raft.core import Raft, Restored
from .raft.events import (
    NEVER_NS,
    Accepted,
    Apply,
    BecameLeader,
    DeadlineReached,
    Event,
    LeaderKnown,
    MembershipChanged,
    PeerMessage,
    Persist,
    Propose,
    ReadFailed,
    ReadReady,
    ReadRequest,
    Ready,
    Refused,
    Snapshot,
    SnapshotChunkRequest,
    SnapshotInstalled,
    SnapshotTaken,
    SteppedDown,
    is_application,
)
from .raft.sessions import Applied, Machine, Sessions
from .storage.base import Storage, StorageBroken
from .surely import tell_surely
from .system import Actor, NameTaken, SystemClosed, Terminated, Timer
from .units import NS_PER_MS

__all__ = ["Member", "Observer"]

# No handler may hold a thread for long: so many entries, or bytes of them, are applied in one turn, others in the next;
# and so many reads are answered.
APPLY_SLICE = 64
APPLY_SLICE_BYTES = 48_000
ANSWER_SLICE = 4
SENDING_PATIENCE = 4
"""So many times what makes a snapshot due is waited for somebody who is being sent the one before."""
WAITING_LIMIT = 20_000
SESSIONS_LIMIT = 20_000
"""Of so many sessions it is remembered what was taken. One that was forgotten goes on when it sends again."""
EARLY_LIMIT = 1000
"""Messages that wait for a member that still reads its storage."""

Observer = Callable[[Raft, Any, Ready], None]


class _Flush(Message, frozen=True, kw_only=True, gc=False):
    """To itself: everything that queued up in front of this is proposed as one batch."""


class _ApplyMore(Message, frozen=True, kw_only=True, gc=False):
    """To itself: committed entries wait for their slice."""


class _AnswerMore(Message, frozen=True, kw_only=True, gc=False):
    """To itself: reads that may be answered wait for their slice."""


class _SnapshotMore(Message, frozen=True, kw_only=True, gc=False):
    """To itself: the next slice of the snapshot that is being taken."""


class _Deadline(Message, frozen=True, kw_only=True, gc=False):
    """To itself: the core's deadline may have come."""


class Member(Actor):
    """One member of one cluster's consensus, with its storage, its machine and its outgoing links.

    `storage` survives the actor: a restarted member loads from it. A name instead is that of the Disk that has it, made
    with this actor as its owner. `observe` sees every (core, event, ready) of a
    test or a checker; it costs nothing when None. `under` is what the links of a nested cluster's member ride on.
    """

    mailbox_capacity = 20_000

    def __init__(
        self,
        cluster: str,
        node: str,
        storage: Storage | str,
        machine: Machine,
        config: RaftConfig,
        link_policy: LinkPolicy,
        observe: Observer | None = None,
        under: Underlay | None = None,
    ) -> None:
        super().__init__()
        self.cluster = cluster
        self.node = node
        self.raft: Raft
        self.is_running = False
        """Whether it has read its storage and takes part; `raft` is there from then on."""
        self.incarnation = 0
        """Which of its lives this is, counted by its storage."""
        self.applied = 0
        self.entry_term = 0
        self._storage = storage
        self._save: Callable[[Persist], None] = self._send_to_disk if isinstance(storage, str) else storage.save
        """Gives a write to the storage: one that answers at once has saved it when this returns."""
        self._after_durable: deque[tuple[int, tuple[PeerMessage, ...]]] = deque()
        self._machine = machine
        self._sessions = Sessions(machine)
        self._config = config
        self._link_policy = link_policy
        self._under = under
        self._observe = observe
        self._wires: dict[str, str] = {}
        self._queued: list[Submit] = []
        self._waiting: dict[tuple[str, int], tuple[str, int]] = {}
        """To whom a command's outcome is told, and in which term it was taken last."""
        self._taken: dict[str, int] = {}
        self._taken_term = 0
        self._proposals: dict[int, tuple[tuple[str, int], ...]] = {}
        self._next_ref = 1
        self._committed: deque[Apply] = deque()
        self._applying = False
        self._saving: deque[SnapshotTaken | SnapshotInstalled] = deque()
        """What the core hears when the snapshots that are being written are durable."""
        self._taking: Generator[None, None, bytes] | None = None
        self._is_held = False
        self._bytes_applied = 0
        self._bytes_at_snapshot = 0
        self._due_index = self._due_bytes = 0
        """Until one of them is reached no snapshot can be due, for they only grow."""
        self._reads: dict[int, Callable[[str | None], None]] = {}
        self._ready_reads: list[ReadReady] = []
        self._answering = False
        self._timer: Timer | None = None
        self._timer_ns = NEVER_NS
        """When the timer fires; NEVER_NS without one."""
        self._forgiven_ns = -1
        self._has_failed = False
        self._early: list[Any] = []
        self._handlers: dict[type, Callable[[Any], Any]] = {
            Submit: self._submit,
            _Flush: self._flush,
            _ApplyMore: self._apply_more,
            _AnswerMore: self._answer_more,
            _Deadline: self._deadline,
            _SnapshotMore: self._take_slice,
            Written: self._written,
            SnapshotSaved: self._snapshot_saved,
            SnapshotRead: self._snapshot_read,
            DiskFailed: self._disk_failed,
            Terminated: self._wire_ended,
        }

    # -- life ------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Load what was promised before, and arm the first deadline."""
        if isinstance(self._storage, str):
            self.context.send(self._storage, Load(life=self.context.incarnation))
        else:
            self._begin(self._storage.load(), self._storage.start(self.context.incarnation))

    def _begin(self, restored: Restored, incarnation: int) -> None:
        self.incarnation = incarnation
        if restored.snapshot is not None:
            self._become(restored.snapshot)
        self.raft = Raft(
            member=self.node,
            cluster=self.cluster,
            incarnation=incarnation,
            config=self._config,
            random=self.context.random,
            restored=restored,
            now_ns=self.context.now_ns(),
            saves_at_once=not isinstance(self._storage, str),
        )
        self.is_running = True
        self._arm(self.raft.deadline_ns)
        self.on_running()

    def on_receive(self, message: Any) -> Any:
        """One message: a peer's goes to the core, anything else to its handler."""
        if not self.is_running:
            return self._receive_while_not_running(message)
        handler = self._handlers.get(type(message))
        if handler is not None:
            return handler(message)
        return self.step(message)

    def _receive_while_not_running(self, message: Any) -> None:
        """Until the storage is read everything else waits; too much is dropped, as peers and clients send again."""
        if type(message) is Loaded and message.life == self.context.incarnation:
            self._begin(message.restored, message.incarnation)
            early, self._early = self._early, []
            for waiting in early:
                self.on_receive(waiting)
        elif type(message) is DiskFailed:
            self._disk_failed(message)
        elif not self._has_failed and len(self._early) < EARLY_LIMIT:
            self._early.append(message)

    def _disk_failed(self, message: DiskFailed) -> None:
        """Nobody knows what is durable: this life ends here, and the next one reads what is left."""
        if message.life not in (0, self.context.incarnation) or self._has_failed:
            return
        self._has_failed = True
        if self.is_running and self.raft.is_leader:
            self.on_stepped_down(self.raft.term, "its storage failed")
        self.is_running = False
        if self._timer is not None:
            self._timer.cancel()
        self.on_storage_failed(message.reason, message.is_damaged)

    # -- what a subclass adds --------------------------------------------------------------------------------

    def on_running(self) -> None:
        """This member has read its storage and takes part."""

    def on_applied(self, index: int, term: int, applied: Applied) -> None:
        """An application command took effect on this member."""

    def on_became_leader(self, term: int) -> None:
        """This member won the election of `term`."""

    def on_stepped_down(self, term: int, reason: str) -> None:
        """This member leads no more."""

    def on_leader_known(self, term: int, leader: str | None) -> None:
        """This member follows somebody else, or nobody."""

    def on_membership_changed(self) -> None:
        """Voters or learners changed; `self.raft.membership` has them."""

    def on_restored(self) -> None:
        """The machine became that of a snapshot: at the start, or because the leader sent one."""

    def on_slice_applied(self) -> None:
        """A slice of committed entries has been applied."""

    def on_storage_failed(self, reason: str, is_damaged: bool) -> None:
        """This life is over. As it stands here: it crashes, to be started anew, or stops where that would not help."""
        if not is_damaged:
            raise StorageBroken(reason)
        self.context.log.error("storage damaged node=%s reason=%s", self.node, reason)
        self.context.stop()

    # -- the core --------------------------------------------------------------------------------------------

    def step(self, event: Event) -> None:
        """Hand one event to the core and carry out what it says."""
        ready = self.raft.step(self.context.now_ns(), event)
        if self._observe is not None:
            self._observe(self.raft, event, ready)
        self._carry_out(ready)

    def _carry_out(self, ready: Ready) -> None:
        """In the order that `Ready` promises."""
        tells = ready.tells
        if tells and ready.install is not None:
            self._install(ready.install)
        persist = ready.persist
        if persist is not None:
            self._save(persist)
        if ready.send:
            self._to_peers(ready.send)
        if persist is not None and ready.send_after_durable:
            self._after_durable.append((persist.done.sequence, ready.send_after_durable))
        if tells:
            self._tell(ready)
        if ready.apply is not None:
            self._committed.append(ready.apply)
            if not self._applying:
                self._apply_slice()
        if tells:
            self._tell_after_applying(ready)
        if ready.deadline_ns < self._timer_ns:
            self._arm(ready.deadline_ns)

    def _tell(self, ready: Ready) -> None:
        """Whom it concerns hears before the entries take effect: what they lead to may need it."""
        if ready.changes:
            self._tell_changes(ready.changes)
        if ready.refused:
            self._tell_refused(ready.refused)
        if ready.accepted:
            self.on_accepted(ready.accepted)

    def _tell_after_applying(self, ready: Ready) -> None:
        """Reads want what was just applied; a leader that commits its own removal is the one who tells of it."""
        for change in ready.changes:
            if isinstance(change, SteppedDown):
                self.on_stepped_down(change.term, change.reason)
        for read in ready.reads:
            self._note_read(read)
        if ready.reads and not self._answering:
            self._answer_reads()
        if ready.chunks:
            self._read_chunks(ready.chunks)

    def _send_to_disk(self, persist: Persist) -> None:
        assert isinstance(self._storage, str), "the Disk's name"
        self.context.send(self._storage, Save(life=self.context.incarnation, persist=persist))

    def _written(self, message: Written) -> None:
        """The Disk has synced: let go what waited for it, in order."""
        if message.life != self.context.incarnation:
            return
        waiting, sequence = self._after_durable, message.done.sequence
        while waiting and waiting[0][0] <= sequence:
            self._to_peers(waiting.popleft()[1])
        self.step(message.done)

    def _tell_changes(self, changes: tuple[Any, ...]) -> None:
        for change in changes:
            match change:
                case BecameLeader(term=term):
                    self.on_became_leader(term)
                case LeaderKnown(term=term, leader=leader):
                    self.on_leader_known(term, leader)
                case MembershipChanged():
                    self.on_membership_changed()

    def to_self(self, message: Message) -> None:
        """What goes on with the next message: one that is lost would be waited for as long as this member lives."""
        tell_surely(self.context, self.context.name, message)

    # -- deadlines -------------------------------------------------------------------------------------------

    def _arm(self, deadline_ns: int) -> None:
        """Keep one timer, for the earliest deadline: one that fires early looks again, so most resets cost nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._set_timer(deadline_ns)

    def _set_timer(self, deadline_ns: int) -> None:
        self._timer_ns = deadline_ns
        self._timer = self.context.after_ns(max(0, deadline_ns - self.context.now_ns()), _Deadline())

    def _deadline(self, _: _Deadline) -> None:
        self._timer, self._timer_ns = None, NEVER_NS
        deadline_ns = self.raft.deadline_ns
        late_ns = self.context.now_ns() - deadline_ns
        if late_ns < 0:
            self._set_timer(deadline_ns)
        elif late_ns > self._config.heartbeat_ms * NS_PER_MS and self._may_forgive(deadline_ns):
            # The whole process slept, so the leader's heartbeats may wait behind this very message: read them first.
            self._set_timer(self.context.now_ns() + self._config.heartbeat_ms * NS_PER_MS)
            self._forgiven_ns = deadline_ns
        else:
            self.step(DeadlineReached())

    def _may_forgive(self, deadline_ns: int) -> bool:
        """Once a deadline, and not a leader's: its heartbeats are what the others wait for."""
        return not self.raft.is_leader and self._forgiven_ns != deadline_ns

    # -- links -----------------------------------------------------------------------------------------------

    def _to_peer(self, peer: str, message: Any) -> None:
        """Through the wire to `peer`; the wire is made when it is first needed."""
        wire = self._wires.get(peer)
        if wire is None:
            wire = self._open_wire(peer)
        self.context.send(wire, message)

    def _to_peers(self, messages: tuple[PeerMessage, ...]) -> None:
        """The core's messages, in their order."""
        send, wires = self.context.send, self._wires
        for message in messages:
            send(wires.get(message.to) or self._open_wire(message.to), message)

    def _open_wire(self, peer: str) -> str:
        wire = link_actor(self.cluster, self.node, peer)
        if not self.context.is_alive(wire):
            try:
                self.context.spawn(
                    Link,
                    wire,
                    self.cluster,
                    self.node,
                    peer,
                    self._link_policy,
                    self._under,
                    parent=cluster_actor(self.cluster),
                )
            except NameTaken:
                pass  # The front door was quicker: somebody cuts a wire that nobody has used yet.
            except SystemClosed:
                return wire  # Wires end before nodes; what is said between the two reaches nobody.
        self._wires[peer] = wire
        self.context.watch(wire)
        return wire

    def _wire_ended(self, message: Terminated) -> None:
        """The wire went with the node that it led to; should one of that name come back, another is made."""
        if message.reason != "crashed":
            self._wires = {peer: wire for peer, wire in self._wires.items() if wire != message.name}

    # -- proposals -------------------------------------------------------------------------------------------

    def _submit(self, message: Submit) -> None:
        """Queue a command; all that wait when the flush comes round are one proposal. Where nothing waits it is now."""
        self._queued.append(message)
        if len(self._queued) == 1:
            if self.context.depth:
                self.to_self(_Flush())
            else:
                self._flush()

    def _flush(self, _: _Flush | None = None) -> None:
        """In proposals of a bounded size: the core refuses what is too much, but takes one proposal whole or not."""
        queued, self._queued = self._queued, []
        batch: list[Submit] = []
        size = 0
        for message in queued:
            if batch and size + len(message.command) > self._config.max_batch_bytes:
                self._propose(batch)
                batch, size = [], 0
            # Asked only now: what a session sends after a command that was refused may not overtake it.
            if self._is_in_order(message) and not self._is_under_way(message):
                batch.append(message)
                size += len(message.command)
        if batch:
            self._propose(batch)

    def _propose(self, batch: list[Submit]) -> None:
        keys = tuple([(message.session, message.sequence) for message in batch])
        term = self.raft.term
        for message in batch:
            self._waiting[message.session, message.sequence] = (message.reply_to, term)
        while len(self._waiting) > WAITING_LIMIT:
            # Their clients ask again: a command that was applied meanwhile is answered from the session.
            self._waiting.pop(next(iter(self._waiting)))
        payloads = tuple(
            [
                sessions.encode(message.session, message.sequence, message.command, message.acknowledged)
                for message in batch
            ]
        )
        ref = self.new_ref()
        self._proposals[ref] = keys
        # Not forwarded: whoever submits hears of a new leader at once, and by two ways an order would be lost.
        self.step(Propose(payloads=payloads, ref=ref, forward=False))
        self._proposals.pop(ref, None)

    def _is_in_order(self, message: Submit) -> bool:
        """Whether all that its session sent before is answered or taken in this term. What is not comes again."""
        if self._taken_term != self.raft.term:
            self._taken_term, self._taken = self.raft.term, {}
        # Taken out and put in again, so that whoever sent nothing for the longest time comes first.
        last = max(message.acknowledged, self._taken.pop(message.session, 0))
        is_in_order = message.sequence <= last + 1
        self._taken[message.session] = max(last, message.sequence) if is_in_order else last
        if len(self._taken) > SESSIONS_LIMIT:
            self._taken = dict(islice(self._taken.items(), SESSIONS_LIMIT // 2, None))
        return is_in_order

    def _is_under_way(self, message: Submit) -> bool:
        """Whether it is in this leader's log and not applied yet. Whoever waits asks again and again: each time another
        entry would make a leader that is slow slower still."""
        key, term = (message.session, message.sequence), self.raft.term
        waiting = self._waiting.get(key)
        if waiting is None or waiting[1] != term or not self.raft.is_leader or not message.session:
            return False
        self._waiting[key] = (message.reply_to, term)
        return True

    def new_ref(self) -> int:
        """A number that ties an answer of the core to its question."""
        self._next_ref += 1
        return self._next_ref

    def on_accepted(self, accepted: tuple[Accepted, ...]) -> None:
        """Proposals entered the own log (not committed yet)."""

    def _tell_refused(self, refused: tuple[Refused, ...]) -> None:
        for refusal in refused:
            self.on_refused(refusal)
            if refusal.ref in self._proposals:
                self._taken = {}  # What follows them may not overtake them.
            for key in self._proposals.get(refusal.ref, ()):
                waiting = self._waiting.pop(key, None)
                if waiting is not None:
                    self.context.send(
                        waiting[0],
                        Outcome(
                            session=key[0],
                            sequence=key[1],
                            index=0,
                            result=None,
                            refused=refusal.reason,
                            leader=refusal.leader,
                        ),
                    )

    def on_refused(self, refusal: Refused) -> None:
        """The core would not take a proposal or a change."""

    # -- applying --------------------------------------------------------------------------------------------

    def _apply_more(self, _: _ApplyMore) -> None:
        self._applying = False
        self._apply_slice()

    def _apply_slice(self) -> None:
        if self._taking is not None or self._is_held:
            return  # A snapshot or a copy is of one moment; it ends by coming here again.
        committed, budget = self._committed, APPLY_SLICE
        full = self._bytes_applied + APPLY_SLICE_BYTES
        while committed and budget > 0 and self._bytes_applied < full:
            chunk = committed[0]
            first = self.applied + 1
            terms, payloads = chunk.terms, chunk.payloads
            if first != chunk.first_index or len(payloads) > budget:
                done = first - chunk.first_index
                terms, payloads = terms[done : done + budget], payloads[done : done + budget]
            for term, payload in zip(terms, payloads):  # noqa: B905 (columns of one length)
                self._apply_entry(self.applied + 1, term, payload)
                if self._bytes_applied >= full:
                    break
            budget -= self.applied + 1 - first
            if self.applied + 1 == chunk.first_index + len(chunk.payloads):
                committed.popleft()
        self.on_slice_applied()
        if self._ready_reads:
            self._answer_reads()
        may_be_due = self.applied >= self._due_index or self._bytes_applied >= self._due_bytes
        if may_be_due and self._is_snapshot_due():
            self._take_snapshot()
        if committed and self._taking is None:
            self._applying = True
            self.to_self(_ApplyMore())

    def _apply_entry(self, index: int, term: int, payload: bytes) -> None:
        self.applied = index
        self._bytes_applied += len(payload)
        if not is_application(payload):
            return
        self.entry_term = term
        applied = self._sessions.apply(index, payload)
        if applied.session and self._waiting:
            waiting = self._waiting.pop((applied.session, applied.sequence), None)
            if waiting is not None:
                self.context.send(
                    waiting[0],
                    Outcome(
                        session=applied.session,
                        sequence=applied.sequence,
                        index=index,
                        result=applied.result,
                        refused=applied.refused or None,
                    ),
                )
        self.on_applied(index, term, applied)

    def hold_applying(self) -> None:
        """Nothing is applied until `go_on_applying`; all else goes on."""
        self._is_held = True

    def go_on_applying(self) -> None:
        """Whatever was committed meanwhile is applied."""
        self._is_held = False
        if self._committed and not self._applying:
            self._apply_slice()

    # -- snapshots -------------------------------------------------------------------------------------------

    def _is_snapshot_due(self) -> bool:
        """Often enough to keep the log short. A follower that is being sent one would begin again with a newer one: it
        is waited for, but not for ever, as it may be slow, or fail again and again."""
        config, raft = self._config, self.raft
        self._due_index = raft.snapshot_index + config.snapshot_entries
        self._due_bytes = self._bytes_at_snapshot + config.snapshot_bytes
        if self.applied < self._due_index and self._bytes_applied < self._due_bytes:
            return False
        grown = self.applied - raft.snapshot_index
        if grown <= 0 or self._taking is not None or self._saving or raft.installing:
            return False
        if not raft.base_membership.voters and not raft.membership_at(self.applied).voters:
            return False  # A learner that has not come to its own addition: it would say that nobody votes.
        is_overdue = (
            grown >= SENDING_PATIENCE * config.snapshot_entries
            or self._bytes_applied - self._bytes_at_snapshot >= SENDING_PATIENCE * config.snapshot_bytes
        )
        return is_overdue or not raft.is_sending_snapshot

    def _take_snapshot(self) -> None:
        """In slices where the machine offers them: meanwhile nothing is applied, but all else goes on."""
        self._taking = self._sessions.snapshot_slices()
        self._take_slice()

    def _take_slice(self, _: _SnapshotMore | None = None) -> None:
        if self._taking is None:
            return  # A snapshot of the leader came in between.
        try:
            next(self._taking)
        except StopIteration as end:
            self._taking = None
            self._keep_snapshot(end.value)
            if not self._applying:
                self._apply_slice()
        else:
            self.to_self(_SnapshotMore())

    def _keep_snapshot(self, data: bytes) -> None:
        taken = self.raft.snapshot_at(self.applied)
        snapshot = Snapshot(index=taken.index, term=taken.term, membership=taken.membership, data=data)
        self._bytes_at_snapshot = self._bytes_applied
        self.context.log.debug("snapshot index=%d bytes=%d", taken.index, len(data))
        if self._save_snapshot(snapshot, taken.keep_from, taken):
            self.step(taken)

    def _save_snapshot(self, snapshot: Snapshot, keep_from: int, then: SnapshotTaken | SnapshotInstalled) -> bool:
        """Give it to the storage; whether it is durable already. Where it is not, `then` is stepped when it is."""
        storage = self._storage
        if isinstance(storage, str):
            self._saving.append(then)
            life = self.context.incarnation
            self.context.send(storage, SaveSnapshot(life=life, snapshot=snapshot, keep_from=keep_from))
            return False
        storage.save_snapshot(snapshot, keep_from)
        return True

    def _snapshot_saved(self, message: SnapshotSaved) -> None:
        """A Disk saves in order: with this one all before it are durable."""
        saving = self._saving
        while message.life == self.context.incarnation and saving and saving[0].index <= message.index:
            self.step(saving.popleft())

    def _did_at_once(self, answer: SnapshotSaved | SnapshotRead) -> None:
        """What a storage did within the handler is told as a Disk tells it, when all is carried out that the core has
        said before. A full mailbox is no hindrance."""
        self.context.after_ns(0, answer)

    def _read_chunks(self, wanted: tuple[SnapshotChunkRequest, ...]) -> None:
        """Only storage holds a snapshot; of what is sent there is as much in memory as may be under way."""
        storage = self._storage
        for one in wanted:
            if isinstance(storage, str):
                self.context.send(storage, ReadSnapshot(life=self.context.incarnation, wanted=one))
            elif (found := storage.read_snapshot(one.index, one.offset, one.size)) is not None:
                self._did_at_once(SnapshotRead(life=self.context.incarnation, chunk=chunk_of(one, *found)))

    def _snapshot_read(self, message: SnapshotRead) -> None:
        if message.life == self.context.incarnation:
            self.step(message.chunk)

    def _install(self, snapshot: Snapshot) -> None:
        """The leader's snapshot replaces what this member had."""
        self._committed.clear()
        self._taking = None
        self._become(snapshot)
        self.context.log.info("installed snapshot index=%d bytes=%d", snapshot.index, len(snapshot.data))
        installed = SnapshotInstalled(
            index=snapshot.index, term=snapshot.term, incarnation=self.raft.incarnation
        )
        if self._save_snapshot(snapshot, snapshot.index + 1, installed):
            self._saving.append(installed)
            self._did_at_once(SnapshotSaved(life=self.context.incarnation, index=snapshot.index))
        self._answer_reads()

    def _become(self, snapshot: Snapshot) -> None:
        self._sessions.restore(snapshot.data)
        self.applied = snapshot.index
        self._bytes_at_snapshot = self._bytes_applied
        self.on_restored()

    # -- reads -----------------------------------------------------------------------------------------------

    def read(self, answer: Callable[[str | None], None]) -> None:
        """Linearizable: `answer(None)` once the machine holds all that was committed when asked, `answer(why)` else."""
        ref = self.new_ref()
        self._reads[ref] = answer
        self.step(ReadRequest(ref=ref))

    def _note_read(self, read: ReadReady | ReadFailed) -> None:
        if isinstance(read, ReadFailed):
            answer = self._reads.pop(read.ref, None)
            if answer is not None:
                answer(read.reason)
            return
        self._ready_reads.append(read)

    def _answer_reads(self) -> None:
        """Those whose time has come; in slices, as an answer may be long and one round trip confirms many."""
        waiting, self._ready_reads = self._ready_reads, []
        answered = 0
        for read in waiting:
            if read.index > self.applied or answered >= ANSWER_SLICE:
                self._ready_reads.append(read)
                continue
            answer = self._reads.pop(read.ref, None)
            if answer is not None:
                answered += 1
                answer(None)
        is_left = any(read.index <= self.applied for read in self._ready_reads)
        if is_left and not self._answering:
            self._answering = True
            self.to_self(_AnswerMore())

    def _answer_more(self, _: _AnswerMore) -> None:
        self._answering = False
        self._answer_reads()

    def statistics(self) -> dict[str, int | float | str]:
        if not self.is_running:
            return super().statistics() | {"role": "STARTING"}
        raft = self.raft
        return super().statistics() | {
            "role": raft.role.name,
            "term": raft.term,
            "commit_index": raft.commit_index,
            "applied_index": self.applied,
            "snapshot_index": raft.snapshot_index,
            "first_index": raft.first_index,
            "waiting": len(self._waiting),
        }
