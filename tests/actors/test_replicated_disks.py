"""Disks that fail under a machine of the user's own: the rest goes on, and a member comes back when its disk does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from yard import actor_of

from raftyard.actors import (
    Conflict,
    InvalidRequest,
    Live,
    NoLeader,
    Replicated,
    System,
    TimedOut,
    Unavailable,
    Virtual,
)
from raftyard.actors.disk import Decay, LosePower, SetDiskFaults
from raftyard.actors.machine import MembersTold
from raftyard.actors.messages import LinkPolicy, disk_actor, node_actor
from raftyard.actors.scenarios.checkers.raft import Promises
from raftyard.actors.storage.simulated import DiskFaults
from raftyard.actors.storage.sqlite import SqliteStorage

GOOD = DiskFaults(sync_ms=1)
FULL = DiskFaults(sync_ms=1, is_full=True)
LINK = LinkPolicy(delay_s=0.001)


class Diary:
    """Texts, one after the other."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def apply(self, command: Any) -> int:
        self.texts.append(command)
        return len(self.texts)

    def read(self, query: Any) -> list[str]:
        return self.texts

    def snapshot(self) -> bytes:
        return msgspec.json.encode(self.texts)

    def restore(self, data: bytes) -> None:
        self.texts = msgspec.json.decode(data)


def set_disk(group: Replicated, member: str, faults: DiskFaults) -> None:
    group.system.send(disk_actor(group.name, member), SetDiskFaults(faults=faults))


def follower(group: Replicated) -> str:
    return next(name for name in group.members if name != group.leader())


def run_until(system: System, holds: Callable[[], bool], within_s: float = 30.0, step_s: float = 0.02) -> None:
    """Until something holds, on either clock."""
    end = system.now_ns + within_s * 1e9
    while not holds():
        assert system.now_ns < end, f"not within {within_s} s"
        if isinstance(system, Virtual):
            system.run(step_s)
        else:
            time.sleep(step_s)


@pytest.mark.parametrize(
    "faults", [FULL, DiskFaults(sync_ms=1, failing_sync=1.0), DiskFaults(sync_ms=1, failing_sync=0.5)]
)
@pytest.mark.parametrize("role", ["leader", "follower"])
def test_one_bad_disk_takes_one_member_out_until_it_is_mended(faults: DiskFaults, role: str) -> None:
    """However often the member is started in vain, nobody else is: it is no crash."""
    system = Virtual(seed=1, raise_crashes=True)
    with system, Replicated(system, "diary", Diary, link=LINK, disks=GOOD) as group:
        texts = ["first"]
        assert group.call("first") == 1
        bad = str(group.leader()) if role == "leader" else follower(group)
        set_disk(group, bad, faults)
        seen = dict[str, str]()
        for number in range(60):
            texts.append(str(number))
            assert group.session("me", number).call(str(number), timeout_s=10) == len(texts)
            system.run(for_s=0.5)
            seen |= group.failed()
        assert list(seen) == [bad] and "simulated disk" in seen[bad]
        set_disk(group, bad, GOOD)
        run_until(system, lambda: not group.failed())
        assert [group.read(member=name, timeout_s=20) for name in group.members] == [texts] * 3
        assert system.statistics()["crashes"] == 0


def test_the_statistics_name_a_member_that_takes_no_part_and_why() -> None:
    with Virtual(seed=2) as system, Replicated(system, "diary", Diary, link=LINK, disks=GOOD) as group:
        group.call("a")
        bad = follower(group)
        set_disk(group, bad, FULL)
        group.call("b")
        run_until(system, lambda: bool(group.failed()))
        why = "the simulated disk is full; make room on it"
        assert group.failed() == {bad: why}
        assert actor_of(system, group.actor).statistics()["failed"] == f"{bad} takes no part: {why}"


def test_when_all_disks_are_full_callers_hear_why_and_nothing_is_lost() -> None:
    system = Virtual(seed=3, raise_crashes=True)
    with system, Replicated(system, "diary", Diary, link=LINK, disks=GOOD) as group:
        texts = [str(number) for number in range(10)]
        assert [group.call(text) for text in texts] == list(range(1, 11))
        for name in group.members:
            set_disk(group, name, FULL)
        session = group.session("me")
        with pytest.raises(Unavailable):
            session.call("late", timeout_s=3)
        system.run(for_s=120)
        with pytest.raises(NoLeader, match="had no leader in 3 s") as refused:
            group.call("not taken", timeout_s=3)
        assert refused.value.hint.count("takes no part: the simulated disk is full; make room on it") == 3
        with pytest.raises(NoLeader) as unread:
            group.read(timeout_s=1)
        assert "make room on it" in unread.value.hint
        for name in group.members:
            set_disk(group, name, GOOD)
        assert session.call("late", timeout_s=30, sequence=1) == 11
        assert [group.read(member=name, timeout_s=20) for name in group.members] == [[*texts, "late"]] * 3
        run_until(system, lambda: not group.failed())
        assert system.statistics()["crashes"] == 0


