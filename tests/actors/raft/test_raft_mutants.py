"""Deliberate bugs, each of which the random simulations must find: else the invariants guard nothing."""

import inspect
import textwrap
from types import ModuleType
from typing import Any

import pytest
from raft_simulation import Chaos

from raftyard.actors.raft import (
    changing,
    core,
    elections,
    log,
    progress,
    reading,
    replication,
    roles,
    snapshots,
)

MODULES: tuple[ModuleType, ...] = (
    changing,
    core,
    elections,
    log,
    progress,
    reading,
    replication,
    roles,
    snapshots,
)
SEEDS = 400

MUTANTS: dict[str, tuple[Any, str, str, str]] = {
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
    "forgets the reads of a member that left": (changing, "enter", "reading.confirm(raft)", "pass"),
    "removed while its log is needed": (
        roles, "role_at_rest", "for membership in raft.memberships", "for membership in raft.memberships[-1:]",
    ),
    "installs a snapshot of what it has": (
        snapshots, "on_install_snapshot", "if message.index <= raft.commit_index:", "if False:",
    ),
    "acknowledges a snapshot that is not durable": (
        snapshots, "_install",
        "raft.durable_index = min(raft.durable_index, agreed_index)",
        "raft.durable_index = message.index",
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
}  # fmt: skip


def plant(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, old: str, new: str) -> None:
    """Rewrites one function, everywhere it is known."""
    original = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(original))
    assert old in source, f"{name} no longer contains {old!r}"
    namespace = vars(inspect.getmodule(original))
    before = dict(namespace)
    scope: dict[str, Any] = {}
    exec(compile(source.replace(old, new, 1), f"<mutant of {name}>", "exec"), namespace, scope)
    assert before.keys() == {key for key in namespace if key != "__builtins__" or key in before}
    changed = scope[name]
    monkeypatch.setattr(owner, name, changed)
    for module in MODULES:
        for known, value in list(vars(module).items()):
            if value is original:
                monkeypatch.setattr(module, known, changed)
    for table in (core._FROM_PEERS, core._FROM_HERE):
        for kind, handler in list(table.items()):
            if handler is original:
                monkeypatch.setitem(table, kind, changed)


def seeds_to_kill() -> int | None:
    for seed in range(SEEDS):
        try:
            Chaos(seed).run()
        except Exception:
            return seed + 1
    return None


# It takes more than 100 seeds to notice these.
RARE = (
    "handles messages of older terms",
    "counts answers to an earlier round",
    "forgets the reads of a member that left",
)


@pytest.mark.parametrize(
    "mutant", [pytest.param(name, marks=[pytest.mark.campaign] if name in RARE else []) for name in MUTANTS]
)
def test_a_deliberate_bug_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, *MUTANTS[mutant])
    found = seeds_to_kill()
    print(f"{mutant}: {found} seeds")
    assert found is not None, f"{SEEDS} seeds did not notice: {mutant}"
