"""Orchestrator: the clusters by id.

The list of clusters is agreed on like everything else: cluster 0's log records every further cluster, and the
Orchestrator is a view of it. It starts and stops Cluster actors until they are those of the list. A nested cluster is
recorded by its parent, as a service of it (nesting.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from .cluster import Cluster, ClusterSettings
from .errors import (
    Conflict,
    InvalidRequest,
    PortInUse,
    RaftyardError,
    TimedOut,
    Unavailable,
    UnknownCluster,
    from_values,
)
from .failed import FailedCluster, what_to_do
from .frontdoor import Home, Nesting, Ports
from .frontdoor.addresses import check_capacity, check_host, check_name
from .frontdoor.hosting import check_not_nested
from .frontdoor.ports import HIGHEST_PORT
from .frontdoor.refusals import answered
from .messages import (
    ORCHESTRATOR,
    AddNodeRequest,
    ClusterSpec,
    CreateClusterRequest,
    LinkPolicy,
    ListClusters,
    Message,
    NestedClusters,
    NodeSpec,
    RecordClusters,
    Recorded,
    Registry,
    RemoveClusterRequest,
    SpawnCluster,
    Underlay,
    cluster_actor,
)
from .raft.config import RaftConfig
from .state import commands
from .state.commands import MAX_CAPACITY
from .storage.base import StorageBroken
from .storage.folder import LOCK, DataFolder
from .storage.simulated import DiskFaults
from .system import Actor, Promise, System, Terminated

__all__ = ["Orchestrator", "OrchestratorSettings", "find_homes", "first_cluster", "start_orchestrator"]

PORTS_A_CLUSTER = 100
NODES_WITH_PORTS = 99
RECORD_S = 8.0
LONGEST_ID = 63
LONGEST_SHOWN = 80
CLUSTER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

ClusterCommand = commands.CreateCluster | commands.ReplaceCluster | commands.RemoveCluster


class OrchestratorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an orchestrator starts: cluster 0 with `nodes` nodes of `capacity` slots; node i listens on `port` + 1 + i.

    `port` None: no node has a port (the usual thing when embedded). `ports` opens and closes them. `observe` sees
    every (core, event, ready) of every node, for checkers.
    """

    nodes: int = 5
    capacity: int = 100
    host: str = "localhost"
    port: int | None = None
    ports: Any = None
    raft: RaftConfig = RaftConfig()
    link: LinkPolicy = LinkPolicy()
    observe: Any = None
    queue_limit: int = 1000
    data: DataFolder | None = None
    """Where everything is kept, locked by the caller; None: in memory."""
    disks: DiskFaults | None = None
    """Instead of `data`: simulated disks that behave so."""

    def __post_init__(self) -> None:
        for name in ("nodes", "capacity", "queue_limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too small; use 1 or more")
        if self.capacity > MAX_CAPACITY:
            raise ValueError(f"capacity={self.capacity} is too large; use 1 to {MAX_CAPACITY}")


def first_cluster(settings: OrchestratorSettings) -> ClusterSpec:
    """Cluster 0 as it is on the first start."""
    nodes = tuple(
        NodeSpec(
            name=f"node_{number}",
            host=settings.host,
            port=None
            if settings.port is None or settings.nodes > NODES_WITH_PORTS
            else settings.port + 1 + number,
            capacity=settings.capacity,
        )
        for number in range(settings.nodes)
    )
    return ClusterSpec(cluster="0", nodes=nodes)


def start_orchestrator(
    system: System, settings: OrchestratorSettings | None = None, homes: dict[str, Home] | None = None
) -> None:
    """Start an orchestrator, its clusters and their nodes on a system, live or virtual.

    `homes` is what `find_homes` found, for callers that want to look at it first.
    """
    settings = settings or OrchestratorSettings()
    system.spawn(Orchestrator, ORCHESTRATOR, settings, homes or find_homes(settings))


