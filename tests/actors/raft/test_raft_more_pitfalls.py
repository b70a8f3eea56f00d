"""More of the mistakes on our list: those that show across a restart, a retry, or when many ask at once."""

from random import Random
from typing import Any

import msgspec
import pytest
from raft_clients import Dictionary
from raft_member import Alone, sent
from raft_simulation import MS, Simulation

from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.raft.core import Raft, Restored
from raftyard.actors.raft.events import (
    AddLearner,
    Append,
    AppendReply,
    DeadlineReached,
    InstallSnapshot,
    InstallSnapshotReply,
    PreVoteReply,
    PreVoteRequest,
    PromoteLearner,
    Propose,
    RemoveMember,
    TransferLeadership,
    VoteReply,
    VoteRequest,
)
from raftyard.actors.raft.membership import Membership
from raftyard.actors.raft.sessions import Applied, Sessions, encode

SECOND = 1_000.0


MEMBERSHIP = Membership(voters=("a", "b", "c"))
SNAPSHOTS = {5: b"OLDEST", 7: b"newest"}


def piece(index: int, offset: int) -> dict[str, Any]:
    """Two bytes of one of two snapshots that are equally long."""
    data = SNAPSHOTS[index]
    return {
        "index": index, "snapshot_term": 1, "membership": MEMBERSHIP, "total": len(data), "offset": offset,
        "data": data[offset : offset + 2],
    }  # fmt: skip


@pytest.mark.parametrize("restarts_after", [None, 0, 1, 2, 3, 4, 5])
def test_p26_pieces_of_two_snapshots_are_never_mixed_even_by_a_restart(restarts_after: int | None) -> None:
    """The second is taken while the first is on its way; late pieces of the first come in between, some twice."""
    member = Alone(1, term=1)
    order = [(5, 0), (7, 2), (5, 2), (7, 0), (7, 0), (5, 4)]
    installed = []
    for number, (index, offset) in enumerate([*order, (7, 0), (7, 2), (7, 4)]):
        snapshot = member.hear(InstallSnapshot, **piece(index, offset)).install
        if snapshot is not None:
            installed.append((snapshot.index, snapshot.data))
        if number == restarts_after:
            member = Alone(1, term=1)
    assert installed == [(7, SNAPSHOTS[7])]


def test_p26_a_snapshot_that_was_overtaken_is_not_begun_again() -> None:
    """Its late first piece must not throw away what came of the newer one."""
    member = Alone(1, term=1)
    member.hear(InstallSnapshot, **piece(7, 0))
    member.hear(InstallSnapshot, **piece(7, 2))
    assert sent(member.hear(InstallSnapshot, **piece(5, 0)), InstallSnapshotReply) == []
    ready = member.hear(InstallSnapshot, **piece(7, 4))
    assert ready.install is not None and ready.install.data == SNAPSHOTS[7]


def test_p27_a_restarted_member_applies_each_entry_once() -> None:
    """Its machine lasts no longer than itself, so it starts from the snapshot (here: nothing), and never twice."""
    simulation = Simulation(voters=3)
    leader = simulation.elect()
    for number in range(60):
        simulation.agree(b"%d" % number, simulation.names)
    follower = next(name for name in simulation.names if name != leader)
    simulation.crash(follower)
    simulation.start(follower)
    assert simulation.members[follower].applied == [], "nothing is known to be committed yet"
    simulation.agree(b"60", simulation.names)
    assert simulation.applied(follower) == [b"%d" % number for number in range(61)]
    indexes = [index for index, _ in simulation.members[follower].applied]
    assert indexes == list(range(1, len(indexes) + 1))


def test_p32_a_command_that_is_retried_at_another_leader_is_applied_once() -> None:
    """The leader dies before it answers; the client asks its successor, twice; everybody has the same."""
    simulation = Simulation(voters=3)
    first = simulation.elect()
    payload = encode("client", 1, msgspec.msgpack.encode(("add", "k", "x")))
    simulation.agree(payload, simulation.names)
    simulation.crash(first)
    second = simulation.elect(among=tuple(name for name in simulation.names if name != first))
    simulation.propose(second, payload)
    simulation.propose(second, payload)
    simulation.start(first)
    simulation.agree(b"end", simulation.names)
    for name in simulation.names:
        machine = Dictionary()
        sessions = Sessions(machine)
        heard = [
            sessions.apply(index, entry)
            for index, entry in simulation.members[name].applied
            if entry == payload
        ]
        assert machine.texts == {"k": "x"}, name
        assert heard == [Applied(session="client", sequence=1, duplicate=number > 0) for number in range(3)]


def test_p40_a_pre_vote_resets_neither_timer_nor_vote_nor_term() -> None:
    member = Alone(term=4)
    member.hear(Append, "c", term=4)
    before = (member.core.timer_ns, member.core.term, member.core.voted_for, member.core.leader)
    for granted in (False, True):
        ready = member.hear(PreVoteRequest, term=9, last_index=9, last_term=9, round=1)
        assert [reply.granted for reply in sent(ready, PreVoteReply)] == [granted]
        assert before == (member.core.timer_ns, member.core.term, member.core.voted_for, member.core.leader)
        member.now_ns = before[0] - 1  # the leader has been silent for longer than the minimum


