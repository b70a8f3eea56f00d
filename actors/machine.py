"""MachineMember: a member whose machine is the user's own, of plain values where the consensus has bytes.

What the machine answers and what it raises are both answers, the same on every member.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from .errors import InvalidRequest, MachineRaised
from .member import Member, Observer
from .messages import LeaderClaim, LeaderResigned, LinkPolicy, Message, NodeFailed, cluster_actor
from .raft.config import RaftConfig
from .storage.base import Storage

__all__ = ["Look", "Looked", "MachineMember", "ReplicatedMachine", "Running", "opened", "packed"]


class ReplicatedMachine(Protocol):
    """What is replicated. Commands, queries and answers are plain values as msgpack has them; tuples become lists.

    `apply` must depend on nothing but what was applied before: no clock, no chance, no file, no order of a set. What
    it raises is its answer, everywhere the same, so it should look before it changes anything. `snapshot` is all that
    `apply` and `read` need to know; `restore` gets it in a fresh machine or in a used one.
    """

    def apply(self, command: Any) -> Any: ...

    def read(self, query: Any) -> Any: ...

    def snapshot(self) -> bytes: ...

    def restore(self, data: bytes) -> None: ...


class Look(Message, frozen=True, kw_only=True, gc=False):
    """A Group asks a member's machine, linearizably; answered by `Looked`."""

    ref: int
    query: bytes
    reply_to: str


class Looked(Message, frozen=True, kw_only=True, gc=False):
    """What the machine answered or raised (`opened` tells), or why this member cannot tell."""

    ref: int
    answer: bytes = b""
    refused: str | None = None


class Running(Message, frozen=True, kw_only=True, gc=False):
    """To its Group: a member has read its storage and takes part."""

    member: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

# They depend on the member, not on the command alone, so that they cannot be an answer: it ends and begins anew.
_NO_ANSWERS = (MemoryError, RecursionError)


def packed(value: Any, what: str) -> bytes:
    """As bytes. Raises InvalidRequest for what msgpack cannot carry."""
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"the {what} cannot be sent: {error}", hint="use numbers, text, bytes, lists and dicts"
        ) from None


def _answer(ask: Callable[[Any], Any], value: bytes) -> bytes:
    """What the machine answered or raised, in one value that is the same on every member."""
    try:
        return _encode((True, ask(_decode(value))))
    except _NO_ANSWERS:
        raise
    except Exception as error:  # whatever the user's code raises is an answer
        return _encode((False, type(error).__name__, _text(error)))


def _text(error: Exception) -> str:
    """Its words, as far as they can be said: an answer must never end a member, as it would end them all."""
    try:
        return str(error).encode(errors="replace").decode()
    except Exception:
        return "(its text cannot be made)"


def opened(answer: bytes) -> Any:
    """What `_answer` packed. Raises MachineRaised."""
    is_ok, value, *text = _decode(answer)
    if not is_ok:
        raise MachineRaised(value, text[0])
    return value


class _Sessioned:
    """A machine of values as the sessions want one of bytes."""

    def __init__(self, machine: ReplicatedMachine) -> None:
        self.machine = machine
        self.snapshot = machine.snapshot
        self.restore = machine.restore

    def apply(self, index: int, command: bytes) -> bytes:
        return _answer(self.machine.apply, command)


class MachineMember(Member):
    """A member whose machine is the user's; `make` gives each of its lives a fresh one."""

    def __init__(
        self,
        group: str,
        name: str,
        storage: Storage | str,
        make: Callable[[], ReplicatedMachine],
        config: RaftConfig,
        link_policy: LinkPolicy,
        observe: Observer | None = None,
    ) -> None:
        machine = make()
        super().__init__(group, name, storage, _Sessioned(machine), config, link_policy, observe)
        self._front = cluster_actor(group)
        self._users = machine
        self._handlers[Look] = self._look

    @property
    def machine(self) -> ReplicatedMachine:
        """The user's, as far as this member has applied the log."""
        return self._users

    def on_running(self) -> None:
        self.context.send(self._front, Running(member=self.node))

    def on_storage_failed(self, reason: str, is_damaged: bool) -> None:
        """Stop; the group starts this member anew, or says what is damaged."""
        self.context.send(self._front, NodeFailed(node=self.node, reason=reason, is_damaged=is_damaged))
        self.context.stop()

    def on_became_leader(self, term: int) -> None:
        self.context.emit("leader-elected", cluster=self.cluster, node=self.node, term=term)
        self.context.send(self._front, LeaderClaim(node=self.node, term=term))

    def on_stepped_down(self, term: int, reason: str) -> None:
        self.context.emit(
            "leader-stepped-down", cluster=self.cluster, node=self.node, term=term, reason=reason
        )
        self.context.send(self._front, LeaderResigned(node=self.node, term=term, reason=reason))

    def _look(self, question: Look) -> None:
        def answer(error: str | None) -> None:
            if error is None:
                looked = Looked(ref=question.ref, answer=_answer(self._users.read, question.query))
            else:
                looked = Looked(ref=question.ref, refused=error)
            self.context.send(question.reply_to, looked)

        self.read(answer)
