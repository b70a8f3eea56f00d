"""A member's storage in one sqlite file: term, vote, log and snapshot, each write one transaction that is synced.

sqlite's write-ahead log with synchronous=FULL syncs before COMMIT returns. What lies in the file carries checksums,
because sqlite has none for what it has moved out of its log: a changed bit is found and named, never believed.
"""

import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from os import O_RDONLY, close, fsync, open as open_fd
from pathlib import Path
from struct import Struct, error as StructError
from typing import Any, TypeVar

import msgspec

from ..raft.core import Restored
from ..raft.events import HardState, Persist, Snapshot
from ..raft.membership import InvalidMembership, Membership
from .base import MEND_NODE, StorageBroken, StorageDamaged, joined, membership_before
from .wal import check_wal

__all__ = ["FORMAT", "SqliteStorage", "copy_storage", "sync_folder"]

FORMAT = 2
"""Of the tables below; it stands in the file's user_version. 1, which had a snapshot in one piece, is brought to 2 when
it is loaded; another one is refused by name, never guessed at."""

LAST_FORMAT = 999
"""No version will ever write a higher one: such a number, or 0, was changed. It has no checksum of its own."""

APPLICATION = 0x52594152
"""Marks the file as ours (sqlite's application_id)."""

BUSY_S = 5.0
PIECE_BYTES = 256 << 10
"""A snapshot lies in rows of this size, so that a part of it is read, and checked, without the rest."""

_PIECES = (
    "CREATE TABLE piece (snapshot INTEGER NOT NULL, start INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL, "
    "PRIMARY KEY (snapshot, start))"
)

_TABLES = (
    "CREATE TABLE log (idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, payload BLOB NOT NULL, crc INTEGER NOT NULL)",
    "CREATE TABLE fact (name TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
    _PIECES,
)
_HEAD = Struct("<QQ")
_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)
"""sqlite's codes for what ends by itself, or by somebody's doing, while the file is sound. Higher bits are details."""
_Fact = TypeVar("_Fact")


class _Member(msgspec.Struct, frozen=True, kw_only=True):
    cluster: str
    node: str