def find_homes(settings: OrchestratorSettings) -> dict[str, Home]:
    """The clusters that live in the data folder, or a first one.

    One whose files are damaged is left out, and fails once cluster 0's log says that it should be there. Raises
    StorageBroken, StorageDamaged where that is cluster 0 itself.
    """
    folders = () if settings.data is None else settings.data.clusters()
    homes = {}
    for folder in folders:
        try:
            home = Home.found(folder, settings.host, settings.port)
        except StorageBroken:
            if folder.path.name == "0":
                raise
        else:
            homes[home.spec.cluster] = home
    if "0" not in homes:
        if folders:
            raise StorageBroken(
                f"{settings.data.path if settings.data else ''} has clusters "
                f"{', '.join(homes) or ', '.join(folder.path.name for folder in folders)}, but not cluster 0, "
                "which records the others; put a backup into an empty folder with raftyard restore"
            )
        homes["0"] = _new_home(settings, first_cluster(settings))
    return homes


def _new_home(settings: OrchestratorSettings, spec: ClusterSpec) -> Home:
    """Raises StorageBroken."""
    folder = None if settings.data is None else settings.data.cluster(spec.cluster)
    if folder is not None and folder.exists():
        # It could not be read at the start, or it is what was left of another one by that name.
        home = Home.found(folder, settings.host, settings.port)
        if (home.spec.cluster, home.spec.version, home.spec.parent) == (spec.cluster, spec.version, spec.parent):
            return home
        folder.destroy()
    return Home(spec, folder, settings.disks, settings.port)


class _Expired(Message, frozen=True, kw_only=True, gc=False):
    """To itself: what was to be recorded should have been by now."""

    ref: int


