"""The agreed state as bytes, and back; also the bytes that earlier versions of this program wrote."""

from __future__ import annotations

from collections.abc import Generator

import msgspec
import numpy as np
import numpy.typing as npt

from .call_queue import CallQueue, QueuedCall
from .moves import Rebalance
from .needs import Needs, NeedsTable
from .nodes import NodeTable
from .records import ClusterRecord, Happening, NodeRecord
from .replicas import Replicas
from .services import Service, ServiceTable
from .settings import Settings
from .specs import Reservations, ServiceSpec, tidied
from .tasks import COLUMNS, TaskTable
from .untold import Untold, packed

SNAPSHOT_FORMAT = 3
"""Format 1 had no untold events: what was not told when it was written stays so. Formats 1 and 2 knew no specs."""
LARGE = 1 << 18
"""Bytes that take long enough for a pause after them."""

Numbers = npt.NDArray[np.int32]


class SnapshotError(ValueError):
    """These bytes are not a snapshot that this program reads."""


class _Header(msgspec.Struct):
    format: int


class _Snapshot(msgspec.Struct, kw_only=True):
    format: int
    applied_index: int
    clock_ms: int
    nodes: tuple[NodeRecord, ...]
    node_versions: bytes
    resources: tuple[str, ...]
    services: tuple[Service, ...]
    next_service: int
    needs: tuple[Needs, ...]
    tasks: dict[str, bytes]
    next_task: int
    calls: tuple[QueuedCall, ...]
    clusters: tuple[ClusterRecord, ...]
    untold: tuple[Happening, ...]
    told: int
    rebalance: Rebalance | None = None
    settings: Settings = Settings()
    preempted: tuple[tuple[int, str], ...] = ()


class _Service2(msgspec.Struct, kw_only=True, array_like=True):
    """A service as formats 1 and 2 had it: a number of replicas, and no spec."""

    number: int
    name: str
    replicas: int = 0
    size: int = 1
    description: str = ""
    version: int = 0
    placed: int = 0
    lost: int = 0
    updated_index: int = 0


