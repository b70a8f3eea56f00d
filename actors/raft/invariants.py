"""What must hold in every cluster after every step, on one page: the promises of Raft as checks.

`check_step` is given a member right after it stepped, the event and what it answered, and looks only at what changed.
The promises span members and restarts: a member that was started anew is a new `Raft` of the same name.
"""

from bisect import bisect_left
from collections import deque
from typing import Any, NoReturn

from .core import Raft
from .events import (
    AppendReply,
    BecameLeader,
    Event,
    HardState,
    InstallSnapshot,
    MembershipChanged,
    Persist,
    Ready,
    Snapshot,
    SnapshotInstalled,
    SnapshotTaken,
    StorageDone,
    VoteReply,
    VoteRequest,
)
from .membership import Membership, decode_membership
from .role import LEADER

_OF_STORAGE = frozenset({StorageDone, SnapshotTaken, SnapshotInstalled, InstallSnapshot})
"""Events that may move an end of the log, or what is durable or in a snapshot, without anything to save or apply."""


class InvariantViolated(AssertionError):
    """A promise of Raft was broken; the message says which, by whom and where."""


class Seen:
    """What was last seen of one member, and what is durable there."""

    __slots__ = ("core", "term", "commit", "applied", "last", "led_term", "hard_state", "writes", "acks")

    def __init__(self, core: Raft, hard_state: HardState) -> None:
        self.core = core
        self.term = core.term
        self.commit = core.commit_index
        self.applied = core.handed_index
        self.last = core.last_index
        self.led_term = 0
        self.hard_state = hard_state
        """The durable one."""
        self.writes: list[tuple[int, HardState, tuple[Any, ...]]] = []
        """Those on their way to the disk, with the messages that wait for them."""
        self.acks: deque[tuple[int, int, int]] = deque()
        """(sequence of the write that it waits for, term, match) of each acknowledgement that is not sent yet."""


