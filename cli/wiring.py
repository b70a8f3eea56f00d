"""Joins REST to the actors: every question that HTTP has becomes a message, every error of the actors a problem.

HTTP thread ── ActorClusters.method ── System.ask ──> Orchestrator, Cluster, Node
Cluster     ── PortKeeper.open/close ──────────────> Server
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from threading import Lock
from typing import Any

import msgspec

from raftyard.actors import errors
from raftyard.actors.messages import (
    EVENT_KINDS,
    ORCHESTRATOR,
    AddNodeRequest,
    AskNode,
    ChangeService,
    ChangeSettings,
    ChangeStack,
    CreateClusterRequest,
    DescribeCall,
    DescribeCluster,
    DescribeConnections,
    DescribeLinkRequest,
    DescribePlan,
    DescribeRebalance,
    DescribeService,
    DescribeServices,
    DescribeSettings,
    DescribeStack,
    DescribeStacks,
    DescribeTasks,
    LinkPolicy,
    LinkShown,
    ListClusters,
    RebalanceRequest,
    RemoveClusterRequest,
    RemoveNodeRequest,
    RemoveService,
    RemoveStack,
    RollBackService,
    SetConnections,
    SetLinkPolicyRequest,
    StopRebalance,
    SubmitServiceCall,
    TransferRequest,
    UpdateNodeRequest,
    cluster_actor,
)
from raftyard.actors.system import ActorCrashed, AskTimeout, MailboxFull, NoSuchActor, System, SystemClosed
from raftyard.api import ports
from raftyard.api.query import seconds
from raftyard.api.server import Server

__all__ = ["ActorClusters", "PortKeeper"]

ANSWER_S = 10.0
READY_S = 2.0
REBALANCE_S = 15.0
PLAN_S = 30.0
TRANSFER_S = 8.0
_LINK_COUNTS = ("in_flight", "delivered", "lost_cut", "lost_full", "lost_random", "duplicated")
Answer = dict[str, Any]


class ActorClusters:
    """`api.ports.Clusters`, answered by actors. Safe to use from any thread that is not an actor's."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._links_lock = Lock()  # a patch reads and writes, and nothing may come between

    # -- clusters -----------------------------------------------------------------------------------------------------

    def clusters(self) -> list[Answer]:
        """Every cluster, as `cluster` shows it with `stats`, in the order of their ids."""
        shown = []
        for cluster in self._ask(ORCHESTRATOR, ListClusters()):
            try:
                shown.append(self.cluster(cluster, "stats", ports.Page()))
            except ports.NotFound:
                continue  # Removed since the list was made.
        return shown

    def cluster(self, cluster: str, view: ports.View, page: ports.Page) -> Answer:
        """One cluster: its nodes, its connections, its services, who leads."""
        question = DescribeCluster(detail=view, offset=page.offset, limit=page.limit)
        return self._ask_cluster(cluster, question)

    def create_cluster(self, request: ports.NewCluster) -> Answer:
        """Make a cluster, and show it."""
        made = self._ask(ORCHESTRATOR, CreateClusterRequest(cluster=request.id, nodes=_wanted(request)))
        return self.cluster(made["id"], "stats", ports.Page())

    def replace_cluster(self, cluster: str, request: ports.NewCluster) -> Answer:
        """Make a cluster of that id, in place of the one there is."""
        order = CreateClusterRequest(cluster=cluster, nodes=_wanted(request), replace=True)
        self._ask(ORCHESTRATOR, order)
        return self.cluster(cluster, "stats", ports.Page())

    def delete_cluster(self, cluster: str) -> Answer:
        """Stop its nodes, close their ports, forget it."""
        return self._ask_dict(ORCHESTRATOR, RemoveClusterRequest(cluster=cluster))

    # -- service calls ------------------------------------------------------------------------------------------------

    def submit(
        self,
        cluster: str,
        body: Mapping[str, Any],
        *,
        node: str | None,
        idempotency_key: str | None,
        wait_s: float | None,
    ) -> Answer:
        """Queue a service call; any node's port takes it, and the front door brings it to the leader."""
        call = SubmitServiceCall(body=dict(body), idempotency_key=idempotency_key, wait_s=wait_s)
        return self._ask_cluster(cluster, call, within_s=ANSWER_S + (wait_s or 0.0))

    def last_call(self, cluster: str) -> Answer:
        """The newest service call."""
        return self._ask_cluster(cluster, DescribeCall())

    def call(self, cluster: str, call_id: str) -> Answer:
        """One service call by its id."""
        return self._ask_cluster(cluster, DescribeCall(call=call_id))

    # -- services and tasks -------------------------------------------------------------------------------------------

    def services(self, cluster: str, page: ports.Page) -> Answer:
        """A page of the services."""
        return self._ask_cluster(cluster, DescribeServices(offset=page.offset, limit=page.limit))

    def service(self, cluster: str, name: str) -> Answer:
        """One service."""
        return self._ask_cluster(cluster, DescribeService(service=name))

    def put_service(self, cluster: str, name: str, body: Mapping[str, Any], version: int | None) -> Answer:
        """Make a service, or give it another spec."""
        return self._ask_cluster(cluster, ChangeService(service=name, body=dict(body), version=version))

    def patch_service(self, cluster: str, name: str, body: Mapping[str, Any], version: int | None) -> Answer:
        """Change a part of a spec."""
        change = ChangeService(service=name, body=dict(body), version=version, is_patch=True)
        return self._ask_cluster(cluster, change)

    def remove_service(self, cluster: str, name: str, version: int | None) -> Answer:
        """Stop a service and forget it."""
        return self._ask_cluster(cluster, RemoveService(service=name, version=version))

    def roll_back_service(
        self, cluster: str, name: str, version: int | None, to_version: int | None
    ) -> Answer:
        """Give a service an earlier spec again."""
        order = RollBackService(service=name, version=version, to_version=to_version)
        return self._ask_cluster(cluster, order)

    def tasks(self, cluster: str, service: str | None, page: ports.Page) -> Answer:
        """A page of the tasks."""
        question = DescribeTasks(service=service, offset=page.offset, limit=page.limit)
        return self._ask_cluster(cluster, question)

    def stacks(self, cluster: str, page: ports.Page) -> Answer:
        """A page of the stacks."""
        return self._ask_cluster(cluster, DescribeStacks(offset=page.offset, limit=page.limit))

    def stack(self, cluster: str, name: str) -> Answer:
        """One stack."""
        return self._ask_cluster(cluster, DescribeStack(stack=name))

    def put_stack(self, cluster: str, name: str, body: Mapping[str, Any], version: int | None) -> Answer:
        """Deploy a stack."""
        return self._ask_cluster(cluster, ChangeStack(stack=name, body=dict(body), version=version))

    def remove_stack(self, cluster: str, name: str, version: int | None) -> Answer:
        """Stop a stack and forget it."""
        return self._ask_cluster(cluster, RemoveStack(stack=name, version=version))

    # -- settings -----------------------------------------------------------------------------------------------------

    def settings(self, cluster: str) -> Answer:
        """What is agreed on for the cluster as a whole."""
        return self._ask_cluster(cluster, DescribeSettings())

    def change_settings(self, cluster: str, body: Mapping[str, Any]) -> Answer:
        """Change what the body names."""
        return self._ask_cluster(cluster, ChangeSettings(body=dict(body)))

    # -- leadership ---------------------------------------------------------------------------------------------------

    def transfer(self, cluster: str, target: str | None) -> Answer:
        """Another node leads."""
        return self._ask_cluster(cluster, TransferRequest(target=target), within_s=TRANSFER_S)

    # -- rebalancing --------------------------------------------------------------------------------------------------

    def rebalance(self, cluster: str, order: ports.RebalanceOrder) -> Answer:
        """Plan moves that even out the load, and make them where that is asked for."""
        wanted = RebalanceRequest(
            max_moves=order.max_moves, max_parallel=order.max_parallel, dry_run=order.dry_run
        )
        return self._ask_cluster(cluster, wanted, within_s=REBALANCE_S)

    def last_rebalance(self, cluster: str) -> Answer:
        """How far the last one has come."""
        return self._ask_cluster(cluster, DescribeRebalance())

    def stop_rebalance(self, cluster: str) -> Answer:
        """Begin no more moves."""
        return self._ask_cluster(cluster, StopRebalance())

    # -- plans --------------------------------------------------------------------------------------------------------

    def plan(self, cluster: str, body: Mapping[str, Any]) -> Answer:
        """What would happen if."""
        return self._ask_cluster(cluster, DescribePlan(body=dict(body)), within_s=PLAN_S)

    # -- nodes --------------------------------------------------------------------------------------------------------

    def nodes(self, cluster: str, page: ports.Page) -> Answer:
        """A page of the nodes, and how many there are."""
        shown = self._ask_cluster(cluster, DescribeCluster(offset=page.offset, limit=page.limit))
        return {"metadata": {"count": shown["node_count"]}, "results": shown["nodes"]}

    def add_node(self, cluster: str, request: ports.NewNode) -> Answer:
        """A node joins, opens its port and takes load."""
        _check_spawned(request, "$")
        return self._ask_cluster(cluster, _node_request(request, None))

    def remove_node(self, cluster: str, node: str, id: str | None = None) -> Answer:
        """Its replicas move, it leaves the membership, its port closes."""
        return self._ask_cluster(cluster, RemoveNodeRequest(address=node, name=id))

    def update_node(self, cluster: str, node: str, body: Mapping[str, Any]) -> Answer:
        """Another availability, other labels or resources."""
        return self._ask_cluster(cluster, UpdateNodeRequest(node=node, body=dict(body)))

    def node(self, cluster: str, node: str, log: ports.LogRange, *, with_facts: bool = False) -> Answer:
        """What a node says of itself, with its log; and what was agreed on for it."""
        asked = AskNode(node=node, log=(log.first, log.last), with_facts=with_facts)
        shown = self._ask_cluster(cluster, asked)
        shown.pop("node_count", None)
        return shown

    def node_count(self, cluster: str, node: str) -> Answer:
        """How many other nodes this one knows."""
        shown = self._ask_cluster(cluster, AskNode(node=node, with_log=False))
        return {"count": shown["node_count"] - 1}

    def majority(self, cluster: str, node: str) -> Answer:
        """How many votes elect a leader."""
        shown = self._ask_cluster(cluster, AskNode(node=node, with_log=False))
        return {"majority": shown["majority"]}

    def load_lookup_table(self, cluster: str, node: str) -> Answer:
        """`{service_id: {address: replicas}}`, as this node has it."""
        shown = self._ask_cluster(cluster, AskNode(node=node, with_log=False, with_loads=True))
        return dict(shown["loads"])

    # -- connections --------------------------------------------------------------------------------------------------

    def connections(self, cluster: str) -> Answer:
        """The matrix."""
        return self._ask_cluster(cluster, DescribeConnections())

    def set_connections(self, cluster: str, matrix: Mapping[str, Mapping[str, int]]) -> Answer:
        """Cut and restore what the matrix names; the whole matrix once that is in force."""
        given = {source: dict(row) for source, row in matrix.items()}
        return self._ask_cluster(cluster, SetConnections(matrix=given))

    def node_connections(self, cluster: str, node: str) -> Answer:
        """One node's row."""
        return self._ask_cluster(cluster, DescribeConnections(node=node))

    def set_node_connections(self, cluster: str, node: str, row: Mapping[str, int]) -> Answer:
        """Cut and restore that node's outgoing links."""
        return self._ask_cluster(cluster, SetConnections(matrix={node: dict(row)}, row_of=node))

    def link(self, cluster: str, source: str, target: str) -> Answer:
        """One direction: what it is like, and what it did."""
        return _link_view(self._ask_link(cluster, DescribeLinkRequest(source=source, target=target)))

    def set_link(
        self, cluster: str, source: str, target: str, faults: ports.LinkFaults, *, is_patch: bool
    ) -> Answer:
        """Make one direction slow, lossy, unruly or sound."""
        with self._links_lock:
            policy = LinkPolicy()
            if is_patch:
                question = DescribeLinkRequest(source=source, target=target)
                policy = self._ask_link(cluster, question).status.policy
            policy = _changed(policy, faults)
            order = SetLinkPolicyRequest(source=source, target=target, policy=policy)
            return _link_view(self._ask_link(cluster, order))

    def _ask_link(self, cluster: str, message: DescribeLinkRequest | SetLinkPolicyRequest) -> LinkShown:
        shown: Any = self._ask_cluster(cluster, message)
        assert isinstance(shown, LinkShown)
        return shown

    # -- health -------------------------------------------------------------------------------------------------------

    def is_ready(self) -> bool:
        """Whether cluster 0 has a leader."""
        try:
            shown = self._ask_cluster("0", DescribeCluster(limit=1), within_s=READY_S)
        except ports.Problem:
            return False
        return shown["leader"] is not None

    # -- what happened ------------------------------------------------------------------------------------------------

    def event_log(self, cluster: str | None) -> ports.EventLog:
        """The log of the whole system."""
        if cluster is not None and cluster not in (known := self._ask(ORCHESTRATOR, ListClusters())):
            raise _no_cluster(cluster, known)
        return self._system.events

    def event_kinds(self) -> Collection[str]:
        """As the actors list them."""
        return EVENT_KINDS

    # -- asking -------------------------------------------------------------------------------------------------------

    def _ask_cluster(self, cluster: str, message: Any, within_s: float = ANSWER_S) -> Answer:
        try:
            return self._ask_dict(cluster_actor(cluster), message, within_s)
        except _Gone:
            known = self._ask(ORCHESTRATOR, ListClusters())
            if cluster in known:
                # Its front door is about to be started, or is started anew: the next moment it answers.
                raise ports.Unavailable(
                    f"cluster {cluster!r} is starting", "retry in 1 s", retry_after_s=1
                ) from None
            raise _no_cluster(cluster, known) from None

    def _ask_dict(self, actor: str, message: Any, within_s: float = ANSWER_S) -> Answer:
        answer: Answer = self._ask(actor, message, within_s)
        return answer

    def _ask(self, actor: str, message: Any, within_s: float = ANSWER_S) -> Any:
        try:
            return self._system.ask(actor, message, timeout_s=within_s)
        except errors.RaftyardError as error:
            raise _problem(error) from None
        except NoSuchActor:
            raise _Gone(actor) from None
        except MailboxFull:
            raise ports.Unavailable(
                "too many requests wait already", "retry in 1 s", retry_after_s=1
            ) from None
        except AskTimeout:
            raise ports.TimedOut(
                f"no answer within {within_s:g} s", "it may still happen; look before you repeat"
            ) from None
        except ActorCrashed:
            raise ports.Unavailable(
                "a part failed and is starting again", "retry in 1 s", retry_after_s=1
            ) from None
        except SystemClosed:
            raise ports.Unavailable(
                "the program is stopping", "start it again, and look what has become of it", retry_after_s=5
            ) from None