class _Base(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log begins."""

    first_index: int
    base_term: int
    membership: Membership


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What snapshot the pieces are of."""

    index: int
    term: int
    membership: Membership
    size: int


class SqliteStorage:
    """One member's file. `initial` is what a fresh one begins with; None: the file must be there.

    A file of another cluster or node is refused, so that a mixed-up folder never becomes a mixed-up vote. The starts of
    a fresh one are counted from a number higher than `above`, which its namesakes have not reached. `mend` says what to
    do about damage.
    """

    def __init__(
        self,
        path: Path,
        cluster: str,
        node: str,
        initial: Restored | None,
        above: int = 0,
        mend: str = MEND_NODE,
    ) -> None:
        self.path = path
        self.syncs = 0
        self.incarnation = 0
        """Of the last start; 0 before there was one."""
        self._above = above
        self._mend = mend.format(node=node)
        self._member = _Member(cluster=cluster, node=node)
        self._initial = initial
        self._database: sqlite3.Connection | None = None
        self._base = _Base(first_index=1, base_term=0, membership=Membership())
        self._last_index = 0
        self._broken = "the storage is closed; load it again before saving to it"

    # -- Storage ------------------------------------------------------------------------------------------------------

    def load(self) -> Restored:
        self.close()
        with self._reading():
            self._check_wal()
            database = self._open()
            if self._is_fresh(database):
                self._create(database)
            self._check_file(database)
            self._migrate(database)
            _make_durable(database)
            restored = self._read(database)
        self._last_index = restored.first_index + len(restored.terms) - 1
        self._broken = ""
        return restored

    def start(self, at_least: int) -> int:
        with self._transaction() as database:
            before = self._fact(database, "incarnation", int)
            # A node that was removed and added again, in a new file, must not pass for its former self. Its starts are
            # counted from the clock on; that may have been set back, or it is another host's.
            fresh = max(int(time.time()), self._above + 1)
            incarnation = max(before + 1 if before else fresh, at_least)
            _put(database, "incarnation", incarnation)
        self.incarnation = incarnation
        return incarnation

    def save(self, persist: Persist) -> None:
        self.save_many((persist,))

    def save_many(self, persists: Sequence[Persist]) -> None:
        self._check_usable()
        written = joined(persists, self._base.first_index, self._last_index)
        first = written.first_index
        with self._transaction() as database:
            if written.hard_state is not None:
                _put(database, "promise", written.hard_state)
            if first <= self._last_index:
                database.execute("DELETE FROM log WHERE idx >= ?", (first,))
            if written.terms:
                database.executemany(
                    "INSERT INTO log VALUES (?, ?, ?, ?)", _rows(first, written.terms, written.payloads)
                )
        self._last_index = first + len(written.terms) - 1

    def save_snapshot(self, snapshot: Snapshot, keep_from: int) -> None:
        self._check_usable()
        base, last = self._base, self._last_index
        with self._transaction() as database:
            _put_snapshot(database, snapshot)
            if not self._holds(database, snapshot.index, snapshot.term):
                database.execute("DELETE FROM log")
                base = _Base(
                    first_index=snapshot.index + 1, base_term=snapshot.term, membership=snapshot.membership
                )
                last = snapshot.index
            elif keep_from > base.first_index:
                base = self._forget_below(database, keep_from)
            _put(database, "base", base)
        self._base, self._last_index = base, last

    def read_snapshot(self, index: int, offset: int, size: int) -> tuple[bytes, int] | None:
        self._check_usable()
        assert self._database is not None
        with self._reading():
            if not _has_fact(self._database, "snapshot"):
                return None
            mark = self._fact(self._database, "snapshot", _Mark)
            if mark.index != index:
                return None
            return self._pieces(self._database, mark, offset, min(offset + size, mark.size)), mark.size

    def close(self) -> None:
        self._broken = self._broken or "the storage is closed; load it again before saving to it"
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._broken:
            raise StorageBroken(self._broken)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One write, durable when this ends; after any failure nothing is trusted until the file is read anew."""
        self._check_usable()
        assert self._database is not None
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database
            self._database.execute("COMMIT")
        except (sqlite3.Error, InvalidMembership) as error:
            self._broken = f"{self.path} could not be written: {error}; {_advice(error)}"
            self.close()
            raise StorageBroken(self._broken) from error
        self.syncs += 1

    def _holds(self, database: sqlite3.Connection, index: int, term: int) -> bool:
        if index == self._base.first_index - 1:
            return self._base.base_term == term
        row = database.execute("SELECT term FROM log WHERE idx = ?", (index,)).fetchone()
        return row is not None and bool(row[0] == term)

    def _forget_below(self, database: sqlite3.Connection, keep_from: int) -> _Base:
        rows = database.execute(
            "SELECT term, payload FROM log WHERE idx < ? ORDER BY idx", (keep_from,)
        ).fetchall()
        base = _Base(
            first_index=keep_from,
            base_term=rows[-1][0],
            membership=membership_before(
                self._base.membership, self._base.first_index, [payload for _, payload in rows]
            ),
        )
        database.execute("DELETE FROM log WHERE idx < ?", (keep_from,))
        return base

    # -- reading ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """sqlite's words for a file that makes no sense become ours; the file is named, and let go of."""
        try:
            yield
        except StorageBroken:
            self.close()
            raise
        except sqlite3.DatabaseError as error:
            self.close()
            if _may_pass(error):
                raise StorageBroken(f"{self.path} cannot be read: {error}; {_advice(error)}") from error
            raise self._damaged(str(error)) from error
        except OSError as error:
            self.close()
            raise StorageBroken(f"{self.path} cannot be read: {error}; {_advice(error)}") from error
        except UnicodeDecodeError as error:
            # sqlite's own text, of a schema or of a complaint, was changed.
            self.close()
            raise self._damaged(f"text in it is not readable ({error.reason})") from error
        except (ValueError, TypeError, LookupError, ArithmeticError, StructError) as error:
            # Nobody foresaw that such a value could stand there. It costs this node, and must not cost the program.
            self.close()
            raise self._damaged(f"a value in it makes no sense ({error})") from error

    def _open(self) -> sqlite3.Connection:
        if self._initial is None and not self.path.exists():
            raise self._damaged("the file is gone")
        database = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        self._database = database
        # Before anything is written into a file that may not be ours.
        self._check_owner(database)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        return database

    def _check_wal(self) -> None:
        try:
            check_wal(self.path)
        except StorageDamaged as error:
            raise StorageDamaged(f"{error}; {self._mend}") from None

    def _check_owner(self, database: sqlite3.Connection) -> None:
        application = database.execute("PRAGMA application_id").fetchone()[0]
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if (application, version) == (0, 0) and self._is_fresh(database):
            return
        if application != APPLICATION:
            raise self._damaged("it is no storage of Raftyard")
        if not 1 <= version <= LAST_FORMAT:
            raise self._damaged(f"no version of Raftyard writes format {version}")
        if version > FORMAT:
            raise StorageBroken(
                f"{self.path} has format {version}, and this version of Raftyard reads format {FORMAT}; "
                "start the version that wrote it, make a backup with it, and restore that here. If no other version "
                f"ever ran here, the file is damaged: {self._mend}"
            )

    def _is_fresh(self, database: sqlite3.Connection) -> bool:
        return not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]

    def _create(self, database: sqlite3.Connection) -> None:
        if self._initial is None:
            raise self._damaged("the file is empty")
        initial = self._initial
        base = _Base(
            first_index=initial.first_index, base_term=initial.base_term, membership=initial.membership
        )
        database.execute("BEGIN IMMEDIATE")
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {FORMAT}")
        for table in _TABLES:
            database.execute(table)
        facts = {"member": self._member, "promise": initial.hard_state, "base": base, "incarnation": 0}
        for name, value in facts.items():
            _put(database, name, value)
        if initial.snapshot is not None:
            _put_snapshot(database, initial.snapshot)
        database.executemany(
            "INSERT INTO log VALUES (?, ?, ?, ?)", _rows(base.first_index, initial.terms, initial.payloads)
        )
        database.execute("COMMIT")
        sync_folder(self.path.parent)

    def _check_file(self, database: sqlite3.Connection) -> None:
        """sqlite's own structure: quick_check finds pages that do not fit together, not a changed value in one."""
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise self._damaged(found)

    def _read(self, database: sqlite3.Connection) -> Restored:
        member = self._fact(database, "member", _Member)
        if member != self._member:
            raise StorageBroken(
                f"{self.path} belongs to node {member.node} of cluster {member.cluster}, "
                f"not to node {self._member.node} of cluster {self._member.cluster}; put each file back to its place"
            )
        self._base = base = self._fact(database, "base", _Base)
        terms, payloads = self._read_log(database, base.first_index)
        return Restored(
            hard_state=self._fact(database, "promise", HardState),
            membership=base.membership,
            first_index=base.first_index,
            base_term=base.base_term,
            terms=terms,
            payloads=payloads,
            snapshot=self._read_snapshot(database),
        )

    def _read_snapshot(self, database: sqlite3.Connection) -> Snapshot | None:
        if not _has_fact(database, "snapshot"):
            return None
        mark = self._fact(database, "snapshot", _Mark)
        data = self._pieces(database, mark, 0, mark.size)
        return Snapshot(index=mark.index, term=mark.term, membership=mark.membership, data=data)

    def _pieces(self, database: sqlite3.Connection, mark: _Mark, start: int, end: int) -> bytes:
        """The snapshot's bytes from start to end, of rows that are all there and as they were written."""
        found = []
        first = at = start - start % PIECE_BYTES
        rows = database.execute(
            "SELECT start, data, crc FROM piece WHERE snapshot = ? AND start >= ? AND start < ? ORDER BY start",
            (mark.index, first, end),
        )
        for begin, data, crc in rows:
            if begin != at or type(data) is not bytes or crc != _crc(mark.index, begin, data):
                raise self._damaged(f"its snapshot was changed at byte {at}")
            found.append(data)
            at += len(data)
        if at < end:
            raise self._damaged(f"its snapshot is missing from byte {at} on")
        return b"".join(found)[start - first : end - first]

    def _migrate(self, database: sqlite3.Connection) -> None:
        """A file of format 1 becomes one of this format, in one write."""
        if database.execute("PRAGMA user_version").fetchone()[0] == FORMAT:
            return
        database.execute("BEGIN IMMEDIATE")
        database.execute(_PIECES)
        if _has_fact(database, "snapshot"):
            _put_snapshot(database, self._fact(database, "snapshot", Snapshot))
        database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("COMMIT")

    def _read_log(
        self, database: sqlite3.Connection, first_index: int
    ) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        rows = database.execute("SELECT idx, term, payload, crc FROM log ORDER BY idx").fetchall()
        for expected, (index, term, payload, crc) in enumerate(rows, first_index):
            if index != expected:
                raise self._damaged(f"entry {expected} of the log is missing")
            # A flipped sign bit makes a term that has no checksum.
            is_readable = type(term) is int and term >= 0 and type(payload) is bytes
            if not is_readable or crc != _crc(index, term, payload):
                raise self._damaged(f"entry {index} of the log was changed")
        return tuple([row[1] for row in rows]), tuple([row[2] for row in rows])

    def _fact(self, database: sqlite3.Connection, name: str, kind: type[_Fact]) -> _Fact:
        row = database.execute("SELECT value, crc FROM fact WHERE name = ?", (name,)).fetchone()
        if (
            row is None
            or type(row[0]) is not bytes
            or zlib.crc32(row[0], zlib.crc32(name.encode())) != row[1]
        ):
            raise self._damaged(f"its {name} is missing or was changed")
        try:
            return msgspec.msgpack.decode(row[0], type=kind)
        except msgspec.DecodeError as error:
            raise self._damaged(f"its {name} is not readable: {error}") from None

    def _damaged(self, what: str) -> StorageDamaged:
        return StorageDamaged(f"{self.path} is damaged: {what}; {self._mend}")


