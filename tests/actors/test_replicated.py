"""A replicated machine of the user's own: applied once, read as of now, found again; on both clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from yard import actor_of

from raftyard.actors import (
    Answered,
    ApplyCommand,
    Conflict,
    InvalidRequest,
    Live,
    MachineRaised,
    Member,
    NoLeader,
    Probe,
    RaftConfig,
    Replicated,
    SessionExpired,
    System,
    Terminated,
    TimedOut,
    Virtual,
    cluster_actor,
)
from raftyard.actors.disk import Disk, LosePower
from raftyard.actors.group import Group
from raftyard.actors.member import APPLY_SLICE
from raftyard.actors.messages import LinkPolicy, Outcome, Submit, disk_actor, node_actor
from raftyard.actors.raft import sessions
from raftyard.actors.raft.core import Restored
from raftyard.actors.raft.events import Append, InstallSnapshot, Persist, PreVoteRequest, Propose, Snapshot
from raftyard.actors.raft.membership import Membership, encode_membership
from raftyard.actors.raft.sessions import Sessions
from raftyard.actors.storage.base import StorageBroken
from raftyard.actors.storage.memory import MemoryStorage
from raftyard.actors.storage.simulated import DiskFaults
from raftyard.actors.system import Event

SMALL = RaftConfig(
    snapshot_entries=5, keep_entries=3, snapshot_chunk_bytes=20, max_snapshot_inflight_bytes=40
)


class Diary:
    """Texts, one after the other: what is applied twice, or out of order, shows."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.restored = 0

    def apply(self, command: Any) -> Any:
        if command == "impossible":
            raise ValueError("not this")
        if command == "unspeakable":
            raise ValueError("\ud800")
        self.texts.append(command)
        return len(self.texts) if command != "odd answer" else object()

    def read(self, query: Any) -> list[str]:
        if query == "impossible":
            raise KeyError("no such page")
        return self.texts

    def snapshot(self) -> bytes:
        return msgspec.json.encode(self.texts)

    def restore(self, data: bytes) -> None:
        self.texts = msgspec.json.decode(data)
        self.restored += 1


def machine(group: Replicated, member: str) -> Diary:
    found: Diary = actor_of(group.system, node_actor(group.name, member)).machine
    return found


def settle(system: Virtual, group: Replicated, within_s: float = 10.0) -> str:
    """Until somebody leads, and everybody has applied the same; the leader."""

    def is_settled() -> bool:
        members = [actor_of(system, node_actor(group.name, name)) for name in group.members]
        if not all(member is not None and member.is_running for member in members):
            return False
        roles = [member.raft.role.name for member in members]
        return roles.count("LEADER") == 1 and len({member.applied for member in members}) == 1

    assert system.run_until(is_settled, within_s)
    return str(group.leader())


def follower(group: Replicated) -> str:
    return next(name for name in group.members if name != group.leader())


@pytest.fixture(params=["virtual", "live", "virtual, on disk", "live, on disk"])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Replicated]:
    system: System = Virtual(seed=1, raise_crashes=True) if "virtual" in request.param else Live(seed=1)
    data = tmp_path / "data" if "disk" in request.param else None
    with system, Replicated(system, "diary", Diary, data=data) as started:
        yield started


def test_a_command_is_applied_and_every_member_reads_it(group: Replicated) -> None:
    assert [group.call(text) for text in ("a", "b", "c")] == [1, 2, 3]
    assert group.read() == ["a", "b", "c"]
    assert [group.read(member=name) for name in group.members] == [["a", "b", "c"]] * 3


def test_what_the_machine_raises_is_its_answer_and_changes_nothing_for_the_others(group: Replicated) -> None:
    assert group.call("a") == 1
    with pytest.raises(MachineRaised, match="ValueError: not this") as raised:
        group.call("impossible")
    assert (raised.value.kind, raised.value.text) == ("ValueError", "not this")
    with pytest.raises(MachineRaised, match="TypeError"):
        group.call("odd answer")
    with pytest.raises(MachineRaised, match=r"ValueError: \?"):
        group.call("unspeakable")
    with pytest.raises(MachineRaised, match="KeyError"):
        group.read("impossible")
    assert group.call("b") == 3
    assert [group.read(member=name) for name in group.members] == [["a", "odd answer", "b"]] * 3


