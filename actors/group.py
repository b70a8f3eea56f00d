"""Group: the front door of a replicated machine of the user's own.

A command goes to whoever leads, again and again under one number of one session, until its outcome comes: so it is
applied once, however many answers and leaders are lost on the way. A query is read from one member, which makes sure
first that it knows everything that was committed when it was asked.

    ApplyCommand ──> Group ── Submit ──> leading member ── Raft ──> apply on every member ── Outcome ──> Group
    ReadState    ──> Group ── Look ──> any member ── ReadIndex ──> read there ── Looked ──> Group
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import (
    Conflict,
    InvalidRequest,
    MachineRaised,
    NoLeader,
    QueueFull,
    RaftyardError,
    SessionExpired,
    TimedOut,
)
from .frontdoor.claims import Claims
from .frontdoor.home import Home
from .group_members import GroupMembers
from .machine import Look, Looked, ReplicatedMachine, opened, packed
from .member import Observer
from .messages import LeaderClaim, LeaderResigned, LinkPolicy, Message, Outcome, Submit, node_actor
from .raft.config import RaftConfig
from .system import Actor, Promise, Terminated, Timer

__all__ = [
    "Answered",
    "ApplyCommand",
    "Group",
    "ReadState",
    "StopGroup",
    "WhoFailed",
    "WhoLeads",
]

RETRY_S = 0.25
"""What has no outcome yet is sent again so often; a leader that is new hears of it at once."""
READ_AGAIN_S = 1.0
"""A read whose answer has not come for so long is asked again; it does no harm twice."""
QUEUE_LIMIT = 10_000
"""Commands without an outcome, and reads without an answer."""


# -- messages ------------------------------------------------------------------------------------------------


class ApplyCommand(Message, frozen=True, kw_only=True, gc=False):
    """To a Group: have a command applied once. Made by `ApplyCommand.of`.

    An ask is answered by what the machine answered. An actor names itself in `reply_to` and gets an `Answered`.
    A `session` of the caller's own, with a `sequence` from 1 on, makes it safe to send the same once more.
    """

    command: bytes
    within_s: float
    session: str = ""
    sequence: int = 0
    reply_to: str | None = None
    ref: int = 0

    @classmethod
    def of(cls, command: Any, within_s: float = 5.0, **rest: Any) -> ApplyCommand:
        """Raises InvalidRequest for a command that msgpack cannot carry."""
        return cls(command=packed(command, "command"), within_s=within_s, **rest)


class ReadState(Message, frozen=True, kw_only=True, gc=False):
    """To a Group: ask the machine, linearizably. Made by `ReadState.of`; `member` None: whoever leads."""

    query: bytes
    within_s: float
    member: str | None = None
    reply_to: str | None = None
    ref: int = 0

    @classmethod
    def of(cls, query: Any, within_s: float = 5.0, **rest: Any) -> ReadState:
        """Raises InvalidRequest for a query that msgpack cannot carry."""
        return cls(query=packed(query, "query"), within_s=within_s, **rest)


class Answered(Message, frozen=True, kw_only=True, gc=False):
    """To whoever is named in `reply_to`: the machine's answer, or what went wrong."""

    ref: int
    result: Any = None
    error: BaseException | None = None


class WhoLeads(Message, frozen=True, kw_only=True, gc=False):
    """Ask a Group; the answer is a member's name, or None."""


class WhoFailed(Message, frozen=True, kw_only=True, gc=False):
    """Ask a Group; the answer is a dict: why each member takes no part whose storage failed."""


class StopGroup(Message, frozen=True, kw_only=True, gc=False):
    """Ask a Group; answered once its members have ended and their storages are closed."""


class _Late(Message, frozen=True, kw_only=True, gc=False):
    """To the group itself: a caller has waited long enough."""

    caller: int


class _Retry(Message, frozen=True, kw_only=True, gc=False):
    """To the group itself: what has no outcome is sent again."""


# -- the front door ------------------------------------------------------------------------------------------


class _Caller:
    """Somebody who waits for an answer, until a timer ends that; `withdraw` then says what to tell, and takes back
    what can be taken back."""

    __slots__ = ("promise", "timer", "withdraw", "within_s")

    def __init__(self, promise: Promise, timer: Timer, within_s: float) -> None:
        self.promise = promise
        self.timer = timer
        self.within_s = within_s
        self.withdraw: Callable[[float], RaftyardError]


