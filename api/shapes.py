"""The JSON that goes in and out, written down as types: bodies are checked against them, answers are described by them.

Bodies (`New…`, `Remove…`) refuse unknown fields. Views describe answers; fields may be added to an answer, so an
answer may hold more than its view names.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")]
Host = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.\-]{1,253}\Z")]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Capacity = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
NodeCount = Annotated[int, msgspec.Meta(ge=1, le=5000)]


class NewNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that is to join: `{"id": "custom0", "host": "localhost", "port": 8099, "capacity": 100, "spawn": true}`.

    None means that the cluster chooses. `spawn: true` starts the node here; false is for one that runs elsewhere.
    """

    id: Id | None = None
    host: Host | None = None
    port: Port | None = None
    capacity: Capacity | None = None
    labels: dict[str, str] = {}
    resources: dict[str, Count] = {}
    """What it has beside slots: cpu_milli, memory_mib, gpus, and custom resources by name."""
    gpu_model: Annotated[str, msgspec.Meta(max_length=100)] = ""
    """Of all its GPUs."""
    spawn: bool = True


class NewPeer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same where the path says the address: `POST /nodes/localhost:8099` on a node's port. May be left out."""

    id: Id | None = None
    capacity: Capacity | None = None
    spawn: bool = True


class NewCluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cluster that is to be made: `{"nodes": 3}`, or `{"nodes": [{"port": 8201}, …]}` to choose for each node."""

    nodes: NodeCount | Annotated[tuple[NewNode, ...], msgspec.Meta(min_length=1, max_length=5000)]
    id: Id | None = None
    capacity: Capacity | None = None
    """Of each node that does not say its own."""


class RemoveNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which node is to leave: `{"host": "localhost", "port": 8001}`, or `{"id": "custom0"}`."""

    host: Host = "localhost"
    port: Port | None = None
    id: Id | None = None


Matrix = dict[str, dict[str, int]]
"""`{from: {to: 0 or 1}}`"""

Row = dict[str, int]
"""`{to: 0 or 1}`"""

ServiceCall = dict[str, Any]
"""One of the three documented bodies; the implementation of ports.Clusters reads it."""


class RollBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To which version; None is the one before the last update. May be left out."""

    to_version: Count | None = None


ServiceBody = dict[str, Any]
"""A service's spec, `{"image": "nginx:1.27", "replicas": 3, …}`; the implementation of ports.Clusters reads it."""

ServicePatch = dict[str, Any]
"""The part of a spec that is to change (RFC 7386): `{"replicas": 5}`; null takes a field away."""

NodePatch = dict[str, Any]
"""`{"availability": "drain", "labels": {…}, "resources": {…}}`; the implementation of ports.Clusters reads it."""


class RebalanceOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which replicas should move, at most so many; without `dry_run` they do, at most `max_parallel` at a time."""

    max_moves: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100
    max_parallel: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    dry_run: bool = True


class TransferOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is to lead, by address or id; without it whoever is furthest."""

    target: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None


