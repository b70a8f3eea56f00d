"""A whole orchestrator under test, on either clock: ask it, hurt it, and check every promise after every event."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np

from raftyard.actors.messages import (
    ORCHESTRATOR,
    DescribeCall,
    DescribeCluster,
    DescribeConnections,
    DescribeLink,
    LinkPolicy,
    ListClusters,
    SetConnections,
    SetLinkPolicyRequest,
    SubmitServiceCall,
    agent_actor,
    cluster_actor,
    link_actor,
    node_actor,
)
from raftyard.actors.orchestrator import OrchestratorSettings, start_orchestrator
from raftyard.actors.raft import sessions
from raftyard.actors.raft.events import is_application
from raftyard.actors.raft.invariants import Invariants
from raftyard.actors.state import commands
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.task_states import TaskState
from raftyard.actors.system import System, Virtual
from raftyard.actors.system.events import Event

EXECUTED = ("executed", "failed")


class Promises:
    """Checks every node of every cluster after every event: Raft's promises, the agreed state's, equal states.

    A member's state is looked at before anything else happens to the system, that is at the next step of any member.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._clusters: dict[str, Invariants] = {}
        self._gone: set[tuple[str, str]] = set()
        self._applied: dict[tuple[str, str], int] = {}
        self._changed: dict[tuple[str, str], None] = {}
        self.checked_states = 0
        self.with_states = True
        system.events.subscribe(self._heard)

    def raft(self, cluster: str = "0") -> Invariants:
        return self._clusters.setdefault(cluster, Invariants())

    def observe(self, core: Any, event: Any, ready: Any) -> None:
        """What `OrchestratorSettings.observe` wants: a member has stepped."""
        if self._changed:
            self.look()
        key = (core.cluster, core.member)
        raft = self.raft(core.cluster)
        seen = raft.seen.get(core.member)
        if key in self._gone and seen is not None and seen.core is not core:
            # Somebody new by the name of one that left.
            self._gone.discard(key)
            raft.forget(core.member)
        raft.check_step(core, event, ready)
        if ready.apply is not None and self.with_states:
            self._changed[key] = None

    def look(self) -> None:
        """Check the states that changed."""
        changed, self._changed = self._changed, {}
        for cluster, member in changed:
            node = actor_of(self._system, node_actor(cluster, member))
            if node is not None and node.applied:
                node.state.check()
                digest = sha256(node._sessions.snapshot()).digest()
                self.raft(cluster).check_state(member, node.applied, digest)
                self.checked_states += 1

    def _heard(self, event: Event) -> None:
        if event.kind == "node-removed" and event.cluster is not None:
            self._gone.add((event.cluster, event.data["name"]))
        elif event.kind == "cluster-stopped" and event.cluster is not None:
            self._clusters.pop(event.cluster, None)
            self._changed = {key: None for key in self._changed if key[0] != event.cluster}


