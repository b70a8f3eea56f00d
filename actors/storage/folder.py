"""The data folder of one host: which clusters live here, with which nodes, and each node's storage file.

DATA/
  lock                     held by the one process that uses the folder
  CLUSTER/home.json        the cluster and its nodes, replaced as a whole; with a checksum
  CLUSTER/NODE.sqlite      a node's promises
  CLUSTER/home.removed     says that the cluster was removed, while its files are
  CLUSTER/NODE.replaced-1.sqlite  what a member of a group had before it was replaced; for whoever wants to look
"""

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2s
from itertools import count
from pathlib import Path
from urllib.parse import quote

import msgspec

from ..messages import ClusterSpec, NodeSpec
from ..raft.core import Restored
from .base import MEND_NODE, StorageBroken, StorageDamaged
from .sqlite import SqliteStorage, sync_folder

__all__ = ["FORMAT", "ClusterFolder", "DataFolder", "HomeFile", "node_file"]

LONGEST_NAME = 200
LOCK = "lock"
FORMAT = 1
"""Of home.json; another one is refused by name."""


class HomeFile(msgspec.Struct, frozen=True, kw_only=True):
    """What home.json says of a cluster."""

    spec: ClusterSpec
    """As it was made."""
    nodes: tuple[NodeSpec, ...]
    """Those that live here now."""
    first: tuple[str, ...]
    """Those it was made with that never left."""
    made: tuple[str, ...] = ()
    """Those that have a storage."""
    base: int | None = None
    """The port of the program when these addresses were given."""
    starts: int = 0
    """How often the program has started on these files."""
    told: int = 0
    """What happened up to this entry of the log is told; after a crash it may be more."""
    left: int = 0
    """The highest incarnation of those that left. Files written before there was this field have 0."""


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    crc: int
    home: msgspec.Raw


class ClusterFolder:
    """One cluster's files. Nothing here is written by two actors: it belongs to the cluster's front door."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved: HomeFile | None = None

    def exists(self) -> bool:
        """Whether a cluster lives here, or did until its home.json was lost; a folder with home.removed is what a crash
        left of one that was removed."""
        try:
            return self._home.exists() or self._is_lost()
        except OSError:
            return True  # Nobody can look: `read` says why, and nothing may take its place.

    @property
    def _home(self) -> Path:
        return self.path / "home.json"

    @property
    def _removed(self) -> Path:
        return self.path / "home.removed"

    def _is_lost(self) -> bool:
        """Whether nodes have promised something here, and nobody knows any more who they are."""
        return not self._removed.exists() and any(self.path.glob("*.sqlite"))

    def read(self) -> HomeFile:
        """Raises StorageDamaged, or StorageBroken for another format."""
        try:
            envelope = msgspec.json.decode(self._home.read_bytes(), type=_Envelope)
            if envelope.format != FORMAT:
                raise StorageBroken(
                    f"{self._home} has format {envelope.format}, and this version of Raftyard reads format {FORMAT}; "
                    "start the version that wrote it, make a backup with it, and restore that here"
                )
            if zlib.crc32(bytes(envelope.home)) != envelope.crc:
                raise msgspec.DecodeError("its checksum does not fit")
            self._saved = msgspec.json.decode(envelope.home, type=HomeFile)
        except FileNotFoundError:
            raise StorageDamaged(
                f"{self._home} is gone, though files of nodes are there; put a backup into an empty folder with "
                f"raftyard restore, or remove {self.path} to begin with nothing"
            ) from None
        except OSError as error:
            raise StorageBroken(f"{self._home} could not be read: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StorageDamaged(
                f"{self._home} is damaged: {error}; put a backup into an empty folder with raftyard restore"
            ) from None
        return self._saved

    def write(self, home: HomeFile) -> None:
        """All or nothing: the new file takes the old one's place once it is durable."""
        if home == self._saved:
            return
        try:
            self._replace(home)
        except OSError as error:
            raise StorageBroken(f"{self._home} could not be written: {error.strerror}") from error
        self._saved = home

    def _replace(self, home: HomeFile) -> None:
        if not self.path.exists():
            self.path.mkdir(parents=True)
            sync_folder(self.path.parent)
        data = msgspec.json.encode(home)
        envelope = _Envelope(format=FORMAT, crc=zlib.crc32(data), home=msgspec.Raw(data))
        fresh = self.path / "home.json.new"
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(envelope))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._home)
        sync_folder(self.path)

    def storage(
        self, cluster: str, node: str, initial: Restored | None, above: int = 0, mend: str = MEND_NODE
    ) -> SqliteStorage:
        """A node's; `initial` None: it was made before, so its file must be there. The rest: see SqliteStorage."""
        return SqliteStorage(node_file(self.path, node), cluster, node, initial, above, mend)

    def forget(self, node: str) -> None:
        """A node has left for good; what is left of its log would only mislead. Raises StorageBroken."""
        with _broken(f"{node_file(self.path, node)} could not be removed"):
            _remove(node_file(self.path, node))

    def set_aside(self, node: str) -> Path | None:
        """A node begins anew: its file gets another name, which is returned; None: it is gone. Raises StorageBroken."""
        file = node_file(self.path, node)
        with _broken(f"{file} could not be set aside"):
            if not file.exists():
                return None
            numbered = (file.with_name(f"{file.stem}.replaced-{number}.sqlite") for number in count(1))
            aside = next(name for name in numbered if not name.exists())
            # The file itself goes first: without the log beside it, it would pass for what it was earlier.
            for end in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    file.with_name(file.name + end).rename(aside.with_name(aside.name + end))
            sync_folder(self.path)
        return aside

    def destroy(self) -> None:
        """The cluster was removed. That is written down first, and goes last: what a crash in between leaves is
        nobody's, and has not lost its home.json. Raises StorageBroken."""
        with _broken(f"{self.path} could not be removed"):
            if not self.path.is_dir():
                return  # A file by that name is not ours.
            self._removed.touch()
            self._home.unlink(missing_ok=True)
            sync_folder(self.path)
            for file in sorted(self.path.iterdir()):
                if file != self._removed:
                    file.unlink()
            self._removed.unlink()
            self.path.rmdir()
        self._saved = None


