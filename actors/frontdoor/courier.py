"""Commands on their way into the log: sent to whoever leads, again and again, until an outcome comes.

The courier is one client of the cluster: its session makes every command that is sent twice be applied once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import QueueFull, TimedOut
from ..messages import Message, Outcome, Submit, node_actor
from ..state import commands
from ..system import Timer
from .claims import Claims
from .host import Host

__all__ = ["CHANGE_S", "Applied", "Courier", "Entry", "Retry"]

RETRY_S = 0.25
QUEUE_BYTES = 16 << 20
"""What all commands on their way may take together: a thousand calls of usual size are a hundredth of it."""
CHANGE_S = 5.0
"""How long a change of the cluster itself may take before its asker is told that it may still happen."""

Applied = Callable[[Any, int], object]
"""Gets a command's result, or the error that it met, and its index in the log, or 0."""


class Retry(Message, frozen=True, kw_only=True, gc=False):
    """To the front door itself: commands without an outcome are sent again."""


class Entry:
    """One command on its way: sent again, with the same sequence, until an outcome comes."""

    __slots__ = ("command", "done", "expires", "sequence")

    def __init__(self, sequence: int, command: bytes, done: Applied, expires: float | None) -> None:
        self.sequence = sequence
        self.command = command
        self.done = done
        self.expires = expires


class Courier:
    """The way into one cluster's log for at most `queue_limit` commands, and QUEUE_BYTES of them, at a time."""

    def __init__(self, host: Host, claims: Claims, queue_limit: int) -> None:
        self._host = host
        self._claims = claims
        self._queue_limit = queue_limit
        self.session = ""
        self.waiting: dict[int, Entry] = {}
        """By sequence, oldest first."""
        self._bytes = 0
        self._sequence = 0
        self._retry: Timer | None = None

    @property
    def has_leader(self) -> bool:
        """Whether anybody claims to lead."""
        return self._claims.leader is not None

    def open(self) -> None:
        """Begin, once there is a context."""
        # A new incarnation is a new client: what the old one sent may still be applied, once, under its own name.
        context = self._host.context
        self.session = f"{self._host.id}/{context.incarnation}/{context.random.getrandbits(48):012x}"

    def send(self, command: commands.Command, done: Applied, *, within_s: float | None = None) -> None:
        """Send a command to the leader until it is applied; `done` gets its result and its index in the log, or an
        error after `within_s`. Raises QueueFull."""
        encoded = commands.encode(command)
        if len(self.waiting) >= self._queue_limit or (
            self.waiting and self._bytes + len(encoded) > QUEUE_BYTES
        ):
            raise QueueFull(
                f"{len(self.waiting)} calls of {self._bytes} bytes wait for a leader of cluster {self._host.id}, "
                "which is all that its queue holds"
            )
        context = self._host.context
        self._sequence += 1
        expires = None if within_s is None else context.now() + within_s
        entry = Entry(self._sequence, encoded, done, expires)
        self.waiting[entry.sequence] = entry
        self._bytes += len(encoded)
        leader = self._claims.leader
        if leader is not None:
            self._send_to(leader, entry)
        if self._retry is None:
            self._retry = context.after(RETRY_S, Retry())

    def send_all(self) -> None:
        """Everything that has no outcome yet, to whoever leads now."""
        leader = self._claims.leader
        if leader is not None:
            for entry in self.waiting.values():
                self._send_to(leader, entry)

    def retry(self, _: Retry) -> None:
        """Time passed: give up what has expired, send the rest again."""
        self._retry = None
        now = self._host.context.now()
        for entry in tuple(self.waiting.values()):
            if entry.expires is not None and now >= entry.expires:
                self._take_out(entry.sequence).done(self._late(), 0)
        self.send_all()
        if self.waiting:
            self._retry = self._host.context.after(RETRY_S, Retry())

    def outcome(self, outcome: Outcome) -> None:
        """What became of a command."""
        if outcome.session != self.session or outcome.sequence not in self.waiting:
            return
        if outcome.refused is not None:
            # Not taken: the retry, or the next leader's claim, sends it again. Where it stands in the log, and yet
            # was not run, the cluster has forgotten this client; service calls have ids that make them safe to repeat.
            if outcome.index:
                self._begin_again()
            return
        self._take_out(outcome.sequence).done(outcome.result, outcome.index)

    def _take_out(self, sequence: int) -> Entry:
        entry = self.waiting.pop(sequence)
        self._bytes -= len(entry.command)
        return entry

    def _begin_again(self) -> None:
        """Under another name; a session's first command acknowledges nothing, so it has the number 1."""
        self.open()
        waiting, self.waiting, self._sequence = self.waiting, {}, 0
        for entry in waiting.values():
            self._sequence += 1
            entry.sequence = self._sequence
            self.waiting[entry.sequence] = entry

    def _send_to(self, node: str, entry: Entry) -> None:
        self._host.context.send(
            node_actor(self._host.id, node),
            Submit(
                session=self.session,
                sequence=entry.sequence,
                acknowledged=next(iter(self.waiting)) - 1,
                command=entry.command,
                reply_to=self._host.context.name,
            ),
        )

    def _late(self) -> TimedOut:
        return TimedOut(
            f"cluster {self._host.id} did not confirm the change in {CHANGE_S:g} s; it may still happen",
            hint="look at the cluster's stats before you ask again",
        )
