"""Snapshots: the log is cut off, and who lacks what was cut gets the state instead, whole and unmixed."""

import msgspec
import pytest
from raft_chaos import Chaos
from raft_member import Alone
from raft_simulation import Simulation

from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.raft.core import Raft, Restored
from raftyard.actors.raft.events import (
    AddLearner,
    Append,
    AppendReply,
    InstallSnapshot,
    InstallSnapshotReply,
    PromoteLearner,
    Propose,
    Snapshot,
    SnapshotInstalled,
    SnapshotTaken,
)
from raftyard.actors.raft.membership import Membership

ALL = ("n0", "n1", "n2")
ABC = Membership(voters=("a", "b", "c"))


def config(**changes: int) -> RaftConfig:
    small = {"keep_entries": 0, "snapshot_chunk_bytes": 50, "max_snapshot_inflight_bytes": 150}
    return RaftConfig(**(small | changes))


def left_behind(simulation: Simulation, entries: int = 60) -> tuple[str, str]:
    """(leader, a follower that lacks so many entries, all of which the leader has cut off)."""
    leader = simulation.elect()
    victim = next(name for name in simulation.names if name != leader)
    simulation.isolate(victim)
    for number in range(entries):
        simulation.propose(leader, b"e%d" % number)
        simulation.run(5)
    simulation.snapshot(leader)
    simulation.run(50)
    assert simulation.core(leader).first_index > simulation.core(victim).last_index + 1
    return leader, victim


def test_a_follower_that_lacks_what_was_cut_off_gets_the_state() -> None:
    simulation = Simulation(config=config())
    leader, victim = left_behind(simulation)
    simulation.heal()
    simulation.agree(b"after", on=ALL)
    assert simulation.installed == 1
    assert simulation.applied(victim) == simulation.applied(leader)
    assert simulation.core(victim).snapshot_index == simulation.core(leader).snapshot_index


def test_a_follower_that_lacks_a_little_needs_no_snapshot() -> None:
    simulation = Simulation(config=config(keep_entries=1_000))
    leader = simulation.elect()
    simulation.isolate("n0" if leader != "n0" else "n1")
    for number in range(50):
        simulation.propose(leader, b"e%d" % number)
    simulation.run(100)
    simulation.snapshot(leader)
    simulation.heal()
    simulation.agree(b"after", on=ALL)
    assert simulation.installed == 0


@pytest.mark.parametrize(
    ("entries", "size", "kept"), [(9, 10_000, 9), (9, 50, 5), (9, 59, 5), (9, 9, 0), (0, 50, 0), (99, 10_000, 20)]
)
def test_what_is_kept_before_a_snapshot_is_limited_in_entries_and_in_bytes(
    entries: int, size: int, kept: int
) -> None:
    """Few entries may be much, and many of them little."""
    member = Alone(keep_entries=entries, keep_bytes=size)
    member.serve()
    member.step(Propose(payloads=(b"ten bytes.",) * 19))
    member.acknowledge()
    core = member.core
    assert core.handed_index == core.last_index == 20
    member.step(core.snapshot_at(20))
    assert (core.snapshot_index, core.first_index) == (20, 20 - kept + 1)


@pytest.mark.parametrize("seed", range(20))
def test_a_snapshot_arrives_over_a_bad_network(seed: int) -> None:
    simulation = Simulation(seed=seed, config=config(), delay_ms=(1, 40), in_order=False)
    left_behind(simulation)
    simulation.loss, simulation.duplicate = 0.25, 0.3
    simulation.heal()
    assert simulation.run_until(lambda: simulation.installed > 0, 60_000)
    simulation.loss = 0
    simulation.agree(b"after", on=ALL)


@pytest.mark.parametrize("seed", range(20))
def test_two_snapshots_in_quick_succession_are_never_mixed(seed: int) -> None:
    """P26: pieces of the second come while the first is under way, and the receiver restarts in the middle."""
    simulation = Simulation(seed=seed, config=config(), delay_ms=(1, 60), in_order=False)
    leader, victim = left_behind(simulation)
    simulation.heal()
    for number in range(3):
        simulation.run(simulation.random.uniform(100, 400))
        simulation.propose(leader, b"more%d" % number)
        simulation.run(200)
        simulation.snapshot(leader)
        if number == seed % 3:
            simulation.crash(victim)
            simulation.start(victim)
    simulation.agree(b"after", on=ALL)
    assert simulation.applied(victim) == simulation.applied(leader)


def test_heartbeats_and_commits_go_on_while_a_snapshot_is_sent() -> None:
    simulation = Simulation(
        config=config(snapshot_chunk_bytes=5, max_snapshot_inflight_bytes=10), delay_ms=(20, 20)
    )
    leader, victim = left_behind(simulation)
    term = simulation.core(leader).term
    simulation.heal()
    simulation.run(700)
    assert simulation.core(leader).is_sending_snapshot, "the snapshot was too quick for this test"
    before = simulation.core(leader).commit_index
    simulation.propose(leader, b"meanwhile")
    simulation.run(500)
    assert simulation.core(leader).commit_index == before + 1
    assert simulation.core(victim).leader == leader
    assert simulation.core(leader).term == term
    assert simulation.run_until(lambda: simulation.installed == 1, 60_000)


