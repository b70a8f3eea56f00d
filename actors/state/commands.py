"""What the nodes of a cluster agree to do: the commands that go through the log, and their bytes.

A command holds everything that its application needs: ids, times and placements are decided before it is
proposed, so that applying it gives the same state on every member. Commands are msgpack arrays that begin
with their tag, so a payload is never empty and never begins with 0x00 (which marks membership entries).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .specs import NestedCluster, ServiceSpec

MAX_QUEUED_CALLS = 10_000
"""Calls that may wait in the state; the 10,001st is refused, so that an outage cannot fill the memory."""

MAX_REPLICAS = 10_000_000
"""Replicas that one service may ask for: more is taken for a typing mistake."""


MAX_CAPACITY = 1_000_000_000
"""Slots that one node may have."""


Availability = Literal["active", "pause", "drain"]
"""Whether a node takes load: yes; nothing new; nothing at all, and what it has moves."""


class ServiceRequest(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a call wants of one service: this many replicas, each of which takes `slots_per_replica` slots.

    cluster: the replicas are the nodes of a cluster. says_slots: whether the number of slots stood in the call.
    """

    name: str
    replicas: int
    slots_per_replica: int = 1
    description: str = ""
    cluster: NestedCluster | None = None
    says_slots: bool = True
    keeps_unsaid: bool = False
    """What the call does not speak of stays as it is with a service that is known; calls in older logs reset the slots
    and the description, and ended the wait for what is in `depends_on`."""


