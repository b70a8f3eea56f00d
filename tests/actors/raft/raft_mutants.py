"""Deliberate bugs: each rewrites one line of one function while it is planted. Nothing installed can reach them."""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import test_raft_paper as paper
import test_replicated_histories as replicated
from raft_chaos import Chaos
from raft_clients import ServedChaos

from raftyard.actors.raft import (
    changing,
    core,
    elections,
    log,
    progress,
    reading,
    replication,
    roles,
    sessions,
    snapshots,
)
from raftyard.actors.storage.simulated import SimulatedStorage

MODULES: tuple[ModuleType, ...] = (
    changing,
    core,
    elections,
    log,
    progress,
    reading,
    replication,
    roles,
    sessions,
    snapshots,
)

Bug = tuple[Any, str, str, str]
"""Who owns the function, its name, the right text, the wrong one."""

MUTANTS: dict[str, Bug] = {
    "commits entries of old terms": (replication, "advance_commit", " and agreed >= raft.term_start", ""),
    "counts the leader's entries before they are durable": (
        core.Raft, "append", "log.append(terms, payloads)",
        "log.append(terms, payloads); self.own.match = log.last_index",
    ),
    "counts one vote too few": (
        core.Membership, "is_quorum", "_is_majority(self.voters, who)", "len(who) * 2 >= len(self.voters)",
    ),
    "commits on one member too few": (
        replication, "reached_by_majority", "(len(values) - 1) // 2", "min(len(values) // 2, len(values) - 1)",
    ),
    "votes without looking at the log": (
        elections, "on_vote_request", "raft.log.is_behind(message.last_index, message.last_term)", "True",
    ),
    "compares logs by length only": (
        log.Log, "is_behind", "(last_term, last_index) >= (self.last_term, self.last_index)",
        "last_index >= self.last_index",
    ),
    "votes twice in a term": (elections, "on_vote_request", "free = ", "free = True or "),
    "does not write its vote": (elections, "on_vote_request", "raft.hard_dirty = True", "pass"),
    "does not write its term": (roles, "become_follower", "raft.hard_dirty = True", "pass"),
    "sends before its term is durable": (
        core.Raft, "_ready", "if self.hard_sequence <= self.done_sequence:", "if True:",
    ),
    "acknowledges entries at once": (
        replication, "on_append", "(raft.acks if new else raft.out)", "raft.out",
    ),
    "acknowledges what is on its way to the disk": (
        replication, "on_append", "if not new and match > raft.durable_index:", "if False:",
    ),
    "truncates on every append": (
        replication, "_merge", "conflict = log.first_conflict(first + skip, message.terms[skip:])",
        "conflict = first + skip",
    ),
    "does not truncate": (replication, "_merge", "if conflict <= log.last_index:", "if False:"),
    "appends without looking at the entry before": (
        replication, "on_append", "elif prev < raft.commit_index or log.term_at(prev) == message.prev_term:",
        "elif prev <= log.last_index:",
    ),
    "trusts the leader's commit index blindly": (
        replication, "learn_commit", "if commit > raft.verified_index:", "if commit > raft.log.last_index:",
    ),
    "handles messages of older terms": (elections, "settle_term", "return False", "return True"),
    "keeps a membership that was overwritten": (
        core.Raft, "truncate", "if self.membership.index >= index:", "if False:",
    ),
    "changes members before the last change is committed": (
        changing, "_objection",
        "if raft.membership.index > raft.commit_index or raft.membership.outgoing:", "if False:",
    ),
    "changes members before an entry of its own is committed": (
        changing, "_objection", "if not raft.has_committed_own_term:", "if False:",
    ),
    "answers reads without asking anybody": (
        reading, "confirm", "_answered_round(raft) < reads.round", "False",
    ),
    "reads before an entry of its own is committed": (
        reading, "start_round", " or not raft.has_committed_own_term", "",
    ),
    "counts answers to an earlier round": (
        reading, "start_round", "raft.round += 1", "raft.round += not raft.round",
    ),
    "begins a term without an entry of its own": (
        roles, "become_leader", "replication.append_own(raft, (NO_OP,), replication.ENTRY_OVERHEAD)", "pass",
    ),
    "is never told of lost entries": (
        replication, "send_heartbeat", "prev = progress.next - 1", "prev = progress.match",
    ),
    "removed while its log is needed": (
        roles, "role_at_rest", "for membership in raft.memberships", "for membership in raft.memberships[-1:]",
    ),
    "installs a snapshot of what it has": (
        snapshots, "on_install_snapshot", "if message.index <= raft.commit_index:", "if False:",
    ),
    "acknowledges a snapshot that is not durable": (
        snapshots, "_install",
        "raft.durable_index = min(raft.durable_index, agreed_index)", "raft.durable_index = message.index",
    ),
    "forgets what is being written when a snapshot comes": (
        snapshots, "_install", "write[1] = min(write[1], agreed_index)",
        "write[1] = min(write[1], raft.durable_index)",
    ),
    "mixes the pieces of two snapshots": (snapshots, "_collect", "incoming.key != key", "False"),
    "puts pieces together in the order in which they come": (
        snapshots.Incoming, "add",
        "self._early.pop(self.received, None)", "self._early.pop(min(self._early, default=0), None)",
    ),
    "sends the snapshot with a later membership": (
        core.Raft, "membership_at", "if membership.index <= index:", "if True:",
    ),
    "forgets that what a snapshot holds was applied": (
        core, "_mark", "if saved is None:", "if True:",
    ),
    "commits a joint change by the new voters alone": (
        replication, "advance_commit", "if len(raft.voter_sets) > 1:", "if False:",
    ),
    "elects by the new voters alone": (
        core.Membership, "is_quorum", "(not self.outgoing or", "(True or",
    ),
    "ends a joint change before it is committed": (
        changing, "leave_joint", "joint.index <= raft.commit_index", "True",
    ),
    "replaces many voters at once without both halves": (
        changing, "on_change_membership", "if len(changed) > 1", "if False",
    ),
    "counts its lease from the answer": (
        reading.Lease, "answered", "rounds.popleft()[1] + self.length_ns",
        "rounds.popleft()[1] + self.length_ns + 400_000_000",
    ),
    "keeps its lease while it hands over": (
        changing, "_send_timeout_now", "raft.lease.is_void = True", "pass",
    ),
    "answers a read with an older index": (
        reading, "start_round", "reads.index = raft.commit_index", "reads.index = raft.term_start",
    ),
    "forgets the answers of a session": (
        sessions.Sessions, "apply", "results[sequence] = answer", "pass",
    ),
    "never takes leadership back": (changing, "abort_transfer", "raft.transfer_target = None", "pass"),
    "goes on leading without a quorum": (
        replication, "on_leader_deadline", "and not _has_quorum(raft)", "and False",
    ),
    "counts learners as voters": (
        replication, "count_voters", "(membership.voters,)", "(membership.members,)",
    ),
    "counts a leader that is leaving": (
        replication, "count_voters", "tuple([known[voter] for voter in group])",
        "tuple([known[voter] for voter in dict.fromkeys((*group, raft.member))])",
    ),
    "campaigns in the old term": (roles, "become_candidate", "raft.term += 1", "raft.term += 0"),
    "does not write its vote for itself": (roles, "become_candidate", "raft.hard_dirty = True", "pass"),
    "keeps its vote in a new term": (roles, "become_follower", "raft.voted_for = None", "pass"),
    "counts refusals as votes": (elections, "_count_votes", " if votes[member]", ""),
    "counts pre-votes as votes": (
        elections, "on_pre_vote_reply", "campaign(raft, transfer=False)",
        "become_candidate(raft); raft.done_sequence = raft.hard_sequence; become_leader(raft)",
    ),
    "acknowledges what it did not compare": (
        replication, "on_append", "match = raft.verified_index", "match = log.last_index",
    ),
    "lets a late write stand for other entries": (
        core.Raft, "truncate",
        "write[1] = min(write[1], index - 1)",
        "pass",
    ),
    "goes on counting entries that it took back as durable": (
        core.Raft, "truncate", "self.durable_index = min(self.durable_index, index - 1)", "pass",
    ),
    "takes a message of another place": (
        replication, "on_append", "prev == log.last_index and message.prev_term == log.last_term",
        "prev == log.last_index",
    ),
    "lets next fall to match": (
        progress.Progress, "probe",
        "max(next_index, self.match + 1)",
        "next_index - 1",
    ),
    "never backs up": (replication, "_back_up", "progress.probe(agree + 1)", "pass"),
    "backs up to where the logs still differ": (
        replication, "_back_up", "min(message.hint_index, prev - 1)", "prev",
    ),
    "applies an entry twice": (
        core.Raft, "_apply",
        "first = self.handed_index + 1",
        "first = max(self.handed_index, 1)",
    ),
    "does not step down for a newer term": (
        elections, "settle_term", "become_follower(raft, message.term, leader, reason)",
        "raft.role.value == 'leader' or become_follower(raft, message.term, leader, reason)",
    ),
    "does not answer an older term": (elections, "settle_term", "_answer_older_term(raft, message)", "pass"),
    "does not wait anew when its leader is heard": (
        replication, "on_append", "raft.timer_ns = now + raft.election_min_ns", "now + raft.election_min_ns",
    ),
    "sends no heartbeats": (replication, "on_leader_deadline", "_send_heartbeats(raft)", "pass"),
    "never opens the window again": (
        progress.Progress, "acknowledged", "inflight and inflight[0][0] <= match", "False",
    ),
    "asks for a read's index and waits for none": (
        reading, "on_read_index_reply",
        "ReadReady(ref=ref, index=message.index)",
        "ReadReady(ref=ref, index=0)",
    ),
    "takes part with the membership before the last": (
        core.Raft, "add_membership",
        "changing.enter(self, membership)",
        "changing.enter(self, self.memberships[-2])",
    ),
    "does not tell of membership changes among old entries": (
        replication, "_memberships_among", "payload[:1] == b\"\\x00\"", "False",
    ),
    "never forgets what was uncommitted": (
        replication, "forget_settled",
        "raft.uncommitted_bytes -= uncommitted.popleft()[1]",
        "uncommitted.popleft()",
    ),
    "trusts a lease that has run out": (
        reading, "start_round", "raft.now_ns < raft.lease.until_ns and ", "raft.lease.until_ns > 0 and ",
    ),
    "confirms reads by the new voters alone": (
        reading, "_answered_round", "for voters in raft.voter_sets", "for voters in raft.voter_sets[:1]",
    ),
    "takes other entries for those of a snapshot": (
        snapshots, "on_install_snapshot",
        "raft.log.term_at(message.index) == message.snapshot_term", "raft.log.term_at(message.index) >= 0",
    ),
    "asks for pre-votes and never campaigns": (
        elections, "on_pre_vote_reply",
        "message.round == raft.ask_round",
        "False",
    ),
    "leaves the sessions out of the snapshot": (
        sessions.Sessions, "snapshot", "(self._table(), list(self._expired), self.machine.snapshot())",
        "([], [], self.machine.snapshot())",
    ),
    "leaves a torn tail in the file": (SimulatedStorage, "load", "del self._file[end:]", "pass"),
    "grants pre-votes while it hears a leader": (
        elections, "on_pre_vote_request", "and not _hears_leader(raft)", "",
    ),
    "grants pre-votes without looking at the log": (
        elections, "on_pre_vote_request", "raft.log.is_behind(message.last_index, message.last_term)", "True",
    ),
}  # fmt: skip