class Orchestrator(Actor):
    """The clusters of one host. `homes` outlives the actor: what its clusters find again after a restart."""

    def __init__(self, settings: OrchestratorSettings, homes: dict[str, Home]) -> None:
        super().__init__()
        self._settings = settings
        self._homes = homes
        self._ports: Ports | None = settings.ports
        self._stopping: dict[str, ClusterSpec | None] = {}
        self._next_ref = 0
        self._recording: dict[int, Callable[[RaftyardError | None, int], None]] = {}
        self._expected: list[tuple[str, int | None, Promise]] = []
        self._reserved: dict[str, int] = {}
        self._nesting = Nesting(self, homes, self._is_kept)

    def on_start(self) -> None:
        """Start every cluster that lives here."""
        self._nesting.forget_orphans()
        for cluster in tuple(self._homes):
            self._start(cluster)

    def on_receive(self, message: Any) -> Any:
        """One message, by its class."""
        match message:
            case ListClusters():
                return tuple(sorted(self._homes, key=_order))
            case CreateClusterRequest():
                return answered(self.context, self._create, message)
            case RemoveClusterRequest():
                return answered(self.context, self._remove, message)
            case Recorded():
                self._recorded(
                    message.ref, from_values(message.error) if message.error else None, message.index
                )
            case _Expired():
                self._recorded(message.ref, _late(), 0)
            case Registry():
                self._follow(message)
            case NestedClusters():
                self._nesting.follow(message)
            case SpawnCluster():
                self._nesting.spawn(message)
            case Terminated():
                self._terminated(message)
        return None

    def _start(self, cluster: str) -> None:
        home = self._homes[cluster]
        if home.failure:
            self.context.spawn(FailedCluster, cluster_actor(cluster), home, parent=self.context.name)
            return
        settings, under = self._settings, self._underlay(cluster)
        self.context.spawn(
            Cluster,
            cluster_actor(cluster),
            home,
            ClusterSettings(
                raft=settings.raft,
                link=settings.link if under is None else LinkPolicy(),
                under=under,
                ports=settings.ports,
                observe=settings.observe,
                host=settings.host,
                capacity=settings.capacity,
                queue_limit=settings.queue_limit,
            ),
            parent=self.context.name,
        )

    def _underlay(self, cluster: str) -> Underlay | None:
        """What the links of a nested cluster ride on; they are no slower than those by themselves."""
        parent = self._homes[cluster].spec.parent
        if parent is None:
            return None
        under = self._underlay(parent.cluster)
        policy = self._settings.link if under is None else LinkPolicy()
        return Underlay(cluster=parent.cluster, policy=policy, under=under)

    # -- orders ----------------------------------------------------------------------------------------------

    def _create(self, request: CreateClusterRequest) -> Promise:
        promise = self.context.promise()
        opened: list[NodeSpec] = []
        try:
            cluster = self._next_id() if request.cluster is None else request.cluster
            self._check_id(cluster, request)
            self._check_nodes(request.nodes)
            nodes = self._place(cluster, request.nodes, opened)
        except RaftyardError as error:
            self._close(opened)
            promise.fail(error)
            return promise
        members = tuple(
            commands.ClusterNode(name=spec.name, host=spec.host, port=spec.port, capacity=spec.capacity)
            for spec in nodes
        )
        command: ClusterCommand = (
            commands.ReplaceCluster(id=cluster, nodes=members)
            if request.replace
            else commands.CreateCluster(id=cluster, nodes=members)
        )

        def done(error: RaftyardError | None, index: int) -> None:
            self._reserved.pop(cluster, None)
            if error is not None:
                self._close(opened)
                promise.fail(error)
            else:
                self._expect(cluster, index, promise)

        self._reserved[cluster] = 1
        self._record(command, done)
        return promise

    def _next_id(self) -> str:
        number = 1
        while str(number) in self._homes or str(number) in self._reserved:
            number += 1
        return str(number)

    def _check_id(self, cluster: str, request: CreateClusterRequest) -> None:
        if cluster == "0":
            raise Conflict(
                "cluster 0 records the other clusters, so it is neither made nor replaced",
                hint="add and remove its nodes under /clusters/0/nodes, or choose another id",
            )
        if cluster in self._homes:
            check_not_nested(self._homes[cluster], "it is not made or replaced by itself", "change or remove")
        check_id(cluster)
        if cluster in self._homes and not request.replace:
            raise Conflict(f"there is a cluster {cluster!r} already", hint="PUT /clusters/ID replaces it")

    def _check_nodes(self, wanted: tuple[AddNodeRequest, ...]) -> None:
        """As a node that joins is checked, and against each other; what is wrong has the path that REST gives it."""
        names: dict[str, None] = {}
        ports: dict[int, None] = {}
        for number, node in enumerate(wanted):
            path = f"$.nodes[{number}]"
            check_name(node.name, f"{path}.id")
            check_capacity(node.capacity, f"{path}.capacity")
            if self._ports is not None:
                check_host(node.host, self._settings.host, f"{path}.host")
            if node.name in names:
                raise InvalidRequest(
                    f"{node.name!r} is the id of another node of this cluster",
                    path=f"{path}.id",
                    hint="choose another id, or leave it out",
                )
            if node.port in ports:
                raise InvalidRequest(
                    f"{node.port} is the port of another node of this cluster",
                    path=f"{path}.port",
                    hint="choose another port, or leave it out",
                )
            if node.name is not None:
                names[node.name] = None
            if node.port is not None:
                ports[node.port] = None

    def _remove(self, request: RemoveClusterRequest) -> Promise:
        promise = self.context.promise()
        cluster = request.cluster
        try:
            if cluster in self._homes:
                check_not_nested(self._homes[cluster], "it is not removed by itself", "DELETE")
        except Conflict as error:
            promise.fail(error)
            return promise
        if cluster == "0":
            promise.fail(
                Conflict(
                    "cluster 0 records the other clusters, so it stays", hint="stop the program to end it"
                )
            )
        elif cluster not in self._homes:
            promise.fail(UnknownCluster(f"no cluster {cluster!r}", hint="GET /clusters lists them"))
        else:

            def done(error: RaftyardError | None, _: int) -> None:
                if error is not None:
                    promise.fail(error)
                else:
                    self._expect(cluster, None, promise)

            self._record(commands.RemoveCluster(id=cluster), done)
        return promise

    def _expect(self, cluster: str, version: int | None, promise: Promise) -> None:
        """Answer once the actors are as recorded: the cluster runs at that version (None: it runs no more)."""
        self._expected.append((cluster, version, promise))
        self._settle()

    def _settle(self) -> None:
        waiting = []
        for cluster, version, promise in self._expected:
            home = self._homes.get(cluster)
            running = -1 if home is None or cluster in self._stopping else home.spec.version
            if home is None if version is None else running >= version:
                if home is not None and home.failure:
                    promise.fail(
                        Unavailable(
                            f"cluster {cluster} could not be started: {home.failure}", hint=what_to_do(cluster)
                        )
                    )
                else:
                    promise.keep({"status": "ok", "id": cluster})
            else:
                waiting.append((cluster, version, promise))
        self._expected = waiting

    def _record(self, command: ClusterCommand, done: Callable[[RaftyardError | None, int], None]) -> None:
        self._next_ref += 1
        self._recording[self._next_ref] = done
        self.context.after(RECORD_S, _Expired(ref=self._next_ref))
        self.context.send(
            cluster_actor("0"),
            RecordClusters(command=command, ref=self._next_ref, reply_to=self.context.name),
        )

    def _recorded(self, ref: int, error: RaftyardError | None, index: int) -> None:
        done = self._recording.pop(ref, None)
        if done is not None:
            done(error, index)

    # -- ports -----------------------------------------------------------------------------------------------

    def _place(
        self, cluster: str, wanted: tuple[AddNodeRequest, ...], opened: list[NodeSpec]
    ) -> tuple[NodeSpec, ...]:
        """Names and ports for a new cluster's nodes; the ports are opened, so that nobody else takes them meanwhile."""
        wanted = _named(wanted)
        if self._settings.port is None or len(wanted) > NODES_WITH_PORTS:
            return tuple(self._spec(node, node.port) for node in wanted)
        chosen = [node.port for node in wanted]
        taken = {
            spec.port // PORTS_A_CLUSTER
            for other, home in self._homes.items()
            for spec in home.nodes.values()
            if spec.port is not None and other != cluster
        }
        first = self._settings.port
        if all(chosen):
            return self._open(cluster, [self._spec(node, node.port) for node in wanted], opened)
        hundred = first + PORTS_A_CLUSTER
        while hundred + PORTS_A_CLUSTER <= HIGHEST_PORT:
            free = (port for port in range(hundred + 1, hundred + PORTS_A_CLUSTER) if port not in chosen)
            specs = [self._spec(node, node.port or next(free)) for node in wanted]
            if (hundred + 1) // PORTS_A_CLUSTER not in taken:
                try:
                    return self._open(cluster, specs, opened)
                except PortInUse as error:
                    self._close(opened)
                    opened.clear()
                    if error.port in chosen:
                        raise
            hundred += PORTS_A_CLUSTER
        raise Conflict(
            f"no hundred free ports are left above {first}", hint="remove a cluster, or name the ports"
        )

    def _spec(self, node: AddNodeRequest, port: int | None) -> NodeSpec:
        assert node.name is not None, "_named gave it one"
        return NodeSpec(
            name=node.name,
            host=node.host or self._settings.host,
            port=port,
            capacity=node.capacity or self._settings.capacity,
        )

    def _open(self, cluster: str, specs: list[NodeSpec], opened: list[NodeSpec]) -> tuple[NodeSpec, ...]:
        for spec in specs:
            if self._ports is not None and spec.port is not None:
                self._ports.open(spec.host, spec.port, cluster, spec.address)
                opened.append(spec)
        return tuple(specs)

    def _close(self, opened: list[NodeSpec]) -> None:
        for spec in opened:
            if self._ports is not None and spec.port is not None and not self._is_ours(spec):
                self._ports.close(spec.host, spec.port)

    def _is_ours(self, spec: NodeSpec) -> bool:
        """Whether a running node listens there; a failed PUT must not take its port away."""
        return any(spec.port == other.port for home in self._homes.values() for other in home.nodes.values())

    # -- following cluster 0's list --------------------------------------------------------------------------

    def _follow(self, registry: Registry) -> None:
        """Start what is new, stop what is gone, and do both where a cluster was replaced."""
        listed = {spec.cluster: spec for spec in registry.clusters}
        for cluster, home in tuple(self._homes.items()):
            if cluster == "0" or cluster in self._stopping or home.spec.parent is not None:
                continue
            spec = listed.get(cluster)
            if spec is None or spec.version != home.spec.version:
                self.end(cluster)
        for spec in listed.values():
            self.begin(spec)
        self._settle()

    def begin(self, spec: ClusterSpec) -> None:
        """Start a cluster that is new; one that takes the place of another, when that is gone."""
        cluster = spec.cluster
        if cluster in self._stopping:
            self._stopping[cluster] = spec
        elif cluster not in self._homes:
            try:
                self._homes[cluster] = _new_home(self._settings, spec)
            except StorageBroken as error:
                self._fail(spec, str(error))
            self._start(cluster)
            if not self._homes[cluster].failure:
                self.context.emit("cluster-started", cluster=cluster, nodes=len(spec.nodes))

    def _fail(self, spec: ClusterSpec, reason: str) -> None:
        """A cluster cannot start: that is seen and said, and hinders nobody else."""
        cluster, data = spec.cluster, self._settings.data
        self._homes[cluster] = Home.failed(spec, None if data is None else data.cluster(cluster), reason)
        self._close(list(spec.nodes))
        self.context.log.error("cluster not started cluster=%s reason=%s", cluster, reason)
        self.context.emit("cluster-failed", cluster=cluster, reason=reason)

    def _is_kept(self, cluster: str) -> bool:
        """Whether the data folder has files of a cluster, readable or not."""
        return self._settings.data is not None and self._settings.data.cluster(cluster).exists()

    def destroy(self, home: Home) -> None:
        """Forget what a cluster kept; what cannot be removed is said."""
        try:
            home.destroy()
        except StorageBroken as error:
            self.context.log.error("files left behind cluster=%s reason=%s", home.spec.cluster, error)

    def end(self, cluster: str) -> None:
        """Stop a cluster and those nested in it, and forget what they kept."""
        for nested in self._nesting.children(cluster):
            self.end(nested)
        self._stopping[cluster] = None
        self.context.watch(cluster_actor(cluster))
        self.context.stop(cluster_actor(cluster))

    def is_ending(self, cluster: str) -> bool:
        """Whether a cluster was stopped, and is not gone yet."""
        return cluster in self._stopping

    def _terminated(self, message: Terminated) -> None:
        """A cluster's actors are gone: its place is free for the one that replaces it."""
        for cluster in tuple(self._stopping):
            if cluster_actor(cluster) == message.name:
                self.destroy(self._homes.pop(cluster))
                for home in self._nesting.take_aside(cluster):
                    self.destroy(home)
                self.context.emit("cluster-stopped", cluster=cluster)
                spec = self._stopping.pop(cluster)
                if spec is not None and (spec.parent is None or spec.parent.cluster in self._homes):
                    self.begin(spec)
        self._settle()

    def statistics(self) -> dict[str, int | float | str]:
        return super().statistics() | {"clusters": len(self._homes)}