def test_a_session_s_command_that_is_repeated_is_applied_once(group: Replicated) -> None:
    session = group.session("me")
    assert session.call("a") == 1
    assert session.retry() == 1
    assert session.call("b") == 2
    assert session.call("b", sequence=2) == 2
    with pytest.raises(SessionExpired, match="result forgotten"):
        session.call("a", sequence=1)
    assert group.session("me", answered=1).call("b", sequence=2) == 2
    assert group.read() == ["a", "b"]


def test_a_crashed_member_comes_back_with_everything(group: Replicated) -> None:
    assert group.call("a") == 1
    group.crash(str(group.leader()))
    assert group.call("b", timeout_s=20) == 2
    assert [group.read(member=name, timeout_s=20) for name in group.members] == [["a", "b"]] * 3


def test_asyncio_callers_get_an_awaitable(group: Replicated) -> None:
    async def both() -> list[Any]:
        session = group.session("me")
        first = await group.call_async("a")
        again = [await session.call_async("b"), await session.retry_async()]
        return [first, *again, await group.read_async()]

    assert asyncio.run(both()) == [1, 2, 2, ["a", "b"]]


def test_another_actor_is_answered_by_a_message(group: Replicated) -> None:
    probe = Probe(group.system)
    probe.send(group.actor, ApplyCommand.of("a", reply_to=probe.name, ref=7))
    assert probe.expect(Answered) == Answered(ref=7, result=1)


def test_what_is_asked_wrongly_is_refused_at_once(group: Replicated) -> None:
    with pytest.raises(InvalidRequest, match="the command cannot be sent"):
        group.call(object())
    with pytest.raises(InvalidRequest, match="diary has no member x; it has member_0, member_1, member_2"):
        group.read(member="x")
    with pytest.raises(InvalidRequest, match="numbered from 1, not 0"):
        group.session("me").call("a", sequence=0)
    with pytest.raises(Conflict, match="something is called diary already"):
        Replicated(group.system, "diary", Diary)
    with pytest.raises(InvalidRequest, match="1 to 5 members, not 9"):
        Replicated(group.system, "other", Diary, members=9)


def test_answers_that_are_lost_are_asked_for_again_and_found_in_the_session() -> None:
    with Virtual(seed=2, raise_crashes=True) as system, Replicated(system, "diary", Diary) as group:
        settle(system, group)
        front, lost = actor_of(system, group.actor), list[Outcome]()
        hear = front._handlers[Outcome]

        def lose_first(outcome: Outcome) -> None:
            if outcome.index and len(lost) < 3:
                lost.append(outcome)
            else:
                hear(outcome)

        front._handlers[Outcome] = lose_first
        assert [group.call(text) for text in ("a", "b")] == [1, 2]
        assert len(lost) == 3
        assert group.read() == ["a", "b"]


def test_a_command_whose_leader_is_lost_is_applied_once_by_the_next() -> None:
    for seed in range(10):
        system, link = Virtual(seed=seed, raise_crashes=True), LinkPolicy(delay_s=0.01)
        with system, Replicated(system, "diary", Diary, link=link) as group:
            leader = settle(system, group)
            probe = Probe(system)
            for ref in range(5):
                probe.send(group.actor, ApplyCommand.of(str(ref), within_s=30, reply_to=probe.name, ref=ref))
            system.run(for_s=0.004 * seed)  # before, while and after the others hear of it
            group.isolate(leader)
            answers = [probe.expect(Answered, within_s=30) for _ in range(5)]
            group.heal()
            settle(system, group)
            assert [(answer.ref, answer.result) for answer in answers] == [(n, n + 1) for n in range(5)]
            assert [machine(group, name).texts for name in group.members] == [list("01234")] * 3


def test_a_timeout_leaves_open_what_became_of_it_and_a_retry_tells() -> None:
    with Virtual(seed=3, raise_crashes=True) as system, Replicated(system, "diary", Diary) as group:
        leader, session = settle(system, group), group.session("me")
        group.isolate(leader)
        with pytest.raises(TimedOut, match="whether it is applied is not known"):
            session.call("a", timeout_s=0.05)
        group.heal()
        assert session.retry() == 1
        probe = Probe(system)
        group.isolate(str(group.leader()))
        probe.send(group.actor, ApplyCommand.of("b", session="me", sequence=2, reply_to=probe.name))
        system.run(for_s=0.001)
        with pytest.raises(Conflict, match="is another command"):
            session.call("c", sequence=2)
        with pytest.raises(Conflict, match="under way"):
            session.call("c", sequence=3)
        group.heal()
        assert probe.expect(Answered, within_s=10).result == 2
        assert group.read() == ["a", "b"]