class Yard:
    """A started orchestrator. Names of nodes throughout (`node_0`); use it as a context manager."""

    def __init__(self, system: System | None = None, *, seed: int = 1, checked: bool = True, **settings: Any) -> None:
        self.system = system if system is not None else Virtual(seed=seed, raise_crashes=True)
        self.promises = Promises(self.system)
        if checked:
            settings.setdefault("observe", self.promises.observe)
        self.settings = OrchestratorSettings(**{"port": 8000, **settings})

    def __enter__(self) -> Yard:
        self.system.__enter__()
        start_orchestrator(self.system, self.settings)
        self.ask(ListClusters(), ORCHESTRATOR)  # its clusters are started before it answers
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                self.promises.look()
        finally:
            self.system.__exit__(*error)

    # -- time

    @property
    def now(self) -> float:
        return self.system.now_ns / 1e9

    def run(self, for_s: float) -> None:
        """Let virtual time pass."""
        assert isinstance(self.system, Virtual)
        self.system.run(for_s)

    def until(self, holds: Callable[[], Any], within_s: float = 10.0, step_s: float = 0.02) -> Any:
        """Wait until `holds()` is true and give it back; on either clock."""
        end = self.now + within_s
        while True:
            value = holds()
            if value:
                return value
            assert self.now < end, f"not within {within_s} s: {holds.__name__} ({self.why_unsettled()})"
            if isinstance(self.system, Virtual):
                self.system.run(step_s)
            else:
                time.sleep(step_s)

    def settle(self, within_s: float = 15.0, cluster: str = "0") -> None:
        """Wait until the cluster has become what it should be."""
        end = self.now + within_s
        while (why := self.why_unsettled(cluster)) is not None:
            assert self.now < end, f"cluster {cluster} has not settled within {within_s} s: {why}"
            self.run(0.1)

    # -- asking

    def ask(self, message: Any, to: str = "0", timeout_s: float = 15.0) -> Any:
        """Ask a cluster by its id, or the orchestrator."""
        return self.system.ask(to if to == ORCHESTRATOR else cluster_actor(to), message, timeout_s)

    def later(self, message: Any, to: str = "0") -> Any:
        """Ask without waiting: the promise of the answer."""
        return self.system._post_ask(to if to == ORCHESTRATOR else cluster_actor(to), message)

    def picture(self, cluster: str = "0", detail: str = "") -> dict[str, Any]:
        return dict(self.ask(DescribeCluster(detail=detail), cluster))

    def submit(self, wait_s: float | None = 5.0, cluster: str = "0", **replicas: int) -> dict[str, Any]:
        """A service call by names and numbers of replicas."""
        body = {"containers": [{"name": name, "replicas": count} for name, count in replicas.items()]}
        return dict(self.ask(SubmitServiceCall(body=body, wait_s=wait_s), cluster))

    def call(self, call_id: str, cluster: str = "0") -> dict[str, Any]:
        return dict(self.ask(DescribeCall(call=call_id), cluster))

    def leader(self, cluster: str = "0") -> str:
        """Who leads, by the front door; waits for one."""
        return str(self.until(lambda: self.front(cluster) is not None and self.front(cluster).leader))

    def claims(self, cluster: str = "0") -> list[tuple[str, int, bool]]:
        """(address, term, current) as /stats shows them."""
        shown = self.picture(cluster)["leader_claims"]
        return [(claim["address"], claim["term"], claim["current"]) for claim in shown]

    # -- hurting

    def set_links(self, up: int, pairs: list[tuple[str, str]], cluster: str = "0") -> None:
        matrix: dict[str, dict[str, int]] = {}
        for source, target in pairs:
            matrix.setdefault(source, {})[target] = up
        self.ask(SetConnections(matrix=matrix), cluster)

    def cut(self, *pairs: tuple[str, str], cluster: str = "0") -> None:
        self.set_links(0, list(pairs), cluster)

    def restore(self, *pairs: tuple[str, str], cluster: str = "0") -> None:
        self.set_links(1, list(pairs), cluster)

    def outgoing(self, node: str, cluster: str = "0") -> list[tuple[str, str]]:
        return [(node, other) for other in self.names(cluster) if other != node]

    def around(self, node: str, cluster: str = "0") -> list[tuple[str, str]]:
        """Both directions of every link of a node."""
        return [pair for a, b in self.outgoing(node, cluster) for pair in ((a, b), (b, a))]

    def between(self, some: list[str], cluster: str = "0") -> list[tuple[str, str]]:
        """Both directions of every link between these nodes and the others."""
        others = [name for name in self.names(cluster) if name not in some]
        return [pair for a in some for b in others for pair in ((a, b), (b, a))]

    def heal(self, cluster: str = "0") -> None:
        """Restore and calm every link."""
        if isinstance(self.system, Virtual):
            self.system.run(0.0)  # cuts and departures that are under way come first
        self.restore(*self.front(cluster)._cuts, cluster=cluster)
        for name in self.system.names():
            if name.startswith(f"cluster/{cluster}/link/"):
                source, target = name.rpartition("/")[2].split("->")
                self.later(SetLinkPolicyRequest(source=source, target=target, policy=LinkPolicy()), cluster)

    def crash(self, name: str) -> None:
        if name in self.system.names():
            self.system.crash(name)

    def crash_node(self, node: str, cluster: str = "0") -> None:
        self.crash(node_actor(cluster, node))

    # -- looking inside

    def front(self, cluster: str = "0") -> Any:
        return actor_of(self.system, cluster_actor(cluster))

    def node(self, node: str, cluster: str = "0") -> Any:
        return actor_of(self.system, node_actor(cluster, node))

    def names(self, cluster: str = "0") -> list[str]:
        front = self.front(cluster)
        return [] if front is None else list(front._nodes)

    def address(self, node: str, cluster: str = "0") -> str:
        return str(self.front(cluster)._nodes[node].address)

    def nodes(self, cluster: str = "0") -> list[Any]:
        """The node actors that are alive."""
        found = (self.node(name, cluster) for name in self.names(cluster))
        return [node for node in found if node is not None]

    def leading(self, cluster: str = "0") -> list[str]:
        """Nodes that believe they lead."""
        return [node.node for node in self.nodes(cluster) if node.raft.is_leader]

    def state(self, cluster: str = "0") -> ClusterState:
        state = self.node(self.leader(cluster), cluster).state
        assert isinstance(state, ClusterState)
        return state

    def running(self, cluster: str = "0") -> dict[str, list[int]]:
        """The ids of the tasks that each node's agent runs."""
        found = {}
        for name in self.names(cluster):
            agent = actor_of(self.system, agent_actor(cluster, name))
            found[name] = [] if agent is None else agent._running.tolist()
        return found

    def agreed(self, cluster: str = "0") -> list[Any]:
        """Services and tasks: what must outlast any crash."""
        state = self.state(cluster)
        return [state.services(), [state.tasks_of(record.name) for record in state.nodes()]]

    def placed(self, service: str, cluster: str = "0") -> dict[str, int]:
        return self.state(cluster).load_distribution(service)

    def link(self, source: str, target: str, cluster: str = "0") -> Any:
        return self.system.ask(link_actor(cluster, source, target), DescribeLink())

    def row(self, node: str, cluster: str = "0") -> dict[str, int]:
        return dict(self.ask(DescribeConnections(node=node), cluster))

    def events(self, *kinds: str) -> list[Event]:
        return [event for event in self.system.events.since(0) if event.kind in kinds]

    def why_unsettled(self, cluster: str = "0") -> str | None:
        """Why the cluster is not yet as it should be; None when it is."""
        leading = self.leading(cluster)
        front = self.front(cluster)
        if front is None or len(leading) != 1 or front.leader != leading[0]:
            return f"{leading} lead, the front door follows {front and front.leader}"
        leader = self.node(leading[0], cluster)
        return (
            self._why_members(leader, front, cluster)
            or _why_replicas(leader.state)
            or self._why_tasks(leader.state, cluster)
        )

    def _why_members(self, leader: Any, front: Any, cluster: str) -> str | None:
        state, membership = leader.state, leader.raft.membership
        names = [record.name for record in state.nodes()]
        if sorted(names) != sorted(front._nodes) or front._courier.waiting or front._cuts:
            return f"nodes {names}, at the front door {list(front._nodes)}, {len(front._courier.waiting)} commands wait"
        silent = [record.name for record in state.nodes() if record.status != "ready"]
        if silent or membership.learners or len(membership.voters) != min(5, len(names)):
            return f"down: {silent}, members {membership}"
        members = {name: self.node(name, cluster) for name in membership.voters}
        if any(node is None or node.raft.term != leader.raft.term for node in members.values()):
            return f"terms {[(name, node and node.raft.term) for name, node in members.items()]}"
        if any(node.applied != leader.raft.last_index for node in members.values()):
            return f"applied {[(name, node.applied) for name, node in members.items()]} of {leader.raft.last_index}"
        if len({node.state.digest() for node in members.values()}) != 1:
            return "states differ"
        return None

    def _why_tasks(self, state: ClusterState, cluster: str) -> str | None:
        running = self.running(cluster)
        for record in state.nodes():
            tasks = state.tasks_of(record.name)
            wanted = sorted(task.id for task in tasks if task.desired == TaskState.RUNNING)
            if sorted(running[record.name]) != wanted:
                return f"{record.name} runs {running[record.name]}, should run {wanted}"
            if any(task.state != TaskState.RUNNING or task.desired != TaskState.RUNNING for task in tasks):
                return f"tasks of {record.name}: {tasks}"
        return None