@contextmanager
def planted(mutant: str | Bug) -> Iterator[None]:
    """Rewrites the function everywhere it is known, and puts it back."""
    owner, name, old, new = MUTANTS[mutant] if isinstance(mutant, str) else mutant
    original = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(original))
    assert old in source, f"{name} no longer contains {old!r}"
    scope: dict[str, Any] = {}
    code = compile(source.replace(old, new, 1), f"<{mutant}>", "exec")
    exec(code, vars(inspect.getmodule(original)), scope)
    _swap(owner, name, original, scope[name])
    try:
        yield
    finally:
        _swap(owner, name, scope[name], original)


def _swap(owner: Any, name: str, was: Any, now: Any) -> None:
    setattr(owner, name, now)
    for module in MODULES:
        for known, value in list(vars(module).items()):
            if value is was:
                setattr(module, known, now)
    for table in (core._FROM_PEERS, core._FROM_HERE):
        for kind, handler in list(table.items()):
            if handler is was:
                table[kind] = now


SERVED = ("forgets the answers of a session",)
"""Only what clients hear tells these."""

REPLICATED = ("leaves the sessions out of the snapshot", "leaves a torn tail in the file")
"""These need a machine that really is restored, or a disk of bytes: the bare cores of the chaos have neither."""

GUARDED: dict[str, Callable[[], None]] = {
    "grants pre-votes while it hears a leader": (
        paper.test_who_heard_a_leader_lately_refuses_pre_votes_and_ignores_votes
    ),
    "grants pre-votes without looking at the log": paper.test_a_member_with_a_shorter_log_gets_no_pre_votes,
}
"""No random story can notice these: the vote that follows is refused all the same, so the harm is a term more, and some
time. The test that looks at the answer does."""