def test_without_a_leader_nothing_is_taken_and_that_is_said() -> None:
    with Virtual(seed=4, raise_crashes=True) as system, Replicated(system, "diary", Diary) as group:
        settle(system, group)
        for name in group.members:
            group.isolate(name)
        system.run(for_s=3)
        assert group.leader() is None
        session = group.session("me")
        for _ in range(2):
            with pytest.raises(NoLeader, match="diary had no leader in 1 s; the command was not taken"):
                session.call("a", timeout_s=1)
        with pytest.raises(NoLeader):
            group.read(timeout_s=1)
        group.heal()
        assert session.retry() == 1
        assert group.read() == ["a"]
        assert system.statistics()["crashes"] == 0


def test_a_member_that_was_away_gets_a_snapshot_and_one_that_crashes_begins_with_its_own() -> None:
    system, link = Virtual(seed=5, raise_crashes=True), LinkPolicy(delay_s=0.001)
    with system, Replicated(system, "diary", Diary, raft=SMALL, link=link) as group:
        settle(system, group)
        away, session = follower(group), group.session("me")
        assert session.call("first") == 1
        group.isolate(away)
        texts = [str(number) for number in range(30)]
        assert [group.call(text) for text in texts] == list(range(2, 32))
        group.heal()
        settle(system, group)
        assert machine(group, away).restored >= 1
        assert session.retry() == 1, "the sessions are a part of the snapshot"
        for name in group.members:
            group.crash(name)
            settle(system, group)
            assert machine(group, name).restored == 1
            assert group.read(member=name) == ["first", *texts]


def test_a_loss_of_power_of_all_simulated_disks_loses_nothing() -> None:
    with Virtual(seed=6) as system:
        disks = DiskFaults(sync_ms=2, jitter_ms=2)
        with Replicated(system, "diary", Diary, raft=SMALL, disks=disks) as group:
            texts = []
            for round_ in range(4):
                for number in range(7):
                    texts.append(f"{round_}/{number}")
                    assert group.call(texts[-1]) == len(texts)
                for name in group.members:
                    system.send(disk_actor("diary", name), LosePower())
                system.run(for_s=0.5)
            settle(system, group)
            assert [group.read(member=name) for name in group.members] == [texts] * 3


@pytest.mark.parametrize("clock", [Virtual, Live])
def test_a_program_that_starts_again_finds_everything_in_its_folder(
    tmp_path: Path, clock: type[System]
) -> None:
    texts: list[str] = []
    for life in range(3):
        with clock(seed=1) as system, Replicated(system, "diary", Diary, data=tmp_path, raft=SMALL) as group:
            if life:
                # What was not answered when the program ended may be asked again in the next one.
                assert group.session("me", answered=life - 1).call("once", sequence=life) == len(texts)
            for number in range(8):
                texts.append(f"{life}/{number}")
                assert group.call(texts[-1]) == len(texts)
            texts.append("once")
            assert group.session("me", answered=life).call("once") == len(texts)
            assert group.read(member="member_1") == texts
            with pytest.raises(Conflict, match="in use by another"):
                Replicated(system, "other", Diary, data=tmp_path)
    with Virtual(seed=1) as system:
        with pytest.raises(Conflict, match="has 3 members of diary, not 5") as refused:
            Replicated(system, "diary", Diary, data=tmp_path, members=5)
        assert "members=3" in refused.value.hint
        Replicated(system, "diary", Diary, data=tmp_path).close()


class Greedy(Diary):
    """Runs out of memory once."""

    is_greedy = True

    def apply(self, command: Any) -> Any:
        if command == "much" and Greedy.is_greedy:
            Greedy.is_greedy = False
            self.texts.append("half done")
            raise MemoryError
        return super().apply(command)