class _Entry:
    """One command on its way."""

    __slots__ = ("callers", "command", "sends")

    def __init__(self, command: bytes) -> None:
        self.command = command
        self.callers: list[int] = []
        self.sends = 0


class _Line:
    """The commands of one session, which take effect in the order of their numbers.

    One that was sent once goes on until it has an outcome, whether somebody still waits for it or not: who left out a
    number would leave it open for good whether that one may still take effect.
    """

    __slots__ = ("name", "sequence", "unsent", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.sequence = 0
        """The last number that was given."""
        self.unsent: dict[int, _Entry] = {}
        """By number for a session of the caller's own; the group's own gives it when it sends."""
        self.waiting: dict[int, _Entry] = {}


class _Reading:
    __slots__ = ("caller", "due_s", "member", "query", "reason", "tries")

    def __init__(self, query: bytes, member: str | None) -> None:
        self.query = query
        self.member = member
        self.caller = 0
        self.tries = 0
        self.due_s = 0.0
        self.reason = "no answer"


class Group(Actor):
    """The members of one replicated machine, and the way to them for everybody on this host.

    `home` survives this actor: the members' storages are there. `make` makes a machine.
    """

    mailbox_capacity = 20_000

    def __init__(
        self,
        name: str,
        home: Home,
        make: Callable[[], ReplicatedMachine],
        config: RaftConfig,
        link_policy: LinkPolicy,
        observe: Observer | None = None,
    ) -> None:
        super().__init__()
        self.id = name
        self._home = home
        self._claims = Claims(name)
        self._members = GroupMembers(self, home, self._claims, make, config, link_policy, observe)
        self._callers: dict[int, _Caller] = {}
        self._entries = 0
        self._lines: dict[str, _Line] = {}
        self._readings: dict[int, _Reading] = {}
        self._next = 0
        self._own: _Line
        self._retry: Timer | None = None
        self._stopping: Promise | None = None
        self._handlers: dict[type, Callable[[Any], Any]] = {
            ApplyCommand: self._apply,
            ReadState: self._read,
            Outcome: self._outcome,
            Looked: self._looked,
            LeaderClaim: self._claimed,
            LeaderResigned: self._claims.resigned,
            Terminated: self._terminated,
            WhoLeads: lambda _: self._claims.leader,
            WhoFailed: lambda _: {member: failure.reason for member, failure in self._members.failures.items()},
            StopGroup: self._stop_group,
            _Late: self._late,
            _Retry: self._again,
            **self._members.handlers,
        }

    def on_start(self) -> None:
        """Start the members."""
        self._own = self._new_line()
        self._members.start()

    # -- messages --------------------------------------------------------------------------------------------

    def on_receive(self, message: Any) -> Any:
        """One message, by its class."""
        handler = self._handlers.get(type(message))
        return super().on_receive(message) if handler is None else handler(message)

    def on_stop(self) -> None:
        """The members have ended before."""
        if self._stopping is not None:
            self._stopping.keep(None)

    def _stop_group(self, _: StopGroup) -> Promise:
        self._stopping = self._stopping or self.context.promise()
        self.context.stop()
        return self._stopping

    # -- those who wait --------------------------------------------------------------------------------------

    def number(self) -> int:
        """Of a caller, a command or a question: no two have the same."""
        self._next += 1
        return self._next

    def _promise(self, message: ApplyCommand | ReadState) -> Promise:
        promise = self.context.promise()
        reply_to, ref = message.reply_to, message.ref
        if reply_to is not None:
            context = self.context
            promise.on_settled(
                lambda done: context.send(reply_to, Answered(ref=ref, result=done.value, error=done.error))
            )
        return promise

    def wait(self, promise: Promise, within_s: float, withdraw: Callable[[float], RaftyardError]) -> int:
        """The caller's number. After `within_s` its promise fails with what `withdraw` says."""
        number = self.number()
        timer = self.context.after(within_s, _Late(caller=number))
        caller = self._callers[number] = _Caller(promise, timer, within_s)
        caller.withdraw = withdraw
        return number

    def _late(self, message: _Late) -> None:
        caller = self._callers.pop(message.caller, None)
        if caller is not None:
            caller.promise.fail(caller.withdraw(caller.within_s))

    def end_waiting(self, caller: int) -> Promise | None:
        """The promise, for whoever has the answer now; None where nobody waits any more."""
        found = self._callers.pop(caller, None)
        if found is None:
            return None
        found.timer.cancel()
        return found.promise

    def _settle(self, number: int, answer: bytes | RaftyardError) -> None:
        promise = self.end_waiting(number)
        if promise is None:
            return
        if isinstance(answer, RaftyardError):
            promise.fail(answer)
            return
        try:
            promise.keep(opened(answer))
        except MachineRaised as error:
            promise.fail(error)

    # -- commands --------------------------------------------------------------------------------------------

    def _new_line(self) -> _Line:
        # A new incarnation is a new client: what the old one sent may still be applied, once, under its own name.
        context = self.context
        name = f"{self.id}/{self._home.starts}.{context.incarnation}/{context.random.getrandbits(48):012x}"
        line = self._lines[name] = _Line(name)
        return line

    def _apply(self, message: ApplyCommand) -> Promise | None:
        promise = self._promise(message)
        try:
            self._take(message, promise)
        except RaftyardError as error:
            promise.fail(error)
        return promise if message.reply_to is None else None

    def _take(self, message: ApplyCommand, promise: Promise) -> None:
        if self._entries >= QUEUE_LIMIT:
            raise QueueFull(f"{QUEUE_LIMIT} commands wait for a leader of {self.id}, all that its queue holds")
        if not message.session:
            line = self._own
            number = self.number()
            entry = self._enter(line, number, message.command)
        else:
            line = self._lines.get(message.session) or _Line(message.session)
            number, entry = message.sequence, self._entry(line, message)
            self._lines[line.name] = line
        caller = self.wait(promise, message.within_s, lambda within_s: self._give_up(line, number, within_s))
        entry.callers.append(caller)
        self._send_new(line)

    def _enter(self, line: _Line, number: int, command: bytes) -> _Entry:
        entry = line.unsent[number] = _Entry(command)
        self._entries += 1
        return entry

    def _entry(self, line: _Line, message: ApplyCommand) -> _Entry:
        """The one of that number, or a new one. Raises InvalidRequest, Conflict."""
        number = message.sequence
        if number < 1:
            raise InvalidRequest(f"a session's commands are numbered from 1, not {number}")
        open_entries = line.unsent | line.waiting
        entry = open_entries.get(number)
        if entry is None:
            is_busy = any(self._callers.keys() & other.callers for other in open_entries.values())
            if is_busy or number < max(open_entries, default=0):
                raise Conflict(
                    f"session {line.name} has a command under way", hint="send one at a time, or use several sessions"
                )
            entry = self._enter(line, number, message.command)
        elif entry.command != message.command:
            raise Conflict(
                f"number {number} of session {line.name} is another command", hint="a retry repeats the command"
            )
        return entry

    def _give_up(self, line: _Line, number: int, within_s: float) -> RaftyardError:
        if line.unsent.pop(number, None) is not None:
            self._entries -= 1
            self._drop_if_done(line)
            return NoLeader(
                f"{self.id} had no leader in {within_s:g} s; the command was not taken this time",
                hint=self._members.who_failed(),
            )
        again = "ask again with the same session and sequence: it is applied once"
        return TimedOut(
            f"{self.id} did not confirm the command in {within_s:g} s; whether it is applied is not known",
            hint="; ".join(filter(None, (again, self._members.who_failed()))),
        )

    def _send_new(self, line: _Line) -> None:
        """What was never sent, if there is somebody to send it to."""
        leader = self._claims.leader
        if leader is not None:
            for number in tuple(line.unsent):
                entry = line.unsent.pop(number)
                line.sequence = line.sequence + 1 if line is self._own else number
                line.waiting[line.sequence] = entry
                self._send_to(leader, line, line.sequence, entry)
        if self._retry is None:
            self._retry = self.context.after(RETRY_S, _Retry())

    def _send_all(self) -> None:
        leader = self._claims.leader
        for line in tuple(self._lines.values()):
            if leader is not None:
                for number, entry in line.waiting.items():
                    self._send_to(leader, line, number, entry)
            self._send_new(line)

    def _send_to(self, leader: str, line: _Line, number: int, entry: _Entry) -> None:
        entry.sends += 1
        self.context.send(
            node_actor(self.id, leader),
            Submit(
                session=line.name,
                sequence=number,
                acknowledged=next(iter(line.waiting)) - 1,
                command=entry.command,
                reply_to=self.context.name,
            ),
        )

    def _again(self, _: _Retry) -> None:
        self._retry = None
        self._send_all()
        now = self.context.now()
        for ref, reading in self._readings.items():
            if now >= reading.due_s:
                self._ask_member(ref, reading)
        if self._readings or self._entries:
            self._retry = self._retry or self.context.after(RETRY_S, _Retry())

    def _outcome(self, outcome: Outcome) -> None:
        line = self._lines.get(outcome.session)
        entry = line.waiting.get(outcome.sequence) if line is not None else None
        if line is None or entry is None:
            return
        if outcome.refused is not None and not outcome.index:
            return  # Not taken: the retry, or the next leader's claim, sends it again.
        del line.waiting[outcome.sequence]
        self._entries -= 1
        if outcome.refused is None:
            for number in entry.callers:
                self._settle(number, outcome.result)
        else:
            self._forgotten(line, outcome, entry)
        self._drop_if_done(line)

    def _forgotten(self, line: _Line, outcome: Outcome, entry: _Entry) -> None:
        """The members do not know this session any more, or its answer; this time the command was not applied."""
        if line.name.startswith(f"{self.id}/") and entry.sends == 1:
            # Nor was it ever: there is no other copy of it. The group goes on under another name.
            if line is self._own:
                self._own = self._new_line()
            self._enter_again(self._own, entry)
            return
        error = SessionExpired(
            f"session {line.name}: {outcome.refused}; number {outcome.sequence} was not applied now, and whether it "
            "was before is not known"
        )
        for caller in entry.callers:
            self._settle(caller, error)

    def _enter_again(self, line: _Line, entry: _Entry) -> None:
        number = self.number()
        self._enter(line, number, entry.command).callers = entry.callers
        for caller in entry.callers:
            if caller in self._callers:
                self._callers[caller].withdraw = lambda within_s: self._give_up(line, number, within_s)
        self._send_new(line)

    def _drop_if_done(self, line: _Line) -> None:
        if line is not self._own and not line.unsent and not line.waiting:
            self._lines.pop(line.name, None)

    # -- reads -----------------------------------------------------------------------------------------------

    def _read(self, message: ReadState) -> Promise | None:
        promise = self._promise(message)
        try:
            self._take_read(message, promise)
        except RaftyardError as error:
            promise.fail(error)
        return promise if message.reply_to is None else None

    def _take_read(self, message: ReadState, promise: Promise) -> None:
        if message.member is not None and message.member not in self._members.names:
            names = ", ".join(self._members.names)
            raise InvalidRequest(f"{self.id} has no member {message.member}; it has {names}")
        if len(self._readings) >= QUEUE_LIMIT:
            raise QueueFull(f"{QUEUE_LIMIT} reads wait for an answer of {self.id}, all that its queue holds")
        ref = self.number()
        reading = self._readings[ref] = _Reading(message.query, message.member)
        reading.caller = self.wait(promise, message.within_s, lambda within_s: self._unread(ref, within_s))
        self._ask_member(ref, reading)
        self._retry = self._retry or self.context.after(RETRY_S, _Retry())

    def _unread(self, ref: int, within_s: float) -> RaftyardError:
        reason = self._readings.pop(ref).reason
        hint = self._members.who_failed()
        if self._claims.leader is None:
            return NoLeader(f"{self.id} has no leader that could confirm a read; asked for {within_s:g} s", hint=hint)
        return TimedOut(f"{self.id} could not read in {within_s:g} s: {reason}; a read changes nothing", hint=hint)

    def _ask_member(self, ref: int, reading: _Reading) -> None:
        leader = self._claims.leader or self._members.names[reading.tries % len(self._members.names)]
        reading.tries += 1
        reading.due_s = self.context.now() + READ_AGAIN_S
        look = Look(ref=ref, query=reading.query, reply_to=self.context.name)
        self.context.send(node_actor(self.id, reading.member or leader), look)

    def _looked(self, message: Looked) -> None:
        reading = self._readings.get(message.ref)
        if reading is None:
            return
        if message.refused is not None:
            reading.reason, reading.due_s = message.refused, 0.0
            return
        del self._readings[message.ref]
        self._settle(reading.caller, message.answer)

    # -- who leads -------------------------------------------------------------------------------------------

    def _claimed(self, claim: LeaderClaim) -> None:
        self._claims.claimed(claim, self.context.now())
        if self._claims.leader == claim.node:
            self._send_all()
            self._members.look_after()

    def _terminated(self, message: Terminated) -> None:
        self._claims.ended(message.name)
        self._members.terminated(message)

    def statistics(self) -> dict[str, int | float | str]:
        return super().statistics() | {
            "leader": self._claims.leader or "",
            "commands": self._entries,
            "reads": len(self._readings),
            "failed": self._members.who_failed(),
            "replacing": self._members.replacing,
        }
