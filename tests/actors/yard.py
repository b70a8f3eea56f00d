"""A whole orchestrator under test, on either clock: ask it, hurt it, and check every promise after every event."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

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
from raftyard.actors.raft.invariants import Invariants
from raftyard.actors.scenarios.checkers.calls import Retold
from raftyard.actors.scenarios.checkers.converges import why_unsettled
from raftyard.actors.scenarios.checkers.raft import Promises
from raftyard.actors.scenarios.inside import Inside
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.system import System, Virtual
from raftyard.actors.system.events import Event

EXECUTED = ("executed", "failed")


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

    def begin(self) -> None:
        """Wait until somebody leads and every node has been taken in, as placing needs; on either clock."""
        self.until(lambda: self.why_unsettled() is None)

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
        return why_unsettled(Inside(self.system, cluster))


def actor_of(system: System, name: str) -> Any:
    """The actor behind a name, for tests that look inside; None when it is not there."""
    return system.peek(name)


class History(Retold):
    """The agreed log of a cluster, applied anew from its first entry: what really happened, and how often."""

    def __init__(self, raft: Invariants) -> None:
        assert raft.first_committed == 1
        super().__init__(zip(raft.committed_terms, raft.committed_payloads, strict=True))