class DataFolder:
    """The whole folder, locked for one process from `lock` to `unlock`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def lock(self) -> None:
        """Raises StorageBroken, in one line that says what to do."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageBroken(
                f"{self.path} cannot be used for data ({error.strerror}); name another folder with --data or DATA_DIR, "
                "or keep nothing with --ephemeral"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            raise StorageBroken(
                f"{self.path} is in use by another raftyard (process {owner or 'unknown'}); stop that one, "
                "or name another folder with --data or DATA_DIR"
            ) from None
        self._lock = handle
        # Only for whoever is refused: a full disk has no room for it, and is no reason to stay away.
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())

    def unlock(self) -> None:
        """The lock ends with the process, too, however that ends."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def cluster(self, cluster: str) -> ClusterFolder:
        """The folder of a cluster, whether it exists or not."""
        name = _file_name(cluster)
        if name.lower() == LOCK:
            name = f"%{ord(name[0]):02X}{name[1:]}"  # As no other id is written.
        return ClusterFolder(self.path / name)

    def clusters(self) -> tuple[ClusterFolder, ...]:
        """Those that live here, in the order of their names."""
        if not self.path.is_dir():
            return ()
        folders = [ClusterFolder(path) for path in sorted(self.path.iterdir()) if path.is_dir()]
        return tuple(folder for folder in folders if folder.exists())


def node_file(folder: Path, node: str) -> Path:
    """Where a node's storage is."""
    return folder / f"{_file_name(node)}.sqlite"


def _file_name(name: str) -> str:
    """A name that no file system reads in its own way, and no two names share."""
    text = quote(name, safe="")
    if len(text) > LONGEST_NAME:
        # A cluster in a cluster in a cluster… has a long id, and file systems take 255 bytes.
        text = f"{text[:100]}~{blake2s(name.encode(), digest_size=16).hexdigest()}"
    return text.replace(".", "%2E") if text.startswith(".") else text


@contextmanager
def _broken(what: str) -> Iterator[None]:
    """Raises StorageBroken for what the file system says."""
    try:
        yield
    except OSError as error:
        raise StorageBroken(f"{what}: {error.strerror}") from error


def _remove(database: Path) -> None:
    for end in ("", "-wal", "-shm"):
        database.with_name(database.name + end).unlink(missing_ok=True)
    sync_folder(database.parent)
