"""What the actors say to each other, how they are addressed, and what they write in the event log.

Peers speak through Links only: `PeerMessage` of the Raft core, and `Assign`, `Report`, `Beat` between a leader and the
agents. Everything else is said inside one host, straight to a name. A request carries `reply_to` (a name) and `ref`
(a number that comes back with the answer), because no actor ever waits.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .scheduling.wishes import Wish
from .state.commands import CreateCluster, RemoveCluster, ReplaceCluster
from .state.records import Assignments, Happening
from .state.specs import nested_cluster

__all__ = [
    "EVENT_KINDS",
    "AddNodeRequest",
    "AgentReport",
    "AskNode",
    "Addresses",
    "Assign",
    "Beat",
    "BeatReply",
    "CallsFinished",
    "Carried",
    "ChangeService",
    "ChangeSettings",
    "ChangeStack",
    "ChildCluster",
    "ClusterSpec",
    "ClusterView",
    "CreateClusterRequest",
    "CutLink",
    "DescribeCall",
    "DescribeCluster",
    "DescribeConnections",
    "DescribeLink",
    "DescribeLinkRequest",
    "DescribeNode",
    "DescribeRebalance",
    "DescribePlan",
    "DescribeService",
    "DescribeServices",
    "DescribeSettings",
    "DescribeStack",
    "DescribeStacks",
    "DescribeState",
    "DescribeTasks",
    "FollowService",
    "Happened",
    "Heeded",
    "Heard",
    "HostedNodes",
    "LeaderClaim",
    "LeaderResigned",
    "LinkPolicy",
    "LinkShown",
    "LinkStatus",
    "ListClusters",
    "MeasureUsage",
    "Message",
    "NestedClusters",
    "NodeAnswer",
    "NodeFailed",
    "NodeSpec",
    "NodeStatus",
    "Outcome",
    "Parent",
    "PlanRebalance",
    "Question",
    "RebalanceRequest",
    "RecordClusters",
    "Recorded",
    "Registry",
    "RemoveClusterRequest",
    "RemoveNodeRequest",
    "RemoveService",
    "RemoveStack",
    "RollBackService",
    "Report",
    "RestoreLink",
    "RunTasks",
    "SetConnections",
    "SetLinkPolicy",
    "SetLinkPolicyRequest",
    "ServiceUsage",
    "SpawnCluster",
    "StartNode",
    "StopRebalance",
    "Submit",
    "SubmitServiceCall",
    "TellAgain",
    "TransferRequest",
    "Underlay",
    "UpdateNodeRequest",
    "UsageReport",
    "agent_actor",
    "cluster_actor",
    "disk_actor",
    "link_actor",
    "nested_cluster",
    "nested_node",
    "node_actor",
    "parent_node",
]

ORCHESTRATOR = "orchestrator"


def cluster_actor(cluster: str) -> str:
    """The name of a cluster's front door."""
    return f"cluster/{cluster}"


def node_actor(cluster: str, node: str) -> str:
    """The name of a node's actor."""
    return f"cluster/{cluster}/node/{node}"


def agent_actor(cluster: str, node: str) -> str:
    """The name of the actor that runs a node's replicas."""
    return f"cluster/{cluster}/agent/{node}"


def disk_actor(cluster: str, node: str) -> str:
    """The name of the actor that has a node's storage, where that is not memory."""
    return f"cluster/{cluster}/disk/{node}"


def link_actor(cluster: str, source: str, target: str) -> str:
    """The name of the wire from `source` to `target`; the way back is another."""
    return f"cluster/{cluster}/link/{source}->{target}"


def nested_node(parent_node: str, task: int) -> str:
    """The name of the nested cluster's node that is a task on that node: it says where it runs, and is never used
    again."""
    return f"{parent_node}.{task}"


def parent_node(node: str) -> str:
    """The node that a nested cluster's node runs on."""
    return node.rpartition(".")[0]


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The base of every message: a frozen value."""


# -- plain values --------------------------------------------------------------------------------------------


class LinkPolicy(Message, frozen=True, kw_only=True, gc=False):
    """How a wire behaves: seconds for delay and jitter, shares from 0 to 1 for the faults, messages for the window."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    window: int = 4096