def test_a_real_disk_without_room_takes_one_member_out_and_it_comes_back_when_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sqlite's own error, on the live clock; and more often than a member may crash."""
    monkeypatch.setattr("raftyard.actors.group_members.REVIVE_S", 0.01)
    full = set[str]()
    save_many = SqliteStorage.save_many
    tries = list[str]()

    def save_if_there_is_room(storage: SqliteStorage, persists: Any) -> None:
        pages = 1 if storage.path.stem in full else 1_000_000
        assert storage._database is not None
        storage._database.execute(f"PRAGMA max_page_count = {pages}")
        if storage.path.stem in full:
            tries.append(storage.path.stem)
        save_many(storage, persists)

    monkeypatch.setattr(SqliteStorage, "save_many", save_if_there_is_room)
    with Live(seed=1) as system, Replicated(system, "diary", Diary, data=tmp_path) as group:
        texts = [str(number) + "x" * 10_000 for number in range(3)]
        assert group.call(texts[0]) == 1
        bad = follower(group)
        full.add(bad)
        assert group.call(texts[1]) == 2
        run_until(system, lambda: len(tries) > 22)
        assert group.call(texts[2]) == 3
        full.clear()
        assert group.read(member=bad, timeout_s=20) == texts
        run_until(system, lambda: not group.failed())
        assert system.statistics()["crashes"] == 0