def test_no_more_of_a_snapshot_is_under_way_than_allowed() -> None:
    simulation = Simulation(config=config(), delay_ms=(30, 30))
    left_behind(simulation)
    sent, most = 0, 0

    def watch(name: str, event: object, ready: object) -> None:
        nonlocal sent, most
        for message in ready.send:  # type: ignore[attr-defined]
            if isinstance(message, InstallSnapshot):
                sent = max(sent, message.offset + len(message.data))
        if isinstance(event, InstallSnapshotReply):
            most = max(most, sent - event.received)

    simulation.observers.append(watch)
    simulation.heal()
    assert simulation.run_until(lambda: simulation.installed == 1, 20_000)
    assert 0 < most <= simulation.config.max_snapshot_inflight_bytes


def test_a_restarted_member_begins_with_its_snapshot() -> None:
    """P27: what the snapshot holds is not applied again."""
    simulation = Simulation(config=config(keep_entries=5))
    leader = simulation.elect()
    for number in range(20):
        simulation.propose(leader, b"e%d" % number)
    simulation.run(200)
    simulation.snapshot("n0")
    held = simulation.core("n0").snapshot_index
    simulation.crash("n0")
    simulation.start("n0")
    assert simulation.core("n0").commit_index == held > 0
    assert simulation.core("n0").first_index == held + 1 - 5
    simulation.agree(b"after", on=ALL)
    assert len(simulation.members["n0"].applied) == len(
        {index for index, _ in simulation.members["n0"].applied}
    )


def test_the_membership_survives_two_snapshots_and_a_restart() -> None:
    """P48b."""
    simulation = Simulation(voters=3, spare=1, config=config())
    leader = simulation.elect()
    for event in (AddLearner(member="n3"), PromoteLearner(member="n3")):
        simulation.step(leader, event)
        simulation.run(300)
    for _ in range(2):
        simulation.agree(b"x", on=ALL)
        for name in simulation.names:
            simulation.snapshot(name)
    assert simulation.core(leader).membership.index < simulation.core(leader).first_index
    for name in simulation.names:
        simulation.crash(name)
    for name in simulation.names:
        simulation.start(name)
        assert simulation.core(name).membership.voters == (*ALL, "n3")
    simulation.agree(b"after", on=(*ALL, "n3"))


# --- One member, message by message ---


class Stream:
    def random(self) -> float:
        return 0.5


def follower(terms: tuple[int, ...], commit: int) -> Raft:
    restored = Restored(membership=ABC, terms=terms, payloads=tuple(b"p" for _ in terms))
    raft = Raft(
        member="a", cluster="c", incarnation=1, config=config(), random=Stream(), restored=restored, now_ns=0
    )
    append = Append(
        cluster="c", sender="b", to="a", term=9, incarnation=1, prev_index=len(terms), prev_term=terms[-1],
        terms=(), payloads=(), commit=commit, round=0,
    )  # fmt: skip
    ready = raft.step(1, append)
    assert ready.persist is not None
    raft.step(1, ready.persist.done)
    return raft


def piece(index: int, snapshot_term: int, offset: int, data: bytes, total: int = 6) -> InstallSnapshot:
    return InstallSnapshot(
        cluster="c", sender="b", to="a", term=9, incarnation=1, index=index, snapshot_term=snapshot_term,
        membership=ABC, total=total, offset=offset, data=data,
    )  # fmt: skip


def test_a_snapshot_of_what_is_committed_already_changes_nothing() -> None:
    """P24: the answer says how far this member is."""
    raft = follower((1, 1, 1, 1), commit=3)
    ready = raft.step(2, piece(2, 1, 0, b"whole!"))
    assert ready.install is None
    assert [(type(m), m.match) for m in ready.send] == [(AppendReply, 4)]  # type: ignore[union-attr]
    assert raft.last_index == 4


def test_a_snapshot_that_the_log_agrees_with_keeps_what_follows_it() -> None:
    """P24: throwing the suffix away would take back what was acknowledged."""
    raft = follower((1, 1, 2, 2), commit=1)
    ready = raft.step(2, piece(3, 2, 0, b"whole!"))
    assert ready.install is None
    assert (raft.commit_index, raft.last_index) == (3, 4)
    assert ready.send[0].match == 4  # type: ignore[union-attr]