def test_p40_a_member_that_asks_again_and_again_disturbs_nobody() -> None:
    """Two of five hear nothing of the leader, and all hear them ask."""
    simulation = Simulation(voters=5, seed=1)
    leader = simulation.elect()
    term = simulation.core(leader).term
    deaf = [name for name in simulation.names if name != leader][:2]
    for name in deaf:
        simulation.cut(leader, name)
    simulation.run(20 * SECOND)
    assert simulation.sent["PreVoteRequest"] > 100, "they did not ask"
    assert simulation.leaders() == [leader] and simulation.core(leader).term == term


def test_p40_one_member_without_pre_vote_among_others_costs_at_most_one_election_each_time() -> None:
    """A cluster that is being upgraded: no deadlock, and the cluster serves."""
    simulation = Simulation(voters=3, seed=2)
    leader = simulation.elect()
    odd = next(name for name in simulation.names if name != leader)
    simulation.core(odd).config = RaftConfig(pre_vote=False)
    for number in range(5):
        before = len(simulation.invariants.leaders)
        simulation.isolate(odd)
        simulation.run(5 * SECOND)
        simulation.heal()
        simulation.elect(within_ms=3 * SECOND)
        simulation.agree(b"%d" % number, simulation.names, within_ms=3 * SECOND)
        assert len(simulation.invariants.leaders) <= before + 2


def test_p42_nobody_is_removed_while_leadership_is_handed_over() -> None:
    """Else the target might campaign in a membership that it no longer belongs to."""
    member = Alone()
    member.serve()
    member.step(Propose(payloads=(b"x",)))
    member.step(TransferLeadership(target="b", ref=3))
    refused = member.step(RemoveMember(member="b", ref=4)).refused
    assert [(told.ref, told.reason) for told in refused] == [(4, "transferring")]


def test_p43_a_leader_whose_disk_stalls_goes_on_sending_heartbeats() -> None:
    """From memory: a slow write is no dead leader."""
    member = Alone(sync=True)
    member.serve()
    member.sync = False
    member.step(Propose(payloads=(b"x",)))
    for _ in range(24):
        assert len(sent(member.later(101), Append)) == 2
        for peer in "bc":
            member.hear(AppendReply, peer, match=1)
    assert member.core.is_leader and member.core.durable_index == 1


def test_p48_a_learner_that_is_behind_does_not_become_a_voter() -> None:
    member = Alone(caught_up_entries=10)
    member.serve()
    member.step(AddLearner(member="d"))
    member.acknowledge("b", "c")
    member.step(Propose(payloads=(b"x",) * 20))
    member.acknowledge("b", "c")
    assert [told.reason for told in member.step(PromoteLearner(member="d")).refused] == ["learner is behind"]
    member.acknowledge("d")
    assert member.step(PromoteLearner(member="d")).accepted


def test_a_learner_that_was_not_told_who_votes_does_not_become_a_voter() -> None:
    """It lacks few entries, but its own addition is among them: with a vote that it grants to nobody, a cluster of two
    would never have a leader again."""
    member = Alone(caught_up_entries=10)
    member.serve()
    member.step(AddLearner(member="d"))
    member.acknowledge("b", "c")
    told = member.core.membership.index
    member.hear(AppendReply, "d", match=told - 1)
    assert [told.reason for told in member.step(PromoteLearner(member="d")).refused] == ["learner is behind"]
    member.hear(AppendReply, "d", match=told)
    assert member.step(PromoteLearner(member="d")).accepted


def test_a_burst_on_a_wire_that_reorders_and_doubles_begets_no_storm() -> None:
    """Who gets an entry before its predecessor refuses it; that must not send a whole window again."""
    simulation = Simulation(config=RaftConfig(max_batch_entries=1), delay_ms=(1, 60), in_order=False)
    simulation.duplicate = 0.5
    leader = simulation.elect()
    simulation.run(500)
    before = simulation.sent["Append"]
    for number in range(100):
        simulation.propose(leader, b"%d" % number)
    assert simulation.run_until(lambda: simulation.all_applied(b"99", simulation.names), 20_000)
    followers = 2
    # 65 for each entry and follower, where the window stays wide.
    assert simulation.sent["Append"] - before < 10 * 100 * followers


@pytest.mark.parametrize("is_told", [False, True])
def test_who_was_never_told_who_votes_is_nobodys_voter(is_told: bool):
    """A node that is added by the name of one that was removed: its namesake may have voted in this very term, and a
    member that has not heard of the removal would count the vote of both."""
    member = Alone(term=2, voters=("a", "b", "c") if is_told else ())
    asked = member.hear(PreVoteRequest, term=3, last_index=99, last_term=2, round=1)
    assert [reply.granted for reply in sent(asked, PreVoteReply)] == [is_told]
    asked = member.hear(VoteRequest, term=3)
    assert [reply.granted for reply in sent(asked, VoteReply)] == [is_told]


def test_who_saves_at_once_says_when_it_is_due_as_what_it_has_become() -> None:
    """It may be elected within the step, and commit: then it owes heartbeats and news, long before an election."""
    config = RaftConfig()
    only = Raft(
        member="a", cluster="c", incarnation=1, config=config, random=Random(1),
        restored=Restored.bootstrap(("a",), ("d",)), now_ns=0, saves_at_once=True,
    )  # fmt: skip
    ready = only.step(0, DeadlineReached())
    assert only.is_leader and ready.deadline_ns == only.deadline_ns == config.commit_notice_ms * MS
    only.step(50 * MS, DeadlineReached())
    ready = only.step(60 * MS, Propose(payloads=(b"x",)))
    assert only.commit_index == only.last_index
    assert ready.deadline_ns == only.deadline_ns == (60 + config.commit_notice_ms) * MS
