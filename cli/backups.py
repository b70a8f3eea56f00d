"""`raftyard backup` and `raftyard restore`: everything that is kept, as one file; and back into an empty folder.

Every node's storage is copied by itself while the program runs, so the copies are of slightly different moments. Put
back like that they could contradict each other: a node could vote twice in a term that another copy already knows. So
a backup holds one log a cluster, the most up-to-date one (§3.6.1), which has every entry that was committed before the
copying began; and a restore gives it to all members, in a term that none of them can have voted in.
"""

from __future__ import annotations

import sqlite3
import zipfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import msgspec

from raftyard.actors.raft.core import Restored
from raftyard.actors.raft.events import HardState
from raftyard.actors.raft.membership import Membership
from raftyard.actors.storage.base import StorageBroken, membership_before
from raftyard.actors.storage.folder import ClusterFolder, DataFolder, HomeFile, node_file
from raftyard.actors.storage.sqlite import SqliteStorage, copy_storage

__all__ = ["FORMAT", "CannotCopy", "backup", "restore"]

FORMAT = 1
"""Of the backup file; another one is refused by name."""


class CannotCopy(Exception):
    """Why nothing was copied, in one line that says what to do."""


class _Contents(msgspec.Struct, frozen=True, kw_only=True):
    """contents.json: what a backup holds; a cluster's log is in NUMBER.log, by its place in the list."""

    format: int
    raftyard: str
    made_at: str
    clusters: tuple[HomeFile, ...] = ()


class _Format(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    raftyard: str = "unknown"


def backup(folder: Path, file: Path) -> str:
    """Copy a data folder, in use or not, into a file; returns what to tell. Raises CannotCopy."""
    found = DataFolder(folder).clusters()
    if not found:
        raise CannotCopy(f"{folder} holds no clusters; name the folder with --data or DATA_DIR")
    if file.exists():
        raise CannotCopy(f"{file} exists already, and a backup never replaces a file; choose another name")
    # Cluster 0 last: the list of clusters that it records is then never older than a copy.
    ordered = sorted(found, key=lambda cluster: cluster.path.name == "0")
    part = file.with_name(f"{file.name}.{uuid4().hex[:8]}.part")  # nobody else's
    try:
        copies = [_copy(cluster) for cluster in ordered]
        _write(part, copies)
        part.replace(file)
    except (OSError, sqlite3.Error, StorageBroken) as error:
        part.unlink(missing_ok=True)
        raise CannotCopy(f"no backup was made: {error}") from error
    notes = [note for _, _, notes in copies for note in notes]
    entries = sum(len(log.terms) for _, log, _ in copies)
    said = f"{file}: {_count(len(copies), 'cluster')}, {entries} entries; raftyard restore {file} brings it back"
    return "\n".join((*notes, said))


def _copy(folder: ClusterFolder) -> tuple[HomeFile, Restored, list[str]]:
    """The cluster, its best log, and what to say about storages that could not be read."""
    home = folder.read()
    logs: dict[str, Restored] = {}
    notes = []
    with TemporaryDirectory() as place:
        for node in home.made:
            copy = Path(place) / "copy.sqlite"
            storage = SqliteStorage(copy, home.spec.cluster, node, None)
            try:
                copy_storage(node_file(folder.path, node), copy)
                logs[node] = storage.load()
            except (StorageBroken, sqlite3.Error) as error:
                notes.append(f"left out: {node} of cluster {home.spec.cluster}: {error}")
            finally:
                storage.close()
                copy.unlink(missing_ok=True)
    # Whoever could be read must be able to elect the one with the best log: then nothing committed is missing from it.
    best = max(logs.values(), key=_up_to_date, default=Restored.bootstrap())
    membership = _membership(best)
    if not membership.is_quorum(tuple(logs)):
        voters = dict.fromkeys((membership.voters + membership.outgoing) or home.made)
        unread = ", ".join(node for node in voters if node not in logs)
        raise StorageBroken(
            f"too few voters of cluster {home.spec.cluster} can be read, so what they agreed on is not known; "
            + "; ".join((f"mend enough of {unread} for a majority", *notes))
        )
    term = max(log.hard_state.term for log in logs.values()) + 1
    return home, msgspec.structs.replace(best, hard_state=HardState(term=term)), notes


def _up_to_date(log: Restored) -> tuple[int, int, bool]:
    """How logs compare (§3.6.1): by the term of the last entry, then by its index.

    Of the empty ones of a new cluster only those of the first voters say who these are.
    """
    last_term = log.terms[-1] if log.terms else log.base_term
    return (last_term, log.first_index + len(log.terms) - 1, bool(log.membership.voters))


def _write(file: Path, copies: list[tuple[HomeFile, Restored, list[str]]]) -> None:
    contents = _Contents(
        format=FORMAT,
        raftyard=version("raftyard"),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        clusters=tuple(home for home, _, _ in copies),
    )
    with zipfile.ZipFile(file, "x", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("contents.json", msgspec.json.encode(contents))
        for number, (_, log, _) in enumerate(copies):
            archive.writestr(f"{number}.log", msgspec.msgpack.encode(log))


def restore(file: Path, folder: Path) -> str:
    """Put a backup into a folder that holds no clusters yet; returns what to tell. Raises CannotCopy."""
    contents, logs = _read(file)
    data = DataFolder(folder)
    try:
        data.lock()
    except StorageBroken as error:
        raise CannotCopy(f"the backup was not put back: {error}") from error
    try:
        try:
            if data.clusters():
                raise CannotCopy(
                    f"{folder} holds clusters already; restore into an empty folder, named with --data"
                )
            # Cluster 0 last: until it is there the folder is no data folder, and a start refuses it.
            for home, log in zip(contents.clusters, logs, strict=True):
                _put_back(data.cluster(home.spec.cluster), home, log)
        finally:
            data.unlock()
    except (OSError, StorageBroken) as error:
        raise CannotCopy(
            f"the backup was not put back: {error}; empty the folder before you try again"
        ) from error
    return (
        f"{folder}: {_count(len(logs), 'cluster')} as of {contents.made_at}; raftyard serve --data {folder} starts them"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _read(file: Path) -> tuple[_Contents, list[Restored]]:
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise CannotCopy(f"{file} is damaged at {damaged}; take another backup")
            text = archive.read("contents.json")
            found = msgspec.json.decode(text, type=_Format)
            if found.format != FORMAT:
                raise CannotCopy(
                    f"{file} has format {found.format}, and this version of Raftyard reads format {FORMAT}; "
                    f"restore it with version {found.raftyard}"
                )
            contents = msgspec.json.decode(text, type=_Contents)
            logs = [
                msgspec.msgpack.decode(archive.read(f"{number}.log"), type=Restored)
                for number in range(len(contents.clusters))
            ]
    except (zipfile.BadZipFile, KeyError, msgspec.DecodeError, OSError, EOFError) as error:
        raise CannotCopy(f"{file} is no readable backup: {error}; take another one") from error
    return contents, logs


def _put_back(folder: ClusterFolder, home: HomeFile, log: Restored) -> None:
    """The same log for every member; those that took no part begin with nothing, as they did."""
    members = _membership(log).members
    for node in home.made:
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.forget(node)
        storage = folder.storage(home.spec.cluster, node, log if node in members else Restored.bootstrap())
        storage.load()
        storage.close()
    folder.write(home)


def _membership(log: Restored) -> Membership:
    return membership_before(log.membership, log.first_index, log.payloads)