class _Snapshot2(msgspec.Struct, kw_only=True):
    format: int
    applied_index: int
    nodes: tuple[NodeRecord, ...]
    node_versions: bytes
    services: tuple[_Service2, ...]
    tasks: dict[str, bytes]
    next_task: int
    calls: tuple[QueuedCall, ...]
    clusters: tuple[ClusterRecord, ...]
    untold: tuple[Happening, ...] = ()
    told: int = 0


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a snapshot holds, made anew."""

    applied_index: int
    replicas: Replicas
    queue: CallQueue
    clusters: tuple[ClusterRecord, ...]
    untold: Untold


def write(
    applied_index: int,
    replicas: Replicas,
    queue: CallQueue,
    clusters: tuple[ClusterRecord, ...],
    untold: Untold,
) -> Generator[None, None, bytearray]:
    """Yields after a few milliseconds of work where there are many tasks, and returns the bytes."""
    nodes, services = replicas.nodes, replicas.services
    used, becomes = _needs_in_use(replicas)
    yield
    saved = _Snapshot(
        format=SNAPSHOT_FORMAT,
        applied_index=applied_index,
        clock_ms=replicas.clock_ms,
        nodes=tuple(nodes.records),
        node_versions=nodes.versions.astype("<i8").tobytes(),
        resources=nodes.declared_resources(),
        services=tuple(services.all.values()),
        next_service=services.next_number,
        needs=used,
        tasks={},
        next_task=replicas.tasks.next_id,
        calls=queue.dump(),
        clusters=clusters,
        untold=untold.dump(),
        told=untold.floor,
        rebalance=replicas.rebalance,
        settings=replicas.settings,
        preempted=tuple(sorted(replicas.preempted.items())),
    )
    # Written field by field, as msgspec would write the whole, which for two million tasks takes long.
    out, fields = bytearray(), _Snapshot.__struct_fields__
    out += _map_head(len(fields))
    for name in fields:
        _encoder.encode_into(name, out, -1)
        if name == "tasks":
            yield from _write_tasks(replicas.tasks, becomes, out)
            continue
        before = len(out)
        _encoder.encode_into(getattr(saved, name), out, -1)
        if len(out) - before > LARGE:
            yield
    return out


_encoder = msgspec.msgpack.Encoder()


def _write_tasks(tasks: TaskTable, becomes: Numbers | None, out: bytearray) -> Generator[None, None, None]:
    names = tasks.column_names()
    out += _map_head(len(names))
    sizes = {name: np.dtype(dtype).itemsize for name, dtype in COLUMNS}
    for name in names:
        _encoder.encode_into(name, out, -1)
        out += _binary_head(len(tasks) * sizes[name])
        for block in tasks.column_blocks(name):
            if name == "needs" and becomes is not None:
                out += becomes[np.frombuffer(block, dtype="<i4")].tobytes()
            else:
                out += block
            if len(block) > LARGE:
                yield


def _needs_in_use(replicas: Replicas) -> tuple[tuple[Needs, ...], Numbers | None]:
    """The needs that any task has, in an order of their own, and the number that each has there, None where it is the
    one it has: equal states give equal bytes, whatever was needed before."""
    counts = np.zeros(len(replicas.needs.all), dtype=np.int64)
    for block in replicas.tasks.column_blocks("needs"):
        counts += np.bincount(np.frombuffer(block, dtype="<i4"), minlength=counts.size)
    used = np.flatnonzero(counts).tolist()
    ordered = sorted(used, key=lambda number: msgspec.structs.astuple(replicas.needs.all[number]))
    becomes: Numbers | None = None
    if ordered != list(range(len(ordered))):
        becomes = np.zeros(counts.size, dtype="<i4")
        becomes[ordered] = np.arange(len(ordered))
    return tuple([replicas.needs.all[number] for number in ordered]), becomes


def _map_head(fields: int) -> bytes:
    """How msgpack begins a map of so many entries."""
    return bytes([0x80 | fields]) if fields < 16 else b"\xde" + fields.to_bytes(2, "big")


def _binary_head(size: int) -> bytes:
    """How msgpack begins a byte string of this size."""
    if size < 1 << 8:
        return b"\xc4" + size.to_bytes(1, "big")
    if size < 1 << 16:
        return b"\xc5" + size.to_bytes(2, "big")
    return b"\xc6" + size.to_bytes(4, "big")


def read(data: bytes) -> Restored:
    """What `write` wrote, in this format or an earlier one. Raises SnapshotError."""
    try:
        format = msgspec.msgpack.decode(data, type=_Header).format
    except msgspec.DecodeError as error:
        raise SnapshotError(f"not a snapshot of a cluster's state: {error}") from error
    if not 1 <= format <= SNAPSHOT_FORMAT:
        raise SnapshotError(f"a snapshot of format {format}; this program reads formats 1 to {SNAPSHOT_FORMAT}")
    try:
        if format < SNAPSHOT_FORMAT:
            return _restored(_migrated(msgspec.msgpack.decode(data, type=_Snapshot2)))
        return _restored(msgspec.msgpack.decode(data, type=_Snapshot))
    except msgspec.DecodeError as error:
        raise SnapshotError(f"not a snapshot of a cluster's state: {error}") from error
    except (KeyError, ValueError) as error:
        raise SnapshotError(f"the snapshot's columns cannot be read: {error}") from error


def _restored(saved: _Snapshot) -> Restored:
    tasks = TaskTable()
    tasks.load(saved.tasks, saved.next_task)
    versions = np.frombuffer(saved.node_versions, dtype="<i8").astype(np.int64)
    nodes = NodeTable(saved.nodes, versions, saved.resources)
    services = ServiceTable(saved.services, saved.next_service)
    replicas = Replicas(nodes, services, tasks, NeedsTable(saved.needs), saved.clock_ms)
    replicas.rebalance, replicas.settings = saved.rebalance, saved.settings
    replicas.preempted = dict(saved.preempted)
    replicas.recount()
    return Restored(
        applied_index=saved.applied_index,
        replicas=replicas,
        queue=CallQueue(saved.calls),
        clusters=saved.clusters,
        untold=Untold(tuple([packed(happening, saved.nodes) for happening in saved.untold]), saved.told),
    )


def _migrated(old: _Snapshot2) -> _Snapshot:
    """Formats 1 and 2 knew slots only, and counted a task's age in log entries. A call never replaced what ran, so
    whatever runs is as good as new."""
    dtypes = dict(COLUMNS)
    sizes = np.frombuffer(old.tasks["size"], dtype="<i4")
    kinds, numbers = np.unique(sizes, return_inverse=True)
    columns = {name: data for name, data in old.tasks.items() if name != "size"}
    columns["needs"] = numbers.astype(dtypes["needs"]).tobytes()
    columns["version"] = np.ones(sizes.size, dtype=dtypes["version"]).tobytes()
    columns["updated"] = np.zeros(sizes.size, dtype=dtypes["updated"]).tobytes()
    return _Snapshot(
        format=SNAPSHOT_FORMAT,
        applied_index=old.applied_index,
        clock_ms=0,
        nodes=old.nodes,
        node_versions=old.node_versions,
        resources=(),
        services=tuple([_migrated_service(service) for service in old.services]),
        next_service=len(old.services),
        needs=tuple([Needs(int(slots)) for slots in kinds]),
        tasks={name: columns[name] for name, _ in COLUMNS},
        next_task=old.next_task,
        calls=old.calls,
        clusters=old.clusters,
        untold=old.untold,
        told=old.applied_index if old.format == 1 else old.told,
    )


def _migrated_service(old: _Service2) -> Service:
    kept = Reservations(slots=old.size)
    spec = tidied(ServiceSpec(replicas=old.replicas, description=old.description, reservations=kept))
    return Service(
        number=old.number,
        name=old.name,
        replicas=old.replicas,
        version=old.version,
        template=1,
        has_begun=True,
        updated_index=old.updated_index,
        spec=spec,
    )