SLOW = (
    "compares logs by length only",
    "handles messages of older terms",
    "reads before an entry of its own is committed",
    "removed while its log is needed",
    "installs a snapshot of what it has",
    "forgets what is being written when a snapshot comes",
    "elects by the new voters alone",
    "never takes leadership back",
    "takes a message of another place",
    "backs up to where the logs still differ",
    "never forgets what was uncommitted",
    "takes other entries for those of a snapshot",
)
"""It takes more than 100 seeds to notice these, or some seconds."""


def noticed_by(mutant: str) -> tuple[str, Callable[[int], Any]]:
    """What is to notice it, by name, and what plays one seed of that."""
    if mutant in GUARDED:
        test = GUARDED[mutant]
        return test.__name__, lambda seed: test()
    if mutant in REPLICATED:
        return "replicated histories", replicated.check_seed
    if mutant in SERVED:
        return "chaos with clients", lambda seed: ServedChaos(seed).run()
    return "chaos", lambda seed: Chaos(seed).run()


def seeds_to_kill(mutant: str, seeds: int) -> int | None:
    """How many seeds it takes to notice; 1 for a test, which draws nothing; None: so many are not enough."""
    _, play = noticed_by(mutant)
    with planted(mutant):
        for seed in range(1 if mutant in GUARDED else seeds):
            try:
                play(seed)
            except Exception:
                return seed + 1
    return None