class NodeSpec(Message, frozen=True, kw_only=True, gc=False):
    """One node as asked for: `capacity` in slots; a node without a port answers under its cluster only.

    `resources` are what a nested cluster's node has beside slots: what its replica reserved."""

    name: str
    host: str
    port: int | None
    capacity: int
    resources: dict[str, int] = {}

    @property
    def address(self) -> str:
        """What users call the node: `host:port`, or its name where it has no port."""
        return self.name if self.port is None else f"{self.host}:{self.port}"


class Parent(Message, frozen=True, kw_only=True, gc=False):
    """What a nested cluster is: a service of another cluster."""

    cluster: str
    service: str


class ClusterSpec(Message, frozen=True, kw_only=True, gc=False):
    """A cluster as it is created: its first nodes; later ones come by the replicated log.

    `version` tells it from an earlier cluster of the same id."""

    cluster: str
    nodes: tuple[NodeSpec, ...]
    version: int = 0
    parent: Parent | None = None


# -- links ---------------------------------------------------------------------------------------------------


class CutLink(Message, frozen=True, kw_only=True, gc=False):
    """Drop the mailbox and whatever comes, until restored."""

    ref: int = 0
    reply_to: str | None = None


class RestoreLink(Message, frozen=True, kw_only=True, gc=False):
    """Start a fresh mailbox."""

    ref: int = 0
    reply_to: str | None = None


class SetLinkPolicy(Message, frozen=True, kw_only=True, gc=False):
    """Delay, jitter, loss, duplicates, reordering from now on; what is in flight keeps its time."""

    policy: LinkPolicy
    ref: int = 0
    reply_to: str | None = None


class DescribeLink(Message, frozen=True, kw_only=True, gc=False):
    """Ask a link for its status."""

    ref: int = 0
    reply_to: str | None = None


class LinkStatus(Message, frozen=True, kw_only=True, gc=False):
    """What a link is and did; counts are messages since its actor started."""

    ref: int
    source: str
    target: str
    cut: bool
    in_flight: int
    delivered: int
    lost_cut: int
    lost_full: int
    lost_random: int
    duplicated: int
    policy: LinkPolicy


class Underlay(Message, frozen=True, kw_only=True, gc=False):
    """What the wires of a nested cluster ride on: those of its parent, each with that policy where it is not there yet,
    which may themselves ride on others."""

    cluster: str
    policy: LinkPolicy
    under: Underlay | None = None


class Carried(Message, frozen=True, kw_only=True, gc=False):
    """To a parent's link: a message of a nested cluster for the actor `to`, to fare as the link's own do."""

    to: str
    message: Any


# -- leader and agents (through links) -----------------------------------------------------------------------


class Assign(Message, frozen=True, kw_only=True, gc=False):
    """The leader's word on what a node runs, all of it; a higher version replaces a lower one. `load` and
    `capacity` are in slots; reports up to version `settled` are in the log, so what they said of stopped tasks need not
    be said again."""

    leader: str
    term: int
    load: int
    assignments: Assignments
    settled: int
    capacity: int | None = None


class Report(Message, frozen=True, kw_only=True, gc=False):
    """A node's word on its tasks at `version` of its assignments, -1 before it has any; `incarnation` counts the lives
    of its agent; `updates` as in the command `ReportTasks`; `change` counts what changed by itself, said until heeded.
    """

    node: str
    incarnation: int
    term: int
    version: int
    updates: bytes
    change: int = 0


class Heeded(Message, frozen=True, kw_only=True, gc=False):
    """The leader to a node, and that to its agent: what changed by itself up to `change` is in the log."""

    leader: str
    term: int
    incarnation: int
    change: int


class Beat(Message, frozen=True, kw_only=True, gc=False):
    """The leader asks a node whether it is there; members of the consensus answer Raft's heartbeats instead. It
    has no state of its own: `load` and `capacity`, in slots, are what was agreed on."""

    leader: str
    term: int
    load: int
    capacity: int | None = None


class BeatReply(Message, frozen=True, kw_only=True, gc=False):
    """A node is there."""

    node: str
    term: int


class MeasureUsage(Message, frozen=True, kw_only=True, gc=False):
    """The leader asks a node, and that its agent, what its replicas use. `loads`: the services that matter, each with
    the number of replicas in the cluster that share its demand, and for how many ms that demand has been set."""

    leader: str
    term: int
    round: int
    loads: tuple[tuple[str, int, int], ...]


