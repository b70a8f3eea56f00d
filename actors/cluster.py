"""Cluster: the front door of one cluster.

It starts the nodes and their links, remembers who claims to lead, passes service calls to the leader until they are in
the log, and gathers the answers to questions. What is agreed on is never here: it is in the nodes' logs. A Cluster that
is lost is started again and learns everything from its nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s
from typing import Any, Protocol

import msgspec

from .agent import Agent
from .control import VOTERS
from .disk import Disk
from .errors import (
    Conflict,
    InvalidRequest,
    NoLeader,
    PortInUse,
    QueueFull,
    RaftyardError,
    TimedOut,
    Unavailable,
    UnknownCall,
    UnknownNode,
    as_values,
)
from .link import Link
from .member import Observer
from .messages import (
    ORCHESTRATOR,
    AddNodeRequest,
    Addresses,
    AskNode,
    CallsFinished,
    ClusterSpec,
    ClusterView,
    CutLink,
    DescribeCall,
    DescribeCluster,
    DescribeConnections,
    DescribeNode,
    DescribeState,
    Happened,
    LeaderClaim,
    LeaderResigned,
    LinkPolicy,
    LinkStatus,
    Message,
    NodeAnswer,
    NodeFailed,
    NodeSpec,
    Outcome,
    RecordClusters,
    Recorded,
    Registry,
    RemoveNodeRequest,
    RestoreLink,
    SetConnections,
    SetLinkPolicy,
    SetLinkPolicyRequest,
    Submit,
    SubmitServiceCall,
    TransferRequest,
    agent_actor,
    disk_actor,
    link_actor,
    node_actor,
)
from .node import Node
from .raft.config import RaftConfig
from .raft.core import Restored
from .state import commands
from .state.calls import InvalidCall, service_requests
from .storage.base import Storage, StorageBroken, StorageDamaged
from .storage.folder import ClusterFolder, HomeFile
from .storage.memory import MemoryStorage
from .storage.simulated import DiskFaults, SimulatedStorage
from .system import Actor, NameTaken, Promise, Terminated, Timer

__all__ = ["Cluster", "ClusterSettings", "Home", "Ports"]

GATHER_S = 0.3
RETRY_S = 0.25
ANSWER_S = 3.0
CHANGE_S = 5.0
CLAIMS_KEPT = 20
FULL_MATRIX_NODES = 50
LOCAL_HOSTS = ("localhost", "127.0.0.1")
FIRST_CLUSTER = "0"
PORTS_TRIED = 90
REVIVE_S = 1.0
"""A node whose storage failed is started again after this: what failed may be mended meanwhile."""
RECUT_S = 0.01

Answer = dict[str, Any]
Done = Callable[[Any], object]
Applied = Callable[[Any, int], object]


class Ports(Protocol):
    """What opens and closes the ports of nodes; None in a program that serves none."""

    def open(self, host: str, port: int, cluster: str, address: str) -> None:
        """Listen; raises `errors.PortInUse`. Opening a port again for the same node does nothing."""

    def close(self, host: str, port: int) -> None:
        """Listen no more; closing what is closed does nothing."""


class Home:
    """What outlives the actors of one cluster on this host: which nodes live here, and their storages.

    With a `folder` it outlives the process too, and `Home.found` finds it again. With `disks` the storages are
    simulated ones that behave so, for the virtual clock.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        folder: ClusterFolder | None = None,
        disks: DiskFaults | None = None,
        base: int | None = None,
    ) -> None:
        self.spec = spec
        self.nodes: dict[str, NodeSpec] = {node.name: node for node in spec.nodes}
        self._voters = tuple(node.name for node in spec.nodes[:VOTERS])
        self.starts = 0
        """How often the program has started on what it found here."""
        self.base = base
        """The program's port; those of the nodes were counted from there."""
        self._folder = folder
        self._disks = disks
        self._made: dict[str, None] = {}
        self._first = [node.name for node in spec.nodes]
        self.cuts: dict[tuple[str, str], bool] = {}
        """The directions that are cut: a front door that starts anew cuts them again."""
        self._storages: dict[str, Storage] = {}
        self.told_index = 0
        """What happened up to this entry of the log is in the event log."""
        if folder is not None and not folder.exists():
            # What a crash left of a former cluster of this name must not be taken for this one's.
            folder.destroy()
            self._write()

    @staticmethod
    def found(folder: ClusterFolder, host: str | None = None, port: int | None = None) -> Home:
        """What lives in a folder; `host` and `port` are those of the program now, and its nodes' follow.

        Raises StorageBroken, StorageDamaged.
        """
        file = folder.read()
        home = Home(file.spec, folder)
        home.nodes = {node.name: node for node in file.nodes}
        home._first = list(file.first)
        home._made = dict.fromkeys(file.made)
        home.starts = file.starts + 1
        home.base = file.base
        home._move(host, port)
        home._write()
        return home

    def _move(self, host: str | None, port: int | None) -> None:
        """Ports keep their distance to the program's own."""
        if host is None or port is None or self.base is None:
            return
        by, self.base = port - self.base, port
        self.nodes = {name: _moved(spec, host, by) for name, spec in self.nodes.items()}
        self.spec = msgspec.structs.replace(
            self.spec, nodes=tuple(_moved(spec, host, by) for spec in self.spec.nodes)
        )

    def storage(self, node: str) -> Storage:
        """The node's storage, made when it is first asked for."""
        if node not in self._storages:
            initial = Restored.bootstrap(self._voters if node in self._first else ())
            self._storages[node] = self._make(node, initial)
        return self._storages[node]

    def _make(self, node: str, initial: Restored) -> Storage:
        if self._folder is not None:
            return self._stored(node, initial)
        return MemoryStorage(initial) if self._disks is None else SimulatedStorage(initial, self._disks)

    def _stored(self, node: str, initial: Restored) -> Storage:
        """A file that was made once must be there: a node that lost it has forgotten what it promised."""
        assert self._folder is not None
        if node in self._made:
            return self._folder.storage(self.spec.cluster, node, None)
        # Nothing was ever promised with a file that is not recorded: it is what a crash left.
        self._folder.forget(node)
        storage = self._folder.storage(self.spec.cluster, node, initial)
        storage.load()
        storage.close()
        self._made[node] = None
        self._write()
        return storage

    def add(self, spec: NodeSpec) -> None:
        """A node lives here from now on."""
        self.nodes[spec.name] = spec
        self._write()

    def forget(self, node: str) -> None:
        """A node has left for good. Whoever comes by its name is new and waits to be added, whatever the first voters
        were: with an empty log it could elect itself."""
        if node in self._first:
            self._first.remove(node)
        self.nodes.pop(node, None)
        self._storages.pop(node, None)
        self._made.pop(node, None)
        self._write()
        if self._folder is not None:
            self._folder.forget(node)

    def destroy(self) -> None:
        """The cluster has left for good."""
        if self._folder is not None:
            self._folder.destroy()

    def _write(self) -> None:
        if self._folder is not None:
            self._folder.write(
                HomeFile(
                    spec=self.spec,
                    nodes=tuple(self.nodes.values()),
                    first=tuple(self._first),
                    made=tuple(self._made),
                    starts=self.starts,
                    base=self.base,
                )
            )


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every cluster of an orchestrator."""

    raft: RaftConfig = RaftConfig()
    link: LinkPolicy = LinkPolicy()
    ports: Any = None
    observe: Any = None
    host: str = "localhost"
    capacity: int = 100
    queue_limit: int = 1000


class _Retry(Message, frozen=True, kw_only=True, gc=False):
    """To itself: commands without an outcome are sent again."""


class _Recut(Message, frozen=True, kw_only=True, gc=False):
    """To itself: a wire that was cut has crashed and starts anew."""

    source: str
    target: str


class _Expired(Message, frozen=True, kw_only=True, gc=False):
    """To itself: the question with that number has waited long enough."""

    ref: int


class _Revive(Message, frozen=True, kw_only=True, gc=False):
    """To itself: start a node again whose storage failed."""

    node: str


class _Command:
    """One command on its way into the log: sent again, with the same sequence, until an outcome comes."""

    __slots__ = ("command", "done", "expires", "sequence")

    def __init__(self, sequence: int, command: bytes, done: Applied, expires: float | None) -> None:
        self.sequence = sequence
        self.command = command
        self.done = done
        self.expires = expires


class _Question:
    """Something asked of one or more nodes, and what is done with the answers."""

    __slots__ = ("answers", "done", "missing", "retry", "timer")

    def __init__(self, missing: set[str], done: Callable[[dict[str, NodeAnswer]], object]) -> None:
        self.missing = missing
        self.answers: dict[str, NodeAnswer] = {}
        self.done = done
        self.timer: Timer | None = None


class Cluster(Actor):
    """The front door of one cluster. `home` is what its actors would find again after a restart."""

    mailbox_capacity = 50_000

    def __init__(self, home: Home, settings: ClusterSettings) -> None:
        super().__init__()
        self.id = home.spec.cluster
        self._home = home
        self._settings = settings
        self._ports: Ports | None = settings.ports
        self._observe: Observer | None = settings.observe
        self._nodes = home.nodes
        self._claims: list[dict[str, Any]] = []
        self._view: ClusterView | None = None
        self._registry: tuple[ClusterSpec, ...] | None = None
        self._cuts = home.cuts
        self._sequence = 0
        self._commands: dict[int, _Command] = {}
        self._retry: Timer | None = None
        self._rotation = 0
        self._next_ref = 0
        self._questions: dict[int, _Question] = {}
        self._links_waiting: dict[int, Callable[[], object]] = {}
        # Service calls that are not in the log yet, as they were answered.
        self._held: dict[str, Answer] = {}
        self._waiters: dict[str, list[Callable[[], None]]] = {}
        self._removals: dict[str, list[Promise]] = {}
        self._failures: dict[str, NodeFailed] = {}
        self._handlers: dict[type, Callable[[Any], Any]] = {
            LeaderClaim: self._claimed,
            LeaderResigned: self._resigned,
            ClusterView: self._viewed,
            CallsFinished: self._calls_finished,
            Happened: self._happened,
            Outcome: self._outcome,
            NodeAnswer: self._answered,
            LinkStatus: self._link_answered,
            Terminated: self._terminated,
            NodeFailed: self._node_failed,
            _Revive: self._revive,
            _Recut: self._recut,
            _Retry: self._send_again,
            _Expired: self._expired,
            SubmitServiceCall: self._submit_call,
            DescribeCall: self._describe_call,
            DescribeCluster: self._describe,
            AskNode: self._ask_node,
            AddNodeRequest: self._add_node,
            RemoveNodeRequest: self._remove_node,
            DescribeConnections: self._describe_connections,
            SetConnections: self._set_connections,
            SetLinkPolicyRequest: self._set_link_policy,
            TransferRequest: self._transfer,
            RecordClusters: self._record_clusters,
        }

    # -- life ------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Start every node that lives here."""
        self._started = self.context.now()
        # A new incarnation is a new client: what the old one sent may still be applied, once, under its own name.
        self._name_session()
        for source, target in tuple(self._cuts):
            self._set_link(source, target, 0, lambda: None)
        for spec in tuple(self._nodes.values()):
            self._start_node(spec)

    def _new_session(self) -> None:
        """Begin again under another name; a session's first command acknowledges nothing, so it has the number 1."""
        self._name_session()
        waiting, self._commands, self._sequence = self._commands, {}, 0
        for entry in waiting.values():
            self._sequence += 1
            entry.sequence = self._sequence
            self._commands[entry.sequence] = entry

    def _name_session(self) -> None:
        self._session = f"{self.id}/{self.context.incarnation}/{self.context.random.getrandbits(48):012x}"

    def on_stop(self) -> None:
        """Close every node's port; the system has stopped the nodes before."""
        for spec in self._nodes.values():
            self._close_port(spec)

    def on_receive(self, message: Any) -> Any:
        """One message, by its class."""
        handler = self._handlers.get(type(message))
        return handler(message) if handler is not None else None

    def _start_node(self, spec: NodeSpec) -> None:
        me = self.context.name
        try:
            storage: Storage | str = self._home.storage(spec.name)
        except StorageBroken as error:
            is_damaged = isinstance(error, StorageDamaged)
            self._node_failed(NodeFailed(node=spec.name, reason=str(error), is_damaged=is_damaged))
            return
        node = node_actor(self.id, spec.name)
        self.context.spawn(Agent, agent_actor(self.id, spec.name), node, self._home.starts, parent=me)
        if not isinstance(storage, MemoryStorage):
            disk = disk_actor(self.id, spec.name)
            self.context.spawn(Disk, disk, node, storage, parent=me)
            storage = disk
        self._start_member(spec, storage)
        if self._ports is not None and spec.port is not None:
            try:
                self._ports.open(spec.host, spec.port, self.id, spec.address)
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
            self.context.after(REVIVE_S, _Revive(node=failure.node))

    def _revive(self, message: _Revive) -> None:
        spec = self._nodes.get(message.node)
        if spec is None or self.context.is_alive(node_actor(self.id, spec.name)):
            return
        disk = disk_actor(self.id, spec.name)
        if self.context.is_alive(disk):
            self._start_member(spec, disk)
        else:
            self._start_node(spec)

    def _close_port(self, spec: NodeSpec) -> None:
        if self._ports is not None and spec.port is not None:
            self._ports.close(spec.host, spec.port)

    # -- who leads -------------------------------------------------------------------------------------------

    @property
    def leader(self) -> str | None:
        """The node whose claim has the highest term; None while that one has resigned or died."""
        if not self._claims:
            return None
        newest = max(self._claims, key=lambda claim: int(claim["term"]))
        return str(newest["node"]) if newest["current"] else None

    def _claimed(self, claim: LeaderClaim) -> None:
        for earlier in self._claims:
            if earlier["node"] == claim.node:
                earlier["current"] = False
        since_s = round(self.context.now() - self._started, 3)
        self._claims.append({"node": claim.node, "term": claim.term, "since": since_s, "current": True})
        del self._claims[:-CLAIMS_KEPT]
        here = tuple(self._nodes.values())
        self.context.send(node_actor(self.id, claim.node), Addresses(nodes=here))
        self._send_all_again()

    def _resigned(self, resignation: LeaderResigned) -> None:
        for claim in self._claims:
            if claim["node"] == resignation.node and claim["term"] <= resignation.term:
                claim["current"] = False

    def _terminated(self, message: Terminated) -> None:
        for claim in self._claims:
            if node_actor(self.id, claim["node"]) == message.name:
                claim["current"] = False
        for spec in self._nodes.values():
            if node_actor(self.id, spec.name) == message.name and self.context.is_alive(message.name):
                self.context.watch(message.name)
        if message.reason == "crashed":
            # A wire that starts anew is whole; what was cut stays cut.
            for source, target in self._cuts:
                if link_actor(self.id, source, target) == message.name:
                    self.context.after(RECUT_S, _Recut(source=source, target=target))

    def _recut(self, message: _Recut) -> None:
        if (message.source, message.target) in self._cuts:
            wire = self._wire(message.source, message.target)
            self.context.send(wire, CutLink(reply_to=self.context.name))

    def _viewed(self, view: ClusterView) -> None:
        """Start and stop nodes until they are those that the leader sees; an older leader's view is not believed."""
        if self._view is not None and view.term < self._view.term:
            return
        self._view = view
        for spec in view.nodes:
            if spec.name not in self._nodes:
                self._home.add(spec)
                self._start_node(spec)
        wanted = {spec.name for spec in view.nodes} | set(view.voters) | set(view.learners)
        for spec in tuple(self._nodes.values()):
            if spec.name not in wanted:
                self._stop_node(spec)
        if self.id == FIRST_CLUSTER and view.clusters != self._registry:
            self._registry = view.clusters
            self.context.send(ORCHESTRATOR, Registry(clusters=view.clusters))

    def _stop_node(self, spec: NodeSpec) -> None:
        self._home.forget(spec.name)
        self._failures.pop(spec.name, None)
        self._close_port(spec)
        for actor in (node_actor, agent_actor, disk_actor):
            if self.context.is_alive(actor(self.id, spec.name)):
                self.context.stop(actor(self.id, spec.name))
        for other in self._nodes:
            for wire in (link_actor(self.id, spec.name, other), link_actor(self.id, other, spec.name)):
                if self.context.is_alive(wire):
                    self.context.stop(wire)
        for pair in [pair for pair in self._cuts if spec.name in pair]:
            del self._cuts[pair]
        for promise in self._removals.pop(spec.name, ()):
            promise.keep({"status": "ok", "id": spec.name, "address": spec.address})

    # -- commands on their way into the log ------------------------------------------------------------------

    def _command(self, command: commands.Command, done: Applied, *, within_s: float | None = None) -> None:
        """Send a command to the leader until it is applied; `done` gets its result and its index in the log, or an
        error after `within_s`."""
        if len(self._commands) >= self._settings.queue_limit:
            raise QueueFull(
                f"{len(self._commands)} calls wait for a leader of cluster {self.id}, which is all that its queue holds"
            )
        self._sequence += 1
        expires = None if within_s is None else self.context.now() + within_s
        entry = _Command(self._sequence, commands.encode(command), done, expires)
        self._commands[entry.sequence] = entry
        leader = self.leader
        if leader is not None:
            self._send_command(entry, leader)
        if self._retry is None:
            self._retry = self.context.after(RETRY_S, _Retry())

    def _send_command(self, entry: _Command, node: str) -> None:
        self.context.send(
            node_actor(self.id, node),
            Submit(
                session=self._session,
                sequence=entry.sequence,
                acknowledged=next(iter(self._commands)) - 1,
                command=entry.command,
                reply_to=self.context.name,
            ),
        )

    def _send_all_again(self) -> None:
        leader = self.leader
        if leader is not None:
            for entry in self._commands.values():
                self._send_command(entry, leader)

    def _send_again(self, _: _Retry) -> None:
        self._retry = None
        now = self.context.now()
        for entry in tuple(self._commands.values()):
            if entry.expires is not None and now >= entry.expires:
                del self._commands[entry.sequence]
                entry.done(
                    TimedOut(
                        f"cluster {self.id} did not confirm the change in {CHANGE_S:g} s; it may still happen",
                        hint="look at the cluster's stats before you ask again",
                    ),
                    0,
                )
        self._send_all_again()
        if self._commands:
            self._retry = self.context.after(RETRY_S, _Retry())

    def _outcome(self, outcome: Outcome) -> None:
        if outcome.session != self._session or outcome.sequence not in self._commands:
            return
        if outcome.refused is not None:
            # Not taken: the retry, or the next leader's claim, sends it again. Where it stands in the log, and yet
            # was not run, the cluster has forgotten this client; service calls have ids that make them safe to repeat.
            if outcome.index:
                self._new_session()
            return
        self._commands.pop(outcome.sequence).done(outcome.result, outcome.index)

    # -- service calls ---------------------------------------------------------------------------------------

    def _submit_call(self, request: SubmitServiceCall) -> Promise:
        """Queue a service call; the answer is the call, at once or when it has been carried out."""
        promise = self.context.promise()
        try:
            call = self._read_call(request)
            self._command(
                commands.SubmitCall(call=call), lambda result, _: self._call_taken(call.id, result, promise)
            )
        except RaftyardError as error:
            promise.fail(error)
            return promise
        answer = {**request.body, "status": "spreading pending", "service_id": call.id}
        self._held[call.id] = answer
        if request.wait_s is None:
            promise.keep(answer)
        else:
            self._wait_for_call(call.id, answer, promise, request.wait_s)
        return promise

    def _read_call(self, request: SubmitServiceCall) -> commands.ServiceCall:
        try:
            services = service_requests(request.body)
        except InvalidCall as error:
            raise InvalidRequest(error.message, path=error.path, hint=error.hint) from None
        key = request.idempotency_key
        if key is None:
            call_id = f"{self.context.random.getrandbits(64):016x}"
        else:
            # The same key is the same call, whichever incarnation of the front door is asked.
            call_id = blake2s(key.encode(), digest_size=8).hexdigest()
        return commands.ServiceCall(
            id=call_id,
            services=services,
            body=msgspec.json.encode(request.body),
            received_ms=self.context.now_ns() // 1_000_000,
            idempotency_key=key,
        )

    def _call_taken(self, call_id: str, result: Any, promise: Promise) -> None:
        """The call is in the log (or refused there): a refusal reaches who waits."""
        self._held.pop(call_id, None)
        if isinstance(result, RaftyardError):
            promise.fail(result)
        elif not result["ok"]:
            promise.fail(QueueFull(result["reason"]))
        elif result["is_finished"]:
            self._calls_finished(CallsFinished(calls=(call_id,)))

    def _wait_for_call(self, call_id: str, answer: Answer, promise: Promise, wait_s: float) -> None:
        def look() -> None:
            self._from_leader("call", call_id, lambda value: promise.keep(_settled(value, answer)))

        self._waiters.setdefault(call_id, []).append(look)
        self._later(wait_s, look)

    def _later(self, delay_s: float, action: Callable[[], object]) -> None:
        """Do something after a while; as a question that nobody is asked, it expires and is done."""
        ref = self._ask((), lambda _: None, lambda _: action(), within_s=delay_s)
        assert ref in self._questions

    def _calls_finished(self, message: CallsFinished) -> None:
        for call_id in message.calls:
            for look in self._waiters.pop(call_id, ()):
                look()

    def _happened(self, message: Happened) -> None:
        """Into the event log, each entry once."""
        if message.index <= self._home.told_index:
            return
        self._home.told_index = message.index
        for event in message.events:
            self.context.emit(event.kind, cluster=self.id, node=message.node, term=message.term, **event.data)

    def _describe_call(self, question: DescribeCall) -> Promise:
        promise = self.context.promise()
        if question.call in self._held:
            # No leader has it yet, so none needs to be asked.
            promise.keep(self._held[question.call])
            return promise

        def answer(value: Any) -> None:
            if value is not None:
                _settle(promise, value)
            elif question.call is None:
                promise.fail(
                    UnknownCall(
                        f"cluster {self.id} has had no service call yet", hint="POST one to …/service"
                    )
                )
            else:
                promise.fail(
                    UnknownCall(
                        f"no service call {question.call!r} in cluster {self.id}",
                        hint="only the newest 1,000 finished calls are remembered",
                    )
                )

        self._from_leader("call", question.call, answer)
        return promise

    # -- questions to nodes ----------------------------------------------------------------------------------

    def _ask(
        self,
        nodes: tuple[str, ...],
        message: Callable[[int], Message | None],
        done: Callable[[dict[str, NodeAnswer]], object],
        within_s: float = GATHER_S,
    ) -> int:
        """Ask nodes; `done` gets the answers by node when all are there, or those that are there in time."""
        self._next_ref += 1
        ref = self._next_ref
        question = _Question(set(nodes), done)
        self._questions[ref] = question
        question.timer = self.context.after(within_s, _Expired(ref=ref))
        for node in nodes:
            said = message(ref)
            if said is not None:
                self.context.send(node_actor(self.id, node), said)
        return ref

    def _answered(self, answer: NodeAnswer) -> None:
        question = self._questions.get(answer.ref)
        if question is None or answer.node not in question.missing:
            return
        question.missing.discard(answer.node)
        question.answers[answer.node] = answer
        if not question.missing:
            self._close(answer.ref)

    def _expired(self, message: _Expired) -> None:
        self._close(message.ref)

    def _close(self, ref: int) -> None:
        question = self._questions.pop(ref, None)
        if question is not None:
            if question.timer is not None:
                question.timer.cancel()
            question.done(question.answers)

    def _from_leader(self, detail: str, call: str | None, done: Done, until: float | None = None) -> None:
        """A linearizable answer from whoever leads; `done` gets the value, or NoLeader when there is none in time."""
        until = self.context.now() + ANSWER_S if until is None else until
        leader = self.leader
        if leader is None:
            done(self._no_leader())
            return

        def answered(answers: dict[str, NodeAnswer]) -> None:
            answer = answers.get(leader)
            if answer is not None and answer.error is None:
                done(answer.value)
            elif self.context.now() < until:
                # The leader was lost meanwhile, or is not sure that it leads: ask whoever leads a moment later.
                self._later(0.05, lambda: self._from_leader(detail, call, done, until))
            else:
                done(self._no_leader())

        me = self.context.name
        self._ask(
            (leader,),
            lambda ref: DescribeState(ref=ref, reply_to=me, detail=detail, call=call),
            answered,
            within_s=0.5,
        )

    def _no_leader(self) -> NoLeader:
        return NoLeader(f"cluster {self.id} has no leader at the moment", retry_after_s=1)

    # -- what the cluster looks like -------------------------------------------------------------------------

    def _describe(self, question: DescribeCluster) -> Promise:
        promise = self.context.promise()
        if question.detail == "state":
            self._from_leader("state", None, lambda value: self._gather(question, promise, value))
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

        def answered(answers: dict[str, NodeAnswer]) -> None:
            promise.keep(self._picture(page, answers) | extra)

        def message(ref: int) -> DescribeNode:
            return DescribeNode(ref=ref, reply_to=me, with_log=False, with_services=leader is None)

        def to_leader(ref: int) -> DescribeNode:
            return DescribeNode(ref=ref, reply_to=me, with_log=False, with_services=True)

        def ask(ref: int) -> Message:
            node = next(order)
            return to_leader(ref) if node == leader else message(ref)

        order = iter(asked)
        self._ask(asked, ask, answered)

    def _picture(self, page: tuple[str, ...], answers: dict[str, NodeAnswer]) -> Answer:
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
            "connections": self._matrix(),
            "services": self._services(answers),
            "leader": self._address(self.leader),
            "leader_claims": [
                {"address": self._address(claim["node"])}
                | {key: claim[key] for key in ("term", "since", "current")}
                for claim in self._claims
            ],
            "node_count": len(self._nodes),
        }

    def _services(self, answers: dict[str, NodeAnswer]) -> list[Any]:
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
            node = self._resolve(question.node)
        except UnknownNode as error:
            promise.fail(error)
            return promise
        me = self.context.name

        def answered(answers: dict[str, NodeAnswer]) -> None:
            answer = answers.get(node)
            failure = self._failures.get(node)
            if answer is None and failure is not None:
                promise.fail(Unavailable(f"node {question.node} takes no part", hint=failure.reason))
            elif answer is None:
                promise.fail(
                    TimedOut(f"node {question.node} does not answer", hint="it may be starting again; retry")
                )
            else:
                promise.keep(answer.value | {"node_count": len(self._nodes), "majority": self._majority()})

        self._ask(
            (node,),
            lambda ref: DescribeNode(
                ref=ref,
                reply_to=me,
                log=question.log,
                with_log=question.with_log,
                with_loads=question.with_loads,
            ),
            answered,
            within_s=2.0,
        )
        return promise

    def _majority(self) -> int:
        voters = min(VOTERS, len(self._nodes)) if self._view is None else len(self._view.voters)
        return voters // 2 + 1

    def _resolve(self, text: str) -> str:
        """The name of the node that is called `text`: its name, or its address in either spelling of localhost."""
        if text in self._nodes:
            return text
        for spec in self._nodes.values():
            if text == spec.address or _one_spelling(text) == _one_spelling(spec.address):
                return spec.name
        known = ", ".join(spec.address for spec in tuple(self._nodes.values())[:20])
        raise UnknownNode(f"no node {text!r} in cluster {self.id}", hint=f"its nodes are {known}")

    # -- nodes come and go -----------------------------------------------------------------------------------

    def _add_node(self, request: AddNodeRequest) -> Promise:
        promise = self.context.promise()
        try:
            self._check_may_change()
            spec = self._open_new(self._new_spec(request), is_port_given=request.port is not None)
        except RaftyardError as error:
            promise.fail(error)
            return promise

        def done(result: Any, _: int) -> None:
            if isinstance(result, RaftyardError) or not result["ok"]:
                self._close_port(spec)
                promise.fail(result if isinstance(result, RaftyardError) else Conflict(result["reason"]))
                return
            if spec.name not in self._nodes:
                self._home.add(spec)
                self._start_node(spec)
            promise.keep(
                {"status": "ok", "id": spec.name, "address": spec.address, "capacity": spec.capacity}
            )

        command = commands.AddNode(name=spec.name, host=spec.host, port=spec.port, capacity=spec.capacity)
        self._command(command, done, within_s=CHANGE_S)
        return promise

    def _check_may_change(self) -> None:
        """Nodes come and go once the first ones are agreed on, which the leader's view shows."""
        if self.leader is None or self._view is None:
            raise self._no_leader()

    def _new_spec(self, request: AddNodeRequest) -> NodeSpec:
        name = request.name
        if name is None:
            number = 0
            while f"node_{number}" in self._nodes:
                number += 1
            name = f"node_{number}"
        elif name in self._nodes:
            raise Conflict(
                f"cluster {self.id} has a node {name!r} already", hint="choose another id, or leave it out"
            )
        host = request.host or self._settings.host
        if self._ports is not None and _one_spelling(f"{host}:0") != _one_spelling(
            f"{self._settings.host}:0"
        ):
            raise InvalidRequest(
                f"{host} is not where this program listens", path="$.host", hint=f"use {self._settings.host}"
            )
        port = request.port
        taken = [spec.port for spec in self._nodes.values() if spec.port is not None]
        if port is None and taken:
            port = max(taken) + 1
        spec = NodeSpec(name=name, host=host, port=port, capacity=request.capacity or self._settings.capacity)
        for other in self._nodes.values():
            if _one_spelling(other.address) == _one_spelling(spec.address):
                raise Conflict(f"{other.address} is node {other.name!r} already", hint="choose another port")
        return spec

    def _open_new(self, spec: NodeSpec, *, is_port_given: bool) -> NodeSpec:
        """Listen for a new node: on the port that was asked for, or on the next one that is free."""
        if self._ports is None or spec.port is None:
            return spec
        for _ in range(PORTS_TRIED):
            assert spec.port is not None
            try:
                self._ports.open(spec.host, spec.port, self.id, spec.address)
                return spec
            except PortInUse:
                if is_port_given:
                    raise
                spec = msgspec.structs.replace(spec, port=spec.port + 1)
        raise Conflict("no free port was found for the node", hint="name one with port")

    def _remove_node(self, request: RemoveNodeRequest) -> Promise:
        promise = self.context.promise()
        try:
            node = self._resolve(request.address)
            if len(self._nodes) == 1:
                raise Conflict(
                    f"{request.address} is the last node of cluster {self.id}", hint="remove the cluster"
                )
            self._check_may_change()
        except RaftyardError as error:
            promise.fail(error)
            return promise

        def done(result: Any, _: int) -> None:
            if isinstance(result, RaftyardError):
                promise.fail(result)
            elif not result["ok"]:
                is_last = node in self._nodes
                promise.fail(Conflict(result["reason"]) if is_last else UnknownNode(result["reason"]))
            elif node not in self._nodes:
                promise.keep({"status": "ok", "id": node})
            else:
                self._removals.setdefault(node, []).append(promise)
                self._later(CHANGE_S, lambda: promise.keep({"status": "removing", "id": node}))

        self._command(commands.RemoveNode(name=node), done, within_s=CHANGE_S)
        return promise

    def _transfer(self, request: TransferRequest) -> None:
        if self.leader is not None:
            self.context.send(node_actor(self.id, self.leader), request)

    # -- links -----------------------------------------------------------------------------------------------

    def _matrix(self) -> dict[str, dict[str, int]]:
        """Every direction, or only those that are cut where there are too many to read."""
        nodes = self._nodes
        if len(nodes) <= FULL_MATRIX_NODES:
            return {spec.address: self._row(spec.name) for spec in nodes.values()}
        matrix: dict[str, dict[str, int]] = {}
        for source, target in self._cuts:
            matrix.setdefault(nodes[source].address, {})[nodes[target].address] = 0
        return matrix

    def _row(self, node: str) -> dict[str, int]:
        return {
            spec.address: 0 if (node, spec.name) in self._cuts else 1
            for spec in self._nodes.values()
            if spec.name != node
        }

    def _describe_connections(self, question: DescribeConnections) -> Any:
        if question.node is None:
            return self._matrix()
        promise = self.context.promise()
        try:
            promise.keep(self._row(self._resolve(question.node)))
        except UnknownNode as error:
            promise.fail(error)
        return promise

    def _set_connections(self, request: SetConnections) -> Promise:
        """All or nothing: every name is looked up before the first wire is touched."""
        promise = self.context.promise()
        try:
            row_of = None if request.row_of is None else self._resolve(request.row_of)
            changes = self._read_matrix(request.matrix)
        except RaftyardError as error:
            promise.fail(error)
            return promise

        def in_force() -> None:
            promise.keep(self._matrix() if row_of is None else self._row(row_of))

        waiting = len(changes)
        if not waiting:
            in_force()

        def one_done() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                in_force()

        for (source, target), up in changes.items():
            self._set_link(source, target, up, one_done)
        return promise

    def _read_matrix(self, matrix: dict[str, dict[str, int]]) -> dict[tuple[str, str], int]:
        changes: dict[tuple[str, str], int] = {}
        for source_text, row in matrix.items():
            source = self._resolve_peer(source_text, f"$.{source_text}")
            for target_text, up in row.items():
                path = f"$.{source_text}.{target_text}"
                target = self._resolve_peer(target_text, path)
                if source == target:
                    raise InvalidRequest(
                        f"{target_text} has no link to itself", path=path, hint="name one of the other nodes"
                    )
                if up not in (0, 1) or isinstance(up, bool):
                    raise InvalidRequest(f"{up!r} is neither 0 nor 1", path=path, hint="0 cuts, 1 restores")
                changes[(source, target)] = up
        return changes

    def _resolve_peer(self, text: str, path: str) -> str:
        try:
            return self._resolve(text)
        except UnknownNode as error:
            raise InvalidRequest(str(error), path=path, hint=error.hint) from None

    def _set_link(self, source: str, target: str, up: int, done: Callable[[], None]) -> None:
        wire = self._wire(source, target)
        self.context.watch(wire)
        self._next_ref += 1
        self._links_waiting[self._next_ref] = done
        control = RestoreLink if up else CutLink
        self.context.send(wire, control(ref=self._next_ref, reply_to=self.context.name))

    def _wire(self, source: str, target: str) -> str:
        wire = link_actor(self.id, source, target)
        if not self.context.is_alive(wire):
            try:
                self.context.spawn(
                    Link, wire, self.id, source, target, self._settings.link, parent=self.context.name
                )
            except NameTaken:
                pass  # The node itself was quicker.
        return wire

    def _link_answered(self, status: LinkStatus) -> None:
        pair = (status.source, status.target)
        if status.cut:
            self._cuts[pair] = True
        else:
            self._cuts.pop(pair, None)
        done = self._links_waiting.pop(status.ref, None)
        if done is not None:
            done()

    def _set_link_policy(self, request: SetLinkPolicyRequest) -> Promise:
        promise = self.context.promise()
        try:
            wire = self._wire(self._resolve(request.source), self._resolve(request.target))
        except UnknownNode as error:
            promise.fail(error)
            return promise
        self._next_ref += 1
        self._links_waiting[self._next_ref] = lambda: promise.keep({"status": "ok"})
        self.context.send(
            wire, SetLinkPolicy(policy=request.policy, ref=self._next_ref, reply_to=self.context.name)
        )
        return promise

    # -- further clusters (cluster 0 only) -------------------------------------------------------------------

    def _record_clusters(self, request: RecordClusters) -> None:
        def done(result: Any, index: int) -> None:
            error = result if isinstance(result, RaftyardError) else None
            if error is None and not result["ok"]:
                error = Conflict(result["reason"])
            values = None if error is None else as_values(error)
            self.context.send(request.reply_to, Recorded(ref=request.ref, index=index, error=values))

        if self.leader is None:
            done(self._no_leader(), 0)
            return
        try:
            self._command(request.command, done, within_s=CHANGE_S)
        except QueueFull as error:
            done(error, 0)

    def statistics(self) -> dict[str, int | float | str]:
        return super().statistics() | {
            "nodes": len(self._nodes),
            "commands_waiting": len(self._commands),
            "questions_waiting": len(self._questions),
            "links_cut": len(self._cuts),
            "leader": self.leader or "",
        }


def _one_spelling(address: str) -> str:
    host, separator, port = address.rpartition(":")
    return f"localhost{separator}{port}" if host in LOCAL_HOSTS else address


def _moved(spec: NodeSpec, host: str, by: int) -> NodeSpec:
    return msgspec.structs.replace(spec, host=host, port=None if spec.port is None else spec.port + by)


def _settle(promise: Promise, value: Any) -> None:
    if isinstance(value, RaftyardError):
        promise.fail(value)
    else:
        promise.keep(value)


def _settled(value: Any, otherwise: Answer) -> Answer:
    """The call as the leader has it; as it was accepted while no leader can say more."""
    return otherwise if value is None or isinstance(value, RaftyardError) else value