def test_a_member_that_runs_out_of_memory_gives_no_answer_and_begins_anew() -> None:
    Greedy.is_greedy = True
    with Virtual(seed=7) as system, Replicated(system, "diary", Greedy) as group:
        assert group.call("a") == 1
        assert group.call("much", timeout_s=10) == 2
        settle(system, group)
        assert [group.read(member=name) for name in group.members] == [["a", "much"]] * 3


def test_a_front_door_that_crashes_leaves_everything_as_it_was() -> None:
    with Virtual(seed=8) as system, Replicated(system, "diary", Diary) as group:
        assert group.call("a") == 1
        system.crash(cluster_actor("diary"))
        system.run(for_s=2)
        assert group.call("b") == 2
        assert group.read() == ["a", "b"]


class Bytes:
    """A machine as the sessions want one."""

    def apply(self, index: int, command: bytes) -> None: ...

    def snapshot(self) -> bytes:
        return b""

    def restore(self, data: bytes) -> None: ...


class Noting(MemoryStorage):
    """A memory storage that tells what it was given, and takes only so many writes."""

    def __init__(self, voters: tuple[str, ...], happened: list[str], takes: int = 1000) -> None:
        super().__init__(Restored.bootstrap(voters))
        self.happened = happened
        self.takes = takes

    def save(self, persist: Persist) -> None:
        if not self.takes:
            raise StorageBroken("full")
        self.takes -= 1
        self.happened.append("save")
        super().save(persist)

    def save_snapshot(self, snapshot: Snapshot, keep_from: int) -> None:
        self.happened.append("save snapshot")
        super().save_snapshot(snapshot, keep_from)


def start_member(
    system: Virtual,
    storage: MemoryStorage | str,
    happened: list[str],
    machine: Bytes | None = None,
    config: RaftConfig = RaftConfig(),  # noqa: B008 (frozen)
) -> None:
    """A bare member, whose steps and events are noted."""
    Probe(system, "cluster/x")
    system.spawn(
        Member, "cluster/x/node/a", "x", "a", storage, machine or Bytes(), config, LinkPolicy(),
        lambda core, event, ready: happened.append(type(event).__name__),
    )  # fmt: skip


def test_a_snapshot_of_a_newer_term_is_saved_before_the_term_is_and_then_told_to_the_core() -> None:
    """Both are durable at once: of the term's write the core need not be told, as it knows that it is."""
    happened: list[str] = []
    membership = Membership(voters=("a", "b", "c"))
    storage = Noting(membership.voters, happened)
    with Virtual(seed=9, raise_crashes=True) as system:
        start_member(system, storage, happened)
        data = Sessions(Bytes()).snapshot()
        system.send(
            "cluster/x/node/a",
            InstallSnapshot(
                cluster="x", sender="b", to="a", term=5, incarnation=1, index=9, snapshot_term=4,
                membership=membership, total=len(data), offset=0, data=data,
            ),
        )  # fmt: skip
        system.run(for_s=0.01)
    assert happened == ["InstallSnapshot", "save snapshot", "save", "SnapshotInstalled"]
    assert storage.hard_state.term == 5


def test_a_member_to_which_a_snapshot_is_slow_does_not_keep_the_log_from_being_cut() -> None:
    """The leader waits, but not for ever: at four times of what makes one due it takes a newer one and begins again."""
    config = RaftConfig(
        snapshot_entries=10, keep_entries=3, snapshot_chunk_bytes=10, max_snapshot_inflight_bytes=10
    )
    link = LinkPolicy(delay_s=0.05)
    with Virtual(seed=10) as system, Replicated(system, "diary", Diary, raft=config, link=link) as group:
        leader, away = settle(system, group), follower(group)
        group.isolate(away)
        for number in range(30):
            group.call(f"{number} " + "x" * 50)
        group.heal()
        raft = actor_of(system, node_actor("diary", leader)).raft
        assert system.run_until(lambda: raft.is_sending_snapshot, 5)
        longest = waited = 0
        for number in range(80):
            group.call(f"{number}")
            waited += raft.is_sending_snapshot
            longest = max(longest, raft.last_index + 1 - raft.first_index)
        assert raft.is_leader and waited == 80, "it was not slow enough for this test"
        assert 2 * config.snapshot_entries < longest <= 4 * config.snapshot_entries + config.keep_entries + 1
        assert settle(system, group, within_s=200) == leader
        assert machine(group, away).restored >= 1