def _no_cluster(cluster: str, known: Collection[str]) -> ports.NotFound:
    return ports.NotFound(f"no cluster {cluster!r}", f"the clusters are {', '.join(known)}")


class _Gone(Exception):
    """No actor of that name."""


class PortKeeper:
    """`actors.cluster.Ports`, kept by the web server: opens a port once, however often the same node asks."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._owners: dict[int, ports.NodePort] = {}
        self._lock = Lock()

    def open(self, host: str, port: int, cluster: str, address: str) -> None:
        """Listen for that node. Raises `errors.PortInUse`."""
        owner = ports.NodePort(cluster, address)
        with self._lock:
            if self._owners.get(port) == owner:
                return
            try:
                self._server.open(port, owner)
            except ports.PortInUse as error:
                raise errors.PortInUse(host, port, hint=error.hint) from None
            except ports.Conflict as error:
                raise errors.Conflict(error.detail, hint=error.hint) from None
            self._owners[port] = owner

    def close(self, host: str, port: int) -> None:
        """Listen there no more."""
        with self._lock:
            if self._owners.pop(port, None) is not None:
                self._server.close(port)


def _milliseconds(time_s: float) -> str:
    """As it can be sent back: to the nanosecond, and without an exponent."""
    return f"{time_s * 1000:.6f}".rstrip("0").rstrip(".") + "ms"


def _link_view(shown: LinkShown) -> Answer:
    status, policy = shown.status, shown.status.policy
    return {
        "from": shown.source,
        "to": shown.target,
        "connected": 0 if status.cut else 1,
        "delay": _milliseconds(policy.delay_s),
        "jitter": _milliseconds(policy.jitter_s),
        "loss": policy.loss,
        "duplicate": policy.duplicate,
        "reorder": policy.reorder,
        "statistics": {name: getattr(status, name) for name in _LINK_COUNTS},
    }


def _changed(policy: LinkPolicy, faults: ports.LinkFaults) -> LinkPolicy:
    named: dict[str, float] = {
        name: value for name, value in msgspec.structs.asdict(faults).items() if value is not msgspec.UNSET
    }
    for duration in ("delay", "jitter"):
        if duration in named:
            named[f"{duration}_s"] = seconds(str(named.pop(duration)), duration)
    return msgspec.structs.replace(policy, **named)


def _wanted(request: ports.NewCluster) -> tuple[AddNodeRequest, ...]:
    if isinstance(request.nodes, int):
        return (AddNodeRequest(capacity=request.capacity),) * request.nodes
    for i, node in enumerate(request.nodes):
        _check_spawned(node, f"$.nodes[{i}]")
        for field in ("labels", "resources", "gpu_model"):
            if getattr(node, field):
                raise ports.Invalid(
                    f"the nodes of a new cluster have no {field} yet",
                    "leave it out, and PATCH /clusters/{cluster}/nodes/{node} when the cluster is there",
                    errors=(ports.FieldError(path=f"$.nodes[{i}].{field}", message="comes later"),),
                )
    return tuple(_node_request(node, request.capacity) for node in request.nodes)


def _check_spawned(node: ports.NewNode, path: str) -> None:
    if not node.spawn:
        raise ports.Invalid(
            "spawn is false: a node that runs elsewhere cannot join yet",
            "leave spawn out, or set it to true, and the node is started here",
            errors=(ports.FieldError(path=f"{path}.spawn", message="must be true"),),
        )


def _node_request(node: ports.NewNode, capacity: int | None) -> AddNodeRequest:
    return AddNodeRequest(
        name=node.id,
        host=node.host,
        port=node.port,
        capacity=node.capacity or capacity,
        labels=dict(node.labels),
        resources=dict(node.resources),
        gpu_model=node.gpu_model,
    )


def _problem(error: errors.RaftyardError) -> ports.Problem:
    """The same words, as HTTP's kind of error."""
    text, hint = str(error), error.hint
    match error:
        case errors.InvalidRequest(path=path):
            return ports.Invalid(text, hint, errors=(ports.FieldError(path=path, message=text),))
        case (
            errors.UnknownCluster()
            | errors.UnknownNode()
            | errors.UnknownCall()
            | errors.UnknownService()
            | errors.UnknownStack()
        ):
            return ports.NotFound(text, hint)
        case errors.StaleVersion():
            return ports.Conflict(text, hint, code="stale-version")
        case errors.PortInUse(host=host, port=port):
            return ports.PortInUse(host, port)
        case errors.Conflict():
            return ports.Conflict(text, hint)
        case errors.TimedOut():
            return ports.TimedOut(text, hint)
        case errors.Unavailable(retry_after_s=retry_after_s):
            return ports.Unavailable(text, hint, retry_after_s=retry_after_s)
        case _:
            return ports.Problem(text, hint)