class ServiceCall(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A user's wish, as it stands in the log. `body` is the JSON that was posted, given back in answers."""

    id: str
    services: tuple[ServiceRequest, ...]
    body: bytes = b"{}"
    received_ms: int = 0
    idempotency_key: str | None = None


class ServicePlan(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What changes for one service. Both byte strings are made and read by `runs.py`.

    starts: runs of (first slot, count, node number), little-endian int32. stops: runs of (first slot, count).
    retires: runs of (first task id, count), int64: tasks that end although their slot is wanted; a start in the same
    plan may take their place. All stops and retires come before all starts. devices: for each run of starts, which GPU
    devices each of its tasks holds, bit by bit, int64; left out where the service asks for none. preempted_by: the
    service for which `retires` make room.
    """

    service: str
    starts: bytes = b""
    stops: bytes = b""
    retires: bytes = b""
    devices: bytes = b""
    preempted_by: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where replicas start and which stop; one log entry, whatever their number."""

    services: tuple[ServicePlan, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.services)


class ClusterNode(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A node of a further cluster, as cluster 0 records it."""

    name: str
    host: str
    port: int | None
    capacity: int


class AddNode(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="add-node"):
    """A node joins, ready. Whether it votes is decided by Raft's membership, not here."""

    name: str
    host: str
    port: int | None
    capacity: int
    labels: tuple[tuple[str, str], ...] = ()
    resources: dict[str, int] = {}
    platform: tuple[str, str] = ("", "")
    gpu_model: str = ""


class UpdateNode(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="update-node"):
    """What a node is for, and what it has. None leaves it as it is.

    drain_parallel: how many replicas of one service may be on the move at a time, 0 = all. drain_deadline_s: after so
    long the rest goes at once.
    """

    name: str
    availability: Availability | None = None
    labels: tuple[tuple[str, str], ...] | None = None
    capacity: int | None = None
    resources: dict[str, int] | None = None
    platform: tuple[str, str] | None = None
    drain_parallel: int = 0
    drain_deadline_s: float | None = None
    gpu_model: str | None = None


class RemoveNode(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="remove-node"):
    """A node leaves for good: its tasks are forgotten, and the next plan replaces them."""

    name: str


class MoveNodes(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="move-nodes"):
    """Nodes have other addresses than before: their program was started on another port. A node is its name."""

    addresses: tuple[tuple[str, str, int | None], ...]
    """(name, host, port) each."""


class SetNodeStatus(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="set-node-status"):
    """The leader of `term` saw a node fall silent or answer again; refused in an entry of any other term."""

    name: str
    status: Literal["ready", "down"]
    term: int


class SubmitCall(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="submit-call"):
    """Queue a call. The same id or idempotency key again yields the first call and queues nothing."""

    call: ServiceCall


class ExecuteCall(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="execute-call"):
    """Work the oldest call: set its services' replicas and place them. `made_at` is the index planned on."""

    call_id: str
    term: int
    made_at: int
    plan: Plan


class FailCall(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="fail-call"):
    """Give the oldest call up, so that the queue goes on: for a leader that cannot plan it."""

    call_id: str
    term: int
    reason: str


class PlaceTasks(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="place-tasks"):
    """Repair drift: replace lost replicas, place waiting ones, stop surplus ones."""

    term: int
    made_at: int
    plan: Plan


class PutService(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="put-service"):
    """Make a service, or give it another spec. Where `version` is told and is not the present one it is refused; 0
    is the version of a service that does not exist."""

    name: str
    spec: ServiceSpec
    version: int | None = None
    scales: bool = False
    """The user means `replicas`, although the spec may have that number already: of an autoscaled service it counts."""
    no_circles: bool = False
    """Refused where services would wait for each other in a circle; commands in older logs were not."""
    keeps_on_nodes: bool = False
    """Of a global service: what is on a paused node stays through updates, and a job that is done on a node is not
    begun there again when the node was away or closed. Services in older logs lost the one, and did the other."""


class ScaleService(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="scale-service"):
    """The leader's autoscaler decided on another number of replicas, and why. It was decided on `version` of the
    service with `was` replicas, and is refused where either has changed."""

    name: str
    version: int
    term: int
    was: int
    replicas: int
    usage: float
    why: str


class RunDue(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="run-due"):
    """By the leader's wall clock a cron service has been due. Times are in ms since 1970.

    Whatever was due up to `up_to_ms` is thereby decided: `run_ms`, if told, is carried out as the spec's overlap rule
    says, and `missed` others were due when nobody led, too long ago or before that one.
    """

    name: str
    version: int
    term: int
    up_to_ms: int
    run_ms: int | None = None
    missed: int = 0


class RemoveService(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="remove-service"):
    """Stop all of a service's replicas and forget it."""

    name: str
    version: int | None = None


class RollBackService(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="roll-back-service"):
    """Give a service an earlier spec again: that of `to_version`, or the one before the last update."""

    name: str
    version: int | None = None
    to_version: int | None = None
    spares_same: bool = False
    """Where no replica has to be replaced, only the spec changes, as with PutService; commands in older logs began an
    update all the same."""


class PutStack(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="put-stack"):
    """Make a stack's services, or give them other specs, and remove those that are no longer in it: all of it, or where
    one is refused nothing. `version` as in PutService; a stack's is the index of the last change of a service in it."""

    name: str
    services: tuple[tuple[str, ServiceSpec], ...]
    version: int | None = None
    no_circles: bool = False
    keeps_on_nodes: bool = False
    """Both as in PutService."""


class RemoveStack(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="remove-stack"):
    """Stop all replicas of all services of a stack and forget them."""

    name: str
    version: int | None = None


class PassTime(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="pass-time"):
    """The leader's word on how late it is: `clock_ms` counts the time in which the cluster had leaders, so that it
    never jumps, whichever machine leads. What waited for this time happens."""

    term: int
    clock_ms: int


class ReportTasks(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="report-tasks"):
    """What a node's agent saw: runs of (first task id, count, state), little-endian int64 (`runs.py`)."""

    node: str
    incarnation: int
    updates: bytes


class NodeReport(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What one node's agent saw, as in `ReportTasks`."""

    node: str
    incarnation: int
    updates: bytes


class ReportNodes(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="report-nodes"):
    """What the agents of several nodes saw, each node once: as a `ReportTasks` each, at a fraction of the cost. One
    that would be refused is left out."""

    reports: tuple[NodeReport, ...]


class RebalanceMove(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Task `task`, which is the replica in `slot` of `service`, moves from one node to another, by their numbers."""

    task: int
    service: str
    slot: int
    source: int
    target: int


class StartRebalance(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="start-rebalance"):
    """Begin these moves in their order, at most `max_parallel` under way at a time. `made_at` is the index planned on;
    refused while another rebalance is under way."""

    made_at: int
    max_parallel: int
    cost_before: float
    cost_after: float
    moves: tuple[RebalanceMove, ...]


class GoOnRebalance(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="go-on-rebalance"):
    """The leader saw that the rebalance can go on: what has arrived ends, what has room begins."""

    term: int


class StopRebalance(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="stop-rebalance"):
    """Begin no more moves."""


class ChangeSettings(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="change-settings"):
    """What is so for the whole cluster (`settings.py`); None leaves it as it is."""

    preemption: bool | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="told"):
    """The events of all entries up to this one are in the event log: no leader needs to tell them again."""

    index: int


class CreateCluster(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="create-cluster"):
    """Record a further cluster. Only cluster 0 keeps this list."""

    id: str
    nodes: tuple[ClusterNode, ...]


class ReplaceCluster(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="replace-cluster"):
    """Record a further cluster anew, or for the first time."""

    id: str
    nodes: tuple[ClusterNode, ...]


class RemoveCluster(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="remove-cluster"):
    """Forget a further cluster."""

    id: str


Command = (
    AddNode
    | UpdateNode
    | PutService
    | ScaleService
    | RunDue
    | RemoveService
    | RollBackService
    | PutStack
    | RemoveStack
    | PassTime
    | RemoveNode
    | MoveNodes
    | SetNodeStatus
    | SubmitCall
    | ExecuteCall
    | FailCall
    | PlaceTasks
    | ReportTasks
    | ReportNodes
    | StartRebalance
    | GoOnRebalance
    | StopRebalance
    | ChangeSettings
    | Told
    | CreateCluster
    | ReplaceCluster
    | RemoveCluster
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)


def encode(command: Command) -> bytes:
    """The bytes of a command, as they stand in the log."""
    return _encoder.encode(command)


def decode(payload: bytes) -> Command:
    """The command in a log entry. Raises msgspec.DecodeError on bytes that `encode` did not make."""
    return _decoder.decode(payload)