class TransferView(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads now."""

    status: str
    leader: str


SettingsBody = dict[str, Any]
"""`{"preemption": true}`; the implementation of ports.Clusters reads it."""


class LogEntryView(msgspec.Struct, kw_only=True):
    """One entry of a node's log."""

    index: int
    term: int


class NodeStats(msgspec.Struct, kw_only=True):
    """What a node says of itself."""

    host: str
    port: int | None
    state: str
    """LEADER, FOLLOWER, CANDIDATE, LEARNER or WORKER."""
    capacity: int | None
    load: int


class NodeDetail(NodeStats, kw_only=True):
    """The same on the node's own port, with its log."""

    term: int
    leader: str | None
    commit_index: int
    log: list[LogEntryView]
    usage: dict[str, float] | None = None
    """What its replicas use together, by metric, where they are measured."""


class NodeView(msgspec.Struct, kw_only=True):
    """A node as its cluster sees it."""

    address: str
    accessible: bool
    """The node's actor answers its cluster, whatever links are cut."""
    stats: dict[str, Any]


class CallView(msgspec.Struct, kw_only=True):
    """A service call: the body it came with, and what became of it."""

    service_id: str
    status: str
    """`spreading pending`, `spreading`, `executed` or `failed`."""
    log_index: int | None = None
    load_distribution: dict[str, int] = {}
    clusters: dict[str, str] = {}
    """The ids of the clusters that it makes, by service."""


class ParentView(msgspec.Struct, kw_only=True):
    """The service that a nested cluster is."""

    cluster: str
    service: str


class NestedView(msgspec.Struct, kw_only=True):
    """The cluster that a service is."""

    id: str
    """It answers under /clusters/{id}."""


class ClusterView(msgspec.Struct, kw_only=True):
    """A cluster, its nodes, its links and its service calls."""

    id: str
    nodes: list[NodeView]
    connections: Matrix
    services: list[CallView]
    parent: ParentView | None = None
    """Of a nested cluster."""
    state: str | None = None
    """FAILED where its files keep it from starting: it has no nodes then, and all but DELETE and PUT is a 503."""
    reason: str | None = None
    hint: str | None = None
    """What to do about it."""


class Metadata(msgspec.Struct, kw_only=True):
    """How many there are in all."""

    count: int


class ClusterList(msgspec.Struct, kw_only=True):
    """Every cluster."""

    metadata: Metadata
    results: list[ClusterView]


class NodeList(msgspec.Struct, kw_only=True):
    """Nodes of a cluster."""

    metadata: Metadata
    results: list[NodeView]


class GpuFacts(msgspec.Struct, kw_only=True):
    """The GPU devices of a node: their model, and how many thousandths of each are taken, by device."""

    model: str
    taken_milli: list[int]


class PlatformFacts(msgspec.Struct, kw_only=True):
    """What a node is; empty where nobody has said."""

    os: str
    arch: str


class DrainFacts(msgspec.Struct, kw_only=True):
    """How gently a node drains, and how far that has come."""

    max_parallel: int
    deadline_in_s: float | None
    replicas_left: int


class NodeFacts(msgspec.Struct, kw_only=True):
    """What a node is for, and what it has."""

    id: str
    availability: str
    """active, pause (nothing new) or drain (what it has moves)."""
    status: str
    labels: dict[str, str]
    resources: dict[str, int]
    taken: dict[str, int]
    platform: PlatformFacts | None = None
    gpus: GpuFacts | None = None
    """Where it has any."""
    drain: DrainFacts | None = None
    """While it drains."""
    usage: dict[str, float] | None = None
    """What its replicas use together, by metric, where they are measured."""


class NodeWhole(NodeDetail, kw_only=True):
    """What a node says of itself, and, where there is a leader, what was agreed on for it, as in NodeFacts."""

    availability: str | None = None
    status: str | None = None
    labels: dict[str, str] | None = None
    resources: dict[str, int] | None = None
    taken: dict[str, int] | None = None
    platform: PlatformFacts | None = None
    gpus: GpuFacts | None = None
    drain: DrainFacts | None = None


class SettingsView(msgspec.Struct, kw_only=True):
    """What is agreed on for the cluster as a whole."""

    preemption: bool
    """Whether a service that finds no room takes that of others whose priority is lower by ten or more."""
    log_index: int | None = None


class RebalanceMove(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """A replica that moves, by the address of its node and of the next one."""

    service: str
    slot: int
    task: int
    from_: str
    to: str
    state: str | None = None
    """Once it was begun: waiting, moving, moved, or dropped with a reason."""
    reason: str | None = None


class RebalancePlan(msgspec.Struct, kw_only=True):
    """What would be done, or has begun. Costs: what nodes hold beyond their even share, in percent of an average."""

    state: str
    """planned, running, or even: there is nothing to gain."""
    made_at: int
    cost_before: float
    cost_after: float
    max_parallel: int
    dry_run: bool
    moves: list[RebalanceMove]
    log_index: int | None = None


class RebalanceView(msgspec.Struct, kw_only=True):
    """How far the last rebalance has come."""

    state: str
    """none, running or ended."""
    moves: list[RebalanceMove]
    made_at: int | None = None
    log_index: int | None = None
    max_parallel: int | None = None
    cost_before: float | None = None
    cost_after: float | None = None
    waiting: int | None = None
    moving: int | None = None
    moved: int | None = None
    dropped: int | None = None


class ServiceSummary(msgspec.Struct, kw_only=True):
    """A service: what is desired, and how much of it runs."""

    name: str
    version: int
    """Counts every change; send it as ?version= to change only what you have seen."""
    mode: str
    replicas: int
    placed: int
    pending: int
    completed: int
    """Replicas that did what they were for: a job's runs that went well."""
    given_up: int
    """Replicas that ended, and start no more by their restart policy."""
    spec: dict[str, Any]
    reason: str | None = None
    """Why replicas wait."""
    cluster: NestedView | None = None
    """Where its container is a cluster."""


class EarlierSpec(msgspec.Struct, kw_only=True):
    """A spec that another one has replaced."""

    version: int
    spec: dict[str, Any]


class Waiting(msgspec.Struct, kw_only=True):
    """Why replicas wait: nodes counted by what keeps them from taking one, and each node's own reason; or what
    else they wait for."""

    replicas: int
    summary: str
    nodes: dict[str, str]


class MetricUsage(msgspec.Struct, kw_only=True):
    """What a service's replicas use of one metric: on average, together, and how many were measured."""

    mean: float
    total: float
    replicas: int


class Scaled(msgspec.Struct, kw_only=True):
    """The last change that the autoscaler made."""

    was: int
    replicas: int
    why: str
    age_s: float


class AutoscaleView(msgspec.Struct, kw_only=True):
    """What the autoscaler does: its bounds, its last decision in words, and its last change."""

    min: int
    max: int
    now: str
    last: Scaled | None


class CronRun(msgspec.Struct, kw_only=True):
    """The last run of a cron service: for when it was due, and how far it has come."""

    due: str
    age_s: float
    replicas: int
    completed: int
    given_up: int
    is_over: bool


class CronView(msgspec.Struct, kw_only=True):
    """When a cron service is due next, its last run, and how many there were, were left out, and were missed."""

    last_run: CronRun | None
    runs: int
    left_out: int
    missed: int
    next_run: str | None = None
    problem: str | None = None
    """Why nobody can tell when it is due."""


class ServiceDetail(ServiceSummary, kw_only=True):
    """The same with where it runs, why the rest waits, and its earlier specs, the newest first."""

    load_distribution: dict[str, int]
    earlier: list[EarlierSpec]
    waiting: Waiting | None = None
    usage: dict[str, MetricUsage] | None = None
    """By metric, where replicas are measured."""
    autoscale: AutoscaleView | None = None
    cron: CronView | None = None
    placement: dict[str, Any] | None = None
    """The profile, and how the nodes with room compare, the best first: `{node: {"affinity", "score"}}`."""


class ServiceList(msgspec.Struct, kw_only=True):
    """Services of a cluster."""

    metadata: Metadata
    results: list[ServiceSummary]


class HeldGpus(msgspec.Struct, kw_only=True):
    """The devices that a task holds, numbered from 0 on its node, and how many thousandths of each."""

    devices: list[int]
    milli: int


class TaskView(msgspec.Struct, kw_only=True):
    """One attempt to run a replica in a slot."""

    id: int
    service: str
    slot: int
    node: str
    state: str
    """ASSIGNED, RUNNING, …: the fourteen states of SwarmKit, only ever forward."""
    desired: str
    version: int
    """The version of the service that it was made from."""
    age_s: float
    """Since its state changed last."""
    gpus: HeldGpus | None = None
    """Where it holds any."""


class TaskList(msgspec.Struct, kw_only=True):
    """Tasks of a cluster or of a service."""

    metadata: Metadata
    results: list[TaskView]


StackBody = dict[str, Any]
"""A Compose document as JSON, `{"services": {"web": {"image": "nginx:1.27"}}}`; ports.Clusters reads it."""


class StackSummary(msgspec.Struct, kw_only=True):
    """Services that were deployed together."""

    name: str
    version: int
    """The log index of the last change of any of them; send it as ?version= to change only what you have seen."""
    replicas: int
    placed: int
    pending: int
    service_count: int


class StackWarning(msgspec.Struct, kw_only=True):
    """What stands in a document to no effect."""

    path: str
    message: str


class StackDetail(StackSummary, kw_only=True):
    """The same with the services themselves."""

    services: list[ServiceSummary]
    warnings: list[StackWarning] = []


class StackList(msgspec.Struct, kw_only=True):
    """Stacks of a cluster."""

    metadata: Metadata
    results: list[StackSummary]


PlanBody = dict[str, Any]
"""One of service, call, drain, loss: `{"drain": ["localhost:8002"]}`; the implementation of ports.Clusters reads it."""


class PlanView(msgspec.Struct, kw_only=True):
    """What would happen if: in all, service by service, step by step."""

    plan: str
    index: int
    """The log index of the state that it was made on."""
    summary: dict[str, float]
    """Replicas: starts, stops, moves, replaces, keeps, waits, and waited before; services, nodes, steps, takes_s. Of
    {"loss": "each"}: nodes, survivable, not_survivable, not_looked_at."""
    services: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    is_complete: bool = True
    """Whether it was followed until nothing more would happen."""
    losses: list[dict[str, Any]] = []
    """Of {"loss": "each"}: the nodes without which more would wait, and what."""


class Done(msgspec.Struct, kw_only=True):
    """`{"status": "ok"}`"""

    status: str


class CountView(msgspec.Struct, kw_only=True):
    """`{"count": 4}`"""

    count: int


class MajorityView(msgspec.Struct, kw_only=True):
    """`{"majority": 3}`"""

    majority: int


LoadTable = dict[str, dict[str, int]]
"""`{service_id: {address: replicas}}`"""


class DroppedEvents(msgspec.Struct, kw_only=True):
    """A gap, by seq, both ends included. `to` is null where the program was started since: its log counts from 1."""

    first: int = msgspec.field(name="from")
    to: int | None


class EventMetadata(msgspec.Struct, kw_only=True):
    """How many there are here; `last_seq` is the `since` that goes on from here."""

    count: int
    last_seq: int
    dropped: DroppedEvents | None


class EventView(msgspec.Struct, kw_only=True):
    """One thing that happened; `t_ns` is nanoseconds since the start, `cause` the seq of what led to it."""

    seq: int
    t_ns: int
    kind: str
    data: dict[str, Any]
    cluster: str | None = None
    node: str | None = None
    term: int | None = None
    cause: int | None = None


class EventList(msgspec.Struct, kw_only=True):
    """Events, oldest first."""

    metadata: EventMetadata
    results: list[EventView]


Duration = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)\Z", examples=["20ms", "1.5s"])
]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class LinkFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a link is to behave: `{"delay": "20ms", "jitter": "5ms", "loss": 0.1}`. Shares are of its messages."""

    delay: Duration | msgspec.UnsetType = msgspec.UNSET
    jitter: Duration | msgspec.UnsetType = msgspec.UNSET
    loss: Share | msgspec.UnsetType = msgspec.UNSET
    duplicate: Share | msgspec.UnsetType = msgspec.UNSET
    reorder: Share | msgspec.UnsetType = msgspec.UNSET


class LinkStatistics(msgspec.Struct, kw_only=True):
    """Messages since the link was made."""

    in_flight: int
    delivered: int
    lost_cut: int
    lost_full: int
    lost_random: int
    duplicated: int


class LinkView(msgspec.Struct, kw_only=True):
    """One direction between two nodes; `connected` is 0 where it is cut."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    connected: int
    delay: str
    jitter: str
    loss: float
    duplicate: float
    reorder: float
    statistics: LinkStatistics


class Health(msgspec.Struct, kw_only=True):
    """`{"status": "ok"}`"""

    status: str
