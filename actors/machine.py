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
from .raft.events import AddLearner, PromoteLearner, RemoveMember, TransferLeadership
from .raft.membership import Membership
from .storage.base import Storage
from .surely import tell_surely
from .units import NS_PER_MS

__all__ = [
    "AskMembers",
    "Look",
    "Looked",
    "MachineMember",
    "MembersTold",
    "ReplicatedMachine",
    "Running",
    "cannot_go",
    "opened",
    "packed",
]


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


class AskMembers(Message, frozen=True, kw_only=True, gc=False):
    """A Group asks who decides, linearizably; answered by `MembersTold` once that is committed.

    Whoever leads in `term` first does what is next: it removes the one that is `leaving`, adds those that are `joining`
    as learners, or makes one of them a voter that has caught up.
    """

    ref: int
    term: int
    leaving: str | None
    joining: tuple[str, ...]
    reply_to: str


class MembersTold(Message, frozen=True, kw_only=True, gc=False):
    """Who decides, and who listens; or why the one that is leaving cannot go."""

    ref: int
    voters: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()
    refused: str | None = None


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


def cannot_go(member: str, here: int, rest: int) -> str:
    """What to say where a member is to be replaced, and of the rest of those that decide too few are here."""
    if not rest:
        return f"{member} cannot be replaced now: it is the only one that decides"
    return f"{member} cannot be replaced now: {here} of the other {rest} that decide take part, which is no majority"


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
        self._handlers[AskMembers] = self._ask_members

    @property
    def machine(self) -> ReplicatedMachine:
        """The user's, as far as this member has applied the log."""
        return self._users

    def on_running(self) -> None:
        tell_surely(self.context, self._front, Running(member=self.node))

    def on_storage_failed(self, reason: str, is_damaged: bool) -> None:
        """Stop; the group starts this member anew, or says what is damaged."""
        tell_surely(self.context, self._front, NodeFailed(node=self.node, reason=reason, is_damaged=is_damaged))
        self.context.stop()

    def on_became_leader(self, term: int) -> None:
        self.context.emit("leader-elected", cluster=self.cluster, node=self.node, term=term)
        tell_surely(self.context, self._front, LeaderClaim(node=self.node, term=term))

    def on_stepped_down(self, term: int, reason: str) -> None:
        self.context.emit(
            "leader-stepped-down", cluster=self.cluster, node=self.node, term=term, reason=reason
        )
        tell_surely(self.context, self._front, LeaderResigned(node=self.node, term=term, reason=reason))

    # -- who takes part --------------------------------------------------------------------------------------

    def _ask_members(self, question: AskMembers) -> None:
        raft = self.raft
        if question.term == raft.term and raft.has_committed_own_term and not self._is_changing():
            refused = self._change_members(question)
            if refused is not None:
                self.context.send(question.reply_to, MembersTold(ref=question.ref, refused=refused))
                return

        def answer(error: str | None) -> None:
            if error is None and not self._is_changing():
                now = self.raft.membership
                told = MembersTold(ref=question.ref, voters=now.voters, learners=now.learners)
                self.context.send(question.reply_to, told)

        self.read(answer)

    def _is_changing(self) -> bool:
        membership = self.raft.membership
        return bool(membership.outgoing) or membership.index > self.raft.commit_index

    def _change_members(self, wanted: AskMembers) -> str | None:
        """One step, as the core takes one at a time; or why not."""
        raft, leaving = self.raft, wanted.leaving
        membership, ref = raft.membership, self.new_ref()
        if leaving is not None and leaving in membership.members:
            if leaving in membership.voters and (refused := self._objection(leaving)):
                return refused
            self.step(
                TransferLeadership(ref=ref) if leaving == self.node else RemoveMember(member=leaving, ref=ref)
            )
            return None
        for member in wanted.joining:
            if member not in membership.members:
                self.step(AddLearner(member=member, ref=ref))
                return None
            if member in membership.learners and raft.is_caught_up(member):
                self.step(PromoteLearner(member=member, ref=ref))
                return None
        return None

    def _objection(self, leaving: str) -> str | None:
        """Without it a majority of the rest must decide, of which this leader has heard lately."""
        rest = tuple(voter for voter in self.raft.membership.voters if voter != leaving)
        since = self.context.now_ns() - self._config.election_max_ms * NS_PER_MS
        here = tuple(voter for voter in rest if voter == self.node or self._has_heard(voter, since))
        if Membership(voters=rest).is_quorum(here):
            return None
        return cannot_go(leaving, len(here), len(rest))

    def _has_heard(self, voter: str, since_ns: int) -> bool:
        progress = self.raft.progress(voter)
        return progress is not None and progress.last_heard_ns >= since_ns

    # -- reads -----------------------------------------------------------------------------------------------

    def _look(self, question: Look) -> None:
        def answer(error: str | None) -> None:
            if error is None:
                looked = Looked(ref=question.ref, answer=_answer(self._users.read, question.query))
            else:
                looked = Looked(ref=question.ref, refused=error)
            self.context.send(question.reply_to, looked)

        self.read(answer)