class ServiceUsage(Message, frozen=True, kw_only=True, gc=False):
    """What a service's running replicas on one node use together: (metric, total), by name."""

    service: str
    replicas: int
    totals: tuple[tuple[str, float], ...]


class UsageReport(Message, frozen=True, kw_only=True, gc=False):
    """A node's answer to `MeasureUsage`, and its agent's, who leaves `node` empty."""

    node: str
    term: int
    round: int
    services: tuple[ServiceUsage, ...]


# -- a node and its agent (one host) -------------------------------------------------------------------------


class RunTasks(Message, frozen=True, kw_only=True, gc=False):
    """Run exactly these; the answer is an `AgentReport`."""

    assignments: Assignments
    settled: int
    reply_to: str


class AgentReport(Message, frozen=True, kw_only=True, gc=False):
    """Every task of `version` with its state, and those that were stopped since the report before. Version -1: this
    life of the agent has not been told yet what to run."""

    version: int
    incarnation: int
    updates: bytes
    change: int = 0


# -- nested clusters (one host) ------------------------------------------------------------------------------


class ChildCluster(Message, frozen=True, kw_only=True, gc=False):
    """A service that is a cluster, as its leader has it: the nodes that the cluster should have. `generation` tells it
    from an earlier service of that name."""

    service: str
    generation: int
    nodes: tuple[NodeSpec, ...]


class NestedClusters(Message, frozen=True, kw_only=True, gc=False):
    """A Cluster to the Orchestrator: all of its services that are clusters."""

    parent: str
    children: tuple[ChildCluster, ...]


class FollowService(Message, frozen=True, kw_only=True, gc=False):
    """The Orchestrator to a nested Cluster: its nodes should be these. `busy` are those on which clusters that are
    nested in it have nodes."""

    nodes: tuple[NodeSpec, ...]
    busy: tuple[str, ...] = ()


class SpawnCluster(Message, frozen=True, kw_only=True, gc=False):
    """What a runtime wants and its agent sees to: of the nested `cluster` these nodes, and no others, run on `node`.

    `nodes` are (name, whether it is to leave). The agent says so to the Orchestrator again and again, which passes it
    on to the Cluster; the answer is `HostedNodes`."""

    parent: str
    node: str
    cluster: str
    generation: int
    nodes: tuple[tuple[str, bool], ...]


class HostedNodes(Message, frozen=True, kw_only=True, gc=False):
    """A nested Cluster to an agent: these nodes belong to it now, and those do no more and have ended."""

    cluster: str
    generation: int
    joined: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


# -- a node and its cluster (one host) -----------------------------------------------------------------------


class Submit(Message, frozen=True, kw_only=True, gc=False):
    """Propose a command on behalf of a session; sent again with the same sequence until an `Outcome` comes.

    What the numbers mean stands in raft/sessions.py. Sequences have no gaps, and are sent in order: a leader takes none
    whose predecessor it has not taken, so a session's commands stand in the log in the order of their numbers."""

    session: str
    sequence: int
    acknowledged: int
    command: bytes
    reply_to: str


class Outcome(Message, frozen=True, kw_only=True, gc=False):
    """A command was applied at `index`, or could not be proposed (`refused`; try the `leader`). `result` is what the
    machine answered: plain values, as msgpack has them."""

    session: str
    sequence: int
    index: int
    result: Any
    refused: str | None = None
    leader: str | None = None


class LeaderClaim(Message, frozen=True, kw_only=True, gc=False):
    """A node says that it leads."""

    node: str
    term: int


class LeaderResigned(Message, frozen=True, kw_only=True, gc=False):
    """A node says that it leads no more."""

    node: str
    term: int
    reason: str


class Addresses(Message, frozen=True, kw_only=True, gc=False):
    """Where the nodes of this host are; a leader that has other addresses in the log mends that."""

    nodes: tuple[NodeSpec, ...]


class NodeFailed(Message, frozen=True, kw_only=True, gc=False):
    """A node ends because its storage failed. With damage, starting it again would not help."""

    node: str
    reason: str
    is_damaged: bool