def test_a_snapshot_that_the_log_disagrees_with_replaces_it_and_counts_when_it_is_durable() -> None:
    raft = follower((1, 1, 1, 1), commit=1)
    ready = raft.step(2, piece(3, 2, 0, b"whole!"))
    assert ready.install == Snapshot(index=3, term=2, membership=ABC, data=b"whole!")
    assert ready.send == ready.send_after_durable == ()
    assert (raft.first_index, raft.last_index, raft.commit_index, raft.snapshot_index) == (4, 3, 3, 0)
    assert raft.step(3, SnapshotInstalled(index=3, term=2, incarnation=0)).send == ()
    ready = raft.step(3, SnapshotInstalled(index=3, term=2, incarnation=1))
    assert [m.match for m in ready.send] == [3]  # type: ignore[union-attr]
    assert raft.snapshot_index == 3


def appended(sender: str, term: int, after: tuple[int, int], count: int, commit: int = 1) -> Append:
    """`count` entries of that term after an (index, term)."""
    return Append(
        cluster="c", sender=sender, to="a", term=term, incarnation=1, prev_index=after[0], prev_term=after[1],
        terms=(term,) * count, payloads=(b"p",) * count, commit=commit, round=0,
    )  # fmt: skip


def test_what_was_acknowledged_counts_until_the_snapshot_that_covers_it_is_durable() -> None:
    """The write of the entries is under way, and their acknowledgement with it, when the snapshot becomes whole."""
    raft = follower((1,), commit=1)
    wrote = raft.step(2, appended("b", 9, (1, 1), count=2))
    assert wrote.persist is not None
    assert [m.match for m in wrote.send_after_durable] == [3]  # type: ignore[union-attr]
    assert raft.step(3, piece(5, 9, 0, b"whole!")).install is not None
    assert raft.durable_index == 1
    raft.step(4, wrote.persist.done)
    assert raft.durable_index == 3, "the write of the old log is what was acknowledged"
    heartbeat = raft.step(5, appended("b", 9, (0, 0), count=0))
    assert [m.match for m in heartbeat.send] == [3]  # type: ignore[union-attr]
    installed = raft.step(6, SnapshotInstalled(index=5, term=9, incarnation=1))
    assert [m.match for m in installed.send] == [5]  # type: ignore[union-attr]


def test_a_write_of_what_the_leader_may_not_have_does_not_count_after_a_snapshot() -> None:
    """Entries of a former leader are under way; the snapshot of the next one holds others in their place."""
    raft = follower((1,), commit=1)
    wrote = raft.step(2, appended("b", 9, (1, 1), count=2))
    assert wrote.persist is not None
    heard = raft.step(3, appended("c", 10, (0, 0), count=0))
    assert heard.persist is not None
    whole = msgspec.structs.replace(piece(5, 10, 0, b"whole!"), sender="c", term=10)
    assert raft.step(4, whole).install is not None
    raft.step(5, wrote.persist.done)
    raft.step(5, heard.persist.done)
    assert raft.durable_index == 1
    heartbeat = raft.step(6, appended("c", 10, (0, 0), count=0))
    assert [m.match for m in heartbeat.send] == [1]  # type: ignore[union-attr]


def test_pieces_in_any_order_twice_and_of_an_older_snapshot_make_one_whole() -> None:
    raft = follower((1,), commit=0)
    old, new = piece(5, 2, 0, b"OLD"), [piece(7, 2, 2 * i, b"snap42"[2 * i : 2 * i + 2]) for i in range(3)]
    for message in (old, new[2], old, new[0], new[0], new[2], old):
        assert raft.step(2, message).install is None
    ready = raft.step(2, new[1])
    assert ready.install is not None
    assert ready.install.data == b"snap42"
    assert raft.dropped["older snapshot"] == 2


@pytest.mark.parametrize(
    "bad",
    [piece(7, 2, 4, b"too long"), piece(7, 2, -1, b"x"), piece(7, 2, 0, b""), piece(7, 2, 0, b"x", total=9)],
)
def test_a_piece_that_cannot_be_right_is_dropped(bad: InstallSnapshot) -> None:
    raft = follower((1,), commit=0)
    raft.step(2, piece(7, 2, 0, b"sn"))
    raft.step(2, bad)
    assert raft.dropped["malformed"] == 1
    ready = raft.step(2, piece(7, 2, 2, b"ap42"))
    assert ready.install is not None and ready.install.data == b"snap42"


def test_a_snapshot_of_an_earlier_life_does_not_cut_the_log() -> None:
    raft = follower((1, 1, 1), commit=2)
    raft.step(2, SnapshotTaken(index=2, term=1, membership=ABC, keep_from=3, incarnation=0))
    assert raft.first_index == 1
    raft.step(2, raft.snapshot_at(2))
    assert raft.first_index == 3


def test_the_random_stories_send_snapshots() -> None:
    """Else they prove nothing of this page."""
    installed = 0
    for seed in range(40):
        chaos = Chaos(seed)
        chaos.run()
        installed += chaos.simulation.installed
    assert installed > 10