class Invariants:
    """Checks the members of one cluster. Raises InvariantViolated."""

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.leaders: dict[int, str] = {}
        self.votes: dict[tuple[str, int], str] = {}
        self.entries: dict[tuple[int, int], tuple[int, bytes]] = {}
        """(index, term) -> (term of the entry before, payload): equal pairs have equal prefixes."""
        self.committed_terms: list[int] = []
        self.committed_payloads: list[bytes] = []
        self.committed_in: list[int] = []
        """The term in which each of them was committed, which may be later than its own; ascending."""
        self.first_committed = 1
        self.states: dict[int, tuple[str, bytes]] = {}
        self.steps = 0

    @property
    def committed_index(self) -> int:
        """The last index that any member handed out to be applied."""
        return self.first_committed + len(self.committed_terms) - 1

    def check_step(self, core: Raft, event: Event, ready: Ready) -> None:
        self.steps += 1
        deadline = ready.deadline_ns
        if deadline > core.timer_ns or deadline > core.notice_ns or deadline > core.give_up_ns:
            self._broken("told when to call again", core.member, f"at {deadline}, not at {core.deadline_ns}")
        seen = self.seen.get(core.member)
        if seen is None or seen.core is not core:
            seen = self._started(core, seen, ready)
        if type(event) is StorageDone:
            self._became_durable(seen, core, event.sequence)
        if core.term != seen.term:
            self._term_grew(seen, core)
        tells = ready.tells
        if tells and ready.install is not None:
            self._installed(seen, core, ready.install)
        persist = ready.persist
        if persist is not None:
            self._wrote(seen, core, persist, ready)
            if seen.writes and core.saves_at_once:
                self._became_durable(seen, core, persist.done.sequence)
        if core.commit_index != seen.commit:
            self._commit_grew(seen, core)
        if ready.apply is not None:
            self._applied(seen, core, ready)
        if ready.send:
            self._sent(seen, core, ready)
        if ready.send_after_durable:
            self._sent_after_durable(seen, core, ready)
        if tells:
            self._changed(seen, core, ready)
        if type(event) is AppendReply and core.role is LEADER:
            self._heard_reply(core, event.sender)
        if persist is not None or ready.apply is not None or type(event) in _OF_STORAGE:
            seen.last = core.log.last_index
            self._in_order(core)

    def forget(self, member: str) -> None:
        """The member's storage was wiped on purpose: it is somebody new."""
        self.seen.pop(member, None)

    def check_state(self, member: str, index: int, digest: bytes) -> None:
        """State machine safety seen from above: the same state (with its session table) after the same entries."""
        first, known = self.states.setdefault(index, (member, digest))
        if known != digest:
            self._broken("equal states", member, f"state after {index} differs from {first}'s")

    # Each check is written `if <it does not hold>: self._broken(…)`, so that words are made only where they are read.
    def _broken(self, promise: str, member: str, what: str) -> NoReturn:
        raise InvariantViolated(f"{promise}: {member}: {what} (after {self.steps} steps)")

    # --- Persistence ---

    def _started(self, core: Raft, before: Seen | None, ready: Ready) -> Seen:
        durable = before.hard_state if before is not None else HardState()
        if ready.persist is None or ready.persist.hard_state is None:
            durable = HardState(term=core.term, voted_for=core.voted_for)
        seen = Seen(core, durable)
        if ready.apply is not None:
            seen.applied = ready.apply.first_index - 1
        if ready.install is not None:
            seen.applied = 0  # Where it stood before is not to be seen any more.
        else:
            begins = max(core.snapshot_index, core.log.base_index)
            if seen.applied != begins:
                self._broken("starts at its snapshot", core.member, f"{seen.applied}, not {begins}")
        seen.commit = seen.applied
        self.seen[core.member] = seen
        self._register(
            core, core.log.base_term, core.first_index, *core.entries(core.first_index, core.last_index + 1)
        )
        if before is None:
            return seen
        durable = before.hard_state
        if core.term < durable.term:
            self._broken("terms survive", core.member, f"{core.term} after {durable.term}")
        if (
            core.term == durable.term
            and durable.voted_for is not None
            and core.voted_for != durable.voted_for
        ):
            # The first step of the new life is over: its vote may only have been added, never changed.
            self._broken("votes survive", core.member, f"{core.voted_for} after {durable.voted_for}")
        index = before.core.durable_index
        overwritten = ready.persist is not None and ready.persist.first_index <= index
        kept = core.log.term_at(index) == before.core.log.term_at(index)
        if index >= core.first_index and index > before.core.log.base_index and not (overwritten or kept):
            self._broken("durable entries survive", core.member, f"lost {index}")
        return seen

    def _became_durable(self, seen: Seen, core: Raft, sequence: int) -> None:
        writes = seen.writes
        while writes and writes[0][0] <= sequence:
            _, seen.hard_state, messages = writes.pop(0)
            for message in messages:
                self._check_vote(core, message)
        acks = seen.acks
        while acks and acks[0][0] <= sequence:
            _, term, match = acks.popleft()
            if match > core.durable_index and term >= core.term:
                self._broken("acknowledged is durable", core.member, f"{match}, not {core.durable_index}")

    def _term_grew(self, seen: Seen, core: Raft) -> None:
        if core.term < seen.term:
            self._broken("terms only grow", core.member, f"{core.term} after {seen.term}")
        seen.term = core.term

    def _wrote(self, seen: Seen, core: Raft, persist: Persist, ready: Ready) -> None:
        if persist.hard_state is not None:
            waiting = ready.send_after_durable
            seen.writes.append((persist.done.sequence, persist.hard_state, waiting))
        first = persist.first_index
        if persist.terms:
            if first <= seen.commit:
                self._broken("committed entries stay", core.member, f"{first} is overwritten")
            self._register(core, core.log.term_at(first - 1), first, persist.terms, persist.payloads)
            if core.membership.index > core.log.base_index:
                self._membership_is_the_logs(core)
        if core.role is LEADER and seen.led_term == core.term and first != seen.last + 1:
            # §3.6 Leader Append-Only.
            self._broken("a leader only appends", core.member, f"{first} after {seen.last}")

    def _register(
        self, core: Raft, before: int, first: int, terms: tuple[int, ...], payloads: tuple[bytes, ...]
    ) -> None:
        """§3.5 Log Matching: one index and term, one entry with one history."""
        entries, index = self.entries, first
        for term, payload in zip(terms, payloads):  # noqa: B905 (as long as each other: below)
            entry = before, payload
            if entries.setdefault((index, term), entry) != entry or term < before:
                self._broken("log matching", core.member, f"another entry {index} of term {term}")
            before = term
            index += 1
        if len(terms) != len(payloads):
            self._broken("an entry has a term and a payload", core.member, f"{len(terms)} and {len(payloads)}")

    def _membership_is_the_logs(self, core: Raft) -> None:
        """§4.1: in force is the last membership in the log; one that was overwritten is taken back."""
        index = core.membership.index
        payloads = core.entries(index, index + 1)[1]
        if not payloads or payloads[0][:1] != b"\x00":
            self._broken("membership is in the log", core.member, f"entry {index} is none")

    # --- Snapshots ---

    def _in_order(self, core: Raft) -> None:
        """Purged <= snapshot <= applied <= commit <= last. While one is installed the log is ahead of the snapshot."""
        purged, last = core.log.base_index, core.log.last_index
        snapshot = core.snapshot.index if core.snapshot is not None else 0
        if (
            not snapshot <= core.handed_index <= core.commit_index <= last
            or core.durable_index > last
            or (purged > snapshot > 0 and not core.installing)
        ):
            order = (purged, snapshot, core.handed_index, core.commit_index, last)
            self._broken("purged, snapshot, applied, commit, last in order", core.member, str(order))

    def _installed(self, seen: Seen, core: Raft, snapshot: Snapshot) -> None:
        """Whole, of committed entries only, and never back in time."""
        index = snapshot.index
        if index <= seen.applied:
            self._broken("snapshots go forward", core.member, f"{index} after {seen.applied}")
        if index > self.committed_index:
            self._broken("snapshots are committed", core.member, f"{index}")
        if self.committed_terms[index - self.first_committed] != snapshot.term:
            self._broken("snapshots are committed", core.member, f"{index} of {snapshot.term}")
        known = self._committed_membership(index)
        if known is not None and known != snapshot.membership:
            self._broken("membership in the snapshot", core.member, f"{snapshot.membership} at {index}")
        seen.applied = index

    def _committed_membership(self, index: int) -> Membership | None:
        for at in range(index, self.first_committed - 1, -1):
            payload = self.committed_payloads[at - self.first_committed]
            if payload[:1] == b"\x00":
                return decode_membership(payload, at)
        return None

    # --- Commitment ---

    def _commit_grew(self, seen: Seen, core: Raft) -> None:
        commit = core.commit_index
        if commit < seen.commit:
            self._broken("commit only grows", core.member, f"{commit} after {seen.commit}")
        if commit > core.log.last_index:
            self._broken("commit within the log", core.member, f"{commit} > {core.last_index}")
        if core.role is LEADER:
            if core.log.term_at(commit) != core.term:
                self._broken("own term only", core.member, f"commits {commit}")
            if not self._is_on_quorum(core, commit):
                self._broken("committed on a quorum", core.member, f"commits {commit}")
        seen.commit = commit

    def _is_on_quorum(self, core: Raft, index: int) -> bool:
        """The entry is durable on a quorum of the membership that is in force."""
        term, members = core.log.term_at(index), self.seen
        membership = core.membership
        for voters in (membership.voters, membership.outgoing):
            lacking = len(voters) // 2 + 1 if voters else 0
            for voter in voters:
                if voter not in members:
                    continue
                other = members[voter].core
                if other.durable_index >= index:
                    log = other.log
                    if log.term_at(index) == term or log.base_index >= index:
                        lacking -= 1
                        if not lacking:
                            break
            if lacking:
                return False
        return True

    def _applied(self, seen: Seen, core: Raft, ready: Ready) -> None:
        """State Machine Safety: everybody applies the same entries in the same order, each once."""
        apply = ready.apply
        assert apply is not None
        first, terms, payloads = apply.first_index, apply.terms, apply.payloads
        if first != seen.applied + 1:
            self._broken("applied once", core.member, f"{first} after {seen.applied}")
        seen.applied = last = first + len(terms) - 1
        if last > core.commit_index:
            self._broken("applied is committed", core.member, f"{last}")
        at = first - self.first_committed
        shared = len(self.committed_terms) - at
        if shared < 0:
            self._broken("applied in order", core.member, f"{first} before {self.committed_index}")
        if shared < len(terms):
            # Whoever commits an entry hands it out in the same step, so the first to apply it is of that term.
            self.committed_terms.extend(terms[shared:])
            self.committed_payloads.extend(payloads[shared:])
            self.committed_in.extend([core.term] * (len(terms) - shared))
        # Compared with what it has just written, too, where it is the first: one rule for everybody.
        for term, payload in zip(terms, payloads):  # noqa: B905 (they are as long as each other, or some are missing)
            if term != self.committed_terms[at] or payload != self.committed_payloads[at]:
                self._broken("state machine safety", core.member, f"applies other entries from {first}")
            at += 1

    # --- Messages ---

    def _sent(self, seen: Seen, core: Raft, ready: Ready) -> None:
        """No message of a term before that term is durable; nothing acknowledged that is not."""
        durable_term = seen.hard_state.term
        for message in ready.send:
            if message.term > durable_term:
                self._broken("term durable before use", core.member, f"{message.term} > {durable_term}")
            if type(message) is AppendReply:
                if message.success and message.match > core.durable_index:
                    self._broken("durable before acknowledged", core.member, f"acknowledges {message.match}")
            elif type(message) is VoteReply and message.granted:
                # In a term that is over durably, nobody can be voted for again.
                if seen.hard_state.voted_for != message.to and durable_term <= message.term:
                    self._broken("vote durable before use", core.member, f"votes for {message.to}")
                self._check_vote(core, message)

    def _sent_after_durable(self, seen: Seen, core: Raft, ready: Ready) -> None:
        persist = ready.persist
        if persist is None:
            self._broken("sent after a write", core.member, "there is nothing to wait for")
        for message in ready.send_after_durable:
            if type(message) is AppendReply and message.success:
                if message.match > core.log.last_index:
                    self._broken("durable before acknowledged", core.member, f"acknowledges {message.match}")
                seen.acks.append((persist.done.sequence, message.term, message.match))

    def _check_vote(self, core: Raft, message: Any) -> None:
        """§3.4: at most one vote a term, the own one among them."""
        kind = type(message)
        if kind is VoteRequest:
            candidate = core.member
        elif kind is VoteReply and message.granted:
            candidate = message.to
        else:
            return
        known = self.votes.setdefault((core.member, message.term), candidate)
        if known != candidate:
            self._broken("one vote a term", core.member, f"{candidate} after {known}")

    def _heard_reply(self, core: Raft, peer: str) -> None:
        progress = core.peers.get(peer)
        if progress is None:
            return
        if progress.next <= progress.match:
            self._broken("next after match", core.member, f"for {peer}")
        seen = self.seen.get(peer)
        if seen is None or seen.core.term != core.term or progress.match <= seen.core.durable_index:
            return
        # Until a snapshot is durable its disk has the old log. It counts none of that which it has not found to agree
        # since it started; but in an earlier life it may have, and its acknowledgement of then may come only now.
        installing = seen.core.installing
        if installing is None or progress.match > installing.index:
            self._broken("match is durable", core.member, f"{progress.match} of {peer}")

    # --- Roles ---

    def _changed(self, seen: Seen, core: Raft, ready: Ready) -> None:
        for change in ready.changes:
            if type(change) is BecameLeader:
                self._became_leader(seen, core, change.term)
            elif type(change) is MembershipChanged and core.role is LEADER and len(core.memberships) > 1:
                self._changed_membership(core, core.memberships[-2], change.membership)

    def _changed_membership(self, core: Raft, before: Membership, after: Membership) -> None:
        """§4.1, §4.3: a leader begins a change only when it has committed the one before, and an entry of its own."""
        if before.index > core.commit_index:
            self._broken("one change at a time", core.member, f"the one at {before.index} is not committed")
        if before.outgoing and after.voters != before.voters:
            self._broken("a joint change ends first", core.member, f"at {after.index}")
        if core.commit_index < core.term_start:
            self._broken("no change by a new leader", core.member, f"at {after.index}")

    def _became_leader(self, seen: Seen, core: Raft, term: int) -> None:
        """§3.6: Election Safety and Leader Completeness."""
        known = self.leaders.setdefault(term, core.member)
        if known != core.member:
            self._broken("one leader a term", core.member, f"term {term} has {known}")
        if seen.led_term == term:
            self._broken("one leader a term", core.member, f"leads term {term} twice")
        seen.led_term = term
        # What was committed in a later term binds later leaders only: the votes for this one may have come late.
        known_then = bisect_left(self.committed_in, term)
        last = self.first_committed + known_then - 1
        if last < max(core.first_index, self.first_committed):
            return
        if core.log.term_at(last) != self.committed_terms[known_then - 1]:
            self._broken("leader completeness", core.member, f"term {term} lacks committed entry {last}")