class NodeStatus(Message, frozen=True, kw_only=True, gc=False):
    """What the leader believes of a node."""

    spec: NodeSpec
    status: str
    member: str


class ClusterView(Message, frozen=True, kw_only=True, gc=False):
    """The leader's picture of the cluster, pushed to the front door whenever it changes. `drained` are those of the
    `draining` nodes on which nothing is left."""

    node: str
    term: int
    nodes: tuple[NodeSpec, ...]
    voters: tuple[str, ...]
    learners: tuple[str, ...]
    clusters: tuple[ClusterSpec, ...]
    children: tuple[ChildCluster, ...] = ()
    draining: tuple[str, ...] = ()
    drained: tuple[str, ...] = ()


class Happened(Message, frozen=True, kw_only=True, gc=False):
    """The leader to the front door, for the event log: what an entry led to. Who begins to lead tells all that the
    state keeps as untold; what the front door has heard before is not told again."""

    node: str
    term: int
    happening: Happening
    is_again: bool = False
    """Asked for by `TellAgain`: a gap before it cannot be filled."""


class Heard(Message, frozen=True, kw_only=True, gc=False):
    """The front door to the leader: the events of all entries up to `index` are in the event log."""

    index: int


class TellAgain(Message, frozen=True, kw_only=True, gc=False):
    """The front door to the leader: something between `after` and what came last has not arrived."""

    after: int


class CallsFinished(Message, frozen=True, kw_only=True, gc=False):
    """The leader to the front door: these service calls were executed or failed; somebody may wait for them."""

    calls: tuple[str, ...]


class DescribeNode(Message, frozen=True, kw_only=True, gc=False):
    """Ask a node for its statistics; `log` = (first, last) entries wanted, the newest 20 by default."""

    ref: int = 0
    reply_to: str | None = None
    log: tuple[int | None, int | None] | None = None
    with_log: bool = True
    with_services: bool = False
    with_loads: bool = False


class Question(Message, frozen=True, kw_only=True, gc=False):
    """`about` is what is asked for (control/answers.py has the list), `name` of what; a list from `offset`, at most
    `limit`. Of a plan, `of` is the wish (scheduling/wishes.py)."""

    about: str
    name: str | None = None
    offset: int = 0
    limit: int = 100
    of: Wish | None = None


class DescribeState(Message, frozen=True, kw_only=True, gc=False):
    """Ask any node for the replicated state, read linearizably; `question` says what of it (control/answers.py)."""

    ref: int = 0
    reply_to: str | None = None
    question: Question


class PlanRebalance(Message, frozen=True, kw_only=True, gc=False):
    """Ask the leader which replicas should move, at most `max_moves`; the plan is made a slice at a time."""

    ref: int
    reply_to: str
    max_moves: int


class NodeAnswer(Message, frozen=True, kw_only=True, gc=False):
    """A node's answer to a question with that `ref`; `error` instead of `value` when it cannot answer."""

    ref: int
    node: str
    value: Any = None
    error: str | None = None


