"""A stage on which a few members are moved by hand, one command a line, and all that they do is told in words.

A transcript is text: a line that starts with `> ` is a command, the lines after it are what happened, and `#` begins a
remark.  Nothing happens by itself: messages wait until they are delivered or dropped, and time stands still until a
command lets it pass.  Every member draws the middle of its election timeout (600 ms) unless `timeout` says otherwise.

    members 3 [learners=1] [spare=1] [pre-vote=off] [check-quorum=off] [NAME=NUMBER of RaftConfig]
    log n1 1 1 2             before anything else: n1 starts with entries of these terms
    timeout n1 0.25          n1's next draws: 0 is the shortest timeout, 1 the longest
    elect n1                 silence and settle without telling it all; n1 leads then, and everybody has its first entry
    silence n1               n1 reaches its own deadline, whatever it is, and the clock with it
    wait 150                 milliseconds pass, and every deadline that comes in them rings
    sleep 900                milliseconds pass, and nobody looks at the clock
    propose n1 word...       each word is an entry
    read n1 7                a linearizable read with the number 7
    transfer n1 n2           n1 is told to hand over to n2 (no name: to whom it likes)
    add n1 n4 | promote n1 n4 | remove n1 n2        the leader n1 is told to change who takes part
    change n1 n2+n3 [n4+n5]  the leader n1 is told to make these the voters (and those the learners), in one change
    snapshot n1              n1 writes a snapshot of all that it has applied, and cuts its log
    messages                 what is under way
    deliver [n1->n2] [2]     the oldest message of that wire (all that are there now; or so many)
    drop [n1->n2] [2]        the same, lost
    swap n1->n2              the two newest messages of a wire change places
    slow-disk n1 | fast-disk n1      whether writes wait for `write`
    write n1 [2]             so many writes of n1 become durable (all)
    settle                   deliver and write until nothing is left to do
    crash n1 | start n1      what was not written is lost
    state [n1] | progress n1 | entries n1
"""

import shlex
from collections import deque
from collections.abc import Callable
from typing import Any

from raftyard.actors.raft.core import Raft, RaftConfig, Restored, Role
from raftyard.actors.raft.events import (
    NEVER_NS,
    AddLearner,
    Append,
    AppendReply,
    BecameLeader,
    ChangeMembership,
    DeadlineReached,
    Event,
    ForgetLeader,
    HardState,
    InstallSnapshot,
    LeaderKnown,
    MembershipChanged,
    Persist,
    PromoteLearner,
    Propose,
    ReadReady,
    ReadRequest,
    Ready,
    RemoveMember,
    Snapshot,
    SnapshotChunk,
    SnapshotInstalled,
    SnapshotTaken,
    SteppedDown,
    TransferLeadership,
)
from raftyard.actors.raft.invariants import Invariants
from raftyard.actors.raft.membership import Membership, decode_membership
from raftyard.actors.storage.memory import MemoryStorage

MS = 1_000_000


class Draws:
    """A random stream whose next values are known."""

    def __init__(self) -> None:
        self.value = 0.5

    def random(self) -> float:
        return self.value


class Player:
    """One member on the stage."""

    def __init__(self, name: str, storage: MemoryStorage) -> None:
        self.name = name
        self.storage = storage
        self.draws = Draws()
        self.incarnation = 0
        self.core: Raft | None = None
        self.is_slow = False
        self.applied: list[bytes] = []
        self.writes: deque[tuple[Persist | tuple[Snapshot, Event], tuple[Any, ...]]] = deque()
        """What is on its way to the disk, with what waits for it: messages, or an event after a snapshot."""
        self.told: tuple[Role, int] = (Role.LEARNER, -1)