def check_id(cluster: str) -> None:
    """Raise InvalidRequest for what cannot be the id of a cluster that is made by itself."""
    if "." in cluster and CLUSTER_ID.fullmatch(cluster.replace(".", "")):
        raise InvalidRequest(
            f"{cluster[:LONGEST_SHOWN]} would be the name of a nested cluster",
            path="$.id",
            hint="choose an id without a dot, or put a service with a cluster: PUT /clusters/ID/services/NAME",
        )
    if len(cluster) <= LONGEST_ID and CLUSTER_ID.fullmatch(cluster) and cluster.lower() != LOCK:
        return
    shown = cluster if len(cluster) <= LONGEST_SHOWN else f"{cluster[:LONGEST_SHOWN]}…"
    why = "is the name of a file of the data folder" if cluster.lower() == LOCK else "is no id for a cluster"
    raise InvalidRequest(
        f"{shown!r} {why}",
        path="$.id",
        hint=f"use 1 to {LONGEST_ID} letters, digits, - and _, beginning with a letter or digit; not {LOCK}",
    )


def _named(wanted: tuple[AddNodeRequest, ...]) -> tuple[AddNodeRequest, ...]:
    """Each with a name: its own, else by its place, else the next that nobody has."""
    taken = {node.name for node in wanted}
    further = (name for number in count(len(wanted)) if (name := f"node_{number}") not in taken)
    named = []
    for number, node in enumerate(wanted):
        by_place = f"node_{number}"
        name = node.name or (by_place if by_place not in taken else next(further))
        named.append(msgspec.structs.replace(node, name=name))
    return tuple(named)


def _late() -> TimedOut:
    return TimedOut(
        "cluster 0 did not record the change in time; it may still happen", hint="GET /clusters shows it"
    )


def _order(cluster: str) -> list[tuple[int, int, str]]:
    """Numbers first, by value; a nested cluster right behind its parent."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in cluster.split(".")]