class AskNode(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: what one node says of itself; `log` as in `DescribeNode`.

    with_facts: also what was agreed on for it, as far as there is a leader to say that: what it has and what of it is
    taken, how far its drain has come.
    """

    node: str
    log: tuple[int | None, int | None] | None = None
    with_log: bool = True
    with_loads: bool = False
    with_facts: bool = False


class TransferRequest(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: another node is to lead, `target` or (None) whom the leader likes; answered with who leads then.

    To a Node: hand over; `reply_to` hears of a refusal, as a NodeAnswer with `ref`. That it led to something, others
    hear from the next leader."""

    target: str | None = None
    ref: int = 0
    reply_to: str | None = None


# -- from outside: what REST, embedding and scenarios ask ----------------------------------------------------


class ListClusters(Message, frozen=True, kw_only=True, gc=False):
    """To the Orchestrator: the ids of every cluster, in order."""


class CreateClusterRequest(Message, frozen=True, kw_only=True, gc=False):
    """To the Orchestrator: `cluster` None = the next free number; `replace` = PUT on one that exists."""

    cluster: str | None
    nodes: tuple[AddNodeRequest, ...]
    replace: bool = False


class RemoveClusterRequest(Message, frozen=True, kw_only=True, gc=False):
    """To the Orchestrator."""

    cluster: str


class AddNodeRequest(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: a node joins. What is None is chosen: the next free name, the next free port.

    `resources`: what it has beside slots (cpu_milli, memory_mib, gpus, custom ones). In a cluster that is being made
    neither they nor labels count yet; `UpdateNodeRequest` sets them. `gpu_model`: of its GPUs."""

    name: str | None = None
    host: str | None = None
    port: int | None = None
    capacity: int | None = None
    labels: dict[str, str] = {}
    resources: dict[str, int] = {}
    gpu_model: str = ""


class RemoveNodeRequest(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: its replicas move, it leaves the membership, its port closes."""

    address: str
    name: str | None = None
    """Where it is said, too: that node must have this name."""


class SubmitServiceCall(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: a service call, its JSON body as it came; `wait_s` None = answer at once."""

    body: Any
    idempotency_key: str | None = None
    wait_s: float | None = None


class DescribeCall(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: one service call, or the last one."""

    call: str | None = None


class DescribeServices(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: its services with their specs, from `offset`, at most `limit`."""

    offset: int = 0
    limit: int = 100


class DescribeService(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: one service, why what waits waits, and its earlier specs."""

    service: str


class DescribePlan(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: what would happen if, and why; nothing is changed. The JSON `body` names one of service, call,
    drain, loss (scheduling/wish_reading.py)."""

    body: Any


class DescribeTasks(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: the tasks of one service, or of all, by id; from `offset`, at most `limit`."""

    service: str | None = None
    offset: int = 0
    limit: int = 100


class ChangeService(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: the service is to be as the JSON `body` says; with `is_patch` only what the body names changes.

    `version`, where given, must be the one that the service has now, 0 for one that does not exist yet."""

    service: str
    body: Any
    version: int | None = None
    is_patch: bool = False


class RemoveService(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: stop a service and forget it."""

    service: str
    version: int | None = None


class DescribeStacks(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: its stacks, from `offset`, at most `limit`."""

    offset: int = 0
    limit: int = 100


class DescribeStack(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: one stack and its services."""

    stack: str


class ChangeStack(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: the stack is to be as the decoded Compose document `body` says, all of it or nothing.

    `version`, where given, must be the one that the stack has now, 0 for one that does not exist yet."""

    stack: str
    body: Any
    version: int | None = None


class RemoveStack(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: stop all services of a stack and forget them."""

    stack: str
    version: int | None = None


class RollBackService(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: give a service the spec from before its last update, or that of `to_version`."""

    service: str
    version: int | None = None
    to_version: int | None = None


class UpdateNodeRequest(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: what a node is for and has, as the JSON `body` says (`{"availability": "drain"}`)."""

    node: str
    body: Any


class RebalanceRequest(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: which replicas should move so that the nodes are evenly loaded, at most `max_moves`; answered with
    the plan. Without `dry_run` the moves begin, at most `max_parallel` at a time."""

    max_moves: int = 100
    max_parallel: int = 1
    dry_run: bool = True


class DescribeRebalance(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: how far the last rebalance has come."""


class StopRebalance(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: no more moves begin; those under way arrive."""


class DescribeSettings(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: what is agreed on for it as a whole."""


class ChangeSettings(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: other settings, as the JSON `body` says (`{"preemption": true}`); answered with all of them."""

    body: Any


class DescribeCluster(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: `detail` is "" or "stats" or "state"; nodes from `offset`, at most `limit`."""

    detail: str = ""
    offset: int = 0
    limit: int = 100


class DescribeConnections(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: the matrix `{from: {to: 0 or 1}}`, or one node's row `{to: 0 or 1}`."""

    node: str | None = None


class SetConnections(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: cut (0) and restore (1) exactly the directions named; answered when in force, with the matrix,
    or with the row of `row_of`."""

    matrix: dict[str, dict[str, int]]
    row_of: str | None = None


class DescribeLinkRequest(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: what the wire from `source` to `target` is like; answered with `LinkShown`."""

    source: str
    target: str


class LinkShown(Message, frozen=True, kw_only=True, gc=False):
    """A Cluster's answer about a wire: between which addresses it is, and its status."""

    source: str
    target: str
    status: LinkStatus


class SetLinkPolicyRequest(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: how the wire from `source` to `target` behaves from now on; answered when in force, with
    `LinkShown`."""

    source: str
    target: str
    policy: LinkPolicy


class StartNode(Message, frozen=True, kw_only=True, gc=False):
    """To a Cluster: start a node again whose actors are gone, from what its storage holds; else nothing happens."""

    node: str


class RecordClusters(Message, frozen=True, kw_only=True, gc=False):
    """The Orchestrator to cluster 0: put this command about further clusters in the log; answered by its outcome."""

    command: CreateCluster | ReplaceCluster | RemoveCluster
    ref: int
    reply_to: str


class Recorded(Message, frozen=True, kw_only=True, gc=False):
    """Cluster 0 to the Orchestrator: what became of `RecordClusters`; `error` when it did not happen."""

    ref: int
    index: int = 0
    error: tuple[str, str, str] | None = None


class Registry(Message, frozen=True, kw_only=True, gc=False):
    """Cluster 0 to the Orchestrator: the further clusters that its log records."""

    clusters: tuple[ClusterSpec, ...]


# -- the event log -------------------------------------------------------------------------------------------

# Every kind that the actors emit, with what its data holds. Reports and the event stream read this list.
EVENT_KINDS = {
    "leader-elected": "a node won the election of `term`",
    "leader-stepped-down": "reason",
    "membership-changed": "voters, learners",
    "node-added": "name, capacity",
    "node-removed": "name, replicas (that have to move)",
    "node-updated": "name, availability, labels, replicas",
    "node-moved": "name, host, port; its program was started on another port",
    "node-down": "name, replicas; the leader stopped hearing from it",
    "node-ready": "name, replicas; the leader hears from it again",
    "call-submitted": "call, services",
    "calls-merged": "into, calls",
    "call-executed": "call, placed, pending",
    "call-failed": "call, reason",
    "service-set": "service, replicas, version",
    "service-update": "service, state (of its update), version, failures, message",
    "service-scaled": "service, was, replicas, metric, usage, target, why; by its autoscaler",
    "cron-run": "service, due_ms (since 1970), replicas; a run begins",
    "cron-left-out": "service, due_ms, reason; the run before is not over",
    "cron-missed": "service, missed, up_to_ms; it was due so often when nobody led, or too long ago",
    "service-removed": "service, replicas (that stop)",
    "stack-set": "stack, services, version; its services were set together",
    "stack-removed": "stack, services",
    "tasks-placed": "service, replicas, runs [node, first slot, last slot]",
    "tasks-lost": "service, replicas, runs; their node is down, and others take their place",
    "tasks-stopped": "service, replicas, runs",
    "tasks-preempted": "service, replicas, runs, by (the service that took their room)",
    "settings-changed": "preemption",
    "tasks-ended": "service, replicas, runs, states (how many COMPLETE, FAILED, ...); they ended by themselves",
    "tasks-reported": "name (the node), states",
    "rebalance-started": "moves, max_parallel, cost_before, cost_after (in percent of an average node)",
    "rebalance-moves": "state (moving, moved, dropped), moves [service, slot, from, to], reasons of what was dropped",
    "rebalance-ended": "moved, dropped",
    "events-lost": "after, before (log indexes); what happened between them was kept untold for too long",
    "storage-failed": "reason, is_damaged; the node takes no part, and is started again unless it is damaged",
    "link-cut": "source, target",
    "link-restored": "source, target",
    "cluster-created": "id, nodes; in cluster 0's log",
    "cluster-replaced": "id, nodes; in cluster 0's log",
    "cluster-removed": "id; in cluster 0's log",
    "cluster-started": "nodes; its actors run",
    "cluster-failed": "reason; its files keep it from starting",
    "cluster-stopped": "its actors are gone",
    "scenario-started": "scenario, seed, clock",
    "scenario-step": "step, verb, what; a step of the scenario begins",
    "node-crashed": "name; a scenario ended its actors",
    "node-started": "name; a scenario had it started again",
    "node-paused": "name; a scenario stopped its clockwork",
    "node-resumed": "name; and let it go on",
    "fault-started": "verb, of (nodes or links); a scenario broke something",
    "fault-ended": "verb, of; and mended it",
    "scenario-log": "text; what the scenario wanted said",
    "promise-broken": "promise, reason; found by a checker",
    "scenario-ended": "passed",
}