class Stage:
    """Carries out commands; `run` returns what happened as lines."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.players: dict[str, Player] = {}
        self.wire: list[Any] = []
        self.lines: list[str] = []
        self.invariants = Invariants()
        self.config = RaftConfig()

    def run(self, command: str) -> list[str]:
        self.lines = []
        word, *rest = shlex.split(command)
        action: Callable[..., None] | None = getattr(self, f"do_{word.replace('-', '_')}", None)
        if action is None:
            raise ValueError(f"no such command: {command}")
        action(*rest)
        return self.lines or ["(nothing)"]

    def tell(self, line: str) -> None:
        self.lines.append(line)

    # --- Who is there ---

    def do_members(self, voters: str, *options: str) -> None:
        chosen = dict(option.split("=") for option in options)
        learners, spare = int(chosen.pop("learners", 0)), int(chosen.pop("spare", 0))
        values = {"on": True, "off": False}
        self.config = RaftConfig(
            **{
                name.replace("-", "_"): values[text] if text in values else int(text)
                for name, text in chosen.items()
            }
        )
        names = tuple(f"n{number + 1}" for number in range(int(voters) + learners + spare))
        first = Restored.bootstrap(names[: int(voters)], names[int(voters) : int(voters) + learners])
        for name in names:
            known = first if name in first.membership.members else Restored.bootstrap()
            self.players[name] = Player(name, MemoryStorage(known))
            self.do_start(name)
        self.lines = [f"{names[0]}..{names[-1]}"] if len(names) > 1 else [names[0]]

    def do_log(self, name: str, *terms: str) -> None:
        player = self.players[name]
        known = player.storage.load()
        columns = tuple(int(term) for term in terms)
        words = tuple(f"{term}.{index}".encode() for index, term in enumerate(columns, 1))
        player.storage = MemoryStorage(
            Restored(
                hard_state=HardState(term=max(columns, default=0)),
                membership=known.membership,
                terms=columns,
                payloads=words,
            )
        )
        self.do_start(name)

    def do_start(self, name: str) -> None:
        player = self.players[name]
        player.incarnation += 1
        restored = player.storage.load()
        player.applied = restored.snapshot.data.split() if restored.snapshot is not None else []
        player.core = Raft(
            member=name,
            cluster="c",
            incarnation=player.incarnation,
            config=self.config,
            random=player.draws,
            restored=restored,
            now_ns=self.now_ns,
        )
        player.told = (player.core.role, player.core.term)
        self.tell(self.described(player))

    def do_crash(self, name: str) -> None:
        player = self.players[name]
        lost = len(player.writes)
        player.writes.clear()
        player.core = None
        self.tell(f"{name} is down" + (f", writes lost: {lost}" if lost else ""))

    def do_timeout(self, name: str, value: str) -> None:
        self.players[name].draws.value = float(value)
        self.tell(f"{name} draws {value}")

    # --- Time ---

    def do_silence(self, name: str) -> None:
        core = self.core(name)
        assert core.deadline_ns < NEVER_NS, f"{name} waits for nothing"
        self.now_ns = max(self.now_ns, core.deadline_ns)
        self.step(name, DeadlineReached())

    def do_elect(self, name: str) -> None:
        self.do_silence(name)
        self.do_settle()
        assert self.core(name).is_leader, f"{name} was not elected"
        self.lines = []
        self.do_state()

    def do_wait(self, ms: str) -> None:
        end = self.now_ns + int(float(ms) * MS)
        while True:
            due = [
                (player.core.deadline_ns, name)
                for name, player in self.players.items()
                if player.core is not None and player.core.deadline_ns <= end
            ]
            if not due:
                break
            at, name = min(due)
            self.now_ns = max(self.now_ns, at)
            self.step(name, DeadlineReached())
        self.now_ns = end

    def do_sleep(self, ms: str) -> None:
        self.now_ns += int(float(ms) * MS)
        self.tell(f"it is {self.now_ns // MS} ms")

    # --- What clients and operators want ---

    def do_propose(self, name: str, *words: str) -> None:
        self.step(name, Propose(payloads=tuple(word.encode() for word in words)))

    def do_read(self, name: str, number: str) -> None:
        self.step(name, ReadRequest(ref=int(number)))

    def do_transfer(self, name: str, target: str | None = None) -> None:
        self.step(name, TransferLeadership(target=target))

    def do_forget(self, name: str) -> None:
        self.step(name, ForgetLeader())

    def do_add(self, name: str, member: str) -> None:
        self.step(name, AddLearner(member=member))

    def do_promote(self, name: str, member: str) -> None:
        self.step(name, PromoteLearner(member=member))

    def do_remove(self, name: str, member: str) -> None:
        self.step(name, RemoveMember(member=member))

    def do_change(self, name: str, voters: str, learners: str = "") -> None:
        chosen = tuple(learners.split("+")) if learners else ()
        self.step(name, ChangeMembership(voters=tuple(voters.split("+")), learners=chosen))

    # --- Snapshots ---

    def do_snapshot(self, name: str) -> None:
        player, core = self.players[name], self.core(name)
        taken = core.snapshot_at(core.handed_index)
        data = b" ".join(player.applied)
        self.save(
            player, Snapshot(index=taken.index, term=taken.term, membership=taken.membership, data=data), taken
        )

    def install(self, player: Player, snapshot: Snapshot) -> None:
        player.applied = snapshot.data.split()
        core = self.core(player.name)
        done = SnapshotInstalled(index=snapshot.index, term=snapshot.term, incarnation=core.incarnation)
        self.save(player, snapshot, done)

    def save(self, player: Player, snapshot: Snapshot, then: Event) -> None:
        player.writes.append(((snapshot, then), ()))
        verb = "has to write" if player.is_slow else "writes"
        self.tell(f"  {player.name} {verb}{written((snapshot, then))}")
        if not player.is_slow:
            self.write(player)

    def read_chunks(self, player: Player, ready: Ready) -> None:
        held = player.storage.content().snapshot
        for wanted in ready.chunks:
            if held is not None and held.index == wanted.index:
                piece = held.data[wanted.offset : wanted.offset + wanted.size]
                self.step(
                    player.name,
                    SnapshotChunk(
                        peer=wanted.peer, index=held.index, offset=wanted.offset, data=piece, total=len(held.data)
                    ),
                )

    # --- The network ---

    def on_wire(self, wire: str | None) -> list[Any]:
        if wire is None:
            return list(self.wire)
        sender, _, to = wire.partition("->")
        return [
            message
            for message in self.wire
            if sender in ("", "*", message.sender) and to in ("", "*", message.to)
        ]

    def chosen(self, wire: str | None, count: str | None) -> list[Any]:
        if wire is not None and wire.isdigit():
            wire, count = None, wire
        found = self.on_wire(wire)
        return found if count is None else found[: int(count)]

    def take(self, message: Any) -> None:
        position = next(at for at, known in enumerate(self.wire) if known is message)
        del self.wire[position]

    def do_messages(self, wire: str | None = None) -> None:
        for message in self.on_wire(wire):
            self.tell(told(message))

    def do_deliver(self, wire: str | None = None, count: str | None = None) -> None:
        for message in self.chosen(wire, count):
            self.take(message)
            self.deliver(message)

    def do_drop(self, wire: str | None = None, count: str | None = None) -> None:
        for message in self.chosen(wire, count):
            self.take(message)
            self.tell(f"lost: {told(message)}")

    def do_repeat(self, wire: str) -> None:
        message = self.on_wire(wire)[0]
        self.deliver(message)

    def do_swap(self, wire: str) -> None:
        first, second = self.on_wire(wire)[-2:]
        one = next(at for at, known in enumerate(self.wire) if known is first)
        two = next(at for at, known in enumerate(self.wire) if known is second)
        self.wire[one], self.wire[two] = second, first
        self.do_messages(wire)

    def deliver(self, message: Any) -> None:
        player = self.players.get(message.to)
        if player is None or player.core is None:
            self.tell(f"lost: {told(message)}")
            return
        self.tell(told(message))
        self.step(message.to, message)

    def do_settle(self) -> None:
        for _ in range(10_000):
            slow = [name for name, player in self.players.items() if player.writes]
            if self.wire:
                self.deliver(self.wire.pop(0))
            elif slow:
                self.do_write(slow[0])
            else:
                return
        raise AssertionError("it never settles")

    # --- Disks ---

    def do_slow_disk(self, name: str) -> None:
        self.players[name].is_slow = True
        self.tell(f"{name}'s writes wait")

    def do_fast_disk(self, name: str) -> None:
        self.players[name].is_slow = False
        self.do_write(name)

    def do_write(self, name: str, count: str | None = None) -> None:
        player = self.players[name]
        for _ in range(len(player.writes) if count is None else int(count)):
            self.tell(f"{name} has written{written(player.writes[0][0])}")
            self.write(player)

    def write(self, player: Player) -> None:
        """The oldest write is durable."""
        what, after = player.writes.popleft()
        if isinstance(what, Persist):
            player.storage.save(what)
            self.post(after)
            self.step(player.name, what.done)
            return
        snapshot, then = what
        keep_from = then.keep_from if isinstance(then, SnapshotTaken) else snapshot.index + 1
        player.storage.save_snapshot(snapshot, keep_from)
        self.step(player.name, then)

    # --- What can be asked ---

    def do_state(self, name: str | None = None) -> None:
        for player in self.players.values():
            if name in (None, player.name):
                self.tell(self.described(player))

    def do_entries(self, name: str) -> None:
        core = self.core(name)
        self.tell(entries(core.first_index, *core.entries(core.first_index, core.last_index + 1)).strip() or "(none)")

    def do_progress(self, name: str) -> None:
        for peer, progress in self.core(name).peers.items():
            window = f" under way={len(progress.inflight)}" if progress.inflight else ""
            self.tell(f"{peer}: {progress.state.value} match={progress.match} next={progress.next}{window}")

    def described(self, player: Player) -> str:
        core = player.core
        if core is None:
            return f"{player.name} is down"
        role = "pre-candidate" if core.is_pre_voting else core.role.value
        return (
            f"{player.name} {role} term={core.term} vote={core.voted_for or '-'} leader={core.leader or '-'} "
            f"log={core.last_index}/{core.last_term} durable={core.durable_index} commit={core.commit_index}"
        )

    # --- Steps ---

    def core(self, name: str) -> Raft:
        core = self.players[name].core
        assert core is not None, f"{name} is down"
        return core

    def post(self, messages: tuple[Any, ...]) -> None:
        self.wire.extend(messages)

    def step(self, name: str, event: Event) -> None:
        player, core = self.players[name], self.core(name)
        dropped = dict(core.dropped)
        ready = core.step(self.now_ns, event)
        self.invariants.check_step(core, event, ready)
        self.tell_step(player, core, ready, dropped)
        if ready.install is not None:
            self.install(player, ready.install)
        if ready.apply is not None:
            player.applied.extend(payload for payload in ready.apply.payloads if payload[:1] > b"\x00")
        if ready.persist is not None:
            player.writes.append((ready.persist, ready.send_after_durable))
        self.post(ready.send)
        if ready.persist is not None and not player.is_slow:
            self.write(player)
        self.read_chunks(player, ready)

    def tell_step(self, player: Player, core: Raft, ready: Ready, dropped: dict[str, int]) -> None:
        name = player.name
        for reason, count in core.dropped.items():
            if count != dropped.get(reason):
                self.tell(f"  {name} drops it: {reason}")
        now = (core.role, core.term)
        if now != player.told:
            player.told = now
            role = "pre-candidate" if core.is_pre_voting else core.role.value
            self.tell(f"  {name} is {role} in term {core.term}")
        for change in ready.changes:
            self.tell_change(name, change)
        if ready.persist is not None:
            verb = "has to write" if player.is_slow else "writes"
            self.tell(f"  {name} {verb}{written(ready.persist)}")
        for accepted in ready.accepted:
            self.tell(f"  {name} accepts {accepted.count} at {accepted.index}/{accepted.term}")
        for refused in ready.refused:
            self.tell(f"  {name} refuses: {refused.reason}; leader {refused.leader or 'unknown'}")
        if ready.apply is not None:
            applied = entries(ready.apply.first_index, ready.apply.terms, ready.apply.payloads)
            self.tell(f"  {name} applies{applied}")
        for answer in ready.reads:
            how = f"from index {answer.index} on" if isinstance(answer, ReadReady) else answer.reason
            self.tell(f"  {name} answers read {answer.ref}: {how}")

    def tell_change(self, name: str, change: Any) -> None:
        if isinstance(change, SteppedDown):
            self.tell(f"  {name} no longer leads term {change.term}: {change.reason}")
        elif isinstance(change, MembershipChanged):
            self.tell(f"  {name} has {members(change.membership)}")
        else:
            assert isinstance(change, BecameLeader | LeaderKnown), "its role was told"


# --- Words ---


def told(message: Any) -> str:
    """One message as a line: who to whom, what, in which term, and then its own fields."""
    head = f"{message.sender}->{message.to} {type(message).__name__} term={message.term}"
    if isinstance(message, Append):
        body = entries(message.prev_index + 1, message.terms, message.payloads)
        after = f"after={message.prev_index}/{message.prev_term}"
        text = f"{head} {after}{body} commit={message.commit}"
        return f"{text} round={message.round}" if message.round else text
    if isinstance(message, AppendReply):
        known = f" round={message.round}" if message.round else ""
        if message.success:
            return f"{head} has={message.match}{known}"
        return f"{head} refuses={message.match} may agree at {message.hint_index}/{message.hint_term}{known}"
    if isinstance(message, InstallSnapshot):
        end = message.offset + len(message.data)
        return (
            f"{head} up to {message.index}/{message.snapshot_term} ({members(message.membership)}) "
            f"bytes {message.offset} to {end} of {message.total}"
        )
    fields = {
        field: getattr(message, field)
        for field in message.__struct_fields__
        if field not in ("cluster", "sender", "to", "term", "incarnation", "asked_by")
    }
    if "batch" in fields:
        # Batches are counted within one life of a member.
        life, number = divmod(fields["batch"], 1 << 32)
        fields["batch"] = number if life == 1 else f"{life}.{number}"
    if "last_index" in fields:
        fields["last"] = f"{fields.pop('last_index')}/{fields.pop('last_term')}"
    if "payloads" in fields:
        fields["payloads"] = " ".join(word(payload) for payload in fields["payloads"])
    shown = [f"{name}={_short(value)}" for name, value in fields.items() if value not in (0, "", None, False)]
    if fields.get("granted") is False:
        shown.insert(0, "refused")
    return " ".join([head, *shown])


def _short(value: Any) -> str:
    return "yes" if value is True else str(value)


def written(what: Persist | tuple[Snapshot, Event]) -> str:
    if isinstance(what, tuple):
        snapshot, then = what
        kept = f", its log from {then.keep_from} on" if isinstance(then, SnapshotTaken) else ""
        return f" a snapshot up to {snapshot.index}/{snapshot.term} ({members(snapshot.membership)}){kept}"
    hard = what.hard_state
    text = f" term={hard.term} vote={hard.voted_for or '-'}" if hard is not None else ""
    return text + entries(what.first_index, what.terms, what.payloads)


def entries(first: int, terms: tuple[int, ...], payloads: tuple[bytes, ...]) -> str:
    """` [3/2 word, 4/2 word]`: index, term and payload of each."""
    if not terms:
        return ""
    shown = [
        f"{index}/{term} {word(payload)}"
        for index, (term, payload) in enumerate(zip(terms, payloads, strict=True), first)
    ]
    return f" [{', '.join(shown)}]"


def word(payload: bytes) -> str:
    if payload[:1] == b"\x00":
        return members(decode_membership(payload, 0))
    return payload.decode() or "(begin)"


def members(membership: Membership) -> str:
    parts = [f"voters {'+'.join(membership.voters)}"]
    if membership.outgoing:
        parts.append(f"outgoing {'+'.join(membership.outgoing)}")
    if membership.learners:
        parts.append(f"learners {'+'.join(membership.learners)}")
    return " ".join(parts)


# --- Files ---


def played(text: str) -> str:
    """The transcript's commands and remarks, with what they do now."""
    stage, lines = Stage(), []
    for line in text.splitlines():
        if line.startswith("> "):
            lines.append(line)
            lines.extend(stage.run(line[2:]))
        elif not line or line.startswith("#"):
            lines.append(line)
    return "\n".join(lines) + "\n"
