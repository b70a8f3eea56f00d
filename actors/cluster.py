"""Cluster: the front door of one cluster.

It starts the nodes and their links, remembers who claims to lead, passes service calls to the leader until they are in
the log, and gathers the answers to questions. What is agreed on is never here: it is in the nodes' logs. A Cluster that
is lost is started again and learns everything from its nodes. What it is made of is in frontdoor/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .agent import Agent
from .control import VOTERS
from .disk import Disk
from .errors import (
    Conflict,
    InvalidRequest,
    QueueFull,
    RaftyardError,
    TimedOut,
    Unavailable,
    UnknownNode,
    as_values,
)
from .frontdoor import (
    CHANGE_S,
    Answers,
    Applied,
    Cables,
    Calls,
    Claims,
    ClusterWide,
    Courier,
    Expired,
    Home,
    Hosting,
    NodePorts,
    Plans,
    Ports,
    Questions,
    Rebalancing,
    Recut,
    Retry,
    Services,
    Stacks,
    Transfers,
)
from .frontdoor.addresses import new_node, resolve
from .frontdoor.hosting import check_not_nested
from .frontdoor.refusals import answered, conflict
from .link import Link
from .member import Observer
from .messages import (
    ORCHESTRATOR,
    AddNodeRequest,
    Addresses,
    AskNode,
    CallsFinished,
    ChangeService,
    ChangeSettings,
    ChangeStack,
    ClusterSpec,
    ClusterView,
    DescribeCall,
    DescribeCluster,
    DescribeConnections,
    DescribeLinkRequest,
    DescribeNode,
    DescribePlan,
    DescribeRebalance,
    DescribeService,
    DescribeServices,
    DescribeSettings,
    DescribeStack,
    DescribeStacks,
    DescribeTasks,
    FollowService,
    Happened,
    Heard,
    LeaderClaim,
    LeaderResigned,
    LinkPolicy,
    LinkStatus,
    NestedClusters,
    NodeAnswer,
    NodeFailed,
    NodeSpec,
    Outcome,
    RebalanceRequest,
    RecordClusters,
    Recorded,
    Registry,
    RemoveNodeRequest,
    RemoveService,
    RemoveStack,
    RollBackService,
    SetConnections,
    SetLinkPolicyRequest,
    SpawnCluster,
    StartNode,
    StopRebalance,
    SubmitServiceCall,
    TellAgain,
    TransferRequest,
    Underlay,
    UpdateNodeRequest,
    agent_actor,
    disk_actor,
    link_actor,
    node_actor,
)
from .node import Node
from .raft.config import RaftConfig
from .state import commands
from .storage.base import Storage, StorageBroken, StorageDamaged
from .storage.memory import MemoryStorage
from .system import Actor, NameTaken, Promise, Terminated

__all__ = ["Cluster", "ClusterSettings", "Home", "Ports"]

FIRST_CLUSTER = "0"
REVIVE_S = 1.0
"""A node whose storage failed is started again after this: what failed may be mended meanwhile."""
NODE_ANSWER_S = 2.0
ITS_REPLICAS = ("its nodes are that one's replicas", 'scale it: PATCH {"replicas": …} to')
HEARD_EVERY = 8
"""After so many entries whose events it put into the event log the front door says how far it has got."""

Answer = dict[str, Any]


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every cluster of an orchestrator."""

    raft: RaftConfig = RaftConfig()
    link: LinkPolicy = LinkPolicy()
    ports: Any = None
    observe: Any = None
    host: str = "localhost"
    capacity: int = 100
    queue_limit: int = 1000
    under: Underlay | None = None
    """Of a nested cluster: what its links ride on."""