def test_the_only_voter_leads_and_commits_in_the_step_in_which_it_saves() -> None:
    happened: list[str] = []
    storage = Noting(("a",), happened)
    with Virtual(seed=9, raise_crashes=True) as system:
        start_member(system, storage, happened)
        system.run(for_s=0.81)
        assert actor_of(system, "cluster/x/node/a").applied == 1
    assert happened[:2] == ["DeadlineReached", "save"] and happened.count("save") == 1
    assert (storage.hard_state.term, storage.hard_state.voted_for, storage.last_index) == (1, "a", 1)


@pytest.mark.parametrize("voters", [("a",), ("a", "b", "c")])
def test_what_cannot_be_saved_is_neither_said_nor_applied(voters: tuple[str, ...]) -> None:
    """A leader's entries are not acknowledged, nobody is asked for a vote, and the only voter does not lead."""
    happened: list[str] = []
    storage = Noting(voters, happened, takes=0)
    with Virtual(seed=9) as system:
        start_member(system, storage, happened)
        peer = Probe(system, "cluster/x/node/b")
        system.send(
            "cluster/x/node/a",
            Append(
                cluster="x", sender="b", to="a", term=1, incarnation=1, prev_index=0, prev_term=0, terms=(1,),
                payloads=(b"x",), commit=1, round=0,
            ),
        )  # fmt: skip
        system.run(for_s=2)
        said = {type(message) for message in peer.received}
    assert "Append" in happened and "save" not in happened
    # Asking for votes before there is an election promises nothing.
    assert said <= {PreVoteRequest} and (storage.hard_state.term, storage.last_index) == (0, 0)


def fill_mailbox(system: Virtual) -> None:
    for _ in range(Member.mailbox_capacity + 1):
        system.send("cluster/x/node/a", Terminated(name="nobody", incarnation=1, reason="crashed"))


class Busy(Bytes):
    """A machine that takes so long that its member's mailbox is full meanwhile."""

    def __init__(self, system: Virtual) -> None:
        self.system = system

    def apply(self, index: int, command: bytes) -> None:
        fill_mailbox(self.system)


def test_a_member_whose_mailbox_is_full_goes_on_applying_and_answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says to itself was dropped, and it waited for it for good."""
    monkeypatch.setattr(Member, "mailbox_capacity", 20)
    with Virtual(seed=9, raise_crashes=True) as system:
        start_member(system, Noting(("a",), []), [], Busy(system))
        system.run(for_s=0.81)
        member, answers = actor_of(system, "cluster/x/node/a"), list[str | None]()
        commands = tuple(sessions.encode("", number, b"x", 0) for number in range(1, 3 * APPLY_SLICE))
        probe = Probe(system, "client")
        probe.do(lambda _: member.step(Propose(payloads=commands, ref=1, forward=False)))
        probe.do(lambda _: [member.read(answers.append) for _ in range(10)])
        system.run(for_s=0.1)
        assert system.dead_letters["mailbox-full"]
        assert member.applied == member.raft.commit_index > 2 * APPLY_SLICE
        assert answers == [None] * 10



class Slow(Noting):
    """A storage that takes so long to load and to save a snapshot that its member's mailbox is full meanwhile."""

    system: Virtual

    def load(self) -> Restored:
        fill_mailbox(self.system)
        return super().load()

    def save_snapshot(self, snapshot: Snapshot, keep_from: int) -> None:
        super().save_snapshot(snapshot, keep_from)
        fill_mailbox(self.system)