def _rows(first: int, terms: Sequence[int], payloads: Sequence[bytes]) -> list[tuple[int, int, bytes, int]]:
    return [
        (index, term, payload, _crc(index, term, payload))
        for index, (term, payload) in enumerate(zip(terms, payloads, strict=True), first)
    ]


def _crc(index: int, term: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_HEAD.pack(index, term)))


def _put(database: sqlite3.Connection, name: str, value: Any) -> None:
    data = msgspec.msgpack.encode(value)
    crc = zlib.crc32(data, zlib.crc32(name.encode()))
    database.execute("INSERT OR REPLACE INTO fact VALUES (?, ?, ?)", (name, data, crc))


def _put_snapshot(database: sqlite3.Connection, snapshot: Snapshot) -> None:
    """In place of any other."""
    data = snapshot.data
    database.execute("DELETE FROM piece")
    database.executemany(
        "INSERT INTO piece VALUES (?, ?, ?, ?)",
        (
            (snapshot.index, at, data[at : at + PIECE_BYTES], _crc(snapshot.index, at, data[at : at + PIECE_BYTES]))
            for at in range(0, len(data), PIECE_BYTES)
        ),
    )
    mark = _Mark(index=snapshot.index, term=snapshot.term, membership=snapshot.membership, size=len(data))
    _put(database, "snapshot", mark)