class Cluster(Actor):
    """The front door of one cluster. `home` is what its actors would find again after a restart."""

    mailbox_capacity = 50_000

    def __init__(self, home: Home, settings: ClusterSettings) -> None:
        super().__init__()
        self.id = home.spec.cluster
        self._home = home
        self._settings = settings
        self._observe: Observer | None = settings.observe
        self._nodes = home.nodes
        self._cuts = home.cuts
        self._ports = NodePorts(self.id, settings.ports)
        self._claims = Claims(self.id)
        self._courier = Courier(self, self._claims, settings.queue_limit)
        self._questions = Questions(self, self._claims)
        self._calls = Calls(self, self._courier, self._questions)
        self._resources = Services(self, home, self._courier, self._questions)
        self._stacks = Stacks(self, self._courier, self._questions)
        self._rebalancing = Rebalancing(self, self._courier, self._questions)
        self._plans = Plans(self, home, self._questions)
        self._cluster_wide = ClusterWide(self, self._courier, self._questions)
        self._transfers = Transfers(self, home, self._claims, self._questions)
        self._cables = Cables(self, home, self._lay_link)
        self._view: ClusterView | None = None
        self._registry: tuple[ClusterSpec, ...] | None = None
        self._heard_since = 0
        self._has_children = True
        parent = home.spec.parent
        self._hosting = None if parent is None else Hosting(self, home, parent, self._questions)
        self._removals: dict[str, list[Promise]] = {}
        self._failures: dict[str, NodeFailed] = {}
        self._handlers: dict[type, Callable[[Any], Any]] = {
            LeaderClaim: self._claimed,
            LeaderResigned: self._claims.resigned,
            ClusterView: self._viewed,
            Happened: self._happened,
            Terminated: self._terminated,
            NodeFailed: self._node_failed,
            StartNode: self._start_again,
            Outcome: self._courier.outcome,
            Retry: self._courier.retry,
            NodeAnswer: self._questions.answered,
            Expired: self._questions.expired,
            LinkStatus: self._cables.answered,
            Recut: self._cables.recut,
            CallsFinished: self._calls.finished,
            RecordClusters: self._record_clusters,
        }
        self._requests: dict[type, Callable[[Any], Any]] = {
            SubmitServiceCall: self._calls.submit,
            DescribeCall: self._calls.describe,
            DescribeServices: self._resources.list,
            DescribeService: self._resources.describe,
            DescribeTasks: self._resources.tasks,
            DescribePlan: self._plans.describe,
            DescribeStacks: self._stacks.list,
            DescribeStack: self._stacks.describe,
            ChangeStack: self._stacks.change,
            RemoveStack: self._stacks.remove,
            ChangeService: self._resources.change,
            RemoveService: self._resources.remove,
            RollBackService: self._resources.roll_back,
            UpdateNodeRequest: self._resources.update_node,
            DescribeSettings: self._cluster_wide.describe,
            ChangeSettings: self._cluster_wide.change,
            RebalanceRequest: self._rebalancing.request,
            DescribeRebalance: self._rebalancing.describe,
            StopRebalance: self._rebalancing.stop,
            DescribeCluster: self._describe,
            AskNode: self._ask_node,
            AddNodeRequest: self._add_node,
            RemoveNodeRequest: self._remove_node,
            DescribeConnections: self._cables.describe,
            SetConnections: self._cables.change,
            DescribeLinkRequest: self._cables.describe_link,
            SetLinkPolicyRequest: self._cables.set_policy,
            TransferRequest: self._transfers.request,
        }
        if self._hosting is not None:
            self._handlers |= {SpawnCluster: self._hosting.spawn, FollowService: self._hosting.follow}

    @property
    def leader(self) -> str | None:
        """Who leads, as far as its nodes say."""
        return self._claims.leader

    # -- life ------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Start every node that lives here."""
        self._started = self.context.now()
        self._courier.open()
        self._cables.cut_again()
        for spec in tuple(self._nodes.values()):
            self.start_node(spec)

    def on_stop(self) -> None:
        """Close every node's port; the system has stopped the nodes before."""
        self._home.close()
        for spec in self._nodes.values():
            self._ports.close(spec)

    def on_receive(self, message: Any) -> Any:
        """One message, by its class."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            return handler(message)
        answer = self._requests.get(type(message))
        return answered(self.context, answer, message) if answer is not None else None

    def start_node(self, spec: NodeSpec) -> None:
        """Start a node's actors, unless it has no place to run yet: a nested cluster's node needs one."""
        if self._hosting is not None and not self._hosting.may_run(spec.name):
            return
        me = self.context.name
        try:
            storage: Storage | str = self._home.storage(spec.name)
        except StorageBroken as error:
            is_damaged = isinstance(error, StorageDamaged)
            self._node_failed(NodeFailed(node=spec.name, reason=str(error), is_damaged=is_damaged))
            return
        node = node_actor(self.id, spec.name)
        self.context.spawn(Agent, agent_actor(self.id, spec.name), node, self._home.starts, self.id, parent=me)
        if not isinstance(storage, MemoryStorage):
            disk = disk_actor(self.id, spec.name)
            self.context.spawn(Disk, disk, node, storage, parent=me)
            storage = disk
        self._start_member(spec, storage)
        try:
            self._ports.open(spec)
        except Conflict as error:
            # The node works without its port; whoever asks on the orchestrator's still reaches it.
            self.context.log.warning(
                "port not opened node=%s cluster=%s reason=%s", spec.name, self.id, error
            )

    def _start_member(self, spec: NodeSpec, storage: Storage | str) -> None:
        self.context.spawn(
            Node,
            node_actor(self.id, spec.name),
            self.id,
            spec,
            self._home.spec.nodes,
            storage,
            self._settings.raft,
            self._settings.link,
            self._observe,
            self._settings.under,
            parent=self.context.name,
        )
        self.context.watch(node_actor(self.id, spec.name))

    def _node_failed(self, failure: NodeFailed) -> None:
        """Say it once; the cluster goes on without the node, and the node comes back if that can help."""
        if failure.node not in self._nodes:
            return
        if failure != self._failures.get(failure.node):
            self._failures[failure.node] = failure
            self.context.log.error("storage failed node=%s reason=%s", failure.node, failure.reason)
            self.context.emit(
                "storage-failed",
                cluster=self.id,
                node=failure.node,
                reason=failure.reason,
                is_damaged=failure.is_damaged,
            )
        if not failure.is_damaged:
            self.context.after(REVIVE_S, StartNode(node=failure.node))

    def _start_again(self, message: StartNode) -> None:
        spec = self._nodes.get(message.node)
        if spec is None or self.context.is_alive(node_actor(self.id, spec.name)):
            return
        if self._hosting is not None and not self._hosting.may_run(spec.name):
            return
        disk = disk_actor(self.id, spec.name)
        if self.context.is_alive(disk):
            self._start_member(spec, disk)
        else:
            self.start_node(spec)

    def _stop_node(self, spec: NodeSpec) -> None:
        self._home.forget(spec.name)
        self._failures.pop(spec.name, None)
        self._ports.close(spec)
        for actor in (node_actor, agent_actor, disk_actor):
            if self.context.is_alive(actor(self.id, spec.name)):
                self.context.stop(actor(self.id, spec.name))
        self._cables.take_up(spec.name)
        for promise in self._removals.pop(spec.name, ()):
            promise.keep({"status": "ok", "id": spec.name, "address": spec.address})

    def _lay_link(self, source: str, target: str) -> None:
        wire = link_actor(self.id, source, target)
        try:
            self.context.spawn(
                Link,
                wire,
                self.id,
                source,
                target,
                self._settings.link,
                self._settings.under,
                parent=self.context.name,
            )
        except NameTaken:
            pass  # The node itself was quicker.

    # -- what the nodes say ----------------------------------------------------------------------------------

    def _claimed(self, claim: LeaderClaim) -> None:
        self._home.has_been_led = True
        self._claims.claimed(claim, round(self.context.now() - self._started, 3))
        here = tuple(self._nodes.values())
        self.context.send(node_actor(self.id, claim.node), Addresses(nodes=here))
        self.context.send(node_actor(self.id, claim.node), Heard(index=self._home.told_index))
        self._courier.send_all()
        self._transfers.claimed(claim)

    def _terminated(self, message: Terminated) -> None:
        if self._hosting is not None:
            self._hosting.ended(message.name)
        self._claims.ended(message.name)
        for spec in self._nodes.values():
            if node_actor(self.id, spec.name) == message.name and self.context.is_alive(message.name):
                self.context.watch(message.name)
        if message.reason == "crashed":
            self._cables.crashed(message.name)

    def _viewed(self, view: ClusterView) -> None:
        """Start and stop nodes until they are those that the leader sees; an older leader's view is not believed."""
        if self._view is not None and view.term < self._view.term:
            return
        self._view = view
        for spec in view.nodes:
            if spec.name not in self._nodes:
                self._home.add(spec)
                if self._hosting is None:
                    self.start_node(spec)
                else:
                    self._hosting.added(spec.name)
        wanted = {spec.name for spec in view.nodes} | set(view.voters) | set(view.learners)
        for spec in tuple(self._nodes.values()):
            if spec.name not in wanted:
                self._stop_node(spec)
        if self.id == FIRST_CLUSTER and view.clusters != self._registry:
            self._registry = view.clusters
            self.context.send(ORCHESTRATOR, Registry(clusters=view.clusters))
        if self._hosting is not None:
            self._hosting.viewed(view)
        if view.children or self._has_children:
            # Again with each view, and at the start though there are none: one may have been removed meanwhile.
            self._has_children = bool(view.children)
            self.context.send(ORCHESTRATOR, NestedClusters(parent=self.id, children=view.children))

    def _happened(self, message: Happened) -> None:
        """Into the event log, each entry once and none left out."""
        home, happening = self._home, message.happening
        if happening.index <= home.told_index:
            return
        teller = node_actor(self.id, message.node)
        if happening.after > home.told_index and home.knows_told:
            if not message.is_again:
                self.context.send(teller, TellAgain(after=home.told_index))
                return
            self.context.emit(
                "events-lost", cluster=self.id, after=home.told_index, before=happening.index
            )
        home.told_index, home.knows_told = happening.index, True
        for event in happening.events:
            self.context.emit(event.kind, cluster=self.id, node=message.node, term=message.term, **event.data)
        self._heard_since += 1
        if self._heard_since >= HEARD_EVERY:
            self._heard_since = 0
            self.context.send(teller, Heard(index=home.told_index))

    # -- what the cluster looks like -------------------------------------------------------------------------

    def _describe(self, question: DescribeCluster) -> Promise:
        promise = self.context.promise()
        if question.detail == "state":
            self._questions.ask_leader("state", None, lambda value: self._gather(question, promise, value))
        else:
            self._gather(question, promise, {})
        return promise

    def _gather(self, question: DescribeCluster, promise: Promise, extra: Any) -> None:
        if isinstance(extra, RaftyardError):
            promise.fail(extra)
            return
        page = tuple(self._nodes)[question.offset : question.offset + question.limit]
        leader = self.leader
        asked = page if leader is None or leader in page else (*page, leader)
        me = self.context.name

        def answered(answers: Answers) -> None:
            promise.keep(self._picture(page, answers) | extra)

        def message(ref: int, node: str) -> DescribeNode:
            # Without a leader anyone's services are better than none; what a leader has confirmed is better than both.
            is_asked = "services" not in extra and (leader is None or node == leader)
            return DescribeNode(ref=ref, reply_to=me, with_log=False, with_services=is_asked)

        self._questions.ask(asked, message, answered)

    def _picture(self, page: tuple[str, ...], answers: Answers) -> Answer:
        nodes = []
        for name in page:
            spec = self._nodes.get(name)
            if spec is None:
                continue
            answer = answers.get(name)
            stats = {} if answer is None else {key: v for key, v in answer.value.items() if key != "services"}
            failure = self._failures.get(name)
            if answer is None and failure is not None:
                stats = {"state": "FAILED", "reason": failure.reason}
            elif answer is not None:
                self._failures.pop(name, None)
            nodes.append({"address": spec.address, "accessible": answer is not None, "stats": stats})
        return {
            "id": self.id,
            "nodes": nodes,
            "connections": self._cables.matrix(),
            "services": self._services(answers),
            "leader": self._address(self.leader),
            "leader_claims": [
                {
                    "address": self._address(claim.node),
                    "term": claim.term,
                    "since": claim.since_s,
                    "current": claim.is_current,
                }
                for claim in self._claims.all()
            ],
            "node_count": len(self._nodes),
            **self._parent(),
        }

    def _parent(self) -> Answer:
        parent = self._home.spec.parent
        return {} if parent is None else {"parent": {"cluster": parent.cluster, "service": parent.service}}

    def _services(self, answers: Answers) -> list[Any]:
        """As the leader has them; without one, as the node has them that is furthest."""
        best: Answer = {"applied_index": -1, "services": []}
        for answer in answers.values():
            if "services" in answer.value and answer.value["applied_index"] > best["applied_index"]:
                best = answer.value
        return list(best["services"])

    def _address(self, node: str | None) -> str | None:
        spec = self._nodes.get(node) if node is not None else None
        return node if spec is None else spec.address

    def _ask_node(self, question: AskNode) -> Promise:
        promise = self.context.promise()
        try:
            node = resolve(self._home, question.node)
        except UnknownNode as error:
            promise.fail(error)
            return promise
        me = self.context.name

        def answered(answers: Answers) -> None:
            answer = answers.get(node)
            failure = self._failures.get(node)
            if answer is None and failure is not None:
                promise.fail(Unavailable(f"node {question.node} takes no part", hint=failure.reason))
            elif answer is None:
                promise.fail(
                    TimedOut(f"node {question.node} does not answer", hint="it may be starting again; retry")
                )
            else:
                said = answer.value | {"node_count": len(self._nodes), "majority": self._majority()}
                if question.with_facts:
                    self._add_facts(node, said, promise)
                else:
                    promise.keep(said)

        def message(ref: int, _: str) -> DescribeNode:
            return DescribeNode(
                ref=ref,
                reply_to=me,
                log=question.log,
                with_log=question.with_log,
                with_loads=question.with_loads,
            )

        self._questions.ask((node,), message, answered, within_s=NODE_ANSWER_S)
        return promise

    def _add_facts(self, node: str, said: Answer, promise: Promise) -> None:
        """Keep the promise with what the node says, and what the leader knows of it where there is one."""

        def answered(facts: Any) -> None:
            is_known = facts is not None and not isinstance(facts, RaftyardError)
            promise.keep(said | facts if is_known else said)

        self._questions.ask_leader("node", node, answered)

    def _majority(self) -> int:
        voters = min(VOTERS, len(self._nodes)) if self._view is None else len(self._view.voters)
        return voters // 2 + 1

    # -- nodes come and go -----------------------------------------------------------------------------------

    def _add_node(self, request: AddNodeRequest) -> Promise:
        promise = self.context.promise()
        try:
            check_not_nested(self._home, *ITS_REPLICAS)
            self._check_may_change()
            spec = self._open_new(request)
        except RaftyardError as error:
            promise.fail(error)
            return promise

        def done(result: Any, _: int) -> None:
            if isinstance(result, RaftyardError) or not result["ok"]:
                self._ports.close(spec)
                promise.fail(result if isinstance(result, RaftyardError) else conflict(result))
                return
            if spec.name not in self._nodes:
                self._home.add(spec)
                self.start_node(spec)
            promise.keep(
                {"status": "ok", "id": spec.name, "address": spec.address, "capacity": spec.capacity}
            )

        command = commands.AddNode(
            name=spec.name,
            host=spec.host,
            port=spec.port,
            capacity=spec.capacity,
            labels=tuple(sorted(request.labels.items())),
            resources=request.resources,
            gpu_model=request.gpu_model,
        )
        self.change(command, done)
        return promise

    def _check_may_change(self) -> None:
        """Nodes come and go once the first ones are agreed on, which the leader's view shows."""
        if self.leader is None or self._view is None:
            raise self._claims.no_leader()

    def _open_new(self, request: AddNodeRequest) -> NodeSpec:
        """Listen for a new node: on the port that was asked for, or on the next one that is free."""
        settings = self._settings
        is_served = settings.ports is not None
        spec = new_node(self._home, request, settings.host, settings.capacity, is_served=is_served)
        if request.port is None:
            return self._ports.open_next(spec)
        self._ports.open(spec)
        return spec

    def _remove_node(self, request: RemoveNodeRequest) -> Promise:
        promise = self.context.promise()
        try:
            check_not_nested(self._home, *ITS_REPLICAS)
            node = resolve(self._home, request.address)
            if request.name not in (None, node):
                hint = "name the node by its id or by its host and port; GET …/nodes shows which is which"
                raise InvalidRequest(f"{request.address} is not {request.name} but {node}", path="$.id", hint=hint)
            if len(self._nodes) == 1:
                hint = "add another one first" if self.id == FIRST_CLUSTER else "remove the cluster"
                raise Conflict(f"{request.address} is the last node of cluster {self.id}", hint=hint)
            self._check_may_change()
        except RaftyardError as error:
            promise.fail(error)
            return promise

        def done(result: Any, _: int) -> None:
            if isinstance(result, RaftyardError):
                promise.fail(result)
            elif not result["ok"]:
                is_last = node in self._nodes
                promise.fail(conflict(result) if is_last else UnknownNode(result["reason"]))
            elif node not in self._nodes:
                promise.keep({"status": "ok", "id": node})
            else:
                self._removals.setdefault(node, []).append(promise)
                self._questions.later(CHANGE_S, lambda: promise.keep({"status": "removing", "id": node}))

        self.change(commands.RemoveNode(name=node), done)
        return promise

    # -- further clusters (cluster 0 only) -------------------------------------------------------------------

    def _record_clusters(self, request: RecordClusters) -> None:
        def done(result: Any, index: int) -> None:
            error = result if isinstance(result, RaftyardError) else None
            if error is None and not result["ok"]:
                error = conflict(result)
            values = None if error is None else as_values(error)
            self.context.send(request.reply_to, Recorded(ref=request.ref, index=index, error=values))

        if self.leader is None:
            done(self._claims.no_leader(), 0)
            return
        self.change(request.command, done)

    def change(self, command: commands.Command, done: Applied) -> None:
        """Have a change of the cluster itself agreed on; `done` also gets the error that it met on its way."""
        try:
            self._courier.send(command, done, within_s=CHANGE_S)
        except QueueFull as error:
            done(error, 0)

    def statistics(self) -> dict[str, int | float | str]:
        return super().statistics() | {
            "nodes": len(self._nodes),
            "commands_waiting": len(self._courier.waiting),
            "questions_waiting": len(self._questions),
            "links_cut": len(self._cuts),
            "leader": self.leader or "",
        }