def test_a_member_whose_mailbox_is_full_hears_its_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that answer it took no snapshot any more, and its log grew for good."""
    monkeypatch.setattr(Member, "mailbox_capacity", 20)
    happened: list[str] = []
    storage = Slow(("a",), happened)
    with Virtual(seed=9, raise_crashes=True) as system:
        storage.system = system
        start_member(system, "disk", happened, config=RaftConfig(snapshot_entries=10, keep_entries=2))
        system.spawn(Disk, "disk", "cluster/x/node/a", storage)
        system.run(for_s=0.81)
        member, probe = actor_of(system, "cluster/x/node/a"), Probe(system, "client")
        for ref in range(35):
            probe.do(lambda _, ref=ref: member.step(Propose(payloads=(b"\x94x",), ref=ref, forward=False)))
            system.run(for_s=0.01)
        assert system.dead_letters["mailbox-full"]
        assert (happened.count("save snapshot"), happened.count("SnapshotTaken")) == (3, 3)
        assert member.raft.snapshot_index == 30


def test_a_leader_is_known_whose_claim_meets_a_full_mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """It claims to lead only once: without that the group had no leader for as long as it led."""
    monkeypatch.setattr(Group, "mailbox_capacity", 50)
    with Virtual(seed=12) as system:

        def fill_mailbox(event: Event) -> None:
            if event.kind == "leader-elected":
                for _ in range(Group.mailbox_capacity):
                    system.send(cluster_actor("diary"), Terminated(name="nobody", incarnation=1, reason="stopped"))

        system.events.subscribe(fill_mailbox)
        with Replicated(system, "diary", Diary) as group:
            system.run(for_s=2.0)
            assert group.call("a") == 1


def test_of_sessions_that_send_nothing_any_more_a_leader_remembers_a_bounded_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It remembered what it had taken of every session for as long as it led."""
    monkeypatch.setattr("raftyard.actors.member.SESSIONS_LIMIT", 10)
    with Virtual(seed=13) as system, Replicated(system, "diary", Diary, members=1) as group:
        member = actor_of(system, node_actor("diary", settle(system, group)))
        for number in range(50):
            assert group.session(f"request {number}").call("of its own") == 2 * number + 1
            assert group.call("of the group's") == 2 * number + 2
            assert len(member._taken) <= 10


def test_what_waits_to_be_applied_is_taken_once_however_often_it_is_sent() -> None:
    """Each time it was one entry more, so that a machine that was slow got slower and slower."""
    with Virtual(seed=14) as system, Replicated(system, "diary", Diary, members=1) as group:
        member = actor_of(system, node_actor("diary", settle(system, group)))
        before = member.raft.last_index
        member.hold_applying()
        for _ in range(10):
            system.send(group.actor, ApplyCommand.of("x", reply_to="nobody"))
        system.run(for_s=3.0)
        assert member.raft.last_index == before + 10
        member.go_on_applying()
        assert group.call("y") == 11
        assert member.raft.last_index == before + 11
        assert not member._waiting


def test_who_leads_no_more_refuses_what_it_had_taken_when_that_is_sent_again() -> None:
    with Virtual(seed=15) as system, Replicated(system, "diary", Diary) as group:
        leader = settle(system, group)
        member, probe = actor_of(system, node_actor("diary", leader)), Probe(system, "client")
        submit = Submit(session="mine", sequence=1, acknowledged=0, command=b"\xa1x", reply_to="client")
        term = member.raft.term
        group.isolate(leader)
        probe.send(node_actor("diary", leader), submit)
        system.run(for_s=3.0)
        assert not probe.received and (member.raft.is_leader, member.raft.term) == (False, term)
        probe.send(node_actor("diary", leader), submit)
        assert probe.expect(Outcome).refused == "no leader"


def test_a_learner_takes_no_snapshot_before_it_knows_who_votes() -> None:
    """It said that nobody votes, and whoever began with it gave nobody a vote any more."""
    happened: list[str] = []
    storage = Noting((), happened)
    said = {"cluster": "x", "sender": "b", "to": "a", "term": 1, "incarnation": 1, "round": 0}
    added = encode_membership(Membership(voters=("b", "c"), learners=("a",)))
    with Virtual(seed=16, raise_crashes=True) as system:
        start_member(system, storage, happened, config=RaftConfig(snapshot_entries=10, keep_entries=2))
        early = Append(
            **said, prev_index=0, prev_term=0, terms=(1,) * 19, payloads=(b"\x94x",) * 19, commit=19
        )
        system.send("cluster/x/node/a", early)
        system.run(for_s=0.1)
        assert actor_of(system, "cluster/x/node/a").applied == 19 and "save snapshot" not in happened
        late = Append(
            **said, prev_index=19, prev_term=1, terms=(1,), payloads=(added,), commit=20, memberships=(20,)
        )
        system.send("cluster/x/node/a", late)
        system.run(for_s=0.1)
    snapshot = storage.load().snapshot
    assert snapshot is not None and (snapshot.index, snapshot.membership.voters) == (20, ("b", "c"))