def _has_fact(database: sqlite3.Connection, name: str) -> bool:
    return database.execute("SELECT 1 FROM fact WHERE name = ?", (name,)).fetchone() is not None


def _make_durable(database: sqlite3.Connection) -> None:
    """Move everything out of the write-ahead log, and sync it.

    After a crash, or a sync that failed, the log may be read from memory that never reached the disk; what was copied
    and synced from there is durable, so nothing that `load` returns is trusted for more than it is.
    """
    _, logged, moved = database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    if logged != moved:
        raise BlockingIOError("another program keeps its write-ahead log busy")


def _may_pass(error: sqlite3.DatabaseError) -> bool:
    """Whether it says of the world, and not of what stands in the file, why the file could not be read.

    The other way round, words for damage would be missed: a changed schema has no such column, a changed text cannot be
    decoded (which Python finds itself, without a code).
    """
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in _PASSING


def _advice(error: Exception) -> str:
    text = str(error)
    if "full" in text:
        return "make room on that disk; the node tries again by itself"
    if "locked" in text or "busy" in text:
        return "end the program that holds it; the node tries again by itself"
    return "look at that disk, and at the permissions of the folder; the node tries again by itself"


def sync_folder(folder: Path) -> None:
    """Make a new file's name durable, too."""
    handle = open_fd(folder, O_RDONLY)
    try:
        fsync(handle)
    finally:
        close(handle)


def copy_storage(source: Path, target: Path) -> None:
    """A consistent copy of a storage that may be in use, by sqlite's backup API. Raises sqlite3.Error."""
    check_wal(source)
    # As an address of its own: in a bare path sqlite would read ?, # and %, and our names of files have %.
    address = source.resolve().as_uri() + "?mode=ro"
    with sqlite3.connect(address, uri=True) as reading, sqlite3.connect(target) as writing:
        reading.backup(writing)
    reading.close()
    writing.close()
