"""What a sqlite storage does with a file that is not as it was written: it names it, and cuts nothing off silently."""

import os
import random
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from test_storage_contract import FRESH, write

from raftyard.actors.raft.core import Restored
from raftyard.actors.raft.events import HardState, Snapshot
from raftyard.actors.storage.base import StorageBroken, StorageDamaged
from raftyard.actors.storage.sqlite import SqliteStorage

FLIPS = 150


def opened(path: Path, initial: Restored | None = FRESH) -> SqliteStorage:
    return SqliteStorage(path, "0", "a", initial)


def killed(path: Path, target: Path, writes: int = 12) -> list[Restored]:
    """Write, and copy the files as a killed process leaves them; the contents after each write."""
    storage = opened(path)
    contents = [storage.load()]
    for number in range(writes):
        storage.save(write(number + 1, 1 + number // 4, hard=HardState(term=1 + number // 4)))
        before = contents[-1]
        contents.append(
            Restored(
                hard_state=HardState(term=1 + number // 4),
                membership=before.membership,
                terms=(*before.terms, 1 + number // 4),
                payloads=(*before.payloads, b"%d/%d" % (number + 1, 1 + number // 4)),
            )
        )
    target.parent.mkdir(exist_ok=True)
    for end in ("", "-wal"):
        shutil.copy(path.with_name(path.name + end), target.with_name(target.name + end))
    storage.close()
    return contents


def loaded(path: Path) -> Restored:
    storage = opened(path, None)
    try:
        return storage.load()
    finally:
        storage.close()


def load_or_error(path: Path) -> tuple[Restored | None, str]:
    try:
        return loaded(path), ""
    except StorageBroken as error:
        return None, str(error)


def wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def test_what_a_killed_process_wrote_is_found(tmp_path: Path) -> None:
    contents = killed(tmp_path / "a.sqlite", tmp_path / "copy" / "a.sqlite")
    assert loaded(tmp_path / "copy" / "a.sqlite") == contents[-1]


def test_a_torn_tail_costs_only_the_last_write(tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "a.sqlite"
    contents = killed(tmp_path / "a.sqlite", copy)
    size = wal(copy).stat().st_size
    for cut in (1, 100, 4000):
        os.truncate(wal(copy), size - cut)
        assert loaded(copy) == contents[-2]
        killed(tmp_path / f"{cut}.sqlite", copy)


def test_a_changed_bit_in_the_middle_of_the_write_ahead_log_is_damage(tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "a.sqlite"
    killed(tmp_path / "a.sqlite", copy)
    flip(wal(copy), 8 * (32 + 2 * 4120 + 500))
    with pytest.raises(StorageDamaged, match="a.sqlite-wal is damaged before its end"):
        loaded(copy)


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def test_no_changed_bit_ever_changes_what_is_found_silently(tmp_path: Path) -> None:
    change_bits(tmp_path, seed=0)


@pytest.mark.campaign
@pytest.mark.parametrize("number", range(20))
def test_no_changed_bit_of_many_does(tmp_path: Path, number: int) -> None:
    change_bits(tmp_path, int(os.environ.get("RAFTYARD_SEED", "0")) + number)


def change_bits(tmp_path: Path, seed: int) -> None:
    """In either file: the contents are the same, or the damage is named. In the last write: it may be a torn tail."""
    print(f"replay: RAFTYARD_SEED={seed}")
    chance = random.Random(seed)
    copy = tmp_path / "copy" / "a.sqlite"
    contents = killed(tmp_path / "a.sqlite", copy)
    storage = opened(copy)
    storage.load()  # moves everything into the database file
    storage.close()
    moved = copy.read_bytes()
    killed(tmp_path / "b.sqlite", copy)
    in_log = copy.read_bytes(), wal(copy).read_bytes()
    found = 0
    for number in range(FLIPS):
        copy.with_name(copy.name + "-shm").unlink(missing_ok=True)
        if number % 2:
            copy.write_bytes(moved)
            wal(copy).unlink(missing_ok=True)
            flip(copy, chance.randrange(8 * len(moved)))
            allowed = contents[-1:]
        else:
            copy.write_bytes(in_log[0])
            wal(copy).write_bytes(in_log[1])
            bit = chance.randrange(8 * len(in_log[1]))
            flip(wal(copy), bit)
            # The last transaction's frames, and the last frame before them: its end is how the next one is told apart.
            allowed = contents[-1:] if bit // 8 < len(in_log[1]) - 3 * 4120 else contents[-3:]
        content, error = load_or_error(copy)
        if error:
            assert str(copy) in error
            found += 1
        else:
            assert content in allowed, f"flip {number}"
    assert found > FLIPS // 10


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("term = term - 9223372036854775807 - 1", "entry 2 of the log was changed; node a takes no part"),
        ("payload = CAST(x'fffe' AS TEXT)", "Could not decode to UTF-8 column 'payload'"),
    ],
    ids=["the sign bit of a term", "a payload that became text which nobody can read"],
)
def test_a_value_of_the_log_that_cannot_be_is_damage(tmp_path: Path, changed: str, words: str) -> None:
    path = tmp_path / "a.sqlite"
    killed(path, tmp_path / "copy" / "a.sqlite")
    with changing(path) as database:
        database.execute(f"UPDATE log SET {changed} WHERE idx = 2")
    with pytest.raises(StorageDamaged, match=words):
        loaded(path)


@pytest.mark.parametrize("error", [struct.error("argument out of range"), ValueError("no"), IndexError("no")])
def test_a_value_that_nobody_foresaw_is_damage_and_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def read(*_: object) -> None:
        raise error

    path = tmp_path / "a.sqlite"
    killed(path, tmp_path / "copy" / "a.sqlite")
    monkeypatch.setattr(SqliteStorage, "_read_log", read)
    storage = opened(path, None)
    with pytest.raises(StorageDamaged, match=f"a value in it makes no sense .{error}.; node a takes no part"):
        storage.load()
    assert storage._database is None


def test_a_file_that_is_gone_is_damage_and_not_a_fresh_start(tmp_path: Path) -> None:
    with pytest.raises(StorageDamaged, match="a.sqlite is damaged: the file is gone; node a takes no part"):
        opened(tmp_path / "a.sqlite", None).load()
    (tmp_path / "a.sqlite").touch()
    with pytest.raises(StorageDamaged, match="the file is empty"):
        opened(tmp_path / "a.sqlite", None).load()


def test_another_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    killed(path, tmp_path / "copy" / "a.sqlite")
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(
        StorageBroken, match="has format 7, and this version of Raftyard reads format 2; start the"
    ) as found:
        loaded(path)
    assert not isinstance(found.value, StorageDamaged)
    assert "the file is damaged: node a takes no part" in str(found.value)


@pytest.mark.parametrize("version", [0, 1026, 2 + (1 << 30), 2 - (1 << 31)])
def test_a_format_that_no_version_writes_is_damage(tmp_path: Path, version: int) -> None:
    path = tmp_path / "a.sqlite"
    killed(path, tmp_path / "copy" / "a.sqlite")
    with changing(path) as database:
        database.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(
        StorageDamaged, match=f"no version of Raftyard writes format {version}; node a takes no part"
    ):
        loaded(path)


def replace(path: Path, old: bytes, new: bytes) -> None:
    """In the closed database file, where it stands once."""
    content = path.read_bytes()
    assert content.count(old) == 1 and len(old) == len(new)
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (b"idx INTEGER PRIMARY KEY, term", b"idx INTEGER PRIMARY KEY, tarm", "no such column: term"),
        (b"name TEXT PRIMARY KEY, value", b"name TEXT PRIMARY KEY, velue", "no such column: value"),
    ],
)
def test_a_changed_schema_is_damage(tmp_path: Path, old: bytes, new: bytes, complaint: str) -> None:
    path = tmp_path / "a.sqlite"
    killed(path, tmp_path / "copy" / "a.sqlite")
    replace(path, old, new)
    with pytest.raises(StorageDamaged, match=f"{complaint}; node a takes no part"):
        loaded(path)


def test_a_schema_of_a_format_that_sqlite_does_not_know_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    killed(path, tmp_path / "copy" / "a.sqlite")
    flip(path, 8 * 47 + 3)  # its number is in the bytes 44 to 47
    with pytest.raises(StorageDamaged, match="unsupported file format"):
        loaded(path)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (sqlite3.SQLITE_BUSY, "database is locked"),
        (sqlite3.SQLITE_FULL, "database or disk is full"),
        (sqlite3.SQLITE_CANTOPEN, "unable to open database file"),
        (sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error"),
        (sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
    ],
)
def test_what_may_pass_is_tried_again_and_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, says: str
) -> None:
    error = sqlite3.OperationalError(says)
    error.sqlite_errorcode = code

    def check(*_: object) -> None:
        raise error

    path = tmp_path / "a.sqlite"
    killed(path, tmp_path / "copy" / "a.sqlite")
    with monkeypatch.context() as patched:
        patched.setattr(SqliteStorage, "_check_file", check)
        with pytest.raises(StorageBroken, match=f"cannot be read: {says}; .*the node tries again") as found:
            loaded(path)
    assert not isinstance(found.value, StorageDamaged)
    loaded(path)


def test_a_file_that_another_program_reads_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftyard.actors.storage.sqlite.BUSY_S", 0.01)
    copy = tmp_path / "copy" / "a.sqlite"
    killed(tmp_path / "a.sqlite", copy)
    with closing(sqlite3.connect(copy)) as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM log").fetchone()
        with changing(copy) as database:
            database.execute("DELETE FROM log WHERE idx = 12")
        with pytest.raises(
            StorageBroken, match="write-ahead log busy.*; end the program that holds it"
        ) as found:
            loaded(copy)
    assert not isinstance(found.value, StorageDamaged)
    loaded(copy)


LARGE = Snapshot(index=2, term=1, membership=FRESH.membership, data=bytes(range(256)) * 4000)


def with_snapshot(path: Path) -> Restored:
    """A file with a snapshot of several pieces; what it holds."""
    storage = opened(path)
    storage.load()
    storage.save(write(1, 1, 1, 1))
    storage.save_snapshot(LARGE, keep_from=3)
    content = storage.load()
    storage.close()
    return content


@contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as database, database:
        yield database


def to_format_1(path: Path) -> None:
    """As the first versions wrote it: the snapshot in one piece, among the facts."""
    data = msgspec.msgpack.encode(LARGE)
    crc = zlib.crc32(data, zlib.crc32(b"snapshot"))
    with changing(path) as database:
        database.execute("UPDATE fact SET value = ?, crc = ? WHERE name = 'snapshot'", (data, crc))
        database.execute("DROP TABLE piece")
        database.execute("PRAGMA user_version = 1")


def test_a_file_of_format_1_becomes_one_of_this_format_when_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    content = with_snapshot(path)
    to_format_1(path)
    for _ in range(2):
        assert loaded(path) == content
    storage = opened(path, None)
    storage.load()
    assert storage.read_snapshot(2, 300_000, 5) == (LARGE.data[300_000:300_005], len(LARGE.data))
    storage.close()
    with changing(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_damaged_file_of_format_1_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with_snapshot(path)
    to_format_1(path)
    with changing(path) as database:
        database.execute("UPDATE fact SET crc = crc + 1 WHERE name = 'snapshot'")
    for _ in range(2):
        with pytest.raises(StorageDamaged, match="its snapshot is missing or was changed"):
            loaded(path)
    with changing(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("UPDATE piece SET crc = crc + 1 WHERE start = 262144", "was changed at byte 262144"),
        ("UPDATE piece SET data = x'00' WHERE start = 262144", "was changed at byte 262144"),
        ("DELETE FROM piece WHERE start = 262144", "was changed at byte 262144"),
        ("DELETE FROM piece WHERE start > 262144", "is missing from byte 524288 on"),
    ],
)
def test_a_piece_of_a_snapshot_that_is_not_as_it_was_written_is_found(
    tmp_path: Path, change: str, complaint: str
) -> None:
    path = tmp_path / "a.sqlite"
    with_snapshot(path)
    storage = opened(path, None)
    storage.load()
    with changing(path) as database:
        database.execute(change)
    assert storage.read_snapshot(2, 0, 1000) == (LARGE.data[:1000], len(LARGE.data))
    with pytest.raises(StorageDamaged, match=complaint):
        storage.read_snapshot(2, 262_144, len(LARGE.data))
    with pytest.raises(StorageDamaged, match=complaint):
        loaded(path)


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    killed(path, tmp_path / "copy" / "a.sqlite")
    with pytest.raises(StorageBroken, match="belongs to node a of cluster 0, not to node b of cluster 0"):
        SqliteStorage(path, "0", "b", None).load()
    with sqlite3.connect(tmp_path / "other.sqlite") as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    with pytest.raises(StorageDamaged, match="no storage of Raftyard"):
        opened(tmp_path / "other.sqlite").load()


def test_after_a_write_that_failed_nothing_is_written_until_the_file_is_read_again(tmp_path: Path) -> None:
    storage = opened(tmp_path / "a.sqlite")
    storage.load()
    assert storage._database is not None
    storage._database.execute("PRAGMA max_page_count = 8")
    with pytest.raises(StorageBroken, match="full; make room on that disk"):
        storage.save_many([write(1, *([1] * 3000))])
    with pytest.raises(StorageBroken, match="could not be written"):
        storage.save(write(1, 1))
    assert storage.load() == FRESH
    storage.save(write(1, 1))
    storage.close()


def test_a_start_in_a_new_file_is_later_than_any_in_the_old_one(tmp_path: Path) -> None:
    storage = opened(tmp_path / "a.sqlite")
    storage.load()
    first = storage.start(1)
    assert storage.start(1) == first + 1
    assert storage.start(first + 9) == first + 9
    storage.close()
    (tmp_path / "a.sqlite").unlink()
    storage = opened(tmp_path / "a.sqlite")
    storage.load()
    assert storage.start(1) >= first
    storage.close()
