"""Disks that fail under a machine of the user's own: the rest goes on, and a member comes back when its disk does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from yard import actor_of

from raftyard.actors import Live, NoLeader, Replicated, System, Unavailable, Virtual
from raftyard.actors.disk import SetDiskFaults
from raftyard.actors.messages import LinkPolicy, disk_actor, node_actor
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
    monkeypatch.setattr("raftyard.actors.group.REVIVE_S", 0.01)
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
    monkeypatch.setattr("raftyard.actors.group.REVIVE_S", 0.01)
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