def _why_replicas(state: ClusterState) -> str | None:
    """Replicas wait for nothing but room, and say so."""
    if state.pending_calls():
        return f"calls wait: {[call.id for call in state.pending_calls()]}"
    free = int(np.max(state.free_slots(), initial=0))
    why = {pending.service: pending.reason for pending in state.pending()}
    for service in state.services():
        if service.placed != service.replicas and not (
            service.placed < service.replicas and free < service.slots_per_replica and why.get(service.name)
        ):
            return f"{service} with {free} free slots"
    return None


def actor_of(system: System, name: str) -> Any:
    """The actor behind a name, for tests that look inside; None when it is not there."""
    cell = system._cells.get(name)
    return None if cell is None or not cell.actor or cell.bound < 0 or not cell.has_started else cell.actor


class History:
    """The agreed log of a cluster, applied anew from its first entry: what really happened, and how often."""

    def __init__(self, raft: Invariants) -> None:
        assert raft.first_committed == 1
        self.state = ClusterState()
        self.executed: dict[str, int] = {}
        self._term = 0
        machine = sessions.Sessions(self)
        for index, (term, payload) in enumerate(
            zip(raft.committed_terms, raft.committed_payloads, strict=True), start=1
        ):
            self._term = term
            if is_application(payload):
                machine.apply(index, payload)
        self.digest = sha256(machine.snapshot()).digest()

    def apply(self, index: int, command: bytes) -> dict[str, Any]:
        """As `node._Machine`, but counting."""
        outcome = self.state.apply(index, self._term, commands.decode(command))
        if outcome.ok and outcome.call is not None and outcome.call.executed_index == index:
            for call in (outcome.call.id, *outcome.call.absorbed):
                self.executed[call] = self.executed.get(call, 0) + 1
        is_finished = outcome.call is not None and outcome.call.executed_index is not None
        return {"ok": outcome.ok, "reason": outcome.reason, "is_finished": is_finished}

    def snapshot(self) -> bytes:
        return self.state.snapshot()

    def restore(self, data: bytes) -> None:
        raise NotImplementedError("a history is only told once")