def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the operating system says of it is no crash either."""
    monkeypatch.setattr("raftyard.actors.group_members.REVIVE_S", 0.01)
    with Live(seed=1) as system, Replicated(system, "diary", Diary, data=tmp_path) as group:
        assert group.call("a") == 1
        bad = follower(group)
        log = tmp_path / "diary" / f"{bad}.sqlite-wal"
        real = Path.read_bytes

        def read(path: Path) -> bytes:
            if path == log:
                raise OSError(5, "Input/output error")
            return real(path)

        with monkeypatch.context() as broken:
            broken.setattr(Path, "read_bytes", read)
            group.crash(bad)
            run_until(system, lambda: bad in group.failed())
            assert "Input/output error" in group.failed()[bad]
            assert group.call("b") == 2
        assert group.read(member=bad, timeout_s=20) == ["a", "b"]
        assert system.is_alive(node_actor("diary", bad))


# -- members that are replaced


def voters(group: Replicated, member: str) -> tuple[str, ...]:
    found: tuple[str, ...] = actor_of(group.system, node_actor(group.name, member)).raft.membership.voters
    return found


def damage(file: Path) -> None:
    """Most of it, and no log beside it that has it again."""
    content = bytearray(file.read_bytes())
    content[5000:] = bytes(len(content) - 5000)
    file.write_bytes(content)
    file.with_name(file.name + "-wal").unlink(missing_ok=True)


@pytest.mark.parametrize("clock", [Virtual, Live])
def test_a_damaged_member_says_what_to_do_and_is_replaced(tmp_path: Path, clock: type[System]) -> None:
    """Twice, and once more by the next program: its starts count on, and its old files are set aside."""
    folder = tmp_path / "diary"
    texts = [str(number) for number in range(20)]
    with clock(seed=1) as system, Replicated(system, "diary", Diary, data=tmp_path) as group:
        assert [group.call(text) for text in texts] == list(range(1, 21))
    for life in range(2):
        damage(folder / "member_1.sqlite")
        with clock(seed=1) as system, Replicated(system, "diary", Diary, data=tmp_path) as group:
            run_until(system, lambda: bool(group.failed()))
            assert list(group.failed()) == ["member_1"]
            assert "is damaged" in group.failed()["member_1"]
            assert 'replace("member_1") starts it with nothing' in group.failed()["member_1"]
            assert group.call(f"{life}, without it", timeout_s=20) == len(texts) + 1
            texts.append(f"{life}, without it")
            group.replace("member_1")
            assert group.failed() == {}
            leader = str(group.leader())
            assert sorted(voters(group, leader)) == ["member_0", "member_1", "member_2"]
            assert group.read(member="member_1", timeout_s=20) == texts
            group.isolate(next(name for name in group.members if name not in (leader, "member_1")))
            assert group.call(f"{life}, with it", timeout_s=20) == len(texts) + 1, "its vote counts"
            texts.append(f"{life}, with it")
        names = sorted(file.name for file in folder.glob("*.replaced-*.sqlite"))
        assert names == [f"member_1.replaced-{number}.sqlite" for number in range(1, life + 2)]
    with clock(seed=1) as system, Replicated(system, "diary", Diary, data=tmp_path) as group:
        assert [group.read(member=name, timeout_s=20) for name in group.members] == [texts] * 3


@pytest.mark.parametrize("seed", range(6))
def test_a_member_whose_simulated_disk_decayed_is_replaced_while_commands_come(seed: int) -> None:
    """One that nobody waits for any more goes on; until then no other one is replaced."""
    system = Virtual(seed=seed, raise_crashes=True)
    observe = Promises(system).observe
    with system, Replicated(system, "diary", Diary, link=LINK, disks=GOOD, observe=observe) as group:
        texts = [str(number) for number in range(10)]
        assert [group.call(text) for text in texts] == list(range(1, 11))
        bad, other = group.members[seed % 3], group.members[(seed + 1) % 3]
        for what in (Decay(), LosePower()):
            system.send(disk_actor("diary", bad), what)
        run_until(system, lambda: "damaged" in group.failed().get(bad, "") and group.leader() is not None)
        assert f'replace("{bad}")' in group.failed()[bad]
        with pytest.raises(TimedOut, match=f"{bad} of diary was not replaced in 0.001 s; it goes on"):
            group.replace(bad, timeout_s=0.001)
        with pytest.raises(Conflict, match=f"{bad} is being replaced"):
            group.replace(other)
        for number in range(10, 30):
            texts.append(str(number))
            assert group.call(str(number), timeout_s=10) == len(texts)
            system.run(for_s=0.1)
        assert sorted(voters(group, str(group.leader()))) == sorted(group.members)
        assert not group.failed()
        assert [group.read(member=name, timeout_s=20) for name in group.members] == [texts] * 3


def test_a_member_that_is_well_is_replaced_too_and_a_leader_hands_over_first() -> None:
    system = Virtual(seed=4, raise_crashes=True)
    observe = Promises(system).observe
    with system, Replicated(system, "diary", Diary, link=LINK, observe=observe) as group:
        texts = list[str]()
        for number in range(6):
            texts.append(str(number))
            assert group.call(str(number)) == len(texts)
            group.replace(str(group.leader()) if number % 2 else follower(group))
        assert [group.read(member=name) for name in group.members] == [texts] * 3
        assert system.statistics()["crashes"] == 0


def test_a_replacement_that_would_lose_the_majority_is_refused() -> None:
    system = Virtual(seed=5, raise_crashes=True)
    with system, Replicated(system, "diary", Diary, link=LINK, disks=GOOD) as group:
        group.call("a")
        away, other = (name for name in group.members if name != group.leader())
        group.isolate(away)
        system.run(for_s=5)
        with pytest.raises(Conflict, match=f"{other} cannot be replaced now: 1 of the other 2 .* no majority"):
            group.replace(other)
        assert group.call("b") == 2
        group.heal()
        system.run(for_s=5)
        group.replace(other)
        assert group.call("c") == 3
        set_disk(group, away, FULL)
        assert group.call("d") == 4
        run_until(system, lambda: away in group.failed())
        with pytest.raises(Conflict, match=f"{other} cannot be replaced now: 1 of the other 2 ") as refused:
            group.replace(other)
        assert refused.value.hint == f"{away} takes no part: the simulated disk is full; make room on it"
        for name in group.members:
            group.isolate(name)
        system.run(for_s=5)
        with pytest.raises(NoLeader, match="a majority has to agree"):
            group.replace(other)
        with pytest.raises(InvalidRequest, match="diary has no member x"):
            group.replace("x")
    with Virtual(seed=5) as system, Replicated(system, "diary", Diary, members=1) as group:
        group.call("a")
        with pytest.raises(Conflict, match="the only member"):
            group.replace("member_0")


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.1, 0.3, 0.6])
def test_a_front_door_that_crashes_meanwhile_has_all_members_take_part_in_the_end(after_s: float) -> None:
    with Virtual(seed=6) as system, Replicated(system, "diary", Diary, link=LINK) as group:
        group.call("a")
        with pytest.raises(TimedOut):
            group.replace(follower(group), timeout_s=0.0001)
        system.run(for_s=after_s)
        system.crash(group.actor)
        system.run(for_s=2)
        assert group.call("b", timeout_s=20) == 2
        run_until(system, lambda: len(voters(group, str(group.leader()))) == 3)
        assert [group.read(member=name) for name in group.members] == [["a", "b"]] * 3


def test_what_was_said_of_the_members_before_a_replacement_began_does_not_count() -> None:
    """An answer that is late, of a time when the member had left before, must not have its file set aside."""
    system = Virtual(seed=7, raise_crashes=True)
    with system, Replicated(system, "diary", Diary, link=LINK) as group:
        group.call("a")
        leader, leaving = str(group.leader()), follower(group)
        rest = tuple(name for name in group.members if name != leaving)
        before = actor_of(system, node_actor("diary", leaving))
        with pytest.raises(TimedOut):
            group.replace(leaving, timeout_s=0.0001)
        system.send(group.actor, MembersTold(ref=1, voters=rest))
        system.run(for_s=0.0001)
        assert actor_of(system, node_actor("diary", leaving)) is before
        group.replace(leaving)
        assert actor_of(system, node_actor("diary", leaving)) is not before
        assert sorted(voters(group, leader)) == sorted(group.members)
